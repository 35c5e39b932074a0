"""`onethinker quickstart`: the whole road on this machine, from nothing to a trained, evaluated and asked model."""

import json
import resource
import shutil
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from onethinker.evaluation.metrics import Score

T = TypeVar("T")
SUMMARY_FILE = "quickstart.json"
MOST_TRIES = 3
"""Questions of a task that are asked until one has an answer that can be drawn."""


def quickstart(
    *,
    output: Path = Path("runs/quickstart"),
    processes: int = 2,
    set_sft: tuple[str, ...] = (),
    set_rl: tuple[str, ...] = (),
    num_samples: int = 480,
) -> None:
    """Make data, train a tiny model by SFT, improve it by EMA-GRPO, evaluate both, ask it everything, write a report.

    Needs no GPU, no network and no download, and about a quarter of an hour on two cores. Stopped at any time, the same
    command goes on where it was.

    Args:
        output: Folder for everything that is made.
        processes: Training processes; one for each core.
        set_sft: Settings that replace those of the recipe tiny_sft, such as steps=100.
        set_rl: Settings that replace those of the recipe tiny_rl.
        num_samples: Held-out questions that the model is evaluated on.
    """
    from onethinker.commands.training import launch
    from onethinker.evaluation.report import write_report

    output.mkdir(parents=True, exist_ok=True)
    records, timed = output / "data" / "samples.jsonl", _Stages(output / SUMMARY_FILE)
    sft_model, rl_model = output / "sft" / "model", output / "rl" / "model"
    timed("data", lambda: None if records.exists() else _write_data(output / "data", num_samples))
    timed("sft", lambda: launch("sft", "tiny_sft", output=output / "sft", overrides=set_sft, processes=processes))
    timed("evaluate sft", lambda: _evaluate(sft_model, records, output / "after-sft"))
    overrides = (f"model={json.dumps(str(sft_model))}", *set_rl)
    timed("rl", lambda: launch("rl", "tiny_rl", output=output / "rl", overrides=overrides, processes=processes))
    scores = timed("evaluate rl", lambda: _evaluate(rl_model, records, output / "after-rl"))
    shutil.copytree(rl_model, output / "model", dirs_exist_ok=True)
    timed("ask", lambda: _ask_everything(output / "model", records, output / "pictures"))
    report = output / "report.html"
    timed(
        "report",
        lambda: write_report(
            report, [output / "after-sft", output / "after-rl", output / "sft", output / "rl"], title="OneThinker quickstart"
        ),
    )
    timed.finish()
    _say_where(output, scores, timed.seconds)


class _Stages:
    """Runs the stages one after the other, says so on stderr, and remembers what each has cost, also over several starts."""

    def __init__(self, summary: Path) -> None:
        self.summary = summary
        self.seconds: dict[str, float] = json.loads(summary.read_text())["seconds"] if summary.exists() else {}

    def __call__(self, name: str, work: Callable[[], T]) -> T:
        print(f"[{len(self.seconds) + 1}] {name}", file=sys.stderr)
        started = time.perf_counter()
        result = work()
        self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - started
        return result

    def finish(self) -> None:
        from onethinker.files import write_atomically

        # The children's figure is that of the largest one.
        peak_mb = {
            who: resource.getrusage(number).ru_maxrss / 1024
            for who, number in (("main", resource.RUSAGE_SELF), ("training", resource.RUSAGE_CHILDREN))
        }
        write_atomically(self.summary, json.dumps({"seconds": self.seconds, "peak_memory_mb": peak_mb}, indent=2) + "\n")


def _write_data(folder: Path, num_samples: int) -> None:
    from onethinker.commands.evaluate import HELD_OUT, progress_bar
    from onethinker.synthetic import write_dataset

    with progress_bar("painting") as on_progress:
        write_dataset(folder, num_samples=num_samples, split=HELD_OUT, on_progress=on_progress)


def _evaluate(model: Path, records: Path, folder: Path) -> "tuple[Score, ...]":
    from onethinker.commands.evaluate import progress_bar, read_file
    from onethinker.evaluation.evaluate import evaluate
    from onethinker.evaluation.metrics import score_tasks
    from onethinker.models.engine import Sampling
    from onethinker.models.loading import load_engine

    with progress_bar("asking") as on_progress:
        results = evaluate(
            load_engine(str(model)),
            read_file(records, None, None),
            output=folder,
            sampling=Sampling(max_new_tokens=160),
            batch_size=32,
            on_progress=on_progress,
        )
    return score_tasks(results)


def _ask_everything(model: Path, records: Path, folder: Path) -> None:
    """Ask one question of every task and draw each answer that can be read; beside the pictures lie the answers as JSON."""
    from onethinker.commands.evaluate import read_file
    from onethinker.inference import Thinker
    from onethinker.models.engine import Sampling
    from onethinker.tasks import find_task

    thinker, tries = Thinker.load(str(model), sampling=Sampling(max_new_tokens=160)), Counter[str]()
    folder.mkdir(exist_ok=True)
    for sample in read_file(records, None, None):
        task = find_task(sample.problem_type, sample.data_type)
        name = f"{task.problem_type.replace(' ', '_')}_{sample.data_type}"
        if tries[name] >= MOST_TRIES:
            continue
        (media,) = sample.media
        thought = thinker.ask(media, sample.problem, task=task.problem_type, options=sample.options)
        (folder / f"{name}.json").write_text(thought.to_json() + "\n")
        if thought.answer is not None:
            thought.save(folder / f"{name}.{'png' if sample.data_type == 'image' else 'mp4'}")
            tries[name] = MOST_TRIES
        tries[name] += 1


def _say_where(output: Path, scores: "tuple[Score, ...]", seconds: dict[str, float]) -> None:
    from onethinker.commands.evaluate import print_scores

    print_scores(scores)
    print(f"Done in {sum(seconds.values()) / 60:.1f} minutes.")
    print(f"  report    {output / 'report.html'}  (open it in a browser)")
    print(f"  pictures  {output / 'pictures'}")
    print(f"  model     {output / 'model'}")
    example = f'{output}/data/media/000006.png "Find the red circle." --task "spatial grounding"'
    print(f"Ask it:     onethinker ask {example} --model {output}/model --draw out.png")
