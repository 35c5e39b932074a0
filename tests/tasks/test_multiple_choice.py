import pytest

from onethinker.errors import AnswerError
from onethinker.tasks.multiple_choice import MultipleChoice

task = MultipleChoice()
OPTIONS = ("A. cat", "B. A dog", "C. 3.5 m")


@pytest.mark.parametrize(
    "text",
    [
        "A",
        "a",
        " A ",
        "(A)",
        "[A]",
        "A.",
        "A)",
        "A:",
        "**A**",
        "*A.*",
        "`A`",
        "A. cat",
        "(A) cat",
        "A) cat",
        "**A. cat**",
        "Option A",
        "option (A)",
        "Answer: A",
        "The answer is A.",
        "The correct option is A",
        r"\text{A}",
        r"\boxed{A}",
        r"$\text{A}$",
        "$A$",
    ],
)
def test_a_letter_counts_however_it_is_dressed(text):
    assert task.parse(text) == "A"


@pytest.mark.parametrize(
    "text", ["", "cat", "A cat", "A, B", "A or B", "AB", "1", "Ａ", "А", "()", "option", "**"]
)  # full-width and Cyrillic A
def test_anything_else_is_refused(text):
    with pytest.raises(AnswerError, match="letter"):
        task.parse(text)


@pytest.mark.parametrize(
    ("text", "letter"), [("cat", "A"), ("CAT.", "A"), ("a dog", "B"), ("B. A dog", "B"), ("3.5 m", "C"), ("**A  dog**", "B")]
)
def test_the_text_of_an_option_stands_for_its_letter(text, letter):
    assert task.parse(text, OPTIONS) == letter


def test_options_without_labels_are_lettered_in_order():
    assert task.parse("dog", ("cat", "dog")) == "B"


def test_a_letter_that_no_option_has_is_refused():
    with pytest.raises(AnswerError, match="A, B, C, got D"):
        task.parse("D", OPTIONS)


def test_only_the_right_letter_is_right():
    assert (task.accuracy("A", "A", "paper"), task.accuracy("B", "A", "release"), task.metrics(None, "A")) == (1, 0, {"accuracy": 0})
