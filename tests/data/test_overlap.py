"""Samples to measure by that are learned from too are found by their content, whatever they are called."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from onethinker.cli import main
from onethinker.data.formats.released import read_samples
from onethinker.data.overlap import overlap_lines


def picture(path: Path, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(path)


def records(folder: Path, *asked: tuple[str, str]) -> Path:
    """Write a file of questions about pictures, each a name and a question."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = [
        {
            "problem": question,
            "problem_type": "numerical",
            "data_type": "image",
            "path": name,
            "solution": "<answer>3</answer>",
            "response": "<think>I count.</think><answer>3</answer>",
        }
        for name, question in asked
    ]
    file = folder / f"{folder.name}.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


@pytest.fixture
def learned(tmp_path) -> Path:
    for seed in range(3):
        picture(tmp_path / f"train/{seed}.png", seed)
    return records(tmp_path / "train", ("0.png", "How many cups?"), ("1.png", "How many cats?"), ("2.png", "How old?"))


def lines(learned: Path, measured: Path) -> list[str]:
    return overlap_lines(read_samples(learned), list(read_samples(measured)))


def test_a_copy_of_a_picture_under_another_name_is_found(learned, tmp_path) -> None:
    picture(tmp_path / "val/own.png", 9)
    shutil.copy(tmp_path / "train/1.png", tmp_path / "val/copy.png")
    measured = records(tmp_path / "val", ("own.png", "How many dogs?"), ("copy.png", "Is it a dog?"))
    [line] = lines(learned, measured)
    assert line.startswith("1 of 2 validation samples show media that are also in the training data")
    assert "'val-2', is like 'train-2'" in line


def test_the_same_question_about_another_picture_is_said_for_itself(learned, tmp_path) -> None:
    picture(tmp_path / "val/own.png", 9)
    [line] = lines(learned, records(tmp_path / "val", ("own.png", "how  many CUPS?")))
    assert "about other media, word for word" in line


def test_other_pictures_of_the_same_size_are_not_shared(learned, tmp_path) -> None:
    content = bytearray((tmp_path / "train/0.png").read_bytes())
    content[-1] ^= 1
    (tmp_path / "val").mkdir()
    (tmp_path / "val/like.png").write_bytes(content)
    assert lines(learned, records(tmp_path / "val", ("like.png", "Who?"))) == []


def test_a_dry_run_says_it_before_anything_is_trained(learned, tmp_path, capsys) -> None:
    shutil.copy(tmp_path / "train/1.png", tmp_path / "val.png")
    measured = records(tmp_path / "val", ("../val.png", "Is it a dog?"))
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(
        f'model = "untrained"\nbatch_size = 2\nmax_row_tokens = 512\n[data]\nfiles = ["{learned}"]\n'
        f'[validation]\nfiles = ["{measured}"]\nevery = 30\n'
    )
    with pytest.raises(SystemExit, match="0"):
        main(["sft", str(recipe), "--dry-run"])
    said = capsys.readouterr().out
    assert "1 of 1 validation samples show media that are also in the training data" in said
    assert f"validation   {measured}, evaluated 5 times" in said


def test_validation_media_that_cannot_be_read_stop_the_run_before_it_begins(learned, tmp_path, capsys) -> None:
    (tmp_path / "val").mkdir()
    (tmp_path / "val/broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    measured = records(tmp_path / "val", ("broken.png", "Who?"))
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(f'model = "untrained"\n[data]\nfiles = ["{learned}"]\n[validation]\nfiles = ["{measured}"]\n')
    with pytest.raises(SystemExit, match="1"):
        main(["sft", str(recipe), "--dry-run"])
    assert "validation.files: these media cannot be read" in capsys.readouterr().err
