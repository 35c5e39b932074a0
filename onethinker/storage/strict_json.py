"""How all JSON of the package is written: NaN and Infinity, which Python writes and JSON does not have, are refused."""

import json
from typing import Any


def to_json(value: object, **style: Any) -> str:
    """Return a value as JSON that every other program reads; `style` is what `json.dumps` takes, such as `indent`.

    Raises: ValueError: a number in it is not finite.

    >>> to_json({"b": 1, "a": None}, sort_keys=True)
    '{"a": null, "b": 1}'
    """
    return json.dumps(value, allow_nan=False, **style)


def to_file_json(value: object, **style: Any) -> str:
    r"""Return a value as JSON with its characters as they are; where no file can hold one, all are escaped.

    Raises: ValueError: a number in it is not finite.

    >>> to_file_json({"answer": "né"}), to_file_json({"answer": "\ud800"})
    ('{"answer": "né"}', '{"answer": "\\ud800"}')
    """
    text = to_json(value, ensure_ascii=False, **style)
    try:
        text.encode()
    except UnicodeEncodeError:
        return to_json(value, **style)
    return text


def json_line(value: object) -> bytes:
    r"""Return a value as one line of a log or of a pipe. Raises: ValueError: a number in it is not finite.

    >>> json_line({"answer": "né"})
    b'{"answer": "n\\u00e9"}\n'
    """
    return to_json(value).encode() + b"\n"
