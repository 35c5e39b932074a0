"""How well reading clips and answering about them overlap: 8 clips of 60 s at 720p, and an engine as slow as reading.

Run: python benchmarks/evaluate_overlap.py --folder runs/overlap [--clips 8] [--rounds 3]

The engine waits, for each request, as long as `read_clip` takes for one of the clips (the mean of the same round), and
does nothing meanwhile. Each round measures, in this order: reading all clips one after the other in this process;
reading them ahead in processes with nobody answering; answering without reading; reading and answering in series; and
the stage `answer` with its digests and its journal. The processes have been started before, as `onethinker evaluate`
starts them before it loads the model. Medians of the rounds.
"""

import os
import shutil
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from measuring import parser_of
from video import RARE, camera, write_clip

from onethinker.core.request import Request, SamplingParams
from onethinker.core.sample import Sample
from onethinker.evaluation.stages import answer
from onethinker.inference.engine import Completion
from onethinker.inference.scheduler import BatchedEngine
from onethinker.media.budget import MediaBudget
from onethinker.media.prefetch import Decoders, read_ahead
from onethinker.media.reading import read_clip
from onethinker.tasks.template import PromptTemplate

OVERLAPPED = "onethinker evaluate, stage answer"
FIRST = "  of it until the engine is first asked"


@dataclass(frozen=True)
class WaitingEngine(BatchedEngine):
    """Waits for each request, and says the same about all."""

    seconds: float
    name: str = "waiting engine"
    prompt_template: PromptTemplate = field(default_factory=PromptTemplate)
    budget: MediaBudget = field(default_factory=MediaBudget)
    max_in_flight: int = 1
    asked_at: list[float] = field(default_factory=list)

    def complete_batch(self, requests: Sequence[Request], params: SamplingParams) -> list[Completion]:
        """Return a completion for each request."""
        self.asked_at.append(time.perf_counter())
        time.sleep(self.seconds * len(requests))
        return [Completion("<think>A guess.</think><answer>2</answer>", 1, 1, "stop", self.seconds) for _ in requests]


def write_clips(folder: Path, count: int) -> list[Path]:
    """Return the clips, written where they are not there yet: the one with a moving camera of benchmarks/video.py, so
    often.
    """
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"camera{number}.mp4" for number in range(count)]
    if not paths[0].exists():
        write_clip(paths[0], camera(moves=True), RARE)
    for path in paths[1:]:
        if not path.exists():
            shutil.copyfile(paths[0], path)
    return paths


def seconds_of(work: Callable[[], object]) -> float:
    """Return how long a call takes."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def measure(paths: Sequence[Path], output: Path) -> dict[str, float]:
    """Return the seconds of one round."""
    budget = MediaBudget()
    samples = [Sample(path.stem, "How many squares?", "numerical", "video", (path,), truth="2") for path in paths]
    media = [sample.media for sample in samples]
    reading = seconds_of(lambda: [read_clip(path, budget) and None for path in paths])
    engine, asked = WaitingEngine(reading / len(paths)), WaitingEngine(reading / len(paths))
    found = {"reading in series": reading}
    with warm_decoders() as decoders:
        found["reading ahead alone"] = seconds_of(lambda: [None for _ in read_ahead(media, budget, decoders)])
    found["answering alone"] = seconds_of(
        lambda: [engine.complete([Request("How many?")], SamplingParams()) for _ in paths]
    )
    found["read, then answer, in series"] = seconds_of(
        lambda: [
            engine.complete([Request("How many?", (read_clip(path, budget),))], SamplingParams()) for path in paths
        ]
    )
    shutil.rmtree(output, ignore_errors=True)
    with warm_decoders() as decoders:
        started = time.perf_counter()
        answer(asked, samples, output=output, decoders=decoders)
        found[OVERLAPPED] = time.perf_counter() - started
    found[FIRST] = asked.asked_at[0] - started
    return found


@contextmanager
def warm_decoders() -> Iterator[Decoders]:
    """Yield processes that have had the time to start which loading a model gives them in `onethinker evaluate`."""
    with Decoders() as decoders:
        decoders.warm_up()
        time.sleep(2)
        yield decoders


def main() -> None:
    """Print the medians of the rounds and their ratios."""
    parser = parser_of(__doc__)
    parser.add_argument("--folder", type=Path, required=True, help="where clips and journals are written")
    parser.add_argument(
        "--clips",
        type=int,
        default=8,
        help="clips; n take at least n + 1 turns, since none is answered before it is read",
    )
    parser.add_argument("--rounds", type=int, default=3, help="measurements, whose medians are printed")
    options = parser.parse_args()
    paths = write_clips(options.folder, options.clips)
    print(f"{os.cpu_count()} cores, {Decoders().workers} processes, clips of {paths[0].stat().st_size / 1e6:.1f} MB")
    rounds = [measure(paths, options.folder / "run") for _ in range(options.rounds)]
    seconds = {name: statistics.median(own[name] for own in rounds) for name in rounds[0]}
    for name, value in seconds.items():
        print(f"| {name} | {value:.2f} s | {', '.join(f'{own[name]:.2f}' for own in rounds)} |")
    slower = [max(own["reading ahead alone"], own["answering alone"]) for own in rounds]
    fractions = [alone / own[OVERLAPPED] for alone, own in zip(slower, rounds, strict=True)]
    steady = [own["answering alone"] / (own[OVERLAPPED] - own[FIRST]) for own in rounds]
    gains = [own["read, then answer, in series"] / own[OVERLAPPED] for own in rounds]
    print(
        f"throughput: {statistics.median(fractions):.3f} of the slower of the two alone,"
        f" {statistics.median(gains):.2f} times in series"
    )
    print(f"from the first request on the engine is busy for {statistics.median(steady):.3f} of the time")


if __name__ == "__main__":
    main()
