"""`onethinker rollouts`: the answers that an RL run has sampled, by group, and files to learn from made of them."""

import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tyro

from onethinker.core.errors import ConfigError, DataError

if TYPE_CHECKING:
    from onethinker.storage.rollouts import Rollouts

    Maker = Callable[[list[Rollouts], float], Iterator[dict[str, Any]]]

RECORD_SUFFIXES = (".jsonl", ".json", "")
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
    rates: Path | None = None,
    min_accuracy: float = 0.99,
) -> None:
    """Show the groups of answers that an RL run kept (`log.rollouts_mb`), with their rewards by part and advantages.

    The selected groups can also be written as training files: the best answer of each (rejection fine-tuning, for
    `onethinker sft`), or its best and its worst answer as a preference (for `onethinker dpo`).

    Args:
        run: Folder of `onethinker rl`.
        step: Only this step; by default all that are kept.
        task: Only this task or problem type.
        min_reward: Only groups whose mean reward is at least this.
        max_reward: Only groups whose mean reward is at most this.
        min_spread: Only groups whose best and worst reward differ by at least this.
        limit: Maximum number of groups to print; files always contain all selected groups.
        json: Print every selected group as one JSON line, with the full texts.
        best: File for the best answer to each question, if its accuracy is at least --min-accuracy; of equally good
            answers the shortest.
        pairs: File for the best and the worst answer to each question ("response" and "rejected"), if their rewards
            differ.
        rates: File of the questions with "pass_rate", the mean accuracy of all their answers, for [data.curriculum] of
            a recipe.
        min_accuracy: Minimum accuracy of an answer to be used for training.
    """
    from onethinker.storage.atomic import check_file
    from onethinker.storage.rollouts import read_rollouts
    from onethinker.storage.strict_json import to_json

    files = {
        flag: path for flag, path in (("--best", best), ("--pairs", pairs), ("--rates", rates)) if path is not None
    }
    for flag, path in files.items():
        check_file(path, RECORD_SUFFIXES, flag=flag)
    chosen: Iterable[Rollouts] = (
        group for group in _of_task(read_rollouts(run, step), task) if _fits(group, min_reward, max_reward, min_spread)
    )
    if files:
        chosen = groups = list(chosen)
        makers: dict[str, Maker] = {"--best": best_answers, "--pairs": preferences, "--rates": pass_rates}
        for flag, path in files.items():
            _write(path, list(makers[flag](groups, min_accuracy)), len({group["id"] for group in groups}), flag)
    if json:
        for group in chosen:
            print(to_json(group, ensure_ascii=False))
    elif not files:
        _show(chosen, limit)


def _of_task(groups: "Iterator[Rollouts]", task: str | None) -> "Iterator[Rollouts]":
    """Yield the groups of a task or problem type, all without one. Raises: ConfigError: none is of it."""
    from onethinker.core.nearest import no_such

    names: dict[str, None] = {}
    for group in groups:
        names |= dict.fromkeys((group["task"], group["problem_type"]))
        if task is None or task.lower() in (group["task"], group["problem_type"]):
            yield group
    if task is not None and task.lower() not in names:
        raise ConfigError(f"--task: {no_such('task', task, names)}")


def _write(path: Path, records: list[dict[str, Any]], questions: int, flag: str) -> None:
    """Write a file to learn from, and say how much is in it. Raises: DataError: nothing would be."""
    from onethinker.data.formats.records import write_records

    if not records:
        raise DataError(
            f"{flag} {path}: not written, because none of {questions} questions has such an answer; select other"
            " groups, or lower --min-accuracy"
        )
    write_records(path, records)
    print(path)
    print(f"{len(records):,} of {questions:,} questions", file=sys.stderr)


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


def pass_rates(groups: "list[Rollouts]", _min_accuracy: float = 0.0) -> "Iterator[dict[str, Any]]":
    """Yield each question's record with the mean accuracy of its answers, cut ones included. Raises: DataError: its
    media are no files.
    """
    for group, answers in _by_question(groups, with_cut=True):
        yield {**_question(group), "pass_rate": sum(answer["accuracy"] for answer in answers) / len(answers)}


def _by_question(groups: "list[Rollouts]", *, with_cut: bool = False) -> "Iterator[tuple[Rollouts, list[Any]]]":
    """Return the first group of each question with the graded answers of all its groups, where there are any."""
    by_sample: dict[str, tuple[Rollouts, list[Any]]] = {}
    for group in groups:
        by_sample.setdefault(group["id"], (group, []))[1].extend(_graded(group, with_cut=with_cut))
    return ((group, answers) for group, answers in by_sample.values() if answers)


def _graded(group: "Rollouts", *, with_cut: bool) -> list[Any]:
    """Return the answers that have a grade, their places in thousandths."""
    from onethinker.tasks import find_task
    from onethinker.tasks.pixels import response_from_px

    task, frame_px = find_task(group["problem_type"], group["data_type"]), group.get("frame_px")
    return [
        {**answer, "text": response_from_px(answer["text"], task, frame_px)}
        for answer in group["answers"]
        if answer["reward"] is not None and (with_cut or answer["finish_reason"] == "stop")
    ]


def _best(answers: list[Any]) -> Any:
    return max(answers, key=lambda answer: (answer["reward"], -answer["tokens"]))


def _question(group: "Rollouts") -> dict[str, Any]:
    """Return what was asked as a record of the released form. Raises: DataError: its media are no files."""
    from onethinker.core.geometry import Box
    from onethinker.core.sample import Sample
    from onethinker.core.sources import VideoPart
    from onethinker.data.formats.released import record_from_sample

    if None in group["media"]:
        raise DataError(
            f"sample {group['id']!r}: its media are not files, so a record cannot name them; train on files instead"
            " (`onethinker data synthetic` writes scenes as files)"
        )
    names = ("id", "problem", "problem_type", "data_type", "truth")
    files = [Path(name) for name in group["media"]]
    # Runs of older versions kept no clips, first box, source and licence.
    clips, first_box = group.get("clips") or [None] * len(files), group.get("first_box")
    sample = Sample(
        **{name: group[name] for name in names},
        media=tuple(VideoPart(path, *clip) if clip else path for path, clip in zip(files, clips, strict=True)),
        options=tuple(group["options"]),
        source=group.get("source", ""),
        license=group.get("license", ""),
        first_box=Box(*first_box) if first_box else None,
    )
    return record_from_sample(sample, root=Path("/nowhere"))


def _show(groups: "Iterable[Rollouts]", limit: int) -> None:
    """Print the last groups, indented as deep as they are nested."""
    from rich.console import Console
    from rich.padding import Padding
    from rich.text import Text

    console, count = Console(), 0
    last: deque[Rollouts] = deque(maxlen=limit)
    for group in groups:
        last.append(group)
        count += 1
    for group in last:
        state = f"dropped: {group['dropped']}" if group["dropped"] else "learned from"
        if not group["dropped"] and all(answer["advantage"] is None for answer in group["answers"]):
            state = "surplus: the batch was already full"
        sigma = f", sigma {group['sigma']:.3g}" if group["sigma"] is not None else ""
        console.print(Text(f"step {group['step']}  {group['task']}  {group['id']}  {state}{sigma}", style="bold"))
        console.print(Padding(Text(f"{group['problem']}  truth: {group['truth']}"), (0, 0, 0, 2), expand=False))
        for answer in group["answers"]:
            parts = {"reward": answer["reward"], "advantage": answer["advantage"], "accuracy": answer.get("accuracy")}
            parts |= {name: value for name, value in answer.get("rewards", {}).items() if name != "task"}
            shown = "  ".join(f"{name} {value:.3g}" for name, value in parts.items() if value is not None)
            text = " ".join(answer["text"].split())
            cut = text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"
            said = Text(f"{shown}  {answer['tokens']} tokens, {answer['finish_reason']}: {cut}")
            console.print(Padding(said, (0, 0, 0, 4), expand=False))
    console.print(f"{len(last)} of {count} groups", style="dim")
