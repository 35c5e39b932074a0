"""From memory and from a file, once and twice: always the same clip."""

from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from onethinker.core.errors import MediaError
from onethinker.core.frames import Clip
from onethinker.media.budget import MediaBudget
from onethinker.media.reading import read_clip
from onethinker.media.videos import _SCALING, converted

BUDGETS = {
    "default": MediaBudget(),
    "all frames, small": MediaBudget(fps=30, frame_max_pixels=64 * 64),
    "few frames": MediaBudget(max_frames=5),
    "large": MediaBudget(fps=1.3, frame_min_pixels=400 * 400, frame_max_pixels=500 * 500, image_min_pixels=400 * 400),
    "hardly anything": MediaBudget(video_max_pixels=7 * 32 * 32),
}


def moving_clip(times_s: tuple[float, ...], duration_s: float) -> Clip:
    """A soft spot that moves over a soft background."""
    down, across = np.mgrid[:90, :150]
    frames = [
        np.stack([across + n, down * 2, 200 * np.exp(-((across - 3 * n) ** 2 + (down - 40) ** 2) / 200)], -1)
        for n in range(len(times_s))
    ]
    numbers = tuple(range(len(times_s)))
    return Clip(
        "video", np.clip(np.stack(frames), 0, 255).astype(np.uint8), times_s, numbers, 150, 90, duration_s, "clip"
    )


EVEN = tuple(n * 0.04 for n in range(100))
UNEVEN = (0.0, *np.random.default_rng(0).integers(20, 300, 60).cumsum().__truediv__(1000).tolist())


@pytest.mark.parametrize("budget", BUDGETS.values(), ids=BUDGETS)
@pytest.mark.parametrize(("codec", "times_s"), [("lossless mov", EVEN), ("lossless mov", UNEVEN), ("mkv", EVEN)])
def test_a_clip_in_memory_is_read_as_the_same_clip_on_disk(
    tmp_path: Path, codec: str, times_s: tuple[float, ...], budget: MediaBudget, record: Callable[..., Path]
) -> None:
    full = moving_clip(times_s, times_s[-1] + times_s[1] if times_s is EVEN else 0.0)
    path = record(tmp_path / "clip", [round(time_s * 1000) for time_s in times_s], codec=codec, frames=full.frames)
    on_disk = read_clip(path, budget)
    full = moving_clip(times_s, on_disk.duration_s)
    in_memory = read_clip(full, budget)
    assert in_memory.times_s == pytest.approx(on_disk.times_s, abs=1e-3)
    assert in_memory.indices == on_disk.indices
    assert in_memory.frames.shape == on_disk.frames.shape
    difference = np.abs(in_memory.frames.astype(int) - on_disk.frames)
    if codec == "lossless mov":
        assert difference.max() == 0
    else:
        assert difference.mean() < 4  # x264 at its default quality


@pytest.mark.parametrize("budget", BUDGETS.values(), ids=BUDGETS)
@pytest.mark.parametrize("times_s", [EVEN, UNEVEN], ids=["even", "uneven"])
def test_a_clip_that_was_read_fits_and_comes_back_itself(times_s: tuple[float, ...], budget: MediaBudget) -> None:
    once = read_clip(moving_clip(times_s, times_s[-1] + 0.04), budget)
    assert read_clip(once, budget) is once


@pytest.mark.parametrize("budget", BUDGETS.values(), ids=BUDGETS)
def test_no_clip_exceeds_its_budget(budget: MediaBudget) -> None:
    clip = read_clip(moving_clip(EVEN, 4.0), budget)
    area = clip.width * clip.height
    assert len(clip.frames) <= budget.max_frames
    assert area <= budget.frame_max_pixels
    assert area * len(clip.frames) <= budget.video_max_pixels


@pytest.mark.parametrize("budget", BUDGETS.values(), ids=BUDGETS)
def test_a_picture_in_memory_is_read_as_the_same_picture_on_disk(tmp_path: Path, budget: MediaBudget) -> None:
    frame = moving_clip((0.0,), 0.0).frames
    Image.fromarray(frame[0]).save(tmp_path / "picture.png")
    on_disk = read_clip(tmp_path / "picture.png", budget)
    in_memory = read_clip(Clip("image", frame, (0.0,), (0,), 150, 90, 0.0, "picture.png"), budget)
    assert np.array_equal(on_disk.frames, in_memory.frames)
    assert (on_disk.source_width, on_disk.source_height, on_disk.name) == (150, 90, "picture.png")
    assert read_clip(on_disk, budget) is on_disk


def test_a_clip_without_frames_is_refused() -> None:
    with pytest.raises(MediaError, match="nothing: a clip needs at least one frame"):
        read_clip(Clip("video", np.zeros((0, 64, 64, 3), np.uint8), (), (), 64, 64, 0.0, "nothing"), MediaBudget())


@pytest.mark.parametrize("kind", ["yuv420p", "yuvj420p", "yuv420p10le", "yuv444p", "nv12", "gray", "rgb24"])
@pytest.mark.parametrize("size", [(64, 32), (97, 53), (200, 150)])
def test_colours_are_those_that_ffmpeg_gives_when_it_packs_them(kind: str, size: tuple[int, int]) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (90, 120, 3), np.uint8)
    frame = av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(format=kind)
    packed = frame.reformat(*size, format="rgb24", interpolation=_SCALING, threads=1).to_ndarray()
    assert np.array_equal(converted(frame, size), packed)
