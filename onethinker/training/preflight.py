"""What can be said about a run before torch is imported, which takes seconds: a wrong word is answered at once."""

from pathlib import Path

from onethinker.core.errors import ConfigError
from onethinker.data.mixture import known_names
from onethinker.data.validate import glance_at
from onethinker.inference.model_checks import check_four_bit, check_model
from onethinker.storage.atomic import check_writable
from onethinker.training.config import FREE_SETTINGS, Recipe, RlRecipe, SftRecipe, find_accelerate_config
from onethinker.training.metrics.trackers import check_trackers
from onethinker.training.state.run_folder import RunFolder


def check_recipe(recipe: Recipe, *, accelerate_config: str | None) -> None:
    """Do nothing where the recipe's words and files are what they should be; media and the middle of long files are not
    looked at.

    Raises: ConfigError, DataError: naming what is wrong.
    """
    check_trackers(recipe.log)
    for names in (recipe.data.problem_types, recipe.data.weights):
        known_names(names)
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
    check_writable(output, "folder", flag="--output")
    folder = RunFolder(output)
    folder.check(recipe.model_dump(mode="json"), free=FREE_SETTINGS, allow_changes=allow_changes)
    folder.check_free()
    check_batch(samples_of(recipe), processes)
    # A run that goes on has its weights in its checkpoint; it needs the model again below adapters and as a reference.
    if (
        not folder.checkpoints.all()
        or recipe.lora is not None
        or (isinstance(recipe, RlRecipe) and recipe.loss.kl_coefficient)
    ):
        check_model(recipe.model)


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
            f"a batch of {batch} cannot be shared by {processes} processes; make it larger or start fewer"
        )
