import pickle

import pytest
from pydantic_core import to_json

from onethinker.core.errors import AnswerError
from onethinker.tasks.numerical import Numerical, parse_number

task = Numerical()


@pytest.mark.parametrize(
    ("text", "number", "unit"),
    [
        *[
            (text, 12, "")
            for text in (
                "12",
                "12.",
                "12。",
                "12,",
                "+12",
                "12.0",
                "$12$",
                r"\(12\)",
                "$$12$$",
                r"\boxed{12}",
                r"$\boxed{12}$",
            )
        ],
        *[
            (text, 12, "")
            for text in (
                "**12**",
                "*12*",
                "`12`",
                '"12"',
                r"$\text{12}$",
                "１２",
                "= 12",
                "x = 12",
                "x=12",
                "≈ 12",
                r"\approx 12",
            )
        ],
        *[
            (text, 12, "")
            for text in (
                "The answer is 12",
                "Answer: 12.",
                "**Final answer:** 12",
                "答案是12",
                "12 units",
                "12个",
                " 12\n",
            )
        ],
        *[
            (text, 12, "cm")
            for text in ("12 cm", "12cm", r"12\text{ cm}", r"12\,\mathrm{cm}", "12 centimetres", "12 cm.")
        ],
        *[(text, 12, "$") for text in ("$12", r"\$12", "12 dollars", "US$12")],
        *[(text, 50, "%") for text in ("50%", r"50\%", "50％", "50 percent")],
        *[(text, -3, "") for text in ("-3", "−3", "－３", "–3", "- 3")],
        ("-$5", -5, "$"),
        ("12 cups", 12, "cup"),
        ("60°", 60, "°"),
        (r"60^\circ", 60, "°"),
        ("12 cm²", 12, "cm^2"),
        ("5 km/h", 5, "h^-1·km"),
        ("-3.5", -3.5, ""),
        (".5", 0.5, ""),
        ("5.", 5, ""),
        ("1e3", 1000, ""),
        ("2.5E-1", 0.25, ""),
        ("1.5×10^3", 1500, ""),
        (r"1.5 \times 10^{3}", 1500, ""),
        ("2×10³", 2000, ""),
        ("5 million", 5_000_000, ""),
        ("3万", 30_000, ""),
        ("1,234", 1234, ""),
        ("1,234,567.5", 1234567.5, ""),
        ("１，２３４", 1234, ""),
        ("1.234.567", 1234567, ""),
        ("1\u202f000", 1000, ""),
        ("1 234 567,5", 1234567.5, ""),
        *[
            (text, 12, "")
            for text in (
                "١٢",
                "१२",
                "12です",
                "答えは12です。",
                "Respuesta: 12",
                "정답은 12입니다",
                "Therefore, 12",
                "<b>12</b>",
                "_12_",
            )
        ],
        ("USD 12", 12, "$"),
        ("12 US dollars", 12, "$"),
        ("12㎡", 12, "m^2"),
        ("3 persons", 3, "person"),
        ("3 people", 3, "person"),
        (r"1\,000", 1000, ""),
        ("1{,}000", 1000, ""),
        ("3,5", 3.5, ""),
        ("12,34", 12.34, ""),
        ("0,125", 0.125, ""),
        ("1234,567", 1234.567, ""),
        ("1.234,56", 1234.56, ""),
        ("1,2345", 1.2345, ""),
    ],
    ids=lambda value: str(value)[:30],
)
def test_numbers_are_read(text, number, unit):
    quantity = parse_number(text)
    assert (quantity, quantity.unit) == (number, unit)


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            "nan",
            "NaN",
            "inf",
            "-Infinity",
            "1e999",
            "true",
            "True",
            "twelve",
            "1_000",
            "0x10",
            "1/2",
            "½",
            "--1",
            "+-1",
            ",",
        ),
        *(
            ",1",
            ".",
            "e5",
            "1 00",
            "12 M",
            "12M",
            "答えは12ではない",
            "9" * 33,
            "9" * 300,
            "²",
            "1,23,456",
            "12,34,567",
            "1,2,3",
            "1,234,56",
            "1.2.3",
            "01,234",
            "12 12",
        ),
        *(
            "12 or 13",
            "12 and 13",
            "12-13",
            "12–13",
            "12, 13",
            "12 = 13",
            "12\n13",
            "There are 12 cups",
            "12 of 13",
            "5 ft 3 in",
            "12:30",
        ),
        *(
            "12th",
            "12K",
            "5x",
            "3i",
            "12 x",
            "x5",
            "(12)",
            "12!",
            "3年半",
            "12 (or 13)",
            "more than 12",
            "12 or more",
            "not 12",
            "about 12 or so",
        ),
        "12 is wrong, 13 is right",
        r"\boxed{12}\boxed{13}",
        "$12$ $13$",
    ],
    ids=lambda text: repr(text[:20]),
)
def test_everything_else_is_refused(text):
    with pytest.raises(AnswerError, match="number"):
        parse_number(text)


def test_a_comma_that_may_be_either_has_its_reason():
    with pytest.raises(
        AnswerError, match=r"groups of three digits \(1,234,567\) or one decimal comma \(3,5\), got '1,23,456'"
    ):
        parse_number("1,23,456")


@pytest.mark.parametrize(
    ("answer", "truth", "right"),
    [
        ("12 cm", "12", 1),
        ("12", "12 cm", 1),
        ("12 cm", "12 centimeters", 1),
        ("12 cm", "12 m", 0),
        ("1200 cm", "12 m", 0),
        ("50%", "50", 1),
        ("50%", "0.5", 0),
        ("$12", "€12", 0),
        ("3,5", "3.5", 1),
        ("3,5", "35", 0),
    ],
    ids=lambda value: str(value),
)
def test_units_may_be_left_out_but_not_be_others(answer, truth, right):
    assert task.score(parse_number(answer), parse_number(truth), "paper").accuracy == right


def test_a_number_stays_a_number_in_json_and_in_another_process():
    quantity = parse_number("12.5 cm")
    assert to_json(quantity) == b"12.5"
    copied = pickle.loads(pickle.dumps(quantity))
    assert (copied, copied.unit) == (12.5, "cm")


@pytest.mark.parametrize(
    ("answer", "truth", "right"), [(3.141, 3.142, 1), (3.14, 3.15, 0), (1000.0, 1000, 1), (-1, 1, 0), (0.004, 0, 1)]
)
def test_numbers_are_compared_to_two_decimals(answer, truth, right):
    assert task.score(answer, truth, "paper").accuracy == task.score(answer, truth, "release").accuracy == right
    assert task.score(answer, truth, "paper").metrics == {"accuracy": right}
