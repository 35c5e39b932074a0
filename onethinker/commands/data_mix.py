"""`onethinker data mix`: a seeded choice of the records of many files by counts or weights."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from onethinker.commands.data_options import check_files, check_output
from onethinker.core.errors import ConfigError

if TYPE_CHECKING:
    from onethinker.data.mix_settings import MixSettings
    from onethinker.data.mixing import Mixed


def data_mix(
    files: Annotated[tuple[Path, ...], tyro.conf.Positional] = (),
    *,
    output: Path,
    config: Path | None = None,
    total: int | None = None,
    seed: int | None = None,
    by: tuple[Literal["task", "data_type", "source"], ...] | None = None,
    temperature: float | None = None,
    videos: float | None = None,
    repeat: int | None = None,
    weight: tuple[str, ...] = (),
    count: tuple[str, ...] = (),
    media_root: Path | None = None,
    json: bool = False,
) -> None:
    """Draw records from several files into one, balanced by task, source and medium, with weights or exact counts.

    Records are drawn at random within each group, and written in the order of the files. OUTPUT.mix.toml is saved next
    to the result, with all settings, the digest of every input, and the number of records per group. With --config it
    reproduces the same file byte for byte, and fails if an input has changed.

    Args:
        files: JSON lists or JSONL files of samples.
        output: New file: a JSON list for ".json", else a record a line.
        config: TOML file of settings, such as an OUTPUT.mix.toml; options on the command line override it.
        total: Records to draw; by default as many as the shares allow.
        seed: Random seed of the draw; 0 by default.
        by: What defines a group; task and source by default.
        temperature: Shares of groups are proportional to their size to the power of 1 / temperature: 1, the default, is
            proportional, a larger value makes them more equal.
        videos: Fraction of questions about videos; 0.5 is balanced. By default it is not controlled.
        repeat: How often a record may be drawn at most; once by default.
        weight: Factors of the shares, such as task:tracking=2 source:refcoco=0.5; 0 leaves a group out.
        count: Exact numbers of records, such as task:ocr=5000 data_type:video=20000.
        media_root: Folder that media paths are relative to; by default that of the file.
        json: Print one JSON object: the records of each group, available and drawn.
    """
    check_output(output, "--output")
    from onethinker.commands.console import progress_bar
    from onethinker.data.mixing import mix
    from onethinker.storage.strict_json import to_json

    own = {"total": total, "seed": seed, "by": by, "temperature": temperature, "videos": videos, "repeat": repeat}
    tables = {"weights": _named("--weight", weight), "counts": _named("--count", count)}
    settings = _settings(config, files, {**own, **tables})
    check_files([one.path for one in settings.inputs])
    saved = output.with_name(f"{output.name}.mix.toml")
    with progress_bar("reading") as on_progress:
        mixed, made = mix(settings, output, media_root=media_root, on_progress=lambda done: on_progress(done, None))
    made.save(saved)
    print(to_json(_as_json(mixed, made), ensure_ascii=False) if json else output)
    if not json:
        _print(mixed)
    for line in mixed.unread[:10]:
        print(line, file=sys.stderr)
    print(f"{len(mixed.unread):,} rows cannot be read; settings and digests: {saved}", file=sys.stderr)


def _settings(config: Path | None, files: Sequence[Path], own: dict[str, object]) -> "MixSettings":
    """Return the settings of a file with what the command line says in their place. Raises: ConfigError."""
    from pydantic import ValidationError

    from onethinker.core.settings import explain
    from onethinker.data.mix_settings import MixSettings

    given = {name: value for name, value in own.items() if value not in (None, {})}
    if files:
        given["inputs"] = [{"path": path} for path in files]
    base = MixSettings.load(config).model_dump(exclude={"result"}) if config is not None else {}
    if not files and not base:
        raise ConfigError("name at least one file of samples, or --config")
    try:
        return MixSettings.model_validate({**base, **given})
    except ValidationError as error:
        raise ConfigError(explain(error, MixSettings)) from error


def _named(flag: str, words: Sequence[str]) -> dict[str, dict[str, float]]:
    """Return "task:ocr=5" as {"task": {"ocr": 5.0}}. Raises: ConfigError."""
    tables: dict[str, dict[str, float]] = {}
    for word in words:
        left, equals, value = word.rpartition("=")
        what, colon, name = left.partition(":")
        try:
            number = float(value)
        except ValueError:
            number = float("nan")
        if not equals or not colon or what not in ("task", "data_type", "source") or not number >= 0:
            raise ConfigError(f"{flag} takes KIND:NAME=NUMBER, such as task:tracking=2, got {word!r}")
        tables.setdefault(what, {})[name] = number
    return tables


def _as_json(mixed: "Mixed", made: "MixSettings") -> dict[str, object]:
    groups = [
        {**dict(zip(("data_type", *made.by), key, strict=True)), "available": count, "written": mixed.written[key]}
        for key, count in mixed.available.items()
    ]
    return {
        "records": mixed.written.total(),
        "unread": len(mixed.unread),
        "groups": groups,
        "settings": made.model_dump(mode="json"),
    }


def _print(mixed: "Mixed") -> None:
    from rich.box import SIMPLE
    from rich.console import Console
    from rich.table import Column, Table

    numbers = (Column(name, justify="right", no_wrap=True) for name in ("available", "taken"))
    table = Table(Column("group", overflow="fold"), *numbers, box=SIMPLE, show_edge=False)
    for key, count in sorted(mixed.available.items(), key=lambda pair: -mixed.written[pair[0]])[:40]:
        table.add_row(" / ".join(key), f"{count:,}", f"{mixed.written[key]:,}")
    table.add_row("all", f"{mixed.available.total():,}", f"{mixed.written.total():,}")
    Console().print(table)
