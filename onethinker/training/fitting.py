"""What a recipe could change to fit on a GPU, each change tried on the estimate of memory."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

from onethinker.core.errors import ConfigError
from onethinker.training.config import Recipe, RlRecipe
from onethinker.training.gpus import GPUS, Gpu
from onethinker.training.memory import gigabytes, peak
from onethinker.training.plan import Plan
from onethinker.training.sharding import Sharding

MOST_PROCESSES = 64
CONFIGS = {
    "fsdp2": Sharding("fsdp2"),
    "fsdp2_full": Sharding("fsdp2", full=True),
    "fsdp2_offload": Sharding("fsdp2", full=True, offload=True),
}
"""What is tried, the quickest first."""


@dataclass(frozen=True)
class Try:
    """A recipe on so many processes, and what makes it so."""

    recipe: Recipe
    processes: int
    sharding: Sharding | None
    words: tuple[str, ...] = ()
    nodes: int = 1
    """Which share the processes evenly; flags speak of those of one."""

    def change(self, words: str, **settings: Any) -> "Try":
        """Return the same with other settings."""
        return replace(self, recipe=self.recipe.model_copy(update=settings), words=(*self.words, words))


Make = Callable[[Try], Plan]
"""Returns the plan of what is tried. Raises: ConfigError: the batch does not divide."""


def fitting_lines(plan: Plan, gpu: Gpu, tried: Try, make: Make) -> list[str]:
    """Return a line that says whether a plan fits on a GPU, and where it does not, lines of what would."""
    needed = peak(list(plan.memory))
    if needed <= gpu.memory:
        return [f"fits         {gigabytes(needed)} of the {gigabytes(gpu.memory)} of {gpu.name} ({gpu.source})"]
    lines = [
        f"too much     {gigabytes(needed)} do not fit into the {gigabytes(gpu.memory)} of {gpu.name} ({gpu.source})"
    ]
    found = list(_fitting(_savings(tried, plan), make, gpu))
    found += _better(next(_fitting(_sharded(tried, config), make, gpu), None) for config in CONFIGS)
    found = found or list(islice(_fitting(_together(tried, plan), make, gpu), 1))
    lines += [f"  would fit    {' '.join(each.words)}: {gigabytes(size)}" for each, size in found]
    larger = [name for name, other in GPUS.items() if other.memory > gpu.memory and needed <= other.memory]
    lines += [f"  would fit    on {', '.join(larger)} as it is"] if larger else []
    return lines if lines[1:] else [*lines, "  nothing that was tried fits: take a smaller model"]


def _better(sharded: Iterable[tuple[Try, float] | None]) -> list[tuple[Try, float]]:
    """Return those that need less memory, or fewer processes, than all before them, which are quicker."""
    kept: list[tuple[Try, float]] = []
    for each in sharded:
        if each and all(each[1] < size or each[0].processes < other.processes for other, size in kept):
            kept.append(each)
    return kept


def _fitting(tries: Iterable[Try], make: Make, gpu: Gpu) -> Iterator[tuple[Try, float]]:
    return ((each, size) for each in tries if (size := _size(each, make)) <= gpu.memory)


def _size(tried: Try, make: Make) -> float:
    try:
        return peak(list(make(tried).memory))
    except ConfigError:
        return float("inf")


def _together(tried: Try, plan: Plan) -> Iterator[Try]:
    """Yield all changes one after the other, each with those before it, then shared by ever more processes."""
    for _ in range(5):
        changed = next((each for each in _savings(tried, plan) if each.words[-1] not in tried.words), None)
        if changed is None:
            break
        tried = changed
        yield tried
    for config in CONFIGS:
        yield from _sharded(tried, config)


def _savings(tried: Try, plan: Plan) -> Iterator[Try]:
    """Yield each change by itself."""
    recipe = tried.recipe
    if recipe.gradient_checkpointing is not True:
        yield tried.change("gradient_checkpointing=true", gradient_checkpointing=True)
    if recipe.activation_offload is not True:
        words = "" if recipe.gradient_checkpointing is True else "gradient_checkpointing=true "
        both = {"gradient_checkpointing": True, "activation_offload": True}
        yield tried.change(f"{words}activation_offload=true", **both)
    if isinstance(recipe, RlRecipe) and recipe.rollout.decode_batch_size > 1:
        rollout = recipe.rollout.model_copy(update={"decode_batch_size": 1})
        yield tried.change("rollout.decode_batch_size=1", rollout=rollout)
    least = plan.batch.prompt_tokens + plan.batch.answer_tokens
    if recipe.max_row_tokens > least:
        yield tried.change(f"max_row_tokens={least}", max_row_tokens=least)
    if recipe.lora is None:
        lora = type(recipe).model_validate({"lora": {"rank": 32}}).lora
        yield tried.change("lora.rank=32 dtype=bfloat16", lora=lora, dtype="bfloat16")
    if recipe.lora is None and recipe.optimizer.kind == "adamw" and tried.sharding is None:
        optimizer = recipe.optimizer.model_copy(update={"kind": "adamw8bit"})
        yield tried.change("optimizer.kind=adamw8bit", optimizer=optimizer)


def _sharded(tried: Try, config: str) -> Iterator[Try]:
    """Yield ever more processes that share the weights by a config, where optimizer and weights can be shared."""
    recipe = tried.recipe
    if recipe.optimizer.kind != "adamw" or (recipe.lora is not None and recipe.lora.four_bit):
        return
    if recipe.lora is not None and recipe.dtype == "bfloat16":
        tried = tried.change("dtype=mixed", dtype="mixed")
    processes = max(2, tried.processes)
    while processes <= max(MOST_PROCESSES, tried.processes):
        words = f"--processes {processes // tried.nodes} --accelerate-config {config}"
        if (tried.processes, tried.sharding) != (processes, CONFIGS[config]):
            yield replace(tried, processes=processes, sharding=CONFIGS[config], words=(*tried.words, words))
        processes *= 2
