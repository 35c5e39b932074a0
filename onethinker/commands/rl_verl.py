"""`onethinker rl --engine verl`: a recipe run by verl, with our rewards, advantages, groups and media."""

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from onethinker.commands.options import RlOptions
from onethinker.commands.wrapping import print_lines, terminal_width, wrapped_command
from onethinker.core.errors import ConfigError

if TYPE_CHECKING:
    from onethinker.data.mixture import Mixture
    from onethinker.integrations.verl.launch import VerlRun
    from onethinker.tasks.template import PromptTemplate
    from onethinker.training.config import RlRecipe


def run_verl(options: RlOptions) -> None:
    """Write rows and configuration, print how each field of the recipe is spelled, and run verl to its end.

    A dry run writes nothing and trains nothing; with --verl-python verl composes the configuration.

    Raises: ConfigError: a field has no counterpart, or a flag is wrong. DataError, MediaError: the data cannot be used.
    OneThinkerError: verl failed.
    """
    from onethinker.commands.training import check_count
    from onethinker.integrations.verl.launch import check_environment, start
    from onethinker.integrations.verl.recipe import check_counterparts
    from onethinker.storage.atomic import check_writable
    from onethinker.training.config import RlRecipe
    from onethinker.training.preflight import check_model_of, check_recipe

    recipe = RlRecipe.load(options.recipe, options.set)
    check_count(options.processes)
    _check_flags(options)
    check_counterparts(recipe)
    recipe = recipe.model_copy(update={"model": _model(recipe.model)})
    if options.verl_python is not None:
        check_environment(options.verl_python)
    if options.output is not None:
        check_writable(options.output, "folder", flag="--output")
    check_recipe(recipe, accelerate_config=None)
    check_model_of(recipe)
    run, mixture, template = _plan(recipe, options)
    run.check_batch()
    print_lines(_lines(run, options.verl_python))
    if options.dry_run:
        if options.verl_python is not None:
            _compose(run, options.verl_python)
        return
    assert options.verl_python is not None
    run.write(mixture, template)
    start(run, options.verl_python)


def _check_flags(options: RlOptions) -> None:
    """Raise ConfigError where flags are missing, or are not for verl."""
    if options.nodes < 1:
        raise ConfigError(f"--nodes must be at least 1, got {options.nodes}")
    for name in ("node_rank", "main_address", "main_port"):
        if getattr(options, name) is not None:
            raise ConfigError(
                f"--{name.replace('_', '-')} needs --engine own: with verl, start Ray on each node, and run this"
                " command on one node, with --nodes"
            )
    for name in ("accelerate_config", "gpu", "network", "config", "allow_changes", "resume_from"):
        if getattr(options, name) not in (None, False):
            raise ConfigError(f"--{name.replace('_', '-')} needs --engine own; leave it out with --engine verl")
    if not options.dry_run and (options.output is None or options.verl_python is None):
        raise ConfigError(
            "--engine verl needs --output FOLDER, for its rows, configuration and checkpoints, and --verl-python"
            " PYTHON, the Python of an environment with verl (or --dry-run to train nothing)"
        )


def _model(name: str) -> str:
    """Return a model as verl finds it: a hub id, or a folder by its whole path. Raises: ConfigError."""
    from onethinker.families.built_in import UNTRAINED, folder_of
    from onethinker.families.folder import ADAPTER_SETTINGS_FILE

    if name in UNTRAINED:
        raise ConfigError(f'model = "{name}" is built in memory, and verl needs a model folder or a hub id: set model')
    folder = folder_of(name)
    if (folder / ADAPTER_SETTINGS_FILE).is_file():
        raise ConfigError(
            f"model = {name!r} has only adapters, and verl needs a complete model: merge them with `onethinker export`"
        )
    return str(folder.absolute()) if folder.is_dir() else name


def _plan(recipe: "RlRecipe", options: RlOptions) -> "tuple[VerlRun, Mixture, PromptTemplate]":
    """Return the run, the order of its samples and its words, after all data were checked.

    Raises: DataError, MediaError: the data cannot be used. EngineError: the model's processor cannot be had.
    """
    from onethinker.commands.console import progress_bar
    from onethinker.families.registry import coordinates_of, fit_budget
    from onethinker.inference.encode import answer_opening
    from onethinker.inference.loading import load_processor
    from onethinker.inference.model_checks import budget_of, told_coordinates
    from onethinker.integrations.verl.launch import VerlRun
    from onethinker.training.inputs import check_data, choose_inputs, measure, open_data

    processor, template = load_processor(recipe.model)
    budget = fit_budget(recipe.budget or budget_of(recipe.model), processor)
    with progress_bar("checking media") as on_progress:
        checked = check_data(recipe, on_progress)
    coordinates = recipe.coordinates or told_coordinates(recipe.model) or coordinates_of(processor)
    if coordinates == "pixels":
        raise ConfigError(
            'coordinates = "pixels" does not work with verl, because its rows are written before the media are read;'
            ' set coordinates = "thousandths" in the recipe'
        )
    how = {"processor": processor, "prompt_template": template, "budget": budget, "coordinates": coordinates}
    lengths = measure(recipe, checked, **how)
    recipe, mixture = open_data(recipe, choose_inputs(recipe, checked, lengths))
    folder = options.output.absolute() if options.output is not None else Path("OUTPUT")
    opening = answer_opening(processor)
    run = VerlRun(recipe, folder, options.processes, budget, opening, options.verl_set, nodes=options.nodes)
    return run, mixture, template


def _lines(run: "VerlRun", python: str | None) -> list[str]:
    """Return how each field of a recipe is spelled, which rows verl reads, and the command."""
    from onethinker.integrations.verl.launch import CONFIG_FILE, ROWS_FILE, shell_words

    lines = [f"{field:<30} {name} = {value}" for field, values in run.config.items() for name, value in values.items()]
    width = terminal_width()
    if width is not None and max(map(len, lines)) > width:
        lines = [
            line
            for field, values in run.config.items()
            for line in (field, *(f"  {name} = {value}" for name, value in values.items()))
            if values
        ]
    count = run.recipe.steps * run.recipe.rollout.generation_batch_size
    return [
        *lines,
        f"rows           {count:,}, in the order of our own run: {run.folder / ROWS_FILE}",
        f"configuration  {run.folder / CONFIG_FILE}",
        wrapped_command(shell_words(run.command(python or "python"), run.environment), width, "command        "),
    ]


def _compose(run: "VerlRun", python: str) -> None:
    from onethinker.integrations.verl.launch import CONFIG_FILE, compose, nested, write_config

    with tempfile.TemporaryDirectory() as folder:
        write_config(Path(folder) / CONFIG_FILE, nested(run.config))
        compose(replace(run, folder=Path(folder)), python)
    print("verl composes this configuration")
