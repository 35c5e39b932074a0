"""`onethinker rl`: multi-task reinforcement learning from a recipe, on one process or several."""

from pathlib import Path

import tyro


def rl(
    recipe: tyro.conf.Positional[str],
    *,
    output: Path | None = None,
    set: tuple[str, ...] = (),
    processes: int = 1,
    allow_changes: bool = False,
    dry_run: bool = False,
    config: Path | None = None,
    accelerate_config: str | None = None,
) -> None:
    """Improve a model by EMA-GRPO on graded answers of its own, packed under their prompt; a stopped run goes on.

    Args:
        recipe: A TOML file, or the name of a recipe that comes with OneThinker, such as tiny_rl.
        output: Folder of the run: recipe.json, starts.jsonl, journal.jsonl, checkpoints/, and model/ when it is done. A
            dry run needs none.
        set: Settings that replace the recipe's, such as model=runs/sft/model rollout.answers_per_prompt=4.
        processes: Processes on this machine that share each batch; one for each GPU, or for each core.
        allow_changes: Let a stopped run go on with other settings, data or weights than it began with; starts.jsonl
            says which.
        dry_run: Train nothing: print what would be trained, the arithmetic of a batch, the tokens of a row and an
            estimate of the memory of a GPU, and check the data. Refuses a batch that does not divide by the processes.
        config: A config.json that says what the model is, for a dry run where the model itself is not at hand.
        accelerate_config: "fsdp2" deals weights, gradients and optimizer to the processes, "deepspeed_zero2" all but
            the weights; or a config file of accelerate of your own.
    """
    from onethinker.commands.training import run_training

    run_training(
        "rl",
        recipe,
        output=output,
        overrides=set,
        processes=processes,
        allow_changes=allow_changes,
        dry_run=dry_run,
        config=config,
        accelerate_config=accelerate_config,
    )
