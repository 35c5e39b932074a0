"""What verl imports of us: the estimator "ema_grpo" and the trainer "onethinker", which tells it the tasks.

    VERL_USE_EXTERNAL_MODULES=onethinker.integrations.verl.plugin
    algorithm.adv_estimator=ema_grpo
    trainer.v1.trainer_mode=onethinker

verl hands an estimator rewards and groups alone. The trainer reads the tasks of the groups from verl's store and keeps
the averages: they lie in `onethinker.json` beside its checkpoint.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import transfer_queue as tq
from torch import Tensor

from onethinker.core.errors import CheckpointError, ConfigError
from onethinker.integrations.verl.advantages import answer_advantages
from onethinker.integrations.verl.store import values
from onethinker.integrations.verl.version import check_version, installed_version
from onethinker.tasks import find_task
from onethinker.training.rl_settings import AdvantageSettings
from onethinker.training.state.progress import EmaState, Progress, load_progress, save_progress

check_version(installed_version())

from verl.trainer.ppo.core_algos import register_adv_est  # noqa: E402
from verl.trainer.ppo.v1.trainer_base import register_trainer  # noqa: E402
from verl.trainer.ppo.v1.trainer_sync import PPOTrainerSync  # noqa: E402

ESTIMATOR, TRAINER, STATE_FILE = "ema_grpo", "onethinker", "onethinker.json"


@dataclass
class Batch:
    """A batch whose advantages are computed: the task of each group, and the averages before and then after it."""

    tasks: dict[str, str]
    settings: AdvantageSettings
    state: EmaState


_BATCH: ContextVar[Batch] = ContextVar("batch")


@contextmanager
def batch_of(tasks: dict[str, str], settings: AdvantageSettings, state: EmaState) -> Iterator[Batch]:
    """Yield the batch that the estimator sees meanwhile; its state is afterwards the one after the batch."""
    batch = Batch(tasks, settings, state)
    token = _BATCH.set(batch)
    try:
        yield batch
    finally:
        _BATCH.reset(token)


@register_adv_est(ESTIMATOR)  # type: ignore[untyped-decorator, unused-ignore]
def ema_grpo(
    token_level_rewards: Tensor, response_mask: Tensor, index: Sequence[str], config: Any = None, **_: Any
) -> tuple[Tensor, Tensor]:
    """Return advantages and returns, the advantage of an answer at each of its tokens.

    Raises: ConfigError: verl's own trainer asks, which does not know the tasks.
    """
    batch = _BATCH.get(None)
    if batch is None:
        raise ConfigError(
            f"algorithm.adv_estimator={ESTIMATOR} needs to know the task of each group:"
            f" set trainer.v1.trainer_mode={TRAINER}"
        )
    rewards_N = token_level_rewards.sum(-1)
    advantages_N, batch.state = answer_advantages(rewards_N, list(index), batch.tasks, batch.state, batch.settings)
    advantages_NT = advantages_N[:, None] * response_mask
    return advantages_NT, advantages_NT


@register_trainer(TRAINER)  # type: ignore[untyped-decorator, unused-ignore]
class OneThinkerTrainer(PPOTrainerSync):  # type: ignore[misc, unused-ignore]
    """verl's synchronous trainer, with averages of the rewards of each task."""

    def __init__(self, config: Any) -> None:
        # verl asks in many places whether its mode is "sync", which this trainer's is.
        config.trainer.v1.trainer_mode = "sync"
        super().__init__(config)
        self.advantage = AdvantageSettings(**config.algorithm.get("onethinker", {}))
        self.ema: EmaState = {}

    def _compute_advantage(self, batch: Any, metrics: dict[str, Any]) -> Any:
        with batch_of(tasks_of(batch), self.advantage, self.ema) as seen:
            batch = super()._compute_advantage(batch, metrics)
        self.ema = seen.state
        metrics |= {f"onethinker/sigma/{task}": moments.sigma for task, moments in self.ema.items()}
        return batch

    def _save_checkpoint(self) -> None:
        # Before verl's: a checkpoint that verl calls complete has it.
        path = checkpoint_folder(self.config, self.global_steps) / STATE_FILE
        path.parent.mkdir(parents=True, exist_ok=True)
        save_progress(Progress(step=self.global_steps, ema=self.ema), path)
        super()._save_checkpoint()

    def _load_checkpoint(self) -> None:
        super()._load_checkpoint()
        if not self.global_steps:
            return
        path = checkpoint_folder(self.config, self.global_steps, resumed=True) / STATE_FILE
        if not path.is_file():
            raise CheckpointError(
                f"{path}: no such file: the checkpoint was written by another trainer; start a new run, or continue"
                " with that trainer"
            )
        self.ema = load_progress(path).ema


def checkpoint_folder(config: Any, step: int, *, resumed: bool = False) -> Path:
    """Return the folder of a step: where verl writes it, or where it goes on from."""
    if resumed and config.trainer.resume_mode == "resume_path":
        return Path(config.trainer.resume_from_path)
    return Path(config.trainer.default_local_dir) / f"global_step_{step}"


def tasks_of(batch: Any) -> dict[str, str]:
    """Return the task of each group of a batch in verl's store, but for what fills it up. Raises: DataError."""
    keys = [key for key, tag in zip(batch.keys, batch.tags, strict=True) if not tag.get("is_padding", False)]
    found = tq.kv_batch_get(keys=keys, partition_id=batch.partition_id, select_fields=["uid", "extra_info"])
    rows = zip(values(found, "uid"), values(found, "extra_info"), strict=True)
    return {uid: find_task(extra["problem_type"], extra["data_type"]).key for uid, extra in rows}
