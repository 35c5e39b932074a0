"""What is written is whole, has its true times, and reads back as what it was."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from onethinker.core.errors import MediaError, StorageError
from onethinker.core.frames import Clip
from onethinker.media.budget import MediaBudget
from onethinker.media.reading import read_clip
from onethinker.media.writing import contact_sheet, save_clip, write_video

ALL = MediaBudget(fps=60, max_frames=4096)


def colored_frames(count: int, height: int = 64, width: int = 96) -> np.ndarray:
    frames = np.zeros((count, height, width, 3), np.uint8)
    frames[:, :, : width // 2] = 220, 40, 60
    frames[:, :, width // 2 :] = 30, 90, 200
    return frames


@pytest.mark.parametrize("fps", [2, 4, 25, 30000 / 1001])
def test_a_rate_gives_its_times_and_length(tmp_path: Path, fps: float) -> None:
    write_video(tmp_path / "clip.mp4", colored_frames(9), fps=fps)
    clip = read_clip(tmp_path / "clip.mp4", ALL)
    assert clip.times_s == pytest.approx([n / fps for n in range(9)], abs=2e-5)
    assert clip.duration_s == pytest.approx(9 / fps, abs=2e-5)


def test_colours_survive(tmp_path: Path) -> None:
    frames = colored_frames(3)
    write_video(tmp_path / "clip.mp4", frames, fps=4)
    difference = np.abs(read_clip(tmp_path / "clip.mp4", ALL).frames.astype(int) - frames)
    assert difference[:, :, [10, 80]].max() <= 3


def test_a_clip_keeps_its_own_times_and_length(tmp_path: Path) -> None:
    times_s = (0.0, 0.1, 0.5, 2.25, 3.0)
    save_clip(Clip("video", colored_frames(5), times_s, (0, 3, 15, 68, 90), 96, 64, 4.5, "clip"), tmp_path / "out.mp4")
    clip = read_clip(tmp_path / "out.mp4", ALL)
    assert clip.times_s == pytest.approx(times_s)
    assert clip.duration_s == pytest.approx(4.5)


def test_odd_sides_grow_by_one_pixel(tmp_path: Path) -> None:
    write_video(tmp_path / "odd.mp4", colored_frames(2, 63, 95), fps=1)
    clip = read_clip(tmp_path / "odd.mp4", ALL)
    assert (clip.source_width, clip.source_height) == (96, 64)


def test_a_png_is_exact(tmp_path: Path) -> None:
    frame = np.random.default_rng(0).integers(0, 256, (1, 64, 64, 3), np.uint8)
    save_clip(Clip("image", frame, (0.0,), (0,), 64, 64, 0.0, "noise"), tmp_path / "out.PNG")
    assert np.array_equal(np.array(Image.open(tmp_path / "out.PNG")), frame[0])
    assert list(tmp_path.iterdir()) == [tmp_path / "out.PNG"]


@pytest.mark.parametrize(
    ("kind", "name", "reason"),
    [
        ("image", "out.mp4", "a picture can be written as .png, .jpg, .jpeg, not as .mp4"),
        ("video", "out.png", "a video can be written as .mp4, not as .png"),
        ("video", "out", "not as a file without suffix"),
        ("video", "no/such/folder/out.mp4", "cannot be written"),
        ("image", "no/such/folder/out.png", "cannot be written"),
    ],
)
def test_what_cannot_be_written_is_said_and_leaves_nothing(tmp_path: Path, kind: str, name: str, reason: str) -> None:
    with pytest.raises((MediaError, StorageError), match=reason) as caught:
        save_clip(Clip(kind, colored_frames(1), (0.0,), (0,), 96, 64, 1.0, "clip"), tmp_path / name)
    assert str(tmp_path / name) in str(caught.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("times_s", [(0.0, 0.0), (1.0, 0.5), (-1.0, 0.0), (0.0,), ()])
def test_times_that_do_not_rise_or_fit_are_refused(tmp_path: Path, times_s: tuple[float, ...]) -> None:
    with pytest.raises(MediaError, match=r"clip\.mp4: "):
        write_video(tmp_path / "clip.mp4", colored_frames(2), times_s=times_s)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("count", "height", "width"),
    [(1, 32, 32), (20, 64, 96), (128, 384, 672), (3, 1600, 32), (2, 32, 1600), (600, 32, 32)],
)
def test_a_contact_sheet_holds_every_frame(count: int, height: int, width: int) -> None:
    clip = Clip(
        "video",
        colored_frames(count, height, width),
        tuple(n / 2 for n in range(count)),
        tuple(range(count)),
        1,
        1,
        1.0,
        "clip",
    )
    sheet = contact_sheet(clip)
    assert sheet.shape[1] <= 1600
    red = (np.abs(sheet.astype(int) - (220, 40, 60)).max(-1) < 20).sum()
    shown = count * (height * width / 2)
    assert red > 0
    assert red / sheet[..., 0].size > 0.005 or shown < 3000
