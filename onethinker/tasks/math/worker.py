"""The process in which math-verify runs: it reads a pair of texts a line, answers a verdict a line, and may be killed.

Started by `sandbox.py` as a script of its own, so it imports nothing of the package. The kernel ends it when a pair has
taken `processor_seconds` of the processor; its parent ends it after `seconds`, and an alarm a little later even where
nobody is left to do so.
"""

import json
import os
import re
import resource
import select
import signal
import sys
from typing import Any

IDLE_CHECK_S = 5.0
SIX_DECIMALS, SIX_DIGITS = 5e-7, 5e-6
"""How far a decimal may be from the value that it rounds: half a unit of the sixth decimal, or of the sixth significant
digit if less.
"""
EXACT, FLOAT_ERROR = 1e-25, 1e-12
"""How far two values without decimals, computed to 30 digits, may be apart, and what arithmetic with decimals adds;
both relative.
"""


def wrap(text: str) -> str:
    r"""Return LaTeX that math-verify recognises, whether or not the text came with its own delimiters.

    >>> wrap("x+1"), wrap("$x+1$")
    ('$x+1$', '$x+1$')
    """
    return text if re.search(r"\$|\\\(|\\\[|\\boxed", text) else f"${text}$"


def are_equal(truth: str, answer: str) -> bool:
    """Return whether math-verify finds two texts equal; only its LaTeX grammar reads them, never sympy's `parse_expr`.

    Units have been taken away before: what it would take for one ("3t") is a variable. A relation may stand for a set
    of numbers.
    """
    from math_verify import LatexExtractionConfig, parse, verify
    from math_verify.parser import NormalizationConfig

    rules = NormalizationConfig(
        basic_latex=True, units=False, malformed_operators=True, nits=True, boxed="all", equations=False
    )
    config = [LatexExtractionConfig(normalization_config=rules)]
    parsed = [parse(wrap(text), config, fallback_mode="no_fallback", parsing_timeout=None) for text in (truth, answer)]
    if not all(parsed):
        return False
    return bool(verify(*parsed, timeout_seconds=None, allow_set_relation_comp=True))


def compare_numbers_relatively() -> None:
    """Replace math-verify's comparison of numbers, wherever they stand: rounded to six decimals, all small ones are
    equal to it.
    """
    from math_verify import grader
    from sympy import MatrixBase, MatrixExpr

    rounded = grader.sympy_numeric_eq

    def is_equal(truth: Any, answer: Any, float_rounding: int, numeric_precision: int) -> bool:
        if isinstance(truth, (MatrixBase, MatrixExpr)) or isinstance(answer, (MatrixBase, MatrixExpr)):
            return bool(rounded(truth, answer, float_rounding, numeric_precision))  # calls this again for each entry
        shares = [grader.get_pct_val(value) for value in (truth, answer)]
        if sum(share is not None for share in shares) == 1:
            without = [value if share is None else share for value, share in zip((truth, answer), shares, strict=True)]
            if numbers_are_equal(*without):
                return True
        return numbers_are_equal(truth, answer)

    grader.sympy_numeric_eq = is_equal


def numbers_are_equal(first: Any, second: Any) -> bool:
    """Return whether two numbers of sympy are equal, a decimal to six decimals and six significant digits.

    Of expressions with variables it says whether they are term by term the same, up to the rounding of their decimals.
    """
    from sympy import Float, Number, Rational

    if isinstance(first, Number) or isinstance(second, Number):
        first, second = first.doit(), second.doit()
    if isinstance(first, Rational) and isinstance(second, Rational):
        return bool(first == second)
    difference = (first - second).evalf(30)
    if difference == 0:
        return True
    if first.free_symbols or second.free_symbols:
        sizes = [abs(number) for value in (first.evalf(30), second.evalf(30)) for number in value.atoms(Float)]
        return bool(
            all(abs(number) <= FLOAT_ERROR * max(sizes, default=1) for number in difference.atoms(Float, Rational))
        )
    size = max(abs(first.evalf(30)), abs(second.evalf(30)))
    if not size.is_finite:
        return False
    if first.atoms(Float) or second.atoms(Float):
        return bool(abs(difference) <= min(SIX_DECIMALS, SIX_DIGITS * size) + FLOAT_ERROR * size)
    return bool(abs(difference) <= EXACT * size)


def serve(*, memory_bytes: int, seconds: float, processor_seconds: float) -> None:
    """Answer pairs from stdin on stdout until stdin closes or the parent is gone."""
    resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # nothing that a library prints may look like a verdict
    import math_verify

    # The parent watches the time; math-verify's own note about that would go nowhere.
    math_verify.parser.TIMEOUT_WARNING_SHOWN = math_verify.grader.TIMEOUT_WARNING_SHOWN = True
    compare_numbers_relatively()
    are_equal("1", "1")
    print(json.dumps({"ready": True}, allow_nan=False), file=replies, flush=True)
    parent = os.getppid()
    requests = os.fdopen(os.dup(0), "rb", buffering=0)
    while os.getppid() == parent:
        if not select.select([requests], [], [], IDLE_CHECK_S)[0]:
            continue
        line = requests.readline()
        if not line:
            return
        # No handlers: the kernel ends the process, whatever Python does.
        signal.setitimer(signal.ITIMER_PROF, processor_seconds)
        signal.setitimer(signal.ITIMER_REAL, seconds + 1)
        try:
            reply: dict[str, object] = {"equal": are_equal(*json.loads(line))}
        except (Exception, RecursionError, MemoryError) as error:
            # Any failure of sympy on a model's text is a verdict: not comparable.
            reply = {"equal": False, "problem": f"{type(error).__name__}: {str(error)[:200]}"}
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.setitimer(signal.ITIMER_REAL, 0)
        print(json.dumps(reply, allow_nan=False), file=replies, flush=True)


if __name__ == "__main__":
    serve(memory_bytes=int(sys.argv[1]), seconds=float(sys.argv[2]), processor_seconds=float(sys.argv[3]))
