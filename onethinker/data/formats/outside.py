"""Forms of sample files from outside the package: a function makes a record of a released form out of one of another.

An entry point of the group `onethinker.forms`, or `FORMS` of a plug-in, has the field by which a record is known as its
name, and a function from record to record: `FORMS = {"conversations": read_conversation}`.
"""

from collections.abc import Callable
from functools import cache
from typing import Any

from onethinker.core.errors import ConfigError, DataError, PluginError
from onethinker.core.plugins import load_plugins, named_plugins, naming, source_of

GROUP = "onethinker.forms"
RELEASED = ("messages", "path", "problem")
"""The fields by which records of our own forms are known."""


def translate(record: dict[str, Any], where: str) -> dict[str, Any]:
    """Return a record as it is, or what the form from outside that it has makes of it.

    Raises: DataError: by the form, with where the record stands. PluginError: the form failed, or gave no record.
    """
    for field, form in _forms(named_plugins()):
        if field not in record:
            continue
        try:
            with naming(form, f"{where}: form {field!r}"):
                made = form(dict(record))
        except DataError as error:
            raise DataError(f"{where}: {error}") from error
        if not isinstance(made, dict) or field in made:
            raise PluginError(
                f"{where}: form {field!r} ({source_of(form)}) must return a record without {field!r}, got {made!r}"
            )
        return made
    return record


@cache
def _forms(named: tuple[str, ...]) -> tuple[tuple[str, Callable[[dict[str, Any]], Any]], ...]:
    plugins = load_plugins(GROUP)
    for plugin in plugins:
        if not callable(plugin.value):
            raise ConfigError(f"{plugin.where} must be a function from record to record, got {plugin.value!r}")
        if plugin.name in RELEASED:
            raise ConfigError(
                f"{plugin.where}: the field {plugin.name!r} already belongs to a built-in form; choose another field"
            )
    return tuple((plugin.name, plugin.value) for plugin in plugins)
