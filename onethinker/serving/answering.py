"""The road of a served question: files decoded elsewhere, words to the engine that batches what waits, a thought."""

import asyncio
import copy
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError, Future
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

from onethinker.core.errors import AnswerError, EngineError, MediaError
from onethinker.core.frames import Clip, main_index
from onethinker.core.request import SamplingParams, Turn
from onethinker.core.sources import TimedFrames
from onethinker.inference.asking import Prepared, as_thought
from onethinker.inference.encode import request_about
from onethinker.inference.engine import Completion
from onethinker.inference.question import question_sample
from onethinker.inference.thinker import Thinker
from onethinker.inference.thought import Thought
from onethinker.media.budget import MediaBudget
from onethinker.media.damage import check_undamaged
from onethinker.media.prefetch import Decoders, default_workers
from onethinker.segmenters.base import ObjectMasks, cut_out, load_segmenter
from onethinker.serving.limits import SERVED_MASK_BUDGET, Limits
from onethinker.serving.schemas import Sampling
from onethinker.serving.uploads import Slot, new_slot
from onethinker.tasks.segmentation import Selection

T = TypeVar("T")
MOST_RETRY_S = 120
LEAST_DECODERS = 4
"""Of a server: with one, as on two cores, a picture waits for its turn longer than it takes to be decoded."""


class BusyError(Exception):
    """As many requests as may wait are waiting; `retry_s` is when it is worth trying again."""

    def __init__(self, retry_s: int) -> None:
        super().__init__(f"too many requests are waiting; try again in {retry_s} s")
        self.retry_s = retry_s


@dataclass(frozen=True)
class Asked:
    """A question whose files are on the disk."""

    question: str
    paths: tuple[Path | TimedFrames, ...]
    task: str | None = None
    box: tuple[float, float, float, float] | None = None
    options: tuple[str, ...] = ()
    turns: tuple[Turn, ...] = ()
    before: str | None = None
    system: str | None = None
    as_it_is: bool = False
    """Whether the words are the whole prompt, because they say themselves what an answer looks like."""
    raw: bool = False
    """Whether that holds of the frames too: they are shown as they were sent, or refused."""
    shown: tuple[int, ...] = ()
    """How many of the files stand before each question, where not all stand before the first."""
    masks: bool = False
    sampling: Sampling = field(default_factory=Sampling)
    max_new_tokens: int | None = None


@dataclass(frozen=True)
class Answered:
    """A thought, and the masks of what it selects, where they were asked for."""

    thought: Thought
    masks: ObjectMasks | None
    mask_s: float


class Answering:
    """Answers questions with one thinker: at most `limits.queue` are worked on or wait."""

    def __init__(self, thinker: Thinker, folder: Path, *, segmenter: str, limits: Limits) -> None:
        """Start what decodes; `folder` is where uploads lie while they are needed."""
        self.thinker, self.limits, self.folder = thinker, limits, folder
        self._segmenter = load_segmenter(segmenter)
        self._cutting = threading.Semaphore(1)
        self.drawing = asyncio.Semaphore(1)
        self.decoders = Decoders(max(LEAST_DECODERS, default_workers()), limits.decoding)
        self.slots: set[Slot] = set()
        self._seconds = 1.0

    def beside(self, thinker: Thinker) -> "Answering":
        """Return what answers with another model; queue, decoders and segmenter are the same."""
        other = copy.copy(self)
        other.thinker, other._seconds = thinker, self._seconds
        return other

    def admit(self) -> Slot:
        """Return a place in the queue. Raises: BusyError: there is none."""
        if len(self.slots) >= self.limits.queue:
            turns = len(self.slots) / max(1, self.thinker.engine.max_in_flight)
            raise BusyError(min(MOST_RETRY_S, max(1, round(turns * self._seconds))))
        slot = new_slot(self.folder)
        self.slots.add(slot)
        return slot

    def release(self, slot: Slot) -> None:
        """Give a place back and delete its files."""
        slot.close()
        self.slots.discard(slot)

    def start(self, asked: Asked, slot: Slot, on_text: Callable[[str], None]) -> asyncio.Task[Answered]:
        """Return the work on a question; it gives its slot back at its end, whatever that is."""

        async def work() -> Answered:
            try:
                return await self.answer(asked, on_text)
            finally:
                await asyncio.to_thread(slot.close)  # the disk may take its time

        task = asyncio.get_running_loop().create_task(work())
        task.add_done_callback(lambda _: self.release(slot))
        return task

    async def answer(self, asked: Asked, on_text: Callable[[str], None]) -> Answered:
        """Return what the model says; cancelled, it stops the model at its next token.

        Raises: MediaError, DataError, ConfigError, EngineError.
        """
        started_s = time.perf_counter()
        clips = await self._decoded(asked)
        decode_s = time.perf_counter() - started_s
        unwanted = threading.Event()
        prepared = await asyncio.to_thread(self._prepare, asked, clips, decode_s, on_text, unwanted)
        params = self._params(asked)
        asked_s = time.perf_counter()
        try:
            reply = await _result(self.thinker.engine.submit(prepared.request, params))
        finally:
            unwanted.set()
        answer_s = time.perf_counter() - asked_s
        self._seconds += 0.2 * (answer_s - self._seconds)
        thought = await asyncio.to_thread(self._thought, prepared, reply, answer_s)
        asked_s = time.perf_counter()
        masks = await self._masks(asked, thought)
        return Answered(thought, masks, time.perf_counter() - asked_s)

    async def decode(self, path: Path | TimedFrames, budget: MediaBudget) -> Clip:
        """Return what a budget shows of a file. Raises: MediaError, EngineError: the server is ending."""
        return await _result(self.decoders.submit(path, budget))

    def close(self) -> None:
        """End the processes that decode."""
        self.decoders.__exit__()

    async def _decoded(self, asked: Asked) -> tuple[Clip, ...]:
        """Return what the model sees of the files. Raises: MediaError: one cannot be read, or they are too much."""
        if not asked.paths:
            raise MediaError("give a picture or a video to ask about")
        if len(asked.paths) > self.limits.media:
            raise MediaError(f"at most {self.limits.media} files in one request, got {len(asked.paths)}")
        budget, clips = self.thinker.engine.budget, list[Clip]()
        for path in asked.paths:
            clips.append(await self.decode(path, budget))
            self._check(clips)
            if asked.raw:
                _check_as_sent(clips[-1], path)
        if self.thinker.strict_media:
            check_undamaged(clips, asked.paths)
        return tuple(clips)

    def _check(self, clips: Sequence[Clip]) -> None:
        videos = sum(clip.kind == "video" for clip in clips)
        for kind, count, most in (
            ("videos", videos, self.limits.videos),
            ("pictures", len(clips) - videos, self.limits.pictures),
            ("bytes of frames", sum(clip.frames.nbytes for clip in clips), self.limits.decoded_bytes),
        ):
            if count > most:
                raise MediaError(f"at most {most} {kind} in one request, got {count}")

    def _prepare(
        self,
        asked: Asked,
        clips: tuple[Clip, ...],
        decode_s: float,
        on_text: Callable[[str], None],
        unwanted: threading.Event,
    ) -> Prepared:
        started_s = time.perf_counter()
        sample = question_sample(
            clips,
            asked.question,
            task=asked.task,
            box=asked.box,
            options=asked.options,
            before=asked.before,
            earlier=asked.turns,
        )
        request = request_about(
            sample,
            clips,
            self.thinker.engine.prompt_template,
            coordinates=self.thinker.counts_in,
            seed=asked.sampling.seed,
        )
        request = replace(
            request,
            text=asked.question if asked.as_it_is else request.text,
            system=asked.system or (None if asked.raw else request.system),
            earlier=asked.turns,
            shown=asked.shown,
            on_text=on_text,
            is_unwanted=unwanted.is_set,
        )
        return Prepared(sample, clips, request, decode_s, time.perf_counter() - started_s)

    def _params(self, asked: Asked) -> SamplingParams:
        own, given = self.thinker.sampling, asked.sampling
        return replace(
            own,
            temperature=own.temperature if given.temperature is None else given.temperature,
            top_p=own.top_p if given.top_p is None else given.top_p,
            max_new_tokens=asked.max_new_tokens or own.max_new_tokens,
        )

    def _thought(self, prepared: Prepared, reply: Completion, answer_s: float) -> Thought:
        return as_thought(
            prepared,
            reply,
            answer_s,
            model=served_name(self.thinker),
            reading=self.thinker.reading,
            coordinates=self.thinker.counts_in,
        )

    async def _masks(self, asked: Asked, thought: Thought) -> ObjectMasks | None:
        """Return the masks of what a segmentation selects, at the size of the source; None for other answers."""
        if not asked.masks or not isinstance(thought.answer, Selection):
            return None
        path = asked.paths[main_index(thought.clips)]
        clip = await self.decode(path, SERVED_MASK_BUDGET)
        return await asyncio.to_thread(self._cut, clip, thought.answer, thought.question)

    def _cut(self, clip: Clip, selection: Selection, question: str) -> ObjectMasks | None:
        with self._cutting:
            try:
                return cut_out(self._segmenter, clip, selection, question=question)
            except AnswerError:  # a moment that the clip does not have, a box without area
                return None


def _check_as_sent(clip: Clip, sent: Path | TimedFrames) -> None:
    """Raise MediaError for a medium of which the budget shows less than was sent, or in another size."""
    count = len(sent.names) if isinstance(sent, TimedFrames) else 1
    if (len(clip.frames), clip.width, clip.height) != (count, clip.source_width, clip.source_height):
        raise MediaError(
            f"{sent.name}: with raw, frames are shown as sent, but this server's media budget would turn the {count}"
            f" frames of {clip.source_width} x {clip.source_height} into {len(clip.frames)} of {clip.width} x"
            f" {clip.height}: prepare frames with the budget in GET /v1/models, or start the server with the client's"
            " budget"
        )


def served_name(thinker: Thinker) -> str:
    """Return what clients call the model: a folder's own name, without its place on this machine or that behind it."""
    name = getattr(thinker.engine, "model", None)
    if isinstance(name, str):
        return Path(name).name if name.startswith("/") else name
    return Path(thinker.engine.name).name if Path(thinker.engine.name).is_dir() else thinker.engine.name


async def _result(future: Future[T]) -> T:
    """Return what a future of another thread comes to; cancelled here, it is cancelled there. Raises: EngineError: it
    was given up.
    """
    try:
        return await asyncio.wrap_future(future)
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise
        raise EngineError("the server is shutting down") from None
    except CancelledError:
        raise EngineError("the server is shutting down") from None
