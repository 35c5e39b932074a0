"""The process in which math-verify runs: it reads a pair of texts a line, answers a verdict a line, and may be killed.

Started by `sandbox.py` as a script of its own, so it imports nothing of the package. The kernel ends it when a pair has taken
`processor_seconds` of the processor; its parent ends it after `seconds`, and an alarm a little later even where nobody is left to do so.
"""

import json
import os
import re
import resource
import select
import signal
import sys

IDLE_CHECK_S = 5.0


def wrap(text: str) -> str:
    r"""Return LaTeX that math-verify recognises, whether or not the text came with its own delimiters.

    >>> wrap("x+1"), wrap("$x+1$")
    ('$x+1$', '$x+1$')
    """
    return text if re.search(r"\$|\\\(|\\\[|\\boxed", text) else f"${text}$"


def are_equal(truth: str, answer: str) -> bool:
    """Return whether math-verify finds two texts equal; only its LaTeX grammar reads them, never sympy's `parse_expr`."""
    from math_verify import LatexExtractionConfig, parse, verify

    config = [LatexExtractionConfig()]
    parsed = [parse(wrap(text), config, fallback_mode="no_fallback", parsing_timeout=None) for text in (truth, answer)]
    if not all(parsed):
        return False
    return bool(verify(*parsed, timeout_seconds=None))


def serve(*, memory_bytes: int, seconds: float, processor_seconds: float) -> None:
    """Answer pairs from stdin on stdout until stdin closes or the parent is gone."""
    resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # nothing that a library prints may look like a verdict
    import math_verify

    # The parent watches the time; math-verify's own note about that would go nowhere.
    math_verify.parser.TIMEOUT_WARNING_SHOWN = math_verify.grader.TIMEOUT_WARNING_SHOWN = True
    are_equal("1", "1")
    print(json.dumps({"ready": True}), file=replies, flush=True)
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
        print(json.dumps(reply), file=replies, flush=True)


if __name__ == "__main__":
    serve(memory_bytes=int(sys.argv[1]), seconds=float(sys.argv[2]), processor_seconds=float(sys.argv[3]))
