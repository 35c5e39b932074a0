"""Where a command cannot write is named with its flag before torch is imported, which takes seconds."""

import os

import pytest

from tests.commands.command_lines import told

CUT = ("segment", "picture.png", "--box", "1", "2", "30", "40")
ASK = ("ask", "picture.png", "What?", "--model", "untrained")
MANY = ("ask", "picture.png", "picture.png", "What?", "--model", "untrained", "--each")
GRADE = ("grade", "--input", "good.jsonl")
TARGETS: dict[str, tuple[tuple[str, ...], str, str]] = {
    "segment --draw": (CUT, "drawn.png", "file"),
    "segment --masks, a file": (CUT, "masks.json", "file"),
    "segment --masks, a folder": (CUT, "masks", "folder"),
    "ask --draw": (ASK, "drawn.png", "file"),
    "ask --draw, of many": (MANY, "drawn", "folder"),
    "inspect --sheet": (("inspect", "picture.png"), "sheet.png", "file"),
    "quickstart --output": (("quickstart",), "all", "folder"),
    "sft --output": (("sft", "tiny_sft"), "run", "folder"),
    "rl --output": (("rl", "tiny_rl", "--set", "model=untrained"), "run", "folder"),
    "evaluate --output": (("evaluate", "--model", "untrained", "--synthetic", "3"), "scores", "folder"),
    "export --output": (("export", "no_weights"), "exported", "folder"),
    "grade --output": (GRADE, "graded.jsonl", "file"),
    "report --output": (("report", "empty"), "page.html", "file"),
    "report --export": (("report", "empty"), "tables", "folder"),
    "data synthetic --output": (("data", "synthetic", "--num-samples", "3"), "scenes", "folder"),
    "data stats --html": (("data", "stats", "good.jsonl"), "data.html", "file"),
    "data view --output": (("data", "view", "good.jsonl"), "data.html", "file"),
    "data filter --output": (("data", "filter", "good.jsonl"), "kept.jsonl", "file"),
    "data mix --output": (("data", "mix", "good.jsonl"), "mixed.jsonl", "file"),
    "data annotate --output": (("data", "annotate", "good.jsonl", "--teacher", "untrained"), "sft.jsonl", "file"),
    "data from-answers --output": (("data", "from-answers", "good.jsonl"), "new.jsonl", "file"),
    "data check --fix": (("data", "check", "good.jsonl"), "fixed.jsonl", "file"),
}
"""Where commands write: by the flag, the rest of a command line, a name that fits, and what is written there."""
LOCKED = "where nothing may be changed"
FAULTS = {
    "inside a file": "words.txt/{name}",
    "of the other kind": "there/{name}",
    LOCKED: "locked/{name}",
}
SUFFIXES = {
    "segment --draw": "drawn.gif",
    "segment --masks, a file": "masks.mp4",
    "ask --draw": "drawn.gif",
    "ask --draw, of many": "drawn.png",
    "inspect --sheet": "sheet.bmp",
    "grade --output": "graded.csv",
    "report --output": "page.pdf",
}


def target_line(case: str, value: str) -> tuple[str, ...]:
    """Return a command line that writes there."""
    return (*TARGETS[case][0], flag_of(case), value)


def flag_of(case: str) -> str:
    return next(word.rstrip(",") for word in case.split() if word.startswith("--"))


@pytest.fixture(scope="module")
def said_of_targets(place) -> dict[tuple[str, ...], list]:
    """What each command says of a place that it cannot write to."""
    folder = place / "targets"
    (folder / "there").mkdir(parents=True)
    (folder / "locked").mkdir(mode=0o500)
    for name in ("picture.png", "words.txt", "good.jsonl", "empty", "no_weights"):
        (folder / name).symlink_to(place / name)
    for _, name, kind in TARGETS.values():
        other = folder / "there" / name
        other.touch() if kind == "folder" else other.mkdir(exist_ok=True)
    rows = [
        target_line(case, FAULTS[fault].format(name=TARGETS[case][1]))
        for case in TARGETS
        for fault in FAULTS
        if fault != LOCKED or os.getuid()
    ]
    return told(folder, [*rows, *(target_line(case, name) for case, name in SUFFIXES.items())])


def check_told(said: list, case: str, value: str) -> None:
    code, text, heavy = said
    assert (code, heavy) == (1, []), text
    assert f"{flag_of(case)} {value}: " in text


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("case", TARGETS)
def test_a_place_that_cannot_be_written_is_named_at_once_with_its_flag(said_of_targets, case, fault):
    if fault == LOCKED and not os.getuid():
        pytest.skip("root may change everything")
    value = FAULTS[fault].format(name=TARGETS[case][1])
    check_told(said_of_targets[target_line(case, value)], case, value)


@pytest.mark.parametrize("case", SUFFIXES)
def test_a_suffix_that_is_not_written_is_named_at_once_with_its_flag(said_of_targets, case):
    check_told(said_of_targets[target_line(case, SUFFIXES[case])], case, SUFFIXES[case])
