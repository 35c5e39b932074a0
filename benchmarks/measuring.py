"""What the benchmarks share: their help, and the time and memory of this process. It needs the standard library alone,
so that a peer's environment can import it.
"""

import argparse
import resource
import time
from collections.abc import Callable


def parser_of(about: str | None) -> argparse.ArgumentParser:
    """Return a parser whose help is the docstring of a benchmark, line by line."""
    return argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)


def seconds(work: Callable[[], object]) -> float:
    """Return the processor time of some work in this process: what else runs on the machine counts little."""
    started = time.process_time()
    work()
    return time.process_time() - started


def peak_mb() -> float:
    """Return the largest memory that this process has had so far, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
