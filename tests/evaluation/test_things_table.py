"""The table of the model card, as benchmarks/things.py makes it."""

import importlib
from pathlib import Path

import pytest

from onethinker.core.errors import DataError
from onethinker.data.synthetic import KINDS
from onethinker.data.synthetic.world.samples import ask_about_things
from onethinker.evaluation.metrics import Estimate
from onethinker.evaluation.results import Result
from onethinker.families.built_in import WEIGHTS
from onethinker.tasks.grading import Grade

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def things(monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)
    return importlib.import_module("things")


def test_every_kind_of_question_has_a_number_and_what_is_wanted(things):
    assert set(things.TARGETS) == set(KINDS)


def test_a_line_has_a_number_of_each_world_and_its_share_of_the_first(things):
    def row(world: str, mean: float) -> object:
        return things.Row(world, "tracking", "video", "AO", 8, 0.6, Estimate(mean, mean - 0.1, mean + 0.1))

    *_, line = things.table_of([row("things", 0.5), row("unseen-styles", 0.4)]).splitlines()
    assert line == "| tracking | clips | AO | 0.60 | 0.500 (0.40–0.60) | 0.400 (0.30–0.50), 80% |"


def test_each_way_of_asking_has_its_own_line(things):
    kind = ("numerical", "image")
    samples, ways = things.ask_about("things", kind, 12, "validation")
    assert [sample.problem for sample in samples] == [
        ask_about_things(0, index, kind=kind, split="validation").problem for index in range(12)
    ]
    grades = [Grade(0.0, float(way == "read_value"), 1.0, 0.5) for way in ways]
    results = [
        Result("key", sample.id, sample.problem_type, sample.problem, sample.truth, "", grade)
        for sample, grade in zip(samples, grades, strict=True)
    ]
    lines = things.by_way(kind, results, ways)
    assert len(lines) == len(set(ways)) > 2
    assert f"| numerical | pictures | read_value | {ways.count('read_value')} | 1.000 (1.00–1.00) |" in lines
    assert all(line.endswith("| 0.000 (0.00–0.00) |") for line in lines if "read_value" not in line)


def test_the_table_goes_between_the_marks_of_the_card_however_often(things):
    card = (WEIGHTS / "README.md").read_text()
    once = things.put_between_marks(card, "| a |")
    assert things.put_between_marks(once, "| b |") == once.replace("| a |", "| b |")
    assert once.partition("\n## What it cannot do")[2] == card.partition("\n## What it cannot do")[2]
    with pytest.raises(DataError, match="--into"):
        things.put_between_marks("no marks", "| a |")
