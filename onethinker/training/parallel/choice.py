"""Which backend a run takes: the one that accelerate's environment asks for."""

import os

from onethinker.training.config import Recipe
from onethinker.training.parallel.base import ParallelBackend
from onethinker.training.parallel.fsdp2 import Fsdp2, is_wanted
from onethinker.training.parallel.single import Replicated
from onethinker.training.parallel.zero2 import Zero2, wants_zero


def choose_backend(recipe: Recipe) -> type[ParallelBackend]:
    """Return the backend that `accelerate launch` asks for by the environment.

    Raises: ConfigError: it asks for what the recipe, or the number of processes, does not allow.
    """
    if wants_zero(recipe):
        return Zero2
    processes = int(os.environ.get("WORLD_SIZE", "1"))
    return Fsdp2 if is_wanted(processes, recipe) else Replicated
