"""What a picture or video holds, as a short text: equal for equal bytes, wherever they lie and whatever they are
called.
"""

import json
import os
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from hashlib import blake2b, file_digest
from pathlib import Path

import numpy as np

from onethinker.core.frames import Clip
from onethinker.core.sources import FrameFolder, MemoryFile, Source, TablePicture, TimedFrames, VideoPart
from onethinker.storage.atomic import write_atomically, writing
from onethinker.storage.strict_json import to_json

NOTHING = "cannot be read"
"""The digest of a missing file; reading it for the model reports why."""
_THREADS = 4
_SETTLED_S = 2.0
"""A file that changed so lately may change again without its time telling."""


class Digests:
    """Digests of files, remembered on disk for as long as size, both times and inode of a file stay what they were."""

    def __init__(self, memory: Path | None = None) -> None:
        """Read what is remembered; a memory that is damaged is none."""
        self._memory = memory
        self._known: dict[str, list[object]] = {}
        self._is_new = False
        if memory is not None:
            try:
                known = json.loads(memory.read_bytes())
                self._known = {path: own for path, own in known.items() if isinstance(own, list) and len(own) == 2}
            except (OSError, ValueError, AttributeError):
                self._known = {}

    def read_all(self, media: Iterable[Path | Clip | Source]) -> None:
        """Digest the files of many media, several at once, and remember them on disk."""
        paths = dict.fromkeys(path for medium in media for path in files_of(medium))
        with ThreadPoolExecutor(_THREADS) as pool:
            for _ in pool.map(self.of_file, paths):
                pass
        if self._is_new and self._memory is not None:
            with writing(self._memory):
                self._memory.parent.mkdir(parents=True, exist_ok=True)
                write_atomically(self._memory, to_json(self._known))

    def of(self, medium: Path | Clip | Source) -> str:
        """Return the digest of a medium: a file's bytes, a folder's frames and their rate, a table's picture, a clip in
        memory.
        """
        if isinstance(medium, Path):
            return self.of_file(medium)
        digest = blake2b(digest_size=16)
        if isinstance(medium, FrameFolder):
            digest.update(to_json([medium.fps, [self.of_file(path) for path in files_of(medium)]]).encode())
        elif isinstance(medium, TimedFrames):
            timing = [medium.times_s, medium.duration_s]
            digest.update(to_json([timing, [self.of_file(path) for path in files_of(medium)]]).encode())
        elif isinstance(medium, VideoPart):
            digest.update(to_json([medium.start_s, medium.end_s, self.of_file(medium.path)]).encode())
        elif isinstance(medium, TablePicture):
            digest.update(f"{medium.column} {medium.index} ".encode() + _slice(medium))
        elif isinstance(medium, MemoryFile):
            digest.update(medium.content)
        else:
            shape = [medium.kind, medium.frames.shape, medium.times_s, medium.duration_s]
            digest.update(to_json(shape).encode())
            digest.update(np.ascontiguousarray(medium.frames).data)
        return digest.hexdigest()

    def of_file(self, path: Path) -> str:
        """Return the digest of a file's bytes; `NOTHING` for one that cannot be read."""
        try:
            if not path.is_file():
                return NOTHING  # a pipe would wait for a writer, a device may have no end
            with path.open("rb") as file:
                status = os.fstat(file.fileno())
                stamp = [status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino]
                known = self._known.get(str(path))
                if known is not None and known[0] == stamp:
                    return str(known[1])
                found = file_digest(file, lambda: blake2b(digest_size=16)).hexdigest()
        except OSError:
            return NOTHING
        if time.time() - max(status.st_ctime, status.st_mtime) > _SETTLED_S:
            self._known[str(path)] = [stamp, found]
            self._is_new = True
        return found


def files_of(medium: Path | Clip | Source) -> list[Path]:
    """Return the files that a medium is; none for what is a part of one, or in memory."""
    if isinstance(medium, Path):
        return [medium]
    if isinstance(medium, VideoPart):
        return [medium.path]
    return [medium.folder / name for name in medium.names] if isinstance(medium, FrameFolder | TimedFrames) else []


def _slice(picture: TablePicture) -> bytes:
    """Return the record that holds a picture."""
    try:
        with picture.table.open("rb") as file:
            file.seek(picture.offset)
            return file.read(picture.length)
    except OSError:
        return NOTHING.encode()
