"""The time painted into a video is the time that its frames are read with."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from onethinker.core.errors import MediaError
from onethinker.core.sources import VideoPart
from onethinker.media.budget import MediaBudget
from onethinker.media.reading import read_clip
from onethinker.media.sampling import target_times

EVEN = [40 * n for n in range(100)]
UNEVEN = np.random.default_rng(3).integers(10, 200, 100).cumsum().tolist()
LATE = [5000 + time_ms for time_ms in UNEVEN]
CASES = [
    pytest.param(codec, times, id=f"{codec}, {name}")
    for codec in ("mp4", "mp4 in groups of 4", "mkv", "webm of VP9", "webm of VP8", "ts", "lossless mov", "avi")
    for name, times in (("even", EVEN), ("uneven", UNEVEN), ("uneven and late", LATE))
    if codec != "avi" or name == "even"  # an AVI has one rate
]
BUDGETS = [MediaBudget(fps=2), MediaBudget(fps=60, max_frames=4096), MediaBudget(max_frames=5)]


@pytest.mark.parametrize(("codec", "times_ms"), CASES)
def test_every_sampled_frame_is_the_nearest_to_its_moment_and_has_its_true_time(
    tmp_path: Path,
    codec: str,
    times_ms: list[int],
    record: Callable[..., Path],
    read_number: Callable[[np.ndarray], int],
) -> None:
    path = record(tmp_path / "clip", times_ms, codec=codec)
    shown_s = (np.array(times_ms) - times_ms[0]) / 1000
    for budget in BUDGETS:
        clip = read_clip(path, budget)
        numbers = [read_number(frame) for frame in clip.frames]
        assert clip.indices == tuple(numbers)
        assert clip.times_s == pytest.approx(shown_s[numbers], abs=0.001)  # Matroska keeps milliseconds
        nearest = [np.abs(shown_s - target).min() for target in target_times(clip.duration_s, budget)]
        reached = [np.abs(shown_s[numbers] - target).min() for target in target_times(clip.duration_s, budget)]
        assert reached == pytest.approx(nearest, abs=0.002)


@pytest.mark.parametrize("codec", ["mp4", "mkv", "webm of VP9", "avi"])
def test_frames_of_an_even_video_lie_within_half_a_frame_of_the_asked_time(
    tmp_path: Path, codec: str, record: Callable[..., Path], read_number: Callable[[np.ndarray], int]
) -> None:
    clip = read_clip(record(tmp_path / "clip", EVEN, codec=codec), MediaBudget(fps=3))
    asked = [n / 3 for n in range(12)]
    painted = [read_number(frame) * 0.04 for frame in clip.frames]
    assert painted == pytest.approx(asked, abs=0.0201)
    assert clip.duration_s == pytest.approx(4.0, abs=0.002)


def test_a_video_of_one_frame_is_read(tmp_path: Path, record: Callable[..., Path]) -> None:
    clip = read_clip(record(tmp_path / "one.mp4", [0]), MediaBudget())
    assert (clip.kind, clip.times_s, clip.indices) == ("video", (0.0,), (0,))


def test_a_video_of_200_seconds_is_sampled_over_its_whole_length(
    tmp_path: Path, record: Callable[..., Path], read_number: Callable[[np.ndarray], int]
) -> None:
    clip = read_clip(
        record(tmp_path / "long.mkv", [800 * n for n in range(250)], codec="mkv"), MediaBudget(max_frames=128)
    )
    assert len(clip.frames) == 128
    assert clip.duration_s == pytest.approx(200, abs=0.8)
    assert clip.times_s[-1] > 197
    assert [read_number(frame) * 0.8 for frame in clip.frames] == pytest.approx(clip.times_s, abs=0.001)


def test_slow_videos_give_each_of_their_frames_once(tmp_path: Path, record: Callable[..., Path]) -> None:
    clip = read_clip(record(tmp_path / "slow.mp4", [0, 3000, 6000]), MediaBudget(fps=2))
    assert clip.indices == (0, 1, 2)


def test_a_part_of_a_video_is_a_clip_of_its_own_with_the_frames_from_there_to_there(
    tmp_path: Path, record: Callable[..., Path], read_number: Callable[[np.ndarray], int]
) -> None:
    path = record(tmp_path / "clip.mp4", range(0, 10_000, 250))
    clip = read_clip(VideoPart(path, 2.5, 6.0), MediaBudget(fps=2, frame_max_pixels=256 * 256))
    assert clip.duration_s == 3.5
    assert clip.times_s == (0.0, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0)
    assert [read_number(frame) for frame in clip.frames] == [10, 12, 14, 16, 18, 20, 22]
    to_the_end = read_clip(VideoPart(path, 9.0), MediaBudget(fps=2))
    assert to_the_end.indices == (36, 38)


@pytest.mark.parametrize(
    ("part", "reason"),
    [((3, 3), "has nothing from second 3 to 3 s"), ((20, None), "lasts 10.00 s"), ((1.3, 1.4), "shows no frame")],
    ids=["empty", "after the end", "between two frames"],
)
def test_a_part_without_frames_is_an_error_that_names_it(
    tmp_path: Path, record: Callable[..., Path], part: tuple[float, float | None], reason: str
) -> None:
    path = record(tmp_path / "clip.mp4", range(0, 10_000, 250))
    with pytest.raises(MediaError, match=reason):
        read_clip(VideoPart(path, *part), MediaBudget())
