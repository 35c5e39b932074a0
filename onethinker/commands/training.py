"""What `onethinker sft` and `onethinker rl` share: the recipe with its overrides, and processes."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from onethinker.core.errors import ConfigError

Stage = Literal["sft", "rl"]


def run_training(
    stage: Stage,
    recipe: str,
    *,
    output: Path | None,
    overrides: Sequence[str],
    processes: int,
    allow_changes: bool,
    dry_run: bool,
    config: Path | None,
    accelerate_config: str | None,
) -> None:
    """Run a stage to its end and print where the model lies; with several processes, in child processes that share the
    work.

    A dry run prints what would be trained, and that is all.

    Raises: ConfigError: the recipe, an override or a flag is wrong. OneThinkerError: a child process failed; it has
    said why.
    """
    from onethinker.training.config import RlRecipe, SftRecipe
    from onethinker.training.preflight import check_recipe, check_start

    kind = SftRecipe if stage == "sft" else RlRecipe
    settings = kind.load(recipe, overrides)
    check_count(processes)
    if dry_run:
        if config is not None and not config.is_file():
            raise ConfigError(f"--config {config}: there is no such file")
        check_recipe(settings, accelerate_config=accelerate_config)
        from onethinker.commands.dry_run import print_plan

        print_plan(settings, processes=processes, config=config, accelerate_config=accelerate_config)
        return
    if config is not None:
        raise ConfigError(
            "--config is for a --dry-run of a model that is not at hand; to train, name the model in the recipe"
        )
    if output is None:
        raise ConfigError(
            "--output FOLDER is needed: the run's journal, checkpoints and model go there (or --dry-run to train"
            " nothing)"
        )
    if accelerate_config is not None and processes == 1:
        raise ConfigError("--accelerate-config deals a model to several processes; give --processes, one for each GPU")
    if "LOCAL_RANK" not in os.environ:
        check_start(
            settings, output, processes=processes, allow_changes=allow_changes, accelerate_config=accelerate_config
        )
    # What can be said without torch has been said.
    check_processes(processes)
    if processes > 1 and "LOCAL_RANK" not in os.environ:
        launch(
            stage,
            recipe,
            output=output,
            overrides=overrides,
            processes=processes,
            allow_changes=allow_changes,
            accelerate_config=accelerate_config,
        )
        return
    import torch
    from transformers.utils.logging import disable_progress_bar

    from onethinker.commands.console import say_checked, watching_training
    from onethinker.rl.loop import train_rl
    from onethinker.training.sft import train_sft

    if processes > 1 and not torch.cuda.is_available():
        torch.set_num_threads(1)
    disable_progress_bar()  # ours is the one to watch; theirs come from every process
    train: Any = {"sft": train_sft, "rl": train_rl}[stage]
    with watching_training(stage.upper(), settings.steps, output) as on_step:
        model = train(settings, output, on_step=on_step, on_check=say_checked(), allow_changes=allow_changes)
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


def launch(
    stage: Stage,
    recipe: str,
    *,
    output: Path,
    overrides: Sequence[str],
    processes: int,
    allow_changes: bool = False,
    accelerate_config: str | None = None,
    steps_after: float = 0.0,
) -> None:
    """Run this very command in as many processes, which share the work as torch's and accelerate's launchers would have
    it.

    `steps_after` says how much follows after it, in steps of it, for the time that is shown.

    Raises: ConfigError: there is no such config file, accelerate does not accept it, or DeepSpeed is not installed.
    OneThinkerError: a process failed; all have ended.
    """
    from onethinker.commands.console import STEPS_AFTER
    from onethinker.commands.ranks import accelerate_environment, run_ranks
    from onethinker.training.config import find_accelerate_config, read_dealing
    from onethinker.training.parallel.zero2 import check_installed

    # Threads that spin while they wait would slow the other processes down.
    calm = {
        "OMP_WAIT_POLICY": "PASSIVE",
        "OMP_NUM_THREADS": "1",
        "TORCH_CPP_LOG_LEVEL": "ERROR",
        STEPS_AFTER: f"{steps_after:g}",
    }
    environment = {**calm, **os.environ}
    if accelerate_config is not None:
        file = find_accelerate_config(accelerate_config)
        if read_dealing(file) == "zero2":
            check_installed()
        environment |= accelerate_environment(file)
    words = [
        stage,
        recipe,
        "--output",
        str(output),
        "--processes",
        str(processes),
        *(["--allow-changes"] if allow_changes else []),
    ]
    run_ranks([*words, *(["--set", *overrides] if overrides else [])], processes, environment)
