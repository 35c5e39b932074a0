"""What a question about a picture costs with the model in the box: seconds of the processor and memory, step by step.

Run: OMP_NUM_THREADS=1 python benchmarks/asking.py

Importing and loading are apart from asking. "resident" is what the process has in main memory, libraries included that
it shares with others; "its own" is what no other process could share.
"""

import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from measuring import parser_of

QUESTIONS = 9
T = TypeVar("T")


def main() -> None:
    """Measure and print a table."""
    parser_of(__doc__).parse_args()
    rows: list[tuple[str, float, str]] = []

    def measured(what: str, work: Callable[[], T]) -> T:
        started = time.process_time()
        result = work()
        rows.append((what, time.process_time() - started, memory()))
        return result

    def load() -> Any:
        from onethinker import Thinker

        return Thinker.load("tiny")

    thinker = measured("import and load", load)
    from onethinker.data.synthetic import make_sample

    (picture,) = make_sample(0, 6, world="things", split="test").media
    measured("the first question", lambda: thinker.ask(picture.frames[0], "Where is the cat?"))
    for number in range(QUESTIONS):
        measured(f"question {number + 2}", lambda: thinker.ask(picture.frames[0], "Where is the cat?"))
    later = sorted(rows[2:], key=lambda row: row[1])
    print("| | seconds | MB resident (its own) |\n| --- | --- | --- |")
    for what, seconds, megabytes in (*rows[:2], ("a later question, median", *later[QUESTIONS // 2][1:])):
        print(f"| {what} | {seconds:.2f} | {megabytes} |")


def memory() -> str:
    """Return the memory of this process in MB: resident, and what is its own."""
    rollup = Path("/proc/self/smaps_rollup").read_text()
    kib = {name: int(value) for name, value in re.findall(r"(\w+): +(\d+) kB", rollup)}
    return f"{kib['Rss'] / 1e3:.0f} ({(kib['Private_Clean'] + kib['Private_Dirty']) / 1e3:.0f})"


if __name__ == "__main__":
    main()
