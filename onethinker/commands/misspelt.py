"""Which word of a command line is no flag, or no choice of its flag, and what it may have meant."""

import sys
from collections.abc import Iterator, Sequence
from typing import Any

from onethinker.core.nearest import no_such


def misspelt(parser: Any, arguments: Sequence[str]) -> str | None:
    """Return what to say of the first flag that a command does not have, or of the first value that its flag does not
    take; None where there is neither. `parser` is an ArgumentParser, of Python or of tyro.

    >>> import argparse
    >>> parser = argparse.ArgumentParser()
    >>> _ = parser.add_argument("--reading", choices=("strict", "lenient"))
    >>> misspelt(parser, ["--raeding", "strict"])
    "no option '--raeding'; did you mean '--reading'? There are: --help, --reading"
    >>> misspelt(parser, ["--reading", "lenint"])
    "no --reading 'lenint'; did you mean 'lenient'? There are: strict, lenient"
    >>> misspelt(parser, ["--reading", "strict"])
    """
    flags = {flag: action for action in parser._actions for flag in action.option_strings if flag.startswith("--")}
    positional = [action for action in parser._actions if not action.option_strings]
    for action, word in _read(flags, positional, arguments):
        if action is None:
            name = word.split("=")[0]
            return no_such("option", name, flags, see=f"`{parser.prog} --help` lists them.")
        if action.choices is not None and word not in [str(choice) for choice in action.choices]:
            kind = action.option_strings[-1] if action.option_strings else action.dest
            return no_such(kind, word, map(str, action.choices))
    return None


def _read(flags: dict[str, Any], positional: Sequence[Any], arguments: Sequence[str]) -> Iterator[tuple[Any, str]]:
    """Yield each value with what it is a value of, and None with each flag that there is not."""
    rest, position, current, left = list(arguments), 0, None, 0
    for word in rest:
        if word.startswith("--") and len(word) > 2:
            name, equals, value = word.partition("=")
            current = flags.get(name.replace("_", "-"))
            left = len(rest) if current is None else _room(current)
            if current is None:
                yield None, word
            elif equals:
                yield current, value
                left = 0
        elif current is not None and left > 0:
            yield current, word
            left -= 1
        elif current is None and left > 0:
            continue  # a value of the flag that there is not
        elif position < len(positional):
            yield positional[position], word
            position += _room(positional[position]) == 1


def _room(action: Any) -> int:
    """Return how many words an argument takes at most."""
    if isinstance(action.nargs, int):
        return action.nargs
    return 1 if action.nargs in (None, "?") else sys.maxsize
