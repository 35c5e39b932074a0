"""A complete quickstart at its smallest size, and what stops it before it starts."""

import json
from pathlib import Path

import pytest

from onethinker.commands.quickstart import REFERENCE_S, _check, _Stages, quickstart
from onethinker.core.errors import ConfigError

SMALL = {
    "set_sft": ("steps=2", "batch_size=4"),
    "set_rl": ("steps=1", "rollout.generation_batch_size=2", "rollout.min_accuracy=-1", "rollout.max_new_tokens=8"),
}


def test_the_quickstart_leaves_a_model_scores_answers_and_a_report(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "quickstart"
    quickstart(output=output, processes=1, num_samples=11, **SMALL)
    page = (output / "report.html").read_text()
    assert "spatial grounding" in page
    assert (output / "model/model.safetensors").exists()
    assert len((output / "after-rl/results.jsonl").read_text().splitlines()) == 11
    assert len(list((output / "pictures").glob("*.json"))) == 11
    summary = json.loads((output / "quickstart.json").read_text())
    assert set(summary["seconds"]) == {"data", "sight", "sft", "evaluate sft", "rl", "evaluate rl", "ask", "report"}
    assert summary["peak_memory_mb"]["largest training process"] > 100
    assert str(output / "report.html") in capsys.readouterr().out.replace("\n", "")


def test_what_is_left_is_what_the_other_stages_took_here_times_what_is_ahead(tmp_path: Path) -> None:
    stages = _Stages.open(tmp_path, _check((), (), processes=2, num_samples=480))
    assert stages.left_s() == 0
    stages.seconds = {"sight": 3 * 517.0}
    assert stages.left_s() == pytest.approx(3 * (265 + 19 + 45 + 20 + 2))
    stages.seconds |= {"sft": 3 * 265.0, "evaluate sft": 1000.0, "rl": 3 * 45.0}
    assert stages.left_s() == pytest.approx(3 * (20 + 2))


def test_what_follows_a_stage_is_told_to_it_in_its_own_steps(tmp_path: Path) -> None:
    stages = _Stages.open(tmp_path, _check((), (), processes=2, num_samples=480))
    assert stages.steps_after("sight") == pytest.approx((265 + 19 + 45 + 20 + 2) * 1900 / 517)
    stages.seconds = {"sight": 1.0, "sft": 1.0, "evaluate sft": 1.0}
    assert stages.steps_after("rl") == pytest.approx((20 + 2) * 20 / 45)


def test_other_settings_change_what_a_stage_costs() -> None:
    costs = _check(("steps=10", "batch_size=16"), ("rollout.generation_batch_size=48",), processes=2, num_samples=48)
    assert costs["sight"].seconds == pytest.approx(517 * 10 / 1900 / 2)
    assert costs["rl"].seconds == pytest.approx(90)
    assert costs["evaluate sft"].seconds == pytest.approx(1.9)


def test_the_reference_is_that_of_the_results() -> None:
    page = (Path(__file__).parents[2] / "docs/results/quickstart.md").read_text()
    for name, (_, seconds) in REFERENCE_S.items():
        assert f"| {name} | {seconds:.0f} |" in page


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"set_sft": ("stepz=2",)}, "stepz"),
        ({"set_rl": ("rollout.group_size=1",)}, "group_size"),
        ({"processes": 0}, "--processes"),
        ({"num_samples": 0}, "--num-samples"),
    ],
    ids=["sft", "rl", "processes", "samples"],
)
def test_a_wrong_setting_stops_it_before_anything_is_made(tmp_path: Path, arguments: dict, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        quickstart(output=tmp_path / "out", **arguments)
    assert not (tmp_path / "out").exists()


def test_an_output_that_is_a_file_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "out").touch()
    with pytest.raises(ConfigError, match="out"):
        quickstart(output=tmp_path / "out")
