"""Where a benchmark's media are: as its files say, or where the download and the user have really put them."""

import re
import shlex
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from onethinker.core.sample import Medium, Sample
from onethinker.core.sources import FrameFolder, VideoPart

RELEASE_PREFIX = "Evaluation"
"""The folder that paths in the released files begin with, and that the download does not have."""
_PART = re.compile(
    r"(?P<archive>.+\.(?:zip|tar|tar\.gz|tgz|7z))(?:[._-]?part[._-]?)?\.?(?P<part>[0-9]+|[a-z]{2})", re.I
)
_COMMANDS = {".zip": "unzip -q {file} -d {folder}", ".7z": "7z x {file} -o{folder}"}
_TARS = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar.zst")
_DEPTH = 3
"""Folders below the data folder in which archives are looked for."""


def with_found_media(sample: Sample, root: Path, media_root: Path | None) -> Sample:
    """Return a sample whose media are where there really is something; as it is where there is nothing anywhere.

    A path is tried as it stands, below the data folder without a leading "Evaluation/", and below `media_root` in both
    ways, as the bare name too.
    """
    return replace(sample, media=tuple(_found(medium, root, media_root) for medium in sample.media))


def path_of(medium: Medium) -> Path | None:
    """Return the file or folder that a medium is, None for one in memory or in a table."""
    if isinstance(medium, Path):
        return medium
    if isinstance(medium, VideoPart):
        return medium.path
    return medium.folder if isinstance(medium, FrameFolder) else None


def gone(sample: Sample) -> list[Path]:
    """Return the files and folders of a sample's media at which there is nothing."""
    paths = [path_of(medium) for medium in sample.media]
    return [path for path in paths if path is not None and not path.exists()]


def _found(medium: Medium, root: Path, media_root: Path | None) -> Medium:
    if (path := path_of(medium)) is None or path.exists():
        return medium
    candidates = _candidates(path, root, media_root)
    # What is nowhere is asked for where the download leaves it.
    found = next((candidate for candidate in candidates if candidate.exists()), candidates[0])
    if isinstance(medium, FrameFolder):
        return replace(medium, folder=found)
    return replace(medium, path=found) if isinstance(medium, VideoPart) else found


def _candidates(path: Path, root: Path, media_root: Path | None) -> list[Path]:
    """Return where a path may be that is not there as it stands, the likeliest first; the release reads an absolute
    path below the data folder.
    """
    inner = path.relative_to(root) if path.is_relative_to(root) else path.relative_to(path.anchor)
    short = Path(*inner.parts[1:]) if inner.parts[:1] == (RELEASE_PREFIX,) and len(inner.parts) > 1 else inner
    below = [root / short, root / inner]
    return below + ([media_root / short, media_root / inner, media_root / path.name] if media_root else [])


def unopened(root: Path) -> tuple[str, ...]:
    """Return the commands that open the archives that lie in a data folder, those in parts as one."""
    parts: dict[Path, list[Path]] = defaultdict(list)
    for path in _files(root, _DEPTH):
        if path.name.lower().endswith((*_COMMANDS, *_TARS)):
            parts.setdefault(path, [])
        elif match := _PART.fullmatch(path.name):
            parts[path.with_name(match["archive"])].append(path)
    return tuple(_command(archive, own) for archive, own in sorted(parts.items()))


def _files(folder: Path, depth: int) -> Iterator[Path]:
    """Yield the files of a folder that may be archives; folders of thousands of videos or frames are not walked."""
    try:
        inside = sorted(folder.iterdir()) if depth else []
    except OSError:
        return
    for path in inside:
        if path.suffix in ("", ".d") and path.is_dir():
            yield from _files(path, depth - 1)
        elif not path.is_dir():
            yield path


def _command(archive: Path, parts: list[Path]) -> str:
    folder, name = shlex.quote(str(archive.parent)), shlex.quote(str(archive))
    is_tar = archive.name.lower().endswith(_TARS)
    if not parts:
        line = "tar -xf {file} -C {folder}" if is_tar else _COMMANDS[archive.suffix.lower()]
        return line.format(file=name, folder=folder)
    joined = " ".join(shlex.quote(str(part)) for part in sorted(parts))
    if is_tar:
        return f"cat {joined} | tar -x{'' if archive.suffix.lower() == '.tar' else 'z'}f - -C {folder}"
    return f"cat {joined} > {name} && {_COMMANDS[archive.suffix.lower()].format(file=name, folder=folder)}"
