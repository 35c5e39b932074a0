"""The command line's way in and out: a command is done, its error told, and its exit code left with."""

import os
import sys
from collections.abc import Sequence
from contextlib import suppress

from onethinker.commands.dispatch import BROKEN_PIPE, complain, describe, dispatch
from onethinker.processes.endings import SECONDS, ending_on_signals


def main(arguments: Sequence[str] | None = None) -> None:
    """Run `onethinker` and leave with its exit code: 0, 1 (an error), 2 (usage), 130 (Ctrl-C), 143 (SIGTERM), 129
    (SIGHUP).
    """
    with ending_on_signals(SECONDS) as ended:
        try:
            code = dispatch(sys.argv[1:] if arguments is None else arguments)
            sys.stdout.flush()
        except BrokenPipeError:
            code = BROKEN_PIPE
        except SystemExit as left:
            # rich makes a SystemExit of the pipe that it cannot write to.
            if not isinstance(left.__context__, BrokenPipeError):
                raise
            code = BROKEN_PIPE
        except BaseException as error:  # what becomes of a signal is up to whom it interrupts
            text = str(ended[0]) if ended else describe(error)
            if text is None:
                raise
            code = ended[0].exit_code if ended else 1
            with suppress(OSError):  # a terminal that is gone
                complain(text)
    _give_up_output()
    if ended:
        os._exit(code)  # taking torch apart, as Python does at its exit, takes seconds on a busy machine
    sys.exit(code)


def _give_up_output() -> None:
    """Have nothing left to be written: Python tries again at exit what a reader that has left, or a full disk, did not
    take.
    """
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
