"""What tasks give each other, and what a model can do that it was not trained for.

Run: python benchmarks/transfer.py runs/erring/sft/model --all runs/ablation/ema_grpo-0 --output runs/transfer

The first table leaves a family of tasks out of RL (spatial, temporal, questions): from the same weights, as many steps
of as many prompts of what is left, and the same held-out questions as benchmarks/ablation.py asked; --all is its run on
all tasks. The second asks the model in the box, the weights after SFT and those after RL about what none of them was
trained on: other drawing styles, other things, longer clips. The third asks them how long, or when, "the thing left of
the dog" is there, which no training asks, beside the same scenes with the thing's own name. Two things come and go in
each: what the answers are worth about the other one, and for other scenes, tells finding from guessing. Stopped at any
time, the same command goes on where it was.
"""

import argparse
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path

import numpy as np
from ablation import RESAMPLES, by_task, change, interval, onethinker, tasks_trained
from measuring import parser_of
from numpy.typing import NDArray

from onethinker.commands.console import progress_bar
from onethinker.core.request import SamplingParams
from onethinker.core.sample import Sample
from onethinker.data.synthetic import KINDS, make_sample
from onethinker.data.synthetic.world.composed import answer_about
from onethinker.data.synthetic.world.rendering import Shot
from onethinker.data.synthetic.world.samples import ask_about_things
from onethinker.data.synthetic.worlds import HELD_OUT, WorldName
from onethinker.evaluation.results import Result
from onethinker.evaluation.runs import load_evaluation
from onethinker.evaluation.stages import answer, score
from onethinker.families.built_in import LONGEST_ANSWER
from onethinker.inference.loading import load_engine
from onethinker.tasks import find_task, grade_response
from onethinker.training.config import RlRecipe

FAMILIES = {
    "spatial": ("spatial grounding",),
    "temporal": ("temporal grounding",),
    "questions": ("multiple choice", "numerical", "regression"),
}
"""What is left out at a time."""
UNSEEN: tuple[WorldName, ...] = ("things", "unseen-styles", "unseen-things", "long-clips")
"""What all models are asked about; the first is what they were trained on, of other combinations."""
COMPOSED: tuple[WorldName, ...] = ("by-name", "composed")
COMPOSED_KINDS = (("regression", "video"), ("temporal grounding", "video"))

Kind = tuple[str, str]
Row = NDArray[np.float64]


def main() -> None:
    """Train and ask what is missing, and print the tables."""
    asked = options()
    trained = set(RlRecipe.load(asked.recipe).data.problem_types)
    print_families(asked, trained)
    models = {"in the box": "tiny", "after SFT": asked.model, "after RL": str(asked.all / "model")}
    kinds = [kind for kind in KINDS if kind[0] in trained]
    found: dict[str, dict[str, dict[Kind, list[Result]]]] = {}
    for name, model in models.items():
        folder = asked.output / name.replace(" ", "-")
        wanted = {world: [k for k in kinds if k[1] == "video" or world != "long-clips"] for world in UNSEEN}
        found[name] = {world: ask(model, world, of, asked.each, folder) for world, of in wanted.items()}
        composed = {world: ask(model, world, COMPOSED_KINDS, asked.composed, folder) for world in COMPOSED}
        found[name] |= composed
    print_unseen(found)
    print_composed(found, asked.composed)


def options() -> argparse.Namespace:
    """Return what the command line says."""
    parser = parser_of(__doc__)
    parser.add_argument("model", help="a model folder after SFT")
    parser.add_argument("--all", type=Path, required=True, help="run folder of EMA-GRPO on all tasks, with its scores")
    parser.add_argument("--output", type=Path, default=Path("runs/transfer"), help="default: %(default)s")
    parser.add_argument("--recipe", default="erring_rl", help="name or file of the RL recipe (default: %(default)s)")
    parser.add_argument("--steps", type=int, default=60, help="of RL without a family (default: %(default)s)")
    parser.add_argument("--questions", type=int, default=880, help="after RL without one (default: %(default)s)")
    parser.add_argument("--each", type=int, default=40, help="of each task, medium and world (default: %(default)s)")
    parser.add_argument("--composed", type=int, default=200, help="of each composed kind (default: %(default)s)")
    parser.add_argument("--set", nargs="*", default=["dtype=mixed"], help="settings of RL (default: %(default)s)")
    return parser.parse_args()


def print_families(asked: argparse.Namespace, trained: set[str]) -> None:
    """Train without each family, ask, and print the change of every task since SFT."""
    runs = {"all tasks": asked.all}
    for family, left_out in FAMILIES.items():
        run = runs[f"without {family}"] = asked.output / f"without-{family}"
        kept = ", ".join(f'"{task}"' for task in sorted(trained - {*left_out}))
        settings = (f"model={asked.model}", f"steps={asked.steps}", "seed=0", "data.seed=100")
        onethinker(
            "rl", asked.recipe, "--output", str(run), "--set", *settings, f"data.problem_types=[{kept}]", *asked.set
        )
        if not (run / "scores" / "report.html").exists():
            how = ("--synthetic", str(asked.questions), "--world", "things", "--max-new-tokens", str(LONGEST_ANSWER))
            onethinker(
                "evaluate", "--model", str(run / "model"), *how, "--batch-size", "32", "--output", str(run / "scores")
            )
    start = by_task(load_evaluation(asked.all.parent / "start").results)
    tasks = [task for task in start if task in tasks_trained(asked.all)]
    scores = {name: by_task(load_evaluation(run / "scores").results) for name, run in runs.items()}
    print("\n| task | after SFT | " + " | ".join(runs) + " |\n" + "| --- " * (len(runs) + 2) + "|")
    changes = {
        name: [change(np.array([found[task]]), np.array(start[task]), np.random.default_rng(0)) for task in tasks]
        for name, found in scores.items()
    }
    for index, task in enumerate(tasks):
        cells = " | ".join(interval(parts[index]) for parts in changes.values())
        print(f"| {task} | {np.mean(start[task]):.3f} | {cells} |")
    start_mean = np.mean([np.mean(start[task]) for task in tasks])
    means = " | ".join(interval(np.mean(parts, axis=0)) for parts in changes.values())
    print(f"| mean of tasks | {start_mean:.3f} | {means} |")


def ask(model: str, world: WorldName, kinds: Sequence[Kind], count: int, folder: Path) -> dict[Kind, list[Result]]:
    """Return graded answers to held-out questions of each kind, those of an earlier run where they are there."""
    outputs = {kind: folder / f"{world} {' '.join(kind)} {count}".replace(" ", "_") for kind in kinds}
    missing = [kind for kind, output in outputs.items() if not (output / "results.jsonl").exists()]
    with load_engine(model, batch_size=32) if missing else nullcontext() as engine:
        for kind in missing:
            samples, output = questions(world, kind, count), outputs[kind]
            with progress_bar(f"{folder.name} {output.name}") as on_progress:
                sampling = SamplingParams(LONGEST_ANSWER)
                answer(engine, samples, output=output, sampling=sampling, on_progress=on_progress)
            score(samples, output=output)
    return {kind: load_evaluation(output).results for kind, output in outputs.items()}


def questions(world: WorldName, kind: Kind, count: int) -> list[Sample]:
    """Return held-out questions of a kind."""
    return [
        make_sample(0, index, problem_type=kind[0], data_type=kind[1], split=HELD_OUT, world=world)
        for index in range(count)
    ]


def accuracies(results: Sequence[Result]) -> Row:
    """Return accuracies in the order of the questions."""
    return np.array([result.grade.accuracy for result in results if result.grade is not None])


def resampled(rows: Sequence[Row]) -> Row:
    """Return resampled means: of each row over its questions, then of the rows."""
    rng = np.random.default_rng(0)
    return np.mean([row[rng.integers(len(row), size=(RESAMPLES, len(row)))].mean(1) for row in rows], axis=0)


def print_unseen(found: Mapping[str, Mapping[str, Mapping[Kind, list[Result]]]]) -> None:
    """Print the mean of tasks of each model in each world, and RL less SFT."""
    print(f"\n| world | tasks | {' | '.join(found)} | RL less SFT |\n{'| --- ' * (len(found) + 3)}|")
    for world in UNSEEN:
        rows = {name: [accuracies(results) for results in worlds[world].values()] for name, worlds in found.items()}
        cells = [plain(resampled(of)) for of in rows.values()]
        paired = [after - before for before, after in zip(rows["after SFT"], rows["after RL"], strict=True)]
        print(f"| {world} | {len(paired)} | {' | '.join(cells)} | {interval(resampled(paired))} |")
    print()
    for world in ("things", "long-clips"):
        rows = {name: [worlds[world][kind] for kind in worlds["long-clips"]] for name, worlds in found.items()}
        cells = [plain(resampled([accuracies(results) for results in of])) for of in rows.values()]
        print(f"| clips of {world} | {' | '.join(cells)} |")


def print_composed(found: Mapping[str, Mapping[str, Mapping[Kind, list[Result]]]], count: int) -> None:
    """Print how well composed questions are answered, the same by name, and what the answers are worth elsewhere."""
    columns = ("by name", "composed", "composed less by name", "for another scene", "composed less for the other thing")
    print(f"\n| model | task | {' | '.join(columns)} |\n{'| --- ' * (len(columns) + 2)}|")
    for name, worlds in found.items():
        for kind in COMPOSED_KINDS:
            named, composed = (accuracies(worlds[world][kind]) for world in COMPOSED)
            elsewhere = graded_elsewhere(worlds["composed"][kind], kind, count)
            right_less_other = graded_for_the_other(worlds["composed"][kind], kind)
            cells = [plain(resampled([row])) for row in (named, composed)]
            cells += [interval(resampled([composed - named])), plain(resampled([elsewhere]))]
            cells.append(interval(resampled([right_less_other])))
            print(f"| {name} | {kind[0]} | {' | '.join(cells)} |")


def graded_elsewhere(results: Sequence[Result], kind: Kind, count: int) -> Row:
    """Return what each answer scores as one to the ten next questions, in the mean: what a guess is worth."""
    samples, task = questions("composed", kind, count), find_task(*kind)
    return np.array(
        [
            np.mean(
                [
                    grade_response(result.response, samples[(index + k) % count].truth, task=task).accuracy
                    for k in range(1, 11)
                ]
            )
            for index, result in enumerate(results)
        ]
    )


def graded_for_the_other(results: Sequence[Result], kind: Kind) -> Row:
    """Return how much better answers are about the thing asked about than about the other one that comes and goes in
    the clip, where the two differ.
    """
    differences, task = [], find_task(*kind)
    for index, result in enumerate(results):
        question = ask_about_things(0, index, kind=kind, split=HELD_OUT, world="composed")
        assert isinstance(question.painting, Shot)
        spans = [thing.visible for thing in question.painting.scene.things if thing.visible]
        answers = {answer_about(span, kind[0]) for span in spans} - {question.answer}
        for other in answers:
            right, wrong = (
                grade_response(result.response, truth, task=task).accuracy for truth in (question.answer, other)
            )
            differences.append(right - wrong)
    return np.array(differences)


def plain(values: Row) -> str:
    """Return the mean of resampled values with the middle 95 % of them, without a sign."""
    low, high = np.quantile(values, [0.025, 0.975])
    return f"{values.mean():.3f} ({low:.3f} to {high:.3f})"


if __name__ == "__main__":
    main()
