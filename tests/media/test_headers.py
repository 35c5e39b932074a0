"""What headers tell is what reading the whole file tells."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from onethinker.core.errors import MediaError
from onethinker.media.budget import MediaBudget
from onethinker.media.headers import read_header, read_headers
from onethinker.media.reading import read_clip

FORMATS = ["jpg", "png", "webp", "gif", "bmp", "tiff", "ppm"]


def noise(folder: Path, suffix: str) -> Path:
    pixels = np.random.default_rng(0).integers(0, 255, (48, 96, 3)).astype(np.uint8)
    path = folder / f"a.{suffix}"
    Image.fromarray(pixels).save(path)
    return path


@pytest.mark.parametrize("suffix", FORMATS)
def test_a_whole_picture_has_the_header_of_its_clip(tmp_path, suffix):
    header, clip = read_header(noise(tmp_path, suffix)), read_clip(noise(tmp_path, suffix), MediaBudget())
    assert (header.kind, header.width, header.height, header.duration_s) == (
        clip.kind,
        clip.source_width,
        clip.source_height,
        0.0,
    )


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("share", [0.4, 0.9], ids=["early", "late"])
def test_a_picture_that_is_cut_short_is_found_without_decoding_whole_ones(tmp_path, suffix, share):
    path = noise(tmp_path, suffix)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(MediaError, match=rf"a\.{suffix}: .*"):
        read_header(path)


def test_a_header_is_read_without_decoding_pixels(tmp_path):
    path = noise(tmp_path, "png")
    content = path.read_bytes()
    place = content.index(b"IDAT") + 4
    path.write_bytes(content[:place] + b"\xff" * 20 + content[place + 20 :])
    assert read_header(path).width == 96
    with pytest.raises(MediaError, match="broken"):
        read_clip(path, MediaBudget())


def test_bytes_behind_the_end_of_a_picture_are_no_damage(tmp_path):
    for suffix in ("jpg", "png"):
        path = noise(tmp_path, suffix)
        for more in (b"\0\0\n", b"a film of three seconds" * 500):
            path.write_bytes(path.read_bytes() + more)
            assert read_header(path).kind == "image"


def test_a_turned_picture_is_upright_and_an_animation_is_a_video(tmp_path):
    image = Image.new("RGB", (96, 48))
    exif = image.getexif()
    exif[0x0112] = 6
    image.save(tmp_path / "turned.jpg", exif=exif)
    assert (read_header(tmp_path / "turned.jpg").width, read_header(tmp_path / "turned.jpg").height) == (48, 96)
    image.save(tmp_path / "a.gif", save_all=True, append_images=[Image.new("RGB", (96, 48), "red")])
    assert read_header(tmp_path / "a.gif").kind == "video"


@pytest.mark.parametrize("codec", ["mp4", "mkv", "ts", "avi", "webm of VP9"])
def test_a_video_has_size_and_length(tmp_path, record: Callable[..., Path], codec):
    path = record(tmp_path / "clip", [40 * n for n in range(50)], codec=codec)
    header = read_header(path)
    assert (header.kind, header.width, header.height, header.problems) == ("video", 256, 64, ())
    assert header.duration_s == (None if codec == "ts" else pytest.approx(2.0, abs=0.05))


def test_an_mp4_whose_frames_are_cut_off_says_how_many_bytes_are_missing(tmp_path, record: Callable[..., Path]):
    whole = record(tmp_path / "clip.mp4", [40 * n for n in range(50)])
    content = whole.read_bytes()
    index = content.index(b"moov") - 4
    # The index first, as players like it, so that the file still opens; its places then point elsewhere, which no
    # header shows.
    fast = content[:index][:32] + content[index:] + content[32:index]
    (tmp_path / "cut.mp4").write_bytes(fast[:-100])
    assert read_header(tmp_path / "cut.mp4").problems == ("it is cut short: 100 bytes are missing at its end",)


@pytest.mark.parametrize(
    ("content", "said"),
    [(b"", "is empty"), (b"%PDF-1.7 and so on", "cannot be read"), (b"\0\0\0\x18ftypheic" + bytes(20), "HEIC")],
)
def test_what_is_neither_is_named(tmp_path, content, said):
    (tmp_path / "a.dat").write_bytes(content)
    found = read_headers([tmp_path / "a.dat", tmp_path / "none.png", tmp_path])
    assert said in str(found[tmp_path / "a.dat"])
    assert "there is no such file" in str(found[tmp_path / "none.png"])
    assert "is a folder" in str(found[tmp_path])
