import pytest

from onethinker.core.errors import AnswerError
from onethinker.tasks.ocr import Ocr, word_accuracy


@pytest.mark.parametrize(
    ("answer", "truth", "value"),
    [
        ("10 / 12 km", "10 / 12 km", 1.0),
        ("a < b", "a < b", 1.0),
        ("one two", "one two three four", 0.5),  # two words missing of four
        ("one two three four five", "one two three four", 0.75),  # one too many
        ("stop", "STOP", 0.0),
        ("a b c d e f", "x", 0.0),  # six errors in one word: not below 0
        ("one   two\nthree", "one two three", 1.0),
        ("出口 左", "出口 右", 2 / 3),  # a character wrong of three
        ("禁止 进入", "禁止进入", 1.0),
        ("禁止驶入", "禁止进入", 0.75),
        ("立入禁", "立入禁止", 0.75),
        ("ห้ามเขา", "ห้ามเข้า", 7 / 8),  # a tone mark missing of eight code points
        ("출입금지", "출입 금지", 1.0),
        ("Exit 出口", "Exit出口", 1.0),
        ("No.5 出口", "No.6 出口", 2 / 3),
        ("Вход запрещен", "Вход воспрещен", 0.5),  # words, since Russian has spaces
        ("cafe\u0301", "café", 1.0),  # the accent as a character of its own
    ],
)
def test_each_wrong_word_costs_its_share(answer, truth, value):
    assert word_accuracy(answer, truth) == pytest.approx(value, abs=1e-15)


@pytest.mark.parametrize("text", ["", " \n", "\u200b", "x" * 20_001])
def test_no_text_and_too_much_text_are_refused(text):
    with pytest.raises(AnswerError, match="expected"):
        Ocr().parse(text)
