"""A file that cannot be read is a `MediaError` that names it and says why; nothing else comes out, and nothing
hangs.
"""

import io
import os
import zlib
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from onethinker.core.errors import MediaError
from onethinker.media.budget import MediaBudget
from onethinker.media.reading import read_clip
from onethinker.storage.hashing import NOTHING, Digests

EVEN = [40 * n for n in range(50)]


def refusal(path: Path) -> str:
    with pytest.raises(MediaError) as caught:
        read_clip(path, MediaBudget())
    text = str(caught.value)
    assert text.startswith(f"{path}: ")
    assert text.count(str(path)) == 1
    return text.removeprefix(f"{path}: ")


def write_sound(path: Path) -> None:
    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream("aac", rate=48000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 48000), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 48000
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def png_header(width: int, height: int) -> bytes:
    """A PNG that claims to be of this size and holds next to nothing."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return len(body).to_bytes(4, "big") + kind + body + zlib.crc32(kind + body).to_bytes(4, "big")

    size = width.to_bytes(4, "big") + height.to_bytes(4, "big") + bytes([8, 2, 0, 0, 0])
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", size) + chunk(b"IDAT", zlib.compress(b"\0" * 100)) + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "is empty"),
        (b"\0" * 5000, "cannot be read as a picture or video"),
        (np.random.default_rng(0).bytes(5000), "cannot be read as a picture or video"),
        (b"<html>404</html>", "cannot be read as a picture or video"),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "HEIC"),
        (png_header(20_000, 20_000), "too many pixels"),
        (png_header(13_000, 13_000), "pixels"),
        (png_header(9_000, 9_000), "is 9000 x 9000 pixels; a PNG may have 50 million"),
        (png_header(500, 500), "cannot be read"),
    ],
    ids=["empty", "zeros", "noise", "html", "heic", "20k", "13k", "9k", "cut"],
)
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_refused_with_a_reason(tmp_path: Path, content: bytes, reason: str) -> None:
    (tmp_path / "clip.mp4").write_bytes(content)
    assert reason in refusal(tmp_path / "clip.mp4")


def test_a_bomb_is_refused_also_where_warnings_are_errors(tmp_path: Path) -> None:
    (tmp_path / "bomb.png").write_bytes(png_header(13_000, 13_000))
    assert "too many pixels" in refusal(tmp_path / "bomb.png")


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    assert refusal(tmp_path / "nowhere.mp4") == "there is no such file"
    assert "folder" in refusal(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    assert "device" in refusal(tmp_path / "pipe")


def test_sound_alone_is_refused(tmp_path: Path) -> None:
    write_sound(tmp_path / "sound.m4a")
    assert refusal(tmp_path / "sound.m4a") == "contains no video, only sound"


def test_a_strip_is_refused(tmp_path: Path) -> None:
    Image.new("L", (5000, 10)).save(tmp_path / "strip.png")
    assert "at most 200 times" in refusal(tmp_path / "strip.png")


def test_a_frame_too_large_is_refused(tmp_path: Path, record: Callable[..., Path]) -> None:
    frames = np.zeros((1, 4608, 8192, 3), np.uint8)
    record(tmp_path / "wall.mov", [0], codec="lossless mov", frames=frames)
    assert "8192 x 4608" in refusal(tmp_path / "wall.mov")


def test_an_animation_of_100_000_frames_is_refused(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    moments = [Image.new("L", (64, 64), level) for level in range(4)]
    moments[0].save(buffer, "GIF", save_all=True, append_images=moments[1:], duration=20)
    content = buffer.getvalue()
    _, second, third, _ = (at for at in range(len(content)) if content.startswith(b"\x21\xf9", at))
    (tmp_path / "bomb.gif").write_bytes(content[:second] + content[second:third] * 100_000 + b";")
    assert "has 100001 frames of 64 x 64 pixels" in refusal(tmp_path / "bomb.gif")


def test_playlists_cannot_open_another_file(tmp_path: Path, record: Callable[..., Path]) -> None:
    secret = record(tmp_path / "secret.ts", EVEN, codec="ts")
    lists = {
        "list.m3u8": f"#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\n{secret}\n#EXT-X-ENDLIST\n",
        "list.mp4": f"#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\nfile://{secret}\n#EXT-X-ENDLIST\n",
        "list.ffconcat": f"ffconcat version 1.0\nfile {secret}\n",
        "list.sdp": (
            "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 96\na=rtpmap:96"
            " H264/90000\n"
        ),
    }
    for name, text in lists.items():
        (tmp_path / name).write_text(text)
        assert "cannot be read as a picture or video" in refusal(tmp_path / name)


@pytest.mark.parametrize("codec", ["mkv", "ts", "webm of VP9"])
def test_a_video_cut_short_gives_what_is_there(tmp_path: Path, codec: str, record: Callable[..., Path]) -> None:
    path = record(
        tmp_path / "cut", EVEN, codec=codec, frames=np.random.default_rng(0).integers(0, 256, (50, 64, 64, 3), np.uint8)
    )
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    clip = read_clip(path, MediaBudget(fps=5))
    assert 2 <= len(clip.frames) <= 7
    assert clip.duration_s < 1.5


def test_an_mp4_cut_short_is_refused(tmp_path: Path, record: Callable[..., Path]) -> None:
    path = record(tmp_path / "cut.mp4", EVEN)
    whole = path.read_bytes()
    for end in (len(whole) - 200, len(whole) // 2, 100):
        path.write_bytes(whole[:end])
        assert "an MP4 without an index, so most likely cut short: copy or download it again" in refusal(path)
    path.write_bytes(whole.replace(b"trak", b"junk"))
    assert refusal(path) == "contains no video"
    at = whole.index(b"moov") + 8
    path.write_bytes(whole[:at] + b"\xff" * (len(whole) - at))
    assert refusal(path)


def test_a_start_that_is_of_nothing_is_said(tmp_path: Path, record: Callable[..., Path]) -> None:
    path = record(tmp_path / "cut.mkv", EVEN, codec="mkv")
    path.write_bytes(path.read_bytes()[:300])
    assert refusal(path) == "cannot be read as a picture or video (unknown format, or damaged at its start)"


def test_damaged_packets_are_left_out(tmp_path: Path, record: Callable[..., Path]) -> None:
    path = record(tmp_path / "clip.mov", EVEN, codec="lossless mov")
    content = path.read_bytes()
    places = [n for n in range(len(content)) if content.startswith(b"\x89PNG", n)]
    path.write_bytes(b"".join([content[: places[10]], b"\0" * (places[11] - places[10]), content[places[11] :]]))
    clip = read_clip(path, MediaBudget(fps=25))
    assert clip.indices == (*range(10), *range(11, 50))
    assert clip.problems == ("1 of 50 frames are damaged, at 0.40 s: left out",)


@pytest.mark.parametrize("codec", ["mp4", "mkv", "webm of VP9", "avi", "ts", "GIF", "PNG", "JPEG", "WEBP", "TIFF"])
def test_flipped_bytes_give_frames_or_a_media_error(tmp_path: Path, codec: str, record: Callable[..., Path]) -> None:
    rng = np.random.default_rng(len(codec))
    path = tmp_path / "clip"
    if codec.isupper():
        pictures = [Image.fromarray(rng.integers(0, 256, (40, 40, 3), np.uint8)) for _ in range(3)]
        pictures[0].save(
            path, codec, **({"save_all": True, "append_images": pictures[1:]} if codec in ("GIF", "WEBP") else {})
        )
    else:
        record(path, EVEN[:12], codec=codec)
    whole = np.frombuffer(path.read_bytes(), np.uint8)
    reasons = []
    for _ in range(30):
        damaged = whole.copy()
        places = rng.integers(0, len(whole), 1 + len(whole) // 500)
        damaged[places] = rng.integers(0, 256, len(places))
        path.write_bytes(damaged.tobytes()[: None if rng.random() < 0.7 else int(rng.integers(1, len(whole)))])
        try:
            clip = read_clip(path, MediaBudget())
        except MediaError as error:
            reasons.append(str(error))
        else:
            assert len(clip.frames) == len(clip.times_s) == len(clip.indices) > 0
    assert reasons
    assert all(reason.startswith(f"{path}: ") for reason in reasons)


def test_a_pipe_and_a_device_have_no_digest_and_nothing_waits_for_them(tmp_path):
    os.mkfifo(tmp_path / "pipe.jpg")
    digests = Digests()
    assert digests.of_file(tmp_path / "pipe.jpg") == digests.of_file(Path("/dev/zero")) == NOTHING
