"""`onethinker evaluate`: a model's answers to many samples, graded, in a folder that a kill cannot harm."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from onethinker.core.errors import ConfigError, DataError, EngineError
from onethinker.data.synthetic.worlds import WorldName
from onethinker.storage.folders import JUDGE_FILE, REPORT_FILE
from onethinker.storage.strict_json import to_json
from onethinker.tasks.base import Profile

if TYPE_CHECKING:
    from onethinker.core.request import SamplingParams
    from onethinker.core.sample import Sample
    from onethinker.evaluation.benchmarks.table import Benchmark
    from onethinker.evaluation.judge import Judge
    from onethinker.evaluation.metrics import Estimate, Score
    from onethinker.evaluation.results import Result
    from onethinker.evaluation.scoring import BenchmarkRow
    from onethinker.inference.loading import LoadedEngine
    from onethinker.media.prefetch import Decoders
    from onethinker.segmenters.base import Segmenter

HELD_OUT = "test"
"""The split of the synthetic scenes that training never draws from."""
ALL_OF_THE_PAPER = "paper"
"""In place of names: the paper's benchmarks whose data are there."""
Stage = Literal["all", "answer", "score", "masks", "report"]
Mode = Literal["greedy", "release"]
MODES: Mapping[Mode, tuple[float, float]] = {"greedy": (0.0, 1.0), "release": (0.1, 0.001)}
"""Temperature and top_p. Source: paper, greedy; release, by reading."""
MOST_BAD = 0.1
"""A benchmark of which a larger share of records cannot be used is not what it should be, and is not asked."""
Failures = Sequence[tuple[str, str | None]]
"""Ids of samples without a grade, and why."""


@dataclass(frozen=True)
class Part:
    """Samples that are evaluated into one folder: those of a benchmark, or a user's own."""

    benchmark: "Benchmark | None"
    samples: "Sequence[Sample]"
    folder: Path


def evaluate(
    *,
    model: str | None = None,
    output: Path | None = None,
    benchmark: tuple[str, ...] = (),
    list: bool = False,
    stage: Stage = "all",
    data: Path | None = None,
    media_root: Path | None = None,
    synthetic: int | None = None,
    synthetic_seed: int = 0,
    world: WorldName = "shapes",
    limit: int | None = None,
    rewards: Profile = "paper",
    wording: Path | None = None,
    settings: Path | None = None,
    batch_size: int = 8,
    max_new_tokens: int = 4096,
    mode: Mode = "greedy",
    temperature: float | None = None,
    seed: int = 0,
    judge: str | None = None,
    judge_model: str = "judge",
    segmenter: str | None = None,
    json: bool = False,
) -> None:
    """Ask a model about every sample of a benchmark, a file or held-out synthetic scenes, and grade the answers.

    Stopped at any time, the same command goes on where it was; every stage can be done again alone. Samples whose media
    cannot be read have no grade, are named at the end (exit 1), and are tried again by the same command. `onethinker
    report` compares several folders on a page.

    Args:
        model: A Hugging Face id, a model folder, "tiny", or the address of a server such as http://host:8000/v1.
        output: Folder for answers.jsonl, results.jsonl, settings.json, example pictures and report.html; each benchmark
            has its own in it.
        benchmark: Benchmarks by name, or "paper" for all of the paper's whose data are there.
        list: Say of every benchmark what is measured and published, and which of its data are there, and leave.
        stage: Only that much: "answer" asks the model, "score" grades what it said before, "masks" makes the masks of
            its answers, "report" writes report.html. All but "answer" do without the model.
        data: Samples in the released form (JSON or JSONL); with --benchmark or --list the folder of the benchmarks'
            data (data/benchmarks unless named).
        media_root: Folder that the paths in the data are relative to; by default the data's own folder.
        synthetic: In place of data: so many held-out synthetic scenes.
        synthetic_seed: Which scenes.
        world: What the scenes show.
        limit: Only so many samples, the first ones.
        rewards: The reward profile: "paper" or "release".
        wording: TOML file with the words around a question, for weights trained with other ones.
        settings: Model folder whose words and media budget to use, for a model that a server serves.
        batch_size: Samples that a model loaded here is asked together; a server gets as many as it takes.
        max_new_tokens: Longest answer, in tokens.
        mode: "greedy" takes the most likely token each time, as the paper says; "release" draws as its code does, at
            temperature 0.1 with top_p 0.001.
        temperature: In place of a mode: draw answers at this temperature; more gives variety.
        seed: Seed of the drawing.
        judge: Address of a chat model (OpenAI-compatible) that says how right answers in free text are.
        judge_model: Its name on the server.
        segmenter: Makes masks of the answers to segmentation, for gIoU, cIoU, J and F: SAM 2
            (facebook/sam2.1-hiera-large, which the paper's numbers are by, or a folder), or "grabcut" (no download, not
            for benchmark numbers).
        json: Print the scores, or the list, as one JSON object.
    """
    if list:
        show_list(data, as_json=json)
        return
    from onethinker.evaluation.examples import draw_examples
    from onethinker.evaluation.runner import check_samples
    from onethinker.inference.loading import check_model, load_engine
    from onethinker.media.prefetch import Decoders
    from onethinker.report.page import write_report
    from onethinker.storage.atomic import check_writable
    from onethinker.tasks.template import Wording

    asks = stage in ("all", "answer")
    if output is None or (model is None and asks):
        raise ConfigError("give a --model to ask and an --output folder for its results; or only --list")
    if stage == "masks" and segmenter is None:
        raise ConfigError("--stage masks needs a --segmenter")
    check_flags(benchmark, data, media_root, synthetic=synthetic, limit=limit, batch_size=batch_size)
    sampling = choose_sampling(mode, temperature, max_new_tokens=max_new_tokens, seed=seed)
    words = Wording.load(wording) if wording is not None else None
    check_writable(output)
    if model is not None and asks:
        check_model(model, settings=settings)
    chosen = choose_benchmarks(benchmark, data)
    if chosen:
        parts = [Part(row, read_chosen(row, data, limit), output / row.key) for row in chosen]
    elif data is not None:
        parts = [Part(None, read_file(data, media_root, limit), output)]
    else:
        parts = [Part(None, held_out_scenes(synthetic or 0, synthetic_seed, limit, world), output)]
    for part in parts:
        check_samples(part.samples)
    cutter = open_segmenter(segmenter, [part.samples for part in parts])
    grader = open_judge(judge, judge_model, output)
    failed: Failures = []
    if model is not None and asks:
        with Decoders() as decoders:
            if synthetic is None:
                decoders.warm_up()
            engine = load_engine(model, wording=words, settings=settings)
            asking = partial(
                ask, engine, profile=rewards, sampling=sampling, batch_size=batch_size, judge=grader, decoders=decoders
            )
            failed = [failure for part in parts for failure in asking(part)]
    if stage != "answer":
        all_results = [grade(part, profile=rewards, judge=grader, segmenter=cutter) for part in parts]
        if stage in ("all", "report"):
            for part, results in zip(parts, all_results, strict=True):
                draw_examples(part.samples, results, part.folder)
            write_report(output / REPORT_FILE, [part.folder for part in parts])
            print(f"wrote {output / 'report.html'}: open it in a browser", file=sys.stderr)
        print_results(parts, all_results, as_json=json)
        if grader is not None:
            print(grader.cost(), file=sys.stderr)
        failed = [(result.sample_id, result.error) for own in all_results for result in own if result.grade is None]
    raise_failed(failed, sum(len(part.samples) for part in parts))


def ask(
    engine: "LoadedEngine",
    part: Part,
    *,
    profile: Profile,
    sampling: "SamplingParams",
    batch_size: int,
    judge: "Judge | None",
    decoders: "Decoders",
) -> Failures:
    """Have a model answer what has no answer yet; return which samples still have none."""
    from onethinker.commands.console import progress_bar
    from onethinker.evaluation.runner import answer

    with progress_bar(f"asking {part.folder.name}") as on_progress:
        failed = answer(
            engine,
            part.samples,
            output=part.folder,
            profile=profile,
            sampling=sampling,
            batch_size=batch_size,
            judge=judge,
            decoders=decoders,
            on_progress=on_progress,
        )
    return [(answer.sample_id, answer.error) for answer in failed]


def grade(part: Part, *, profile: Profile, judge: "Judge | None", segmenter: "Segmenter | None") -> "Sequence[Result]":
    """Return the results of a part's answers, graded anew, with masks where there is a segmenter or masks were made
    before.
    """
    from onethinker.commands.console import progress_bar
    from onethinker.evaluation.masking import measure_masks
    from onethinker.evaluation.runner import score

    results = score(part.samples, output=part.folder, profile=profile, judge=judge)
    if segmenter is None:
        return results
    with progress_bar(f"masks of {part.folder.name}") as on_progress:
        return measure_masks(segmenter, part.samples, results, output=part.folder, on_progress=on_progress)


def raise_failed(failed: Failures, count: int) -> None:
    """Raise EngineError that names the samples without a grade, of so many, if there are any."""
    if failed:
        named = "\n".join(f"  {name}: {error}" for name, error in failed[:10])
        raise EngineError(f"{len(failed)} of {count} samples have no grade; run again to retry:\n{named}")


def check_flags(
    benchmark: Sequence[str],
    data: Path | None,
    media_root: Path | None,
    *,
    synthetic: int | None,
    limit: int | None,
    batch_size: int,
) -> None:
    """Raise ConfigError for flags that do not go together, and for numbers that are too small."""
    if benchmark and (synthetic is not None or media_root is not None):
        raise ConfigError(
            "--benchmark stands without --synthetic and --media-root: its data lie in the folder that --data names"
        )
    if not benchmark and (data is None) == (synthetic is None):
        raise ConfigError("give either --data FILE or --synthetic NUMBER, or --benchmark NAME")
    for name, number in (("--batch-size", batch_size), ("--synthetic", synthetic), ("--limit", limit)):
        if number is not None and number < 1:
            raise ConfigError(f"{name} must be at least 1, got {number}")


def choose_sampling(mode: Mode, temperature: float | None, *, max_new_tokens: int, seed: int) -> "SamplingParams":
    """Return how answers are drawn. Raises: ConfigError: a temperature below 0 or beside a mode."""
    from onethinker.core.request import SamplingParams

    if temperature is not None and (mode != "greedy" or temperature < 0):
        raise ConfigError(f"--temperature must be 0 or more, and stands without --mode {mode}; got {temperature:g}")
    warmth, top_p = MODES[mode] if temperature is None else (temperature, 1.0)
    return SamplingParams(max_new_tokens=max_new_tokens, temperature=warmth, top_p=top_p, seed=seed)


def print_results(parts: Sequence[Part], all_results: "Sequence[Sequence[Result]]", *, as_json: bool) -> None:
    """Print the numbers, those of benchmarks beside the published ones; and to stderr what a reader of them must
    know.
    """
    from onethinker.evaluation.masking import newest_masks
    from onethinker.evaluation.metrics import score_tasks
    from onethinker.evaluation.scoring import score_benchmark, unparsable

    of_benchmarks = [
        (part.benchmark, own) for part, own in zip(parts, all_results, strict=True) if part.benchmark is not None
    ]
    unread = {known.name: unparsable(own) for known, own in of_benchmarks}
    if of_benchmarks:
        rows = [row for known, own in of_benchmarks for row in score_benchmark(known, own)]
        print(rows_as_json(rows, unread)) if as_json else print_rows(rows)
        for name, ids in unread.items():
            say_unread(ids, f"{name}: ")
    else:
        scores = score_tasks(all_results[0])
        print(scores_as_json(scores)) if as_json else print_scores(scores)
        say_unread(unparsable(all_results[0]))
    for name in sorted(
        {made.segmenter for part in parts for made in newest_masks(part.folder)[-1:] if not made.for_benchmarks}
    ):
        print(
            f"masks are by {name}: their numbers are for trying things out, not to stand beside the paper's",
            file=sys.stderr,
        )


def say_unread(ids: Sequence[str], where: str = "") -> None:
    """Say on stderr which answers could not be read, if there are any."""
    if ids:
        listed = ", ".join(ids[:10]) + (", …" if len(ids) > 10 else "")
        print(f"{where}{len(ids)} answers could not be read and count 0: {listed}", file=sys.stderr)


def choose_benchmarks(names: Sequence[str], data: Path | None) -> "Sequence[Benchmark]":
    """Return the benchmarks of these names, once each. Raises: ConfigError: there is no such benchmark, or no data of
    any.
    """
    from onethinker.evaluation.benchmarks.table import BENCHMARKS, DATA_FOLDER, find_benchmark, look_for

    root = data or DATA_FOLDER
    chosen: dict[str, Benchmark] = {}
    for name in names:
        if name == ALL_OF_THE_PAPER:
            rows = [row for row in BENCHMARKS if look_for(row, root).layout is not None]
            if not rows:
                raise ConfigError(
                    f"{root}: there are no data of any benchmark; `onethinker evaluate --list --data {root}` says which"
                )
        else:
            rows = [find_benchmark(name)]
        chosen |= {row.key: row for row in rows}
    return tuple(chosen.values())


def read_chosen(benchmark: "Benchmark", data: Path | None, limit: int | None) -> "list[Sample]":
    """Return a benchmark's samples, and say on stderr which records cannot be used, and when there are not as many as
    there should be.

    Raises: DataError: its data cannot be read, or more than a tenth of its records cannot be used.
    """
    from onethinker.evaluation.benchmarks.table import DATA_FOLDER, read_benchmark

    bad: list[DataError] = []
    samples = list(islice(read_benchmark(benchmark, data or DATA_FOLDER, bad=bad.append), limit))
    count = len(samples) + len(bad)
    if not samples or len(bad) > max(1, MOST_BAD * count):
        raise DataError(
            f"{benchmark.name}: {len(bad)} of {count} records cannot be used; the first:"
            f" {next(iter(bad), 'there is none')}"
        )
    if bad:
        named = "".join(f"\n  {error}" for error in bad[:10]) + ("\n  …" if bad[10:] else "")
        print(
            f"{benchmark.name}: {len(bad)} of {count} records cannot be used and are missing from its numbers:{named}",
            file=sys.stderr,
        )
    expected = benchmark.num_samples if limit is None else None
    if expected is not None and len(samples) != expected:
        print(
            f"{benchmark.name}: {len(samples)} samples, {expected} are expected; numbers are over those that are there",
            file=sys.stderr,
        )
    return samples


def open_judge(address: str | None, model: str, output: Path) -> "Judge | None":
    """Return the judge at an address, tried out, its memory in the output folder. Raises: ConfigError, EngineError."""
    if address is None:
        return None
    from onethinker.evaluation.judge import Judge
    from onethinker.rewards.config import RewardModelSettings

    if not address.startswith(("http://", "https://")):
        raise ConfigError(f"--judge must be an address such as http://host:8000/v1, got {address!r}")
    judge = Judge(RewardModelSettings(kind="judge", address=address, model=model), output / JUDGE_FILE)
    judge.try_out()
    return judge


def open_segmenter(name: str | None, sets: "Sequence[Sequence[Sample]]") -> "Segmenter | None":
    """Return the segmenter of a name, for samples that have work for it. Raises: ConfigError, DataError,
    EngineError.
    """
    if name is None:
        return None
    from onethinker.evaluation.masking import has_segmentation
    from onethinker.segmenters.base import load_segmenter

    work = [has_segmentation(samples) for samples in sets]
    if not any(work):
        raise ConfigError(f"--segmenter {name}: there is no question of segmentation among the samples; leave it out")
    return load_segmenter(name)


def show_list(data: Path | None, *, as_json: bool) -> None:
    """Print all benchmarks with what is measured and published, and which of their data are in a folder."""
    from onethinker.evaluation.benchmarks.table import BENCHMARKS, BEYOND_THE_PAPER, DATA_FOLDER, describe, look_for

    root = data or DATA_FOLDER
    records = [describe(look_for(benchmark, root)) for benchmark in (*BENCHMARKS, *BEYOND_THE_PAPER)]
    if as_json:
        print(to_json({"data": str(root), "benchmarks": records}, ensure_ascii=False))
        return
    from rich.console import Console
    from rich.table import Column, Table

    from onethinker.evaluation.benchmarks.table import BASE_MODEL, PAPER_MODEL

    table = Table(
        "benchmark", f"metrics: {PAPER_MODEL} / base", Column(f"data in {root}", overflow="fold"), show_lines=True
    )
    for record in records:
        values = [record["published"].get(name, {}) for name in record["metrics"]]
        known = [f": {own[PAPER_MODEL]:.1f} / {own[BASE_MODEL]:.1f}" if own else "" for own in values]
        metrics = "\n".join(name + numbers for name, numbers in zip(record["metrics"], known, strict=True))
        missing = "\nor ".join(", ".join(names) for names in record["missing"])
        where = "found: " + ", ".join(record["files"]) if record["found"] else f"missing: {missing}"
        samples = f"{record['num_samples']} samples" if record["num_samples"] else "number of samples unknown"
        table.add_row(f"{record['name']}\n{record['group']}\n{samples}", metrics, where)
    console = Console()
    console.print(table)
    found = sum(record["found"] for record in records)
    console.print(
        f"the data of {found} of {len(records)} are there; --benchmark takes any of the names, or paper for all of the"
        " paper's that are"
    )


def rows_as_json(rows: "Sequence[BenchmarkRow]", unread: Mapping[str, Sequence[str]]) -> str:
    """Return benchmarks' numbers, ours 0 to 1 and published ones in percent, and the samples without a readable answer,
    as JSON.
    """
    return to_json({"benchmarks": [asdict(row) for row in rows], "unparsable": unread}, ensure_ascii=False)


def print_rows(rows: "Sequence[BenchmarkRow]") -> None:
    """Print the numbers of benchmarks, in percent, beside the published ones."""
    from rich.console import Console
    from rich.table import Table

    from onethinker.evaluation.benchmarks.table import BASE_MODEL, PAPER_MODEL

    table = Table("benchmark", "metric", "here", "95 %", f"{PAPER_MODEL} (paper)", f"{BASE_MODEL} (paper)")
    for row in rows:
        found = row.estimate
        ours = (
            (f"{100 * found.mean:.1f}", f"{100 * found.low:.1f}–{100 * found.high:.1f}") if found else (row.missing, "")
        )
        published = [
            f"{row.published[model]:.1f}" if model in row.published else "" for model in (PAPER_MODEL, BASE_MODEL)
        ]
        table.add_row(row.benchmark, row.metric, *ours, *published)
    Console().print(table)


def read_file(path: Path, media_root: Path | None, limit: int | None) -> "list[Sample]":
    """Return the samples of a file, the first `limit` of them. Raises: DataError."""
    from onethinker.data.formats.released import read_samples

    return list(islice(read_samples(path, media_root), limit))


def held_out_scenes(count: int, seed: int, limit: int | None = None, world: WorldName = "shapes") -> "list[Sample]":
    """Return synthetic scenes that no training has seen, all tasks in turn."""
    from onethinker.data.synthetic import make_sample

    return [make_sample(seed, index, split=HELD_OUT, world=world) for index in range(min(count, limit or count))]


def scores_as_json(scores: "Sequence[Score]") -> str:
    """Return the scores of all tasks, and the mean of their accuracies, as one JSON object."""
    from onethinker.evaluation.metrics import mean_accuracy

    return to_json({"mean_accuracy": mean_accuracy(scores), "tasks": [asdict(score) for score in scores]})


def in_words(value: "Estimate") -> str:
    """Return a mean with its interval.

    >>> from onethinker.evaluation.metrics import Estimate
    >>> in_words(Estimate(0.5, 0.25, 0.75))
    '0.500 (0.25–0.75)'
    """
    return f"{value.mean:.3f} ({value.low:.2f}–{value.high:.2f})"


def print_scores(scores: "Sequence[Score]") -> None:
    """Print a table of all tasks to stdout."""
    from rich.console import Console
    from rich.table import Column, Table

    from onethinker.evaluation.metrics import mean_accuracy

    narrow = [Column(name, no_wrap=True) for name in ("n", "accuracy (95 %)", "format (95 %)")]
    table = Table(Column("task"), *narrow, Column("metrics (95 %)"))
    for score in scores:
        if score.accuracy is None or score.format is None:
            table.add_row(score.task, str(score.num_samples), f"{score.num_failed} not asked", "", "")
            continue
        # A space at which a line does not break keeps a number beside its name.
        metrics = ", ".join(f"{name} {in_words(value)}".replace(" ", "\u00a0") for name, value in score.metrics.items())
        table.add_row(score.task, str(score.num_samples), in_words(score.accuracy), in_words(score.format), metrics)
    console = Console()
    console.print(table)
    mean = mean_accuracy(scores)
    console.print(
        "no mean accuracy: some samples could not be asked"
        if mean is None
        else f"mean accuracy of the tasks {mean:.3f}"
    )
