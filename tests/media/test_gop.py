"""The quick way through a video gives, bit for bit, what decoding all of it gives, or says that it cannot."""

import io
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest

from onethinker.media.files import SharedFile
from onethinker.media.gop import decode_groups, is_h264_disposable, plan_runs
from onethinker.media.packets import Scan, scan_video
from onethinker.media.videos import open_video

EVEN = [40 * n for n in range(100)]
UNEVEN = np.random.default_rng(3).integers(10, 200, 100).cumsum().tolist()
WANTED = {"all": list(range(100)), "few": [0, 13, 50, 99], "every 7th": list(range(0, 100, 7)), "one": [61]}


def moving_noise() -> np.ndarray:
    """Frames that take all of a codec's means: what moves, what stays and what is new in each."""
    rng = np.random.default_rng(2)
    texture = np.kron(rng.integers(0, 256, (40, 60, 3)), np.ones((8, 8, 1)))
    frames = [texture[n : n + 64, 2 * n : 2 * n + 128] + rng.normal(0, 4, (64, 128, 3)) for n in range(100)]
    return np.clip(np.stack(frames), 0, 255).astype(np.uint8)


FRAMES = moving_noise()


def scanned(path: Path) -> tuple[SharedFile, Scan]:
    file = SharedFile(io.BytesIO(path.read_bytes()))
    with open_video(file) as (container, stream):
        return file, scan_video(container, stream)


def in_full(path: Path) -> list[np.ndarray]:
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


@pytest.mark.parametrize("wanted", WANTED.values(), ids=WANTED)
@pytest.mark.parametrize("times_ms", [EVEN, UNEVEN], ids=["even", "uneven"])
@pytest.mark.parametrize("codec", ["mp4", "mp4 in groups of 4", "mkv", "webm of VP9", "lossless mov"])
def test_frames_are_bit_for_bit_those_of_decoding_everything(
    tmp_path: Path, codec: str, times_ms: list[int], wanted: list[int], record: Callable[..., Path]
) -> None:
    path = record(tmp_path / "clip", times_ms, codec=codec, frames=FRAMES)
    file, scan = scanned(path)
    found: dict[int, np.ndarray] = {}
    assert decode_groups(
        file, scan, wanted, lambda place, frame: found.update({place: frame.to_ndarray(format="rgb24")}), set()
    )
    assert sorted(found) == list(range(len(wanted)))
    whole = in_full(path)
    assert all(np.array_equal(found[place], whole[number]) for place, number in enumerate(wanted))


@pytest.mark.parametrize("codec", ["avi", "ts"])
def test_a_container_without_an_index_is_left_to_the_careful_way(
    tmp_path: Path, codec: str, record: Callable[..., Path]
) -> None:
    file, scan = scanned(record(tmp_path / "clip", EVEN, codec=codec, frames=FRAMES))
    assert not decode_groups(file, scan, [0, 50], lambda place, frame: None, set())


def test_a_frame_that_cannot_be_decoded_is_said(tmp_path: Path, record: Callable[..., Path]) -> None:
    path = record(tmp_path / "clip", EVEN, codec="lossless mov", frames=FRAMES)
    content = path.read_bytes()
    places = [n for n in range(len(content)) if content.startswith(b"\x89PNG", n)]
    path.write_bytes(b"".join([content[: places[10]], b"\0" * (places[11] - places[10]), content[places[11] :]]))
    file, scan = scanned(path)
    assert not decode_groups(file, scan, [0, 10, 20], lambda place, frame: None, set())
    assert decode_groups(file, scan, [0, 20], lambda place, frame: None, set())


def test_frames_that_lean_on_the_group_before_take_it_along() -> None:
    scan = Scan((0, 1, 2, 3, 4, 5), 0.04, 0.24, (0, 3), {0: 0, 1: 1, 4: 3, 3: 4, 2: 2, 5: 5}, (0, 4), True)
    assert [(run.first, run.last, run.wanted) for run in plan_runs(scan, [3])] == [(0, 4, {3: 0})]
    assert [(run.first, run.last, run.wanted) for run in plan_runs(scan, [4])] == [(3, 3, {4: 0})]
    assert [(run.first, run.last, run.wanted) for run in plan_runs(scan, [1, 3, 5])] == [(0, 5, {1: 0, 3: 1, 5: 2})]


def test_the_packets_that_are_left_out_are_those_that_ffmpeg_calls_unreferenced(
    tmp_path: Path, record: Callable[..., Path]
) -> None:
    path = record(tmp_path / "clip", EVEN, codec="mkv", frames=FRAMES)
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        extradata = stream.codec_context.extradata
        packets = [packet for packet in container.demux(stream) if packet.size]
        found = {packet.pts for packet in packets if is_h264_disposable(memoryview(packet), extradata)}
    with av.open(str(path)) as container:
        container.streams.video[0].codec_context.skip_frame = "NONREF"
        needed = {frame.pts for frame in container.decode(video=0)}
    assert len(found) > 20
    assert found == {packet.pts for packet in packets} - needed


@pytest.mark.parametrize(
    ("packet", "extradata"),
    [
        (b"", b"\x01\x64\x00\x1f\xff"),
        (b"\0\0\0\x02\x01\x07", None),
        (b"\0\0\0\x02\x01\x07", b"\0\0\0\x01g"),
        (b"\0\0\0\x03\x01\x07", b"\x01\x64\x00\x1f\xff"),
        (b"\0\0\0\x02\x06\x07", b"\x01\x64\x00\x1f\xff"),
        (b"\0\0\0\x02\x01\x07\0\0\0\x02\x41\x07", b"\x01\x64\x00\x1f\xff"),
    ],
    ids=["empty", "no header", "start codes", "cut", "no slice", "one slice referenced"],
)
def test_what_is_not_surely_unreferenced_is_decoded(packet: bytes, extradata: bytes | None) -> None:
    assert not is_h264_disposable(packet, extradata)
