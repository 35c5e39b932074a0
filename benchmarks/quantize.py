"""What `--quantize` costs the model in the box: bytes of its weights, seconds, and accuracy.

    python benchmarks/quantize.py --output runs/quantize --questions 12

Asks greedily about held-out scenes of things, so many of each task about pictures and about clips, with the weights in
float32, bfloat16, 8 and 4 bits. Differences are of the same questions, with 95 % intervals (normal). Masks are not
made: a segmentation is graded by its box and points. Answers are kept in --output; seconds count only what was answered
now.
"""

import argparse
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from measuring import parser_of, seconds

from onethinker.core.request import SamplingParams
from onethinker.core.sample import Sample
from onethinker.data.synthetic import make_sample
from onethinker.data.synthetic.samples import KINDS
from onethinker.data.synthetic.worlds import HELD_OUT
from onethinker.evaluation.stages import answer, score
from onethinker.families.built_in import LONGEST_ANSWER
from onethinker.inference.engine import Engine
from onethinker.inference.loading import load_engine, load_local
from onethinker.inference.settings import Quantization
from onethinker.processes.machine import about_this_machine

FORMS: tuple[str, ...] = ("float32", "bfloat16", "int8", "int4")
QUANTIZED: dict[str, Quantization] = {"int8": "int8", "int4": "int4"}


@dataclass(frozen=True)
class Measured:
    """What one form of the weights takes, and the accuracy of each question."""

    form: str
    mb: float
    seconds: float
    accuracies: tuple[float, ...]


def main() -> None:
    """Ask each form the same questions, and print the table."""
    parser = parser_of(__doc__)
    parser.add_argument("--model", default="tiny", help='a model folder or name (default: "tiny")')
    parser.add_argument("--output", type=Path, required=True, help="folder for answers")
    parser.add_argument("--questions", type=int, default=12, help="of each task and medium (default: %(default)s)")
    asked: argparse.Namespace = parser.parse_args()
    samples = [
        make_sample(0, len(KINDS) * index + place, problem_type=task, data_type=medium, split=HELD_OUT, world="things")
        for place, (task, medium) in enumerate(KINDS)
        for index in range(asked.questions)
    ]
    about, rows = about_this_machine(), list[Measured]()
    for form in FORMS:
        with load(asked.model, form) as engine:
            rows.append(measure(engine, form, samples, asked.output / form))
    print(f"{len(samples)} questions, {about['date']}, {about['machine']}\n")
    print("| weights | MB | s a question | mean accuracy | against float32 |\n| --- | --- | --- | --- | --- |")
    for row in rows:
        print(line_of(row, rows[0]))


def load(model: str, form: str) -> Engine:
    """Return the model on this machine with its weights in a form."""
    return load_engine(model, quantization=QUANTIZED[form]) if form in QUANTIZED else load_local(model, dtype=form)


def measure(engine: Any, form: str, samples: list[Sample], output: Path) -> Measured:
    """Return what a form takes for these samples: processor time, all parts of weights, embeddings and head too."""
    taken = seconds(lambda: answer(engine, samples, output=output, sampling=SamplingParams(LONGEST_ANSWER)))
    results = score(samples, output=output)
    grades = tuple(result.grade.accuracy if result.grade else 0.0 for result in results)
    return Measured(form, stored_bytes(engine.model) / 1e6, taken / len(samples), grades)


def stored_bytes(model: Any) -> int:
    """Return the bytes of all weights; those of torchao are made of several tensors."""
    total = 0
    for weight in model.parameters():
        names = weight.__tensor_flatten__()[0] if hasattr(weight, "__tensor_flatten__") else ()
        total += sum(getattr(weight, name).nbytes for name in names) if names else weight.nbytes
    return total


def line_of(row: Measured, first: Measured) -> str:
    """Return a row of the table."""
    apart = [one - other for one, other in zip(row.accuracies, first.accuracies, strict=True)]
    against = f"{fmean(apart):+.3f} ± {1.96 * stdev(apart) / len(apart) ** 0.5:.3f}" if row is not first else ""
    return f"| {row.form} | {row.mb:.1f} | {row.seconds:.2f} | {fmean(row.accuracies):.3f} | {against} |"


if __name__ == "__main__":
    main()
