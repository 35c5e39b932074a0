"""What corrected answers do for a model: adapted to things that it has never seen, beside what it could do before.

    python benchmarks/domain.py --output runs/domain

The model in the box answers questions about pictures of the 30 things that its training never showed (`onethinker
ask`); the person who corrects is played by the exact truths of the scenes, which are written beside the answers;
`onethinker data from-answers` makes records of them, `data mix` adds old records (--replay is their share), and `sft`
learns them. Both models then answer held-out questions about the new things and about the old ones, and the
differences are paired. Settings are chosen with --split validation; --split test is for the one that was chosen.
Painted files and finished runs stay in --output, so the same command goes on where it was stopped.
"""

import argparse
import json
import shlex
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from measuring import parser_of

from onethinker.core.frames import Clip
from onethinker.core.sample import Sample
from onethinker.data.formats.released import read_samples, write_samples
from onethinker.data.synthetic import make_sample
from onethinker.data.synthetic.worlds import WorldName
from onethinker.evaluation.comparison import Comparison, compare_runs
from onethinker.evaluation.runs import load_runs
from onethinker.families.built_in import LONGEST_ANSWER
from onethinker.media.writing import save_picture
from onethinker.storage.atomic import write_atomically
from onethinker.storage.strict_json import to_file_json

TASKS = ("spatial grounding", "multiple choice", "open-ended")
"""What is asked, about pictures: in these a thing's name counts."""
WORLDS: dict[str, WorldName] = {"new": "unseen-things", "old": "things"}
CORRECTED = "corrected"
"""The source of records out of answers; that of old ones is "synthetic"."""


def main() -> None:
    """Paint, ask, correct, train and compare, as far as it is not done."""
    asked = options()
    painted = asked.output / "painted"
    held_out = asked.split if asked.seed == 1 else f"{asked.split}-{asked.seed}"
    stems = {name: f"{name}-{held_out}-{asked.questions}" for name in WORLDS}
    replayed = round(asked.records * asked.replay / (1 - asked.replay))
    learned, old = painted / f"new-train-{asked.records}.jsonl", painted / f"old-train-{replayed}.jsonl"
    paint(learned, WORLDS["new"], "train", 1, asked.records)
    paint(old, WORLDS["old"], "train", 1, replayed)
    for name, world in WORLDS.items():
        paint(painted / f"{stems[name]}.jsonl", world, asked.split, asked.seed, asked.questions)
    corrected = asked.output / f"{asked.written}-{asked.records}.jsonl"
    if not corrected.exists():
        answers = correct(learned, corrected, asked.model, asked.written)
        onethinker("data", "from-answers", answers, "--output", corrected, "--source", CORRECTED, "--answer-only")
    model = adapt(asked, corrected, old, replayed)
    print(f"| {held_out} | task | pairs | before | after | difference (95 %) |\n|{' --- |' * 6}")
    for name in WORLDS:
        questions, folder = painted / f"{stems[name]}.jsonl", asked.output / stems[name]
        before = evaluate(asked.model, questions, folder / "before")
        after = evaluate(str(model), questions, folder / model.parent.name)
        for row in compare_runs(*load_runs([before, after]).runs).rows:
            print(line_of(name, row))


def options() -> argparse.Namespace:
    """Return what the command line says."""
    parser = parser_of(__doc__)
    parser.add_argument("--output", type=Path, default=Path("runs/domain"), help="default: %(default)s")
    parser.add_argument("--model", default="tiny", help="a model folder or name (default: %(default)s)")
    parser.add_argument("--split", choices=("validation", "test"), default="test", help="default: %(default)s")
    parser.add_argument("--seed", type=int, default=1, help="of the held-out questions (default: %(default)s)")
    parser.add_argument("--records", type=int, default=960, help="corrected answers (default: %(default)s)")
    parser.add_argument("--questions", type=int, default=600, help="of each world (default: %(default)s)")
    parser.add_argument(
        "--written",
        choices=("truth", "response"),
        default="response",
        help="what the person writes: the right answer alone, or a response with a reasoning (default: %(default)s)",
    )
    parser.add_argument("--replay", type=float, default=0.667, help="share of old records (default: %(default)s)")
    parser.add_argument("--steps", type=int, default=180, help="of 32 records (default: %(default)s)")
    parser.add_argument("--rate", default="5e-4", help="learning rate (default: %(default)s)")
    parser.add_argument("--frozen", nargs="*", default=["model.visual"], help="default: %(default)s")
    asked = parser.parse_args()
    if not 0 <= asked.replay < 1:
        parser.error("--replay must be 0 or more and below 1")
    return asked


def paint(file: Path, world: WorldName, split: str, seed: int, count: int) -> None:
    """Write questions of the tasks in turn, each about a picture of its own, unless they are there."""
    if file.exists():
        return
    media = file.with_suffix("")
    media.mkdir(parents=True, exist_ok=True)

    def samples() -> Iterable[Sample]:
        for index in range(count):
            task = TASKS[index % len(TASKS)]
            sample = make_sample(seed, index, problem_type=task, data_type="image", split=split, world=world)
            (clip,) = sample.media
            assert isinstance(clip, Clip)
            path = media / f"{index:05d}.png"
            save_picture(clip.frames[0], path)
            yield replace(sample, media=(path,))

    write_samples(file, samples())


def correct(file: Path, corrected: Path, model: str, written: str) -> Path:
    """Return a file of the model's answers to the questions of a file, each with what the person writes beside it; it
    lies where `corrected` will be made of it.
    """
    samples = {sample.id: sample for sample in read_samples(file)}
    questions, answers = (corrected.with_name(f"{kind}-{len(samples)}.jsonl") for kind in ("questions", "answers"))
    if not answers.exists():
        rows = [
            {
                "id": sample.id,
                "question": sample.problem,
                "media": [str(Path(str(medium)).resolve()) for medium in sample.media],
                "task": sample.problem_type,
                "options": list(sample.options),
            }
            for sample in samples.values()
        ]
        write_atomically(questions, "".join(f"{to_file_json(row)}\n" for row in rows))
        limit = ("--max-new-tokens", LONGEST_ANSWER)
        write_atomically(answers, onethinker("ask", "--questions", questions, "--model", model, "--json", *limit))
    lines = []
    for line in answers.read_text().splitlines():
        answer = json.loads(line)
        sample = samples[answer["id"]]
        own = {"response": sample.response} if written == "response" else {}
        lines.append(to_file_json({**answer, "truth": sample.truth, **own}))
    file = corrected.with_suffix(".answers.jsonl")
    write_atomically(file, "".join(f"{line}\n" for line in lines))
    return file


def adapt(asked: argparse.Namespace, corrected: Path, old: Path, count: int) -> Path:
    """Return the folder of the model that has learned the corrected records and so many old ones."""
    mixed = corrected.with_name(f"{corrected.stem}-replay-{asked.replay:g}.jsonl")
    if not mixed.exists():
        counts = (f"source:{CORRECTED}={asked.records}", f"source:synthetic={count}") if count else ()
        files = (corrected, old) if count else (corrected,)
        onethinker("data", "mix", *files, "--output", mixed, *(("--count", *counts) if count else ()))
    run = asked.output / f"{mixed.stem}-{asked.rate}-{asked.steps}-{'frozen' if asked.frozen else 'all'}"
    settings = {
        "model": json.dumps(asked.model),
        "data.files": json.dumps([str(mixed.resolve())]),
        "data.weights": "{}",
        "data.questions_per_clip": "1",
        "frozen": json.dumps(asked.frozen),
        "steps": str(asked.steps),
        "batch_size": "32",
        "optimizer.kind": "adamw",
        "optimizer.beta2": "0.98",
        "optimizer.learning_rate": asked.rate,
        "optimizer.warmup_steps": "5",
    }
    if not (run / "model").exists():
        changes = (f"{name}={value}" for name, value in settings.items())
        onethinker("sft", "things_sft", "--output", run, "--set", *changes)
    return run / "model"


def evaluate(model: str, questions: Path, folder: Path) -> Path:
    """Return the folder of a model's greedy answers to the questions of a file."""
    if not (folder / "report.html").exists():
        limits = ("--max-new-tokens", LONGEST_ANSWER, "--batch-size", 32)
        onethinker("evaluate", "--model", model, "--data", questions, *limits, "--output", folder)
    return folder


def onethinker(*words: object) -> str:
    """Return what a command prints; its progress is shown. Ends this program where the command fails."""
    command = [sys.executable, "-m", "onethinker", *map(str, words)]
    print(shlex.join(command[2:]), file=sys.stderr)
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        sys.exit(done.returncode)
    return done.stdout


def line_of(name: str, row: Comparison) -> str:
    """Return a line of the table in Markdown."""
    difference = f"{row.difference:+.3f} ({row.low:+.3f} to {row.high:+.3f})"
    return f"| {name} | {row.what} | {row.num_pairs} | {row.before:.3f} | {row.after:.3f} | {difference} |"


if __name__ == "__main__":
    main()
