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
from onethinker.tasks.scripts import has_other_letters, runs

if TYPE_CHECKING:
    from rouge_score.rouge_scorer import RougeScorer

LONGEST = 20_000
"""Characters; a long caption has 2,000, and the time for ROUGE-L grows with the length of both texts."""
KINDS = {"ROUGE-1": "rouge1", "ROUGE-2": "rouge2", "ROUGE-L": "rougeL"}


@cache
def _scorer() -> "RougeScorer":
    from rouge_score.rouge_scorer import RougeScorer

    return RougeScorer(list(KINDS.values()), use_stemmer=True)


class _Words:
    """The words of a text in any script, those in Latin letters as rouge-score takes them."""

    def __init__(self) -> None:
        from rouge_score.tokenizers import DefaultTokenizer

        self._latin = DefaultTokenizer(use_stemmer=True)

    def tokenize(self, text: str) -> list[str]:
        return [word for run, is_word in runs(text) for word in ([run] if is_word else self._latin.tokenize(run))]


@cache
def _scorer_of_scripts() -> "RougeScorer":
    from rouge_score.rouge_scorer import RougeScorer

    return RougeScorer(list(KINDS.values()), tokenizer=_Words())


def rouge(answer: str, truth: str) -> dict[str, float]:
    """Return the F values of ROUGE-1, ROUGE-2 and ROUGE-L on stemmed English words, each 0 to 1.

    Words in other letters than Latin ones count as they are, and of scripts without spaces each character. Texts that
    differ in case and white space alone have 1 throughout: the library sees no pairs in a single word.

    >>> rouge("a red ball", "A red ball")["ROUGE-2"]
    1.0
    >>> round(rouge("一只狗在跑", "一只猫在跑")["ROUGE-1"], 3)
    0.8
    """
    if answer.lower().split() == truth.lower().split():
        return dict.fromkeys(KINDS, 1.0)
    scorer = _scorer_of_scripts() if has_other_letters(answer + " " + truth) else _scorer()
    scores = scorer.score(truth, answer)
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
