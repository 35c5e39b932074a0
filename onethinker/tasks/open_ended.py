"""Open-ended questions and captions: free text, better the more of its words and their order are those of the
reference.

"Describe the video." -> A red ball rolls across the floor and hits a blue box.
"""

from functools import cache
from typing import TYPE_CHECKING

from onethinker.core.errors import AnswerError
from onethinker.core.frames import Clip
from onethinker.drawing.draw import draw_caption
from onethinker.tasks.base import Reader, RewardScheme, Score, Task
from onethinker.tasks.lenient.words import repair_text

if TYPE_CHECKING:
    from rouge_score.rouge_scorer import RougeScorer

LONGEST = 20_000
"""Characters; a long caption has 2,000, and the time for ROUGE-L grows with the length of both texts."""
KINDS = {"ROUGE-1": "rouge1", "ROUGE-2": "rouge2", "ROUGE-L": "rougeL"}


@cache
def _scorer() -> "RougeScorer":
    from rouge_score.rouge_scorer import RougeScorer

    return RougeScorer(list(KINDS.values()), use_stemmer=True)


def rouge(answer: str, truth: str) -> dict[str, float]:
    """Return the F values of ROUGE-1, ROUGE-2 and ROUGE-L on stemmed English words, each 0 to 1.

    Texts that differ in case and white space alone have 1 throughout, whatever their script or length: the library
    sees neither pairs in a single word nor words in other scripts.

    >>> rouge("a red ball", "A red ball")["ROUGE-2"]
    1.0
    """
    if answer.lower().split() == truth.lower().split():
        return dict.fromkeys(KINDS, 1.0)
    scores = _scorer().score(truth, answer)
    return {name: float(scores[kind].fmeasure) for name, kind in KINDS.items()}


class OpenEnded(Task[str]):
    """Free text; captions of pictures and videos too."""

    problem_type = "open-ended"
    key = problem_type
    instructions = "Answer in plain sentences, and say no more than was asked for."
    example = "A red ball rolls across the floor and hits a blue box."
    metrics = tuple(KINDS)
    judged = True

    def parse(self, text: str, options: tuple[str, ...] = ()) -> str:
        """Return the text. Raises: AnswerError: there is none, or too much."""
        if not text.strip():
            raise AnswerError("expected some text, got nothing")
        if len(text) > LONGEST:
            raise AnswerError(f"expected at most {LONGEST} characters, got {len(text)}")
        return text.strip()

    def repair(self, text: str, options: tuple[str, ...], reader: Reader, repairs: list[str]) -> str:
        """Return the text without the code fence or the JSON around it."""
        return repair_text(text, repairs, quotes=False)

    def score(self, answer: str, truth: str, reward_scheme: RewardScheme) -> Score:
        """Return the three ROUGE values, and their mean as the accuracy."""
        values = rouge(answer, truth)
        return Score(sum(values.values()) / len(values), values)

    def draw(self, clip: Clip, answer: str) -> Clip:
        """Return the clip with the text written below."""
        return draw_caption(clip, answer)
