"""`onethinker data check`: every fault of files of samples, before anybody learns from them."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from onethinker.commands.data_spread import SPREAD, SpreadOptions
from onethinker.commands.options import Flags
from onethinker.core.errors import ConfigError, DataError, MediaError

if TYPE_CHECKING:
    from onethinker.core.sources import FileMedium
    from onethinker.data.check import Tally
    from onethinker.data.media_checks import Usable
    from onethinker.data.validate import Problem
    from onethinker.media.budget import MediaBudget
    from onethinker.media.headers import Header
    from onethinker.tasks.template import PromptTemplate
    from onethinker.training.config import Recipe


def data_check(
    files: Annotated[tuple[Path, ...], tyro.conf.Positional],
    *,
    need: Literal["response", "truth", "rejected"] | None = None,
    recipe: str | None = None,
    media: bool = True,
    decode: bool = False,
    media_root: Path | None = None,
    fix: Path | None = None,
    spread: Flags[SpreadOptions] = SPREAD,
    json: bool = False,
) -> None:
    """Name every fault in files of samples, by file and row, and count the faults by kind.

    Checked are: that records can be read; that reference answers and responses have the form of their task and get the
    full reward; that ids and questions are unique; that media exist, can be read, are of the right kind, and are as
    long and large as the answer requires. Faults are printed on stdout, one per line; the exit code is 1 if there are
    any.

    Args:
        files: JSON lists or JSONL files of samples.
        need: What each record must have: "response" for SFT, "truth" (a reference answer) for RL, "rejected" next to a
            response for DPO. By default a response or a truth.
        recipe: A recipe (file or name) that is to be trained on the files: check what it needs, and whether each record
            fits into its rows.
        media: Read the headers of the media; without this 1,000 records take less than a second.
        decode: Also decode the frames of media that a model sees, which finds damage that headers do not show. This is
            about as slow as reading them in an evaluation.
        media_root: Folder that media paths are relative to; by default that of the file.
        fix: Write the records into this new file with the repairs that are safe: misspelt fields, names of problem
            types, options as an object, media as one path, coordinates from 0 to 1, backslashes, duplicate records,
            duplicate ids. Each change is named; everything else stays unchanged.
        spread: How the work is divided.
        json: Print one JSON object with counts and faults, and with --fix each change.
    """
    from onethinker.commands.console import progress_bar
    from onethinker.data.check import Look, Tally, faults_in
    from onethinker.data.spreading import ready
    from onethinker.storage.strict_json import to_json

    _check_flags(files, recipe, media=media, decode=decode)
    spread.check()
    changes = None
    if fix is not None:
        if spread.parts is not None:
            raise ConfigError("--fix writes one new file: leave out --shard, --parts and --ray")
        changes = _fix(files, fix, media_root)
        files, media_root = (fix,), None
    asked = _load(recipe) if recipe is not None else None
    measure = Fits(asked) if asked is not None else None
    look = Look(asked.need if asked is not None else need, media, decode, media_root, measure)
    options = {"need": look.need, "recipe": recipe, "media": media, "decode": decode, "media_root": media_root}
    results = spread.results(files, ready(look), {"command": "check", **options}, as_json=json)
    if results is None:
        return
    tally, found = Tally(), []
    with progress_bar("checking") as on_progress:
        for problem in faults_in(results, tally, on_progress=lambda done: on_progress(done, None)):
            found.append(problem) if json else print(
                f"{problem.file}, row {problem.row}: {problem.kind}: {problem.text}"
            )
    if json:
        print(to_json(_as_json(tally, found) | ({} if changes is None else {"changes": changes}), ensure_ascii=False))
    _print_summary(tally)
    if faults := sum(tally.faults.values()):
        raise DataError(f"{counted(faults, 'fault')} in {counted(tally.records, 'record')}")


def _check_flags(files: Sequence[Path], recipe: str | None, *, media: bool, decode: bool) -> None:
    if not files:
        raise ConfigError("name at least one file of samples")
    if recipe is not None and not media:
        raise ConfigError("--recipe counts tokens and needs the media for it: leave out --no-media")
    if decode and not media:
        raise ConfigError("--decode needs the media: leave out --no-media")


def _load(name: str) -> "Recipe":
    """Return the recipe of any stage by this name. Raises: ConfigError: there is none, or it fits none."""
    from onethinker.training.config import RlRecipe, SftRecipe
    from onethinker.training.dpo_recipe import DpoRecipe

    kinds: tuple[type[Recipe], ...] = (SftRecipe, DpoRecipe, RlRecipe)
    errors = []
    for kind in kinds:
        try:
            return kind.load(name)
        except ConfigError as error:
            errors.append(error)
    raise errors[0]


@dataclass(frozen=True)
class Fits:
    """Finds records that are longer than a row of a recipe."""

    recipe: "Recipe"

    def __call__(
        self, records: "Sequence[Usable]", headers: "Mapping[FileMedium, Header | MediaError]"
    ) -> "list[Problem]":
        """Return one fault for each of them."""
        from onethinker.data.validate import Problem
        from onethinker.inference.model_checks import told_coordinates
        from onethinker.media.headers import Header
        from onethinker.training.inputs import new_tokens, too_long_text
        from onethinker.training.lengths import Lengths

        processor, prompt_template, budget = open_processor(self.recipe.model, self.recipe.budget)
        lengths = Lengths(
            [record.sample for record in records],
            {path: header for path, header in headers.items() if isinstance(header, Header)},
            processor=processor,
            prompt_template=prompt_template,
            budget=budget,
            max_new_tokens=new_tokens(self.recipe),
            coordinates=self.recipe.coordinates or told_coordinates(self.recipe.model),
            pairs=self.recipe.need == "rejected",
        )
        return [
            Problem(records[n].file, records[n].row, too_long_text(length, self.recipe), "too long")
            for n, length in lengths.longer_than(self.recipe.max_row_tokens).items()
        ]


@cache
def open_processor(model: str, own: "MediaBudget | None" = None) -> "tuple[Any, PromptTemplate, MediaBudget]":
    """Return a model's processor, its words, and the budget of its media or another one that fits it. Raises:
    EngineError: there is no such model.
    """
    from onethinker.families.registry import fit_budget
    from onethinker.inference.loading import load_processor
    from onethinker.inference.model_checks import budget_of

    processor, prompt_template = load_processor(model)
    return processor, prompt_template, fit_budget(own or budget_of(model), processor)


def _fix(files: Sequence[Path], output: Path, media_root: Path | None) -> list[dict[str, object]]:
    """Write records with what is certain mended, and return and name each change."""
    from onethinker.data.fixing import fix_files
    from onethinker.storage.atomic import check_writable

    if output.exists():
        raise ConfigError(f"--fix {output}: already exists; name a new file")
    check_writable(output, "file", flag="--fix")
    fixed = fix_files(files, output, media_root=media_root)
    for file, row, text in fixed.changes:
        print(f"{file}, row {row}: {text}", file=sys.stderr)
    print(f"{len(fixed.changes):,} changes, {fixed.written:,} records written: {output}", file=sys.stderr)
    return [{"file": str(file), "row": row, "text": text} for file, row, text in fixed.changes]


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


def counted(count: int, noun: str) -> str:
    """Return a number with its noun.

    >>> counted(1, "record"), counted(1200, "record")
    ('1 record', '1,200 records')
    """
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def _print_summary(tally: "Tally") -> None:
    from onethinker.data.check import KINDS

    types = ", ".join(f"{name} {count:,}" for name, count in tally.problem_types.most_common())
    print(f"{counted(tally.records, 'record')}{': ' if types else ''}{types}", file=sys.stderr)
    for kind in KINDS:
        if count := tally.faults[kind]:
            print(f"{count:8,}  {kind}: {KINDS[kind]}", file=sys.stderr)
