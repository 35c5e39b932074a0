"""Pictures and animations through Pillow: upright, opaque, eight bits a colour."""

import os
from collections.abc import Iterator, Sequence
from typing import IO

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, UnidentifiedImageError

from onethinker.core.errors import MediaError

Frame = npt.NDArray[np.uint8]

FORMATS = ("JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF", "AVIF", "JPEG2000", "PPM")
"""What Pillow may try; others start foreign programs (EPS) or are videos in disguise."""
HEIC_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"mif1", b"msf1")
"""Marks of the pictures that phones take, for which Pillow needs pillow-heif, and which FFmpeg would take for a video
of tiles.
"""
ANIMATED = ("GIF", "WEBP", "PNG", "AVIF")
"""Formats whose frames are an animation; those of a TIFF or a phone's JPEG are pages or depth maps."""
MAX_HEADER_PIXELS = 89_478_485
"""Larger pictures are refused before they are decoded: a third of a gigabyte, the limit of Pillow."""
MAX_DECODED_PIXELS = 50_000_000
"""A larger JPEG is decoded at half its size, a larger picture of another kind is refused."""
MAX_ANIMATION_FRAMES = 10_000
MAX_ANIMATION_PIXELS = 4_000_000_000
"""Frames times area of an animation, all of which has to be decoded."""
END_MARKS = {"JPEG": b"\xff\xd9", "PNG": b"IEND\xaeB`\x82", "GIF": b";"}
"""The last bytes of whole files."""
_TAIL = 4096
"""Bytes at the end that are looked at; some programs leave a few behind the end mark."""
DEFAULT_STEP_S = 0.1
"""How long a frame of an animation is shown that claims to take no time, as browsers have it."""


def open_picture(file: IO[bytes]) -> Image.Image | None:
    """Return the picture in a file, its pixels still unread; None when it is none that Pillow knows.

    Raises: MediaError: it has too many pixels, or is HEIC and damaged, or cannot be read without pillow-heif.
    """
    head = file.read(12)
    file.seek(0)
    is_heic = head[4:8] == b"ftyp" and head[8:12] in HEIC_BRANDS
    try:
        image = Image.open(file, formats=(_heic_format(),) if is_heic else FORMATS)
    except UnidentifiedImageError as error:
        if is_heic:
            raise MediaError("is a damaged HEIC picture") from error
        return None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise MediaError(f"has too many pixels: {error}") from error
    width, height = image.size
    if width * height > MAX_HEADER_PIXELS:
        raise MediaError(f"is {width} x {height} pixels; at most {MAX_HEADER_PIXELS / 1e6:.0f} million are read")
    if width * height > MAX_DECODED_PIXELS:
        image.draft("RGB", (width // 2, height // 2))
        if image.size == (width, height):
            raise MediaError(
                f"is {width} x {height} pixels; a {image.format} may have {MAX_DECODED_PIXELS / 1e6:.0f} million"
            )
    return image


def _heic_format() -> str:
    """Return Pillow's name of HEIC, which it can read from now on. Raises: MediaError: pillow-heif is missing."""
    try:
        from pillow_heif import register_heif_opener
    except ImportError as error:
        raise MediaError("is a HEIC picture: pip install pillow-heif for these, or save it as JPEG or PNG") from error
    register_heif_opener()
    return "HEIF"


def ends_whole(image: Image.Image, file: IO[bytes]) -> bool:
    """Return whether a picture's file ends as its format has it; False also where the format has no end mark."""
    size = file.seek(0, os.SEEK_END)
    if image.format == "WEBP":
        file.seek(4)
        return int.from_bytes(file.read(4), "little") + 8 <= size
    file.seek(max(0, size - _TAIL))
    tail = file.read().rstrip(b"\0\r\n ")
    return image.format in END_MARKS and tail.endswith(END_MARKS[image.format])


def check_whole(image: Image.Image, file: IO[bytes]) -> None:
    """Raise MediaError for a picture whose end is missing; one without its format's end mark is decoded to find out."""
    if not ends_whole(image, file):
        try:
            image.load()
        except (OSError, SyntaxError, ValueError) as error:
            raise MediaError(f"is cut short or damaged: {error}") from error


def count_frames(image: Image.Image) -> int:
    """Return how many frames a picture shows one after the other: 1 when it stands still.

    Raises: MediaError: there are too many.
    """
    count = getattr(image, "n_frames", 1) if image.format in ANIMATED else 1
    if count > MAX_ANIMATION_FRAMES or (count > 1 and count * image.width * image.height > MAX_ANIMATION_PIXELS):
        raise MediaError(
            f"has {count} frames of {image.width} x {image.height} pixels, which is too much for an animation"
        )
    return count


def frame_times(image: Image.Image, count: int) -> tuple[tuple[float, ...], float]:
    """Return when each frame of an animation appears, in seconds, and when the last one goes."""
    now_ms, times_ms = 0.0, []
    for index in range(count):
        image.seek(index)
        image.load()
        times_ms.append(now_ms)
        now_ms += image.info.get("duration") or DEFAULT_STEP_S * 1000
    return tuple(time_ms / 1000 for time_ms in times_ms), now_ms / 1000


def frames_at(image: Image.Image, indices: Sequence[int], size: tuple[int, int]) -> Iterator[Frame]:
    """Yield some frames of an animation, by rising index, at a size in pixels."""
    for index in indices:
        image.seek(index)
        yield resized(to_rgb(image), size)


def upright(image: Image.Image) -> Image.Image:
    """Return the picture in RGB as its camera was held (EXIF orientation applied)."""
    ImageOps.exif_transpose(image, in_place=True)
    return to_rgb(image)


def resized(image: Image.Image, size: tuple[int, int]) -> Frame:
    """Return an RGB picture as an array of this width and height."""
    return np.array(image if image.size == size else image.resize(size, Image.Resampling.BICUBIC))


def to_rgb(image: Image.Image) -> Image.Image:
    """Return a picture of any mode in RGB; what is transparent becomes white, sixteen bits become eight."""
    if image.mode == "F" or image.mode.startswith("I"):
        return Image.fromarray(_eight_bits(np.asarray(image))).convert("RGB")
    if not image.has_transparency_data:
        return image.convert("RGB")
    layers = image if image.mode == "RGBA" else image.convert("RGBA")
    paper = Image.new("RGB", image.size, "white")
    paper.paste(layers, mask=layers.getchannel("A"))
    return paper


def _eight_bits(levels: npt.NDArray[np.generic]) -> Frame:
    """Return gray levels as bytes: of floats, 1 is white unless some are larger; of integers, 65535 unless all are
    small.
    """
    values = np.nan_to_num(levels.astype(np.float32))
    if np.issubdtype(levels.dtype, np.floating):
        scale = 255.0 if values.max() <= 1 else 1.0
    else:
        scale = 1 / 256 if levels.dtype == np.uint16 or values.max() > 255 else 1.0
    return np.asarray(np.clip(values * scale, 0, 255), np.uint8)
