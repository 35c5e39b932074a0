"""`onethinker quickstart`: the model in the box is asked, evaluated, improved by RL and evaluated again."""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from onethinker.commands.stages import Cost, Stages
from onethinker.core.errors import ConfigError
from onethinker.data.synthetic.worlds import HELD_OUT, WorldName
from onethinker.families.built_in import LONGEST_ANSWER, TINY
from onethinker.storage.atomic import check_writable, write_atomically, writing
from onethinker.storage.folders import MODEL_FOLDER, RECIPE_FILE, REPORT_FILE, SETTINGS_FILE
from onethinker.storage.strict_json import to_json

if TYPE_CHECKING:
    from onethinker.core.sample import Sample
    from onethinker.training.config import Recipe

SUMMARY_FILE = "quickstart.json"
RECORDS = "data/samples.jsonl"
SUFFIXES = {"image": "png", "video": "mp4"}
CPU_PROCESSES = 2
"""Training processes where there is no GPU."""
LESSONS = {
    "where": "things_where_sft",
    "few": "things_few_sft",
    "told": "things_told_sft",
    "notes": "things_notes_sft",
    "read": "things_read_sft",
    "moments": "things_moments_sft",
    "watch": "things_watch_sft",
    "sft": "things_sft",
}
"""Recipes of the lessons after the vision tower's, by the folders that they train into."""
REFERENCE_S: dict[str, tuple[int, float]] = {
    "evaluate before": (176, 40.0),
    "rl": (12, 169.0),
    "evaluate after": (176, 41.0),
}
"""Steps, or questions, and seconds of each stage in docs/results/quickstart.md. The stages' lengths relative to each
other are taken from there; the first steps on this machine give the scale."""
LESSONS_S: dict[str, tuple[int, float]] = {
    "sight": (2400, 3600.0),
    "letters": (2000, 4000.0),
    "where": (150, 325.0),
    "few": (700, 2050.0),
    "told": (600, 660.0),
    "notes": (450, 590.0),
    "read": (1000, 1200.0),
    "moments": (150, 330.0),
    "watch": (400, 720.0),
    "sft": (2350, 3200.0),
}
"""Steps and seconds of the lessons of --from-nothing, as on the same page."""
WORLD: WorldName = "unseen-styles"
"""What RL teaches: the same things in drawing styles that the model has never seen."""


def quickstart(
    *,
    output: Path = Path("runs/quickstart"),
    from_nothing: bool = False,
    processes: int | None = None,
    set_sft: tuple[str, ...] = (),
    set_rl: tuple[str, ...] = (),
    num_samples: int = 176,
) -> None:
    """Ask the bundled model about pictures and clips, improve it by EMA-GRPO, and compare before and after.

    RL teaches it the same things in drawing styles that it has never seen. This needs no GPU, no network and no
    download, and takes about five minutes on two cores; once RL has begun, the command prints an estimate for this
    machine. If it is stopped, the same command resumes.

    The stages are also separate commands: `onethinker data synthetic --world unseen-styles`, `evaluate`, `rl
    styles_rl`, `report`; with --from-nothing also `sft` with `things_where_sft`, `things_few_sft`, `things_told_sft`,
    `things_notes_sft`, `things_read_sft`, `things_moments_sft`, `things_watch_sft` and `things_sft`.

    Args:
        output: Folder for all results.
        from_nothing: First train such a model from random weights, in this order: its vision tower, letters, where
            things are, few things, scenes in words, notes, reading, clips, all tasks. Takes hours.
        processes: Number of training processes; by default one per GPU, or two without a GPU.
        set_sft: With --from-nothing: settings that override those of all its SFT recipes, such as steps=100.
        set_rl: Settings that override those of the recipe styles_rl.
        num_samples: Number of held-out questions for the evaluation.
    """
    check_writable(output, "folder", flag="--output")
    costs = _check(set_sft, set_rl, from_nothing=from_nothing, processes=processes, num_samples=num_samples)
    model = str(output / list(LESSONS)[-1] / MODEL_FOLDER) if from_nothing else TINY
    _check_folder(output, model, set_rl, num_samples)
    stages = Stages.open(output / SUMMARY_FILE, costs)
    # Mistakes that show without torch are reported; from here on it is imported.
    import torch
    from transformers.utils.logging import disable_progress_bar

    from onethinker.commands.training import check_processes

    disable_progress_bar()
    processes = processes if processes is not None else torch.cuda.device_count() or CPU_PROCESSES
    check_processes(processes)

    if from_nothing:
        _train_from_nothing(stages, output, set_sft, processes)
    learned, records = output / "rl" / MODEL_FOLDER, output / RECORDS
    stages.run("ask", lambda: _ask_everything(model, output / "pictures"))
    stages.run("data", lambda: _write_data(records, num_samples))
    stages.run("evaluate before", lambda: _evaluate(model, records, output / "before"))
    stages.train("rl", "rl", "styles_rl", (f"model={to_json(model)}", *set_rl), processes)
    stages.run("evaluate after", lambda: _evaluate(str(learned), records, output / "after"))
    stages.run("report", lambda: _write_report(output))
    _print_where(output, learned, stages.seconds)


def _check(
    set_sft: tuple[str, ...], set_rl: tuple[str, ...], *, from_nothing: bool, processes: int | None, num_samples: int
) -> dict[str, Cost]:
    """Return what the stages cost where the reference was measured.

    Raises: ConfigError, DataError: settings with which a later stage would fail.
    """
    from onethinker.commands.training import check_count
    from onethinker.training.config import RlRecipe, SftRecipe
    from onethinker.training.preflight import check_batch, check_recipe, samples_of

    if set_sft and not from_nothing:
        raise ConfigError("--set-sft needs --from-nothing: without it there is no SFT")
    if num_samples < 1:
        raise ConfigError(f"--num-samples must be at least 1, got {num_samples}")
    started = 1 if processes is None else processes
    check_count(started)
    costs = {name: Cost(*LESSONS_S[name]) for name in ("sight", "letters") if from_nothing}
    trained: dict[str, tuple[Recipe, Recipe]] = {
        name: (SftRecipe.load(recipe), SftRecipe.load(recipe, set_sft))
        for name, recipe in LESSONS.items()
        if from_nothing
    }
    trained["rl"] = RlRecipe.load("styles_rl"), RlRecipe.load("styles_rl", set_rl)
    for name, (own, asked) in trained.items():
        check_recipe(asked, accelerate_config=None)
        check_batch(samples_of(asked), started)
        work = asked.steps * samples_of(asked) / (own.steps * samples_of(own))
        _, seconds = (LESSONS_S | REFERENCE_S)[name]
        costs[name] = Cost(asked.steps, seconds * work)
    for name in ("evaluate before", "evaluate after"):
        count, seconds = REFERENCE_S[name]
        costs[name] = Cost(0, seconds * num_samples / count)
    return costs


def _check_folder(output: Path, model: str, set_rl: tuple[str, ...], num_samples: int) -> None:
    """Do nothing where a quickstart can begin, or go on, in this folder.

    Raises: ConfigError: it holds a quickstart from another model, or other questions. CheckpointError: it is damaged.
    """
    from onethinker.evaluation.results import read_settings
    from onethinker.training.config import RlRecipe
    from onethinker.training.state.run_folder import RunFolder

    begun = RlRecipe.load("styles_rl", (f"model={to_json(model)}", *set_rl)).model
    found = {output / "rl" / RECIPE_FILE: ((RunFolder(output / "rl").recipe() or {}).get("model", begun), begun)}
    settings = output / "before" / SETTINGS_FILE
    if settings.exists():
        found[settings] = read_settings(settings.parent)["settings"].get("model"), model
    for file, (before, now) in found.items():
        if before != now:
            raise ConfigError(
                f"{file} belongs to the model {before!r}, and this quickstart starts from {now!r}; choose another"
                " --output"
            )
    records = output / RECORDS
    rows = records.read_text().splitlines() if records.exists() else []
    known = sum(f'"{WORLD}-{HELD_OUT}-' in row for row in rows)
    if rows and (len(rows), known) != (num_samples, num_samples):
        raise ConfigError(
            f"{records} holds {len(rows)} questions, {known} of them about {WORLD}, and this quickstart needs"
            f" {num_samples} about it (--num-samples); choose another --output"
        )


def _train_from_nothing(stages: Stages, output: Path, settings: tuple[str, ...], processes: int) -> None:
    """Give a model all lessons, each from the weights of the one before."""
    sighted = stages.run("sight", lambda: _teach_sight(output / "sight"))
    model = stages.run("letters", lambda: _teach_letters(str(sighted), output / "letters"))
    for name, recipe in LESSONS.items():
        stages.train(name, "sft", recipe, (f"model={to_json(str(model))}", *settings), processes)
        model = output / name / MODEL_FOLDER


def _teach_sight(folder: Path) -> Path:
    from onethinker.commands.console import progress_bar
    from onethinker.training.sight.things import STEPS, WHAT, teach_sight

    with progress_bar(WHAT) as on_progress:
        return teach_sight(folder, steps=STEPS, on_progress=on_progress)


def _teach_letters(model: str, folder: Path) -> Path:
    from onethinker.commands.console import progress_bar
    from onethinker.training.sight.letters import STEPS, WHAT, teach_letters

    with progress_bar(WHAT) as on_progress:
        return teach_letters(model, folder, steps=STEPS, on_progress=on_progress)


def _ask_everything(model: str, folder: Path) -> None:
    """Ask a question of each task about a scene, print each answer, and draw those that can be read."""
    from onethinker.core.frames import Clip
    from onethinker.core.request import SamplingParams
    from onethinker.data.synthetic.shown import shown_scenes
    from onethinker.inference.thinker import Thinker
    from onethinker.media.writing import save_clip
    from onethinker.tasks import grade_response, task_of

    with writing(folder):
        folder.mkdir(exist_ok=True)
    with Thinker.load(model, sampling=SamplingParams(max_new_tokens=LONGEST_ANSWER)) as thinker:
        for sample in shown_scenes():
            name, suffix = sample.problem_type.replace(" ", "_"), SUFFIXES[sample.data_type]
            media = folder / f"{name}.{suffix}"
            (clip,) = sample.media
            assert isinstance(clip, Clip)
            save_clip(clip, media)
            thought = thinker.ask(media, sample.problem, task=sample.problem_type, options=sample.options)
            grade = grade_response(thought.text, sample.truth, task=task_of(sample), options=sample.options)
            _print_answer(sample, thought.answer_text or thought.text, grade.accuracy)
            write_atomically(folder / f"{name}.json", thought.to_json() + "\n")
            if thought.answer is not None:
                thought.save(folder / f"{name}_answer.{suffix}")


def _print_answer(sample: "Sample", answer: str, accuracy: float) -> None:
    asked = f"{sample.problem} {' '.join(sample.options)}".strip()
    print(f"\n  {sample.problem_type}, {sample.data_type}: {asked}")
    print(f"    {answer}  ({'right' if accuracy == 1 else f'accuracy {accuracy:.2f}, true is {sample.truth}'})")


def _write_data(records: Path, num_samples: int) -> None:
    if records.exists():
        return
    from onethinker.commands.console import progress_bar
    from onethinker.data.synthetic import write_dataset

    with progress_bar("painting") as on_progress:
        write_dataset(records.parent, num_samples=num_samples, split=HELD_OUT, world=WORLD, on_progress=on_progress)


def _evaluate(model: str, records: Path, folder: Path) -> None:
    from onethinker.commands.console import StderrListener
    from onethinker.evaluation.config import AskingConfig, EvaluationConfig, SamplesConfig
    from onethinker.evaluation.runner import run_evaluation

    config = EvaluationConfig(
        output=folder,
        samples=SamplesConfig(data=records),
        asking=AskingConfig(model=model, max_new_tokens=LONGEST_ANSWER, batch_size=16),
    )
    run_evaluation(config, StderrListener())


def _write_report(output: Path) -> None:
    from onethinker.evaluation.runs import load_runs
    from onethinker.report.page import write_report

    folders = [output / name for name in ("before", "after", *LESSONS, "rl")]
    there = [folder for folder in folders if folder.exists()]
    write_report(output / REPORT_FILE, load_runs(there), title="OneThinker quickstart")


def _print_where(output: Path, model: Path, seconds: dict[str, float]) -> None:
    from onethinker.commands.tables import print_comparison
    from onethinker.evaluation.comparison import compare_runs
    from onethinker.evaluation.runs import load_runs

    before, after = load_runs([output / "before", output / "after"]).runs
    print_comparison(compare_runs(before, after))
    print(f"Done in {sum(seconds.values()) / 60:.1f} minutes.")
    print(f"  report    {output / REPORT_FILE}  (before and after; open it in a browser)")
    print(f"  pictures  {output / 'pictures'}  (what was asked, and the answers drawn in)")
    print(f"  model     {model}")
    picture = str(output / "pictures" / "spatial_grounding.png")
    print("Ask it:    ", shlex.join(["onethinker", "ask", picture, "What is in this picture?", "--model", str(model)]))
