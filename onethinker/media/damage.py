"""What is damaged, missing or odd in a picture or video, in words: the problems that a clip names."""

import os
import zlib
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import IO, Literal

from PIL import Image

from onethinker.core.errors import MediaError
from onethinker.core.frames import Clip
from onethinker.core.suffixes import PICTURE_SUFFIXES, VIDEO_SUFFIXES
from onethinker.media.files import SharedFile, missing_bytes
from onethinker.media.packets import Scan
from onethinker.media.pictures import END_MARKS, ends_whole

_PNG_START = b"\x89PNG\r\n\x1a\n"
_SCAN_START = 0xDA
"""The marker of a JPEG before its first pixels."""
_PIECE = 1 << 20
_NEAR_S = 0.5
"""Damage so near a frame that is left out is that of the frame."""


def check_undamaged(clips: Sequence[Clip], sources: Sequence[object] = ()) -> None:
    """Raise MediaError for the first clip with a problem: names its file, what is wrong, and where."""
    for index, clip in enumerate(clips):
        if clip.problems:
            source = sources[index] if index < len(sources) else None
            name = source if isinstance(source, Path) else getattr(source, "path", clip.name)
            raise MediaError(f"{name}: {'; '.join(clip.problems)} (an error because of strict media)")


def all_problems(clips: Sequence[Clip]) -> tuple[str, ...]:
    """Return the problems of several clips, each with the name of its file, once."""
    return tuple(dict.fromkeys(f"{clip.name}: {problem}" for clip in clips for problem in clip.problems))


def file_problems(image: Image.Image, file: IO[bytes]) -> tuple[str, ...]:
    """Return what is wrong with a picture whose pixels can be read all the same; the position in the file is kept."""
    position = file.tell()
    try:
        problems = []
        if not _has_end(image, file):
            problems.append("its end is missing: the file is cut short")
        wrong = [(kind, start) for kind, start, is_sound in _chunks(file) if not is_sound]
        if image.format == "PNG" and wrong:
            named = ", ".join(f"{kind} at byte {start:,}" for kind, start in wrong[:3])
            problems.append(f"its checksums do not match its bytes ({named}): pixels may be wrong")
        return (*problems, *page_problems(image))
    finally:
        file.seek(position)


def page_problems(image: Image.Image) -> tuple[str, ...]:
    """Return that a picture has more pages than are shown, () where it has not."""
    pages = getattr(image, "n_frames", 1) if image.format == "TIFF" else 1
    return (f"it has {pages} pages, and only the first is shown",) if pages > 1 else ()


def cut_problems(file: SharedFile) -> tuple[str, ...]:
    """Return that an MP4 is shorter than its boxes say, () where it is not."""
    missing = missing_bytes(file)
    return (f"it is cut short: {missing:,} bytes are missing at its end",) if missing else ()


def name_problems(kind: Literal["image", "video"], name: str) -> tuple[str, ...]:
    """Return that a file is of the other kind than its name says, () where it is not.

    >>> name_problems("image", "clip.mp4"), name_problems("video", "clip.mp4")
    (("it is a picture, although its name ends in '.mp4'",), ())
    """
    suffix = Path(name).suffix.lower()
    if suffix in (VIDEO_SUFFIXES if kind == "image" else PICTURE_SUFFIXES):
        return (f"it is a {'picture' if kind == 'image' else kind}, although its name ends in {suffix!r}",)
    return ()


def size_problems(shapes: Collection[tuple[int, int]]) -> tuple[str, ...]:
    """Return that frames are of several sizes, () where all are of one.

    >>> size_problems([(64, 64), (32, 64)])
    ('its frames change size (32 x 64, 64 x 64): all are shown in the size of the first',)
    """
    if len(shapes) < 2:
        return ()
    sizes = ", ".join(f"{width} x {height}" for width, height in sorted(shapes))
    return (f"its frames change size ({sizes}): all are shown in the size of the first",)


def decoding_problems(
    scan: Scan, wanted: Sequence[int], chosen: Sequence[int], damaged: Collection[int]
) -> tuple[str, ...]:
    """Return which of the wanted frames could not be decoded, and where others may show what is wrong; `damaged` are
    times in ticks.
    """
    problems = []
    times_s, there = scan.times_s, set(chosen)
    lost = [index for index in wanted if index not in there]
    if lost:
        has_neighbours = len(chosen) > len(wanted) - len(lost)
        left = "their neighbours are shown where there are any" if has_neighbours else "left out"
        problems.append(
            f"{len(lost)} of {len(wanted)} frames are damaged, {_span([times_s[index] for index in lost])}: {left}"
        )
    # A decoder of several threads tells of a packet some packets later.
    hurt_s = [(pts - scan.pts[0]) * scan.tick_s for pts in damaged]
    if others := [time_s for time_s in hurt_s if all(abs(time_s - times_s[index]) > _NEAR_S for index in lost)]:
        span = _span(others)
        problems.append(f"its data are damaged {span}: frames there may be wrong")
    return tuple(problems)


def _span(times_s: Sequence[float]) -> str:
    first, last = f"{min(times_s):.2f}", f"{max(times_s):.2f}"
    return f"at {first} s" if first == last else f"between {first} s and {last} s"


def _has_end(image: Image.Image, file: IO[bytes]) -> bool:
    """Return whether the end of a picture is there, whatever another program has put behind it."""
    if image.format not in ("WEBP", *END_MARKS) or ends_whole(image, file):
        return True
    if image.format == "PNG":
        return any(kind == "IEND" for kind, _, _ in _chunks(file))
    return image.format == "JPEG" and END_MARKS["JPEG"] in _after_scan_start(file)


def _after_scan_start(file: IO[bytes]) -> bytes:
    """Return the bytes of a JPEG from its first scan on, b"" where there is none; a thumbnail comes before it.

    Source: ITU-T T.81, B.1.1.
    """
    start = 2
    while True:
        file.seek(start)
        head = file.read(4)
        if len(head) < 4 or head[0] != 0xFF:
            return b""
        if head[1] == _SCAN_START:
            return file.read()
        start += 2 + int.from_bytes(head[2:], "big")


def _chunks(file: IO[bytes]) -> Iterator[tuple[str, int, bool]]:
    """Yield of each whole chunk of a PNG its kind, its position, and whether its checksum is that of its bytes; nothing
    of another file.

    Source: PNG specification, 5.3 (chunk layout).
    """
    size, start = file.seek(0, os.SEEK_END), len(_PNG_START)
    file.seek(0)
    if file.read(start) != _PNG_START:
        return
    while start + 12 <= size:
        file.seek(start)
        head = file.read(8)
        left, kind = int.from_bytes(head[:4], "big"), head[4:]
        end = start + 12 + left
        if end > size:
            return
        checksum = zlib.crc32(kind)
        while left:
            piece = file.read(min(left, _PIECE))
            checksum, left = zlib.crc32(piece, checksum), left - len(piece)
        yield kind.decode("latin-1"), start, int.from_bytes(file.read(4), "big") == checksum
        if kind == b"IEND":
            return
        start = end
