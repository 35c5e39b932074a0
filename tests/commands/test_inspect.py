"""`onethinker inspect` as a user runs it."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from onethinker.cli import main
from onethinker.media.writing import write_video


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as stopped:
        main(["inspect", *map(str, arguments)])
    shown = capsys.readouterr()
    return int(stopped.value.code or 0), shown.out, shown.err


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    path = tmp_path / "clip.mp4"
    write_video(path, np.zeros((40, 64, 96, 3), np.uint8), fps=10)
    return path


def test_json_says_what_the_model_sees(clip: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, clip, "--json")
    assert (code, err) == (0, "")
    assert json.loads(out) == {
        "frames": [{"index": 5 * n, "time_s": n / 2} for n in range(8)],
        "width": 96,
        "height": 64,
        "tokens": 4 * 3 * 2,
        "problems": [],
    }


def test_the_budget_can_be_set(clip: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = run(capsys, clip, "--json", "--budget.fps", "1", "--budget.frame-max-pixels", "4096")
    seen = json.loads(out)
    assert [frame["time_s"] for frame in seen["frames"]] == [0, 1, 2, 3]
    assert seen["width"] * seen["height"] <= 4096


def test_text_lists_frames_and_times(clip: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, clip)
    assert code == 0
    assert out.startswith("clip.mp4: video of 4.000 s, 8 frames of 96 x 64 pixels of 96 x 64, 24 tokens")
    assert "35       3.500 s" in out


def test_a_picture_is_one_frame(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Image.new("RGB", (640, 480)).save(tmp_path / "photo.jpg")
    _, out, _ = run(capsys, tmp_path / "photo.jpg", "--json")
    frames = [{"index": 0, "time_s": 0.0}]
    assert json.loads(out) == {"frames": frames, "width": 640, "height": 480, "tokens": 300, "problems": []}


def test_a_contact_sheet_is_written(clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = run(capsys, clip, "--sheet", tmp_path / "sheet.png")
    assert (code, err) == (0, f"wrote {tmp_path / 'sheet.png'}\n")
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.width >= 8 * 96


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["nowhere.mp4"], 1, "nowhere.mp4: there is no such file"),
        ([], 2, "source"),
        (["nowhere.mp4", "--budget.fps", "0"], 2, "greater than 0"),
    ],
    ids=["no file", "no argument", "no rate"],
)
def test_mistakes_are_named(arguments: list[str], code: int, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    stopped, out, err = run(capsys, *arguments)
    assert (stopped, out) == (code, "")
    assert said.lower() in err.lower()


def test_a_sheet_that_cannot_be_written_prints_nothing(
    clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = run(capsys, clip, "--sheet", tmp_path / "sheet.gif")
    assert (code, out) == (1, "")
    assert "sheet.gif: a picture can be written as .png, .jpg, .jpeg" in err
