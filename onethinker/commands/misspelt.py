"""Which word of a command line is no flag, no choice of its flag or no number, and what it may have meant."""

import sys
from collections.abc import Iterator, Sequence
from typing import Any

from onethinker.core.nearest import no_such

NUMBERS = {"INT": int, "FLOAT": float}
"""What a metavar calls a number, and what reads it."""


def misspelt(parser: Any, arguments: Sequence[str]) -> str | None:
    """Return what to say of the first flag that a command does not have, or of the first value that its flag does not
    take; None where there is neither. `parser` is an ArgumentParser, of Python or of tyro, whose metavars name numbers.

    >>> import argparse
    >>> parser = argparse.ArgumentParser()
    >>> _ = parser.add_argument("--reading", choices=("strict", "lenient"))
    >>> misspelt(parser, ["--raeding", "strict"])
    "no option '--raeding'; did you mean '--reading'? There are: --help, --reading"
    >>> misspelt(parser, ["--reading", "lenint"])
    "no --reading 'lenint'; did you mean 'lenient'? There are: strict, lenient"
    >>> misspelt(parser, ["--reading", "strict"])
    >>> _ = parser.add_argument("--box", nargs="*", metavar="{FLOAT FLOAT FLOAT FLOAT}")
    >>> misspelt(parser, ["--box", "1", "2", "3"])
    '--box takes 4 numbers, got 3: 1 2 3'
    >>> misspelt(parser, ["--box", "1", "2", "3", "x"])
    "--box takes 4 numbers, got 'x'"
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
    return next(filter(None, (_no_numbers(flag, flags[flag], words) for flag, words in _given(flags, arguments))), None)


def _no_numbers(flag: str, action: Any, words: Sequence[str]) -> str | None:
    """Return what is wrong with the values of a flag that takes numbers; None where nothing is, or it takes others."""
    kinds = str(action.metavar or "").strip("{}").split()
    if not kinds or not NUMBERS.keys() >= set(kinds):
        return None
    if len(kinds) == 1:
        wanted = "a whole number" if kinds == ["INT"] else "a number"
    else:
        wanted = f"{len(kinds)} {'whole ' if set(kinds) == {'INT'} else ''}numbers"
    for kind, word in zip(kinds, words, strict=False):
        try:
            NUMBERS[kind](word)
        except ValueError:
            return f"{flag} takes {wanted}, got {word!r}"
    if len(words) == len(kinds) or (len(kinds) == 1 and words):
        return None  # what follows the value of a flag of one belongs to the command
    got = f"{len(words)}: {' '.join(words)}" if words else "none"
    return f"{flag} takes {wanted}, got {got}" + ("; files and words go before it" if len(words) > len(kinds) else "")


def _given(flags: dict[str, Any], arguments: Sequence[str]) -> Iterator[tuple[str, list[str]]]:
    """Yield each flag that is given, with the words up to the next one."""
    given: list[tuple[str, list[str]]] = []
    for word in arguments:
        name, equals, value = word.partition("=")
        if (flag := name.replace("_", "-")) in flags:
            given.append((flag, [value] if equals else []))
        elif given:
            given[-1][1].append(word)
    yield from given


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
