"""What clients send or name, as files that a decoder can be given: uploads, data URLs, addresses, local paths."""

import base64
import binascii
import re
import shutil
import stat
import tempfile
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO
from unicodedata import category
from urllib.parse import unquote, urlsplit

from onethinker.core.errors import MediaError
from onethinker.media.remote import fetch
from onethinker.serving.limits import Limits

_DATA_URL = re.compile(r"data:([\w.+-]+/[\w.+-]+)?(?:;[\w.=+-]+)*;base64,", re.IGNORECASE)
_ADDRESS = re.compile(r"https?://", re.IGNORECASE)
_OBEYED = ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")
"""Unicode's categories of what is no sign but an order, such as to go on from right to left."""
_PIECE = 1 << 20
_NAME_BYTES = 200
"""Of a longer name its end is kept: disks take 255."""


@dataclass(eq=False)
class Slot:
    """A request's place in the queue, with the folder of its files; closing it gives both back."""

    folder: Path
    closed: bool = False
    names: dict[str, str] = field(default_factory=dict)
    """What each of its files is called, by its path: errors say that instead."""

    def add(self, name: str) -> Path:
        """Return where a further file goes."""
        place = self.folder / str(len(self.names))
        place.mkdir()
        path = place / plain_name(name)
        self.names[str(path)] = path.name
        return path

    def close(self) -> None:
        """Delete the files; further calls do nothing."""
        if not self.closed:
            self.closed = True
            shutil.rmtree(self.folder, ignore_errors=True)

    def without_paths(self, text: str) -> str:
        """Return a message without the folders of this machine."""
        for path, name in self.names.items():
            text = text.replace(path, name)
        return text


@dataclass(frozen=True)
class Sources:
    """What may be opened besides uploads: which hosts, and which folder."""

    root: Path | None = None
    hosts: Collection[str] = ()
    limits: Limits = field(default_factory=Limits)

    def open(self, word: str, slot: Slot) -> Path:
        """Return the file that a data URL, an address or a path means. Raises: MediaError: it may not be opened."""
        if word[:5].lower() == "data:":
            return _of_data_url(word, slot)
        if _ADDRESS.match(word):
            return self._fetched(word, slot)
        path = self._local(word)
        slot.names[str(path)] = path.name
        return path

    def _fetched(self, address: str, slot: Slot) -> Path:
        if not self.hosts:
            raise MediaError(
                f"{address[:100]}: this server does not open addresses; send the file itself, or start the server with"
                " --allow-remote HOST"
            )
        file = fetch(address, max_bytes=self.limits.remote_bytes, hosts=self.hosts)
        path = slot.add(file.name)
        path.write_bytes(file.content)
        return path

    def _local(self, word: str) -> Path:
        """Return a regular file below the root, wherever links lead. Raises: MediaError: the same for all others, so
        that nobody can ask which files there are.
        """
        shown = word[:100]
        if self.root is None:
            raise MediaError(
                f"{shown}: this server does not open files by path; send the file itself, or start the server with"
                " --media-root"
            )
        if word[:7].lower() == "file://":
            parts = urlsplit(word)
            word = unquote(parts.path) if parts.netloc in ("", "localhost") else "\0"
        refused = MediaError(f"{shown}: no such file below the server's --media-root")
        try:
            path = (self.root / word).resolve(strict=True)
            is_file = stat.S_ISREG(path.stat().st_mode)
        except (OSError, ValueError, RuntimeError):
            raise refused from None
        if not is_file or not path.is_relative_to(self.root.resolve()):
            raise refused
        return path


def new_slot(folder: Path) -> Slot:
    """Return a slot with a folder of its own inside one."""
    return Slot(Path(tempfile.mkdtemp(dir=folder)))


def keep_upload(file: IO[bytes], name: str, slot: Slot) -> Path:
    """Write an uploaded file to the disk, and return where it is. Raises: MediaError: it is empty."""
    path = slot.add(name)
    with path.open("wb") as target:
        shutil.copyfileobj(file, target, _PIECE)
    if not path.stat().st_size:
        raise MediaError(f"{path.name}: the uploaded file is empty")
    return path


def plain_name(name: str) -> str:
    r"""Return a client's name of a file, without folders and without characters that a disk or a terminal obeys.

    >>> plain_name("../../etc/a, [b] & c.png"), plain_name("a\x1b[2J\u202egnp.exe"), plain_name("..")
    ('a, [b] & c.png', 'a_[2J_gnp.exe', 'file')
    """
    last = re.split(r"[/\\]", name)[-1]
    cleaned = "".join("_" if category(char) in _OBEYED else char for char in last).strip(" .")
    return cleaned.encode()[-_NAME_BYTES:].decode(errors="ignore").strip(" .") or "file"


def _of_data_url(word: str, slot: Slot) -> Path:
    found = _DATA_URL.match(word)
    if not found:
        raise MediaError(f"{word[:40]}: expected a data URL such as data:image/png;base64,iVBOR…")
    try:
        content = base64.b64decode(word[found.end() :], validate=True)
    except (binascii.Error, ValueError) as error:
        raise MediaError(f"{word[:40]}: the data URL is not base64: {error}") from error
    path = slot.add((found[1] or "file").replace("/", "."))
    path.write_bytes(content)
    if not content:
        raise MediaError(f"{word[:40]}: the data URL is empty")
    return path
