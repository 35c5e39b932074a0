"""Pickled values without code: lists, dictionaries, texts and numbers are built, everything else is refused.

The format is a program for a small stack machine. Only its instructions that make plain values are carried out here;
those that name a class or call something are not known, so that no file, whoever wrote it, can make anything run.
"""

import pickletools
from collections.abc import Callable
from pathlib import Path
from typing import Any

from onethinker.core.errors import DataError

_CONSTANTS: dict[str, Callable[[], Any]] = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_LIST": list,
    "EMPTY_DICT": dict,
    "EMPTY_TUPLE": tuple,
}
_NUMBERS = frozenset({"INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"})
_TEXTS = frozenset(
    {"STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"}
)
_BYTES = frozenset({"BINBYTES", "SHORT_BINBYTES", "BINBYTES8"})
_GETS = frozenset({"GET", "BINGET", "LONG_BINGET"})
_PUTS = frozenset({"PUT", "BINPUT", "LONG_BINPUT"})
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_IGNORED = frozenset({"PROTO", "FRAME", "STOP"})


def load_plain_pickle(path: Path) -> Any:
    """Return the plain value in a pickle file, of any protocol; texts of Python 2 are read as Latin-1.

    Raises: DataError: the file is damaged, or would need a class or a call.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}") from error
    try:
        return read_plain_pickle(content)
    except DataError as error:
        raise DataError(f"{path}: {error}") from error
    except (ValueError, IndexError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise DataError(f"{path}: a damaged pickle: {type(error).__name__} {error}") from error


def read_plain_pickle(content: bytes) -> Any:
    r"""Return the plain value of a pickle.

    >>> read_plain_pickle(b"(lp0\nI1\naS'cat'\na.")
    [1, 'cat']

    Raises: DataError: it would need a class or a call. ValueError, IndexError, KeyError, TypeError, AttributeError: it
    is damaged.
    """
    stack: list[Any] = []
    marks: list[int] = []
    memo: dict[Any, Any] = {}

    def take(count: int) -> list[Any]:
        start = len(stack) - count
        if start < (marks[-1] if marks else 0):
            raise ValueError("an instruction finds too few values")
        taken = stack[start:]
        del stack[start:]
        return taken

    def take_to_mark() -> list[Any]:
        start = marks.pop()
        return take(len(stack) - start)

    for operation, argument, position in pickletools.genops(content):
        name = operation.name
        if name in _NUMBERS or name in _TEXTS or name in _BYTES:
            stack.append(argument)
        elif name in _CONSTANTS:
            stack.append(_CONSTANTS[name]())
        elif name == "MARK":
            marks.append(len(stack))
        elif name in _PUTS or name == "MEMOIZE":
            memo[len(memo) if argument is None else argument] = stack[-1]
        elif name in _GETS:
            stack.append(memo[argument])
        elif name in _TUPLES:
            stack.append(tuple(take(_TUPLES[name])))
        elif name in ("LIST", "TUPLE", "DICT"):
            items = take_to_mark()
            stack.append(_pairs(items) if name == "DICT" else items if name == "LIST" else tuple(items))
        elif name in ("APPEND", "APPENDS"):
            items = take(1) if name == "APPEND" else take_to_mark()
            stack[-1].extend(items)
        elif name in ("SETITEM", "SETITEMS"):
            items = take(2) if name == "SETITEM" else take_to_mark()
            stack[-1].update(_pairs(items))
        elif name not in _IGNORED:
            raise DataError(
                f"expected lists, dictionaries, texts and numbers only, got the instruction {name} at byte {position}"
            )
    [value] = stack
    return value


def _pairs(items: list[Any]) -> dict[Any, Any]:
    return dict(zip(items[::2], items[1::2], strict=True))
