import time

import pytest

from onethinker.core.errors import AnswerError
from onethinker.tasks.open_ended import OpenEnded, rouge

task = OpenEnded()


def test_rouge_equals_numbers_worked_out_by_hand():
    # Words: 3 of 4 and 3 of 3 shared; pairs: 1 of 3 and 1 of 2; longest common order: "the dog runs" less "big", 3 of 4
    # and 3 of 3.
    scores = rouge("the dog runs", "the big dog runs")
    assert scores == pytest.approx({"ROUGE-1": 6 / 7, "ROUGE-2": 2 / 5, "ROUGE-L": 6 / 7})
    assert task.score("the dog runs", "the big dog runs", "paper").accuracy == pytest.approx(
        (6 / 7 + 2 / 5 + 6 / 7) / 3
    )


def test_words_are_compared_by_their_stems():
    assert rouge("dogs running", "dog runs fast")["ROUGE-1"] == pytest.approx(4 / 5)


@pytest.mark.parametrize("text", ["yes", "一只猫", "A red ball.", "!"])
def test_the_truth_itself_has_the_maximum_even_in_one_word_or_another_script(text):
    assert task.score(text, text, "release").accuracy == 1


def test_unlike_texts_share_nothing():
    assert task.score("green triangle", "red ball", "paper").accuracy == 0


def test_the_longest_texts_are_graded_in_seconds():
    start = time.perf_counter()
    task.score("a b " * 5000, "b a " * 300, "paper")
    assert time.perf_counter() - start < 10  # 1 to 2 s on the machine this was written on


@pytest.mark.parametrize("text", ["", "  ", "x" * 20_001])
def test_no_text_and_too_much_text_are_refused(text):
    with pytest.raises(AnswerError, match="expected"):
        task.parse(text)
