"""Damaged and odd media: what can be read is shown, and each loss is named, once; what is sound names nothing."""

import io
import re
import zlib
from collections.abc import Callable, Mapping
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from onethinker.core.errors import MediaError
from onethinker.core.frames import Clip
from onethinker.core.sources import FrameFolder
from onethinker.media.budget import MediaBudget
from onethinker.media.damage import check_undamaged
from onethinker.media.prefetch import Decoders
from onethinker.media.reading import read_clip

NOISE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8))
BUDGET = MediaBudget(fps=25, max_frames=200)
CONTAINERS = {
    "mp4": ("mp4", "libx264", {}),
    "fast.mp4": ("mp4", "libx264", {"movflags": "+faststart"}),
    "fragments.mp4": ("mp4", "libx264", {"movflags": "frag_keyframe+empty_moov"}),
    "mkv": ("matroska", "libx264", {}),
    "ts": ("mpegts", "libx264", {}),
    "flv": ("flv", "libx264", {}),
    "avi": ("avi", "mpeg4", {}),
    "mpg": ("mpeg", "mpeg2video", {}),
}


def saved(picture: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def video(path: Path, container: str) -> bytes:
    """Four seconds of noise that moves, 25 frames a second, in groups of 12."""
    form, codec, options = CONTAINERS[container]
    with av.open(str(path), "w", format=form, options=options) as output:
        stream = output.add_stream(codec, rate=25, options={"g": "12"})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for number in range(100):
            frame = av.VideoFrame.from_ndarray(np.roll(np.asarray(NOISE), number, 1), format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, 25)
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    return path.read_bytes()


@pytest.fixture(scope="module")
def videos(tmp_path_factory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("videos")
    return {container: video(folder / container, container) for container in CONTAINERS}


def zeroed(content: bytes) -> bytes:
    """The bytes with a twentieth in the middle set to zero."""
    half, some = len(content) // 2, len(content) // 20
    return content[:half] + bytes(some) + content[half + some :]


def cut(content: bytes) -> bytes:
    return content[: len(content) * 6 // 10]


PNG = saved(NOISE, "PNG")
PIXELS = PNG.index(b"IDAT") - 4
"""Where the chunk of pixels begins: its length, its name, its bytes, their checksum."""
PIXELS_END = PIXELS + 8 + int.from_bytes(PNG[PIXELS : PIXELS + 4], "big")
JPEG = saved(NOISE, "JPEG", quality=95)
PAGES = [NOISE, NOISE.transpose(Image.Transpose.FLIP_LEFT_RIGHT), NOISE]
GIF = saved(NOISE, "GIF", save_all=True, append_images=PAGES[1:], duration=100)
EXIF = Image.Exif()
EXIF[0x0112] = 6
SOUND: tuple[str, ...] = ()

PICTURES: Mapping[str, tuple[str, bytes, tuple[str, ...] | str]] = {
    # Name of the case: file name, its bytes, and the problems of the clip, or the error in place of a clip.
    "sound PNG": ("a.png", PNG, SOUND),
    "sound JPEG": ("a.jpg", JPEG, SOUND),
    "sound WebP": ("a.webp", saved(NOISE, "WEBP"), SOUND),
    "sound BMP": ("a.bmp", saved(NOISE, "BMP"), SOUND),
    "sound TIFF": ("a.tif", saved(NOISE, "TIFF"), SOUND),
    "GIF of one picture": ("a.gif", saved(NOISE, "GIF"), SOUND),
    "animated GIF": ("a.gif", GIF, SOUND),
    "animated WebP": ("a.webp", saved(NOISE, "WEBP", save_all=True, append_images=PAGES[1:]), SOUND),
    "animated PNG": ("a.png", saved(NOISE, "PNG", save_all=True, append_images=PAGES[1:]), SOUND),
    "turned by its camera": ("a.jpg", saved(NOISE, "JPEG", exif=EXIF), SOUND),
    "CMYK": ("a.jpg", saved(NOISE.convert("CMYK"), "JPEG"), SOUND),
    "gray and alpha": ("a.png", saved(NOISE.convert("LA"), "PNG"), SOUND),
    "palette": ("a.png", saved(NOISE.quantize(16), "PNG"), SOUND),
    "palette with a transparent color": ("a.png", saved(NOISE.quantize(16), "PNG", transparency=3), SOUND),
    "16 bits": ("a.png", saved(Image.fromarray(np.full((48, 64), 40_000, np.uint16)), "PNG"), SOUND),
    "progressive JPEG": ("a.jpg", saved(NOISE, "JPEG", progressive=True), SOUND),
    "JPEG called PNG": ("a.png", JPEG, SOUND),
    "notes behind the end of a JPEG": ("a.jpg", JPEG + b"\0" * 9000 + b"a video of the moment", SOUND),
    "notes behind the end of a PNG": ("a.png", PNG + b"notes" * 3000, SOUND),
    "picture called a video": ("a.mp4", PNG, ("it is a picture, although its name ends in '.mp4'",)),
    "TIFF of three pages": (
        "a.tiff",
        saved(NOISE, "TIFF", save_all=True, append_images=PAGES[1:]),
        ("it has 3 pages, and only the first is shown",),
    ),
    "PNG with a wrong checksum": (
        "a.png",
        PNG[:PIXELS_END] + bytes(4) + PNG[PIXELS_END + 4 :],
        (f"its checksums do not match its bytes (IDAT at byte {PIXELS:,}): pixels may be wrong",),
    ),
    "PNG without its last chunk": ("a.png", PNG[:-12], ("its end is missing: the file is cut short",)),
    "JPEG without its end mark": ("a.jpg", JPEG[:-2], "cannot be read as a picture or video"),
    "GIF without its end mark": ("a.gif", GIF[:-1], ("its end is missing: the file is cut short",)),
    "PNG cut short": ("a.png", PNG[: len(PNG) // 2], "cannot be read as a picture or video"),
    "JPEG cut short": ("a.jpg", cut(JPEG), "cannot be read as a picture or video"),
    "WebP cut short": ("a.webp", cut(saved(NOISE, "WEBP")), "cannot be read as a picture or video"),
    "BMP cut short": ("a.bmp", cut(saved(NOISE, "BMP")), "cannot be read as a picture or video"),
    "TIFF cut short": ("a.tif", saved(NOISE, "TIFF")[:-2000], "cannot be read as a picture or video"),
    "PNG whose pixels are of nothing": (
        "a.png",
        PNG[: PIXELS + 8] + bytes(PIXELS_END - PIXELS - 8) + PNG[PIXELS_END:],
        "cannot be read as a picture or video",
    ),
    "nothing": ("a.png", b"", "is empty"),
    "text": ("a.jpg", b"<html>404</html>", "cannot be read as a picture or video"),
}


@pytest.mark.parametrize(("name", "content", "expected"), PICTURES.values(), ids=PICTURES)
def test_a_picture_names_its_losses_or_cannot_be_read(tmp_path, name, content, expected):
    (tmp_path / name).write_bytes(content)
    if isinstance(expected, str):
        with pytest.raises(MediaError, match=rf"{name}: {re.escape(expected)}"):
            read_clip(tmp_path / name, BUDGET)
    else:
        assert read_clip(tmp_path / name, BUDGET).problems == expected


@pytest.mark.parametrize("container", CONTAINERS)
def test_a_sound_video_names_nothing(tmp_path, container, videos):
    (tmp_path / f"a.{container}").write_bytes(videos[container])
    clip = read_clip(tmp_path / f"a.{container}", BUDGET)
    assert (clip.problems, len(clip.frames)) == ((), 100)


@pytest.mark.parametrize(
    "codec", ["mp4", "mp4 in groups of 4", "mkv", "webm of VP9", "webm of VP8", "ts", "lossless mov", "avi"]
)
@pytest.mark.parametrize("fps", [1, 25])
def test_a_sound_recording_of_any_codec_names_nothing(tmp_path, codec, fps, record: Callable[..., Path]):
    path = record(tmp_path / "clip", [40 * number for number in range(60)], codec=codec)
    assert read_clip(path, MediaBudget(fps=fps)).problems == ()


def test_a_recording_of_uneven_rate_has_no_holes(tmp_path, record: Callable[..., Path]):
    times_ms = [0, 40, 700, 740, 2000, 2040, 2900, 6000]
    for codec in ("mp4", "mkv", "ts"):
        assert read_clip(record(tmp_path / codec, times_ms, codec=codec), BUDGET).problems == ()


def test_a_screen_recording_that_stands_still_now_and_then_lacks_nothing_as_an_mp4(tmp_path, record):
    times_ms = [burst * 3500 + 40 * number for burst in range(4) for number in range(50)]
    assert read_clip(record(tmp_path / "screen", times_ms), BUDGET).problems == ()


VIDEOS = {
    ("cut", "mp4"): "cannot be read as a picture or video (an MP4 without an index, so most likely cut short",
    ("cut", "fast.mp4"): (
        r"it is cut short: [\d,]+ bytes are missing at its end",
        r"its header says 100 frames, but \d+ of them are missing; the last frame is at 2\.\d\d s",
        r"\d of \d\d frames are damaged, (at|between) 2\..*",
    ),
    ("cut", "fragments.mp4"): (
        r"it is cut short: [\d,]+ bytes are missing at its end",
        r"\d of \d\d frames are damaged, (at|between) 2\..*",
    ),
    ("cut", "mkv"): (r"its header says it lasts 4\.00 s, but its frames end at 2\.\d\d s",),
    ("cut", "flv"): (
        r"its header says it lasts 4\.\d\d s, but its frames end at 2\.\d\d s",
        r"\d of \d\d frames are damaged, (at|between) 2\..*",
    ),
    ("cut", "avi"): (
        r"its header says 100 frames, but \d+ of them are missing; the last frame is at \d\.\d\d s",
        "its data.*",
    ),
    ("cut", "mpg"): (r"1 of \d\d frames are damaged, at 2\.\d\d s: left out",),
    ("zeroed", "mp4"): (r"\d+ of 100 frames are damaged, (at|between) .*: left out",),
    ("zeroed", "fast.mp4"): (r"\d+ of 100 frames are damaged, (at|between) .*: left out",),
    ("zeroed", "fragments.mp4"): (r"\d+ of 100 frames are damaged, (at|between) .*: left out",),
    ("zeroed", "mkv"): (
        r"frames are missing, or .*, for 0\.\d\d s: none between 1\.\d\d s and 2\.\d\d s",
        "its data.*",
    ),
    ("zeroed", "ts"): (r"frames are missing, or .*, for 0\.\d\d s: .* between 1\.\d\d s and 2\.\d\d s", "its data.*"),
    ("zeroed", "flv"): (r"frames are missing, or .*, for 0\.\d\d s: .* between 1\.\d\d s and 2\.\d\d s", "its data.*"),
    ("zeroed", "avi"): (r"its header says 100 frames, but \d+ of them are missing.*", "its data.*"),
    ("zeroed", "mpg"): (r"frames are missing, or .*, for 0\.\d\d s: .*", "its data.*"),
}


@pytest.mark.parametrize(
    ("damage", "container", "expected"),
    [(*case, expected) for case, expected in VIDEOS.items()],
    ids=[" ".join(case) for case in VIDEOS],
)
def test_what_can_be_read_of_a_damaged_video_is_shown_and_the_loss_named(tmp_path, damage, container, expected, videos):
    path = tmp_path / f"a.{container}"
    path.write_bytes({"cut": cut, "zeroed": zeroed}[damage](videos[container]))
    if isinstance(expected, str):
        with pytest.raises(MediaError, match=re.escape(expected)):
            read_clip(path, BUDGET)
        return
    clip = read_clip(path, BUDGET)
    assert 30 < len(clip.frames) < 100 or damage == "zeroed"
    assert len(clip.problems) == len(expected), clip.problems
    for problem, pattern in zip(clip.problems, expected, strict=True):
        assert re.fullmatch(pattern, problem), (problem, pattern)


def test_a_video_called_a_picture_is_a_video_and_says_so(tmp_path, videos):
    (tmp_path / "a.jpg").write_bytes(videos["mp4"])
    clip = read_clip(tmp_path / "a.jpg", BUDGET)
    assert (clip.kind, clip.problems) == ("video", ("it is a video, although its name ends in '.jpg'",))


def test_frames_in_files_name_the_file_that_is_damaged_and_a_size_that_changes(tmp_path):
    for number, content in enumerate([PNG, PNG[:-12], saved(NOISE.resize((32, 48)), "PNG")]):
        (tmp_path / f"{number}.png").write_bytes(content)
    clip = read_clip(FrameFolder(tmp_path, ("0.png", "1.png", "2.png"), fps=2), BUDGET)
    assert clip.problems == (
        "1.png: its end is missing: the file is cut short",
        "its frames change size (32 x 48, 64 x 48): all are shown in the size of the first",
    )


def test_problems_come_through_the_decoder_processes(tmp_path, videos):
    (tmp_path / "a.mkv").write_bytes(cut(videos["mkv"]))
    with Decoders(1) as decoders:
        clip = decoders.submit(tmp_path / "a.mkv", BUDGET).result()
    assert clip.problems == read_clip(tmp_path / "a.mkv", BUDGET).problems != ()


def test_a_strict_check_names_file_and_place_and_passes_what_is_sound():
    sound = Clip("image", np.zeros((1, 8, 8, 3), np.uint8), (0.0,), (0,), 8, 8, 0.0, "a.png")
    damaged = Clip("image", sound.frames, (0.0,), (0,), 8, 8, 0.0, "b.png", ("its end is missing",))
    check_undamaged([sound, sound])
    with pytest.raises(MediaError, match=r"^shots/b\.png: its end is missing \(an error because of strict media\)$"):
        check_undamaged([sound, damaged], [Path("a.png"), Path("shots/b.png")])


def test_a_checksum_is_that_of_kind_and_bytes():
    assert zlib.crc32(PNG[PIXELS + 4 : PIXELS_END]) == int.from_bytes(PNG[PIXELS_END : PIXELS_END + 4], "big")
