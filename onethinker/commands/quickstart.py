"""`onethinker quickstart`: the complete run on this machine, from nothing to a trained, evaluated and asked model."""

import json
import resource
import shlex
import shutil
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from onethinker.core.errors import ConfigError
from onethinker.storage.atomic import check_writable, write_atomically, writing
from onethinker.storage.folders import REPORT_FILE
from onethinker.storage.strict_json import to_json

if TYPE_CHECKING:
    from onethinker.commands.training import Stage
    from onethinker.evaluation.metrics import Score

T = TypeVar("T")
SUMMARY_FILE = "quickstart.json"
CPU_PROCESSES = 2
"""Training processes where there is no GPU."""
REFERENCE_S: dict[str, tuple[int, float]] = {
    "sight": (1900, 517.0),
    "sft": (600, 265.0),
    "evaluate sft": (480, 19.0),
    "rl": (20, 45.0),
    "evaluate rl": (480, 20.0),
    "ask": (480, 2.0),
}
"""Steps, or questions, and seconds of each stage in docs/results/quickstart.md. The stages' lengths relative to each
other are taken from there; the first steps on this machine give the scale."""
MAX_NEW_TOKENS = 160
"""Longest answer, in tokens: the tiny model gives none that is longer."""
MAX_TRIES = 3
"""So many questions of a task are asked at most until one has an answer that can be drawn."""


@dataclass(frozen=True)
class Cost:
    """What a stage takes where the reference was measured; `steps` are those of training, 0 where it trains nothing."""

    steps: int
    seconds: float


def quickstart(
    *,
    output: Path = Path("runs/quickstart"),
    processes: int | None = None,
    set_sft: tuple[str, ...] = (),
    set_rl: tuple[str, ...] = (),
    num_samples: int = 480,
) -> None:
    """Make data, train a tiny model by SFT, improve it by EMA-GRPO, evaluate both, ask it every task, write a report.

    Needs no GPU, no network and no download, and about a quarter of an hour on two idle cores; after the first
    steps it prints how long it will take here. Stopped at any time, the same command resumes.

    Args:
        output: Folder for everything that is made.
        processes: Training processes; by default one for each GPU, or two without any.
        set_sft: Settings that replace those of the recipes tiny_sight and tiny_sft, such as steps=100.
        set_rl: Settings that replace those of the recipe tiny_rl.
        num_samples: Held-out questions that the model is evaluated on.
    """
    check_writable(output, "folder", flag="--output")
    costs = _check(set_sft, set_rl, processes=processes, num_samples=num_samples)
    records, stages = output / "data" / "samples.jsonl", _Stages.open(output, costs)
    # Mistakes that show without torch are reported; from here on it is imported.
    import torch
    from transformers.utils.logging import disable_progress_bar

    from onethinker.commands.training import check_processes

    disable_progress_bar()
    processes = processes if processes is not None else torch.cuda.device_count() or CPU_PROCESSES
    check_processes(processes)

    sight_model, sft_model, rl_model = (output / stage / "model" for stage in ("sight", "sft", "rl"))
    sft_settings = f"model={to_json(str(sight_model))}", *set_sft
    rl_settings = f"model={to_json(str(sft_model))}", *set_rl
    stages.run("data", lambda: _write_data(records, num_samples))
    stages.train("sight", "sft", "tiny_sight", set_sft, processes)
    stages.train("sft", "sft", "tiny_sft", sft_settings, processes)
    stages.run("evaluate sft", lambda: _evaluate(sft_model, records, output / "after-sft"))
    stages.train("rl", "rl", "tiny_rl", rl_settings, processes)
    scores = stages.run("evaluate rl", lambda: _evaluate(rl_model, records, output / "after-rl"))
    with writing(output / "model"):
        shutil.copytree(rl_model, output / "model", dirs_exist_ok=True)
    stages.run("ask", lambda: _ask_everything(output / "model", records, output / "pictures"))
    stages.run("report", lambda: _write_report(output))
    _print_where(output, records, scores, stages.seconds)


def _check(
    set_sft: tuple[str, ...], set_rl: tuple[str, ...], *, processes: int | None, num_samples: int
) -> dict[str, Cost]:
    """Return what the stages cost where the reference was measured.

    Raises: ConfigError, DataError: settings with which a later stage would fail.
    """
    from onethinker.commands.training import check_count
    from onethinker.training.config import RlRecipe, SftRecipe
    from onethinker.training.preflight import check_batch, check_recipe, samples_of

    recipes = {
        "sight": (SftRecipe.load("tiny_sight"), SftRecipe.load("tiny_sight", set_sft)),
        "sft": (SftRecipe.load("tiny_sft"), SftRecipe.load("tiny_sft", set_sft)),
        "rl": (RlRecipe.load("tiny_rl"), RlRecipe.load("tiny_rl", set_rl)),
    }
    if num_samples < 1:
        raise ConfigError(f"--num-samples must be at least 1, got {num_samples}")
    started = 1 if processes is None else processes
    check_count(started)
    costs = {name: Cost(0, seconds * num_samples / count) for name, (count, seconds) in REFERENCE_S.items()}
    for name, (own, asked) in recipes.items():
        check_recipe(asked, accelerate_config=None)
        check_batch(samples_of(asked), started)
        work = asked.steps * samples_of(asked) / (own.steps * samples_of(own))
        costs[name] = Cost(asked.steps, REFERENCE_S[name][1] * work)
    return costs


@dataclass
class _Stages:
    """Runs the stages one after the other, reports each on stderr, and keeps the cost of each over several starts."""

    summary: Path
    seconds: dict[str, float]
    peak_memory_mb: dict[str, float]
    costs: dict[str, Cost]
    started: int = 0

    @classmethod
    def open(cls, output: Path, costs: dict[str, Cost]) -> "_Stages":
        """Make the folder, or read the times of an earlier start there. Raises: ConfigError."""
        summary = output / SUMMARY_FILE
        try:
            output.mkdir(parents=True, exist_ok=True)
            before = json.loads(summary.read_text()) if summary.exists() else {"seconds": {}, "peak_memory_mb": {}}
            return cls(summary, dict(before["seconds"]), dict(before["peak_memory_mb"]), costs)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ConfigError(f"{output}: expected a folder for the quickstart: {error}") from error

    def train(self, name: str, stage: "Stage", recipe: str, settings: tuple[str, ...], processes: int) -> None:
        """Train a recipe with `settings` in place of its own, into the folder `name` beside the summary."""
        from onethinker.commands.options import TrainingOptions
        from onethinker.commands.training import launch

        output = self.summary.parent / name
        options = TrainingOptions(recipe=recipe, output=output, set=settings, processes=processes)
        self.run(name, lambda: launch(stage, options, steps_after=self.steps_after(name)))

    def run(self, name: str, work: Callable[[], T]) -> T:
        """Return what the work returns; its time and the highest memory so far are on disk when this returns."""
        from onethinker.core.durations import in_words

        self.started += 1
        left_s = self.left_s()
        left = f", about {in_words(left_s)} left of all stages" if left_s and name not in self.seconds else ""
        print(f"[{self.started}] {name}{left}", file=sys.stderr)
        began = time.perf_counter()
        result = work()
        self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - began
        for who, which in (
            ("this process", resource.RUSAGE_SELF),
            ("largest training process", resource.RUSAGE_CHILDREN),
        ):
            used_mb = resource.getrusage(which).ru_maxrss / 1024
            self.peak_memory_mb[who] = max(used_mb, self.peak_memory_mb.get(who, 0.0))
        write_atomically(
            self.summary,
            to_json({"seconds": self.seconds, "peak_memory_mb": self.peak_memory_mb}, indent=2) + "\n",
        )
        return result

    def left_s(self) -> float:
        """Return how long the remaining stages will take, from the time of those done here; 0 before any training."""
        done = [name for name, cost in self.costs.items() if name in self.seconds and cost.steps]
        reference_s = sum(self.costs[name].seconds for name in done)
        remaining_s = sum(cost.seconds for name, cost in self.costs.items() if name not in self.seconds)
        return remaining_s * sum(self.seconds[name] for name in done) / reference_s if reference_s else 0.0

    def steps_after(self, name: str) -> float:
        """Return the length of all stages still to come after this one, in steps of this one."""
        cost = self.costs[name]
        later = [other.seconds for key, other in self.costs.items() if key != name and key not in self.seconds]
        return sum(later) * cost.steps / cost.seconds


def _write_data(records: Path, num_samples: int) -> None:
    if records.exists():
        written = len(records.read_text().splitlines())
        if written != num_samples:
            raise ConfigError(
                f"{records} holds {written} questions, --num-samples is {num_samples}; give another --output"
            )
        return
    from onethinker.commands.console import progress_bar
    from onethinker.data.synthetic import write_dataset
    from onethinker.evaluation.parts import HELD_OUT

    with progress_bar("painting") as on_progress:
        write_dataset(records.parent, num_samples=num_samples, split=HELD_OUT, on_progress=on_progress)


def _evaluate(model: Path, records: Path, folder: Path) -> "tuple[Score, ...]":
    from onethinker.commands.console import StderrListener
    from onethinker.evaluation.config import AskingConfig, EvaluationConfig, SamplesConfig
    from onethinker.evaluation.metrics import score_tasks
    from onethinker.evaluation.runner import run_evaluation

    config = EvaluationConfig(
        output=folder,
        samples=SamplesConfig(data=records),
        asking=AskingConfig(model=str(model), max_new_tokens=MAX_NEW_TOKENS, batch_size=16),
    )
    [done] = run_evaluation(config, StderrListener())
    return score_tasks(done.results)


def _ask_everything(model: Path, records: Path, folder: Path) -> None:
    """Ask one question of every task and draw each answer that can be read; beside the pictures lie the answers as
    JSON.
    """
    from onethinker.core.request import SamplingParams
    from onethinker.data.formats.released import read_samples
    from onethinker.inference.thinker import Thinker
    from onethinker.tasks import task_of

    with writing(folder):
        folder.mkdir(exist_ok=True)
    tries = Counter[str]()
    with Thinker.load(str(model), sampling=SamplingParams(max_new_tokens=MAX_NEW_TOKENS)) as thinker:
        for sample in read_samples(records):
            task = task_of(sample)
            name = f"{task.problem_type.replace(' ', '_')}_{sample.data_type}"
            if tries[name] >= MAX_TRIES:
                continue
            (media,) = sample.media
            thought = thinker.ask(media, sample.problem, task=task.problem_type, options=sample.options)
            write_atomically(folder / f"{name}.json", thought.to_json() + "\n")
            if thought.answer is not None:
                thought.save(folder / f"{name}.{'png' if sample.data_type == 'image' else 'mp4'}")
                tries[name] = MAX_TRIES
            tries[name] += 1


def _write_report(output: Path) -> None:
    from onethinker.evaluation.runs import load_runs
    from onethinker.report.page import write_report

    folders = [output / name for name in ("after-sft", "after-rl", "sight", "sft", "rl")]
    write_report(output / REPORT_FILE, load_runs(folders), title="OneThinker quickstart")


def _print_where(output: Path, records: Path, scores: "tuple[Score, ...]", seconds: dict[str, float]) -> None:
    from onethinker.commands.tables import print_scores
    from onethinker.data.formats.released import read_samples

    print_scores(scores)
    print(f"Done in {sum(seconds.values()) / 60:.1f} minutes.")
    print(f"  report    {output / REPORT_FILE}  (open it in a browser)")
    print(f"  pictures  {output / 'pictures'}")
    print(f"  model     {output / 'model'}")
    for sample in read_samples(records):
        if sample.problem_type == "spatial grounding":
            words = ["onethinker", "ask", str(sample.media[0]), sample.problem, "--task", sample.problem_type]
            print("Ask it:    ", shlex.join([*words, "--model", str(output / "model"), "--draw", "out.png"]))
            break
