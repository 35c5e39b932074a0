"""What a model can do in the world of things, for its card: accuracy, MRA, ROUGE, IoU, J and others.

    python benchmarks/things.py tiny --output runs/card --into onethinker/families/weights/README.md

Asks greedily about held-out scenes, so many of each problem type about pictures and about clips: in the drawing styles
that training shows, in others (unseen-styles) and about other things (unseen-things); masks are GrabCut's. Writes
table.md and results.json to --output, and the table between the marks of the file --into; and ways.md, which shows for
the first world how each way of asking fares: what to look at before anything is changed. With --split validation the
questions are others than those of the card. Every answer is kept: stopped at any time, the same command resumes, and
says how long it will take.
"""

import argparse
import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from itertools import product
from pathlib import Path

from measuring import parser_of

from onethinker.commands.console import progress_bar
from onethinker.commands.stages import Cost, Stages
from onethinker.commands.tables import in_words
from onethinker.core.errors import DataError
from onethinker.core.request import SamplingParams
from onethinker.core.sample import Sample
from onethinker.data.synthetic import make_sample
from onethinker.data.synthetic.samples import KINDS
from onethinker.data.synthetic.world.samples import ask_about_things
from onethinker.data.synthetic.worlds import HELD_OUT, WorldName
from onethinker.evaluation.masking import measure_masks
from onethinker.evaluation.metrics import Estimate, Score, estimate, score_tasks
from onethinker.evaluation.results import Result, weights_digest
from onethinker.evaluation.stages import answer, score
from onethinker.families.built_in import LONGEST_ANSWER, folder_of
from onethinker.inference.engine import Engine
from onethinker.inference.loading import load_engine
from onethinker.processes.machine import about_this_machine
from onethinker.segmenters.base import load_segmenter
from onethinker.storage.atomic import write_atomically
from onethinker.storage.strict_json import to_json

WORLDS: tuple[WorldName, ...] = ("things", "unseen-styles", "unseen-things")
SEGMENTER = "grabcut"
TARGETS: dict[tuple[str, str], dict[str, float]] = {
    **{
        (task, medium): {"accuracy": 0.9}
        for task in ("multiple choice", "numerical", "math")
        for medium in ("image", "video")
    },
    **{("regression", medium): {"MRA": 0.65} for medium in ("image", "video")},
    **{("OCR", medium): {"1-WER": 0.85} for medium in ("image", "video")},
    **{("open-ended", medium): {"mean ROUGE": 0.7} for medium in ("image", "video")},
    ("spatial grounding", "image"): {"IoU": 0.7},
    ("temporal grounding", "video"): {"tIoU": 0.65},
    ("spatial-temporal grounding", "video"): {"tIoU": 0.5, "sIoU": 0.5},
    ("tracking", "video"): {"AO": 0.6},
    ("segmentation", "image"): {"J": 0.65},
    ("segmentation", "video"): {"J&F": 0.55},
}
"""The numbers shown of each problem type and medium, and what they shall be in the first world."""
OWN_NAMES = {"mean ROUGE": "accuracy", "J": "gIoU", "J&F": "J&F (official)"}
"""What the tables' numbers are called in a score, where that is not the same."""
WAYS_HEAD = "| task | about | asked by | questions | accuracy |", f"|{' --- |' * 5}"
MARKS = "<!-- results of benchmarks/things.py -->", "<!-- end of the results -->"


@dataclass(frozen=True)
class Row:
    """One number of a task in one world."""

    world: str
    task: str
    medium: str
    metric: str
    questions: int
    target: float
    estimate: Estimate


def main() -> None:
    """Ask, grade, and write the table."""
    asked = options()
    parts = list(product(asked.worlds, KINDS))
    # A clip takes about twice as long as a picture.
    costs = {name_of(world, kind): Cost(1, 1.0 + (kind[1] == "video")) for world, kind in parts}
    stages, rows, ways = Stages.open(asked.output / "seconds.json", costs), list[Row](), list[str]()
    with load_engine(asked.model, batch_size=asked.batch_size) as engine:
        for world, kind in parts:
            name = name_of(world, kind)
            folder = asked.output / name.replace(" ", "_")
            work = partial(measure, engine, world, kind, asked.questions, asked.split, folder)
            found, lines = stages.run(name, work)
            rows += found
            ways += lines if world == asked.worlds[0] else []
    table = f"{heading(asked.model, asked.questions, asked.split)}\n\n{table_of(rows)}"
    write_atomically(asked.output / "ways.md", "\n".join((*WAYS_HEAD, *ways, "")))
    write_atomically(asked.output / "table.md", table + "\n")
    write_atomically(asked.output / "results.json", to_json([asdict(row) for row in rows], indent=2) + "\n")
    if asked.into is not None:
        write_atomically(asked.into, put_between_marks(asked.into.read_text(), table))
    print(table)


def options() -> argparse.Namespace:
    """Return what the command line says."""
    parser = parser_of(__doc__)
    parser.add_argument("model", nargs="?", default="tiny", help='a model folder or name (default: "tiny")')
    parser.add_argument("--output", type=Path, required=True, help="folder for answers, results and table")
    parser.add_argument("--questions", type=int, default=500, help="of each task and medium (default: %(default)s)")
    parser.add_argument("--split", choices=("validation", HELD_OUT), default=HELD_OUT, help="default: %(default)s")
    parser.add_argument("--worlds", nargs="+", choices=WORLDS, default=WORLDS, help="default: all three")
    parser.add_argument("--batch-size", type=int, default=32, help="answered together (default: %(default)s)")
    parser.add_argument("--into", type=Path, help="a Markdown file with the marks between which the table goes")
    asked = parser.parse_args()
    if asked.questions < 1:
        parser.error("--questions must be 1 or more")
    if asked.into is not None and asked.split != HELD_OUT:
        parser.error(f"--into is for held-out questions (--split {HELD_OUT})")
    if asked.into is not None:
        try:
            put_between_marks(asked.into.read_text(), "")
        except (OSError, DataError) as error:
            parser.error(f"--into {asked.into}: {error}")
    return asked


def name_of(world: str, kind: tuple[str, str]) -> str:
    """Return what a part is called, and its folder."""
    return f"{world} {kind[0]} {kind[1]}"


def ask_about(world: WorldName, kind: tuple[str, str], questions: int, split: str) -> tuple[list[Sample], list[str]]:
    """Return questions of one problem type and medium in one world, and in which way each is asked."""
    samples, ways = [], []
    for index in range(questions):
        samples.append(make_sample(0, index, problem_type=kind[0], data_type=kind[1], split=split, world=world))
        ways.append(ask_about_things(0, index, kind=kind, split=split, world=world).way)
    return samples, ways


def measure(
    engine: Engine, world: WorldName, kind: tuple[str, str], questions: int, split: str, folder: Path
) -> tuple[list[Row], list[str]]:
    """Return the numbers of one problem type and medium in one world, and a line for each way in which it is asked.

    Raises: DataError: a question has no answer.
    """
    problem_type, medium = kind
    samples, ways = ask_about(world, kind, questions, split)
    with progress_bar(folder.name) as on_progress:
        answer(engine, samples, output=folder, sampling=SamplingParams(LONGEST_ANSWER), on_progress=on_progress)
    results = score(samples, output=folder)
    if problem_type == "segmentation":
        with progress_bar(f"masks of {folder.name}") as on_progress:
            results = measure_masks(load_segmenter(SEGMENTER), samples, results, output=folder, on_progress=on_progress)
    (own,) = score_tasks(results)
    rows = [
        Row(world, problem_type, medium, metric, len(samples), target, number(own, metric))
        for metric, target in TARGETS[kind].items()
    ]
    return rows, by_way(kind, results, ways)


def by_way(kind: tuple[str, str], results: Sequence[Result], ways: Sequence[str]) -> list[str]:
    """Return a line for each way in which a kind of question is asked: its accuracy, or what stands for it."""
    found = defaultdict[str, list[float]](list)
    for result, way in zip(results, ways, strict=True):
        assert result.grade  # without it `measure` has no number and says so
        found[way].append(result.grade.accuracy)
    about = "pictures" if kind[1] == "image" else "clips"
    return [
        f"| {kind[0]} | {about} | {way} | {len(values)} | {in_words(estimate(values))} |"
        for way, values in sorted(found.items())
    ]


def number(own: Score, metric: str) -> Estimate:
    """Return one number of a task. Raises: DataError: it has none, as not every question has an answer."""
    name = OWN_NAMES.get(metric, metric)
    found = own.accuracy if name == "accuracy" else own.metrics.get(name)
    if found is None:
        raise DataError(f"{own.task}: no {name}: {own.num_failed} of {own.num_samples} questions have no grade")
    return found


def heading(model: str, questions: int, split: str) -> str:
    """Return how the table came about."""
    about, digest = about_this_machine(), weights_digest(folder_of(model))
    kept = "" if split == HELD_OUT else f" of the {split} split"
    asked = f"{questions} questions{kept} a row and column"
    how = f"{asked}, greedy answers, 95 % intervals (bootstrap), masks by {SEGMENTER}"
    return f"{how}; weights {(digest or 'none')[:12]}, {about['date']}, {about['machine']}."


def table_of(rows: list[Row]) -> str:
    """Return the table in Markdown: a line for each number of each task and medium, a column for each world.

    What other worlds reach is also given as a share of what the first one does.
    """
    worlds = list(dict.fromkeys(row.world for row in rows))
    by_line: dict[tuple[str, str, str, float], dict[str, Estimate]] = {}
    for row in rows:
        by_line.setdefault((row.task, row.medium, row.metric, row.target), {})[row.world] = row.estimate
    lines = [f"| task | about | metric | wanted | {' | '.join(worlds)} |", f"|{' --- |' * (4 + len(worlds))}"]
    for (task, medium, metric, target), found in by_line.items():
        cells = [in_words(found[world]) + share(found[world], found[worlds[0]], world != worlds[0]) for world in worlds]
        about = "pictures" if medium == "image" else "clips"
        lines.append(f"| {task} | {about} | {metric} | {target:.2f} | {' | '.join(cells)} |")
    return "\n".join(lines)


def share(estimate: Estimate, of: Estimate, is_other: bool) -> str:
    """Return how much of the mean `of` another one is, "" where it is no other or `of` is 0."""
    return f", {estimate.mean / of.mean:.0%}" if is_other and of.mean else ""


def put_between_marks(text: str, table: str) -> str:
    """Return a text with a table in place of what is between the marks. Raises: DataError: they are not in it."""
    begin, end = map(re.escape, MARKS)
    new, count = re.subn(f"{begin}.*{end}", lambda _: f"{MARKS[0]}\n{table}\n{MARKS[1]}", text, flags=re.DOTALL)
    if count != 1:
        raise DataError(f"--into needs a file with the lines {MARKS[0]} and {MARKS[1]}")
    return new


if __name__ == "__main__":
    main()
