"""Media beside a new file of samples, each under the digest of its content."""

import hashlib
import re
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from onethinker.core.errors import DataError, MediaError
from onethinker.core.grammar import show
from onethinker.core.sample import Medium
from onethinker.core.sources import FrameFolder, VideoPart
from onethinker.data.formats.parquet import MEDIA
from onethinker.data.formats.records import Record
from onethinker.media.writing import join_pictures
from onethinker.storage.atomic import digest_file, opened_atomically, write_atomically, writing

_DIGITS = 24
"""Characters of a file's SHA-256 that are its name."""
_SUFFIX = re.compile(r"\.\w{1,5}")
_MAGIC = (
    (b"\x89PNG", ".png"),
    (b"\xff\xd8", ".jpg"),
    (b"GIF8", ".gif"),
    (b"RIFF", ".webp"),
    (b"BM", ".bmp"),
    (b"\x1aE\xdf\xa3", ".mkv"),
)


class MediaStore:
    """A folder of media: those that rows hold as bytes, videos of what was a folder of frames, and with `copies` files
    from elsewhere.
    """

    def __init__(self, folder: Path, *, copies: bool = False) -> None:
        self._folder, self._copies = folder, copies
        self._known: dict[Path | FrameFolder, Path] = {}
        self._new: list[Path] = []

    def __len__(self) -> int:
        return len(self._new)

    def unpack(self, record: Record) -> Record:
        """Return a row whose media are files. Raises: DataError: bytes stand elsewhere."""
        found = dict(record)
        for name in MEDIA:
            if isinstance(record.get(name), list):
                found[name] = [self._unpacked(item, name) for item in record[name]]
        if other := [name for name, value in found.items() if _has_bytes(value)]:
            raise DataError(f"{other[0]!r} contains bytes, which are allowed in 'images' and 'videos' only")
        return found

    def _unpacked(self, item: Any, column: str) -> Any:
        if not isinstance(item, Mapping):
            return item
        content, name = item.get("bytes"), str(item.get("path") or "")
        if content is None:
            return name or item
        if not isinstance(content, bytes) or not content:
            raise DataError(f"{column!r} holds a medium without bytes: {show(name)}")
        given = Path(name).suffix.lower()
        usual = next(
            (suffix for magic, suffix in _MAGIC if content.startswith(magic)), ".mp4" if column == "videos" else ".png"
        )
        suffix = given if _SUFFIX.fullmatch(given) else usual
        path = self._folder / f"{hashlib.sha256(content).hexdigest()[:_DIGITS]}{suffix}"
        if not path.exists():
            with writing(path):
                path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(path, content)
            self._new.append(path)
        return str(path)

    def keep(self, medium: Medium) -> Medium:
        """Return a medium as the new file names it. Raises: DataError: it cannot be read."""
        if isinstance(medium, FrameFolder):
            return self._joined(medium)
        if isinstance(medium, VideoPart):
            path = self.keep(medium.path)
            return replace(medium, path=path) if isinstance(path, Path) else medium
        if not self._copies or not isinstance(medium, Path) or medium.parent == self._folder:
            return medium
        if medium not in self._known:
            try:
                path = self._folder / f"{digest_file(medium)[:_DIGITS]}{medium.suffix.lower()}"
            except OSError as error:
                raise DataError(f"{medium}: cannot be copied: {error.strerror or error}") from error
            if not path.exists():
                with writing(path):
                    path.parent.mkdir(parents=True, exist_ok=True)
                with opened_atomically(path) as new, medium.open("rb") as file:
                    shutil.copyfileobj(file, new)
                self._new.append(path)
            self._known[medium] = path
        return self._known[medium]

    def _joined(self, frames: FrameFolder) -> Path:
        """Return the video that a folder of frames becomes. Raises: DataError: a frame cannot be read."""
        if frames not in self._known:
            paths = [frames.folder / name for name in frames.names]
            try:
                digests = "".join(map(digest_file, paths))
                name = hashlib.sha256(f"{frames.fps} {digests}".encode()).hexdigest()[:_DIGITS]
                path = self._folder / f"{name}.mp4"
                if not path.exists():
                    with writing(path):
                        path.parent.mkdir(parents=True, exist_ok=True)
                    join_pictures(path, paths, fps=frames.fps)
                    self._new.append(path)
            except MediaError as error:
                raise DataError(str(error)) from error
            except OSError as error:
                raise DataError(f"{frames.folder}: cannot be read: {error}") from error
            self._known[frames] = path
        return self._known[frames]

    def undo(self, since: int = 0) -> None:
        """Remove what was written, from the file with this index on, and the folder where it is empty then."""
        gone = set(self._new[since:])
        for path in gone:
            path.unlink(missing_ok=True)
        del self._new[since:]
        self._known = {medium: path for medium, path in self._known.items() if path not in gone}
        if gone and not any(self._folder.iterdir()):
            self._folder.rmdir()


def _has_bytes(value: Any) -> bool:
    if isinstance(value, Mapping):
        return any(map(_has_bytes, value.values()))
    return any(map(_has_bytes, value)) if isinstance(value, list) else isinstance(value, bytes)
