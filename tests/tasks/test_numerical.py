import pytest

from onethinker.errors import AnswerError
from onethinker.tasks.numerical import Numerical, parse_number

task = Numerical()


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("12", 12),
        ("-3.5", -3.5),
        ("+4", 4),
        ("1,234,567.5", 1234567.5),
        (".5", 0.5),
        ("5.", 5),
        ("1e3", 1000),
        ("2.5E-1", 0.25),
        (" 7\n", 7),
    ],
)
def test_numbers_are_read(text, number):
    assert parse_number(text) == number


@pytest.mark.parametrize(
    "text",
    [
        "",
        "nan",
        "inf",
        "-Infinity",
        "1e999",
        "true",
        "True",
        "twelve",
        "12 cups",
        "50%",
        "٢",
        "１２",
        "1_000",
        "0x10",
        "1/2",
        "--1",
        ",",
        "1,",
        ",1",
        ".",
        "e5",
        "1 000",
        "9" * 33,
        "NaN",
        "²",
    ],
)
def test_everything_else_is_refused(text):
    with pytest.raises(AnswerError, match="number"):
        parse_number(text)


@pytest.mark.parametrize(("answer", "truth", "right"), [(3.141, 3.142, 1), (3.14, 3.15, 0), (1000.0, 1000, 1), (-1, 1, 0), (0.004, 0, 1)])
def test_numbers_are_compared_to_two_decimals(answer, truth, right):
    assert task.accuracy(answer, truth, "paper") == task.accuracy(answer, truth, "release") == right
    assert task.metrics(answer, truth) == {"accuracy": right}
