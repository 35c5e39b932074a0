"""What a model is asked: one user message, and how its answer is sampled."""

from collections.abc import Callable
from dataclasses import dataclass, field

from onethinker.core.errors import ConfigError
from onethinker.core.frames import Clip


@dataclass(frozen=True)
class Turn:
    """What was asked before, and what was answered; `learn` is whether training learns this answer."""

    question: str
    answer: str
    learn: bool = False


@dataclass(frozen=True)
class Request:
    """One user message: media first, then the complete text (question, options, instructions).

    The `earlier` turns of a conversation stand between media and text, so that all its requests begin with the same
    media; `shown` says for each question, the last one included, how many of the media stand before it instead.
    `seed` is what the answer is drawn with, in place of the sampling parameters' own. `on_text` is handed each
    further piece of the answer while it is generated, in the engine's own thread, by engines that can stream.
    `is_unwanted` is asked there, after each token, whether nobody waits for this answer any more: it then ends.
    """

    text: str
    media: tuple[Clip, ...] = ()
    system: str | None = None
    seed: int | None = None
    on_text: Callable[[str], None] | None = field(default=None, compare=False, repr=False)
    earlier: tuple[Turn, ...] = ()
    shown: tuple[int, ...] = ()
    is_unwanted: Callable[[], bool] | None = field(default=None, compare=False, repr=False)

    def seed_or(self, default: int) -> int:
        """Return the seed that the answer is drawn with."""
        return default if self.seed is None else self.seed


@dataclass(frozen=True)
class SamplingParams:
    """How an answer is drawn; temperature 0 is greedy. Raises: ConfigError: a number that means nothing.

    `logprobs` asks for the tokens of the answer and their log-probabilities, which change nothing about it.
    """

    max_new_tokens: int = 4096
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 0
    logprobs: bool = False

    def __post_init__(self) -> None:
        if self.max_new_tokens < 1:
            raise ConfigError(f"max_new_tokens must be at least 1, got {self.max_new_tokens}")
        if not 0 <= self.temperature < float("inf"):
            raise ConfigError(f"temperature must be 0 or more and finite, got {self.temperature:g}")
        if not 0 < self.top_p <= 1:
            raise ConfigError(f"top_p must be more than 0 and at most 1, got {self.top_p:g}")
        if self.seed < 0:
            raise ConfigError(f"seed must be 0 or more, got {self.seed}")
