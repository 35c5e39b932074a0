"""OCR: the text that stands in a picture or video, better the fewer words are wrong.

"What does the sign say?" -> No entry after 10 pm
"""

from onethinker.core.errors import AnswerError
from onethinker.core.frames import Clip
from onethinker.drawing.draw import draw_caption
from onethinker.tasks.base import Reader, RewardScheme, Score, Task
from onethinker.tasks.lenient.words import repair_text
from onethinker.tasks.scripts import words

LONGEST = 20_000
"""Characters; a dense page has 5,000."""


def word_accuracy(answer: str, truth: str) -> float:
    """Return 1 − word error rate, at least 0: the error rate counts words to insert, delete or replace a word of the
    truth.

    A character of a script without spaces is a word: among such the rate is the character error rate.

    >>> word_accuracy("No entry before 10 pm", "No entry after 10 pm")
    0.8
    >>> word_accuracy("禁止 进入", "禁止进入")
    1.0
    """
    from rapidfuzz.distance import Levenshtein

    found, wanted = words(answer), words(truth)
    return max(0.0, 1 - Levenshtein.distance(found, wanted) / len(wanted))


class Ocr(Task[str]):
    """A transcription, word by word; case and punctuation count."""

    problem_type = "ocr"
    key = problem_type
    instructions = "Answer with the text exactly as it is written in the picture or video, and nothing else."
    example = "No entry after 10 pm"
    metrics = ("1-WER",)

    def parse(self, text: str, options: tuple[str, ...] = ()) -> str:
        """Return the text. Raises: AnswerError: there is none, or too much."""
        if not any(letter.isprintable() and not letter.isspace() for letter in text):
            raise AnswerError("expected a transcription, got nothing")
        if len(text) > LONGEST:
            raise AnswerError(f"expected at most {LONGEST} characters, got {len(text)}")
        return text.strip()

    def repair(self, text: str, options: tuple[str, ...], reader: Reader, repairs: list[str]) -> str:
        """Return the text without the code fence or the JSON around it and without quotes."""
        return repair_text(text, repairs, quotes=True)

    def score(self, answer: str, truth: str, reward_scheme: RewardScheme) -> Score:
        """Return 1 − word error rate."""
        accuracy = word_accuracy(answer, truth)
        return Score(accuracy, {"1-WER": accuracy})

    def draw(self, clip: Clip, answer: str) -> Clip:
        """Return the clip with the text written below."""
        return draw_caption(clip, answer)
