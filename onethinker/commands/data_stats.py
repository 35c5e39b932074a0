"""`onethinker data stats`: what files of samples hold, by task, kind of media and source."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from onethinker.commands.data_spread import SPREAD, SpreadOptions
from onethinker.commands.options import Flags
from onethinker.core.errors import ConfigError

if TYPE_CHECKING:
    from onethinker.core.sample import Sample
    from onethinker.data.blocks import Headers
    from onethinker.data.statistics import Statistics


def data_stats(
    files: Annotated[tuple[Path, ...], tyro.conf.Positional],
    *,
    model: str | None = None,
    media: bool = True,
    near: int | None = None,
    against: str | None = None,
    benchmarks: Path | None = None,
    media_root: Path | None = None,
    html: Path | None = None,
    spread: Flags[SpreadOptions] = SPREAD,
    json: bool = False,
) -> None:
    """Print statistics of files of samples, by task, by pictures or videos, and by source.

    The statistics are: lengths of texts and media; sizes and positions of boxes and times; the distribution of answers;
    the score of the best constant answer (graded by the task itself; a model must beat it); duplicate media; and
    overlap with a benchmark. Rows that cannot be read are counted; `onethinker data check` says what is wrong with
    each.

    Args:
        files: JSON lists or JSONL files of samples.
        model: Also count tokens of questions, media and responses for this model: a folder, a Hugging Face id, or
            "tiny".
        media: Open the media; without this there are no sizes, no lengths in seconds and no duplicates.
        near: Also find media that look alike: their perceptual hashes differ in at most this many of 64 bits; 4 is a
            good start. Each picture and clip is decoded for this.
        against: Report overlap with data that must not be trained on: a benchmark by name, or a file of samples.
            Questions are compared by their words and media by their bytes, with --near also by how they look.
        benchmarks: Folder of the benchmarks' data (default data/benchmarks).
        media_root: Folder that media paths are relative to; by default that of the file.
        html: Write one page with all numbers, plots, and samples with their reference answers drawn in.
        spread: How the work is divided.
        json: Print one JSON object.
    """
    from onethinker.commands.data_options import check_files
    from onethinker.storage.atomic import check_file
    from onethinker.storage.strict_json import to_json

    check_files(files)
    if not media and (model or near is not None):
        raise ConfigError(f"{'--model' if model else '--near'} needs the media: leave out --no-media")
    if html is not None:
        check_file(html, (".html", ".htm"), flag="--html")
    from onethinker.commands.console import progress_bar
    from onethinker.data.spreading import ready
    from onethinker.data.statistics import Counting, as_json

    statistics = open_statistics(near, against, benchmarks)
    more = TokenCounter(model) if model else None
    work = Counting(media, near is not None, media_root, more, statistics.overlap)
    compared = {"near": near, "against": against, "benchmarks": benchmarks}
    asked = {"command": "stats", "model": model, "media": media, **compared, "media_root": media_root}
    results = spread.results(files, ready(work), asked, as_json=json)
    if results is None:
        return
    with progress_bar("counting") as on_progress:
        for block in results:
            statistics.add(block)
            on_progress(statistics.records, None)
    if html is not None:
        from onethinker.report.data_page import write_statistics

        write_statistics(html, statistics, files, media_root)
        print(html, file=sys.stderr)
    if json:
        print(to_json(as_json(statistics), ensure_ascii=False))
    else:
        from onethinker.commands.data_tables import print_statistics

        print_statistics(statistics)
    for line in statistics.unread:
        print(line, file=sys.stderr)


def open_statistics(near: int | None, against: str | None, benchmarks: Path | None) -> "Statistics":
    """Return statistics of nothing yet, which compare media and what must not be learned from. Raises: ConfigError,
    DataError.
    """
    from onethinker.data.likeness import MediaFiles
    from onethinker.data.overlap import Overlap
    from onethinker.data.statistics import Statistics

    overlap = Overlap(read_measured(against, benchmarks), near) if against is not None else None
    return Statistics(media=MediaFiles(near), overlap=overlap)


def read_measured(name: str, benchmarks: Path | None) -> "list[Sample]":
    """Return the samples of a benchmark, or of a file. Raises: ConfigError: it is neither. DataError."""
    from onethinker.data.formats.released import read_samples
    from onethinker.evaluation.benchmarks.data import DATA_FOLDER, read_rows
    from onethinker.evaluation.benchmarks.registry import find_benchmark

    if Path(name).is_file():
        return list(read_samples(Path(name)))
    if Path(name).suffix.lower() in (".json", ".jsonl"):
        raise ConfigError(f"--against {name}: there is no such file")
    return list(read_rows(find_benchmark(name), benchmarks or DATA_FOLDER).samples)


@dataclass(frozen=True)
class TokenCounter:
    """Counts the tokens of samples as a model reads them."""

    model: str

    def __post_init__(self) -> None:
        """Open the model's processor now, so that what is wrong with it is said first."""
        from onethinker.commands.data_check import open_processor

        open_processor(self.model)

    def __call__(self, samples: "Sequence[Sample]", headers: "Headers") -> list[Mapping[str, float]]:
        """Return the measures in tokens of each sample."""
        from onethinker.commands.data_check import open_processor
        from onethinker.inference.model_checks import told_coordinates
        from onethinker.media.headers import Header
        from onethinker.training.lengths import Lengths

        processor, prompt_template, budget = open_processor(self.model)
        lengths = Lengths(
            samples,
            {path: header for path, header in headers.items() if isinstance(header, Header)},
            processor=processor,
            prompt_template=prompt_template,
            budget=budget,
            max_new_tokens=None,
            coordinates=told_coordinates(self.model),
        ).all()
        return [
            {
                "prompt_tokens": length.prompt,
                "visual_tokens": length.visual,
                **({"response_tokens": length.answer} if sample.response else {}),
            }
            for sample, length in zip(samples, lengths, strict=True)
        ]
