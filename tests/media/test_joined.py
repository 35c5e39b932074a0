"""Files joined byte by byte: the whole is shown, with times that go on, or the error says what is missing."""

import re
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from onethinker.core.errors import MediaError
from onethinker.media.budget import MediaBudget
from onethinker.media.reading import read_clip

EVEN = [40 * n for n in range(50)]


def part(
    path: Path, first: int, *, size=(256, 64), codec="libx264", form="mpegts", start_s: float = 0.0, rate: int = 25
) -> Path:
    """Two seconds of frames, each brighter than the one before, the first of which is so many shades bright."""
    with av.open(str(path), "w", format=form) as container:
        stream = container.add_stream(codec, rate=rate)
        (stream.width, stream.height), stream.pix_fmt = size, "yuv420p"
        for number in range(2 * rate):
            shade = first + number * 50 // (2 * rate)
            frame = av.VideoFrame.from_ndarray(np.full((size[1], size[0], 3), shade, np.uint8), format="rgb24")
            frame.pts, frame.time_base = round(start_s * rate) + number, Fraction(1, rate)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def joined(folder: Path, *parts: Path) -> Path:
    (folder / "joined").write_bytes(b"".join(path.read_bytes() for path in parts))
    return folder / "joined"


SECONDS = {
    "two files": {},
    "another size": {"size": (128, 96)},
    "a clock an hour ahead": {"start_s": 3600.0},
    "a clock that overlaps": {"start_s": 1.0},
    "another rate": {"rate": 50},
}


@pytest.mark.parametrize("second", SECONDS.values(), ids=SECONDS)
@pytest.mark.parametrize("form", ["mpegts", "matroska"])
def test_all_of_a_joined_file_is_shown_with_times_that_go_on(tmp_path, second, form):
    if form == "matroska" and second.keys() & {"size", "start_s"} and second != SECONDS["a clock that overlaps"]:
        pytest.skip("Matroska has one header for size, and no clock that leaps")
    path = joined(tmp_path, part(tmp_path / "a", 50, form=form), part(tmp_path / "b", 150, form=form, **second))
    clip = read_clip(path, MediaBudget(fps=2))
    assert clip.duration_s == pytest.approx(4.0, abs=0.05)
    # At another rate the length of the last frame is a guess, so that it may be asked for once more.
    assert clip.times_s[:8] == pytest.approx([n / 2 for n in range(8)], abs=0.05)
    shades = [float(frame.mean()) for frame in clip.frames[:8]]
    assert shades == pytest.approx([50, 62, 75, 87, 150, 162, 175, 187], abs=6)


def test_many_parts_follow_one_another(tmp_path):
    path = joined(tmp_path, *[part(tmp_path / str(first), first) for first in (20, 80, 140, 200)])
    clip = read_clip(path, MediaBudget(max_frames=4))
    assert clip.duration_s == pytest.approx(8.0, abs=0.1)
    assert [float(frame.mean()) for frame in clip.frames] == pytest.approx([20, 80, 140, 200], abs=6)


def test_a_size_that_changes_and_times_that_start_again_are_said(tmp_path):
    clip = read_clip(
        joined(tmp_path, part(tmp_path / "a", 50), part(tmp_path / "b", 150, size=(128, 96))), MediaBudget()
    )
    restart, sizes = clip.problems
    assert re.fullmatch(r"its times start again at 2\.\d+ s: the parts are shown one after the other", restart)
    assert sizes == "its frames change size (128 x 96, 256 x 64): all are shown in the size of the first"


@pytest.mark.parametrize(
    ("second", "said"),
    [
        (
            {"codec": "mpeg2video"},
            r"joined from parts that one decoder cannot read: nothing after \d\.\d+ s can be shown",
        ),
        ({"form": "flv"}, "is several FLV files joined byte by byte, of which only the first 2.0. s can be read"),
        ({"form": "mp4"}, "is several MP4 files joined byte by byte, of which only the first 2.0. s can be read"),
    ],
    ids=["codecs", "FLV", "MP4"],
)
def test_a_file_of_which_only_the_first_part_can_be_read_is_an_error(tmp_path, second, said):
    form = second.get("form", "mpegts")
    path = joined(tmp_path, part(tmp_path / "a", 50, form=form), part(tmp_path / "b", 150, **second))
    with pytest.raises(MediaError, match=said):
        read_clip(path, MediaBudget())


def test_long_pauses_keep_their_true_times_where_clocks_do_not_leap(tmp_path, record: Callable[..., Path]):
    for codec in ("mkv", "mp4"):
        clip = read_clip(
            record(tmp_path / codec, [0, 40, 60_000, 60_040], codec=codec), MediaBudget(fps=60, max_frames=4096)
        )
        assert clip.times_s == pytest.approx([0, 0.04, 60, 60.04], abs=0.002)


def programme(path: Path, number: int, *, sound: bool = False, pid: int = 0x100) -> Path:
    """So many frames of noise in a broadcast, hardly compressed: more than a decoder reads to find the streams."""
    pixels = np.random.default_rng(0).integers(0, 256, (480, 640, 3), np.uint8)
    with av.open(str(path), "w", format="mpegts", options={"mpegts_start_pid": str(pid)}) as container:
        video = container.add_stream("libx264", rate=25, options={"qp": "1", "preset": "ultrafast", "g": "1"})
        video.width, video.height, video.pix_fmt = 640, 480, "yuv420p"
        audio = container.add_stream("mp2", rate=48_000, layout="mono") if sound else None
        for index in range(number):
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts, frame.time_base = index, Fraction(1, 25)
            container.mux(video.encode(frame))
            if audio is not None:
                heard = av.AudioFrame.from_ndarray(np.zeros((1, 1920), np.int16), format="s16", layout="mono")
                heard.sample_rate, heard.pts, heard.time_base = 48_000, 1920 * index, Fraction(1, 48_000)
                container.mux(audio.encode(heard))
        container.mux(video.encode(None))
    return path


def test_sound_that_a_broadcast_lists_only_later_is_no_loss(tmp_path):
    path = joined(tmp_path, programme(tmp_path / "a", 12), programme(tmp_path / "b", 4, sound=True))
    clip = read_clip(path, MediaBudget(fps=25))
    assert len(clip.frames) == 16
    assert clip.problems == ("its times start again at 0.48 s: the parts are shown one after the other",)


@pytest.mark.parametrize("number", [2, 12], ids=["listed", "unlisted"])
def test_pictures_that_go_on_in_another_stream_of_a_broadcast_are_named(tmp_path, number):
    path = joined(tmp_path, programme(tmp_path / "a", number), programme(tmp_path / "b", 6, pid=0x200))
    clip = read_clip(path, MediaBudget(fps=25))
    assert len(clip.frames) == number
    [problem] = clip.problems
    assert re.fullmatch(
        rf"[\d,]+ bytes of other streams, which are not shown, follow the last video frame at {number / 25:.2f} s",
        problem,
    )
