"""Which records a run may learn from: those that are right, and that fit into a row."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from onethinker.core.errors import DataError
from onethinker.core.grammar import show
from onethinker.data.mixture import Mixture
from onethinker.data.validate import SHOWN, Checked, Problem, check_files, listed
from onethinker.media.budget import MediaBudget
from onethinker.tasks import Coordinates
from onethinker.tasks.template import PromptTemplate
from onethinker.training.config import Recipe, RlRecipe
from onethinker.training.lengths import Length, Lengths
from onethinker.training.preflight import samples_of
from onethinker.training.validation import check_validation

R = TypeVar("R", bound=Recipe)


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
    notes = check_validation(
        recipe.validation,
        (record.sample for record in checked.records),
        scene_types=recipe.data.problem_types,
        rewards=recipe.grading.rewards if isinstance(recipe, RlRecipe) else {},
    )
    return replace(checked, notes=tuple(notes))


def open_data(recipe: R, inputs: Inputs) -> tuple[R, Mixture]:
    """Return the recipe with the steps that its epochs are, and the endless order of its samples, without those that
    are left out. Raises: DataError.
    """
    data = recipe.data
    mixture = Mixture.open(
        data.files,
        data.problem_types,
        data.weights,
        data.seed,
        data.questions_per_clip,
        world=data.world,
        leave_out=inputs.rows,
        mix=data.mix,
    )
    if recipe.epochs is not None and mixture.num_records is not None:
        steps = max(1, math.ceil(recipe.epochs * mixture.num_records / samples_of(recipe) - 1e-9))
        recipe = recipe.model_copy(update={"steps": steps})
    return recipe, replace(mixture, planned=recipe.steps * samples_of(recipe), pairs=recipe.need == "rejected")


def unused_weights(data: Mixture) -> list[str]:
    """Return a line about the weights of a recipe that its files have no samples for, if there are any."""
    if not data.unused:
        return []
    return [f"data.weights: {', '.join(data.unused)} left out, because the files have no sample of them"]


def measure(
    recipe: Recipe,
    checked: Checked,
    *,
    processor: Any,
    prompt_template: PromptTemplate,
    budget: MediaBudget,
    coordinates: Coordinates | None,
) -> Lengths:
    """Return the lengths of records that have been checked, as a recipe would train on them."""
    return Lengths(
        [record.sample for record in checked.records],
        checked.headers,
        processor=processor,
        prompt_template=prompt_template,
        budget=budget,
        coordinates=coordinates,
        max_new_tokens=new_tokens(recipe),
        pairs=recipe.need == "rejected",
    )


def new_tokens(recipe: Recipe) -> int | None:
    """Return the tokens of an answer at most in RL; None for SFT, where each has its own."""
    return recipe.rollout.max_new_tokens if isinstance(recipe, RlRecipe) else None


def left_out_by_rate(recipe: Recipe, checked: Checked) -> tuple[Problem, ...]:
    """Return the records outside the part that the curriculum of a recipe takes. Raises: DataError: some have no
    number.
    """
    curriculum = recipe.data.curriculum
    if curriculum is None:
        return ()
    name, found, without = curriculum.field, [], []
    for record in checked.records:
        rate = record.sample.extra.get(name)
        if isinstance(rate, bool) or not isinstance(rate, int | float) or not math.isfinite(rate):
            without.append(Problem(record.file, record.row, f"{name!r} must be a number, got {show(rate)}"))
        elif not curriculum.takes(rate):
            text = f"{name} = {rate:g} is outside data.curriculum.least and most"
            found.append(Problem(record.file, record.row, text))
    if without:
        raise DataError(
            f"data.curriculum needs {name!r} in every record; it is missing in"
            f" {listed(without, checked.count)}\n`onethinker rollouts RUN --rates FILE` writes records with the"
            " fraction of right answers"
        )
    if len(found) == len(checked.records):
        raise DataError(f"data.curriculum leaves no record to train on: {listed(found, checked.count)}")
    return tuple(found)


def choose_inputs(recipe: Recipe, checked: Checked, lengths: Lengths | None) -> Inputs:
    """Return what is left out of the records of a recipe, because it is wrong, outside the part that its curriculum
    takes, or too long; no length is looked at where they are not known.

    Raises: DataError: names the records that are longer than a row, where `data.too_long` does not say what to do with
    them.
    """
    outside = left_out_by_rate(recipe, checked)
    rows = {(problem.file, problem.row) for problem in outside}
    long = {
        n: length
        for n, length in (lengths.longer_than(recipe.max_row_tokens) if lengths else {}).items()
        if (checked.records[n].file, checked.records[n].row) not in rows
    }
    lines = (*checked.lines(), *([f"left out by data.curriculum: {listed(outside, checked.count)}"] if outside else []))
    left_out = checked.invalid + outside
    return _without_long(recipe, checked, long, Inputs(left_out, lines)) if long else Inputs(left_out, lines)


def _without_long(recipe: Recipe, checked: Checked, long: Mapping[int, Length], inputs: Inputs) -> Inputs:
    """Return what is left out when too long records are, too. Raises: DataError."""
    kept = recipe.data.too_long == "truncate"
    hopeless = {n: length for n, length in long.items() if length.prompt >= recipe.max_row_tokens} if kept else long
    if hopeless and (kept or recipe.data.too_long == "error" or len(long) + len(inputs.left_out) == checked.count):
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
    return Inputs(inputs.left_out + (() if kept else problems), (*inputs.lines, said))


def too_long_text(length: Length, recipe: Recipe) -> str:
    """Return in words how long a record is beside a row."""
    answers = {"truth": "rollout.max_new_tokens", "response": "its response", "rejected": "its two responses"}
    return (
        f"{length.total:,} tokens (prompt {length.prompt:,}, of which {length.visual:,} are visual;"
        f" {answers[recipe.need]} {length.answer:,}), a row has max_row_tokens = {recipe.max_row_tokens:,}"
    )


def _refusal(recipe: Recipe, checked: Checked, long: Mapping[int, Length]) -> str:
    order = sorted(long, key=lambda n: long[n].total, reverse=True)
    shown = [(checked.records[n], long[n]) for n in order[:SHOWN]]
    longest = "\n".join(
        f"  {record.file}, row {record.row}: {too_long_text(length, recipe)}" for record, length in shown
    )
    what = "have prompts that fill a row alone" if recipe.data.too_long == "truncate" else "are longer than a row"
    ways = 'leave them out with data.too_long = "skip"'
    if recipe.need == "response":
        ways += ', or cut the ends of responses with "truncate" (a prompt is never cut)'
    return (
        f"{len(long):,} of {checked.count:,} records {what}; the longest:\n{longest}\nRaise max_row_tokens, lower the"
        f" [budget] of media{' or rollout.max_new_tokens' if isinstance(recipe, RlRecipe) else ''}, or {ways}"
    )
