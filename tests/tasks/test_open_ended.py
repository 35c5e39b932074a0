import time

import pytest
from rouge_score.rouge_scorer import RougeScorer

from onethinker.core.errors import AnswerError
from onethinker.tasks.open_ended import KINDS, OpenEnded, rouge

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


@pytest.mark.parametrize(
    ("answer", "truth"),
    [
        ("A man’s dog — a “big” one — runs.", "The man's dog runs (a big one)."),
        ("the café's naïve owner, 5 µm of π", "the cafe's naive owner; 5 um of pi"),
        ("Two dogs are running quickly", "A dog runs quick"),
        ("It’s 5 °C – cold!", "It's 5 °C: cold"),
        ("½ of the 3rd row", "half the 3rd row™"),
        ("", "nothing"),
    ],
)
def test_english_has_the_values_of_rouge_score_to_the_last_digit(answer, truth):
    library = RougeScorer(list(KINDS.values()), use_stemmer=True).score(truth, answer)
    assert rouge(answer, truth) == {name: library[kind].fmeasure for name, kind in KINDS.items()}


@pytest.mark.parametrize(
    ("answer", "truth", "rouge_1", "rouge_2", "rouge_l"),
    [
        ("一只狗在跑", "一只猫在跑", 4 / 5, 2 / 4, 4 / 5),
        ("猫が走る", "猫は走る", 3 / 4, 1 / 3, 3 / 4),
        ("แมววิ่ง", "แมววิ่งเร็ว", 14 / 18, 12 / 16, 14 / 18),
        ("кошка бежит", "кошка спит", 1 / 2, 0, 1 / 2),
        ("一只 cat", "一只 cats", 1, 1, 1),  # the stem of a Latin word
        ("ＣＡＴ和狗", "cat和狗", 1, 1, 1),
    ],
)
def test_other_scripts_count_by_the_word_and_without_spaces_by_the_character(answer, truth, rouge_1, rouge_2, rouge_l):
    assert rouge(answer, truth) == pytest.approx({"ROUGE-1": rouge_1, "ROUGE-2": rouge_2, "ROUGE-L": rouge_l})


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
