"""The bytes of a video file: reads from several threads, and the outer boxes of an MP4."""

import os
import threading
from collections.abc import Iterator
from typing import IO

INDEXED = ("mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm")
"""Container formats that say where each group of pictures starts."""
_MAX_BOXES = 1000
_TAIL = 1 << 22
"""Bytes behind the last packet in which another file may begin; more than any packet has."""


class SharedFile:
    """A file that several threads read, each from its own position."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file, self._lock = file, threading.Lock()
        self.size = file.seek(0, os.SEEK_END)

    def read_at(self, position: int, size: int) -> bytes:
        """Return up to `size` bytes from `position` on; fewer only at the end."""
        with self._lock:
            self._file.seek(position)
            return self._file.read(size)


class Reader:
    """A position in a file, without the file's name, which FFmpeg would take as a hint at the format and repeat in its
    errors.
    """

    def __init__(self, file: SharedFile) -> None:
        self._file, self._position = file, 0

    def read(self, size: int) -> bytes:
        """Return up to `size` bytes and move on behind them."""
        content = self._file.read_at(self._position, size)
        self._position += len(content)
        return content

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move to a position and return it, in bytes from the start."""
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._file.size}[whence]
        self._position = start + offset
        return self._position

    def tell(self) -> int:
        """Return the position in bytes from the start."""
        return self._position


def why_unreadable(file: SharedFile) -> str:
    """Return why a file could not be opened: an MP4 has its index in one box, often the last, which a truncated file
    lacks.
    """
    if not _is_mp4(file):
        return "unknown format, or damaged at its start"
    if any(kind == b"moov" and start + size <= file.size for kind, start, size in _boxes(file)):
        return "an MP4 with a damaged index"
    return "an MP4 without an index, so most likely cut short: copy or download it again"


def missing_bytes(file: SharedFile) -> int:
    """Return how many bytes the boxes of an MP4 promise beyond the end of the file; 0 for other containers."""
    if not _is_mp4(file):
        return 0
    return max([0, *(start + size - file.size for _, start, size in _boxes(file) if size >= 8)])


def joined_kind(file: SharedFile, container_format: str, last: int | None) -> str | None:
    """Return what a file is joined out of whose reader stops at the end of the first part; None for all others.

    `last` is the position of the last packet that was read.
    """
    if container_format == INDEXED[0]:
        return "MP4" if any(kind == b"ftyp" and start for kind, start, _ in _boxes(file)) else None
    if container_format == "flv" and last is not None and b"FLV\x01" in file.read_at(last, _TAIL):
        return "FLV"
    return None


def _is_mp4(file: SharedFile) -> bool:
    return file.read_at(4, 4) == b"ftyp"


def _boxes(file: SharedFile) -> Iterator[tuple[bytes, int, int]]:
    """Yield kind, start and size of each outer box, up to the one that reaches the end of the file or is damaged."""
    start = 0
    for _ in range(_MAX_BOXES):
        box = file.read_at(start, 16)
        size = int.from_bytes(box[8:16] if box[:4] == b"\0\0\0\1" else box[:4], "big")
        yield box[4:8], start, size
        if size < 8 or start + size >= file.size:
            return
        start += size
