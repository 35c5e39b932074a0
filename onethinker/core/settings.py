"""The base of all settings: typed, strict, documented."""

import re
from collections.abc import Iterator, Mapping
from typing import Any, get_args

from pydantic import BaseModel, ConfigDict, ValidationError

from onethinker.core.nearest import NO_ALIASES, ask_for, no_such


class Settings(BaseModel):
    """Base of every group of settings: unknown keys and numbers that are not finite fail, nothing changes once it is
    read.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class FlagSettings(Settings):
    """Base of settings that a command line is made from: the sentences below the fields are the help of the flags.

    A command says itself which of its numbers must be finite.
    """

    model_config = ConfigDict(use_attribute_docstrings=True, allow_inf_nan=True)

    @classmethod
    def __pydantic_init_subclass__(cls, **_: Any) -> None:
        """Join the lines of each field's help: the help of a command breaks them where its own lines end."""
        for field in cls.model_fields.values():
            if field.description is not None:
                field.description = " ".join(field.description.split())


def explain(
    error: ValidationError, settings: type[BaseModel], aliases: Mapping[str, tuple[str, ...]] = NO_ALIASES
) -> str:
    """Return in a line what is wrong with settings, by their dotted names; for unknown ones what may have been meant.

    `aliases` are what other programs call settings of ours.
    """
    return "; ".join(_explain(problem, settings, aliases) for problem in error.errors())


def dotted_names(settings: type[BaseModel], prefix: str = "") -> Iterator[str]:
    """Yield the name of every setting and group of settings, such as "optimizer" and "optimizer.learning_rate"."""
    for name, field in settings.model_fields.items():
        yield f"{prefix}{name}"
        for kind in (field.annotation, *get_args(field.annotation)):
            if isinstance(kind, type) and issubclass(kind, BaseModel):
                yield from dotted_names(kind, f"{prefix}{name}.")


def _explain(problem: Any, settings: type[BaseModel], aliases: Mapping[str, tuple[str, ...]]) -> str:
    name, says = ".".join(map(str, problem["loc"])), problem["msg"].removeprefix("Value error, ")
    if problem["type"] == "extra_forbidden":
        return no_such("setting", name, dotted_names(settings), aliases=aliases)
    if problem["type"] == "literal_error" and isinstance(problem["input"], str):
        known = re.findall(r"'([^']*)'", problem["ctx"]["expected"])
        says += f", got {problem['input']!r}{ask_for(problem['input'], known)}"
    return f"{name}: {says}" if name else says
