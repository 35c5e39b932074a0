"""Signs that a model earns its reward without doing its task, or that a run learns little or nothing, read from the
journal.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from onethinker.core.errors import TrainingError
from onethinker.training.metrics.records import RlRow, SftRow, as_record
from onethinker.training.metrics.rl_rules import RL_RULES, TASK_RULES
from onethinker.training.metrics.run_rules import RECIPE_RULES, RUN_RULES, SFT_RULES
from onethinker.training.metrics.view import FIRST_STEPS, LONG_WINDOW, Rows, Rule, View

if TYPE_CHECKING:
    from onethinker.training.config import RlRecipe, SftRecipe

FEWEST_PROMPTS = 4
"""Fewer prompts than these show nothing of a task: their truths may well be alike."""


@dataclass(frozen=True)
class Alarm:
    """One sign in one task, or in the whole run ("" as its task), with a sentence that says what is seen and what to
    do.
    """

    name: str
    task: str
    text: str


class Watch:
    """The rows of a run that alarms look at: its first ones and its last ones."""

    def __init__(self, recipe: "SftRecipe | RlRecipe", rows: Rows) -> None:
        """Begin with the rows that the journal has already."""
        self._recipe, self._settings = recipe, recipe.log.alarms
        self._first = [row for row in rows if row["step"] <= FIRST_STEPS]
        self._kept = max(2 * self._settings.window, self._settings.give_up_after, LONG_WINDOW)
        self._last = list(rows)[-self._kept :]

    def complete(self, row: SftRow | RlRow) -> dict[str, Any]:
        """Return a new row as the journal holds it, with its alarms."""
        record = as_record(row)
        if record["step"] <= FIRST_STEPS:
            self._first.append(record)
        self._last = [*self._last, record][-self._kept :]
        record["alarms"] = [asdict(alarm) for alarm in find_alarms(self._last, self._recipe, self._first)]
        return record

    def check(self) -> None:
        """Raises: TrainingError: so many of the last steps have changed no weight that the run is given up."""
        idle = idle_steps(self._last, self._settings.no_gradient)
        if self._settings.give_up_after and idle >= self._settings.give_up_after:
            raise TrainingError(
                f"the last {idle} steps, up to step {self._last[-1]['step']}, have changed no weight:"
                f" {_why_idle(self._last[-1])}. The run ends here, and nothing is lost. Change data or settings (alarms"
                " in the journal say which), or set log.alarms.give_up_after = 0 to continue anyway"
            )


def idle_steps(journal: Rows, no_gradient: float) -> int:
    """Return how many rows at the end of a journal are of steps that have changed no weight.

    >>> rl = {"stage": "rl", "updates": 1, "grad_norm": 0.5}
    >>> idle_steps([rl, {**rl, "updates": 0, "grad_norm": None}, {**rl, "grad_norm": 0.0}], 1e-8)
    2
    """
    count = 0
    for row in reversed(journal):
        taken = row["updates"] if row["stage"] == "rl" else not row.get("bad_steps")
        if taken and (row["grad_norm"] is None or row["grad_norm"] > no_gradient):
            break
        count += 1
    return count


def _why_idle(row: Mapping[str, Any]) -> str:
    if row.get("bad_steps"):
        return str(row["bad_steps"][-1]["text"])
    return (
        "no group of answers gave a signal"
        if row.get("updates") == 0
        else f"the gradient norm is {row['grad_norm']:.2g}"
    )


def find_alarms(journal: Rows, recipe: "SftRecipe | RlRecipe", first: Rows = ()) -> tuple[Alarm, ...]:
    """Return what the end of a journal shows; `first` are the rows that it began with.

    Signs of a run need `window` rows. A task has alarms while it is in the last row and has been in `window` of the
    last 2 · `window`.
    """
    window = recipe.log.alarms.window
    if not window or not journal:
        return ()
    is_rl = journal[-1]["stage"] == "rl"
    view = View(journal, first, recipe)
    rules = RECIPE_RULES if len(journal) < window else (*RECIPE_RULES, *RUN_RULES, *(RL_RULES if is_rl else SFT_RULES))
    found = list(_apply(rules, view, ""))
    for task in sorted(journal[-1]["tasks"]) if is_rl else ():
        mine = View([row["tasks"][task] for row in journal[-2 * window :] if task in row["tasks"]], (), recipe)
        if len(mine.rows) == window and mine.sum("groups") >= FEWEST_PROMPTS:
            found += _apply(TASK_RULES, mine, task)
    return tuple(found)


def _apply(rules: Sequence[Rule], view: View, task: str) -> Iterator[Alarm]:
    for rule in rules:
        if seen := rule.finds(view):
            yield Alarm(rule.name, task, f"{seen}. {rule.advice}")
