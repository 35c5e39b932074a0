"""What `onethinker sft --dry-run` and `onethinker rl --dry-run` print: a plan, and whether the data can be learned
from.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from onethinker.core.errors import DataError, EngineError

if TYPE_CHECKING:
    from onethinker.data.mixture import Mixture
    from onethinker.data.validate import Checked
    from onethinker.media.budget import MediaBudget
    from onethinker.training.config import Recipe
    from onethinker.training.inputs import Inputs
    from onethinker.training.lengths import Length, Lengths

MEASURED_SCENES = 24
"""Synthetic scenes whose length is measured."""


def print_plan(recipe: "Recipe", *, processes: int, config: Path | None, accelerate_config: str | None) -> None:
    """Print what a run would train, its batches and memory, then check its data.

    Raises: ConfigError: the batch does not divide, or the recipe cannot work. DataError, MediaError: the data cannot be
    used.
    """
    from onethinker.inference.model_checks import budget_of
    from onethinker.training.batch import plan_batch
    from onethinker.training.config import find_accelerate_config, read_sharding
    from onethinker.training.plan import make_plan

    sharding = None if accelerate_config is None else read_sharding(find_accelerate_config(accelerate_config))
    budget = recipe.budget or budget_of(recipe.model)
    model, note = _load_meta_model(recipe, config)
    # A plan that cannot work is refused before the data are checked, which may take minutes.
    drawn = recipe.steps * plan_batch(recipe, budget, processes).prompts
    data, longest = _data(recipe, budget, drawn)
    plan = make_plan(recipe, processes=processes, model=model, budget=budget, sharding=sharding, longest=longest)
    print(f"model        {recipe.model}{note}")
    for line in plan.lines():
        print(line)
    for line in data:
        print(line)
    if recipe.validation is not None:
        print(f"validation   {recipe.validation.plan(recipe.steps)}")


def _load_meta_model(recipe: "Recipe", config: Path | None) -> tuple[Any, str]:
    """Return the network without weights, None where its config cannot be had; and a note for the plan."""
    from onethinker.inference.loading import load_meta_model

    try:
        return load_meta_model(recipe.model, config=config), f" as {config} describes it" if config else ""
    except EngineError as error:
        if config is not None:
            raise
        return (
            None,
            (
                f"\n             Its config could not be had, so parameters and memory are left out: {error}\n"
                "             Give --config FILE, a config.json of the same model, to have them"
            ),
        )


def _data(recipe: "Recipe", budget: "MediaBudget", drawn: int) -> "tuple[list[str], Length | None]":
    """Return the lines about the recipe's data, after every record and the header of every medium was read; and the
    most tokens that a record takes, None where they are unknown.
    """
    from onethinker.commands.console import progress_bar
    from onethinker.families.registry import fit_budget
    from onethinker.inference.loading import load_processor
    from onethinker.training.inputs import Inputs, check_data, choose_inputs, measure, open_mixture

    with progress_bar("checking media") as on_progress:
        checked = check_data(recipe, on_progress)
    try:
        processor, prompt_template = load_processor(recipe.model)
    except EngineError as error:
        inputs = Inputs(checked.invalid, tuple(checked.lines()))
        longest = f"unknown, because the model's tokenizer could not be had: {error}"
        return _file_lines(checked.count, drawn, inputs, open_mixture(recipe, inputs), longest), None
    how = {"processor": processor, "prompt_template": prompt_template, "budget": fit_budget(budget, processor)}
    if not recipe.data.files:
        scenes = _scene_lines(recipe, open_mixture(recipe, Inputs()), **how)
        return [*scenes, *(f"notice       {line}" for line in checked.notes)], None
    lengths = measure(recipe, checked, **how)
    inputs = choose_inputs(recipe, checked, lengths)
    longest, most = _longest(checked, inputs, lengths)
    return _file_lines(checked.count, drawn, inputs, open_mixture(recipe, inputs), longest), most


def _longest(checked: "Checked", inputs: "Inputs", lengths: "Lengths") -> "tuple[str, Length]":
    """Return the longest record that is used, in words, and the most tokens of any prompt, medium and answer."""
    from onethinker.training.lengths import Length

    left_out = {n for n, record in enumerate(checked.records) if record.row in inputs.rows.get(record.file, ())}
    index, longest = lengths.longest(lambda length: length.total, without=left_out)
    record = checked.records[index]
    prompt = lengths.longest(lambda length: length.prompt, without=left_out)[1].prompt
    visual = lengths.longest(lambda length: length.visual, without=left_out)[1].visual
    answer = lengths.longest(lambda length: length.answer, without=left_out)[1].answer
    return f"{in_words(longest)}: {record.file}, row {record.row}", Length(prompt, visual, answer)


def _file_lines(count: int, drawn: int, inputs: "Inputs", data: "Mixture", longest: str) -> list[str]:
    """Return how many records of the files there are, of which tasks, how often `drawn` samples pass over them, how
    long they are, and what is left out.
    """
    from onethinker.training.inputs import unused_weights

    usable = (
        "all of them usable"
        if not inputs.lines
        else f"{count - len(inputs.left_out):,} of them used: see the notices below"
    )
    pools = [
        f"  {f'{task} ({medium})':<32} {len(pool):>9,}  {often:8.3g} passes"
        for ((task, medium), pool), often in zip((data.pools or {}).items(), data.passes(drawn).values(), strict=True)
    ]
    return [
        f"data         {count:,} records, {usable}",
        *sorted(pools),
        f"longest      {longest}",
        *(f"notice       {line}" for line in (*inputs.lines, *unused_weights(data))),
    ]


def _scene_lines(recipe: "Recipe", data: "Mixture", **how: Any) -> list[str]:
    """Return how long the longest of the first synthetic scenes is. Raises: DataError: it fits into no row."""
    from onethinker.training.inputs import new_tokens, too_long_text
    from onethinker.training.lengths import Lengths

    lengths = Lengths([data.sample(n) for n in range(MEASURED_SCENES)], {}, max_new_tokens=new_tokens(recipe), **how)
    index, longest = lengths.longest(lambda length: length.total)
    if longest.total > recipe.max_row_tokens:
        raise DataError(
            f"the scene {lengths.samples[index].id!r} is longer than a row: {too_long_text(longest, recipe)}; raise it"
        )
    return [
        "data         synthetic scenes, without end",
        f"longest      {in_words(longest)}: of the first {MEASURED_SCENES} scenes",
    ]


def in_words(length: "Length") -> str:
    """Return the tokens of a record in words."""
    return (
        f"{length.total:,} tokens (prompt {length.prompt:,}, of which {length.visual:,} are visual; answer"
        f" {length.answer:,})"
    )
