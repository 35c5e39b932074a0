"""Disks that fill up at any byte: one line that names the file, and the same command goes on when there is room."""

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from onethinker.cli import main
from onethinker.core.errors import StorageError
from onethinker.data.synthetic import write_dataset
from onethinker.evaluation.results import Answer, read_answers
from onethinker.media.writing import write_video
from onethinker.storage import hashing
from onethinker.storage.jsonl_log import open_log

PAGE = 4096


def run(*arguments: object) -> int:
    with pytest.raises(SystemExit) as left:
        main([str(argument) for argument in arguments])
    return left.value.code


@contextmanager
def full(disk: Path, *, but: int = 0) -> Iterator[None]:
    """Leave so many bytes free on a disk."""
    filler = disk / "filler"
    free = os.statvfs(disk)
    with filler.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, free.f_bavail * free.f_bsize - but)
    yield
    filler.unlink()


def digests(folder: Path) -> dict[str, str]:
    """Return what an evaluation left, without what names the machine or the clock."""
    found = {str(path.relative_to(folder)): path for path in folder.rglob("*") if path.is_file()}
    kept = {name: path for name, path in found.items() if name not in ("settings.json", "report.html", "media.json")}
    return {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in kept.items()}


def test_an_evaluation_on_a_disk_that_fills_up_anywhere_says_so_in_a_line_and_goes_on(
    small_disk, tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr(hashing, "_SETTLED_S", -1.0)  # digests of new files are remembered as well: media.json
    write_dataset(tmp_path / "data", num_samples=11, split="test")
    arguments = [
        "evaluate",
        "--model",
        "untrained",
        "--data",
        tmp_path / "data/samples.jsonl",
        "--max-new-tokens",
        "4",
        "--batch-size",
        "4",
    ]
    assert run(*arguments, "--output", tmp_path / "whole") == 0
    named, pages = set(), 0
    while True:
        capsys.readouterr()
        with full(small_disk, but=pages * PAGE):
            code = run(*arguments, "--output", small_disk / "run")
        said = capsys.readouterr().err
        if code == 0:
            break
        assert code == 1
        [line] = [line for line in said.splitlines() if line.startswith("error: ")]
        assert "No space left on device" in line
        assert str(small_disk) in line
        assert "the same command" in line
        named.add(Path(line.split()[1].rstrip(":")).name)
        pages = pages + 1 if pages < 32 else 2 * pages
    assert {"results.jsonl", "media.json", "report.html"} <= named, named
    assert any(name.endswith(".webp") for name in named), named
    assert digests(small_disk / "run") == digests(tmp_path / "whole")


def test_a_journal_on_a_full_disk_keeps_what_was_in_it_and_takes_more_when_there_is_room(small_disk):
    journal, kept = small_disk / "answers.jsonl", []

    def fill() -> None:
        with open_log(journal) as file:
            for number in range(100):
                file.append([Answer(str(number), str(number), "x" * 3000)])
                kept.append(str(number))

    with full(small_disk, but=10 * PAGE), pytest.raises(StorageError, match=r"answers\.jsonl: .*No space left"):
        fill()
    assert len(kept) > 10
    with open_log(journal) as file:
        file.append([Answer("more", "more")])
    assert list(read_answers(small_disk)) == [*kept, "more"]


@pytest.fixture
def material(tmp_path) -> Path:
    """A picture, a video and graded answers."""
    frames = np.random.default_rng(0).integers(0, 255, (4, 64, 96, 3), dtype=np.uint8)
    write_video(tmp_path / "clip.mp4", frames, fps=2)
    Image.fromarray(frames[0]).save(tmp_path / "photo.png")
    record = {
        "problem_type": "numerical",
        "data_type": "image",
        "problem": "?",
        "answer": "<answer>1</answer>",
        "response": "1",
    }
    (tmp_path / "answers.jsonl").write_text(json.dumps(record) + "\n")
    return tmp_path


COMMANDS = {
    "inspect": ("inspect", "{here}/clip.mp4", "--sheet", "{disk}/sheet.png"),
    "grade": ("grade", "--input", "{here}/answers.jsonl", "--output", "{disk}/graded.jsonl"),
    "data": ("data", "synthetic", "--output", "{disk}/scenes", "--num-samples", "3"),
    "segment, picture": (
        "segment",
        "{here}/photo.png",
        "--box",
        "100",
        "100",
        "900",
        "900",
        "--draw",
        "{disk}/cut.png",
    ),
    "segment, video": ("segment", "{here}/clip.mp4", "--box", "100", "100", "900", "900", "--draw", "{disk}/cut.mp4"),
    "segment, masks": (
        "segment",
        "{here}/clip.mp4",
        "--box",
        "100",
        "100",
        "900",
        "900",
        "--masks",
        "{disk}/masks.json",
    ),
    "segment, folder": ("segment", "{here}/clip.mp4", "--box", "100", "100", "900", "900", "--masks", "{disk}/masks"),
    "quickstart": ("quickstart", "--output", "{disk}/quickstart", "--processes", "1", "--num-samples", "2"),
}


@pytest.mark.parametrize("left", [0, PAGE])
@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_names_the_file_for_which_there_is_no_room(small_disk, material, capsys, name, left):
    arguments = [word.format(here=material, disk=small_disk) for word in COMMANDS[name]]
    with full(small_disk, but=left):
        code = run(*arguments)
        said = capsys.readouterr().err
        assert "Traceback" not in said
        if left and not code:
            return  # it has had room
        assert code == 1
        [line] = [line for line in said.splitlines() if line.startswith("error: ")]
        assert "No space left on device" in line
        assert str(small_disk) in line
    assert sorted(path.name for path in small_disk.iterdir()) in ([], ["quickstart"], ["masks"])


def test_an_export_without_room_names_its_folder(small_disk, tmp_path, capsys):
    from tests.models import save_tiny

    save_tiny(tmp_path / "tiny")
    for left in (0, 16 * PAGE, 600 * PAGE):
        with full(small_disk, but=left):
            assert run("export", tmp_path / "tiny", "--output", small_disk / "model") == 1
        said = capsys.readouterr().err
        assert f"error: {small_disk}/model: the model cannot be written" in said
        assert "No space left on device" in said
    assert run("export", tmp_path / "tiny", "--output", small_disk / "model") == 0


def test_an_output_that_takes_nothing_is_an_error_of_one_line():
    with Path("/dev/full").open("wb") as nowhere:
        finished = subprocess.run(
            [sys.executable, "-m", "onethinker", "--help"], stdout=nowhere, stderr=subprocess.PIPE, check=False
        )
    assert finished.returncode == 1
    [line] = finished.stderr.decode().splitlines()
    assert "No space left on device" in line
