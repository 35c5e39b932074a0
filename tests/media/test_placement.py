"""Whatever way up a file is stored, what is painted on it is found where a person sees it."""

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from onethinker.core.frames import Clip
from onethinker.media.budget import MediaBudget
from onethinker.media.reading import read_clip


def upright_picture() -> np.ndarray:
    """128 across, 64 down: a red object in its upper left eighth, a green one in the lower right corner."""
    picture = np.full((64, 128, 3), 90, np.uint8)
    picture[8:24, 8:32] = 230, 20, 20
    picture[48:64, 112:128] = 20, 230, 20
    return picture


def assert_objects_in_place(clip: Clip) -> None:
    assert (clip.source_width, clip.source_height, clip.width, clip.height) == (128, 64, 128, 64)
    red, green, background = clip.frames[0, 16, 20], clip.frames[0, 56, 120], clip.frames[0, 56, 20]
    assert red.tolist() == pytest.approx([230, 20, 20], abs=12)
    assert green.tolist() == pytest.approx([20, 230, 20], abs=12)
    assert background.tolist() == pytest.approx([90, 90, 90], abs=12)


# What the EXIF standard says of each value: which sides of the scene are row 0 and column 0 of the stored picture.
STORED = {
    1: lambda scene: scene,  # top, left
    2: lambda scene: scene[:, ::-1],  # top, right
    3: lambda scene: scene[::-1, ::-1],  # bottom, right
    4: lambda scene: scene[::-1],  # bottom, left
    5: lambda scene: scene.transpose(1, 0, 2),  # left, top
    6: lambda scene: scene[:, ::-1].transpose(1, 0, 2),  # right, top
    7: lambda scene: scene[::-1, ::-1].transpose(1, 0, 2),  # right, bottom
    8: lambda scene: scene[::-1].transpose(1, 0, 2),  # left, bottom
}


@pytest.mark.parametrize("orientation", STORED)
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_exif_orientation_is_applied(tmp_path: Path, kind: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / "photo"
    stored = Image.fromarray(np.ascontiguousarray(STORED[orientation](upright_picture())))
    stored.save(path, kind, exif=exif, **({"quality": 100, "subsampling": 0} if kind == "JPEG" else {}))
    assert_objects_in_place(read_clip(path, MediaBudget()))


# The matrices of ISO 14496-12 that turn a stored frame clockwise, and how it must have been stored for that.
TURNS = {
    0: ((1, 0, 0, 1), lambda scene: scene),
    90: ((0, 1, -1, 0), lambda scene: np.rot90(scene, 1)),
    180: ((-1, 0, 0, -1), lambda scene: np.rot90(scene, 2)),
    270: ((0, -1, 1, 0), lambda scene: np.rot90(scene, 3)),
}


@pytest.mark.parametrize("degrees", TURNS)
@pytest.mark.parametrize("codec", ["mp4", "lossless mov"])
def test_rotation_of_a_video_is_applied(tmp_path: Path, codec: str, degrees: int, record: Callable[..., Path]) -> None:
    (a, b, c, d), stored = TURNS[degrees]
    path = record(tmp_path / "clip", [0, 40], codec=codec, frames=np.stack([stored(upright_picture())] * 2))
    content = bytearray(path.read_bytes())
    matrix_at = content.index(b"tkhd") + 4 + 40  # version 0: the matrix follows 40 bytes of other fields
    for place, value in ((0, a), (4, b), (12, c), (16, d)):
        content[matrix_at + place : matrix_at + place + 4] = (value * 65536).to_bytes(4, "big", signed=True)
    path.write_bytes(content)
    assert_objects_in_place(read_clip(path, MediaBudget()))


@pytest.mark.parametrize(
    ("mode", "color", "seen"),
    [
        ("RGBA", (200, 100, 50, 0), (255, 255, 255)),
        ("RGBA", (200, 100, 50, 255), (200, 100, 50)),
        ("LA", (80, 128), (167, 167, 167)),
        ("L", 77, (77, 77, 77)),
        ("1", 1, (255, 255, 255)),
        ("I;16", 0x8000, (128, 128, 128)),
    ],
)
def test_pictures_of_every_mode_become_opaque_rgb(
    tmp_path: Path, mode: str, color: object, seen: tuple[int, int, int]
) -> None:
    Image.new(mode, (64, 64), color).save(tmp_path / "picture.png")
    clip = read_clip(tmp_path / "picture.png", MediaBudget())
    assert clip.frames.shape == (1, 64, 64, 3)
    assert clip.frames[0, 30, 30].tolist() == pytest.approx(seen, abs=1)


def test_a_palette_with_a_transparent_colour_becomes_white_there(tmp_path: Path) -> None:
    picture = Image.new("P", (64, 64), 1)
    picture.putpalette([0, 0, 0, 10, 200, 30])
    picture.paste(0, (0, 0, 32, 64))
    picture.save(tmp_path / "picture.png", transparency=0)
    frame = read_clip(tmp_path / "picture.png", MediaBudget()).frames[0]
    assert frame[30, [10, 50]].tolist() == [[255, 255, 255], [10, 200, 30]]


@pytest.mark.parametrize(
    ("mode", "levels", "seen"),
    [("F", 0.5, 127), ("F", 100.0, 100), ("I", 70, 70), ("I", 0x8000, 128)],
    ids=["0 to 1", "float", "8 bits", "16 bits"],
)
def test_gray_pictures_of_32_bits_are_read(tmp_path: Path, mode: str, levels: float, seen: int) -> None:
    Image.new(mode, (64, 64), levels).save(tmp_path / "picture.tiff")
    assert read_clip(tmp_path / "picture.tiff", MediaBudget()).frames[0, 5, 5].tolist() == [seen] * 3


def test_a_cmyk_photo_is_read(tmp_path: Path) -> None:
    Image.new("CMYK", (64, 64), (0, 255, 255, 0)).save(tmp_path / "photo.jpg")
    assert read_clip(tmp_path / "photo.jpg", MediaBudget()).frames[0, 5, 5].tolist() == pytest.approx(
        [255, 0, 0], abs=5
    )


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "AVIF"])
def test_animations_are_videos_with_the_times_of_their_frames(tmp_path: Path, kind: str) -> None:
    frames = [Image.new("RGB", (64, 64), (level, level, level)) for level in (0, 60, 120, 180)]
    frames[0].save(tmp_path / "moving", kind, save_all=True, append_images=frames[1:], duration=[500, 200, 300, 1000])
    clip = read_clip(tmp_path / "moving", MediaBudget(fps=10))
    assert (clip.kind, clip.indices) == ("video", (0, 1, 2, 3))
    assert clip.times_s == pytest.approx((0, 0.5, 0.7, 1.0))
    assert clip.duration_s == pytest.approx(2.0)
    assert clip.frames[:, 30, 30, 0].tolist() == pytest.approx([0, 60, 120, 180], abs=3)
    assert read_clip(tmp_path / "moving", MediaBudget(fps=1)).indices == (0, 3)


def test_a_gif_of_one_frame_is_a_picture(tmp_path: Path) -> None:
    Image.new("L", (64, 64)).save(tmp_path / "still.gif")
    assert read_clip(tmp_path / "still.gif", MediaBudget()).kind == "image"


def test_pages_of_a_document_are_not_moments(tmp_path: Path) -> None:
    pages = [Image.new("L", (64, 64), level) for level in (10, 20)]
    pages[0].save(tmp_path / "pages.tiff", save_all=True, append_images=pages[1:])
    clip = read_clip(tmp_path / "pages.tiff", MediaBudget())
    assert (clip.kind, clip.frames[0, 5, 5].tolist()) == ("image", [10, 10, 10])


def test_the_content_says_what_a_file_is_not_its_name(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    Image.fromarray(upright_picture()).save(buffer, "PNG")
    (tmp_path / "clip.mp4").write_bytes(buffer.getvalue())
    assert read_clip(tmp_path / "clip.mp4", MediaBudget()).kind == "image"
