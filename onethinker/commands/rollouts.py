"""`onethinker rollouts`: the answers that an RL run has sampled, by group, and files to learn from made of them."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tyro

if TYPE_CHECKING:
    from onethinker.storage.rollouts import Rollouts

LONGEST = 300
"""Characters of an answer that are shown."""


def rollouts(
    run: tyro.conf.Positional[Path],
    *,
    step: int | None = None,
    task: str | None = None,
    min_reward: float | None = None,
    max_reward: float | None = None,
    min_spread: float = 0.0,
    limit: int = 20,
    json: bool = False,
    best: Path | None = None,
    pairs: Path | None = None,
    min_accuracy: float = 0.99,
) -> None:
    """Show the groups of answers that an RL run kept (`log.rollouts_mb`), with rewards by part and advantages.

    The same choice of groups becomes files to learn from: the best answer of each (rejection fine-tuning, for
    `onethinker sft`), or its best and its worst as a preference.

    Args:
        run: Folder of `onethinker rl`.
        step: Only this step; by default all that are kept.
        task: Only this task or problem type.
        min_reward: Only groups whose mean reward is at least this.
        max_reward: Only groups whose mean reward is at most this.
        min_spread: Only groups whose answers disagree: best and worst reward are at least so far apart.
        limit: Groups that are shown; files take all.
        json: Print every chosen group as a line of JSON, with whole texts.
        best: File for the best answer to each question, if its accuracy is at least --min-accuracy; the shortest of
            equal ones.
        pairs: File of the best and the worst answer to each question ("response" and "rejected"), where their rewards
            differ.
        min_accuracy: What an answer must reach to be learned from.
    """
    from onethinker.data.formats.records import write_records
    from onethinker.storage.rollouts import read_rollouts
    from onethinker.storage.strict_json import to_json

    chosen = [
        group
        for group in read_rollouts(run, step)
        if (task is None or task.lower() in (group["task"], group["problem_type"]))
        and _fits(group, min_reward, max_reward, min_spread)
    ]
    if best is not None:
        write_records(best, best_answers(chosen, min_accuracy))
        print(best)
    if pairs is not None:
        write_records(pairs, preferences(chosen, min_accuracy))
        print(pairs)
    if json:
        for group in chosen:
            print(to_json(group, ensure_ascii=False))
    elif best is None and pairs is None:
        _show(chosen[-limit:] if limit else [], len(chosen))


def _fits(group: "Rollouts", least: float | None, most: float | None, spread: float) -> bool:
    rewards = [answer["reward"] for answer in group["answers"]]
    if None in rewards:
        return least is None and most is None and not spread
    mean = sum(rewards) / len(rewards)
    is_inside = (least is None or mean >= least) and (most is None or mean <= most)
    return is_inside and bool(max(rewards) - min(rewards) >= spread)


def best_answers(groups: "list[Rollouts]", min_accuracy: float) -> "Iterator[dict[str, Any]]":
    """Yield for each question the record to learn from: its best answer in all its groups, the shortest of equal ones.

    Raises: DataError: its media are no files.
    """
    for group, answers in _by_question(groups):
        if (found := _best(answers))["accuracy"] >= min_accuracy:
            yield {**_question(group), "response": found["text"]}


def preferences(groups: "list[Rollouts]", min_accuracy: float) -> "Iterator[dict[str, Any]]":
    """Yield for each question its best answer as "response" and the worst as "rejected", where rewards differ.

    Raises: DataError: its media are no files.
    """
    for group, answers in _by_question(groups):
        found, worst = _best(answers), min(answers, key=lambda answer: answer["reward"])
        if found["accuracy"] >= min_accuracy and found["reward"] > worst["reward"]:
            yield {**_question(group), "response": found["text"], "rejected": worst["text"]}


def _by_question(groups: "list[Rollouts]") -> "Iterator[tuple[Rollouts, list[Any]]]":
    """Return the first group of each question with the graded answers of all its groups, where there are any."""
    by_sample: dict[str, tuple[Rollouts, list[Any]]] = {}
    for group in groups:
        by_sample.setdefault(group["id"], (group, []))[1].extend(_graded(group))
    return ((group, answers) for group, answers in by_sample.values() if answers)


def _graded(group: "Rollouts") -> list[Any]:
    return [answer for answer in group["answers"] if answer["reward"] is not None and answer["finish_reason"] == "stop"]


def _best(answers: list[Any]) -> Any:
    return max(answers, key=lambda answer: (answer["reward"], -answer["tokens"]))


def _question(group: "Rollouts") -> dict[str, Any]:
    """Return what was asked as a record of the released form. Raises: DataError: its media are no files."""
    from onethinker.core.errors import DataError
    from onethinker.core.sample import Sample
    from onethinker.data.formats.released import record_from_sample

    if None in group["media"]:
        raise DataError(
            f"sample {group['id']!r}: its media are no files, so no record can name them; train on files"
            " (`onethinker data synthetic` writes scenes as files)"
        )
    names = ("id", "problem", "problem_type", "data_type", "truth")
    sample = Sample(
        **{name: group[name] for name in names}, media=tuple(map(Path, group["media"])), options=tuple(group["options"])
    )
    return record_from_sample(sample, root=Path("/nowhere"))


def _show(groups: "list[Rollouts]", count: int) -> None:
    from rich.console import Console
    from rich.text import Text

    console = Console()
    for group in groups:
        state = f"dropped: {group['dropped']}" if group["dropped"] else "learned from"
        sigma = f", sigma {group['sigma']:.3g}" if group["sigma"] is not None else ""
        console.print(Text(f"step {group['step']}  {group['task']}  {group['id']}  {state}{sigma}", style="bold"))
        console.print(Text(f"  {group['problem']}  truth: {group['truth']}"))
        for answer in group["answers"]:
            parts = {"reward": answer["reward"], "advantage": answer["advantage"], "accuracy": answer.get("accuracy")}
            parts |= {name: value for name, value in answer.get("rewards", {}).items() if name != "task"}
            shown = "  ".join(f"{name} {value:.3g}" for name, value in parts.items() if value is not None)
            text = " ".join(answer["text"].split())
            cut = text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"
            console.print(Text(f"  {shown}  {answer['tokens']} tokens, {answer['finish_reason']}: {cut}"))
    console.print(f"{len(groups)} of {count} groups", style="dim")
