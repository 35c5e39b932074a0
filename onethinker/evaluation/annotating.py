"""A teacher writes reasoning for records with a truth; what its answer is worth decides whether it is kept."""

import tomllib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any, Literal

from onethinker.core.errors import AnswerError, ConfigError, DataError
from onethinker.core.grammar import parse_response
from onethinker.core.nearest import no_such
from onethinker.core.sample import Sample
from onethinker.data.blocks import Read, read_block
from onethinker.data.formats.records import Record, dump_record
from onethinker.data.formats.released import record_from_sample
from onethinker.data.published.masks import with_truth_from_masks
from onethinker.data.spreading import Block
from onethinker.data.statistics import UNREAD
from onethinker.evaluation.reasoning_judge import ReasoningJudge
from onethinker.evaluation.spending import Budget
from onethinker.evaluation.tries import Tries, Try
from onethinker.storage.atomic import opened_atomically, writing
from onethinker.tasks import all_tasks, task_of
from onethinker.tasks.grading import ROUNDING
from onethinker.tasks.template import PromptTemplate

TEACHER = Path(__file__).with_name("teacher.toml")
"""Our own words for a teacher."""
AT_ONCE, AT_ONCE_WITH_BUDGET = 128, 32
"""Records about which the teacher is asked together; after each time it is looked whether a budget is used up."""
NO_TRUTH = "no reference answer to grade by"
Keep = Literal["first", "shortest", "best"]


@dataclass(frozen=True)
class Rules:
    """Which of a teacher's answers are kept.

    Each record gets up to `tries` answers, and one is kept whose accuracy is at least `threshold`, or that of its task
    in `thresholds`, in the whole form of an answer, and whose reasoning is at least so `sound`, where that is judged:
    the "first", the rest is then not asked for; the "shortest"; or the "best". Once the budget is used up, nothing
    more is asked for.
    """

    tries: int = 4
    threshold: float = 0.7
    thresholds: Mapping[str, float] = field(default_factory=dict)
    keep: Keep = "first"
    sound: float = 0.7
    budget: Budget = field(default_factory=Budget)

    def needed(self, sample: Sample) -> float:
        """Return the accuracy that an answer to a sample needs."""
        own = self.thresholds.get(task_of(sample).key)
        return self.thresholds.get(sample.problem_type, self.threshold) if own is None else own


@dataclass
class Annotated:
    """How many records were kept and refused, by task and by reason."""

    kept: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    tokens: int = 0
    cost: float = 0.0

    @property
    def records(self) -> int:
        """All of them."""
        return self.kept.total() + self.refused.total()


def teacher_prompts(path: Path = TEACHER) -> PromptTemplate:
    """Return a teacher's words out of a TOML file: `system`, `frame`, and in [reasoning] what comes before a task's own
    instructions. Raises: ConfigError.
    """
    try:
        words: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
        reasoning = words.pop("reasoning", {})
        tasks = {task.key: task for task in all_tasks()}
        for name in reasoning:
            if name not in tasks:
                raise ConfigError(f"{path}: reasoning: {no_such('task', name, tasks)}")
        instructions = {name: f"{text}\n{tasks[name].instructions}" for name, text in reasoning.items()}
        fields = {name: str(text).strip() for name, text in words.items()}
        return PromptTemplate.model_validate({**fields, "instructions": instructions})
    except (OSError, ValueError, AttributeError) as error:
        raise ConfigError(
            f"{path}: cannot be read as prompts for the teacher (system, frame, [reasoning]): {error}"
        ) from error


@dataclass
class Annotator:
    """Has a teacher annotate the records of a block, with a second model as a judge of the reasoning, or without.

    `kept` and `refused` are the folders of the files that records go to. A segmentation without a truth gets that of
    its masks. `on_progress` hears of records that are done, and of the tokens and the money spent for them.
    """

    tries: Tries
    rules: Rules
    kept: Path
    refused: Path
    judge: ReasoningJudge | None = None
    media_root: Path | None = None
    on_progress: Callable[[int, int, float], None] | None = None
    _records: int = 0

    def __call__(self, block: Block) -> dict[str, Any]:
        """Return for each record its task, why it is refused ("" where it is kept) and the record, and what was spent.

        Raises: EngineError: the teacher or the judge does not answer at all.
        """
        tokens, cost = self._spent()
        rest, rows = iter(read_block(block, self.media_root)), list[tuple[str, str, Record]]()
        while some := list(islice(rest, AT_ONCE_WITH_BUDGET if self.rules.budget.is_limited else AT_ONCE)):
            rows += self._annotated(some)
            self._records += len(some)
            if self.on_progress:
                self.on_progress(self._records, *self._spent())
        now_tokens, now_cost = self._spent()
        return {"rows": rows, "tokens": now_tokens - tokens, "cost": now_cost - cost}

    def _spent(self) -> tuple[int, float]:
        """Return tokens and money that teacher and judge have cost."""
        spent = [self.tries.spent, *([self.judge.tries.spent] if self.judge is not None else ())]
        return sum(own.tokens for own in spent), sum(own.cost for own in spent)

    def _annotated(self, some: Sequence[Read]) -> Iterator[tuple[str, str, Record]]:
        reads = [_with_truth(read) for read in some]
        askable = [read.sample for read in reads if read.sample is not None and read.sample.truth]
        used_up = self.rules.budget.used_up(*self._spent())
        answers = iter(self._ask(askable) if not used_up else [[] for _ in askable])
        for read in reads:
            if read.sample is None:
                where = {"file": str(read.file), "row": read.row, "reason": read.error}
                yield UNREAD, UNREAD, {**read.record, "refused": where}
                continue
            sample, own = read.sample, next(answers) if read.sample.truth else []
            if (found := _chosen(own, sample, self.rules)) is not None:
                about = {"teacher": self.tries.engine.name, "tries": len(own)}
                if self.judge is not None:
                    about |= {"judge": self.judge.tries.engine.name, "sound": found.sound}
                record, reason = record_from_sample(_with_response(sample, found, about), root=self.kept), ""
            else:
                reason = used_up if used_up and sample.truth else _reason(own, sample, self.rules)
                record = record_from_sample(_with_reason(sample, reason, own), root=self.refused)
            yield task_of(sample).key, reason, record

    def _ask(self, samples: Sequence[Sample]) -> list[list[Try]]:
        """Return the answers to each sample, in the order of their tries."""
        found: list[list[Try]] = [[] for _ in samples]
        every = range(self.rules.tries)
        for indices in [[index] for index in every] if self.rules.keep == "first" else [every]:
            open_ = [n for n, own in enumerate(found) if _chosen(own, samples[n], self.rules) is None]
            wanted = [(n, index) for n in open_ for index in indices]
            answers = self.tries.ask([(samples[n], index) for n, index in wanted])
            asked = [(samples[n], one) for (n, _), one in zip(wanted, answers, strict=True)]
            for (n, _), one in zip(wanted, self._judged(asked), strict=True):
                found[n].append(one)
        return found

    def _judged(self, answers: Sequence[tuple[Sample, Try]]) -> list[Try]:
        """Return answers, those that are good enough so far with how sound their reasoning is."""
        if self.judge is None:
            return [one for _, one in answers]
        asked = [pair for pair in answers if _is_good(pair[1], self.rules.needed(pair[0]))]
        read = iter(self.judge.read(asked))
        return [next(read) if _is_good(one, self.rules.needed(sample)) else one for sample, one in answers]


def write_annotated(results: Iterable[Any], kept: Path, refused: Path) -> Annotated:
    """Write the records of what an annotator made of each block, those that are kept and those that are refused each
    into a file of its own that is written whole or not at all. Raises: StorageError, and what `results` raises.
    """
    done = Annotated()
    with ExitStack() as opened:
        for path in (kept, refused):
            with writing(path):
                path.parent.mkdir(parents=True, exist_ok=True)
        good, bad = (opened.enter_context(opened_atomically(path)) for path in (kept, refused))
        for block in results:
            for task, reason, record in block["rows"]:
                (bad if reason else good).write(f"{dump_record(record)}\n".encode())
                (done.refused if reason else done.kept)[task] += 1
                done.reasons.update([reason] if reason else [])
            done.tokens += block["tokens"]
            done.cost += block["cost"]
    return done


def _with_response(sample: Sample, kept: Try, about: Mapping[str, Any]) -> Sample:
    """Return a sample with the answer that is kept as its response, and where it is from."""
    annotation = {**about, "accuracy": kept.accuracy, "tokens": kept.tokens}
    return replace(sample, response=kept.text.strip(), extra={**sample.extra, "annotation": annotation})


def _with_reason(sample: Sample, reason: str, answers: Sequence[Try]) -> Sample:
    """Return a sample with why it is refused, and all answers to it."""
    refused = {"reason": reason, "tries": [_about(one) for one in answers]}
    return replace(sample, extra={**sample.extra, "refused": refused})


def _with_truth(read: Read) -> Read:
    if read.sample is None or read.sample.masks is None:
        return read
    try:
        return replace(read, sample=with_truth_from_masks(read.sample))
    except DataError:
        return read  # it is refused for want of a truth


def _chosen(answers: Sequence[Try], sample: Sample, rules: Rules) -> Try | None:
    """Return the answer that is kept of these, None where none is good enough."""
    good = [one for one in answers if _is_good(one, rules.needed(sample)) and _is_sound(one, rules)]
    if not good:
        return None
    if rules.keep == "best":
        return max(good, key=lambda one: (one.accuracy, -one.tokens))
    return good[0] if rules.keep == "first" else min(good, key=lambda one: one.tokens)


def _is_good(one: Try, needed: float) -> bool:
    return one.grade is not None and one.grade.format == 1 and one.accuracy >= needed - ROUNDING and _thinks(one)


def _is_sound(one: Try, rules: Rules) -> bool:
    return not one.is_judged or (one.sound is not None and one.sound >= rules.sound - ROUNDING)


def _thinks(one: Try) -> bool:
    """Tell whether there is any reasoning to learn from."""
    try:
        return bool(parse_response(one.text).thinking.strip())
    except AnswerError:
        return False


def _reason(answers: Sequence[Try], sample: Sample, rules: Rules) -> str:
    """Return why no answer is kept, by what the best of them lacks."""
    if not sample.truth:
        return NO_TRUTH
    graded = [one for one in answers if one.grade is not None]
    if not graded:
        return "no answer"
    best = max(graded, key=lambda one: one.accuracy)
    if best.truncated:
        return "the answer was cut off"
    if best.grade is not None and best.accuracy >= rules.needed(sample) - ROUNDING:
        if judged := [one.sound for one in graded if one.is_judged]:
            return "no verdict of the judge" if set(judged) == {None} else f"reasoning below {rules.sound:g}"
        return "the form of the answer" if best.grade.format < 1 else "no reasoning"
    return f"accuracy below {rules.needed(sample):g}"


def _about(one: Try) -> dict[str, Any]:
    if one.grade is None:
        return {"error": one.error}
    return {
        "accuracy": one.accuracy,
        "format": one.grade.format,
        "tokens": one.tokens,
        "reasons": list(one.grade.reasons),
        **({"sound": one.sound} if one.is_judged else {}),
        "text": one.text,
    }
