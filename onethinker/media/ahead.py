"""The media of the next step, read by a thread while this step is sampled and learned from."""

import threading
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress

from onethinker.core.frames import Clip
from onethinker.core.sample import Medium
from onethinker.media.budget import MediaBudget
from onethinker.media.reading import read_clip


class MediaAhead:
    """Clips that are read before they are asked for; what is read, and what goes wrong with it, is the same as without.

    At most the media of two calls of `start` are held. A thread reads one medium after the other and is never given
    more than the next one, so a run that ends waits for none but that.
    """

    def __init__(self, budget: MediaBudget) -> None:
        self._budget = budget
        self._lock = threading.Lock()
        self._waiting: dict[Medium, None] = {}
        self._started: dict[Medium, Future[Clip]] = {}
        self._before: set[Medium] = set()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="media-ahead")
        self._is_reading = False

    def start(self, media: Iterable[Medium]) -> None:
        """Begin to read media that will be asked for; those of the call before the last are forgotten."""
        new = {medium: None for medium in media if not isinstance(medium, Clip)}
        with self._lock:
            kept = self._before | new.keys()
            self._started = {medium: clip for medium, clip in self._started.items() if medium in kept}
            self._waiting = {medium: None for medium in [*self._waiting, *new] if medium in kept}
            self._before = set(new)
            if self._waiting and not self._is_reading:
                self._is_reading = True
                self._thread.submit(self._read_next)

    def take(self, medium: Medium) -> Clip:
        """Return the clip of a medium, read here if the thread has not begun it. Raises: MediaError: it cannot be
        read.
        """
        with self._lock:
            self._waiting.pop(medium, None)
            started = self._started.pop(medium, None)
        return read_clip(medium, self._budget) if started is None else started.result()

    def _read_next(self) -> None:
        with self._lock:
            medium = next(iter(self._waiting), None)
            if medium is None:
                self._is_reading = False
                return
            del self._waiting[medium]
            clip: Future[Clip] = Future()
            self._started[medium] = clip
        try:
            clip.set_result(read_clip(medium, self._budget))
        except Exception as error:
            clip.set_exception(error)
        with suppress(RuntimeError):  # Python ends
            self._thread.submit(self._read_next)
