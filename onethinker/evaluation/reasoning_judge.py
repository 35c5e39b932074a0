"""A second model sees the same picture or video, reads a teacher's reasoning, and says how sound it is."""

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from pathlib import Path

from onethinker.core.errors import AnswerError, ConfigError
from onethinker.core.grammar import find_answer, parse_response
from onethinker.core.sample import Sample
from onethinker.evaluation.results import Answer
from onethinker.evaluation.tries import Tries, Try
from onethinker.storage.strict_json import to_json

JUDGE = Path(__file__).with_name("reasoning_judge.toml")
"""Our own words for a judge."""
_REMEMBERED = 100_000


@dataclass(frozen=True)
class ReasoningJudge:
    """A judge with the journal of its verdicts, and its instructions."""

    tries: Tries
    words: str
    _known: dict[str, float | None] = field(default_factory=dict)
    """How sound the reasonings read last are, by the names of their questions: a teacher may write one again."""

    def read(self, answers: Sequence[tuple[Sample, Try]]) -> list[Try]:
        """Return each answer with how sound its reasoning is, 0 to 1; None where the judge gave no such number.

        Raises: EngineError: the judge does not answer at all.
        """
        questions = [self._question(sample, one) for sample, one in answers]
        if len(self._known) > _REMEMBERED:
            self._known.clear()
        new = {question.id: question for question in questions if question.id not in self._known}
        verdicts = self.tries.answers([*new.values()]) if new else []
        self._known.update(zip(new, map(soundness, verdicts), strict=True))
        return [
            replace(one, is_judged=True, sound=self._known[question.id])
            for (_, one), question in zip(answers, questions, strict=True)
        ]

    def _question(self, sample: Sample, one: Try) -> Sample:
        about = {"options": list(sample.options)} if sample.options else {}
        thinking = parse_response(one.text).thinking.strip()
        asked = {"question": sample.problem, **about, "reference": sample.truth, "reasoning": thinking}
        content = to_json(asked, ensure_ascii=False)
        name = blake2b(f"{sample.id}\0{content}".encode("utf-8", "replace"), digest_size=8).hexdigest()
        return Sample(name, content, "open-ended", sample.data_type, sample.media, system=self.words)


def soundness(verdict: Answer) -> float | None:
    """Return the number in a judge's answer block; None where there is none from 0 to 1.

    >>> soundness(Answer("", "", "<think>The cup is there.</think><answer>0.9</answer>"))
    0.9
    """
    try:
        score = float(find_answer(verdict.text))
    except (AnswerError, ValueError):
        return None
    return score if 0 <= score <= 1 else None


def judge_words(path: Path = JUDGE) -> str:
    """Return a judge's instructions, `system` of a TOML file. Raises: ConfigError."""
    try:
        fields = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: cannot be read as instructions for the judge (system): {error}") from error
    words = fields.get("system")
    if list(fields) != ["system"] or not isinstance(words, str) or not words.strip():
        raise ConfigError(f"{path}: must have exactly one field, system, a text; got {', '.join(fields) or 'nothing'}")
    return words.strip()
