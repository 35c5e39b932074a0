"""Our tasks as a reward of verl, for rows that `onethinker data convert --to verl` or `onethinker rl --engine verl`
wrote.
"""

from collections.abc import Mapping
from typing import Any

from onethinker.integrations.rows import grade_row
from onethinker.tasks import RewardScheme


def compute_score(
    data_source: str,
    solution_str: str,
    ground_truth: str,
    extra_info: Mapping[str, Any] | None = None,
    *,
    reward_scheme: RewardScheme = "paper",
    opening: str = "",
    **_: Any,
) -> dict[str, float]:
    """Return the reward of a response as "score", with its parts: verl logs each key.

    What else it may be given (addresses of reward models) is for other functions. Raises: DataError.
    """
    row = {**(extra_info or {}), "answer": ground_truth}
    grade = grade_row(row, solution_str, reward_scheme=reward_scheme, opening=opening)
    return {"score": grade.reward, "accuracy": grade.accuracy, "format": grade.format}
