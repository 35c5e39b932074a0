"""A complete quickstart at its smallest size, and what stops it before it starts."""

import json
import re
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

import pytest

from onethinker.commands.quickstart import LESSONS, LESSONS_S, REFERENCE_S, _check, quickstart
from onethinker.commands.stages import Stages
from onethinker.core.errors import ConfigError
from onethinker.data.synthetic.shown import SHOWN
from onethinker.training.config import SftRecipe

SMALL_RL = ("steps=1", "rollout.generation_batch_size=2", "rollout.min_accuracy=-1", "rollout.max_new_tokens=8")


def start_small(output: Path) -> str:
    with redirect_stdout(StringIO()) as printed:
        quickstart(output=output, processes=1, num_samples=11, set_rl=SMALL_RL)
    return printed.getvalue().replace("\n", "")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The folder of a complete quickstart, and what it printed."""
    output = tmp_path_factory.mktemp("made") / "quickstart"
    return output, start_small(output)


def test_the_quickstart_asks_evaluates_improves_and_reports(made: tuple[Path, str]) -> None:
    output, printed = made
    page = (output / "report.html").read_text()
    assert "spatial grounding" in page
    assert (output / "rl/model/model.safetensors").exists()
    for folder in ("before", "after"):
        assert len((output / folder / "results.jsonl").read_text().splitlines()) == 11
    assert len(list((output / "pictures").glob("*.json"))) == len(SHOWN) == 11
    summary = json.loads((output / "quickstart.json").read_text())
    assert set(summary["seconds"]) == {"ask", "data", "evaluate before", "rl", "evaluate after", "report"}
    assert summary["peak_memory_mb"]["largest training process"] > 100
    assert str(output / "report.html") in printed
    assert "spatial grounding, image: " in printed
    assert printed.endswith(f"--model {output / 'rl/model'}")


def test_a_second_start_in_the_same_folder_leaves_what_the_first_made(made: tuple[Path, str]) -> None:
    output, _ = made
    files = [output / name for name in ("before/results.jsonl", "rl/journal.jsonl", "after/results.jsonl")]
    first = [file.read_bytes() for file in files]
    start_small(output)
    assert [file.read_bytes() for file in files] == first


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            {"from_nothing": True},
            "recipe.json belongs to the model 'tiny', and this quickstart starts from '.*sft/model'",
        ),
        ({"num_samples": 12}, "holds 11 questions, .* needs 12"),
        ({"num_samples": 11, "set_rl": ("model=untrained",)}, "'tiny', and this quickstart starts from 'untrained'"),
    ],
    ids=["from nothing", "samples", "model"],
)
def test_a_start_of_another_quickstart_in_its_folder_is_refused(
    made: tuple[Path, str], arguments: dict, said: str
) -> None:
    with pytest.raises(ConfigError, match=said):
        quickstart(output=made[0], **arguments)


@pytest.mark.parametrize(
    ("file", "text", "said"),
    [
        ("rl/recipe.json", '{"model": "out/sft/model"}', "out/sft/model"),
        ("before/settings.json", '{"settings": {"model": "out/sft/model"}, "about": {}}', "out/sft/model"),
        ("data/samples.jsonl", '{"problem_id": "synthetic-test-0-0"}\n', "1 questions, 0 of them about unseen-styles"),
    ],
    ids=["rl from nothing", "answers from nothing", "shapes"],
)
def test_a_folder_left_by_another_quickstart_is_refused(tmp_path: Path, file: str, text: str, said: str) -> None:
    (tmp_path / file).parent.mkdir()
    (tmp_path / file).write_text(text)
    with pytest.raises(ConfigError, match=said):
        quickstart(output=tmp_path, num_samples=1)
    assert not (tmp_path / "quickstart.json").exists()


@pytest.mark.long  # five processes that each load torch
def test_from_nothing_goes_through_all_lessons_and_asks_what_came_out(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("onethinker.training.sight.things.STEPS", 1)
    monkeypatch.setattr("onethinker.training.sight.letters.STEPS", 1)
    small = ("steps=1", "batch_size=2", "data.questions_per_clip=1", "save_every=1")
    output = tmp_path / "all"
    quickstart(output=output, from_nothing=True, processes=1, num_samples=11, set_sft=small, set_rl=SMALL_RL)
    names = ["sight", "letters", *LESSONS, "rl"]
    assert all((output / name / "model/model.safetensors").exists() for name in names)
    recipes = [json.loads((output / name / "recipe.json").read_text()) for name in names[2:]]
    assert [recipe["model"] for recipe in recipes] == [str(output / name / "model") for name in names[1:-1]]


def test_what_is_left_is_what_the_other_stages_took_here_times_what_is_ahead(tmp_path: Path) -> None:
    stages = Stages.open(
        tmp_path / "all.json",
        _check((), (), from_nothing=True, processes=2, num_samples=REFERENCE_S["evaluate after"][0]),
    )
    reference = {name: seconds for name, (_, seconds) in (LESSONS_S | REFERENCE_S).items()}
    assert stages.left_s() == 0
    stages.seconds = {"sight": 3 * reference["sight"]}
    assert stages.left_s() == pytest.approx(3 * (sum(reference.values()) - reference["sight"]))
    done = ["letters", *LESSONS, "rl"]
    stages.seconds |= {"evaluate before": 1000.0, **{name: 3 * reference[name] for name in done}}
    assert stages.left_s() == pytest.approx(3 * reference["evaluate after"])


def test_what_follows_a_stage_is_told_to_it_in_its_own_steps(tmp_path: Path) -> None:
    stages = Stages.open(
        tmp_path / "all.json",
        _check((), (), from_nothing=False, processes=2, num_samples=REFERENCE_S["evaluate after"][0]),
    )
    stages.seconds = {"evaluate before": 1.0}
    steps, seconds = REFERENCE_S["rl"]
    assert stages.steps_after("rl") == pytest.approx(REFERENCE_S["evaluate after"][1] * steps / seconds)


def test_other_settings_change_what_a_stage_costs() -> None:
    settings = (("steps=10", "batch_size=16"), ("rollout.generation_batch_size=48",))
    costs = _check(*settings, from_nothing=True, processes=2, num_samples=22)
    assert {costs[name].steps for name in LESSONS} == {10}
    assert costs["rl"].seconds == pytest.approx(2 * REFERENCE_S["rl"][1])
    assert costs["evaluate after"].seconds == pytest.approx(REFERENCE_S["evaluate after"][1] / 8)


def test_the_reference_is_that_of_the_results() -> None:
    page = (Path(__file__).parents[2] / "docs/results/quickstart.md").read_text()
    for name, recipe in LESSONS.items():
        assert LESSONS_S[name][0] == SftRecipe.load(recipe).steps
    for name, (_, seconds) in (LESSONS_S | REFERENCE_S).items():
        assert re.search(rf"^\| {name} \|.* {seconds:.0f} \|$", page, re.MULTILINE)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"set_sft": ("stepz=2",), "from_nothing": True}, "stepz"),
        ({"set_sft": ("steps=2",)}, "--from-nothing"),
        ({"set_rl": ("rollout.group_size=1",)}, "group_size"),
        ({"processes": 0}, "--processes"),
        ({"num_samples": 0}, "--num-samples"),
    ],
    ids=["sft", "sft without its stage", "rl", "processes", "samples"],
)
def test_a_wrong_setting_stops_it_before_anything_is_made(tmp_path: Path, arguments: dict, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        quickstart(output=tmp_path / "out", **arguments)
    assert not (tmp_path / "out").exists()


def test_an_output_that_is_a_file_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "out").touch()
    with pytest.raises(ConfigError, match="out"):
        quickstart(output=tmp_path / "out")
