"""The road of a user's question: media and words to a request, a reply to a thought, and many of them in flight."""

import re
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import CancelledError, Future
from dataclasses import dataclass, replace
from itertools import islice

from onethinker.core.errors import ConfigError, EngineError, OneThinkerError
from onethinker.core.frames import Clip
from onethinker.core.request import Request, SamplingParams, Turn
from onethinker.core.sample import Medium, Sample
from onethinker.inference.encode import request_about
from onethinker.inference.engine import Completion, Engine
from onethinker.inference.in_flight import MAX_BYTES_IN_FLIGHT, batch_size
from onethinker.inference.question import Asked, Failed, Question, as_question, question_sample
from onethinker.inference.thought import Thought, Timing
from onethinker.media.damage import check_undamaged
from onethinker.media.memory import as_media
from onethinker.media.reading import read_clip
from onethinker.tasks import Coordinates, Reader, ReadingMode, read_response, task_of
from onethinker.tasks.pixels import frame_px_of, sample_to_px
from onethinker.tasks.template import options_text

_THINKING = re.compile(r"\A.*</\s*think(?:ing)?\s*>|<\s*think(?:ing)?\s*>.*\Z", re.IGNORECASE | re.DOTALL)


@dataclass(frozen=True, eq=False)
class Prepared:
    """A question whose media have been read, ready to be submitted."""

    sample: Sample
    media: tuple[Medium, ...]
    request: Request
    decode_s: float
    prompt_s: float

    @property
    def nbytes(self) -> int:
        """Bytes of its frames."""
        return sum(clip.frames.nbytes for clip in self.request.media)


def prepare(question: Question, engine: Engine, *, coordinates: Coordinates, strict_media: bool) -> Prepared:
    """Return a question as the engine wants it, its box in these coordinates.

    Raises: MediaError (of damaged media too if these are strict), DataError, ConfigError.
    """
    started_s = time.perf_counter()
    turns = question.turns
    if isinstance(question.source, Thought):
        before, media = question.source, question.source.sources
        if turns:
            raise ConfigError(
                "earlier: a thought already contains its earlier questions; to give other ones, pass the media instead"
                " of the thought"
            )
        turns = before.turns
    else:
        before, media = None, as_media(question.source, fps=question.fps)
    clips = _clips(media, engine, before)
    if strict_media:
        check_undamaged(clips, media)
    decoded_s = time.perf_counter()
    sample = question_sample(
        clips,
        question.question,
        task=question.task,
        box=question.box,
        options=question.options,
        before=before.task if before is not None else None,
        earlier=turns,
    )
    request = request_about(sample, clips, engine.prompt_template, coordinates=coordinates)
    request = replace(request, earlier=turns)
    return Prepared(sample, media, request, decoded_s - started_s, time.perf_counter() - decoded_s)


def _clips(media: Sequence[Medium], engine: Engine, before: Thought | None) -> tuple[Clip, ...]:
    """Return media as the engine is shown them; those of a thought of the same model have been read already."""
    if before is not None and before.model == engine.name:
        return before.clips
    return tuple(read_clip(medium, engine.budget) for medium in media)


def as_thought(
    prepared: Prepared,
    reply: Completion,
    answer_s: float,
    *,
    model: str,
    reading: ReadingMode,
    coordinates: Coordinates,
) -> Thought:
    """Return a reply as its task reads it; pixels are those of the frames that the answer is about."""
    clips, is_cut = prepared.request.media, reply.finish_reason == "length"
    frame_px = frame_px_of(clips, coordinates)
    reader = Reader(reading, frame_px, is_cut)
    read = read_response(reply.text, task_of(prepared.sample), prepared.sample.options, reader)
    return Thought(
        question=prepared.sample.problem,
        task=prepared.sample.problem_type,
        text=reply.text,
        thinking=read.thinking,
        answer_text=read.text,
        answer=read.answer,
        problems=(*([f"the answer was cut at {reply.completion_tokens} tokens"] if is_cut else []), *read.reasons),
        timing=Timing(prepared.decode_s, prepared.prompt_s, answer_s),
        reply=reply,
        sources=prepared.media,
        clips=clips,
        model=model,
        frame_px=frame_px,
        turns=(*prepared.request.earlier, *_turn(sample_to_px(prepared.sample, frame_px), reply.text)),
    )


def _turn(sample: Sample, text: str) -> list[Turn]:
    """Return a question and the answer after the thinking; nothing where there is none."""
    answer = _THINKING.sub("", text).strip()
    return [Turn(sample.problem + options_text(sample), answer)] if answer else []


def ask_in_order(
    engine: Engine,
    sampling: SamplingParams,
    questions: Iterable[Asked],
    *,
    task: str | None,
    prepared_of: Callable[[Question], Prepared],
    as_thought: Callable[[Prepared, Completion, float], Thought],
) -> Iterator[Thought | Failed]:
    """Yield what the model says to each question, in order, or why it says nothing.

    What has been answered is yielded before more is read, and one batch is ahead of the one that is being answered.
    """
    size, rest, index = batch_size(engine), iter(questions), 0
    window: deque[_InFlight] = deque()
    is_over = False
    try:
        while window or not is_over:
            has_room = (
                len(window) + size <= 2 * engine.max_in_flight
                and sum(each.nbytes for each in window) <= MAX_BYTES_IN_FLIGHT
            )
            if window and (is_over or not has_room or window[0].is_done):
                yield window.popleft().outcome(engine.name, as_thought)
                continue
            batch = list(islice(rest, size))
            window.extend(_submitted(batch, engine, sampling, task=task, index=index, prepared_of=prepared_of))
            index, is_over = index + len(batch), len(batch) < size
    finally:
        for each in window:
            each.future.cancel()


@dataclass(eq=False)
class _InFlight:
    """A question that has been submitted, or the error why it was not."""

    question: Question
    prepared: Prepared | None
    future: Future[Completion]
    submitted_s: float
    answered_s: float = 0.0

    def __post_init__(self) -> None:
        self.future.add_done_callback(self._note)

    def _note(self, _: object) -> None:
        self.answered_s = time.perf_counter()

    @property
    def is_done(self) -> bool:
        return self.future.done()

    @property
    def nbytes(self) -> int:
        return self.prepared.nbytes if self.prepared is not None else 0

    def outcome(self, model: str, as_thought: Callable[[Prepared, Completion, float], Thought]) -> Thought | Failed:
        try:
            reply = self.future.result()
        except CancelledError:
            return Failed(self.question, EngineError(f"{model}: the engine was closed before the answer"))
        except OneThinkerError as error:
            return Failed(self.question, error)
        assert self.prepared is not None
        return as_thought(self.prepared, reply, self.answered_s - self.submitted_s)


def _submitted(
    asked: Sequence[Asked],
    engine: Engine,
    sampling: SamplingParams,
    *,
    task: str | None,
    index: int,
    prepared_of: Callable[[Question], Prepared],
) -> list[_InFlight]:
    """Return some questions once they have been submitted together; `index` is that of the first."""
    ready: list[tuple[Question, Prepared | OneThinkerError]] = []
    for each in asked:
        question = Question((), "", task)
        try:
            question = as_question(each, task=task)
            ready.append((question, prepared_of(question)))
        except OneThinkerError as error:
            ready.append((question, error))
    requests = [
        replace(prepared.request, seed=sampling.seed + index + position)
        for position, (_, prepared) in enumerate(ready)
        if isinstance(prepared, Prepared)
    ]
    started_s = time.perf_counter()
    try:
        futures = iter(engine.submit_all(requests, sampling))
    except EngineError as error:
        futures = iter([_failed(error) for _ in requests])
    return [
        _InFlight(question, prepared, next(futures), started_s)
        if isinstance(prepared, Prepared)
        else _InFlight(question, None, _failed(prepared), started_s)
        for question, prepared in ready
    ]


def _failed(error: OneThinkerError) -> Future[Completion]:
    future: Future[Completion] = Future()
    future.set_exception(error)
    return future
