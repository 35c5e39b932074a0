"""What each reader gives for what models and people write: a table of cases.

Texts and answers were written by hand, as a person reads the text; the words of repairs and faults are the
readers' own.

`reading_cases.jsonl` has a case a line: the text, and the answers of the strict and of the lenient reader (null for
none). "faults" are those of the strict reader; "repairs" and "refused" are the lenient one's. Places are thousandths,
but for cases with "frame_px"; "truncated" ones were cut off at the token limit.
"""

import dataclasses
import json
import random
import time
from pathlib import Path
from typing import Any

import pytest

from onethinker.tasks import Reader, Task, all_tasks, find_task, grade_response, read_response

CASES = [json.loads(line) for line in (Path(__file__).parent / "reading_cases.jsonl").read_text("utf-8").splitlines()]


def plain(value: Any) -> Any:
    """Return a typed answer as JSON has it, numbers rounded to six decimals."""
    if dataclasses.is_dataclass(value):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, tuple):
        return [plain(item) for item in value]
    return round(float(value), 6) if isinstance(value, int | float) else value


def test_the_table_is_of_every_task_and_long() -> None:
    assert len(CASES) >= 280
    assert {case["task"] for case in CASES} == {task.problem_type for task in all_tasks()}


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case['task']}: {case['text'][:60]!r}")
def test_each_reader_gives_what_the_table_says(case: dict[str, Any]) -> None:
    task = find_task(case["task"], case["data_type"])
    frame_px = tuple(case["frame_px"]) if "frame_px" in case else None
    strict, lenient = (
        read_response(
            case["text"],
            task,
            tuple(case.get("options", ())),
            Reader(mode, frame_px, case.get("truncated", False)),  # type: ignore[arg-type]
        )
        for mode in ("strict", "lenient")
    )
    assert plain(strict.answer) == case["strict"]
    assert plain(lenient.answer) == case["lenient"]
    assert strict.problems.get("form") == case.get("faults")
    assert lenient.problems.get("repair") == case.get("repairs")
    assert lenient.problems.get("answer") == case.get("refused")
    if case["strict"] != case["lenient"]:
        assert "repairs" in case


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case['task']}: {case['text'][:60]!r}")
def test_what_was_repaired_has_no_form_point(case: dict[str, Any]) -> None:
    task = find_task(case["task"], case["data_type"])
    if not task.structured:
        return
    options = tuple(case.get("options", ()))
    reader = Reader("lenient", None, case.get("truncated", False))
    lenient = grade_response(case["text"], task.example, task=task, options=options, reader=reader)
    strict = grade_response(case["text"], task.example, task=task, options=options)
    assert lenient.format <= strict.format


@pytest.mark.parametrize("task", all_tasks(), ids=lambda task: task.key)
def test_an_exact_answer_is_read_alike_by_both(task: Task[Any]) -> None:
    text, options = f"<think>So.</think><answer>{task.example}</answer>", ("A. a cat", "B. a dog")
    assert read_response(text, task, options) == read_response(text, task, options, Reader("lenient"))


@pytest.mark.parametrize("task", all_tasks(), ids=lambda task: task.key)
def test_any_string_at_all_is_read_leniently(task: Task[Any]) -> None:
    rng = random.Random(task.key)
    pieces = [
        "<think>",
        "</think>",
        "<answer>",
        "</answer>",
        "```",
        "{",
        "}",
        "[",
        "]",
        "(",
        ")",
        '"',
        "'",
        ",",
        ":",
        ";",
    ]
    pieces += [
        "boxes",
        "bbox_2d",
        "time",
        "start",
        "1",
        "0.5",
        "-3",
        "5s",
        "1:05",
        "to",
        "B",
        "or",
        "twelve",
        "%",
        "\\",
        "//",
    ]
    pieces += ["\\boxed{", "answer is ", "\n", " ", "｛", "「", "\ud800", "½", "1/0", "NaN", "1e999", "9" * 40]
    for _ in range(300):
        text = "".join(rng.choice(pieces) for _ in range(rng.randrange(30)))
        read_response(text, task, ("A. a cat", "B. a dog"), Reader("lenient", (640, 480), rng.random() < 0.5))


@pytest.mark.parametrize(
    "unit", ["[", "{'a':", "'", "```", "//", "1 to ", "1:", "\\boxed{", "a answer is ", "(1,", "1 "]
)
def test_a_long_text_is_read_leniently_in_seconds(unit: str) -> None:
    for task in all_tasks():
        start = time.perf_counter()
        read_response(unit * (50_000 // len(unit)), task, ("A. a cat", "B. a dog"), Reader("lenient"))
        assert time.perf_counter() - start < 20, task.key  # well below a second where nothing else runs
