"""Data sets as their authors publish them: GOT-10k, RefCOCO, objects of videos (YouTube-VOS, DAVIS) and such that are
named by sentences (Ref-YouTube-VOS, Ref-DAVIS, MeViS). They are only read; frames in folders become videos
beside the new file.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

from onethinker.core.errors import DataError
from onethinker.core.sample import Medium, Sample
from onethinker.data.formats.form import Read, SetForm
from onethinker.data.published.expressions import DAVIS_FPS, FRAMES_PER_SECOND, read_mevis, read_palettes
from onethinker.data.published.files import Bad, find_video
from onethinker.data.published.got10k import read_got10k
from onethinker.data.published.refcoco import IMAGE_FOLDERS, read_refcoco
from onethinker.data.published.video_objects import LISTS, META, read_davis, read_youtube_vos

_LIST, _BOXES, _EXPRESSIONS, _RUNS = "list.txt", "groundtruth.txt", "meta_expressions.json", "mask_dict.json"


def numbered(read: Callable[[Bad], Iterable[Sample]]) -> Iterator[Read]:
    """Yield what a reader finds with rows from 1, what it cannot use among it. Raises: DataError: nothing can be."""
    bad: list[DataError] = []

    def found() -> Iterator[Sample | DataError]:
        for sample in read(bad.append):
            yield from bad
            bad.clear()
            yield sample
        yield from bad

    return enumerate(found(), 1)


def found_in(root: Path, samples: Iterable[Sample]) -> Iterator[Sample]:
    """Yield samples; media that are not where the data set usually has them are taken from the folder itself."""
    for sample in samples:
        yield replace(sample, media=tuple(_found(medium, root) for medium in sample.media))


def _found(medium: Medium, root: Path) -> Medium:
    if not isinstance(medium, Path) or medium.exists():
        return medium
    plain = root / medium.name
    return plain if plain.exists() else find_video(root, medium.stem) if medium.suffix == ".mp4" else medium


def _is_got10k(path: Path) -> bool:
    return (path / _LIST).is_file() and any(path.glob(f"*/{_BOXES}"))


def _read_got10k(path: Path, root: Path, split: str) -> Iterator[Read]:
    return numbered(partial(read_got10k, path))


def _refs(path: Path) -> list[Path]:
    return sorted(path.glob("refs(*).p")) if path.is_dir() and (path / "instances.json").is_file() else []


def _read_refcoco(path: Path, root: Path, split: str, *, masks: bool) -> Iterator[Read]:
    refs = _refs(path)
    if len(refs) != 1:
        raise DataError(f"{path}: expected instances.json and one of refs(google).p, refs(unc).p, refs(umd).p")
    above = path.absolute().parent

    def read(bad: Bad) -> Iterator[Sample]:
        samples = read_refcoco(above, path.absolute().name, refs[0].name, split, masks=masks, bad=bad)
        for sample in samples:
            [medium] = sample.media
            assert isinstance(medium, Path)
            places = [medium, *(root / folder / medium.name for folder in ("", *IMAGE_FOLDERS))]
            yield replace(sample, media=(next((place for place in places if place.is_file()), medium),))

    return numbered(read)


def _is_expressions(path: Path) -> bool:
    return (path / _EXPRESSIONS).is_file()


def _read_expressions(path: Path, root: Path, split: str) -> Iterator[Read]:
    if (path / _RUNS).is_file():
        return numbered(partial(read_mevis, path))
    fps = DAVIS_FPS if "davis" in str(path.absolute()).lower() else FRAMES_PER_SECOND
    return numbered(lambda bad: read_palettes(path, fps=fps, bad=bad))


def _is_youtube_vos(path: Path) -> bool:
    return (path / META).is_file() and (path / "Annotations").is_dir()


def _read_youtube_vos(path: Path, root: Path, split: str) -> Iterator[Read]:
    return numbered(partial(read_youtube_vos, path))


def _is_davis(path: Path) -> bool:
    return (path / "Annotations").is_dir() and any((path / folder).is_dir() for folder in LISTS)


def _read_davis(path: Path, root: Path, split: str) -> Iterator[Read]:
    return numbered(lambda bad: read_davis(path, split, bad))


GOT10K = SetForm("got10k", "GOT-10k, a folder a video", _is_got10k, _read_got10k, takes_media_root=False)
REFCOCO = SetForm("refcoco", "RefCOCO, boxes", lambda path: bool(_refs(path)), partial(_read_refcoco, masks=False))
REFCOCO_MASKS = SetForm("refcoco-masks", "RefCOCO, masks", lambda path: False, partial(_read_refcoco, masks=True))
EXPRESSIONS = SetForm(
    "ref-vos", "Ref-YouTube-VOS, Ref-DAVIS and MeViS", _is_expressions, _read_expressions, takes_media_root=False
)
YOUTUBE_VOS = SetForm("youtube-vos", "YouTube-VOS", _is_youtube_vos, _read_youtube_vos, takes_media_root=False)
DAVIS = SetForm("davis", "DAVIS 2016 and 2017", _is_davis, _read_davis, takes_media_root=False)
