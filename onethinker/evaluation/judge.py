"""A chat model that says how right answers in free text are: each asked once, remembered on disk, its tokens
counted.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b
from pathlib import Path
from typing import Any

import httpx

from onethinker.core.errors import EngineError
from onethinker.core.sample import Sample
from onethinker.evaluation.results import Result
from onethinker.rewards.config import RewardModelSettings
from onethinker.rewards.reward_model import TRIAL, judge_body, open_endpoint, read_verdict
from onethinker.storage.jsonl_log import append_to_log, read_log
from onethinker.storage.strict_json import to_json
from onethinker.tasks import read_response, task_of
from onethinker.tasks.base import Profile
from onethinker.tasks.grading import judged_grade

METRIC = "judge"


@dataclass(frozen=True)
class Verdict:
    """A score of 0 to 1 and what it cost when it was asked for; the server's own counts, 0 where it does not count."""

    key: str
    score: float
    prompt_tokens: int
    answer_tokens: int


@dataclass(frozen=True)
class Question:
    """What the judge sees of an answer: never the picture or video."""

    question: str
    truth: str
    answer: str


class Judge:
    """A judge with its memory: the same question about the same answer to the same model is asked once, whatever run it
    is in.
    """

    def __init__(self, settings: RewardModelSettings, cache: Path) -> None:
        """Read what is remembered. Raises: CheckpointError: the file cannot be read, or a whole line of it is
        damaged.
        """
        self.settings = settings
        self.asked = self.remembered = self.prompt_tokens = self.answer_tokens = 0
        self._cache = cache
        self._known = {verdict.key: verdict for verdict in read_log(cache, lambda fields: Verdict(**fields))}

    @property
    def name(self) -> str:
        """What is said of scores in grades."""
        return f"judge {self.settings.model}"

    def describe(self) -> dict[str, Any]:
        """Return what of the judge decides a number, for the settings of a run."""
        body = judge_body("", "", "", settings=self.settings)
        return {"model": self.settings.model, "instructions": _digest(body), "max_tokens": self.settings.max_tokens}

    def cost(self) -> str:
        """Return in words what was spent since the start."""
        return (
            f"{self.name}: {self.asked} answers judged for {self.prompt_tokens} tokens read and"
            f" {self.answer_tokens} written, {self.remembered} remembered"
        )

    def score(self, questions: Sequence[Question]) -> list[Verdict | EngineError]:
        """Return for each answer its verdict, remembered or asked for now, or the error why there is none."""
        bodies = [judge_body(item.question, item.truth, item.answer, settings=self.settings) for item in questions]
        keys = [_digest(body) for body in bodies]
        wanted = {key: body for key, body in zip(keys, bodies, strict=True) if key not in self._known}
        self.remembered += len(keys) - len(wanted)
        answers = dict(zip(wanted, asyncio.run(self._ask(wanted)) if wanted else [], strict=True))
        fresh = [answer for answer in answers.values() if isinstance(answer, Verdict)]
        self._remember(fresh)
        return [self._known[key] if key in self._known else answers[key] for key in keys]

    def try_out(self) -> None:
        """Have an answer judged, so that a wrong address, name or key is known before anything is spent. Raises:
        EngineError.
        """
        question, truth, (answer, *_) = TRIAL
        [verdict] = self.score([Question(question, truth, answer)])
        if isinstance(verdict, EngineError):
            raise EngineError(f"a first try with {self.name} failed: {verdict}") from verdict

    async def _ask(self, wanted: dict[str, dict[str, Any]]) -> list[Verdict | EngineError]:
        settings = self.settings
        endpoint = open_endpoint(settings)
        free = asyncio.Semaphore(settings.max_concurrent)

        async def one(client: httpx.AsyncClient, key: str, body: dict[str, Any]) -> Verdict | EngineError:
            async with free:
                try:
                    return await endpoint.send(
                        client, "POST", "/chat/completions", body, read=lambda reply: _read(key, reply)
                    )
                except EngineError as error:
                    return error

        async with endpoint.client() as client:
            return list(await asyncio.gather(*(one(client, key, body) for key, body in wanted.items())))

    def _remember(self, verdicts: Sequence[Verdict]) -> None:
        if not verdicts:
            return
        self._known |= {verdict.key: verdict for verdict in verdicts}
        self.asked += len(verdicts)
        self.prompt_tokens += sum(verdict.prompt_tokens for verdict in verdicts)
        self.answer_tokens += sum(verdict.answer_tokens for verdict in verdicts)
        append_to_log(self._cache, verdicts)


def judge_results(judge: Judge, results: Sequence[Result], samples: Sequence[Sample], profile: Profile) -> list[Result]:
    """Return results in which the judge's score is the accuracy of every answer in free text, and its metric "judge".

    An answer that cannot be read has 0 and is not asked about; one about which the judge says nothing has no grade.
    """
    questions: dict[int, Question] = {}
    for position, (result, sample) in enumerate(zip(results, samples, strict=True)):
        task = task_of(sample)
        answer = read_response(result.response, task, sample.options).answer if task.judged and result.grade else None
        if answer is not None:
            questions[position] = Question(sample.problem, sample.truth, str(answer))
    verdicts = dict(zip(questions, judge.score(list(questions.values())), strict=True))
    return [
        _judged(result, sample, verdicts.get(position), judge, profile)
        for position, (result, sample) in enumerate(zip(results, samples, strict=True))
    ]


def _judged(
    result: Result, sample: Sample, verdict: Verdict | EngineError | None, judge: Judge, profile: Profile
) -> Result:
    task = task_of(sample)
    if result.grade is None or not task.judged:
        return result
    if isinstance(verdict, EngineError):
        return replace(result, grade=None, error=f"{judge.name}: {verdict}")
    score = verdict.score if verdict is not None else 0.0
    grade = (
        judged_grade(result.grade, score, task=task, profile=profile, by=judge.name)
        if verdict is not None
        else result.grade
    )
    return replace(result, grade=replace(grade, metrics={METRIC: score, **grade.metrics}))


def _read(key: str, reply: dict[str, Any]) -> Verdict:
    usage = reply.get("usage")
    counts = [usage.get(name) if isinstance(usage, dict) else 0 for name in ("prompt_tokens", "completion_tokens")]
    prompt_tokens, answer_tokens = (count if type(count) is int else 0 for count in counts)
    return Verdict(key, read_verdict(reply), prompt_tokens, answer_tokens)


def _digest(body: dict[str, Any]) -> str:
    return blake2b(to_json(body, sort_keys=True).encode(), digest_size=16).hexdigest()
