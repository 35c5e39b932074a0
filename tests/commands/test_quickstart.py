"""The whole road at its smallest size, and what stops it before it starts."""

import json
from pathlib import Path

import pytest

from onethinker.commands.quickstart import quickstart
from onethinker.errors import ConfigError

SMALL = {
    "set_sft": ("steps=2", "batch_size=4"),
    "set_rl": ("steps=1", "rollout.prompts_per_step=2", "rollout.min_accuracy=-1", "rollout.max_new_tokens=8"),
}


def test_the_quickstart_leaves_a_model_scores_answers_and_a_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
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


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"set_sft": ("stepz=2",)}, "stepz"),
        ({"set_rl": ("rollout.answers_per_prompt=1",)}, "answers_per_prompt"),
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
