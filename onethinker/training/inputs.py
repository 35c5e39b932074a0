"""Which records a run may learn from: those that are right, and that fit into a row."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from onethinker.core.errors import DataError
from onethinker.data.mixture import Mixture
from onethinker.data.validate import SHOWN, Checked, Problem, check_files
from onethinker.media.budget import MediaBudget
from onethinker.tasks.template import PromptTemplate
from onethinker.training.config import Recipe, RlRecipe
from onethinker.training.lengths import Length, Lengths
from onethinker.training.validation import check_validation


@dataclass(frozen=True)
class Inputs:
    """The records that are drawn are those not left out; `left_out` says why, `lines` is what a user must know of them
    all.
    """

    left_out: tuple[Problem, ...] = ()
    lines: tuple[str, ...] = ()

    @property
    def rows(self) -> dict[Path, set[int]]:
        """The rows of each file that are left out."""
        rows: dict[Path, set[int]] = {}
        for problem in self.left_out:
            rows.setdefault(problem.file, set()).add(problem.row)
        return rows


def check_data(recipe: Recipe, on_progress: Callable[[int, int], None] | None = None) -> Checked:
    """Return what a recipe's files hold, after every record and the header of every medium was looked at, those of its
    validation too. Raises: DataError.
    """
    data = recipe.data
    checked = check_files(
        data.files,
        need=recipe.need,
        invalid=data.invalid,
        max_corrupt_fraction=data.max_corrupt_fraction,
        strict_media=data.strict_media,
        on_progress=on_progress,
    )
    if recipe.validation is None:
        return checked
    notes = check_validation(recipe.validation, (record.sample for record in checked.records))
    return replace(checked, notes=tuple(notes))


def open_mixture(recipe: Recipe, inputs: Inputs) -> Mixture:
    """Return the endless order of a recipe's samples, without those that are left out. Raises: DataError."""
    data = recipe.data
    return Mixture.open(
        data.files,
        data.problem_types,
        data.weights,
        data.seed,
        data.questions_per_clip,
        world=data.world,
        leave_out=inputs.rows,
    )


def unused_weights(data: Mixture) -> list[str]:
    """Return a line about the weights of a recipe that its files have no samples for, if there are any."""
    if not data.unused:
        return []
    return [f"data.weights: {', '.join(data.unused)} left out, because the files have no sample of them"]


def measure(
    recipe: Recipe, checked: Checked, *, processor: Any, prompt_template: PromptTemplate, budget: MediaBudget
) -> Lengths:
    """Return the lengths of records that have been checked, as a recipe would train on them."""
    return Lengths(
        [record.sample for record in checked.records],
        checked.headers,
        processor=processor,
        prompt_template=prompt_template,
        budget=budget,
        max_new_tokens=new_tokens(recipe),
    )


def new_tokens(recipe: Recipe) -> int | None:
    """Return the tokens of an answer at most in RL; None for SFT, where each has its own."""
    return recipe.rollout.max_new_tokens if isinstance(recipe, RlRecipe) else None


def choose_inputs(recipe: Recipe, checked: Checked, lengths: Lengths) -> Inputs:
    """Return what is left out of the records of a recipe, because it is wrong or too long.

    Raises: DataError: names the records that are longer than a row, where `data.too_long` does not say what to do with
    them.
    """
    long = lengths.longer_than(recipe.max_row_tokens)
    if not long:
        return Inputs(checked.invalid, tuple(checked.lines()))
    kept = recipe.data.too_long == "truncate"
    hopeless = {n: length for n, length in long.items() if length.prompt >= recipe.max_row_tokens} if kept else long
    if hopeless and (kept or recipe.data.too_long == "error" or len(long) == len(checked.records)):
        raise DataError(_refusal(recipe, checked, hopeless))
    problems = tuple(
        Problem(checked.records[n].file, checked.records[n].row, too_long_text(length, recipe))
        for n, length in sorted(long.items())
    )
    done = "their responses are cut" if kept else "left out"
    said = (
        f"{len(long):,} of {checked.count:,} records are too long ({done}, data.too_long):"
        f" {'; '.join(map(str, problems[:SHOWN]))}"
    )
    said += f"; and {len(long) - SHOWN} more" if problems[SHOWN:] else ""
    return Inputs(checked.invalid + (() if kept else problems), (*checked.lines(), said))


def too_long_text(length: Length, recipe: Recipe) -> str:
    """Return in words how long a record is beside a row."""
    answer = "rollout.max_new_tokens" if isinstance(recipe, RlRecipe) else "its response"
    return (
        f"{length.total:,} tokens (prompt {length.prompt:,}, of which {length.visual:,} are visual;"
        f" {answer} {length.answer:,}), a row has max_row_tokens = {recipe.max_row_tokens:,}"
    )


def _refusal(recipe: Recipe, checked: Checked, long: Mapping[int, Length]) -> str:
    order = sorted(long, key=lambda n: long[n].total, reverse=True)
    shown = [(checked.records[n], long[n]) for n in order[:SHOWN]]
    longest = "\n".join(
        f"  {record.file}, row {record.row}: {too_long_text(length, recipe)}" for record, length in shown
    )
    what = "have prompts that fill a row alone" if recipe.data.too_long == "truncate" else "are longer than a row"
    ways = 'leave them out with data.too_long = "skip"'
    if not isinstance(recipe, RlRecipe):
        ways += ', or cut the ends of responses with "truncate" (a prompt is never cut)'
    return (
        f"{len(long):,} of {checked.count:,} records {what}; the longest:\n{longest}\nRaise max_row_tokens, lower the"
        f" [budget] of media{' or rollout.max_new_tokens' if isinstance(recipe, RlRecipe) else ''}, or {ways}"
    )
