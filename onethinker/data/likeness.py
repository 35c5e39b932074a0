"""Media that are the same, by their bytes, and media that look alike, by perceptual hashes (`imagehash`)."""

import os
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from onethinker.core.errors import ConfigError, MediaError
from onethinker.core.sample import Medium
from onethinker.media.budget import MediaBudget
from onethinker.media.reading import read_clip
from onethinker.storage.hashing import NOTHING, Digests

BITS = 64
"""Bits of the hash of a frame."""
_SMALL = MediaBudget(max_frames=3, image_max_pixels=256 * 256, frame_max_pixels=256 * 256)
_FLAT = 8
"""A picture whose values differ by less has nothing in it to compare."""
Look = tuple[int, ...]
"""The hashes of the frames that stand for a medium: one of a picture, up to three of a video."""


def look_of(medium: Medium) -> Look | None:
    """Return how a picture or video looks; None where it cannot be read, or is one colour all over.

    Raises: ConfigError: imagehash is not installed.
    """
    imagehash = _library()
    from PIL import Image

    try:
        frames = read_clip(medium, _SMALL).frames
    except MediaError:
        return None
    if int(np.ptp(frames, axis=(1, 2)).max()) < _FLAT:
        return None  # every empty picture is like every other
    return tuple(int(str(imagehash.phash(Image.fromarray(frame))), 16) for frame in frames)


def looks_of(media: Iterable[Medium]) -> dict[Medium, Look | None]:
    """Return how media look, several looked at at once. Raises: ConfigError: imagehash is not installed."""
    _library()
    distinct = list(dict.fromkeys(media))
    with ThreadPoolExecutor(os.cpu_count(), thread_name_prefix="looks") as pool:
        return dict(zip(distinct, pool.map(look_of, distinct), strict=True))


def _library() -> Any:
    try:
        import imagehash
    except ImportError as error:
        raise ConfigError("finding media that look alike needs imagehash: pip install 'onethinker[data]'") from error
    return imagehash


@dataclass
class Looks:
    """Media by how they look; two are alike where each of their frames differs in at most `bits` of 64 bits.

    Of `bits` + 1 parts of two such hashes at least one is equal, by which they are found.
    """

    bits: int
    _names: list[tuple[Look, str]] = field(default_factory=list)
    _parts: dict[tuple[int, int, int], list[int]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not 0 <= self.bits < BITS // 2:
            raise ConfigError(f"--near must be from 0 to {BITS // 2 - 1} bits of {BITS}, got {self.bits}")

    def find(self, look: Look) -> str | None:
        """Return the name of the first medium that looks like this; None where none does."""
        found = (index for key in self._keys(look) for index in self._parts.get(key, ()))
        alike = [index for index in dict.fromkeys(found) if is_alike(self._names[index][0], look, self.bits)]
        return self._names[min(alike)][1] if alike else None

    def add(self, look: Look, name: str) -> None:
        """Remember a medium by its name."""
        self._names.append((look, name))
        for key in self._keys(look):
            self._parts.setdefault(key, []).append(len(self._names) - 1)

    def _keys(self, look: Look) -> list[tuple[int, int, int]]:
        edges = [BITS * part // (self.bits + 1) for part in range(self.bits + 2)]
        return [(len(look), start, look[0] >> start & ((1 << end - start) - 1)) for start, end in pairwise(edges)]


def is_alike(a: Look, b: Look, bits: int) -> bool:
    """Tell whether two media have as many frames, each alike.

    >>> is_alike((0b1011,), (0b0011,), 1), is_alike((0b1011,), (0b0000,), 1), is_alike((1,), (1, 1), 1)
    (True, False, False)
    """
    return len(a) == len(b) and all((one ^ other).bit_count() <= bits for one, other in zip(a, b, strict=True))


Fact = tuple[int | None, Look | None]
"""The size of a file, None for one that is missing, and how it looks, where that was asked."""


def facts_of(paths: Iterable[Path], *, with_looks: bool) -> dict[str, Fact]:
    """Return the facts of files. Raises: ConfigError: imagehash is not installed."""
    sizes = {path: _size(path) for path in paths}
    looks = looks_of(path for path, size in sizes.items() if size is not None) if with_looks else {}
    return {str(path): (size, looks.get(path)) for path, size in sizes.items()}


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except OSError:
        return None


@dataclass
class MediaFiles:
    """Files of media as samples name them: which are the same, and with `near` bits which look alike.

    Only files of equal size are read for copies; all are looked at for likeness.
    """

    near: int | None = None
    missing: int = 0
    uses: int = 0
    _sizes: dict[str, int] = field(default_factory=dict)
    _alike: dict[str, list[str]] = field(default_factory=dict)
    _looks: Looks | None = None

    def __post_init__(self) -> None:
        self._looks = Looks(self.near) if self.near is not None else None

    @property
    def files(self) -> int:
        """How many different files are named, and there."""
        return len(self._sizes)

    def add(self, facts: Mapping[str, Sequence[Any]], uses: int) -> None:
        """Take in the facts of the media that some samples name, so often in all."""
        self.uses += uses
        for path, (size, look) in facts.items():
            if size is None:
                self.missing += 1
            elif path not in self._sizes:
                self._sizes[path] = size
                if self._looks is not None and look is not None:
                    self._compare(path, tuple(look), self._looks)

    def _compare(self, path: str, look: Look, known: Looks) -> None:
        if (first := known.find(look)) is None:
            known.add(look, path)
        else:
            self._alike.setdefault(first, [first]).append(path)

    def copies(self) -> list[list[str]]:
        """Return the groups of files with the same bytes."""
        by_size: dict[int, list[Path]] = {}
        for name, size in self._sizes.items():
            by_size.setdefault(size, []).append(Path(name))
        digests, groups = Digests(), dict[str, list[str]]()
        suspects = [path for paths in by_size.values() if len(paths) > 1 for path in paths]
        digests.read_all(suspects)
        for path in suspects:
            if (digest := digests.of_file(path)) != NOTHING:
                groups.setdefault(digest, []).append(str(path))
        return [paths for paths in groups.values() if len(paths) > 1]

    def alike(self) -> list[list[str]]:
        """Return the groups of files that look alike, copies among them; the first is what the others are like."""
        return list(self._alike.values())
