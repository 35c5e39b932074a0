"""What `onethinker sft`, `onethinker dpo` and `onethinker rl` share: the recipe with its overrides, and processes."""

import os
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from onethinker.commands.nodes import ONE_NODE, Nodes, meeting_of, read_nodes
from onethinker.commands.options import TrainingOptions
from onethinker.core.errors import ConfigError

if TYPE_CHECKING:
    from onethinker.training.config import Recipe
    from onethinker.training.network import Network

Stage = Literal["sft", "dpo", "rl"]


def run_training(stage: Stage, options: TrainingOptions) -> None:
    """Run a stage to its end and print where the model lies; with several processes, in child processes that share the
    work.

    A dry run prints what would be trained, and that is all.

    Raises: ConfigError: the recipe, an override or a flag is wrong. OneThinkerError: a child process failed; it has
    reported why.
    """
    recipe = load_recipe(stage, options.recipe, options.set)
    check_count(options.processes)
    nodes = read_nodes(options)
    if nodes.rank == 0 and os.environ.get("RANK", "0") == "0":
        from onethinker.training.preflight import check_servers, launched_nodes

        check_servers(recipe, nodes=max(nodes.count, launched_nodes()))
    if options.dry_run:
        _dry_run(recipe, options)
        return
    output, is_rank = _check_options(options), "LOCAL_RANK" in os.environ
    if not is_rank:
        from onethinker.training.preflight import check_start
        from onethinker.training.state.resuming import fetch_run

        if options.resume_from is not None:
            fetch_run(options.resume_from, output)
        check_start(
            recipe,
            output,
            processes=nodes.count * options.processes,
            allow_changes=options.allow_changes,
            accelerate_config=options.accelerate_config,
        )
    # Mistakes that show without torch are reported; from here on it is imported.
    check_processes(options.processes)
    if nodes.count * options.processes > 1 and not is_rank:
        launch(stage, options, nodes=nodes, agreed=_agreed(stage, recipe, options))
    else:
        _train(stage, recipe, output, options)


def load_recipe(stage: Stage, name: str, settings: Sequence[str]) -> "Recipe":
    """Return the recipe of a stage with settings that replace its own. Raises: ConfigError."""
    from onethinker.training.config import RlRecipe, SftRecipe
    from onethinker.training.dpo_recipe import DpoRecipe

    kinds: dict[Stage, type[Recipe]] = {"sft": SftRecipe, "dpo": DpoRecipe, "rl": RlRecipe}
    return kinds[stage].load(name, settings)


def _dry_run(recipe: "Recipe", options: TrainingOptions) -> None:
    from onethinker.commands.dry_run import print_plan
    from onethinker.training.gpus import find_gpu
    from onethinker.training.preflight import check_recipe

    if options.resume_from is not None:
        raise ConfigError("--resume-from cannot be combined with --dry-run, which downloads nothing")
    if options.config is not None and not options.config.is_file():
        raise ConfigError(f"--config {options.config}: there is no such file")
    check_recipe(recipe, accelerate_config=options.accelerate_config)
    gpu = find_gpu(options.gpu) if options.gpu is not None else None
    network = _network(options)
    print_plan(
        recipe,
        processes=options.nodes * options.processes,
        nodes=options.nodes,
        config=options.config,
        accelerate_config=options.accelerate_config,
        gpu=gpu,
        network=network,
    )


def _network(options: TrainingOptions) -> "Network":
    """Return what connects the processes of a plan. Raises: ConfigError: it is not said, or there is nothing to say."""
    from onethinker.training.network import Network

    if options.network is not None and (options.nodes == 1 or options.gpu is None or options.network <= 0):
        raise ConfigError(
            "--network must be more than 0 gigabits per second, and needs --dry-run, --gpu and several --nodes"
        )
    if options.network is None and options.nodes > 1 and options.gpu is not None:
        raise ConfigError(
            f"--nodes {options.nodes} --gpu {options.gpu} needs --network, the gigabits per second that each node can"
            " send to the others, such as 3200 for eight ports of 400"
        )
    return Network(options.nodes, options.processes, (options.network or 0.0) * 1e9 / 8)


def _check_options(options: TrainingOptions) -> Path:
    """Return the folder of a run that trains. Raises: ConfigError: flags are missing, or do not go together."""
    if options.config is not None:
        raise ConfigError(
            "--config needs --dry-run, where it describes a model that is not available; to train, set the model in the"
            " recipe"
        )
    if options.gpu is not None:
        raise ConfigError(
            "--gpu needs --dry-run, which plans for that GPU; a training run uses the GPUs of its machine"
        )
    if options.network is not None:
        raise ConfigError("--network needs --dry-run, which plans with it; leave it out to train")
    if options.output is None:
        raise ConfigError(
            "--output FOLDER is needed: the run's journal, checkpoints and model go there (or --dry-run to train"
            " nothing)"
        )
    if options.accelerate_config is not None and options.nodes * options.processes == 1:
        raise ConfigError("--accelerate-config shards a model over several processes; set --processes, one per GPU")
    if options.resume_from is not None and (options.nodes > 1 or "LOCAL_RANK" in os.environ):
        source = options.resume_from.replace("@", " --revision ")
        raise ConfigError(
            "--resume-from does not work with several nodes or another launcher, whose processes would not wait for the"
            f" download. First run `hf download {source} --include 'run/*' --local-dir FOLDER`, then train with"
            " --output FOLDER/run, without --resume-from"
        )
    return options.output


def _train(stage: Stage, recipe: Any, output: Path, options: TrainingOptions) -> None:
    """Train in this process, and print where the model lies."""
    import torch
    from transformers.utils.logging import disable_progress_bar

    from onethinker.commands.console import Asking, say_checked, watching_training
    from onethinker.evaluation.during_training import open_validator
    from onethinker.rl.loop import train_rl
    from onethinker.training.dpo import train_dpo
    from onethinker.training.sft import train_sft

    if options.processes > 1 and not torch.cuda.is_available():
        torch.set_num_threads(1)
    disable_progress_bar()  # ours is the one to watch; theirs come from every process
    asking = Asking()
    validator = open_validator(recipe, progress=asking)
    train: Any = {"sft": train_sft, "dpo": train_dpo, "rl": train_rl}[stage]
    is_validated = recipe.validation is not None
    with watching_training(
        stage.upper(), recipe.steps, output, is_validated=is_validated, note=lambda: asking.note
    ) as on_step:
        model = train(
            recipe,
            output,
            on_step=on_step,
            on_check=say_checked(),
            allow_changes=options.allow_changes,
            validator=validator,
        )
    if os.environ.get("RANK", "0") == "0":
        print(model)


def check_count(processes: int) -> None:
    """Raise ConfigError for less than one process."""
    if processes < 1:
        raise ConfigError(f"--processes must be at least 1, got {processes}")


def check_processes(processes: int) -> None:
    """Raise ConfigError unless so many training processes can run on this machine."""
    import torch

    check_count(processes)
    if torch.cuda.is_available() and processes > torch.cuda.device_count():
        raise ConfigError(
            f"--processes {processes}: this machine has {torch.cuda.device_count()} GPUs, and each process needs"
            " its own"
        )


def _agreed(stage: Stage, recipe: "Recipe", options: TrainingOptions) -> dict[str, Any]:
    """Return what must be the same on all nodes of a run, by name."""
    return {
        "OneThinker's version": version("onethinker"),
        "stage": stage,
        "--nodes": options.nodes,
        "--processes": options.processes,
        "--accelerate-config": options.accelerate_config,
        "--allow-changes": options.allow_changes,
        **recipe.model_dump(mode="json"),
    }


def launch(
    stage: Stage,
    options: TrainingOptions,
    *,
    nodes: Nodes = ONE_NODE,
    agreed: dict[str, Any] | None = None,
    steps_after: float = 0.0,
) -> None:
    """Run this very command in as many processes, which share the work as torch's and accelerate's launchers would have
    it.

    `agreed` is what has to be the same on all `nodes`; `steps_after` is how much follows it, in steps of it, for the
    time that is shown.

    Raises: ConfigError: there is no such config file, accelerate does not accept it, or DeepSpeed is not installed.
    OneThinkerError: a process failed, or a node did not come; all processes have ended.
    """
    from onethinker.commands.console import STEPS_AFTER
    from onethinker.commands.ranks import accelerate_environment, run_ranks
    from onethinker.training.parallel.zero2 import check_installed
    from onethinker.training.sharding import Sharding, find_accelerate_config, read_sharding

    # Threads that spin while they wait would slow the other processes down.
    calm = {
        "OMP_WAIT_POLICY": "PASSIVE",
        "OMP_NUM_THREADS": "1",
        "TORCH_CPP_LOG_LEVEL": "ERROR",
        STEPS_AFTER: f"{steps_after:g}",
    }
    environment = {**calm, **os.environ}
    if options.accelerate_config is not None:
        file = find_accelerate_config(options.accelerate_config)
        sharding = read_sharding(file)
        if sharding == Sharding("zero2"):
            check_installed()
        if sharding is not None:
            sharding.in_nodes(options.nodes, options.processes)
        environment |= accelerate_environment(file)
    words = [stage, options.recipe, "--output", str(options.output), "--processes", str(options.processes)]
    words += ["--allow-changes"] if options.allow_changes else []
    words += ["--set", *options.set] if options.set else []
    with meeting_of(nodes, agreed or {}, options.output) as meeting:
        run_ranks(words, options.processes, environment, meeting)
