"""What `onethinker sft --dry-run` and `onethinker rl --dry-run` print: a plan, and whether the data can be learned from."""

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from onethinker.errors import EngineError

if TYPE_CHECKING:
    from onethinker.training.config import Recipe

LOOKED_AT = 8
"""Samples whose media are opened."""


def print_plan(recipe: "Recipe", *, processes: int, config: Path | None, accelerate_config: str | None) -> None:
    """Print what a run would train, its batches and memory, then check its data.

    Raises: ConfigError: the batch does not divide, or the recipe cannot work. DataError, MediaError: the data cannot be used.
    """
    from onethinker.models.loading import budget_of
    from onethinker.training.config import find_accelerate_config, read_dealing
    from onethinker.training.planning import make_plan

    dealing = None if accelerate_config is None else read_dealing(find_accelerate_config(accelerate_config))
    budget = recipe.budget or budget_of(recipe.model)
    model, found = _outline(recipe, config)
    plan = make_plan(recipe, processes=processes, model=model, budget=budget, dealing=dealing)
    print(f"model        {recipe.model}{found}")
    for line in plan.lines():
        print(line)
    for line in _data(recipe):
        print(line)


def _outline(recipe: "Recipe", config: Path | None) -> tuple[Any, str]:
    """Return the network without weights, or None and why it could not be had."""
    from onethinker.models.loading import load_outline

    try:
        return load_outline(recipe.model, config=config), f" as {config} describes it" if config else ""
    except EngineError as error:
        if config is not None:
            raise
        return None, (
            f"\n             Its config could not be had, so parameters and memory are left out: {error}\n"
            "             Give --config FILE, a config.json of the same model, to have them"
        )


def _data(recipe: "Recipe") -> list[str]:
    """Return what the recipe's data are, after every record of them was looked at, and the first media opened."""
    from onethinker.data.checking import check_files
    from onethinker.data.mixing import Mixture
    from onethinker.media.reading import read_clip
    from onethinker.media.sizing import count_tokens
    from onethinker.models.loading import budget_of

    number = check_files(recipe.data.files, need=recipe.need)
    data = Mixture.open(**recipe.data.model_dump(exclude={"max_corrupt_share"}))
    budget = recipe.budget or budget_of(recipe.model)
    tokens = [sum(count_tokens(read_clip(medium, budget)) for medium in data.sample(n).media) for n in range(LOOKED_AT)]
    pools = Counter({f"{task} ({medium})": len(pool) for (task, medium), pool in (data.pools or {}).items()})
    return [
        f"data         {number:,} records, all of them usable" if recipe.data.files else "data         synthetic scenes, without end",
        *(f"  {kind:<32} {count:>9,}" for kind, count in sorted(pools.items())),
        f"first {LOOKED_AT}      {min(tokens):,} to {max(tokens):,} visual tokens, {sum(tokens) / LOOKED_AT:,.0f} in the mean",
    ]
