r"""MMMU's questions without options: the answer in free text, by MMMU's own rule and by that of the paper's numbers.

MMMU       the words of a right answer stand in the response, or a number of it, to two decimals ("8.4 V" for 8.4)
paper      VLMEvalKit's choice between "A", the right answer, and "B", "Other Answers"

Source: MMMU, utils/eval_utils.py; release, VLMEvalKit/vlmeval/dataset/utils/multiple_choice.py (MMMU_preproc) and
utils/matching_util.py.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace

from onethinker.core.sample import Sample
from onethinker.tasks import Reader, find_task, read_response, task_of
from onethinker.tasks.base import RewardScheme
from onethinker.tasks.grading import Grade, judged_grade
from onethinker.tasks.math.expressions import fold_expression
from onethinker.tasks.mathematics import Mathematics

PAPER = "accuracy (paper)"
OTHER_ANSWERS = "other answers"
_KEYS = ("could be ", "so ", "is ", "thus ", "therefore ", "final ", "answer ", "result ")
"""Words behind which MMMU's scorer looks for an answer; in the last line "=" too."""
_NUMBERS = re.compile(
    r"-?\b\d{1,3}(?:,\d{3})+\b|-?\d+(?:\.\d+)?e[+-]?\d+|-?(?:\d+\.\d+|\.\d+|\d+\b)(?!e[+-]?\d)(?![,\d])"
)


def with_any_answer(grade: Grade, sample: Sample, response: str, reader: Reader, reward_scheme: RewardScheme) -> Grade:
    """Return the grade of a question with several right answers: by MMMU's rule, and by the paper's under `PAPER`.

    Other questions keep theirs.
    """
    if not sample.answers:
        return grade
    answer = read_response(response, task_of(sample), sample.options, reader).answer
    text = answer if isinstance(answer, str) else ""
    is_right = bool(text) and is_any_of(text, sample.answers)
    graded = judged_grade(grade, float(is_right), task=task_of(sample), reward_scheme=reward_scheme, by="MMMU's rule")
    is_chosen = bool(text) and any(chooses(text, right) for right in sample.answers)
    return replace(graded, metrics={**graded.metrics, "accuracy": float(is_right), PAPER: float(is_chosen)})


def is_any_of(answer: str, right: Sequence[str]) -> bool:
    r"""Return whether an answer is one of the right ones by MMMU's rule, or has the value of one to two decimals.

    The last is ours: MMMU's scorer cannot work out a root or a fraction.

    >>> is_any_of("transplant", ["Transplant"]), is_any_of("8.4 V", ["8.4"]), is_any_of(r"2\sqrt{2}", ["2.83"])
    (True, True, True)
    >>> is_any_of("8.45", ["8.4"]), is_any_of("Miami", ["Tampa", "Florida"])
    (False, False)
    """
    meant = [value for text in right for value in _normalized(text)]
    for said in _said(answer):
        if said in meant if isinstance(said, float) else any(isinstance(text, str) and text in said for text in meant):
            return True
    return any(_has_value(answer, text) for text in right)


def chooses(answer: str, right: str) -> bool:
    """Return whether the paper's rule takes an answer for the right one rather than for other answers.

    A lone letter A or B among its last five words is the choice. Else the words of exactly one of both must stand in
    it, and it may be twice as long as both. Without VLMEvalKit's language model, which is asked about what is left.

    >>> chooses("8.4 V", "8.4"), chooses("about 8", "8.4"), chooses("A transplant", "graft")
    (True, False, True)
    """
    words = re.sub(r"[.()\[\],:;!*#{}]", " ", answer).split()
    letters = [letter for letter in "AB" if letter in words]
    if not letters and "Z" in words:
        return False
    if len(letters) == 1 and words.index(letters[0]) > len(words) - 5:
        return letters == ["A"]
    said, meant = answer.lower(), right.lower()
    if len(said) > 2 * (len(meant) + len(OTHER_ANSWERS)):
        return False
    return meant in said and OTHER_ANSWERS not in said


def _said(answer: str) -> Iterator[str | float]:
    """Yield what MMMU's scorer reads in an answer: its key parts, and the numbers in them."""
    lines = answer.strip().strip(".").lower().split("\n")
    parts = []
    for index, line in enumerate(lines):
        keys = (*_KEYS, "=") if index == len(lines) - 1 else _KEYS
        tails = [line.split(key)[-1].strip() for key in keys if key in line]
        parts += [tail for tail in [min(filter(None, tails), key=len, default="")] if tail.strip(":,.!?;'")]
    for part in parts or ["\n".join(lines)]:
        yield from _normalized(part)
        for number in _NUMBERS.findall(part):
            yield from _normalized(number)


def _normalized(text: str) -> list[str | float]:
    """Return a text as MMMU's scorer compares it: a number rounded to two decimals, or lower case; a single letter as a
    word's beginning or end.
    """
    text = text.strip()
    try:
        return [round(float(text.replace(",", "")), 2)]
    except ValueError:
        text = text.lower()
        return [f" {text}", f"{text} "] if len(text) == 1 else [text]


def _has_value(answer: str, right: str) -> bool:
    """Return whether two expressions are equal, or an expression rounds to a right number of at most two decimals."""
    math = find_task("math", "image")
    assert isinstance(math, Mathematics)
    if math.compare(answer, right)[0]:
        return True
    if not re.fullmatch(r"-?[0-9]+(?:\.[0-9]{1,2})?", right.strip()):
        return False
    value = fold_expression(answer.replace("$", "")).value
    rounded = rf"\frac{{\lfloor 100 \cdot ({value}) + 0.5 \rfloor}}{{100}}"
    return re.search(r"[0-9]|\\pi", value) is not None and math.sandbox.compare(right, rounded)[0]
