"""What every grader of free text outside this process is: asked in the background, closed, and failing closed.

It sees the question, the reference and the answers, never the media; a group of answers has a score for each, or an
EngineError that names why there is none.
"""

from collections.abc import Sequence
from concurrent.futures import Future
from typing import Protocol

from onethinker.inference.chat import plain_text
from onethinker.inference.connection import Connection
from onethinker.inference.endpoint import Endpoint
from onethinker.rewards.config import JudgeSettings

TRIAL = ("What colour is the ball?", "The ball is red.", ("It is a red ball.", "The ball is green."))
"""What the model is asked before a run begins, so that a wrong address, name or key stops it while nothing is lost."""


class AnswerGrader(Protocol):
    """Scores answers in free text; entry points of the group `onethinker.graders` name what makes one of settings."""

    @property
    def name(self) -> str:
        """How scores are named in grades and errors."""

    def submit(self, question: str, truth: str, answers: Sequence[str]) -> Future[list[float]]:
        """Return what will hold a score of 0 to 1 for each answer to a question, in order, or the EngineError why there
        is none.
        """

    def try_out(self) -> None:
        """Do nothing where it can be used. Raises: EngineError."""

    def close(self) -> None:
        """Drop the requests in flight."""


class Served:
    """A model behind an address, asked in a thread that starts with the first question."""

    def __init__(self, settings: JudgeSettings) -> None:
        self.settings = settings
        endpoint = Endpoint(
            settings.address.rstrip("/"),
            key_variable=settings.key_variable,
            max_in_flight=settings.max_concurrent,
            max_tries=settings.max_tries,
            first_wait_s=settings.first_wait_s,
            timeout_s=settings.timeout_s,
            patience_s=settings.patience_s,
        )
        self._connection = Connection(endpoint)

    def close(self) -> None:
        """Give up what is in flight and end the thread."""
        self._connection.close()


def sendable(text: str) -> str:
    """Return a text in which nothing spells a special token and halves of characters, which no server reads, are
    question marks.
    """
    return plain_text(text.encode("utf-8", "replace").decode())
