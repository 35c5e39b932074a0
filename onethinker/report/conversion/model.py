"""The road from a run or a model to a folder of another library, whose answers are compared with the original's."""

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from onethinker.core.errors import ConfigError, EngineError, StorageError
from onethinker.core.request import Request, SamplingParams
from onethinker.data.synthetic import make_sample
from onethinker.families.folder import SETTINGS_FILE
from onethinker.inference.encode import build_request
from onethinker.inference.loading import load_local
from onethinker.report.conversion.base import Converter, Say
from onethinker.report.model_export import CARD_FILE, export_model
from onethinker.storage.atomic import check_writable, folder_atomically

if TYPE_CHECKING:
    from onethinker.inference.local import LocalEngine

QUESTIONS = 6
MAX_NEW_TOKENS = 48


@dataclass(frozen=True)
class Comparison:
    """How many greedy answers of a converted model are those of the original, token by token of their text."""

    equal: int
    asked: int


def convert_model(
    path: Path,
    output: Path,
    converter: Converter,
    *,
    results: Sequence[Path] = (),
    dtype: str | None = None,
    say: Say,
) -> Comparison:
    """Write the model of a run, a checkpoint or a model's folder as `converter` does, with the model card and our
    settings beside it, and return how its answers to questions about synthetic pictures (and clips, where the form
    has them) compare with those of the original in float32.

    Raises: ConfigError: something is at `output`, or a program is missing. CheckpointError, EngineError: the model
    cannot be read or converted, or gives no answer of the original; then nothing is written.
    """
    if output.exists():
        raise ConfigError(f"--output {output}: exists already; choose another")
    check_writable(output, "folder", flag="--output")
    converter.check()
    with folder_atomically(output) as made, _os_errors_named():
        original = made / "original" / output.resolve().name  # the card has the name of its folder
        original.parent.mkdir()
        say("writing the model as a folder of transformers")
        export_model(path, original, results=results, dtype=dtype)
        converter.convert(original, made, say)
        with load_local(str(original), device="cpu", dtype="float32") as engine:
            comparison = _compare(engine, converter, made, say)
        for name in (CARD_FILE, SETTINGS_FILE):
            (original / name).replace(made / name)
        shutil.rmtree(original.parent)
    return comparison


@contextmanager
def _os_errors_named() -> Iterator[None]:
    """Have an OSError, of a port or a temporary folder, raised as EngineError: `folder_atomically` would say that the
    output cannot be written.
    """
    try:
        yield
    except StorageError:
        raise
    except OSError as error:
        raise EngineError(f"the model cannot be converted: {error}") from error


def _compare(engine: "LocalEngine", converter: Converter, made: Path, say: Say) -> Comparison:
    requests = questions(engine, converter.kinds)
    params = SamplingParams(temperature=0, max_new_tokens=MAX_NEW_TOKENS)
    expected = [engine.complete([request], params)[0].text for request in requests]
    found = converter.answers(made, engine, requests, params, say)
    equal = sum(one == other for one, other in zip(expected, found, strict=True))
    if not equal:
        raise EngineError(
            f"the converted model gives none of the {len(requests)} answers of the original, so it was not kept: asked"
            f" {requests[0].text[:60]!r}, it says {found[0][:60]!r}, but the original says {expected[0][:60]!r}"
        )
    return Comparison(equal, len(requests))


def questions(engine: "LocalEngine", kinds: Sequence[str]) -> list[Request]:
    """Return questions about things in synthetic pictures and clips, in the words of the model."""
    samples = [
        make_sample(0, index, data_type=kinds[index % len(kinds)], world="things", split="test")
        for index in range(QUESTIONS)
    ]
    return [
        build_request(sample, engine.prompt_template, engine.budget, coordinates=engine.coordinates)
        for sample in samples
    ]
