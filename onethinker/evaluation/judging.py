"""The judge's scores as accuracies of answers in free text."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from onethinker.core.errors import EngineError
from onethinker.core.sample import Sample
from onethinker.evaluation.caption_questions import nothing_answered, questions_answered
from onethinker.evaluation.results import Result
from onethinker.rewards.judge import Judge, Question, Verdict
from onethinker.tasks import read_response, task_of
from onethinker.tasks.base import RewardScheme
from onethinker.tasks.grading import judged_grade

METRIC = "judge"


def judge_results(
    judge: Judge, results: Sequence[Result], samples: Sequence[Sample], reward_scheme: RewardScheme
) -> list[Result]:
    """Return results in which the judge's score is the accuracy of every answer in free text, and its metric "judge".

    An answer that cannot be read has 0 and is not asked about; one about which the judge says nothing has no grade.
    A description with questions of its own has the fraction of them that can be answered out of it.
    """
    questions: dict[int, Question] = {}
    descriptions: dict[int, tuple[str, Sample]] = {}
    for position, (result, sample) in enumerate(zip(results, samples, strict=True)):
        task = task_of(sample)
        is_judged = task.judged and result.grade is not None
        answer = read_response(result.response, task, sample.options, result.reader).answer if is_judged else None
        if answer is not None and sample.questions:
            descriptions[position] = (str(answer), sample)
        elif answer is not None:
            questions[position] = Question(sample.problem, sample.truth, str(answer))
    verdicts = dict(zip(questions, judge.score(list(questions.values())), strict=True))
    answered = questions_answered(judge, descriptions)
    return [
        _described(result, sample, answered.get(position), judge, reward_scheme)
        if sample.questions
        else _judged(result, sample, verdicts.get(position), judge, reward_scheme)
        for position, (result, sample) in enumerate(zip(results, samples, strict=True))
    ]


def _described(
    result: Result,
    sample: Sample,
    answered: Mapping[str, float] | EngineError | None,
    judge: Judge,
    reward_scheme: RewardScheme,
) -> Result:
    if result.grade is None:
        return result
    if isinstance(answered, EngineError):
        return replace(result, grade=None, error=f"{judge.name}: {answered}")
    metrics = answered or nothing_answered(sample)
    accuracy = metrics["questions_right"] / metrics["questions"]
    grade = result.grade
    if answered is not None:
        grade = judged_grade(grade, accuracy, task=task_of(sample), reward_scheme=reward_scheme, by=judge.name)
    return replace(result, grade=replace(grade, metrics={**metrics, **grade.metrics}))


def _judged(
    result: Result, sample: Sample, verdict: Verdict | EngineError | None, judge: Judge, reward_scheme: RewardScheme
) -> Result:
    task = task_of(sample)
    if result.grade is None or not task.judged:
        return result
    if isinstance(verdict, EngineError):
        return replace(result, grade=None, error=f"{judge.name}: {verdict}")
    score = verdict.score if verdict is not None else 0.0
    grade = (
        judged_grade(result.grade, score, task=task, reward_scheme=reward_scheme, by=judge.name)
        if verdict is not None
        else result.grade
    )
    return replace(result, grade=replace(grade, metrics={METRIC: score, **grade.metrics}))
