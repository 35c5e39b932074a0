"""What a mixture is made of, and how: settings that are read from TOML and written back."""

import tomllib
from os.path import relpath
from pathlib import Path
from typing import Any, Self

from pydantic import Field, ValidationError, model_validator

from onethinker.core.errors import ConfigError
from onethinker.core.settings import Settings, explain
from onethinker.data.statistics import By
from onethinker.storage.atomic import write_atomically
from onethinker.storage.strict_json import to_json

Named = dict[By, dict[str, float]]


class Input(Settings):
    """An input file, with the digest that its content must have, if one is given."""

    path: Path
    sha256: str | None = None
    records: int | None = None


class MixSettings(Settings):
    """Settings of a mixture; with the saved settings the same mixture can be made again."""

    inputs: tuple[Input, ...] = Field(min_length=1)
    total: int | None = Field(None, ge=1)
    """Number of records to draw; by default as many as the shares allow."""
    seed: int = 0
    """Random seed of the draw."""
    by: tuple[By, ...] = ("task", "source")
    """What defines a group; within a group records are drawn at random."""
    temperature: float = Field(1.0, gt=0)
    """Shares of groups are proportional to their size to the power of 1 / temperature: 1 is proportional, a larger
    value makes them more equal."""
    videos: float | None = Field(None, ge=0, le=1)
    """Fraction of questions about videos; 0.5 is balanced. By default it is not controlled."""
    repeat: int = Field(1, ge=1)
    """How often a record may be drawn at most."""
    weights: Named = Field(default_factory=dict)
    """Factors of the shares of groups, by task, kind of media or source; 0 leaves a group out."""
    counts: Named = Field(default_factory=dict)
    """Exact numbers of records, by task, kind of media or source."""
    result: dict[str, Any] = Field(default_factory=dict)
    """The resulting numbers; written, never read."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        named = {what for table in (self.weights, self.counts) for what in table}
        if missing := sorted(named - {*self.by, "data_type"}):
            raise ValueError(f"weights and counts name {missing[0]}, which is not in `by`; add it there")
        values = [value for table in (*self.weights.values(), *self.counts.values()) for value in table.values()]
        if any(value < 0 for value in values):
            raise ValueError("weights and counts must be 0 or more")
        if self.counts and self.videos is not None:
            raise ValueError("counts and videos cannot be combined: use counts by data_type instead of videos")
        return self

    @classmethod
    def load(cls, path: Path) -> "MixSettings":
        """Return the settings in a TOML file, whose inputs are relative to its folder. Raises: ConfigError."""
        try:
            settings = cls.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
        except ValidationError as error:
            raise ConfigError(f"{path}: {explain(error, cls)}") from error
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise ConfigError(f"{path}: cannot be read as settings of a mixture: {error}") from error
        inputs = tuple(one.model_copy(update={"path": path.parent / one.path}) for one in settings.inputs)
        return settings.model_copy(update={"inputs": inputs})

    def save(self, path: Path) -> None:
        """Write them as TOML, inputs relative to its folder. Raises: StorageError."""
        own = self.model_dump(mode="json", exclude={"inputs", "weights", "counts", "result"}, exclude_none=True)
        lines = [f"{name} = {to_json(value)}" for name, value in own.items()]
        for one in self.inputs:
            fields = {**one.model_dump(mode="json", exclude_none=True), "path": relpath(one.path, path.parent)}
            lines += ["", "[[inputs]]", *(f"{name} = {_toml(value)}" for name, value in fields.items())]
        tables = {
            **{f"weights.{what}": table for what, table in self.weights.items()},
            **{f"counts.{what}": table for what, table in self.counts.items()},
        }
        result = {name: value for name, value in self.result.items() if not isinstance(value, dict)}
        tables |= {"result": result} if result else {}
        tables |= {f"result.{name}": value for name, value in self.result.items() if isinstance(value, dict)}
        for name, table in tables.items():
            lines += ["", f"[{name}]", *(f"{_toml(key)} = {_toml(value)}" for key, value in table.items())]
        write_atomically(path, "\n".join(lines) + "\n")


def _toml(value: object) -> str:
    """Return a value as TOML writes it: texts as JSON does, but for the one letter that TOML escapes besides."""
    return to_json(value, ensure_ascii=False).replace("\x7f", "\\u007f")
