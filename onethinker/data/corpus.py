"""A corpus of public sets as a recipe: how much of each there should be, where it lies, and how much is there."""

import re
import tomllib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError

from onethinker.core.errors import ConfigError, DataError
from onethinker.core.nearest import no_such
from onethinker.core.settings import Settings, explain
from onethinker.data.fixing import media_fields, move_media
from onethinker.data.formats.form import Form, SetForm, write_rows
from onethinker.data.formats.records import Record, read_records
from onethinker.data.formats.registry import find_form
from onethinker.tasks import all_tasks

BUILT_IN = Path(__file__).parents[1] / "recipes"
PREFIX = "data_"
"""How the names of recipes of data begin."""
DATA_FOLDER = Path("data/onethinker")
"""Where a corpus lies unless it is said."""
UNKNOWN = "unknown: check"
"""The licence of a set of which nobody has looked it up."""


class PublicSet(Settings):
    """A public set: how many thousands of samples the corpus has of it, and how its records are known."""

    name: str
    thousands: float = Field(gt=0)
    tasks: tuple[str, ...] = ()
    """Problem types; by default any of the group's."""
    folder: str = ""
    """Where its media lie beneath the corpus; by default in the group's folder."""
    license: str = ""
    """By default the corpus's."""
    sources: tuple[str, ...] = ()
    """What "data_source" of its records begins with, letters and digits alone, "+" as plus; the name by default."""


class SetGroup(Settings):
    """Sets of one kind of question."""

    name: str
    folder: str
    tasks: tuple[str, ...]
    sets: tuple[PublicSet, ...]


class Corpus(Settings):
    """A corpus: files of records, of which the first that is there is read, and the sets in them."""

    files: tuple[str, ...] = Field(min_length=1)
    form: str = "own"
    license: str = UNKNOWN
    groups: tuple[SetGroup, ...]

    @classmethod
    def load(cls, name: str) -> "Corpus":
        """Return the recipe in a file, or one that comes with OneThinker by its name. Raises: ConfigError."""
        known = sorted(path.stem for path in BUILT_IN.glob(f"{PREFIX}*.toml"))
        path = BUILT_IN / f"{name}.toml" if name in known else Path(name)
        try:
            corpus = cls.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
        except FileNotFoundError as error:
            raise ConfigError(no_such("recipe of data", name, known)) from error
        except ValidationError as error:
            raise ConfigError(f"{path}: {explain(error, cls)}") from error
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise ConfigError(f"{path}: cannot be read as a recipe of data: {error}") from error
        types = sorted({task.problem_type for task in all_tasks()})
        for task in (task for one in corpus.members for task in one.tasks):
            if task not in types:
                raise ConfigError(f"{path}: {no_such('problem type', task, types)}")
        if isinstance(find_form(corpus.form), SetForm):
            raise ConfigError(
                f"{path}: form = {corpus.form!r} is not a file of rows, which a corpus needs; convert this data set"
                " separately"
            )
        return corpus

    @cached_property
    def members(self) -> tuple["Member", ...]:
        """All sets, each with what its group and the corpus say of it."""
        return tuple(
            Member(
                one.name,
                group.name,
                one.thousands,
                one.tasks or group.tasks,
                one.folder or group.folder,
                one.license or self.license,
                tuple(_letters(source) for source in one.sources or (one.name,)),
            )
            for group in self.groups
            for one in group.sets
        )

    def member_of(self, record: Record) -> "Member | None":
        """Return the set of a record: of its problem type, and with the longest name that its source begins with."""
        source, task = _letters(str(record.get("data_source") or "")), str(record.get("problem_type") or "").lower()
        found = [
            (len(name), one)
            for one in self.members
            if task in one.tasks
            for name in one.sources
            if source.startswith(name)
        ]
        return max(found, key=lambda pair: pair[0])[1] if found else None


@dataclass(frozen=True)
class Member:
    """A set of a corpus with all that is known of it; `sources` are letters and digits alone."""

    name: str
    group: str
    thousands: float
    tasks: tuple[str, ...]
    folder: str
    license: str
    sources: tuple[str, ...]


@dataclass
class Survey:
    """What there is of a corpus: its file, records by set, those of them whose media are there, and other sources."""

    file: Path | None
    records: Counter[Member] = field(default_factory=Counter)
    complete: Counter[Member] = field(default_factory=Counter)
    missing: dict[Member, str] = field(default_factory=dict)
    """The first file that is missing of a set."""
    others: Counter[str] = field(default_factory=Counter)
    unread: list[str] = field(default_factory=list)


def survey(corpus: Corpus, root: Path, *, on_progress: Callable[[int], None] | None = None) -> Survey:
    """Return what there is of a corpus beneath a folder. Raises: DataError: its file is no list of records."""
    found = _open_survey(corpus, root)
    for _ in _sorted_out(corpus, root, found, on_progress):
        pass
    return found


def convert_corpus(
    corpus: Corpus, root: Path, output: Path, *, on_progress: Callable[[int], None] | None = None
) -> Survey:
    """Write the records of all sets whose media are there into a new file, as records of our own with their licence,
    and return what there was. Raises: DataError: there is no file of the corpus, or it cannot be read. StorageError.
    """
    found = _open_survey(corpus, root)
    if found.file is None:
        raise DataError(f"{root}: contains none of {', '.join(corpus.files)}; put one of them into this folder")
    write_rows(output, _written(corpus, root, output, found, on_progress))
    return found


def _open_survey(corpus: Corpus, root: Path) -> Survey:
    return Survey(next((root / name for name in corpus.files if (root / name).is_file()), None))


def _written(
    corpus: Corpus, root: Path, output: Path, found: Survey, on_progress: Callable[[int], None] | None
) -> Iterator[Record]:
    for record, member in _sorted_out(corpus, root, found, on_progress):
        own = record.get("license") if member.license == UNKNOWN else None
        record = {**record, "license": own or member.license}
        move_media(record, root, output.parent)
        yield record


def _sorted_out(
    corpus: Corpus, root: Path, found: Survey, on_progress: Callable[[int], None] | None
) -> Iterator[tuple[Record, Member]]:
    """Yield the records whose media are there with their set, and count all of them."""
    form: Form = find_form(corpus.form)  # type: ignore[assignment]
    if found.file is None:
        return

    def put_aside(row: int, error: DataError) -> None:
        found.unread.append(f"row {row}: {str(error).removeprefix(f'{found.file}, row {row}: ')}")

    for count, (row, record) in enumerate(read_records(found.file, bad=put_aside), 1):
        if on_progress and not count % 1000:
            on_progress(count)
        try:
            record = form.read(record, root)
        except DataError as error:
            put_aside(row, error)
            continue
        if (member := corpus.member_of(record)) is None:
            found.others[f"{record.get('data_source')} ({record.get('problem_type')})"] += 1
            continue
        found.records[member] += 1
        named = (path for _, paths in media_fields(record) for path in paths)
        if absent := next((path for path in named if not (root / path).exists()), ""):
            found.missing.setdefault(member, absent)
            continue
        found.complete[member] += 1
        yield record, member


def as_json(corpus: Corpus, root: Path, found: Survey) -> dict[str, Any]:
    """Return what a survey found, for programs."""
    sets = [
        {
            "name": one.name,
            "group": one.group,
            "problem_types": list(one.tasks),
            "folder": str(root / one.folder),
            "license": one.license,
            "expected": round(1000 * one.thousands),
            "records": found.records[one],
            "with_media": found.complete[one],
            "first_missing": found.missing.get(one),
        }
        for one in corpus.members
    ]
    return {
        "file": str(found.file) if found.file else None,
        "files": list(corpus.files),
        "form": corpus.form,
        "sets": sets,
        "other_sources": dict(found.others),
        "unread": found.unread,
    }


def _letters(text: str) -> str:
    return re.sub(r"[\W_]", "", text.replace("+", "plus")).lower()
