"""Our tasks as a reward of ms-swift, which hands the columns of the data set to it.

    swift rlhf --rlhf_type grpo --external_plugins FILE --reward_funcs onethinker …

FILE is this file; its folder: `python -c "import onethinker.integrations.ms_swift as it; print(it.__path__[0])"`.
"""

from collections.abc import Sequence
from typing import Any

from swift.rewards import ORM, orms

from onethinker.integrations.trl import make_reward
from onethinker.tasks import RewardScheme


class OneThinkerReward(ORM):  # type: ignore[misc, unused-ignore]
    """The reward of the paper; a subclass in a plug-in of your own may set another scheme and opening."""

    reward_scheme: RewardScheme = "paper"
    opening: str = ""

    def __call__(self, completions: Sequence[Any], **columns: Any) -> list[float | None]:
        """Return the reward of each completion, None for a row of another task. Raises: DataError."""
        return make_reward(self.reward_scheme, opening=self.opening)(completions, **columns)


class OneThinkerReleaseReward(OneThinkerReward):
    """The reward of the released code."""

    reward_scheme = "release"


orms["onethinker"] = OneThinkerReward
orms["onethinker_release"] = OneThinkerReleaseReward
