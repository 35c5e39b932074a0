"""What can be said about a run before torch is imported, which takes seconds: a wrong word is answered at once."""

import os
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from onethinker.core.addresses import is_each_machines_own, split_addresses
from onethinker.core.errors import ConfigError, DataError, EngineError
from onethinker.core.nearest import near_path
from onethinker.data.names import known_names
from onethinker.data.validate import glance_at
from onethinker.families.built_in import folder_of
from onethinker.inference.endpoint import is_here
from onethinker.inference.model_checks import check_four_bit, check_model
from onethinker.rewards.config import OWN_GRADERS
from onethinker.storage.atomic import check_writable
from onethinker.training.config import FREE_SETTINGS, Recipe, RlRecipe, SftRecipe
from onethinker.training.metrics.trackers import check_trackers
from onethinker.training.sharding import find_accelerate_config
from onethinker.training.state.run_folder import RunFolder


def check_recipe(recipe: Recipe, *, accelerate_config: str | None) -> None:
    """Do nothing where the recipe's words and files are what they should be; media and the middle of long files are not
    looked at.

    Raises: ConfigError, DataError: naming what is wrong.
    """
    check_trackers(recipe.log)
    known_names(recipe.data.problem_types)
    for names in (recipe.data.weights, recipe.data.seeds):
        known_names(names, recipe.data.files)
    _check_files(recipe.data.files)
    glance_at(recipe.data.files, need=recipe.need, invalid=recipe.data.invalid)
    if recipe.validation is not None:
        glance_at(recipe.validation.files, need="truth")
    if accelerate_config is not None:
        find_accelerate_config(accelerate_config)
    if recipe.lora is not None and recipe.lora.four_bit:
        check_four_bit(recipe.model)


def check_start(
    recipe: Recipe, output: Path, *, processes: int, allow_changes: bool, accelerate_config: str | None
) -> None:
    """Do nothing where a run can begin, or go on, in this folder, as far as can be said without loading anything.

    Raises: ConfigError, DataError, CheckpointError, EngineError: as the run itself would, seconds later and in every
    process.
    """
    check_recipe(recipe, accelerate_config=accelerate_config)
    check_optimizer(recipe)
    check_liger(recipe)
    check_writable(output, "folder", flag="--output")
    folder = RunFolder(output)
    folder.check(settings_of(recipe, folder), free=FREE_SETTINGS, allow_changes=allow_changes)
    folder.check_free()
    check_batch(samples_of(recipe), processes)
    # A run that goes on has its weights in its checkpoint; it needs the model again below adapters and as a reference.
    if not folder.checkpoints.all() or recipe.lora is not None or recipe.has_reference:
        check_model_of(recipe)


def _check_files(files: Sequence[Path]) -> None:
    """Raise DataError where a file of a recipe's data is missing."""
    if missing := [file for file in files if not file.exists()]:
        raise DataError(
            f"{missing[0]}: no such file{near_path(missing[0]) or '.'} --set 'data.files=[\"samples.jsonl\"]' names"
            " others; docs/data.md says where to get the released ones"
        )


def check_model_of(recipe: Recipe) -> None:
    """Raise EngineError where a recipe's model is not there."""
    try:
        check_model(recipe.model)
    except EngineError as error:
        if folder_of(recipe.model).is_dir():
            raise
        raise EngineError(f"{error}; choose another with --set model=…") from error


def check_servers(recipe: Recipe, *, nodes: int) -> None:
    """Do nothing where the servers of vLLM that a recipe names can sample for a run on so many nodes.

    Raises: ConfigError: the run would start them on each node, nodes would ask themselves, or servers cannot see the
    weights.
    """
    if not isinstance(recipe, RlRecipe):
        return
    if recipe.rollout.vllm is not None and nodes > 1:
        raise ConfigError(
            f"rollout.vllm starts servers on one machine only, and this run has {nodes} nodes: start the servers"
            " yourself, and set rollout.endpoints and rollout.weights_folder"
        )
    if nodes > 1:
        _check_named("rollout.endpoints", recipe.rollout.endpoints)
        if (model := recipe.grading.reward_model) is not None and model.kind in OWN_GRADERS:
            _check_named("grading.reward_model.address", split_addresses(model.address, field="address"))
    others = [address for address in recipe.rollout.endpoints if not is_here(address)]
    if others and recipe.rollout.weights_folder is None:
        raise ConfigError(
            f"rollout.endpoints: {others[0]} is on another machine, and by default the weights of each step are written"
            " to /dev/shm of this one: set rollout.weights_folder to a folder that all machines see under the same path"
        )


def _check_named(field: str, addresses: Sequence[str]) -> None:
    """Raise ConfigError where each of several nodes would ask itself."""
    for address in addresses:
        if is_each_machines_own(address):
            raise ConfigError(
                f"{field}: {address} means a different machine on each node, and this run has several nodes: use a name"
                " or address that all nodes can reach, such as http://gpu-1:8000/v1 (and let the server listen there,"
                " not only on 127.0.0.1)"
            )


def launched_nodes() -> int:
    """Return how many nodes another launcher has told this process of; 1 where there is none."""
    world = int(os.environ.get("WORLD_SIZE", "1"))
    return world // int(os.environ.get("LOCAL_WORLD_SIZE", world))


def check_optimizer(recipe: Recipe) -> None:
    """Raise ConfigError where the optimizer is not installed."""
    if recipe.optimizer.kind == "adamw8bit" and find_spec("bitsandbytes") is None:
        raise ConfigError("optimizer.kind = \"adamw8bit\" needs bitsandbytes: pip install 'onethinker[8bit]'")


def check_liger(recipe: Recipe) -> None:
    """Raise ConfigError where Liger's kernels are not installed."""
    if recipe.liger and find_spec("liger_kernel") is None:
        raise ConfigError("liger = true needs Liger's kernels: pip install 'onethinker[liger]'")


def settings_of(recipe: Recipe, folder: RunFolder) -> dict[str, Any]:
    """Return the settings to compare with those of a run, without such at their default as the version that it began
    with did not have; of epochs the steps follow from the data, which are compared too.
    """
    settings, before = recipe.model_dump(mode="json"), folder.recipe()
    if before is None:
        return settings
    settings = _known(settings, before, recipe.model_dump(mode="json", exclude_defaults=True))
    return settings if recipe.epochs is None else {**settings, "steps": before.get("steps")}


def _known(settings: Mapping[str, Any], before: Mapping[str, Any], changed: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings that were there before, or are not at their default.

    >>> _known({"a": 1, "b": {"c": 2, "d": 3}, "e": 4}, {"a": 0, "b": {"c": 2}}, {"e": 4})
    {'a': 1, 'b': {'c': 2}, 'e': 4}
    """
    kept = {name: value for name, value in settings.items() if name in before or name in changed}
    return {
        name: _known(value, before[name], changed.get(name) or {})
        if isinstance(value, Mapping) and isinstance(before.get(name), Mapping)
        else value
        for name, value in kept.items()
    }


def samples_of(recipe: Recipe) -> int:
    """Return how many samples or prompts a step has."""
    if isinstance(recipe, RlRecipe):
        return recipe.rollout.generation_batch_size
    assert isinstance(recipe, SftRecipe)
    return recipe.batch_size


def check_batch(batch: int, processes: int) -> None:
    """Raise ConfigError where a batch is smaller than the processes are many."""
    if batch < processes:
        raise ConfigError(
            f"a batch of {batch} is smaller than the {processes} processes that share it; make it larger or start fewer"
            " processes"
        )
