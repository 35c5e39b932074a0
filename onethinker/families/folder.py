"""A model folder: what Hugging Face writes, whole weights or adapters, and the words and the media budget that they
expect.
"""

import json
import shutil
import warnings
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, ValidationError

from onethinker.core.errors import EngineError
from onethinker.core.settings import explain
from onethinker.core.sources import home_path
from onethinker.families.registry import FAMILIES, family_of_processor
from onethinker.media.budget import MediaBudget
from onethinker.storage.atomic import grant_as, sync_tree
from onethinker.tasks import Coordinates
from onethinker.tasks.template import PromptTemplate

if TYPE_CHECKING:
    from torch import Tensor

SETTINGS_FILE = "onethinker.json"
"""The file of a model folder that says with which words and which budget its weights were trained."""
TOLD_SETTINGS = "onethinker"
"""Where the list of models of `onethinker serve` says the same."""


ADAPTER_SETTINGS_FILE, ADAPTER_FILE = "adapter_config.json", "adapter_model.safetensors"
"""What peft writes and reads."""
_PEFT_PREFIX = "base_model.model."


class ModelSettings(BaseModel):
    """What `onethinker.json` holds, every field of which may be missing; `base` and `seed` are there with adapters: the
    model below them, and of "untrained" its weights. `coordinates` says what the model counts places in, None for what
    its family does.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    prompt_template: PromptTemplate = PromptTemplate()
    budget: MediaBudget = MediaBudget()
    coordinates: Coordinates | None = None
    base: str | None = None
    seed: int = 0


def save_model(
    folder: Path, model: Any, processor: Any, *, settings: ModelSettings, state: Mapping[str, "Tensor"] | None = None
) -> None:
    """Write an ordinary Hugging Face folder, and beside the weights the settings that they were trained with.

    With `settings.base` only the model's adapters are written, as peft writes them. `state` are the weights where the
    model itself does not hold all of them. The processor's files say the sizes of the budget, so that others show the
    model what we do, and generation is greedy as ours is: what the base model came with says neither. A folder of that
    name is replaced once the new one is whole and on the disk; until then it stays.

    Raises: OSError, SafetensorError: it cannot be written.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial, old = (folder.with_name(f".{folder.name}.{state}") for state in ("partial", "old"))
    for leftover in (partial, old):
        shutil.rmtree(leftover, ignore_errors=True)
    if settings.base is None:
        _forget_origin(model)
        model.save_pretrained(partial, state_dict=state)
    else:
        _save_adapters(partial, model, settings.base, model.state_dict() if state is None else state)
    _save_processor(partial, processor, settings.budget)
    (partial / SETTINGS_FILE).write_text(settings.model_dump_json(indent=2) + "\n")
    grant_as(partial / SETTINGS_FILE)
    sync_tree(partial)
    if folder.exists():
        folder.rename(old)
    partial.rename(folder)
    shutil.rmtree(old, ignore_errors=True)


def _forget_origin(model: Any) -> None:
    """Keep the dtype of the weights, and nothing of how a model came here or of how its base drew
    answers.

    A model that was built, one from the hub and one from a checkpoint then write the same files.
    """
    for config in (model.config, *(getattr(model.config, name, None) for name in model.config.sub_configs)):
        if config is not None:
            config.dtype = model.dtype
    own = model.generation_config
    kept = {name: getattr(own, name) for name in ("bos_token_id", "eos_token_id", "pad_token_id")}
    model.generation_config = type(own)(**kept)


def _save_processor(folder: Path, processor: Any, budget: MediaBudget) -> None:
    """Write a processor with our sizes and without what its last batch or its origin left in it. Raises: OSError."""
    if (family := family_of_processor(processor)) is not None:
        family.set_budget(processor, budget)
    for name in ("is_local", "local_files_only"):
        processor.tokenizer.init_kwargs.pop(name, None)
    if processor.tokenizer.is_fast:
        processor.tokenizer.backend_tokenizer.no_padding()
        processor.tokenizer.backend_tokenizer.no_truncation()
    try:
        processor.save_pretrained(folder)
    except Exception as error:  # what the library of the tokenizers raises has no type of its own
        if type(error) is not Exception:
            raise
        raise OSError(str(error)) from error


def _save_adapters(folder: Path, model: Any, base: str, state: Mapping[str, "Tensor"]) -> None:
    from peft import get_peft_model_state_dict
    from safetensors.torch import save_file

    folder.mkdir()
    tensors = get_peft_model_state_dict(model, state_dict=dict(state))
    save_file(
        {f"{_PEFT_PREFIX}{name}": tensor.contiguous().cpu() for name, tensor in tensors.items()}, folder / ADAPTER_FILE
    )
    config = replace(model.peft_config["default"], base_model_name_or_path=base, inference_mode=True)
    # peft keeps the names in sets, whose order no two processes share.
    for name, value in vars(config).items():
        if isinstance(value, set):
            setattr(config, name, sorted(value))
    config.save_pretrained(folder)


def load_adapters(folder: Path, model: Any) -> None:
    """Put the adapters of a folder into a model that has such adapters. Raises: EngineError: they are others, or
    damaged.
    """
    from peft import set_peft_model_state_dict
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    path = folder / ADAPTER_FILE
    try:
        tensors = {name.removeprefix(_PEFT_PREFIX): tensor for name, tensor in load_file(path).items()}
        found = set_peft_model_state_dict(model, tensors)
        wrong = [*found.unexpected_keys, *(name for name in found.missing_keys if ".lora_" in name)]
    except (OSError, RuntimeError, SafetensorError) as error:
        raise EngineError(f"{path}: these adapters do not fit this model: {error}") from error
    if wrong:
        raise EngineError(f"{path}: these adapters do not fit this model: {', '.join(wrong[:3])} have no match")


def merge_adapters(folder: Path, model: Any) -> Any:
    """Return the model with the adapters of a folder added to its weights. Raises: EngineError: they do not fit it."""
    from peft import PeftModel, get_peft_model_state_dict
    from safetensors import SafetensorError, safe_open

    misfit = f"{folder}: the adapters do not fit their base model, a {type(model).__name__}"
    todo = f"set base_model_name_or_path in {ADAPTER_SETTINGS_FILE} to the model that they were trained on"
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Found missing adapter keys")  # an error, below
            # peft asks transformers by a name that transformers is about to drop.
            warnings.filterwarnings("ignore", "`is_gradient_checkpointing` is deprecated", FutureWarning)
            adapted = PeftModel.from_pretrained(model, str(folder))
        if (path := folder / ADAPTER_FILE).is_file():
            with safe_open(path, "pt") as file:
                found = set(file.keys())
            # peft leaves out what the model has no place for, and leaves adapters at nothing that are not there. It
            # would ask the hub whether there are embeddings too; the file knows.
            has_embeddings = any(name.endswith(("embed_tokens.weight", "lm_head.weight")) for name in found)
            wrong = sorted(found ^ set(get_peft_model_state_dict(adapted, save_embedding_layers=has_embeddings)))
            if wrong:
                raise EngineError(f"{misfit}: {len(wrong)} have no match, such as {wrong[0]}; {todo}")
        return adapted.merge_and_unload()
    except (OSError, ValueError, RuntimeError, KeyError, TypeError, SafetensorError) as error:
        raise EngineError(f"{misfit}: {' '.join(str(error).split())[:300]}; {todo}") from error


def read_settings(folder: Path) -> ModelSettings:
    """Return the prompt template and budget of a model folder; the defaults where it has no such file. Raises:
    EngineError.
    """
    path = folder / SETTINGS_FILE
    if not path.exists():
        return ModelSettings()
    try:
        return ModelSettings.model_validate(json.loads(path.read_text()))
    except (OSError, ValueError) as error:
        wrong = explain(error, ModelSettings) if isinstance(error, ValidationError) else error
        raise EngineError(
            f'{path}: expected {{"prompt_template": …, "budget": …}} as `save_model` writes it: {wrong}'
        ) from error


def base_of(folder: Path, settings: ModelSettings) -> str:
    """Return which model the adapters in a folder belong to. Raises: EngineError: nothing says so."""
    path = folder / ADAPTER_SETTINGS_FILE
    try:
        base = settings.base or json.loads(path.read_text()).get("base_model_name_or_path")
    except (OSError, ValueError, AttributeError) as error:
        raise EngineError(f"{path}: expected the settings of adapters as peft writes them: {error}") from error
    if not base or home_path(base).resolve() == folder.resolve():
        raise EngineError(
            f"{path}: 'base_model_name_or_path' must name the model that the adapters belong to, got {base!r}"
        )
    return str(base)


def check_weights(folder: Path) -> None:
    """Raise EngineError unless a folder holds a model with all of its weights; they are not read."""
    if not (folder / "config.json").is_file():
        raise EngineError(
            f"{folder}: the folder contains no model: there is no config.json in it. Give a folder that training wrote,"
            " or a hub id"
        )
    check_config(folder / "config.json")
    for index in folder.glob("*.safetensors.index.json"):
        missing = sorted(name for name in _shards(index) if not (folder / name).is_file())
        if missing:
            raise EngineError(
                f"{folder}: {', '.join(missing[:3])}, listed in {index.name}, is missing; copy the folder again"
            )
    if not any(folder.glob("*.safetensors")) and not any(folder.glob("*.bin")):
        raise EngineError(
            f"{folder}: there are no weights next to its config.json; copy the folder again, or give another one"
        )


def check_config(path: Path) -> None:
    """Raise EngineError where a config does not say what the model is: without the widths of a part, transformers
    builds one of billions of weights. What a family from outside calls its parts is not known here.
    """
    try:
        config = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise EngineError(f"{path}: cannot be read, copy it again: {error}") from error
    kind = config.get("model_type") if isinstance(config, dict) else None
    if not isinstance(kind, str):
        raise EngineError(f'{path}: it has no "model_type", so the kind of model is unknown; copy it again')
    if "hidden_size" in config or not any(kind in family.model_types for family in FAMILIES):
        return
    for part in ("text_config", "vision_config"):
        if not isinstance(config.get(part), dict):
            raise EngineError(f'{path}: it has no "{part}", which a model of type {kind} has; copy it again')


def _shards(index: Path) -> set[str]:
    try:
        return {str(name) for name in json.loads(index.read_text())["weight_map"].values()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise EngineError(f"{index}: cannot be read as the list of a model's weight files: {error}") from error
