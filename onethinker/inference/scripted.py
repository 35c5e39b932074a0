"""An engine that says what it was told to say, for tests and demonstrations without a model."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from onethinker.core.errors import EngineError
from onethinker.core.request import Request, SamplingParams
from onethinker.inference.engine import Completion
from onethinker.media.budget import MediaBudget
from onethinker.tasks.template import Wording


@dataclass(frozen=True)
class ScriptedEngine:
    """Answers the first request of a batch with the first text, the second with the second, and starts again at the
    end.
    """

    answers: Sequence[str]
    wording: Wording = field(default_factory=Wording)
    budget: MediaBudget = field(default_factory=MediaBudget)
    name: str = "scripted"

    def __post_init__(self) -> None:
        if not self.answers:
            raise EngineError("a scripted engine needs at least one answer")

    def answer(self, requests: Sequence[Request], sampling: SamplingParams) -> list[Completion]:
        """Return one reply per request, in order; words count as tokens, and a text is cut at `max_new_tokens` of them.

        >>> ScriptedEngine(["yes", "no"]).answer([Request("a"), Request("b"), Request("c")], SamplingParams())[2].text
        'yes'
        """
        return [_reply(request, self.answers[n % len(self.answers)], sampling) for n, request in enumerate(requests)]


def _reply(request: Request, text: str, sampling: SamplingParams) -> Completion:
    words = text.split()
    if len(words) <= sampling.max_new_tokens:
        return Completion(text, len(request.text.split()), len(words), "stop", 0.0)
    return Completion(
        " ".join(words[: sampling.max_new_tokens]), len(request.text.split()), sampling.max_new_tokens, "length", 0.0
    )
