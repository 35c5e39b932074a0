"""A model folder: what Hugging Face writes, and the words and the media budget that its weights expect."""

import json
import shutil
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from onethinker.errors import EngineError
from onethinker.media.budget import MediaBudget
from onethinker.models.wording import Wording

SETTINGS_FILE = "onethinker.json"
"""The file of a model folder that says with which words and which budget its weights were trained."""


class ModelSettings(BaseModel):
    """What `onethinker.json` holds."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    wording: Wording = Wording()
    budget: MediaBudget = MediaBudget()


def save_model(folder: Path, model: Any, processor: Any, *, wording: Wording, budget: MediaBudget) -> None:
    """Write an ordinary Hugging Face folder, and beside the weights the wording and budget that they were trained with.

    A folder of that name is replaced once the new one is whole; until then it stays as it was.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial, old = (folder.with_name(f".{folder.name}.{state}") for state in ("partial", "old"))
    for leftover in (partial, old):
        shutil.rmtree(leftover, ignore_errors=True)
    model.save_pretrained(partial)
    processor.save_pretrained(partial)
    settings = ModelSettings(wording=wording, budget=budget)
    (partial / SETTINGS_FILE).write_text(settings.model_dump_json(indent=2) + "\n")
    if folder.exists():
        folder.rename(old)
    partial.rename(folder)
    shutil.rmtree(old, ignore_errors=True)


def read_settings(folder: Path) -> ModelSettings:
    """Return the wording and budget of a model folder; the defaults where it has no such file. Raises: EngineError."""
    path = folder / SETTINGS_FILE
    if not path.exists():
        return ModelSettings()
    try:
        return ModelSettings.model_validate(json.loads(path.read_text()))
    except (OSError, ValueError, ValidationError) as error:
        raise EngineError(f'{path}: expected {{"wording": …, "budget": …}} as `save_model` writes it: {error}') from error
