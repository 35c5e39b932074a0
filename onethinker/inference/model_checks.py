"""What can be said of a model before it is loaded, in milliseconds: whether it is there, and what its folder tells."""

from pathlib import Path

from onethinker.core.addresses import is_address
from onethinker.core.errors import ConfigError, EngineError
from onethinker.core.nearest import ask_for, near_path
from onethinker.families.built_in import TINY, UNTRAINED, folder_of
from onethinker.families.folder import ADAPTER_SETTINGS_FILE, SETTINGS_FILE, base_of, check_weights, read_settings
from onethinker.families.hub import HUB_ID, REVISION, at_hand, hub_answers
from onethinker.inference.scripted import SCRIPTED
from onethinker.media.budget import MediaBudget
from onethinker.tasks import Coordinates


def check_model(model: str, *, settings: Path | None = None) -> bool:
    """Return whether all of a model is at hand or can be had; False when the hub cannot be reached but the model was
    downloaded before.

    Nothing heavy is imported. An address is not asked. `settings` is a model folder whose words and budget are wanted.

    Raises: EngineError: there is no such folder, no model in it, or no such model on the hub.
    """
    if settings is not None:
        if not (settings / SETTINGS_FILE).is_file():
            raise EngineError(f"{settings}: expected a model folder with {SETTINGS_FILE}, as training writes it")
        read_settings(settings)
    folder = folder_of(model)
    if model in (*UNTRAINED, SCRIPTED) or is_address(model):
        return True
    if not folder.is_dir():
        if REVISION.fullmatch(model):
            return check_model(at_hand(model))
        if not HUB_ID.fullmatch(model) or model.startswith("."):
            raise EngineError(
                f'{model}: no such folder, and not a hub id like "Qwen/Qwen3-VL-8B-Instruct", an address or "{TINY}"'
                f"{near_path(folder) or ask_for(model, (TINY, *UNTRAINED, SCRIPTED))}"
            )
        return hub_answers(model)
    own = read_settings(folder)
    if (folder / ADAPTER_SETTINGS_FILE).is_file():
        return check_model(base_of(folder, own))
    check_weights(folder)
    return True


def is_ours(model: str, *, settings: Path | None = None) -> bool:
    """Return whether a model was trained here to write the exact form: its folder, or the one named in its place, has
    the settings that we write.
    """
    return model in (*UNTRAINED, SCRIPTED) or ((settings or folder_of(model)) / SETTINGS_FILE).is_file()


def told_coordinates(model: str) -> Coordinates | None:
    """Return what a model's folder says that it counts places in, None where it says nothing. Raises: EngineError."""
    return read_settings(folder_of(at_hand(model))).coordinates


def budget_of(model: str) -> MediaBudget:
    """Return how much of a picture or video the model that `model` names is shown when nothing else is said. Raises:
    EngineError.
    """
    model = at_hand(model)
    if model in UNTRAINED:
        from onethinker.families.tiny import SHAPES

        return SHAPES[model].budget
    return read_settings(folder_of(model)).budget


def check_quantize(model: str) -> None:
    """Raise ConfigError where a model's weights are not here to be stored in fewer bits, or torchao is missing."""
    from importlib.util import find_spec

    if model == SCRIPTED or is_address(model):
        raise ConfigError(
            f"--quantize: {model} is a server and has no weights here; quantize when you start that server"
        )
    if find_spec("torchao") is None:
        raise ConfigError("--quantize needs torchao: pip install 'onethinker[quantize]'")


def check_four_bit(model: str) -> None:
    """Raise ConfigError where a model cannot be stored in 4 bits, whatever the machine, or bitsandbytes is missing."""
    from importlib.util import find_spec

    if model in UNTRAINED:
        raise ConfigError(
            f'lora.four_bit: the model "{model}" is built in memory and cannot be stored in 4 bits; use a model folder'
            " or a hub id"
        )
    if find_spec("bitsandbytes") is None:
        raise ConfigError("lora.four_bit needs bitsandbytes: pip install 'onethinker[4bit]'")
