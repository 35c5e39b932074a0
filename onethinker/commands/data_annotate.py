"""`onethinker data annotate`: a teacher writes reasoning for records with a truth, and what is right is kept."""

import math
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from onethinker.commands.data_options import SamplingOptions
from onethinker.commands.data_spread import SHARDS, ShardOptions
from onethinker.commands.options import Flags
from onethinker.core.errors import ConfigError
from onethinker.core.settings import FlagSettings

if TYPE_CHECKING:
    from onethinker.core.request import SamplingParams
    from onethinker.data.spreading import Shard, Work
    from onethinker.evaluation.annotating import Annotated as Done
    from onethinker.evaluation.annotating import Rules
    from onethinker.evaluation.spending import Budget
    from onethinker.tasks.template import PromptTemplate

SAMPLING = SamplingOptions()


class BudgetOptions(FlagSettings):
    """Limits on spending."""

    max_tokens: int | None = None
    """Stop asking when this command has paid for this many tokens of prompts and answers, the judge's included. The
    remaining records are refused for that reason, and asked about when the command is run again. With --shard each
    shard may spend its fraction."""
    max_cost: float | None = None
    """The same limit in money, using --price. It is checked after every 32 records at most, so it may be exceeded by
    that much."""
    price: tuple[float, float] | None = None
    """Price of a million prompt tokens and of a million answer tokens, in any currency."""
    judge_price: tuple[float, float] | None = None
    """The same two prices for the judge's tokens."""

    def budget(self, judge: str | None) -> "Budget":
        """Return what may be spent. Raises: ConfigError."""
        from onethinker.evaluation.spending import Budget

        for flag, prices in (("--price", self.price), ("--judge-price", self.judge_price)):
            if prices is not None and not all(0 <= price < math.inf for price in prices):
                raise ConfigError(f"{flag} must be two numbers of 0 or more, got {prices[0]:g} {prices[1]:g}")
        for flag, most in (("--max-tokens", self.max_tokens), ("--max-cost", self.max_cost)):
            if most is not None and not 0 < most < math.inf:
                raise ConfigError(f"{flag} must be above 0, got {most:g}")
        if self.judge_price is not None and judge is None:
            raise ConfigError("--judge-price needs --judge, which is missing")
        if self.max_cost is not None:
            missing = [flag for flag, prices in (("--price", self.price),) if prices is None]
            missing += ["--judge-price"] if judge is not None and self.judge_price is None else []
            if missing:
                raise ConfigError(f"--max-cost needs {' and '.join(missing)}, the price of a million tokens")
        unlimited = Budget()
        return Budget(self.max_tokens or unlimited.tokens, self.max_cost or unlimited.cost)


class JudgeOptions(FlagSettings):
    """A second model that judges the reasoning."""

    judge: str | None = None
    """A model that sees the same media and scores the reasoning of each right answer from 0 to 1: a folder, a hub id or
    an address, as for --teacher."""
    sound: float = 0.7
    """With --judge: the minimum score of the reasoning."""
    judge_prompts: Path | None = None
    """TOML file with the judge's instructions (field "system"), replacing the built-in ones."""

    def check(self) -> None:
        """Raise ConfigError for options that do not go together."""
        if self.judge is None and self.judge_prompts is not None:
            raise ConfigError("--judge-prompts needs --judge, which is missing")
        if not 0 <= self.sound <= 1:
            raise ConfigError(f"--sound must be from 0 to 1, got {self.sound:g}")


BUDGET, JUDGE = BudgetOptions(), JudgeOptions()


def data_annotate(
    files: Annotated[tuple[Path, ...], tyro.conf.Positional],
    *,
    teacher: str,
    output: Path,
    refused: Path | None = None,
    tries: int = 4,
    keep: Literal["first", "shortest", "best"] = "first",
    threshold: tuple[str, ...] = ("0.7",),
    prompts: Path | None = None,
    judging: Flags[JudgeOptions] = JUDGE,
    spending: Flags[BudgetOptions] = BUDGET,
    sampling: Flags[SamplingOptions] = SAMPLING,
    spread: Flags[ShardOptions] = SHARDS,
    media_root: Path | None = None,
    json: bool = False,
) -> None:
    """Let a teacher model write reasoning and answers for records with a reference answer, and keep the right ones.

    Each answer is read strictly and graded by its task. It is kept if its accuracy reaches the threshold, if it has the
    complete form of a response, and if the judge (if there is one) finds its reasoning sound. All answers are saved in
    OUTPUT.answers as they come, and the judge's scores in OUTPUT.verdicts: a command that was stopped, or is run again
    with another threshold, pays for nothing twice. A segmentation record without a reference answer gets box and points
    from its masks.

    Args:
        files: JSON lists or JSONL files of samples.
        teacher: The model that writes the answers: a model folder, a Hugging Face id, or the address of an
            OpenAI-compatible server such as http://host:8000/v1.
        output: New JSONL file of the records that are kept, with "response" and "annotation": teacher, tries, accuracy,
            tokens, and with a judge also judge and "sound".
        refused: New JSONL file of the other records, each with "refused": the reason, and accuracy, reasons and text of
            each try. By default next to the output, as NAME.refused.jsonl.
        tries: Maximum number of answers per record.
        keep: "first" stops at the first answer that is good enough; "shortest" and "best" choose among all tries.
        threshold: Accuracy that an answer needs, also for single tasks, such as 0.7 tracking=0.5 math=1.
        prompts: TOML file with a prompt for the teacher that replaces the built-in one: system, frame, and [reasoning]
            by task.
        judging: A second model that judges the reasoning.
        spending: Limits on spending.
        sampling: How the teacher's answers are sampled.
        spread: How the work is divided.
        media_root: Folder that media paths are relative to; by default that of the file.
        json: Print one JSON object with counts by task and by reason, tokens and cost.
    """
    from onethinker.commands.data_options import check_files, check_output

    refused = refused or output.with_name(f"{output.stem}.refused.jsonl")
    check_files(files)
    for path, flag in ((output, "--output"), (refused, "--refused")):
        check_output(path, flag)
    if sampling.prompt_template and prompts:
        raise ConfigError("--prompts and --prompt-template both set the prompt: give only one of them")
    judging.check()
    from onethinker.commands.data_options import sampling_of
    from onethinker.evaluation.annotating import TEACHER, teacher_prompts, write_annotated
    from onethinker.evaluation.reasoning_judge import judge_words

    asking = Asking(
        files=files,
        teacher=teacher,
        words=teacher_prompts(prompts or TEACHER),
        sampling=sampling,
        draws=sampling_of(sampling),
        rules=_rules(tries, keep, threshold, judging.sound, spending.budget(judging.judge)),
        judge=judging.judge,
        judge_words=judge_words(*filter(None, (judging.judge_prompts,))),
        prices=(spending.price or (0.0, 0.0), spending.judge_price or (0.0, 0.0)),
        output=output,
        refused=refused,
        media_root=media_root,
    )
    asked = {"command": "annotate", "teacher": teacher, "tries": tries, "keep": keep, "threshold": threshold}
    asked |= {"prompts": prompts, **judging.model_dump(), **sampling.model_dump(exclude={"patience", "batch_size"})}
    results = spread.results(
        files, asking.opened, asked | {"media_root": media_root, "output": output, "refused": refused}, as_json=json
    )
    if results is None:
        return
    done = write_annotated(results, output, refused)
    _print(done, output, refused, as_json=json, is_priced=spending.price is not None)


@dataclass(frozen=True)
class Asking:
    """All that is needed to open a teacher, and its judge, for a shard."""

    files: tuple[Path, ...]
    teacher: str
    words: "PromptTemplate"
    sampling: SamplingOptions
    draws: "SamplingParams"
    rules: "Rules"
    judge: str | None
    judge_words: str
    prices: tuple[tuple[float, float], tuple[float, float]]
    output: Path
    refused: Path
    media_root: Path | None

    @contextmanager
    def opened(self, shard: "Shard | None") -> "Iterator[Work]":
        """Yield what annotates the blocks of a shard, which has journals and a share of the budget of its own."""
        from onethinker.commands.console import progress_bar
        from onethinker.commands.data_options import load_model
        from onethinker.data.check import read_rows
        from onethinker.data.spreading import blocks_of
        from onethinker.evaluation.annotating import Annotator
        from onethinker.evaluation.reasoning_judge import ReasoningJudge
        from onethinker.evaluation.spending import Price
        from onethinker.evaluation.tries import open_tries

        rules = replace(self.rules, budget=self.rules.budget.share(shard.count if shard else 1))
        journals = [self.output.with_name(f"{self.output.name}{f'.{shard}' if shard else ''}.{what}") for what in KEPT]
        price, judge_price = (Price(*prices) for prices in self.prices)
        with ExitStack() as stack:
            engine = stack.enter_context(load_model(self.teacher, self.sampling, self.words))
            tries = stack.enter_context(open_tries(engine, journals[0], self.draws, price))
            judge = None
            if self.judge is not None:
                reader = stack.enter_context(load_model(self.judge, self.sampling))
                greedy = replace(self.draws, temperature=0.0, top_p=1.0)
                judge = ReasoningJudge(
                    stack.enter_context(open_tries(reader, journals[1], greedy, judge_price)), self.judge_words
                )
            total = sum(len(block) for _, block in blocks_of(read_rows(self.files), shard))
            move = stack.enter_context(progress_bar("annotating"))

            def on_progress(records: int, tokens: int, cost: float) -> None:
                move(records, total, f"annotating, {tokens:,} tokens{f', {cost:,.2f}' if cost else ''}")

            folders = self.output.parent, self.refused.parent
            yield Annotator(tries, rules, *folders, judge, self.media_root, on_progress)


KEPT = ("answers", "verdicts")
"""The journals beside the output, by what they hold."""


def _print(done: "Done", output: Path, refused: Path, *, as_json: bool, is_priced: bool) -> None:
    from onethinker.storage.strict_json import to_json

    if as_json:
        counts = {"records": done.records, "kept": dict(done.kept), "refused": dict(done.refused)}
        print(to_json({**counts, "reasons": dict(done.reasons), "tokens": done.tokens, "cost": done.cost}))
        return
    print(output)
    spent = f"{done.tokens:,} tokens{f' for {done.cost:,.2f}' if is_priced else ''}"
    print(f"{done.kept.total():,} of {done.records:,} records kept, {spent}; others: {refused}", file=sys.stderr)
    for task in sorted({*done.kept, *done.refused}):
        print(f"{done.kept[task]:8,} of {done.kept[task] + done.refused[task]:,}  {task}", file=sys.stderr)
    for reason, count in done.reasons.most_common():
        print(f"{count:8,}  {reason}", file=sys.stderr)


def _rules(
    tries: int, keep: Literal["first", "shortest", "best"], words: tuple[str, ...], sound: float, budget: "Budget"
) -> "Rules":
    """Return which answers are kept. Raises: ConfigError."""
    from onethinker.core.nearest import no_such
    from onethinker.evaluation.annotating import Rules
    from onethinker.tasks import all_tasks
    from onethinker.tasks.registry import ALIASES

    if tries < 1:
        raise ConfigError(f"--tries must be 1 or more, got {tries}")
    known = {name for task in all_tasks() for name in (task.key, task.problem_type)}
    found: dict[str, float] = {}
    for word in words:
        name, _, value = word.rpartition("=")
        try:
            found[name] = float(value)
        except ValueError:
            found[name] = float("nan")
        if not 0 <= found[name] <= 1:
            raise ConfigError(f"--threshold takes accuracies from 0 to 1, such as 0.7 tracking=0.5, got {word!r}")
        if name and name not in known:
            raise ConfigError(f"--threshold: {no_such('task', name, sorted(known), aliases=ALIASES)}")
    return Rules(tries, found.pop("", Rules.threshold), found, keep, sound, budget)
