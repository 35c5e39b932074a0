"""`onethinker data filter`: the records of files that stay, by what they are and by how hard they are."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from onethinker.commands.data_options import CHOICE, DIFFICULTY, ChoiceOptions, DifficultyOptions
from onethinker.commands.data_spread import SPREAD, SpreadOptions
from onethinker.commands.options import Flags
from onethinker.core.errors import ConfigError

if TYPE_CHECKING:
    from onethinker.data.filtering import Criteria, Verdict
    from onethinker.data.spreading import Shard, Work
    from onethinker.data.statistics import More


def data_filter(
    files: Annotated[tuple[Path, ...], tyro.conf.Positional],
    *,
    output: Path,
    dropped: Path | None = None,
    choice: Flags[ChoiceOptions] = CHOICE,
    difficulty: Flags[DifficultyOptions] = DIFFICULTY,
    faultless: bool = False,
    near: int | None = None,
    against: str | None = None,
    benchmarks: Path | None = None,
    media_root: Path | None = None,
    spread: Flags[SpreadOptions] = SPREAD,
    json: bool = False,
) -> None:
    """Write the records that pass every condition into a new file, and count the dropped ones by reason.

    Each option is one more condition. Records are not changed and keep their order; only their media paths are
    rewritten to be valid from the new file. The difficulty of a record is measured by how many of a model's answers to
    it are right: answers that an RL run sampled, or new ones. New answers are saved in OUTPUT.answers, so that a
    stopped command can resume.

    Args:
        files: JSON lists or JSONL files of samples.
        output: New file: a JSON list for ".json", else a record a line.
        dropped: New JSONL file with file, row and reason of each dropped record.
        choice: Which records are selected.
        difficulty: Selection by difficulty.
        faultless: Drop records with a fault that `onethinker data check` names.
        near: Drop records whose media look like those of a record that is kept: perceptual hashes that differ in at
            most this many of 64 bits; 4 is a good start.
        against: Drop records that share media or the exact words of a question with a benchmark, or with a file of
            samples; with --near also those whose media look alike.
        benchmarks: Folder of the benchmarks' data (default data/benchmarks).
        media_root: Folder that media paths are relative to; by default that of the file.
        spread: How the work is divided.
        json: Print one JSON object with counts by reason.
    """
    from onethinker.commands.console import progress_bar
    from onethinker.commands.data_options import check_files, check_output, open_rates

    check_files(files)
    check_output(output, "--output")
    if dropped is not None:
        check_output(dropped, "--dropped")
    difficulty.check()
    spread = _alone(spread) if difficulty.rollouts is not None else spread
    from onethinker.commands.data_tables import print_kept
    from onethinker.data.filtering import write_kept

    criteria = replace(choice.criteria(), near=near, pass_rate=difficulty.pass_rate)
    asked = {"command": "filter", **choice.model_dump(), **difficulty.model_dump(), "faultless": faultless}
    asked |= {"near": near, "against": against, "benchmarks": benchmarks, "media_root": media_root, "output": output}

    @contextmanager
    def opened(shard: "Shard | None") -> "Iterator[Work]":
        from onethinker.data.filtering import Chosen

        more = _token_measures(criteria, difficulty.model)
        known = _with_measured(criteria, against, benchmarks)
        if faultless:
            known = replace(known, faulty=_faults(files, media_root))
        journal = output.with_name(f"{output.name}{f'.{shard}' if shard else ''}.answers")
        with open_rates(difficulty, journal) as rate_of:
            yield Chosen(known, more, rate_of, media_root, output.parent)

    results = spread.results(files, opened, asked, as_json=json)
    if results is None:
        return
    with _listing(dropped) as on_dropped, progress_bar("filtering") as on_progress:
        kept = write_kept(
            results, output, near, on_dropped=on_dropped, on_progress=lambda done: on_progress(done, None)
        )
    print_kept(kept, output, as_json=json)


def _alone(spread: SpreadOptions) -> SpreadOptions:
    """Return who does the work where a model is loaded for it: this process. Raises: ConfigError."""
    if (spread.workers or 1) > 1:
        raise ConfigError(
            "--rollouts loads the model in this process: leave out --workers; to divide the work use --shard or --ray"
        )
    return spread if spread.parts is not None else spread.model_copy(update={"workers": 1})


def _with_measured(criteria: "Criteria", against: str | None, benchmarks: Path | None) -> "Criteria":
    """Return criteria that know what is measured by. Raises: ConfigError, DataError."""
    from onethinker.commands.data_stats import read_measured
    from onethinker.data.overlap import Overlap

    if against is None:
        return criteria
    return replace(criteria, overlap=Overlap(read_measured(against, benchmarks), criteria.near))


def _token_measures(criteria: "Criteria", model: str | None) -> "More | None":
    """Return what counts tokens, where a bound is in tokens. Raises: ConfigError: by no model."""
    from onethinker.commands.data_stats import TokenCounter

    bounds = sorted(name for name in criteria.bounded if name.endswith("_tokens"))
    if not bounds:
        return None
    if model is None:
        raise ConfigError(f"a bound on {bounds[0]} needs --model, whose tokenizer counts the tokens")
    return TokenCounter(model)


def _faults(files: tuple[Path, ...], media_root: Path | None) -> dict[tuple[Path, int], str]:
    """Return file and row of each record that has a fault, with the kind of the first one."""
    from onethinker.commands.data_view import find_all_faults

    return {row: own[0][0] for row, own in find_all_faults(files, media_root).items()}


@contextmanager
def _listing(path: Path | None) -> "Iterator[Callable[[Verdict], None] | None]":
    """Yield what writes each record that goes into a file, whole or not at all; None without a file."""
    from onethinker.storage.atomic import opened_atomically, writing
    from onethinker.storage.strict_json import json_line

    if path is None:
        yield None
        return
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    with opened_atomically(path) as file:

        def write(verdict: "Verdict") -> None:
            own = {"error": verdict.error} if verdict.error else {"id": verdict.id}
            file.write(json_line({"file": verdict.file, "row": verdict.row, **own, "reason": verdict.reason}))

        yield write
