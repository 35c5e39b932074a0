"""What `onethinker sft --dry-run` and `onethinker rl --dry-run` print: a plan, and whether the data can be learned
from.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from onethinker.commands.wrapping import print_lines
from onethinker.core.errors import ConfigError, DataError, EngineError

if TYPE_CHECKING:
    from onethinker.data.mixture import Mixture
    from onethinker.data.validate import Checked
    from onethinker.media.budget import MediaBudget
    from onethinker.training.config import Recipe
    from onethinker.training.fitting import Try
    from onethinker.training.gpus import Gpu
    from onethinker.training.inputs import Inputs
    from onethinker.training.lengths import Length, Lengths
    from onethinker.training.network import Network
    from onethinker.training.plan import Plan

MEASURED_SCENES = 24
"""Synthetic scenes whose length is measured."""


def print_plan(
    recipe: "Recipe",
    *,
    processes: int,
    nodes: int = 1,
    config: Path | None,
    accelerate_config: str | None,
    gpu: "Gpu | None" = None,
    network: "Network | None" = None,
) -> None:
    """Print what a run would train, its batches and memory, then check its data; with a GPU also whether it fits, and
    how long it takes.

    Raises: ConfigError: the batch does not divide, the recipe cannot work or, after all is printed, the run does not
    fit on the GPU. DataError, MediaError: the data cannot be used.
    """
    from onethinker.inference.model_checks import budget_of
    from onethinker.training.batch import plan_batch
    from onethinker.training.fitting import Try
    from onethinker.training.memory import peak
    from onethinker.training.plan import make_plan
    from onethinker.training.routing import router_loss_words
    from onethinker.training.sharding import find_accelerate_config, read_sharding

    sharding = None if accelerate_config is None else read_sharding(find_accelerate_config(accelerate_config))
    if sharding is not None:
        sharding = sharding.in_nodes(nodes, processes // nodes)
    budget = recipe.budget or budget_of(recipe.model)
    model, note = _load_meta_model(recipe, config)
    # A plan that cannot work is refused before the data are checked, which may take minutes.
    plan_batch(recipe, budget, processes)
    recipe, data, longest, typical = _data(recipe, budget)
    plan = make_plan(recipe, processes=processes, model=model, budget=budget, sharding=sharding, longest=longest)
    tried = Try(recipe, processes, sharding, nodes=nodes)
    lines = [f"model        {recipe.model}{note}", *plan.lines()]
    lines += [] if gpu is None else _gpu_lines(gpu, plan, tried, config, budget, longest, typical, network)
    lines += data
    if model is not None and (words := router_loss_words(model, recipe.router_loss)):
        lines.append(f"experts      {words}")
    if recipe.validation is not None:
        lines.append(f"validation   {recipe.validation.plan(recipe.steps)}")
    print_lines(lines)
    if gpu is not None and peak(list(plan.memory)) > gpu.memory:
        raise ConfigError(f'this run does not fit on {gpu.name}; the lines after "too much" above say what would fit')
    if gpu is not None and plan.server is not None and not plan.server.fits(gpu):
        raise ConfigError(f"a server does not fit on its {gpu.name}: give it more GPUs (rollout.vllm.gpus_per_server)")


def _gpu_lines(
    gpu: "Gpu",
    plan: "Plan",
    tried: "Try",
    config: Path | None,
    budget: "MediaBudget",
    longest: "Length | None",
    typical: "Length | None",
    network: "Network | None",
) -> list[str]:
    """Return whether a plan fits on a GPU, what would, and how long it takes for samples of typical length."""
    from onethinker.training.batch import plan_batch
    from onethinker.training.fitting import fitting_lines
    from onethinker.training.plan import make_plan
    from onethinker.training.timing import Load, estimate_step, time_lines

    if plan.widths is None:
        return [f"{gpu.name:<12} needs the model's config for a plan; give --config FILE"]

    def make(change: "Try") -> "Plan":
        model, _ = _load_meta_model(change.recipe, config)
        return make_plan(
            change.recipe,
            processes=change.processes,
            model=model,
            budget=budget,
            sharding=change.sharding,
            longest=longest,
        )

    batch = plan_batch(tried.recipe, budget, tried.processes, typical) if typical else plan.batch
    load = Load(tried.recipe, batch, plan.counts, plan.widths, plan.weights, gpu, network, tried.sharding)
    times = time_lines(estimate_step(load), tried.recipe, gpu, tried.processes)
    servers = plan.server.fitting_lines(gpu) if plan.server else []
    return [*fitting_lines(plan, gpu, tried, make), *servers, *times]


def _load_meta_model(recipe: "Recipe", config: Path | None) -> tuple[Any, str]:
    """Return the network without weights, None where its config cannot be had; and a note for the plan."""
    from onethinker.families.built_in import folder_of
    from onethinker.inference.loading import load_meta_model

    try:
        return load_meta_model(recipe.model, config=config), f" as {config} describes it" if config else ""
    except EngineError as error:
        if config is not None or folder_of(recipe.model).is_dir():
            raise
        return (
            None,
            (
                f"\n             Its config could not be loaded, so parameters and memory are left out: {error}\n"
                "             Give --config FILE, a config.json of the same model, to have them"
            ),
        )


def _data(recipe: "Recipe", budget: "MediaBudget") -> "tuple[Recipe, list[str], Length | None, Length | None]":
    """Return the recipe with its steps and the lines about its data, after every record and the header of every medium
    was read; and the most tokens that a record takes, and how many one takes in the mean, None where they are unknown.
    """
    from onethinker.commands.console import progress_bar
    from onethinker.families.built_in import folder_of
    from onethinker.families.registry import fit_budget
    from onethinker.inference.loading import load_processor
    from onethinker.inference.model_checks import told_coordinates
    from onethinker.training.inputs import Inputs, check_data, choose_inputs, measure, open_data

    with progress_bar("checking media") as on_progress:
        checked = check_data(recipe, on_progress)
    try:
        processor, prompt_template = load_processor(recipe.model)
    except EngineError as error:
        if folder_of(recipe.model).is_dir():
            raise
        inputs = choose_inputs(recipe, checked, None)
        longest = f"unknown, because the model's tokenizer could not be loaded: {error}"
        recipe, data = open_data(recipe, inputs)
        return recipe, _file_lines(checked.count, inputs, data, longest), None, None
    how = {
        "processor": processor,
        "prompt_template": prompt_template,
        "budget": fit_budget(budget, processor),
        "coordinates": recipe.coordinates or told_coordinates(recipe.model),
    }
    if not recipe.data.files:
        scenes, typical = _scene_lines(recipe, open_data(recipe, Inputs())[1], **how)
        return recipe, [*scenes, *(f"notice       {line}" for line in checked.notes)], None, typical
    lengths = measure(recipe, checked, **how)
    inputs = choose_inputs(recipe, checked, lengths)
    longest, most, typical = _longest(checked, inputs, lengths)
    recipe, data = open_data(recipe, inputs)
    return recipe, _file_lines(checked.count, inputs, data, longest), most, typical


def _longest(checked: "Checked", inputs: "Inputs", lengths: "Lengths") -> "tuple[str, Length, Length]":
    """Return the longest record that is used, in words, the most tokens of any prompt, medium and answer, and means."""
    from onethinker.training.lengths import Length

    left_out = {n for n, record in enumerate(checked.records) if record.row in inputs.rows.get(record.file, ())}
    index, longest = lengths.longest(lambda length: length.total, without=left_out)
    record = checked.records[index]
    prompt = lengths.longest(lambda length: length.prompt, without=left_out)[1].prompt
    visual = lengths.longest(lambda length: length.visual, without=left_out)[1].visual
    answer = lengths.longest(lambda length: length.answer, without=left_out)[1].answer
    text = f"{in_words(longest)}: {record.file}, row {record.row}"
    return text, Length(prompt, visual, answer), lengths.typical(without=left_out)


def _file_lines(count: int, inputs: "Inputs", data: "Mixture", longest: str) -> list[str]:
    """Return how many records of the files there are, of which tasks, how often the run passes over those of each task
    and of each file, how long they are, and what is left out.
    """
    from onethinker.training.inputs import unused_weights

    usable = f"{count - len(inputs.left_out):,} of them used" if inputs.left_out else "all of them usable"
    usable += ": see the notices below" if inputs.lines else ""
    drawn = data.planned or 0
    sizes, file_sizes = data.sizes
    pools = [
        _pool_line(" (".join(kind.split("/")) + ")", sizes[kind], often) for kind, often in data.passes(drawn).items()
    ]
    files = [_pool_line(file, file_sizes[file], often) for file, often in data.file_passes(drawn).items()]
    return [
        f"data         {count:,} records, {usable}",
        *sorted(pools),
        *files,
        f"longest      {longest}",
        *(f"notice       {line}" for line in (*inputs.lines, *unused_weights(data))),
    ]


def _pool_line(name: str, records: int, often: float) -> str:
    return f"  {name:<32} {records:>9,}  {often:8.3g} passes"


def _scene_lines(recipe: "Recipe", data: "Mixture", **how: Any) -> "tuple[list[str], Length]":
    """Return how long the longest of the first synthetic scenes is, and the mean. Raises: DataError: it fits into no
    row.
    """
    from onethinker.training.inputs import new_tokens, too_long_text
    from onethinker.training.lengths import Lengths

    lengths = Lengths(
        [data.sample(n) for n in range(MEASURED_SCENES)],
        {},
        max_new_tokens=new_tokens(recipe),
        pairs=recipe.need == "rejected",
        **how,
    )
    index, longest = lengths.longest(lambda length: length.total)
    if longest.total > recipe.max_row_tokens:
        raise DataError(
            f"the scene {lengths.samples[index].id!r} is longer than a row: {too_long_text(longest, recipe)}; raise"
            " max_row_tokens"
        )
    line = f"longest      {in_words(longest)}: of the first {MEASURED_SCENES} scenes"
    return ["data         synthetic scenes, endless", line], lengths.typical()


def in_words(length: "Length") -> str:
    """Return the tokens of a record in words."""
    return (
        f"{length.total:,} tokens (prompt {length.prompt:,}, of which {length.visual:,} are visual; answer"
        f" {length.answer:,})"
    )
