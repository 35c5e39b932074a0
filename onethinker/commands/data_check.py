"""`onethinker data check`: every fault of files of samples, before anybody learns from them."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from onethinker.core.errors import ConfigError, DataError

if TYPE_CHECKING:
    from onethinker.data.check import Measure, Tally
    from onethinker.data.validate import Problem
    from onethinker.training.config import Recipe


def data_check(
    files: Annotated[tuple[Path, ...], tyro.conf.Positional],
    *,
    need: Literal["response", "truth"] | None = None,
    recipe: str | None = None,
    media: bool = True,
    decode: bool = False,
    media_root: Path | None = None,
    fix: Path | None = None,
    json: bool = False,
) -> None:
    """Name every fault of files of samples, by file and row, and count them by kind.

    Looked at: that records can be read, that reference answers and responses are answers of their task and get the
    whole reward, that ids and questions are there once, and that media are there, can be read, are of the right kind
    and as long and large as the answer says. Faults go to stdout, a line each; the exit code is 1 when there are any.

    Args:
        files: JSON lists or JSONL files of samples.
        need: What each record must have: "response" to learn from by SFT, "truth" to be graded by. By default one of
            both.
        recipe: A recipe (file or name) that is to learn from the files: what it needs, and whether each record fits
            into its rows.
        media: Whether headers of media are read; without it 1,000 records take less than a second.
        decode: Also decode the frames of media that a model sees, which finds damage that headers do not show; about as
            slow as an evaluation reads them.
        media_root: Folder that media paths are relative to; by default that of the file.
        fix: Write the records into this new file with what is certain mended: misspelt fields, names of problem types,
            options as an object, places from 0 to 1, backslashes, copies, ids that are there twice. Each change is
            named; everything else stays as it is.
        json: Print one JSON object with counts and faults.
    """
    from onethinker.commands.console import progress_bar
    from onethinker.data.check import Tally, find_faults
    from onethinker.storage.strict_json import to_json

    if not files:
        raise ConfigError("name at least one file of samples")
    if recipe is not None and not media:
        raise ConfigError("--recipe needs the headers of media, to count tokens: leave out --no-media")
    if decode and not media:
        raise ConfigError("--decode decodes the media: leave out --no-media")
    if fix is not None:
        _fix(files, fix, media_root)
        files, media_root = (fix,), None
    asked = _load(recipe) if recipe is not None else None
    tally, found = Tally(), []
    with progress_bar("checking") as on_progress:
        for problem in find_faults(
            files,
            tally,
            need=asked.need if asked is not None else need,
            with_media=media,
            decode=decode,
            media_root=media_root,
            measure=_measure(asked) if asked is not None else None,
            on_progress=lambda done: on_progress(done, None),
        ):
            found.append(problem) if json else print(
                f"{problem.file}, row {problem.row}: {problem.kind}: {problem.text}"
            )
    if json:
        print(to_json(_as_json(tally, found), ensure_ascii=False))
    _print_summary(tally)
    if faults := sum(tally.faults.values()):
        raise DataError(f"{faults:,} faults in {tally.records:,} records")


def _load(name: str) -> "Recipe":
    """Return the recipe of either stage by this name. Raises: ConfigError: there is none, or it fits neither."""
    from onethinker.training.config import RlRecipe, SftRecipe

    try:
        return SftRecipe.load(name)
    except ConfigError as error:
        try:
            return RlRecipe.load(name)
        except ConfigError:
            raise error from None


def _measure(recipe: "Recipe") -> "Measure":
    """Return what finds records that are longer than a row of a recipe."""
    from collections.abc import Mapping

    from onethinker.core.errors import MediaError
    from onethinker.data.media_checks import Usable
    from onethinker.data.validate import Problem
    from onethinker.families.registry import fit_budget
    from onethinker.inference.loading import load_processor
    from onethinker.inference.model_checks import budget_of
    from onethinker.media.headers import Header
    from onethinker.training.inputs import new_tokens, too_long_text
    from onethinker.training.lengths import Lengths

    processor, prompt_template = load_processor(recipe.model)

    def measure(records: Sequence[Usable], headers: Mapping[Path, Header | MediaError]) -> list[Problem]:
        lengths = Lengths(
            [record.sample for record in records],
            {path: header for path, header in headers.items() if isinstance(header, Header)},
            processor=processor,
            prompt_template=prompt_template,
            budget=fit_budget(recipe.budget or budget_of(recipe.model), processor),
            max_new_tokens=new_tokens(recipe),
        )
        return [
            Problem(records[n].file, records[n].row, too_long_text(length, recipe), "too long")
            for n, length in lengths.longer_than(recipe.max_row_tokens).items()
        ]

    return measure


def _fix(files: Sequence[Path], output: Path, media_root: Path | None) -> None:
    from onethinker.data.fixing import fix_files
    from onethinker.storage.atomic import check_writable

    if output.exists():
        raise ConfigError(f"--fix {output}: is there already; name a new file")
    check_writable(output, "file", flag="--fix")
    fixed = fix_files(files, output, media_root=media_root)
    for file, row, text in fixed.changes:
        print(f"{file}, row {row}: {text}", file=sys.stderr)
    print(f"{len(fixed.changes):,} changes, {fixed.written:,} records written: {output}", file=sys.stderr)


def _as_json(tally: "Tally", found: "Sequence[Problem]") -> dict[str, object]:
    return {
        "records": tally.records,
        "problem_types": dict(tally.problem_types),
        "faults": dict(tally.faults),
        "problems": [
            {"file": str(problem.file), "row": problem.row, "kind": problem.kind, "text": problem.text}
            for problem in found
        ],
    }


def _print_summary(tally: "Tally") -> None:
    from onethinker.data.check import KINDS

    types = ", ".join(f"{name} {count:,}" for name, count in tally.problem_types.most_common())
    print(f"{tally.records:,} records{': ' if types else ''}{types}", file=sys.stderr)
    for kind in KINDS:
        if count := tally.faults[kind]:
            print(f"{count:8,}  {kind}: {KINDS[kind]}", file=sys.stderr)
