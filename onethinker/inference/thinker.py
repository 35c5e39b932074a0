"""Ask a model about a picture or video: `Thinker` asks, a `Thought` comes back."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

from onethinker.core.errors import ConfigError
from onethinker.core.frames import Clip
from onethinker.core.geometry import Box
from onethinker.core.request import SamplingParams
from onethinker.core.sample import Sample
from onethinker.core.sources import Source
from onethinker.inference.encode import build_request
from onethinker.inference.engine import Completion, Engine
from onethinker.inference.loading import load_engine
from onethinker.inference.thought import Thought, Timing
from onethinker.media.budget import MediaBudget
from onethinker.media.reading import read_clip
from onethinker.tasks import Coordinates, Reader, Reading, ReadingMode, find_task, read_response, task_of
from onethinker.tasks.template import PromptTemplate


@dataclass(frozen=True)
class Thinker:
    """A model ready to be asked; `close` it, or use it in a `with` block, to end what its engine has started."""

    engine: Engine
    sampling: SamplingParams = field(default_factory=SamplingParams)
    reading: ReadingMode = "lenient"
    """Whether answers in other forms are repaired ("lenient"), or only the exact form is taken ("strict")."""
    coordinates: Coordinates = "thousandths"
    """What the model counts places in; pixels are those of the frames that it is shown."""

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
        coordinates: Coordinates = "thousandths",
    ) -> "Thinker":
        """Return a thinker for a hub id, a model folder, "tiny" or "http://host:8000/v1".

        `prompt_template` (or a TOML file with one) and `budget` replace those that the weights come with; `settings` is
        a model folder whose own are taken, for a model that a server serves.

        Raises: EngineError, ConfigError
        """
        words = PromptTemplate.load(prompt_template) if isinstance(prompt_template, Path) else prompt_template
        engine = load_engine(model, prompt_template=words, budget=budget, settings=settings)
        return cls(engine, sampling or SamplingParams(), reading, coordinates)

    def ask(
        self,
        source: Path | str | Clip | Source,
        question: str,
        *,
        task: str = "open-ended",
        box: Sequence[float] | None = None,
        options: Sequence[str] = (),
    ) -> Thought:
        """Return what the model says about a picture or video.

        `task` is a problem type ("spatial grounding", "tracking", …). `box` is the target in the first frame, in
        thousandths, for tracking. `options` are the choices of a multiple choice question.

        Raises: MediaError, EngineError, DataError (no such task), ConfigError (a box that is none).
        """
        started_s = time.perf_counter()
        media = Path(source) if isinstance(source, str) else source
        clip = read_clip(media, self.engine.budget)
        decoded_s = time.perf_counter()
        sample = question_sample(clip, question, task=task, box=box, options=options)
        request = build_request(sample, self.engine.prompt_template, self.engine.budget)
        built_s = time.perf_counter()
        [reply] = self.engine.complete([request], self.sampling)
        timing = Timing(decoded_s - started_s, built_s - decoded_s, time.perf_counter() - built_s)
        frame_px = (clip.width, clip.height) if self.coordinates == "pixels" else None
        reading, problems = understand(reply, sample, Reader(self.reading, frame_px, reply.finish_reason == "length"))
        return Thought(
            question=sample.problem,
            task=sample.problem_type,
            text=reply.text,
            thinking=reading.thinking,
            answer_text=reading.text,
            answer=reading.answer,
            problems=problems,
            timing=timing,
            reply=reply,
            source=media,
            clip=clip,
            model=self.engine.name,
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


def question_sample(
    clip: Clip, question: str, *, task: str, box: Sequence[float] | None = None, options: Sequence[str] = ()
) -> Sample:
    """Return a question typed by a user as the record that every stage takes. Raises: DataError, ConfigError."""
    problem_type = find_task(task, clip.kind).problem_type
    problem = question if box is None else with_first_box(question, check_box(box))
    return Sample("ask", problem, problem_type, clip.kind, (clip,), options=tuple(options))


def with_first_box(question: str, box: Box) -> str:
    """Return a tracking question that says where its target is in the first frame.

    >>> with_first_box("Track the white convertible.", Box(537, 403, 768, 703))
    'Track the white convertible at [537,403,768,703].'
    """
    return f"{question.strip().removesuffix('.')} at [{','.join(f'{side:g}' for side in box)}]."


def understand(reply: Completion, sample: Sample, reader: Reader) -> tuple[Reading, tuple[str, ...]]:
    """Return a reply as its task reads it, and all that is wrong."""
    problems = [f"the answer was cut at {reply.completion_tokens} tokens"] if reply.finish_reason == "length" else []
    reading = read_response(reply.text, task_of(sample), sample.options, reader)
    return reading, (*problems, *reading.reasons)


def check_box(box: Sequence[float]) -> Box:
    """Return a box typed by a user. Raises: ConfigError: it is none in thousandths."""
    if len(box) != 4 or not all(0 <= side <= 1000 for side in box) or box[0] >= box[2] or box[1] >= box[3]:
        raise ConfigError(
            f"box must be left, top, right, bottom in thousandths of the frame (0 to 1000), got {tuple(box)}"
        )
    if max(box) <= 1:
        raise ConfigError(
            f"box must be in thousandths of the frame, and {tuple(box)} is smaller than one: multiply shares of 0 to 1"
            f" by 1000, as in {' '.join(f'{side * 1000:g}' for side in box)}"
        )
    return Box(*box)
