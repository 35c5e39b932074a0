"""Parts from outside the package: what installed distributions offer under a group of entry points."""

from dataclasses import dataclass
from importlib.metadata import entry_points
from typing import Any

from onethinker.core.errors import ConfigError


@dataclass(frozen=True)
class Plugin:
    """What an entry point names, and how messages call it: `name = "module:object"` of a distribution."""

    name: str
    value: Any
    where: str


def load_plugins(group: str) -> tuple[Plugin, ...]:
    """Return what the installed distributions offer under a group, in an order that only their names decide.

    Raises: ConfigError: one of them cannot be imported.
    """
    found = sorted(entry_points(group=group), key=lambda point: (point.dist.name if point.dist else "", point.name))
    return tuple(
        _load(point, f"{point.name} = {point.value!r} of {point.dist.name if point.dist else '?'}") for point in found
    )


def _load(point: Any, where: str) -> Plugin:
    try:
        return Plugin(point.name, point.load(), where)
    except Exception as error:
        # Whatever a stranger's module raises while it is imported: the user has to know whose it is.
        raise ConfigError(
            f"entry point {where} cannot be loaded: {type(error).__name__}: {error}. Repair or uninstall it"
        ) from error
