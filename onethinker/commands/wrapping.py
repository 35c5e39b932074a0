"""Lines of a plan, broken so that they fit the terminal."""

import os
import re
import shutil
import sys
import textwrap
from collections.abc import Iterable, Sequence

SECOND = " " * 13
"""Where the second column of a plan begins."""
_BOUND = re.compile(r"(?<=[\d×x]) (?=[\d(]|[A-Za-z/])|(?<=/) (?=\d)")
"""What stands between a number and its unit or factor, which stay on one line."""


def print_lines(lines: Iterable[str]) -> None:
    """Print lines on stdout, broken where there is a terminal that they do not fit."""
    width = terminal_width()
    for line in lines:
        print(line if width is None else wrapped(line, width))


def terminal_width() -> int | None:
    """Return how many columns a line on stdout may have, by COLUMNS too; None for a file or another program."""
    is_told = os.environ.get("COLUMNS", "").isdigit()
    return shutil.get_terminal_size().columns if is_told or sys.stdout.isatty() else None


def wrapped(text: str, width: int) -> str:
    """Return text whose lines are broken between words, what goes on below the second column; numbers keep their units.

    >>> print(wrapped("notice       one two 3 bytes", 24))
    notice       one two
                 3 bytes
    """
    return "\n".join(
        textwrap.fill(
            _BOUND.sub("\0", line), width, subsequent_indent=SECOND, break_long_words=False, break_on_hyphens=False
        ).replace("\0", " ")
        for line in text.splitlines()
    )


def wrapped_command(words: Sequence[str], width: int | None, label: str) -> str:
    r"""Return words of a shell as a command to copy, whose lines but the last end with a backslash.

    >>> print(wrapped_command(["A=1", "python", "-m", "verl"], 16, "run  "))
    run  A=1 \
         python -m \
         verl
    """
    lines = [label + words[0]]
    for word in words[1:]:
        if width is not None and len(lines[-1]) + len(word) + len("  \\") > width:
            lines[-1] += " \\"
            lines.append(" " * len(label) + word)
        else:
            lines[-1] += f" {word}"
    return "\n".join(lines)
