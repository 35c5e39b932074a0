"""Pickled values without code: lists, dictionaries, texts and numbers are built, everything else is refused."""

import io
import pickle
from pathlib import Path
from typing import Any, ClassVar, NoReturn

from onethinker.core.errors import DataError


class _PlainUnpickler(pickle._Unpickler):
    """Builds plain values only: nothing can be called that `find_class` has not found.

    The one in Python, because that in C reserves as much memory as the largest index in the file asks for.
    """

    # The one instruction that reserves what the file claims before it is there.
    dispatch: ClassVar[dict[int, Any]] = {
        code: do for code, do in pickle._Unpickler.dispatch.items() if code != pickle.BYTEARRAY8[0]
    }

    def find_class(self, module: str, name: str) -> NoReturn:
        raise DataError(f"expected lists, dictionaries, texts and numbers only, got {module}.{name}")


def load_plain_pickle(path: Path) -> Any:
    """Return the plain value in a pickle file, of any protocol; texts of Python 2 are read as Latin-1.

    Raises: DataError: the file is damaged, or would need a class or a call.
    """
    try:
        return read_plain_pickle(path.read_bytes())
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}") from error
    except DataError as error:
        raise DataError(f"{path}: {error}") from error


def read_plain_pickle(content: bytes) -> Any:
    r"""Return the plain value of a pickle.

    >>> read_plain_pickle(b"(lp0\nI1\naS'cat'\na.")
    [1, 'cat']

    Raises: DataError: it is damaged, or would need a class or a call.
    """
    try:
        return _PlainUnpickler(io.BytesIO(content), encoding="latin-1").load()
    except DataError:
        raise
    except Exception as error:
        # A damaged file is a program that goes wrong anywhere, and what it raises then is no list that anybody keeps.
        raise DataError(f"a damaged pickle: {type(error).__name__} {error}") from error
