"""Recordings whose truth is known: every frame shows its own number, as bars of black and white."""

from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

BITS = 8
WIDTH, HEIGHT = 256, 64
CODECS = {
    "mp4": ("mp4", "libx264", "yuv420p", {"g": "12"}),
    "mp4 in groups of 4": ("mp4", "libx264", "yuv420p", {"g": "4", "bf": "2", "x264-params": "open-gop=1"}),
    "mkv": ("matroska", "libx264", "yuv420p", {}),
    "webm of VP9": ("webm", "libvpx-vp9", "yuv420p", {"cpu-used": "8", "deadline": "realtime"}),
    "webm of VP8": ("webm", "libvpx", "yuv420p", {"auto-alt-ref": "1", "lag-in-frames": "16", "cpu-used": "8"}),
    "ts": ("mpegts", "libx264", "yuv420p", {}),
    "lossless mov": ("mov", "png", "rgb24", {}),
    "avi": ("avi", "mpeg4", "yuv420p", {"bf": "2"}),
}


def numbered_frame(number: int) -> np.ndarray:
    bars = np.array([number >> bit & 1 for bit in range(BITS)], np.uint8) * 255
    return np.broadcast_to(np.repeat(bars, WIDTH // BITS)[None, :, None], (HEIGHT, WIDTH, 3))


@pytest.fixture(scope="session")
def read_number() -> Callable[[np.ndarray], int]:
    """What number a frame of any size shows."""

    def read(frame: np.ndarray) -> int:
        height, width, _ = frame.shape
        centres = [frame[height // 2, int((bit + 0.5) * width / BITS)].mean() for bit in range(BITS)]
        return sum((level > 127) << bit for bit, level in enumerate(centres))

    return read


@pytest.fixture(scope="session")
def record() -> Callable[..., Path]:
    """Write frames, by default numbered ones, that appear at whole milliseconds."""

    def write(path: Path, times_ms: Sequence[int], *, codec: str = "mp4", frames: np.ndarray | None = None) -> Path:
        container_format, encoder, pixels, options = CODECS[codec]
        with av.open(str(path), "w", format=container_format) as container:
            stream = container.add_stream(encoder, rate=25, options=options)
            stream.height, stream.width = (HEIGHT, WIDTH) if frames is None else frames.shape[1:3]
            stream.pix_fmt = pixels
            tick = Fraction(1, 25) if container_format == "avi" else Fraction(1, 1000)
            stream.codec_context.time_base = tick
            for number, time_ms in enumerate(times_ms):
                array = numbered_frame(number) if frames is None else frames[number]
                frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(array), format="rgb24")
                frame.pts, frame.time_base = round(time_ms / 1000 / tick), tick
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
        return path

    return write
