"""Files of samples from one form into another: `onethinker data convert`."""

import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

from onethinker.core.errors import ConfigError, DataError
from onethinker.core.sample import Medium, Sample
from onethinker.data.formats.form import Form, SetForm, read_rows, write_rows
from onethinker.data.formats.hub import is_hub_name
from onethinker.data.formats.registry import form_of, set_form_of
from onethinker.data.formats.released import sample_from_record
from onethinker.data.media_store import MediaStore
from onethinker.data.published.masks import with_masks_inside
from onethinker.data.spreading import Block

MEDIA_FOLDER = "media"
"""Beside the new file: media that rows held as bytes, and those that are copied."""
Media = Literal["named", "copied", "embedded"]
"""Media of the new file: named where they are, copied beside it, or inside it."""


@dataclass
class Converted:
    """How many rows there were, of which form, how many were written, why others were not, by row, and how many media
    were written beside the new file; `called` has media by their bare names, where the form has only these.
    """

    rows: int = 0
    written: int = 0
    forms: Counter[str] = field(default_factory=Counter)
    lost: list[tuple[int, str]] = field(default_factory=list)
    media: int = 0
    called: dict[str, Medium] = field(default_factory=dict, repr=False)

    @property
    def is_written(self) -> bool:
        """Whether there is a new file: not when all rows were lost."""
        return self.written > 0 or not self.lost


@dataclass(frozen=True)
class Source:
    """What is read: a file, a folder or a data set on the hub; its form, where that is named, the split of a data set,
    and the folder that media are relative to.
    """

    path: Path
    form: Form | SetForm | None = None
    split: str = "train"
    media_root: Path | None = None

    @property
    def root(self) -> Path:
        """The folder of the media."""
        return (self.media_root or (self.path if self.path.is_dir() else self.path.parent)).absolute()


def convert_file(
    source: Source,
    output: Path,
    to: Form | SetForm,
    *,
    media: Media = "named",
    leave_out: bool = False,
    on_progress: Callable[[int], None] | None = None,
) -> Converted:
    """Write the rows of a file in another form, one at a time, and return what came of them.

    Media paths are relative to the new file where they lie beneath its folder, and absolute elsewhere. When rows cannot
    be converted, nothing is written, unless they are to be left out; `lost` names each.

    Raises: DataError: the file cannot be read. StorageError.
    """
    done = Converted()
    folder = output.absolute().parent

    def rows(store: MediaStore) -> Iterator[Any]:
        for row, read in _samples(source, store, done):
            done.rows += 1
            yield from _written(row, read, to, folder, store, done)
            if on_progress:
                on_progress(done.rows)
        if not done.is_written or (done.lost and not leave_out):
            raise _LostError

    with _store(folder, media) as store:
        try:
            if isinstance(to, SetForm):
                assert to.write_all is not None
                to.write_all(output.absolute(), rows(store))
            else:
                write_rows(output.absolute(), rows(store), embed=media == "embedded")
        except BaseException as error:
            store.undo()
            if not isinstance(error, _LostError):
                raise
            done.written = 0
        done.media = len(store)
    return done


@dataclass(frozen=True)
class Converting:
    """Converts the rows of a block into a form of rows for a file of a folder; their media stay where they are."""

    source: Source
    to: Form
    folder: Path

    def __call__(self, block: Block) -> dict[str, Any]:
        """Return the new rows, of which forms the rows were, and which are lost and why. Raises: ConfigError: a row
        holds media.
        """
        done, made, form = Converted(), list[Any](), self.source.form
        assert not isinstance(form, SetForm)
        with _store(self.folder, "named") as store:
            for _, row, record in block:
                read = partial(_sample, self.source, form, row, record, store, done)
                made += _written(row, read, self.to, self.folder, store, done)
                if len(store):
                    store.undo()
                    raise ConfigError(
                        f"{self.source.path}, row {row}: contains media as bytes, which --shard, --parts and --ray"
                        " cannot write; leave these flags out"
                    )
        return {"count": len(block), "rows": made, "forms": done.forms, "lost": done.lost}


def write_converted(
    results: Iterable[Any], output: Path, *, leave_out: bool, on_progress: Callable[[int], None]
) -> Converted:
    """Write what was made of each block into a file, as `convert_file` does. Raises: StorageError, and what `results`
    raises.
    """
    done = Converted()

    def rows() -> Iterator[Any]:
        for block in results:
            done.rows += block["count"]
            done.written += len(block["rows"])
            done.forms.update(block["forms"])
            done.lost += [(row, text) for row, text in block["lost"]]
            yield from block["rows"]
            on_progress(done.rows)
        if not done.is_written or (done.lost and not leave_out):
            raise _LostError

    try:
        write_rows(output.absolute(), rows())
    except _LostError:
        done.written = 0
    return done


def _written(
    row: int, read: Callable[[], Sample], to: Form | SetForm, folder: Path, store: MediaStore, done: Converted
) -> Iterator[Any]:
    """Yield what a form makes of a row's sample, or nothing where that is lost."""
    assert to.write is not None
    before = len(store)
    try:
        sample = with_masks_inside(read())
        kept = replace(sample, media=tuple(map(store.keep, sample.media)))
        made = to.write(kept, folder)
        if isinstance(to, SetForm) and to.has_bare_names:
            _check_bare_names(kept.media, done.called)
    except DataError as error:
        done.lost.append((row, str(error)))
        store.undo(before)
    else:
        done.written += 1
        yield made


def _check_bare_names(media: Iterable[Medium], called: dict[str, Medium]) -> None:
    """Raise DataError for a medium whose bare name is that of another one."""
    for medium in media:
        other = called.setdefault(Path(medium.name).stem, medium)
        if other != medium:
            raise DataError(
                f"{medium} and {other} would get the same name, because this form names media without folders; rename"
                " one"
            )


def _samples(source: Source, store: MediaStore, done: Converted) -> Iterator[tuple[int, Callable[[], Sample]]]:
    """Yield each row with what reads its sample, or raises why it is none."""
    form = source.form or (set_form_of(source.path) if not is_hub_name(source.path) else None)
    if isinstance(form, SetForm):
        if source.media_root is not None and not form.takes_media_root:
            raise ConfigError(f"--media-root: {form.about} says itself where its media are; leave it out")
        done.forms[form.name] = 0
        for row, found in form.samples(source.path, source.root, source.split):
            done.forms[form.name] += 1
            yield row, partial(_raised, found, f"{source.path}, row {row}: ")
        return

    for row, record in read_rows(source.path, source.split):
        yield row, partial(_sample, source, form, row, record, store, done)


def _sample(source: Source, form: Form | None, row: int, record: Any, store: MediaStore, done: Converted) -> Sample:
    """Return the sample of a row. Raises: DataError."""
    found = store.unpack(_raised(record, f"{source.path}, row {row}: "))
    known = form or form_of(found)
    done.forms[known.name] += 1
    return sample_from_record(known.read(found, source.root), root=source.root, default_id=f"{source.path.stem}-{row}")


def _raised(value: Any, where: str) -> Any:
    """Return a value. Raises: DataError: it is one, which need not say where."""
    if isinstance(value, DataError):
        raise DataError(str(value).removeprefix(where))
    return value


@contextmanager
def _store(folder: Path, media: Media) -> Iterator[MediaStore]:
    """Yield where media go: beside the new file, or only until they are inside it."""
    if media != "embedded":
        yield MediaStore(folder / MEDIA_FOLDER, copies=media == "copied")
        return
    with tempfile.TemporaryDirectory() as temporary:
        yield MediaStore(Path(temporary) / MEDIA_FOLDER)


class _LostError(Exception):
    """Rows cannot be converted, and none is to be written."""
