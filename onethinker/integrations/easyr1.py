"""Our tasks as a reward of EasyR1, for rows that `onethinker data convert --to easyr1` wrote.

    worker.reward.reward_function=FILE:compute_score

FILE is this file: `python -c "import onethinker.integrations.easyr1 as reward; print(reward.__file__)"`.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from onethinker.data.formats.easyr1 import read_graded
from onethinker.integrations.rows import grade_row
from onethinker.tasks import RewardScheme

REWARD_NAME, REWARD_TYPE = "onethinker", "batch"
"""How EasyR1 calls it, and that it is handed many responses at once."""


def compute_score(
    reward_inputs: Sequence[Mapping[str, Any]], *, reward_scheme: RewardScheme = "paper", opening: str = ""
) -> list[dict[str, float]]:
    """Return the reward of each response as "overall", with its parts. Raises: DataError."""
    grades = [
        grade_row(
            read_graded("ground_truth", one["ground_truth"]),
            one["response"],
            reward_scheme=reward_scheme,
            opening=opening,
        )
        for one in reward_inputs
    ]
    return [{"overall": grade.reward, "format": grade.format, "accuracy": grade.accuracy} for grade in grades]
