"""Which backend a run takes: the one that accelerate's environment asks for."""

import os

from onethinker.core.errors import ConfigError
from onethinker.training.config import Recipe
from onethinker.training.parallel.base import ParallelBackend, is_set
from onethinker.training.parallel.fsdp2 import Fsdp2, check_fsdp2
from onethinker.training.parallel.single import Replicated
from onethinker.training.parallel.zero2 import Zero2, check_zero2
from onethinker.training.preflight import check_optimizer

SHARDED = (
    ("DeepSpeed", "ACCELERATE_USE_DEEPSPEED", Zero2, check_zero2),
    ("FSDP2", "ACCELERATE_USE_FSDP", Fsdp2, check_fsdp2),
)
"""Backends that shard: name, the variable that `accelerate launch` sets, class, and what raises where it cannot be
followed.
"""


def choose_backend(recipe: Recipe) -> type[ParallelBackend]:
    """Return the backend that `accelerate launch` asks for by the environment.

    Raises: ConfigError: it asks for what the recipe, or the number of processes, does not allow; the optimizer is not
    installed.
    """
    check_optimizer(recipe)
    for name, variable, backend, check in SHARDED:
        if not is_set(variable):
            continue
        check(recipe)
        if int(os.environ.get("WORLD_SIZE", "1")) < 2:
            raise ConfigError(
                f"{name} shards a model over several processes, and there is only one; start more, or leave out"
                " accelerate's config file"
            )
        if recipe.optimizer.kind != "adamw":
            raise ConfigError(
                f'optimizer.kind = "{recipe.optimizer.kind}" needs unsharded matrices, and {name} shards them; set'
                f' optimizer.kind = "adamw", or leave {name} out'
            )
        return backend
    return Replicated
