"""Ask a model about a picture or video: `Thinker` asks, a `Thought` comes back."""

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

from onethinker.core.request import SamplingParams
from onethinker.inference.asking import Prepared, as_thought, ask_in_order, prepare
from onethinker.inference.engine import Completion, Engine
from onethinker.inference.loading import load_engine
from onethinker.inference.question import Asked, Failed, GivenTurn, Question
from onethinker.inference.settings import Quantization
from onethinker.inference.thought import Thought
from onethinker.media.budget import MediaBudget
from onethinker.media.memory import Given
from onethinker.tasks import Coordinates, ReadingMode
from onethinker.tasks.template import PromptTemplate


@dataclass(frozen=True)
class Thinker:
    """A model ready to be asked; `close` it, or use it in a `with` block, to end what its engine has started."""

    engine: Engine
    sampling: SamplingParams = field(default_factory=SamplingParams)
    reading: ReadingMode = "lenient"
    """Whether answers in other forms are repaired ("lenient"), or only the exact form is taken ("strict")."""
    coordinates: Coordinates | None = None
    """What the model counts boxes and points in, None for what its folder or family says; pixels are those of the
    frames that it is shown."""
    strict_media: bool = False
    """Whether damaged media are an error; else what can be read of them is used, and `media_problems` name the rest."""

    @property
    def counts_in(self) -> Coordinates:
        """What boxes and points are asked for and read in."""
        return self.coordinates or self.engine.coordinates

    @classmethod
    def load(
        cls,
        model: str,
        *,
        prompt_template: PromptTemplate | Path | None = None,
        budget: MediaBudget | None = None,
        settings: Path | None = None,
        sampling: SamplingParams | None = None,
        reading: ReadingMode = "lenient",
        coordinates: Coordinates | None = None,
        strict_media: bool = False,
        batch_size: int = 8,
        quantization: Quantization | None = None,
    ) -> "Thinker":
        """Return a thinker for a hub id, a model folder, "tiny", "untrained" or "http://host:8000/v1".

        `prompt_template` (or a TOML file with one) and `budget` replace those that the weights come with; `settings` is
        a model folder whose own are taken, for a model that a server serves. `batch_size` is how many questions a model
        that runs here answers together; `quantization` stores its weights in 8 or 4 bits.

        Raises: EngineError, ConfigError
        """
        words = PromptTemplate.load(prompt_template) if isinstance(prompt_template, Path) else prompt_template
        engine = load_engine(
            model,
            prompt_template=words,
            budget=budget,
            settings=settings,
            batch_size=batch_size,
            quantization=quantization,
        )
        return cls(engine, sampling or SamplingParams(), reading, coordinates, strict_media)

    def ask(
        self,
        source: Given | Sequence[Given] | Thought,
        question: str,
        *,
        task: str | None = None,
        box: Sequence[float] | None = None,
        options: Sequence[str] = (),
        fps: float | None = None,
        earlier: Sequence[GivenTurn] = (),
    ) -> Thought:
        """Return what the model says about a picture or video, or about several.

        `source` is a path, bytes, an open file, a PIL image, a numpy array or torch tensor (RGB; uint8, or floats from
        0 to 1), or a list of these. A picture has the shape (H, W, 3) or (3, H, W), the frames of a video
        (T, H, W, 3) or (T, 3, H, W), `fps` of them a second; with `fps` a list of pictures is the frames of one video.
        It may also be an earlier thought: then the question is about the same media, and the model is told what was
        asked and answered before, without the thinking.

        `task` is a problem type ("spatial grounding", "tracking", …); without one it is guessed from the question, and
        the thought says which. `box` is the target in the first frame, in
        thousandths, for tracking. `options` are the choices of a multiple choice question. `earlier` is
        what was asked and answered before about the same media, where there is no thought of it: pairs of a question
        and its answer.

        Raises: MediaError, EngineError, DataError (no such task), ConfigError (a box that is none).
        """
        prepared = self._prepared(Question(source, question, task, box, options, fps, earlier))
        started_s = time.perf_counter()
        [reply] = self.engine.complete([prepared.request], self.sampling)
        return self._thought(prepared, reply, time.perf_counter() - started_s)

    def ask_many(self, questions: Iterable[Asked], *, task: str | None = None) -> Iterator[Thought | Failed]:
        """Yield what the model says to each question, in order, with as many in flight as the engine takes.

        A question is a pair (source, question), a mapping with the names that `ask` has, or a `Question`; `task` holds
        where none is named, and is guessed without it. One that cannot be asked or answered comes back as
        `Failed` with its error, and the others
        go on. `questions` may be endless: it is read as far ahead as keeps the engine busy. Above temperature 0 each
        is drawn with its own seed, so that equal questions differ.
        """
        return ask_in_order(
            self.engine,
            self.sampling,
            questions,
            task=task,
            prepared_of=self._prepared,
            as_thought=self._thought,
        )

    def stream(
        self,
        source: Given | Sequence[Given] | Thought,
        question: str,
        *,
        task: str | None = None,
        box: Sequence[float] | None = None,
        options: Sequence[str] = (),
        fps: float | None = None,
        earlier: Sequence[GivenTurn] = (),
    ) -> Iterator[str | Thought]:
        """Yield the text in pieces as the model writes it, then the thought, which is what `ask` returns.

        Raises: what `ask` raises; all but an EngineError at once.
        """
        asked = Question(source, question, task, box, options, fps, earlier)
        return self._pieces(self._prepared(asked))

    def _prepared(self, question: Question) -> Prepared:
        return prepare(question, self.engine, coordinates=self.counts_in, strict_media=self.strict_media)

    def _pieces(self, prepared: Prepared) -> Iterator[str | Thought]:
        started_s = time.perf_counter()
        reply = yield from self.engine.stream(prepared.request, self.sampling)
        yield self._thought(prepared, reply, time.perf_counter() - started_s)

    def _thought(self, prepared: Prepared, reply: Completion, answer_s: float) -> Thought:
        return as_thought(
            prepared,
            reply,
            answer_s,
            model=self.engine.name,
            reading=self.reading,
            coordinates=self.counts_in,
        )

    def close(self) -> None:
        """End the engine: its thread, or its connections to a server."""
        self.engine.close()

    def __enter__(self) -> "Thinker":
        """Return the thinker itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the engine."""
        self.close()
