"""Runs of so many epochs over records chosen and sorted by how easy they are: counted, planned, stopped and resumed."""

import json

import pytest

from onethinker.cli import main
from onethinker.core.errors import DataError
from onethinker.data.formats.records import write_records
from onethinker.data.synthetic import write_dataset
from onethinker.training.config import SftRecipe
from onethinker.training.sft import train_sft
from onethinker.training.state.run_folder import RunFolder
from tests.training.test_runs import StopRunError, files, journal, stop_after


@pytest.fixture(scope="module")
def two_files(tmp_path_factory):
    """Two files of 8 and 4 records with pass rates 0, 0.1, 0.2, ..."""
    folder = tmp_path_factory.mktemp("epochs")
    rows = [json.loads(line) for line in write_dataset(folder, num_samples=12, side_px=96).read_text().splitlines()]
    rated = [row | {"pass_rate": n / 10} for n, row in enumerate(rows)]
    write_records(folder / "a.jsonl", rated[:8])
    write_records(folder / "b.jsonl", rated[8:])
    return [folder / "a.jsonl", folder / "b.jsonl"]


def recipe_of(two_files, **data) -> SftRecipe:
    return SftRecipe(
        epochs=2,
        batch_size=3,
        save_every=2,
        max_row_tokens=512,
        data={"files": two_files, "mixing": "proportional", "mix_by": "file", **data},
    )


def test_a_run_of_two_epochs_shows_every_record_twice_and_goes_on_in_the_same_order(two_files, tmp_path):
    recipe = recipe_of(two_files, curriculum={"order": "easy_first"}, seeds={"b.jsonl": 5})
    train_sft(recipe, tmp_path / "whole")
    rows = journal(tmp_path / "whole")
    assert len(rows) == 12 * 2 / 3
    assert set(rows[-1]["passes"].values()) == {2.0}
    assert rows[-1]["file_passes"] == {str(file): 2.0 for file in two_files}
    assert rows[3]["file_passes"] == {str(file): 1.0 for file in two_files}
    with pytest.raises(StopRunError):
        train_sft(recipe, tmp_path / "stopped", on_step=stop_after(5))
    train_sft(recipe, tmp_path / "stopped")
    assert journal(tmp_path / "stopped") == rows
    assert files(tmp_path / "stopped") == files(tmp_path / "whole")
    starts = [json.loads(line) for line in (tmp_path / "stopped" / "starts.jsonl").read_text().splitlines()]
    assert [start["changed"] for start in starts] == [[], []]


def test_records_outside_the_band_are_left_out_and_an_epoch_is_of_the_others(two_files, tmp_path):
    recipe = recipe_of(two_files, curriculum={"order": "shuffled", "least": 0.1, "most": 0.9})
    train_sft(recipe, tmp_path / "run")
    folder = RunFolder(tmp_path / "run")
    assert len(folder.rows()) == 6, "9 records twice, in batches of 3"
    left_out = [json.loads(line) for line in (tmp_path / "run" / "left_out.jsonl").read_text().splitlines()]
    assert [(line["file"], line["row"]) for line in left_out] == [
        (str(two_files[0]), 1),
        (str(two_files[1]), 3),
        (str(two_files[1]), 4),
    ]
    assert "outside data.curriculum" in left_out[0]["reason"]


def test_records_without_the_number_and_a_band_without_records_are_named(two_files, tmp_path):
    with pytest.raises(DataError, match=r"(?s)needs 'rate' in every record.*a.jsonl, row 1.*rollouts RUN --rates"):
        train_sft(recipe_of(two_files, curriculum={"field": "rate"}), tmp_path / "run")
    with pytest.raises(DataError, match="leaves no record"):
        train_sft(recipe_of(two_files, curriculum={"least": 5}), tmp_path / "run")


def test_the_dry_run_says_how_often_it_passes_over_each_task_and_file(two_files, tmp_path, capsys):
    recipe = tmp_path / "mine.toml"
    recipe.write_text(
        f"epochs = 3\nbatch_size = 4\n[data]\nfiles = {json.dumps([str(file) for file in two_files])}\n"
        'mix_by = "file"\n[data.curriculum]\nleast = 0.1\n'
    )
    with pytest.raises(SystemExit) as caught:
        main(["sft", str(recipe), "--dry-run"])
    assert caught.value.code == 0
    said = capsys.readouterr().out
    assert "steps        9, each of 4 samples" in said, "3 times 11 records in batches of 4"
    lines = [" ".join(line.split()) for line in said.splitlines()]
    assert f"{two_files[0]} 7 2.57 passes" in lines
    assert f"{two_files[1]} 4 4.5 passes" in lines
    assert any("left out by data.curriculum: 1 of 12 records" in line for line in lines)
