"""How a process ends: in order at a signal, and soon after the process that it works for, however that one ended."""

import os
import signal
import sys
import threading
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import NoReturn

WORKER_SECONDS = 4.0
"""How long after a signal a worker process may take to end in order before it is killed."""
SECONDS = 8.0
"""The same for a command: longer, because it waits for its workers, and less than the 10 s that most systems give."""
LOOK_EVERY_S = 0.5
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Ended(KeyboardInterrupt):
    """A signal asked this process to end; raised in the main thread, whatever it is doing."""

    def __init__(self, signum: int) -> None:
        super().__init__(signal.Signals(signum).name)
        self.exit_code = 128 + signum

    def __str__(self) -> str:
        return "interrupted" if self.exit_code == 128 + signal.SIGINT else f"ended by {self.args[0]}"


@contextmanager
def ending_on_signals(seconds: float) -> Iterator[list[Ended]]:
    """Raise `Ended` in the main thread at the first of `SIGNALS`; the process is gone `seconds` later even if that does
    not return.

    It is also put into the list that is yielded: what the main thread was doing may make another exception of it. What
    is ignored stays so: SIGHUP under nohup, Ctrl-C in a background shell. So are further signals, which would break off
    an end in order. To be called in the main thread.
    """
    before = {signum: handler for signum in SIGNALS if (handler := signal.getsignal(signum)) is not signal.SIG_IGN}
    received: list[Ended] = []

    def end(signum: int, _: object) -> NoReturn:
        for other in before:
            signal.signal(other, signal.SIG_IGN)
        # Raised inside a destructor, or seen by a thread that loses its worker, it is not worth a traceback.
        sys.unraisablehook = lambda _: None
        threading.excepthook = lambda _: None
        received.append(Ended(signum))
        raise received[0]

    wakeup = _exit_after_signal(before, seconds)
    listening = signal.set_wakeup_fd(wakeup, warn_on_full_buffer=False)
    for signum in before:
        signal.signal(signum, end)
    try:
        yield received
    finally:
        if not received:
            for signum, handler in before.items():
                signal.signal(signum, handler)
            signal.set_wakeup_fd(listening)
            os.close(wakeup)


def _exit_after_signal(signals: Collection[int], seconds: float) -> int:
    """Return a descriptor for `signal.set_wakeup_fd`: `seconds` after one of the signals this process exits, unless it
    has ended by then. Closing the descriptor calls that off.

    Python runs a handler only between two instructions of the main thread, which may be inside one of torch's for
    minutes; a thread that reads the descriptor notices at once.
    """
    reading, wakeup = os.pipe()
    os.set_blocking(wakeup, False)

    def watch() -> None:
        while signum := os.read(reading, 1):
            if signum[0] in signals:
                time.sleep(seconds)
                os._exit(128 + signum[0])
        os.close(reading)

    threading.Thread(target=watch, name="end after a signal", daemon=True).start()
    return wakeup


def end_with_parent(parent: int) -> None:
    """End this process about when its parent with that number has ended, be it by SIGKILL, and whatever the main thread
    does then.

    The system's own notice of it (PR_SET_PDEATHSIG) also comes when only the thread ends that has started this process.
    """

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(LOOK_EVERY_S)
        os._exit(1)

    threading.Thread(target=watch, name="end with the parent", daemon=True).start()
