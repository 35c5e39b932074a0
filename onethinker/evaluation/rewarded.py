"""The rewards of a recipe (`grading.rewards`) in an evaluation: what RL would give each answer by itself."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from onethinker.core.sample import Sample
from onethinker.evaluation.results import Result
from onethinker.rewards.config import RewardSettings, rewards_of, term_name
from onethinker.rewards.extra import add_rewards
from onethinker.rewards.grader import answer_group

Rewards = Mapping[str, RewardSettings]


def with_rewards(
    results: Sequence[Result], samples: Sequence[Sample], rewards: Rewards, *, max_tokens: int
) -> list[Result]:
    """Return results whose reward is the weighted sum of a recipe's rewards; its terms are metrics, before weights.

    Each answer is a group of its own. Raises: PluginError: a reward failed; nothing is scored by it.
    """
    return [_with(result, sample, rewards, max_tokens) for result, sample in zip(results, samples, strict=True)]


def _with(result: Result, sample: Sample, rewards: Rewards, max_tokens: int) -> Result:
    weights = rewards_of(rewards, sample.problem_type)
    if result.grade is None or not weights:
        return result
    group = answer_group(
        sample,
        (result.response,),
        (result.grade,),
        tokens=(result.answer_tokens,),
        truncated=(result.finish_reason == "length",),
        max_tokens=max_tokens,
        frame_px=result.frame_px,
    )
    (grade,) = add_rewards(group, weights)
    terms = {term_name(name): value for name, value in grade.rewards.items()}
    metrics = {**result.grade.metrics, **terms}
    return replace(result, grade=replace(result.grade, reward=grade.reward, metrics=metrics))
