"""Many command lines in one process: what each says, its exit code, and what it has imported."""

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

TINY_EVALUATION = ("evaluate", "--model", "untrained", "--output", "scores")
TRAIN = ("--output", "run", "--set")
RUN_ALL = """
import io, json, sys
from contextlib import redirect_stderr
from onethinker.cli import main
for words in json.load(sys.stdin):
    with redirect_stderr(io.StringIO()) as said:
        try:
            main(words)
        except SystemExit as left:
            heavy = [name for name in ("torch", "transformers", "accelerate") if name in sys.modules]
            print(json.dumps([left.code, said.getvalue().replace("\\n", " "), heavy]))
"""


def told(place: Path, rows: Sequence[tuple[str, ...]]) -> dict[tuple[str, ...], list]:
    """Return the exit code of each command line, what it says, and the heavy modules imported; one process says all."""
    done = subprocess.run(
        [sys.executable, "-c", RUN_ALL], input=json.dumps(rows), capture_output=True, text=True, cwd=place, check=False
    )
    lines = [line for line in done.stdout.splitlines() if line.startswith("[")]
    assert len(lines) == len(rows), done.stderr
    return {words: json.loads(line) for words, line in zip(rows, lines, strict=True)}
