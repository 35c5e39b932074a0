"""The one interface of every model that answers, here or behind an address: requests in, completions out."""

from abc import ABC, abstractmethod
from collections.abc import Generator, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, wait
from dataclasses import dataclass, replace
from queue import SimpleQueue
from typing import ClassVar, Literal, Self

from onethinker.core.request import Request, SamplingParams
from onethinker.media.budget import MediaBudget
from onethinker.tasks import Coordinates
from onethinker.tasks.template import PromptTemplate


@dataclass(frozen=True)
class Completion:
    """A model's text with what it cost, and the tokens that it is made of where the engine reports them.

    `seconds` is wall time of the batch that it was part of. The numbers of tokens are 0 where a server that streams
    does not report them. `logprobs` has one log-probability for each of `token_ids`, the token that ends the text
    included, under the model's own distribution: temperature 1, nothing left out. They are there when the sampling
    parameters ask for them and the engine can give them.
    `cached_tokens` are those of the prompt that had been read for the question before.
    """

    text: str
    prompt_tokens: int
    completion_tokens: int
    finish_reason: Literal["stop", "length"]
    seconds: float
    token_ids: tuple[int, ...] | None = None
    logprobs: tuple[float, ...] | None = None
    cached_tokens: int = 0


class Engine(ABC):
    """A model that answers; leaving its context closes it.

    A new kind of engine (a fleet of servers is one, too) is a subclass with these attributes and `submit`; one that
    answers batches inherits from `scheduler.BatchedEngine`.
    """

    name: str
    """What a report calls the model: hub id, folder or address."""
    weights: str | None = None
    """A digest of the weights, where `name` is no folder that holds them."""
    quantization: str | None = None
    """The bits in which the weights are stored, where they are fewer than in its folder."""
    prompt_template: PromptTemplate
    """How a question becomes the text of a message."""
    budget: MediaBudget
    """How much of a picture or video the model is shown."""
    coordinates: Coordinates = "thousandths"
    """What the model counts places in, as its folder or family says; pixels are those of the frames it is shown."""
    max_in_flight: int
    """Requests that are worked on at once: who keeps so many submitted keeps the engine busy."""
    answers_in_batches: ClassVar[bool] = False
    """Whether it answers `max_in_flight` requests as one batch. Rounding then depends on which ones share it, so that
    whoever wants the same texts again submits the same requests together.
    """

    @abstractmethod
    def submit(self, request: Request, params: SamplingParams) -> Future[Completion]:
        """Return at once what will hold the completion, or the EngineError why there is none (never an empty text in
        its place).

        Any thread may submit. More than `max_in_flight` requests wait for their turn.
        """

    def submit_all(self, requests: Sequence[Request], params: SamplingParams) -> list[Future[Completion]]:
        """Return at once what will hold the completions, in order; an engine that batches forms the same batches of
        them each time.
        """
        return [self.submit(request, params) for request in requests]

    def complete(self, requests: Sequence[Request], params: SamplingParams) -> list[Completion]:
        """Return one completion per request, in order, once all are there; the first that fails gives up the others.

        A request without a seed takes that of the parameters plus its index, so that equal requests differ.

        Raises: EngineError
        """
        seeded = [replace(each, seed=each.seed_or(params.seed + index)) for index, each in enumerate(requests)]
        futures = self.submit_all(seeded, params)
        try:
            done, _ = wait(futures, return_when=FIRST_EXCEPTION)
            for future in done:
                future.result()
            return [future.result() for future in futures]
        finally:
            for future in futures:
                future.cancel()

    def stream(self, request: Request, params: SamplingParams) -> Generator[str, None, Completion]:
        """Yield the pieces of one answer while it is generated, and return its completion.

        Joined, they are the completion's text; a think block whose opening tag a server's chat template has written
        lacks that tag. An engine that cannot stream gives the whole text as one piece.

        Raises: EngineError
        """
        pieces: SimpleQueue[str | None] = SimpleQueue()
        future = self.submit(replace(request, on_text=pieces.put), params)
        future.add_done_callback(lambda _: pieces.put(None))
        try:
            count = 0
            while (piece := pieces.get()) is not None:
                count += 1
                yield piece
            completion = future.result()
            if not count:
                yield completion.text
            return completion
        finally:
            future.cancel()

    def close(self) -> None:  # noqa: B027 (most engines hold nothing that has to be given back)
        """Give up what is in flight, and end threads and connections."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
