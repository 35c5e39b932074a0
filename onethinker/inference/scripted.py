"""An engine that says what it was told to say, for tests, and for trying everything out before a model is loaded."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from itertools import count

from onethinker.core.errors import EngineError
from onethinker.core.request import Request, SamplingParams
from onethinker.inference.engine import Completion, Engine
from onethinker.media.budget import MediaBudget
from onethinker.tasks import Coordinates, all_tasks
from onethinker.tasks.template import PromptTemplate

SCRIPTED = "scripted"
"""The model that looks at nothing and answers each question with the example of its task: for a dry run."""


@dataclass(frozen=True)
class ScriptedEngine(Engine):
    """Answers the first request with the first text, the second with the second, and starts again at the end; or each
    with what a function says about it.
    """

    answers: Sequence[str] | Callable[[Request], str]
    prompt_template: PromptTemplate = field(default_factory=PromptTemplate)
    budget: MediaBudget = field(default_factory=MediaBudget)
    name: str = SCRIPTED
    max_in_flight: int = 1
    coordinates: Coordinates = "thousandths"
    _turns: Iterator[int] = field(init=False, repr=False, compare=False, default_factory=count)

    def __post_init__(self) -> None:
        if not self.answers:
            raise EngineError("a scripted engine needs at least one answer")

    def submit(self, request: Request, params: SamplingParams) -> Future[Completion]:
        """Return the completion; words count as tokens, and a text is cut at `max_new_tokens` of them.

        >>> ScriptedEngine(["yes", "no"]).complete([Request("a"), Request("b"), Request("c")], SamplingParams())[2].text
        'yes'
        """
        answers = self.answers
        text = answers(request) if callable(answers) else answers[next(self._turns) % len(answers)]
        words, limit = text.split(), params.max_new_tokens
        future: Future[Completion] = Future()
        if len(words) <= limit:
            future.set_result(Completion(text, len(request.text.split()), len(words), "stop", 0.0))
        else:
            future.set_result(Completion(" ".join(words[:limit]), len(request.text.split()), limit, "length", 0.0))
        return future


def example_answer(request: Request) -> str:
    """Return a right form for any question: the example of the task whose instructions are in it, "A" where none are.

    >>> from onethinker.tasks import find_task
    >>> example_answer(Request("How many? " + find_task("numerical", "image").instructions))
    '<think>This answer is scripted.</think><answer>12</answer>'
    """
    examples = [task.example for task in all_tasks() if task.instructions.removesuffix(task.units) in request.text]
    return f"<think>This answer is scripted.</think><answer>{examples[0] if examples else 'A'}</answer>"
