"""What is kept of the groups of a step, where the recipe says so (`log.rollouts_mb`): enough to compute the step again.

Dimensions: G answers per group.
"""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from onethinker.core.sources import VideoPart, path_of
from onethinker.rewards.extra import RewardedGrade
from onethinker.rl.groups import Batch, Group
from onethinker.storage.rollouts import write_rollouts
from onethinker.tasks import Grade
from onethinker.training.session import TrainingSession
from onethinker.training.state.progress import EmaState


def keep_rollouts(
    session: TrainingSession,
    batch: Batch,
    *,
    step: int,
    advantages: Mapping[int, Tensor],
    ema: EmaState,
    max_mb: float,
) -> None:
    """Write all groups of all processes, also those that were dropped or have no grades; all processes take part.

    Raises: StorageError.
    """
    reasons: dict[int, str | None] = {summary.index: summary.dropped for summary in batch.summaries}
    reasons.update({lost.index: lost.reason for lost in batch.lost})
    sigmas = {task: moments.sigma for task, moments in ema.items()}
    mine = [
        {
            "step": step + 1,
            "policy_version": next((each.version for each in group.rollouts if each.version is not None), step),
            "dropped": reasons.get(index),
            "sigma": sigmas.get(group.task),
            **_record(group, advantages.get(index)),
        }
        for index, group in batch.groups.items()
    ]
    groups = sorted(session.collectives.gather(mine), key=lambda record: int(record["index"]))
    if session.collectives.is_main:
        write_rollouts(session.folder.path, step + 1, groups, max_bytes=max_mb * 1e6)


def _record(group: Group, advantages_G: Tensor | None) -> dict[str, Any]:
    """Return a group as it is kept; an answer without a grade, or outside the update, has None in its place."""
    sample = group.sample
    grades = group.grades or (None,) * len(group.texts)
    values = advantages_G.tolist() if advantages_G is not None else [None] * len(group.texts)
    return {
        "index": group.index,
        "id": sample.id,
        "task": group.task,
        "problem": sample.problem,
        "problem_type": sample.problem_type,
        "data_type": sample.data_type,
        "options": list(sample.options),
        "truth": sample.truth,
        # None stands for what is no file: a scene, or a picture in a table.
        "media": [str(path.absolute()) if path else None for path in map(path_of, sample.media)],
        "clips": [[one.start_s, one.end_s] if isinstance(one, VideoPart) else None for one in sample.media],
        "first_box": list(sample.first_box) if sample.first_box is not None else None,
        **({"frame_px": list(group.frame_px)} if group.frame_px is not None else {}),
        "source": sample.source,
        "license": sample.license,
        "answers": [
            {
                "text": text,
                "tokens": len(rollout.ids),
                "finish_reason": "length" if rollout.truncated else "stop",
                "advantage": value,
                **_parts(grade),
            }
            for text, rollout, value, grade in zip(group.texts, group.rollouts, values, grades, strict=True)
        ],
    }


def _parts(grade: Grade | None) -> dict[str, Any]:
    if grade is None:
        return {"reward": None}
    parts = {name: getattr(grade, name) for name in ("reward", "accuracy", "format", "structure", "problems")}
    return {**parts, "rewards": grade.rewards} if isinstance(grade, RewardedGrade) else parts
