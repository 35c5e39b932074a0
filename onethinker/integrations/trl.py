"""Our tasks as a reward of TRL, whose trainers hand the columns of the data set to it.

from onethinker.integrations.trl import make_reward
GRPOTrainer(..., reward_funcs=[make_reward()], train_dataset=load_dataset("json", data_files="trl.jsonl")["train"])
"""

from collections.abc import Callable, Sequence
from typing import Any

from onethinker.core.errors import DataError
from onethinker.integrations.rows import grade_row, rows_of
from onethinker.tasks import RewardScheme


def make_reward(reward_scheme: RewardScheme = "paper", *, opening: str = "") -> Callable[..., list[float | None]]:
    """Return a function for `reward_funcs`: the reward of each completion, None where a row has no "problem_type" and
    so is another function's to reward. `opening` is what the chat template writes before an answer, such as "<think>".
    """

    def onethinker_reward(completions: Sequence[Any], **columns: Any) -> list[float | None]:
        if "problem_type" not in columns:
            raise DataError(
                "the data set has no column 'problem_type': make it with `onethinker data convert --to trl`, and set"
                " remove_unused_columns=False"
            )
        return [
            grade_row(row, completion, reward_scheme=reward_scheme, opening=opening).reward
            if row.get("problem_type")
            else None
            for row, completion in zip(rows_of(columns, len(completions)), completions, strict=True)
        ]

    return onethinker_reward
