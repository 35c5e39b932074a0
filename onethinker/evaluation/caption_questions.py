"""What a description is worth by the questions that can be answered out of it: a judge answers them, and is then asked
whether its answers are right.

Source: Video-MMLU's captions; release, VLMEvalKit/vlmeval/dataset/video_mmlu.py, which files the answers to all
questions of a video under one key, so that only one of them counts: the last one, where they come in order.
"""

from collections.abc import Mapping

from onethinker.core.errors import EngineError
from onethinker.core.sample import Sample
from onethinker.rewards.judge import Judge, Question

PAPER = "questions answered (paper)"
RIGHT_FROM = 0.5
"""The judge's score from which an answer counts as right."""


def nothing_answered(sample: Sample) -> dict[str, float]:
    """Return what a sample's missing description is worth."""
    return _metrics([False] * len(sample.questions))


def questions_answered(
    judge: Judge, descriptions: Mapping[int, tuple[str, Sample]]
) -> dict[int, dict[str, float] | EngineError]:
    """Return for each description how many of its sample's questions it answers, or the first error why this is not
    known.
    """
    asked = [
        (index, description, question, truth)
        for index, (description, sample) in descriptions.items()
        for question, truth in sample.questions
    ]
    answers = judge.answer([(description, question) for _, description, question, _ in asked])
    pairs = list(zip(asked, answers, strict=True))
    given = [Question(question, truth, answer) for (_, _, question, truth), answer in pairs if isinstance(answer, str)]
    verdicts = iter(judge.score(given))
    right: dict[int, list[bool]] = {index: [] for index in descriptions}
    failed: dict[int, EngineError] = {}
    for (index, *_), answer in pairs:
        verdict = next(verdicts) if isinstance(answer, str) else answer
        if isinstance(verdict, EngineError):
            failed.setdefault(index, verdict)
        else:
            right[index].append(verdict.score >= RIGHT_FROM)
    return {index: failed[index] if index in failed else _metrics(own) for index, own in right.items()}


def _metrics(right: list[bool]) -> dict[str, float]:
    return {PAPER: float(right[-1]), "questions_right": float(sum(right)), "questions": float(len(right))}
