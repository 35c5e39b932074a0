"""Parts from outside the package: what installed distributions offer as entry points, and modules that a user names.

A named module says what it offers in dictionaries, as an entry point would by its group: `TASKS = {"pointing":
Pointing}` is `pointing = "my_lab.tasks:Pointing"` in the group `onethinker.tasks`. The names live in an environment
variable, so processes that this one starts (graders, decoders, further training processes) know the same parts.
"""

import os
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial, wraps
from importlib import import_module, invalidate_caches
from importlib.metadata import entry_points
from inspect import getsourcefile, getsourcelines
from pathlib import Path
from types import ModuleType
from typing import Any

from onethinker.core.errors import ConfigError, OneThinkerError, PluginError
from onethinker.core.sources import home_path

KINDS = ("tasks", "rewards", "estimators", "losses", "graders", "families", "forms", "benchmarks")
"""What can come from outside: `onethinker.KIND` is the group of entry points, `KIND` in capitals the dictionary."""
VARIABLE = "ONETHINKER_PLUGINS"
"""Modules whose parts are used, apart by commas: names that Python imports, or paths of a .py file or a package."""
_PACKAGE = Path(__file__).parents[1]


@dataclass(frozen=True)
class Plugin:
    """What is offered under a name, and how messages call it."""

    name: str
    value: Any
    where: str


def named_plugins() -> tuple[str, ...]:
    """Return the modules that this process was told to use, in their order."""
    return tuple(filter(None, (name.strip() for name in os.environ.get(VARIABLE, "").split(","))))


def use_plugins(names: Sequence[str]) -> None:
    """Use the parts of further modules, in this process and in those that it starts from now on.

    Raises: ConfigError: one cannot be imported, or offers nothing.
    """
    for name in names:
        _offers(name)
    if names:
        os.environ[VARIABLE] = ",".join(dict.fromkeys((*named_plugins(), *names)))


def load_plugins(group: str) -> tuple[Plugin, ...]:
    """Return what installed distributions and named modules offer under a group, such as "onethinker.tasks".

    The order is that of the distributions' names, then that in which modules were named.

    Raises: ConfigError: one of them cannot be imported, or two have the same name.
    """
    found = sorted(entry_points(group=group), key=lambda point: (point.dist.name if point.dist else "", point.name))
    plugins = [
        _load(point, f"entry point {point.name} = {point.value!r} of {point.dist.name if point.dist else '?'}")
        for point in found
    ]
    kind = group.removeprefix("onethinker.")
    for module in named_plugins():
        known = {id(plugin.value) for plugin in plugins}  # installed, and named as well: the same object counts once
        plugins += [each for each in _offers(module).get(kind, ()) if id(each.value) not in known]
    by_name: dict[str, Plugin] = {}
    for plugin in plugins:
        if (first := by_name.setdefault(plugin.name, plugin)) is not plugin and kind != "tasks":
            raise ConfigError(
                f"two {kind} are named {plugin.name!r}: {first.where}, and {plugin.where}. Rename one, or leave it out"
            )
    return tuple(plugins)


def check_names(plugins: Sequence[Plugin], taken: Sequence[str], kind: str) -> None:
    """Raises: ConfigError: a part from outside has the name of one of ours."""
    for plugin in plugins:
        if plugin.name in taken:
            raise ConfigError(
                f"two {kind} are named {plugin.name!r}: onethinker's own, and {plugin.where}. Rename the latter"
            )


@contextmanager
def naming(owner: Any, what: str) -> Iterator[None]:
    """Have mistakes in the code of another package raised as PluginError, with file and line; ours stay as they are."""
    try:
        yield
    except OneThinkerError:
        raise
    except Exception as error:
        # Whatever a stranger's code raises: the user has to know whose it is, and nothing may be scored by it.
        if is_own(owner):
            raise
        raise PluginError(f"{what} failed in {place_of(error)}") from error


def name_mistakes(owner: Any, methods: Iterable[str], what: str) -> None:
    """Have mistakes in methods of an object of another package raised as PluginError; it is changed in place."""
    for name in methods:
        replace_method(owner, name, _named(owner, getattr(owner, name), f"{what}: {name}"))


def replace_method(owner: Any, name: str, method: Callable[..., Any]) -> None:
    """Give an object a method in place of its class's, also where that is a frozen dataclass."""
    object.__setattr__(owner, name, method)


def _named(owner: Any, method: Callable[..., Any], what: str) -> Callable[..., Any]:
    @wraps(method)
    def call(*arguments: Any, **named: Any) -> Any:
        with naming(owner, what):
            return method(*arguments, **named)

    return call


def is_own(owner: Any) -> bool:
    """Tell whether a function, a class or an object of one comes from this package."""
    owner = owner.func if isinstance(owner, partial) else owner
    module = getattr(owner, "__module__", None) or type(owner).__module__
    return str(module).split(".")[0] == "onethinker"


def source_of(owner: Any) -> str:
    """Return the file and line where a function, a class or the class of an object is written."""
    owner = owner.func if isinstance(owner, partial) else owner
    code = owner if hasattr(owner, "__qualname__") else type(owner)
    try:
        return f"{getsourcefile(code)}, line {getsourcelines(code)[1]}"
    except (OSError, TypeError):
        return f"{getattr(code, '__module__', '?')}.{getattr(code, '__qualname__', code)}"


def place_of(error: BaseException) -> str:
    """Return where a stranger's code failed and with what: "my_lab.py, line 7, in score: ZeroDivisionError: …".

    That is the deepest line in the folder of the first file that is not ours.
    """
    text = f"{type(error).__name__}: {error}"
    if isinstance(error, SyntaxError) and error.filename:
        return f"{error.filename}, line {error.lineno}: {type(error).__name__}: {error.msg}"
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if not frame.filename.startswith("<frozen") and not Path(frame.filename).is_relative_to(_PACKAGE)
    ]
    frames = [frame for frame in frames if Path(frame.filename).parent.name not in ("importlib", "metadata")]
    if not frames:
        return text
    own = [frame for frame in frames if Path(frame.filename).is_relative_to(Path(frames[0].filename).parent)]
    return f"{own[-1].filename}, line {own[-1].lineno}, in {own[-1].name}: {text}"


def _load(point: Any, where: str) -> Plugin:
    try:
        return Plugin(point.name, point.load(), where)
    except Exception as error:
        # Whatever a stranger's module raises while it is imported: the user has to know whose it is.
        raise ConfigError(f"{where} cannot be loaded: {place_of(error)}. Repair or uninstall it") from error


def _offers(name: str) -> dict[str, list[Plugin]]:
    """Return what a named module offers, by kind. Raises: ConfigError: it cannot be imported, or offers nothing."""
    module = _import(name)
    found: dict[str, list[Plugin]] = {}
    for kind in KINDS:
        parts = getattr(module, kind.upper(), None)
        if parts is None:
            continue
        if not isinstance(parts, Mapping) or not all(isinstance(key, str) for key in parts):
            raise ConfigError(
                f"plug-in {name}: {kind.upper()} must be a dictionary from names to what the plug-in offers, got"
                f" {parts!r} in {module.__file__}"
            )
        found[kind] = [
            Plugin(key, part, f"{kind.upper()}[{key!r}] of {module.__file__}") for key, part in parts.items()
        ]
    if not found:
        known = ", ".join(kind.upper() for kind in KINDS)
        raise ConfigError(
            f"plug-in {name}: {module.__file__} offers nothing; expected one or more of {known}, each a dictionary such"
            ' as TASKS = {"pointing": Pointing}'
        )
    return found


def _import(name: str) -> ModuleType:
    """Return a module by its name, looked for in the current folder last, or by the path of its file or folder."""
    path = home_path(name).resolve()
    is_path = name.endswith(".py") or "/" in name
    if is_path and not (path / "__init__.py" if path.is_dir() else path).is_file():
        raise ConfigError(f"plug-in {name}: no such file; expected a .py file, or a folder with an __init__.py")
    before = list(sys.path)
    sys.path[:] = [str(path.parent), *before] if is_path else [*before, str(Path.cwd())]
    invalidate_caches()
    try:
        module = import_module(path.stem if is_path else name)
    except Exception as error:
        # Whatever a stranger's module raises while it is imported: the user has to know whose it is.
        hint = f". Install it, or name its file: {name.replace('.', '/')}.py"
        missing = isinstance(error, ModuleNotFoundError) and name.startswith(error.name or "?")
        raise ConfigError(f"plug-in {name} cannot be loaded: {place_of(error)}{hint if missing else ''}") from error
    finally:
        sys.path[:] = before
    file = Path(module.__file__ or "?")
    if is_path and file not in (path, path / "__init__.py"):
        raise ConfigError(f"plug-in {name}: another module is named {path.stem!r}, {file}; rename the plug-in's file")
    return module
