"""Which groups verl learns from: those whose mean accuracy says something, as in our own RL; others are refilled.

trainer.v1.sampler.custom_sampler={path: pkg://onethinker.integrations.verl.groups, name: SignalBuffer}
trainer.v1.sampler.sampler_kwargs={min_accuracy: 0.01, max_accuracy: 0.99, batch_size: 128}
"""

from collections import Counter, defaultdict
from typing import Any

import transfer_queue as tq
from verl.trainer.ppo.v1.replay_buffer import ReplayBuffer

from onethinker.integrations.verl.store import values


class SignalBuffer(ReplayBuffer):  # type: ignore[misc, unused-ignore]
    """verl's buffer, which drops groups of equal accuracy, with our bounds in place of that rule."""

    def __init__(self, *, sampler_kwargs: Any, **how: Any) -> None:
        super().__init__(
            sampler_kwargs=sampler_kwargs,
            filter_groups_metric="accuracy",
            train_batch_size=sampler_kwargs.batch_size,
            gen_batch_size=1,
            sync_refill_failed_groups=True,
            **how,
        )
        self._means: dict[str, float] = {}

    def _dapo_filtered_keys(self, partition_id: str) -> tuple[set[str], Counter[float]]:
        """Return the finished groups that say nothing, and how many have which mean accuracy."""
        if partition_id == "val":
            return set(), Counter()
        finished = self.finished_keys[partition_id]
        keys = [key for key in self.partitions[partition_id] if key.split("_")[0] in finished - self._means.keys()]
        self._means = {uid: mean for uid, mean in self._means.items() if uid in finished}
        self._means |= mean_accuracies(keys, partition_id)
        least, most = self.sampler_kwargs.min_accuracy, self.sampler_kwargs.max_accuracy
        dropped = {uid: mean for uid, mean in self._means.items() if not least < mean < most}
        return set(dropped), Counter(dropped.values())


def mean_accuracies(keys: list[str], partition_id: str) -> dict[str, float]:
    """Return the mean accuracy of each group of the answers in verl's store with these keys."""
    if not keys:
        return {}
    found = tq.kv_batch_get(keys=keys, partition_id=partition_id, select_fields=["extra_fields"])
    accuracies: dict[str, list[float]] = defaultdict(list)
    for key, fields in zip(keys, values(found, "extra_fields"), strict=True):
        accuracies[key.split("_")[0]].append(float(fields["reward_extra_info"]["accuracy"]))
    return {uid: sum(values) / len(values) for uid, values in accuracies.items()}
