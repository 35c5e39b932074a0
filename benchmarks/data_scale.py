"""How long `onethinker data` takes for many records, and how much memory at most: each command is a process of its own.

    python benchmarks/data_scale.py --records 1000000

The records are questions about pictures that are not opened; memory is the largest of the command's own process.
"""

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from measuring import parser_of

ALONE = ["--workers", "1"]
COMMANDS = {
    "check": ["check", "{file}", "--no-media", *ALONE],
    "stats": ["stats", "{file}", "--no-media", *ALONE],
    "filter": ["filter", "{file}", "--output", "{folder}/kept.jsonl", "--source", "a", *ALONE],
    "mix": ["mix", "{file}", "--output", "{folder}/mixed.jsonl", "--weight", "source:a=3", "--total", "{half}"],
    "convert": ["convert", "{file}", "{folder}/swift.jsonl", "--to", "swift"],
}


def main() -> None:
    """Write the records, and run each command on them."""
    parser = parser_of(__doc__)
    parser.add_argument("--records", type=int, default=1_000_000, help="default: %(default)s")
    parser.add_argument("--commands", nargs="+", choices=COMMANDS, default=list(COMMANDS))
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "many.jsonl"
        write(file, arguments.records)
        print(f"{arguments.records:,} records, {file.stat().st_size / 1e6:,.0f} MB", flush=True)
        named = {"file": str(file), "folder": folder, "half": str(arguments.records // 2)}
        for name in arguments.commands:
            measure(name, [word.format(**named) for word in COMMANDS[name]])


def write(file: Path, count: int) -> None:
    """Write records with ids and questions of their own, of two sources."""
    about = {"problem_type": "numerical", "data_type": "image", "images": ["a.png"], "options": []}
    with file.open("w") as lines:
        for number in range(count):
            own = {"problem_id": number, "problem": f"<image>How many cups, {number}?", "answer": str(number % 9)}
            lines.write(json.dumps({**about, **own, "data_source": "ab"[number % 2]}) + "\n")


def measure(name: str, words: list[str]) -> None:
    """Run a command and print its time and the most memory that it had."""
    start = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, "-m", "onethinker", "data", *words], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    _, status, usage = os.wait4(process.pid, 0)
    seconds, processor = time.monotonic() - start, usage.ru_utime + usage.ru_stime
    print(
        f"{name:8} exit {os.waitstatus_to_exitcode(status)}, {seconds:,.0f} s, {processor:,.0f} s of processor time,"
        f" at most {usage.ru_maxrss / 1024:,.0f} MB",
        flush=True,
    )


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    main()
