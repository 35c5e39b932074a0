"""Mathematical answers, right and wrong, and whether plain math-verify thinks the same of them."""

import re

import math_verify
import pytest

from onethinker.tasks.math.worker import wrap
from onethinker.tasks.mathematics import Mathematics

AGREED = ""
SMALL = "math-verify rounds decimals to six places and chops what is near 0: all small numbers are equal to it"
LARGE = "math-verify compares decimals to six places, which floats of this size do not have"
E_NOTATION = "math-verify reads the e of 1e5 as Euler's number"
CURRENCY = "math-verify reads a dollar sign as the end of LaTeX, and other currencies as letters"
UNIT = "math-verify knows no such unit and multiplies its letters"
OTHER_UNIT = "math-verify drops the units, though they differ"
VARIABLE = "math-verify takes the variable for a unit and drops it"
LETTERS = "math-verify multiplies letters or puts them into a set, whatever their order"
BRACKETS = "math-verify takes an open interval, or a point, for the set of its two numbers"
RELATION = "math-verify compares a relation with a set only where the truth is the relation"
PERCENT = "math-verify reads a percent sign as a unit of whole numbers only"
INFINITE = "math-verify computes with infinity"
DEGREES = "math-verify takes degrees under a sine for radians"
GROUPS = "math-verify reads digits in groups without commas as several numbers"
REPEATING = "math-verify cannot read repeating decimals"
PLAIN_WORDS = "math-verify cannot read a command without its backslash, Python, Markdown, or this bracket or symbol"
UNICODE = "math-verify cannot read this character"

CASES = [
    ("60°", r"60^\circ", 1, AGREED),
    (r"60^\circ", "60", 1, AGREED),
    (r"60^{\circ}", "60°", 1, AGREED),
    (r"\$25", "25", 1, CURRENCY),
    ("$12", "12", 1, AGREED),
    ("10 cm^2", "10", 1, UNIT),
    ("10.", "10", 1, AGREED),
    ("= 5", "5", 1, AGREED),
    ("5√3", r"5\sqrt{3}", 1, UNICODE),
    ("x²", "x^2", 1, UNICODE),
    ("½", r"\frac12", 1, UNICODE),
    (r"9.1\times 10^{-31}", r"1.6\times10^{-19}", 0, SMALL),
    (r"6.02214076\times 10^{23}", "6.02214076e23", 1, E_NOTATION),
    ("2^{-98}", "2^{-99}", 0, SMALL),
    ("DCBA", "ABCD", 0, LETTERS),
    ("(1,2)", r"\{1,2\}", 0, BRACKETS),
    ("(1,2)", "1,2", 1, AGREED),
    ("2,1", "(1,2)", 0, AGREED),
    ("[1,2]", "(1,2)", 0, AGREED),
    ("(1,2)", "[1,2]", 0, AGREED),
    (r"1\frac{1}{2}", "1.5", 1, AGREED),
    ("2 1/2", "2.5", 1, PLAIN_WORDS),
    ("D>C>B>A", "A>B>C>D", 0, AGREED),
    ("A<B", "B>A", 1, AGREED),
    ("x=1,2", "2,1", 1, AGREED),
    ("x=1, x=2", "1,2", 1, AGREED),
    (r"\langle 1,2\rangle", "(1,2)", 1, PLAIN_WORDS),
    (r"12.5\%", "12.5", 1, PERCENT),
    (r"50\%", "50", 1, AGREED),
    (r"5\pi", "5π", 1, AGREED),
    ("pi", r"\pi", 1, PLAIN_WORDS),
    ("sqrt(3)", r"\sqrt3", 1, AGREED),
    ("2*3", "6", 1, AGREED),
    ("x^(2)", "x^2", 1, AGREED),
    ("x**2", "x^2", 1, PLAIN_WORDS),
    (r"\sin 30^\circ", r"\frac12", 1, DEGREES),
    ("3t", "3", 0, VARIABLE),
    ("5m", "5g", 0, OTHER_UNIT),
    (r"\text{yes}", "yes", 1, AGREED),
    ("Yes", "yes", 1, AGREED),
    ("1,2", "2,1", 1, AGREED),
    ("D, C, B, A", "A, B, C, D", 0, LETTERS),
    ("0.012346", "1/81", 0, SMALL),
    ("0.666666", "2/3", 0, AGREED),
    ("100000000.5", "100000001", 0, AGREED),
    (r"\pm 2", "2,-2", 1, AGREED),
    (r"x=\pm2", r"\pm 2", 1, AGREED),
    ("3:4", r"\frac34", 1, AGREED),
    ("3:4", "4:3", 0, AGREED),
    ("1e-5", "0.00001", 1, E_NOTATION),
    ("1.5e3", "1500", 1, E_NOTATION),
    (r"x\in[1,2]", "[1,2]", 1, AGREED),
    (r"1\leq x\leq 2", "[1,2]", 1, RELATION),
    (r"\infty", "infinity", 1, AGREED),
    ("y=2x+1", "2x+1", 1, AGREED),
    ("2x+1", "y=2x+1", 1, AGREED),
    ("y=2x", "x=2y", 0, AGREED),
    ("1 234", "1234", 1, GROUPS),
    (r"1\,234", "1234", 1, GROUPS),
    ("1{,}234", "1234", 1, AGREED),
    (r"\begin{pmatrix}1\\2\end{pmatrix}", "(1,2)", 0, AGREED),
    (r"\dfrac{1}{2}", "0.5", 1, AGREED),
    ("|x|", r"\left|x\right|", 1, AGREED),
    ("i", r"\sqrt{-1}", 0, AGREED),
    ("-1/2", r"-\frac12", 1, AGREED),
    (r"\frac{-1}{2}", r"-\frac12", 1, AGREED),
    ("1.50", "1.5", 1, AGREED),
    ("007", "7", 1, AGREED),
    (r"\emptyset", r"\varnothing", 1, PLAIN_WORDS),
    (r"\{\}", r"\emptyset", 1, AGREED),
    (r"\log_2 8", "3", 1, AGREED),
    ("C(5,2)", "10", 0, AGREED),
    (r"\binom52", "10", 0, AGREED),
    ("5!", "120", 1, AGREED),
    (r"e^{i\pi}", "-1", 0, AGREED),
    ("x_1", "x_2", 0, AGREED),
    ("A", "a", 1, AGREED),
    (r"\mathbb{R}", r"(-\infty,\infty)", 1, AGREED),
    ("90", r"\frac{\pi}{2}", 0, AGREED),
    ("0", "0.0000001", 0, AGREED),
    ("0.0", "0", 1, AGREED),
    ("-0", "0", 1, AGREED),
    (r"\frac{1}{0}", "5", 0, AGREED),
    ("2^{1/2}", r"\sqrt2", 1, AGREED),
    ("sin x", r"\sin x", 1, PLAIN_WORDS),
    (r"\text{A}", "A", 1, AGREED),
    ("AB", "BA", 0, LETTERS),
    (r"\overline{AB}", "AB", 0, AGREED),
    (r"\triangle ABC", r"\triangle CBA", 1, AGREED),
    (r"\angle ABC", r"\angle CBA", 1, AGREED),
    ("(x+1)(x-1)", "x^2-1", 1, AGREED),
    ("1+2+3", "6", 1, AGREED),
    ("3+4", "7", 1, AGREED),
    (r"12\text{ cm}", r"12\text{ m}", 0, OTHER_UNIT),
    ("5 million", "5", 0, AGREED),
    ("1,234", "1.234", 0, AGREED),
    ("3,5", "3.5", 0, AGREED),
    (r"\sqrt2\approx1.414", r"\sqrt2", 1, AGREED),
    (r"5\ne3", "5", 0, AGREED),
    ("2^10", "1024", 1, AGREED),
    ("2^{10}", "1024", 1, AGREED),
    (r"-1\frac{1}{2}", "-1.5", 1, AGREED),
    (r"5\%", "0.05", 1, AGREED),
    ("0.5", r"\frac12", 1, AGREED),
    (r"6.02\times 10^{23}", "602000000000000000000000", 1, LARGE),
    ("x>3", r"(3,\infty)", 1, RELATION),
    (r"x \neq 2", r"\mathbb{R}\setminus\{2\}", 1, RELATION),
    (r"\sin(\frac{30\pi}{180})", r"\frac12", 1, AGREED),
    (r"\sin {(\frac{30\pi}{180})}", r"\frac12", 1, AGREED),
    (r"0.\overline{3}", r"\frac13", 1, REPEATING),
    (r"0.\dot{3}", r"\frac13", 0, AGREED),
    (r"\sqrt[3]{8}", "2", 1, AGREED),
    ("3x+2y=5", "2y+3x=5", 1, AGREED),
    ("y = 2x", "2x - y = 0", 1, AGREED),
    ("x^2+2x+1", "(x+1)^2", 1, AGREED),
    (r"\frac{x}{2}", "0.5x", 1, AGREED),
    ("|{-3}|", "3", 1, AGREED),
    (r"\lvert -3\rvert", "3", 1, AGREED),
    (r"\ln e", "1", 1, AGREED),
    (r"\log 100", "2", 1, AGREED),
    ("2:3", r"\frac23", 1, AGREED),
    (r"\{x|x>2\}", r"(2,\infty)", 0, AGREED),
    (r"(2,3)\cup(4,5)", r"(4,5)\cup(2,3)", 1, AGREED),
    (r"\pi r^2", r"\pi R^2", 1, AGREED),
    ("a", "A", 1, AGREED),
    ("i", "j", 0, AGREED),
    ("2i", r"2\imath", 0, AGREED),
    ("n(n+1)/2", r"\frac{n(n+1)}{2}", 1, AGREED),
    (r"\frac{n(n+1)}{2}", r"\frac{n^2+n}{2}", 1, AGREED),
    (r"x\in\{1,2\}", "1,2", 1, AGREED),
    (r"\vec{AB}", r"\vec{BA}", 0, AGREED),
    (r"5\times 10", "50", 1, AGREED),
    ("10^{-3}", "0.001", 1, AGREED),
    (r"\frac{1}{3}", "0.333333", 1, AGREED),
    ("1.0", "1", 1, AGREED),
    (r"\frac{22}{7}", r"\pi", 0, AGREED),
    ("3.141593", r"\pi", 1, AGREED),
    ("3.14159", r"\pi", 0, AGREED),
    (r"2.50\times10^{3}", "2500", 1, AGREED),
    ("(1,2,3)", "(1,2,3)", 1, AGREED),
    ("(1,2,3)", "(3,2,1)", 0, AGREED),
    ("(0.0000003, 1)", "(0.0000002, 1)", 0, SMALL),
    ("[0.0000003, 1]", "[0.0000002, 1]", 0, SMALL),
    ("x=0.0000003", "x=0.0000002", 0, AGREED),
    ("0.0000003x", "0.0000002x", 0, AGREED),
    ("2^{-98}x", "2^{-99}x", 0, AGREED),
    ("e^{-1000}", "e^{-1001}", 0, SMALL),
    ("10^{-20}+10^{-22}", "10^{-20}", 0, SMALL),
    (r"\sqrt{2}\cdot 10^{-20}", "10^{-20}", 0, SMALL),
    (r"\begin{pmatrix}10^{-20}\\1\end{pmatrix}", r"\begin{pmatrix}10^{-21}\\1\end{pmatrix}", 0, AGREED),
    (r"\{10^{-20}, 1\}", r"\{10^{-22},1\}", 0, SMALL),
    ("x<10^{-20}", "x<10^{-22}", 0, SMALL),
    ("1 1/2", "11/2", 0, AGREED),
    ("abc", r"a\cdot b\cdot c", 1, PLAIN_WORDS),
    (r"\frac{1}{0}", r"\frac{2}{0}", 0, AGREED),
    (r"\infty", r"\infty+1", 0, INFINITE),
    ("oo", r"\infty", 1, PLAIN_WORDS),
    (r"\frac{0}{0}", "1", 0, AGREED),
    (r"-\infty", r"\infty", 0, AGREED),
    ("$5 million", "5000000", 1, CURRENCY),
    (r"2\frac{1}{2}\text{ hours}", "2.5", 1, AGREED),
    (r"x = 5 \text{ cm}", "5", 1, AGREED),
    (r"\text{60 degrees}", r"60^\circ", 1, UNIT),
    ("½", "0.5", 1, UNICODE),
    ("1½", r"\frac32", 1, UNICODE),
    ("³√8", "2", 1, UNICODE),
    ("∛8", "2", 1, UNICODE),
    ("√(x+1)", r"\sqrt{x+1}", 1, UNICODE),
    ("2√3/3", r"\frac{2\sqrt{3}}{3}", 1, UNICODE),
    ("√2/2", r"\frac{\sqrt2}{2}", 1, UNICODE),
    ("x³+1", "x^3+1", 1, UNICODE),
    ("x⁻¹", r"\frac1x", 1, UNICODE),
    ("−5", "-5", 1, AGREED),
    ("５", "5", 1, UNICODE),
    ("３．５", "3.5", 1, UNICODE),
    ("2×10³", "2000", 1, UNICODE),
    ("50％", "50", 1, AGREED),
    ("50 percent", r"50\%", 1, AGREED),
    ("50%", "0.5", 1, AGREED),
    ("0.5%", "50%", 0, AGREED),
    ("€25", "$25", 0, AGREED),
    ("25 dollars", r"\$25", 1, CURRENCY),
    ("US$25", "25", 1, CURRENCY),
    ("25 cents", r"\$25", 0, AGREED),
    ("5m", "5", 1, AGREED),
    (r"5\text{ m}", "5m", 1, AGREED),
    ("5m", r"5\text{ m}", 1, AGREED),
    ("5m", r"5\text{ cm}", 0, OTHER_UNIT),
    ("12 students", "12", 1, AGREED),
    ("12 apples", "12 pears", 0, AGREED),
    ("12 km/h", "12 kmh", 1, UNIT),
    ("12 km per hour", r"12\text{ km/h}", 1, UNIT),
    ("10 sq cm", r"10\text{ cm}^2", 1, AGREED),
    ("10cm", "10cm^2", 0, AGREED),
    (r"10\,\mathrm{cm}^3", r"10\text{ cm}^2", 0, OTHER_UNIT),
    ("The answer is 5.", "5", 1, AGREED),
    ("Answer: $x=5$", "5", 1, AGREED),
    (r"$\boxed{5}$", "5", 1, AGREED),
    (r"\(5\)", "5", 1, AGREED),
    (r"\[5\]", "5", 1, AGREED),
    ("**5**", "5", 1, PLAIN_WORDS),
    ("$5$ cm", "5", 1, AGREED),
    ("$$5$$.", "5", 1, AGREED),
    ("5 or 6", "5", 0, AGREED),
    ("5 and 6", "5,6", 1, AGREED),
    (r"\left(\frac{1}{2}, 3\right)", "(0.5,3)", 1, AGREED),
    (r"\left[0,1\right)", "[0,1)", 1, AGREED),
    ("[0,1)", "(0,1]", 0, AGREED),
    ("No", "no", 1, AGREED),
    ("no", "on", 0, LETTERS),
    (r"\text{even}", "even", 1, AGREED),
    ("even", "odd", 0, AGREED),
    ("red and blue", "blue, red", 1, AGREED),
    ("A, C", "A and C", 1, AGREED),
    ("$5", "5", 1, AGREED),
    ("60 deg", "60", 1, AGREED),
    ("60^o", "60", 1, UNIT),
    ("60º", "60", 1, AGREED),
    ("20°C", "20", 1, AGREED),
    ("20°C", "20°F", 0, OTHER_UNIT),
    ("π/2", r"\frac{\pi}{2}", 1, AGREED),
    ("2pi", r"2\pi", 1, PLAIN_WORDS),
    ("x≥3", r"x\geq 3", 1, AGREED),
    ("x≥3", r"[3,\infty)", 1, RELATION),
    ("x>3", r"[3,\infty)", 0, AGREED),
    ("1,234,567", "1234567", 1, AGREED),
    ("1.234", "1,234", 0, AGREED),
    ("12345678", "12,345,678", 1, AGREED),
    ("0.33", r"\frac13", 0, AGREED),
    ("{5}", "5", 1, AGREED),
    ("x=5", "y=5", 0, AGREED),
    ("a=5", "5", 1, AGREED),
    ("5=5", "5", 1, AGREED),
    ("f(x)=2x", "2x", 1, AGREED),
    (r"\boxed{5}\boxed{6}", "5", 0, AGREED),
    ("5, 5", "5", 1, AGREED),
    ("$5$ $6$", "6", 1, AGREED),
    ("$6$ $5$", "6", 0, AGREED),
    (r"\boxed{A}, \boxed{B}", "B", 0, AGREED),
    ("1 2 3 4 5", "5", 0, AGREED),
    ("3e8", r"3\times10^8", 1, E_NOTATION),
    ("2e", "2e", 1, AGREED),
    ("e", "2.718282", 1, AGREED),
    (r"\text{Yes, it is}", "yes", 0, AGREED),
    ("½ cm", r"0.5\text{ cm}", 1, UNICODE),
    ("5'", "5", 1, AGREED),
    (r"100\,000", "100000", 1, GROUPS),
    ("5.0×10⁻³ m", "0.005", 1, UNIT),
    ("a/b", r"\frac{a}{b}", 1, AGREED),
    ("y=-x+3", "x+y=3", 1, AGREED),
    ("(x,y)=(1,2)", "(1,2)", 1, AGREED),
    ("x=1,y=2", "(1,2)", 1, AGREED),
    ("5+0i", "5", 1, AGREED),
    ("10 = 10", "10", 1, AGREED),
    ("12:00", "12", 0, AGREED),
    ("3 km", "3000 m", 0, AGREED),
    (r"\$1,234.50", "1234.5", 1, CURRENCY),
    (r"-\$5", "-5", 1, CURRENCY),
    ("12.", "12", 1, AGREED),
    ("12。", "12", 1, AGREED),
    ("=12", "12", 1, AGREED),
    ("≈3.14", "3.14", 1, UNICODE),
    (r"\approx 3.14", "3.14", 1, AGREED),
    ("BCDA", "ABCD", 0, LETTERS),
    ("A-B-C", "A-B-C", 1, AGREED),
    ("A→B→C", r"A\to B\to C", 1, UNICODE),
    ("C→B→A", r"A\to B\to C", 0, AGREED),
    ("IV", "VI", 0, LETTERS),
    ("4", "IV", 0, AGREED),
]


@pytest.fixture(scope="module")
def task():
    task = Mathematics()
    yield task
    task.sandbox.close()


@pytest.fixture(autouse=True)
def quiet(monkeypatch):
    """math-verify warns once that somebody else has to watch the time."""
    for module in (math_verify.parser, math_verify.grader):
        monkeypatch.setattr(module, "TIMEOUT_WARNING_SHOWN", True)


def is_right_to_math_verify(answer: str, truth: str) -> bool:
    """Return the verdict of the library as it comes, which only wants dollars around LaTeX."""
    meant, said = (math_verify.parse(wrap(text), parsing_timeout=None) for text in (truth, answer))
    return bool(math_verify.verify(meant, said, timeout_seconds=None))


@pytest.mark.parametrize(("answer", "truth", "right", "reason"), CASES, ids=lambda value: str(value)[:30])
def test_an_answer_is_right_or_wrong_and_each_difference_from_math_verify_has_its_reason(
    task, answer, truth, right, reason
):
    assert task.score(answer, truth, "paper").accuracy == right
    assert task.score(answer, truth, "paper").metrics == {"accuracy": right}
    assert (is_right_to_math_verify(answer, truth) != bool(right)) == bool(reason), reason


@pytest.mark.parametrize("text", sorted({text for case in CASES for text in case[:2]}), ids=lambda text: text[:30])
def test_an_answer_is_always_equal_to_itself(task, text):
    assert task.score(text, text, "release").accuracy == 1


@pytest.mark.parametrize(
    ("answer", "truth", "reason"),
    [
        ("12 cm", "12 m", "the answer is in cm, the truth in m"),
        ("[1, 2]", "(1, 2)", r"the answer stands in \[\], the truth in \(\)"),
        ("DCBA", "ABCD", "other words"),
        ("C, A, B", "A, B, C", "in another order"),
        ("odd", "2k", "one is words, the other a formula"),
        (r"\triangle ABD", r"\triangle ABC", "about ABD, the truth about ABC"),
        ("6", "5", "not equal"),
    ],
    ids=["unit", "brackets", "words", "order", "formula", "triangle", "value"],
)
def test_what_sets_an_answer_apart_is_said(task, answer, truth, reason):
    assert task.score(answer, truth, "paper").accuracy == 0
    assert re.search(reason, task.score(answer, truth, "paper").reason)
