"""From what a user types to a model that answers: a hub id, a folder, "tiny", "untrained", "scripted" or an address."""

import sys
import textwrap
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from onethinker.core.addresses import is_address
from onethinker.core.errors import ConfigError, EngineError
from onethinker.families.built_in import TINY, UNTRAINED, folder_of
from onethinker.families.folder import (
    ADAPTER_SETTINGS_FILE,
    ModelSettings,
    base_of,
    check_config,
    merge_adapters,
    read_settings,
)
from onethinker.families.hub import HUB_ID, at_hand, hub_answers
from onethinker.families.registry import check_asking, check_processor, coordinates_of, fit_budget, known
from onethinker.inference.engine import Engine
from onethinker.inference.model_checks import check_four_bit, check_model, check_quantize
from onethinker.inference.quantizing import quantize, without_notes
from onethinker.inference.scripted import SCRIPTED, ScriptedEngine, example_answer
from onethinker.inference.settings import Quantization
from onethinker.media.budget import MediaBudget
from onethinker.processes.machine import default_device
from onethinker.tasks import Coordinates
from onethinker.tasks.template import PromptTemplate

if TYPE_CHECKING:
    from onethinker.inference.local import LocalEngine


def load_engine(
    model: str,
    *,
    prompt_template: PromptTemplate | None = None,
    budget: MediaBudget | None = None,
    settings: Path | None = None,
    batch_size: int = 8,
    patience_s: float = 0.0,
    timeout_s: float = 600.0,
    quantization: Quantization | None = None,
) -> Engine:
    """Return the engine that `model` names; `prompt_template` and `budget` replace those that the weights come with.

    `settings` is a model folder whose own prompt template and budget are taken: for a model that a server serves from
    elsewhere. `batch_size` is how many requests a model that runs here answers together. `patience_s` is how long a
    server may be gone, and `timeout_s` how long it may take for one answer. `quantization` stores the weights of a
    model that runs here in fewer bits.

    "http://host:8000/v1" is a server, several with commas between are servers of one model; an existing folder or a hub
    id ("OneThink/OneThinker-8B") is loaded here; "tiny" comes with OneThinker; "untrained" is built in memory with
    random weights; "scripted" looks at nothing, and shows that all the rest works.

    Raises: EngineError: nothing answers, the folder is missing or holds no model, or the hub cannot be reached.
    """
    if quantization is not None:
        check_quantize(model)
    check_model(model, settings=settings)
    coordinates: Coordinates | None = None
    if settings is not None:
        own = read_settings(settings)
        prompt_template, budget = prompt_template or own.prompt_template, budget or own.budget
        coordinates = own.coordinates
    if is_address(model):
        from onethinker.inference.fleet import connect_servers

        servers = connect_servers(
            model, patience_s=patience_s, timeout_s=timeout_s, prompt_template=prompt_template, budget=budget
        )
        return replace(servers, coordinates=coordinates or servers.coordinates)
    if model == SCRIPTED:
        return ScriptedEngine(example_answer, prompt_template or PromptTemplate(), budget or MediaBudget())
    engine = load_local(model) if quantization is None else _load_quantized(model, quantization)
    return replace(
        engine,
        prompt_template=prompt_template or engine.prompt_template,
        budget=fit_budget(budget or engine.budget, engine.processor),
        coordinates=coordinates or engine.coordinates,
        max_in_flight=batch_size,
    )


def load_local(
    model: str, *, seed: int = 0, device: str | None = None, dtype: str | None = None, four_bit: bool = False
) -> "LocalEngine":
    """Return a model that runs here, with the prompt template and budget that its folder names, or the defaults.

    `model` is a folder, a hub id, "tiny", or "untrained", whose random weights follow `seed`. A folder of adapters
    gives its base model with the adapters merged. `device` is torch's name for one ("cuda:1"), or "auto" to spread a
    model over all of them; `dtype` is a name such as "bfloat16". By default the first GPU in bfloat16, else the CPU in
    float32. `four_bit` stores weights as NF4.

    Raises: EngineError: there is no such folder, it holds no model that takes pictures, or the hub cannot be reached.
    ConfigError: 4 bits are asked for where they cannot be had.
    """
    _check_weights(model, four_bit=four_bit)
    name, model = model, at_hand(model)
    is_there = check_model(model)
    # What can be said without torch has been said.
    from onethinker.inference.local import LocalEngine

    device = device or default_device()
    dtype = dtype or ("float32" if device == "cpu" else "bfloat16")
    quantization = _four_bit_settings() if four_bit else None
    if model in UNTRAINED:
        return _build_untrained(model, seed, device, dtype)
    folder = folder_of(model)
    source = str(folder) if folder.is_dir() else model
    settings = read_settings(folder) if folder.is_dir() else ModelSettings()
    if (folder / ADAPTER_SETTINGS_FILE).is_file():
        base = load_local(base_of(folder, settings), seed=settings.seed, device=device, dtype=dtype)
        network, processor, coordinates = merge_adapters(folder, base.model).eval(), base.processor, base.coordinates
    else:
        network, processor = _from_pretrained(
            source, local_files_only=not is_there, dtype=dtype, device_map=device, quantization_config=quantization
        )
        coordinates = coordinates_of(processor)
    budget, coordinates = fit_budget(settings.budget, processor), settings.coordinates or coordinates
    return LocalEngine(network, processor, settings.prompt_template, budget, name=name, coordinates=coordinates)


def _load_quantized(model: str, quantization: Quantization) -> "LocalEngine":
    """Return a model that runs here with its weights in fewer bits; in bfloat16 around 4 bits, for which the kernels
    are.
    """
    device = default_device()
    dtype = "float32" if device == "cpu" and quantization == "int8" else "bfloat16"
    with without_notes():
        engine = load_local(model, device="cpu", dtype=dtype)
        network = quantize(engine.model, quantization, device=device)
    return replace(engine, model=network, quantization=quantization)


def _check_weights(model: str, *, four_bit: bool) -> None:
    """Raise an EngineError where a model has no weights, a ConfigError where they cannot be stored in 4 bits."""
    if four_bit:
        check_four_bit(model)
    if model == SCRIPTED:
        raise EngineError(
            f'"{SCRIPTED}" has no weights and works only in `onethinker evaluate` and `ask`; use "{TINY}" here'
        )


def load_meta_model(model: str, *, config: Path | None = None) -> Any:
    """Return the network that `model` names, every layer and no weights: they are on torch's meta device.

    `config` is a file as Hugging Face's config.json that says what the model is, where it is not at hand.

    Raises: EngineError: there is no such folder or file, or the hub cannot be reached.
    """
    import torch
    from transformers import AutoConfig, AutoModelForImageTextToText

    model = at_hand(model)
    if model in UNTRAINED and config is None:
        meta_model = _build_untrained(model, 0, "meta", "float32").model
        meta_model.tie_weights()  # on another device, shared weights are shared no more
        return meta_model
    folder = folder_of(model)
    if config is None and (folder / ADAPTER_SETTINGS_FILE).is_file():
        return load_meta_model(base_of(folder, read_settings(folder)))
    source = str(config or (folder if folder.is_dir() else model))
    if config is None and not folder.is_dir() and not HUB_ID.fullmatch(model):
        raise EngineError(f"{model}: no such folder")
    if config is not None or folder.is_dir():
        check_config(config or folder / "config.json")
    offline = config is not None or folder.is_dir() or not hub_answers(model)
    try:
        settings = AutoConfig.from_pretrained(source, local_files_only=offline)
        with torch.device("meta"):
            return AutoModelForImageTextToText.from_config(settings)
    except _unreadable() as error:
        raise EngineError(
            f"{source}: expected the config.json of a vision-language model: {_in_a_line(error)}"
        ) from error


def load_processor(model: str) -> tuple[Any, PromptTemplate]:
    """Return what makes inputs of a model's questions, without the model: its processor, and the words around a
    question.

    Raises: EngineError: there is no such folder, or the hub cannot be reached.
    """
    from transformers import AutoProcessor

    model = at_hand(model)
    if model in UNTRAINED:
        from onethinker.families.tiny import SHAPES, TINY_TEMPLATE, build_tiny_processor

        return build_tiny_processor(SHAPES[model]), TINY_TEMPLATE
    folder = folder_of(model)
    if not folder.is_dir() and not HUB_ID.fullmatch(model):
        raise EngineError(f"{model}: no such folder")
    settings = read_settings(folder) if folder.is_dir() else ModelSettings()
    if (folder / ADAPTER_SETTINGS_FILE).is_file():
        return load_processor(base_of(folder, settings))[0], settings.prompt_template
    source = str(folder) if folder.is_dir() else model
    offline = folder.is_dir() or not hub_answers(model)
    try:
        processor = AutoProcessor.from_pretrained(source, local_files_only=offline)
    except _unreadable() as error:
        raise EngineError(
            f"{source}: expected the processor of a vision-language model: {_in_a_line(error)}"
        ) from error
    try:
        check_asking(processor)
    except EngineError as error:
        raise EngineError(f"{source}: {error}") from None
    return processor, settings.prompt_template


def _four_bit_settings() -> Any:
    """Return how transformers stores weights in 4 bits. Raises: ConfigError: not on this machine."""
    import torch

    if not torch.cuda.is_available():
        raise ConfigError(
            "lora.four_bit needs an NVIDIA GPU, and torch sees none here; leave it out to train adapters without it"
        )
    from transformers import BitsAndBytesConfig

    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16,
    )


def _build_untrained(name: str, seed: int, device: str, dtype: str) -> "LocalEngine":
    import torch

    from onethinker.families.tiny import SHAPES, TINY_TEMPLATE, build_tiny
    from onethinker.inference.local import LocalEngine

    model, processor = build_tiny(seed, SHAPES[name])
    model = model.to(device, getattr(torch, dtype))
    return LocalEngine(model, processor, TINY_TEMPLATE, SHAPES[name].budget, name=name)


def _from_pretrained(source: str, *, local_files_only: bool, **settings: Any) -> tuple[Any, Any]:
    from transformers import AutoModelForImageTextToText, AutoProcessor
    from transformers.utils.logging import disable_progress_bar

    if not sys.stderr.isatty():
        disable_progress_bar()
    try:
        processor = AutoProcessor.from_pretrained(source, local_files_only=local_files_only)
        model, found = AutoModelForImageTextToText.from_pretrained(
            source, local_files_only=local_files_only, output_loading_info=True, **settings
        )
    except _unreadable() as error:
        raise EngineError(f"{source}: {_what_to_do(source, error)}: {_in_a_line(error)}") from error
    if missing := sorted(found["missing_keys"]):
        raise EngineError(
            f"{source}: the weights do not match its config.json, a {type(model).__name__}: {len(missing)} are missing,"
            f" such as {missing[0]}; copy the model folder again, or name the base model of these weights"
        )
    try:
        check_processor(model, processor)
    except EngineError as error:
        raise EngineError(f"{source}: {error}") from None
    return model.eval(), processor


def _unreadable() -> tuple[type[Exception], ...]:
    """Return what transformers raises where a file says something that its classes do not expect."""
    from huggingface_hub.errors import StrictDataclassError
    from safetensors import SafetensorError

    expected = (OSError, ValueError, LookupError, TypeError, ArithmeticError, AssertionError, AttributeError)
    return (*expected, ImportError, RuntimeError, SafetensorError, StrictDataclassError)


def _in_a_line(error: Exception) -> str:
    """Return the beginning of what a library says, which may be a page, after its kind where that says more."""
    said = " ".join(str(error).split())
    named = f"{type(error).__name__}: {said}" if isinstance(error, LookupError | TypeError | AttributeError) else said
    return textwrap.shorten(named or type(error).__name__, 300, placeholder=" …")


def _what_to_do(source: str, error: Exception) -> str:
    """Return what a user can do about a model that did not load."""
    if Path(source).is_dir():
        if "ignore_mismatched_sizes" in str(error):
            return "the weights do not have the sizes in its config.json; copy the model folder again"
        if isinstance(error, ValueError | LookupError | TypeError):
            return (
                "the folder does not contain a model that answers questions about pictures in text, such as a"
                f" {known()}"
            )
        return "the model in this folder cannot be read; copy or train it again"
    if isinstance(error, OSError):
        return "the model was not downloaded completely, or is not a transformers model; try again, or choose another"
    return (
        "this is on the hub, but it is not a model that answers questions about pictures in text; choose one such as"
        " Qwen/Qwen3-VL-8B-Instruct"
    )
