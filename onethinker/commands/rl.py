"""`onethinker rl`: multi-task reinforcement learning from a recipe, on one process or several."""

from pathlib import Path

import tyro


def rl(
    recipe: tyro.conf.Positional[str], *, output: Path, set: tuple[str, ...] = (), processes: int = 1, allow_changes: bool = False
) -> None:
    """Improve a model by EMA-GRPO on graded answers of its own; the answers to a prompt share it. A stopped run goes on.

    Args:
        recipe: A TOML file, or the name of a recipe that comes with OneThinker, such as tiny_rl.
        output: Folder of the run: recipe.json, starts.jsonl, journal.jsonl, checkpoints/, and model/ when it is done.
        set: Settings that replace the recipe's, such as model=runs/sft/model rollout.answers_per_prompt=4.
        processes: Processes on this machine that share each batch; one for each GPU, or for each core.
        allow_changes: Let a stopped run go on with other settings than it began with; starts.jsonl keeps the old and the new ones.
    """
    from onethinker.commands.training import run_training
    from onethinker.training.config import RlRecipe

    run_training("rl", RlRecipe, recipe, output=output, overrides=set, processes=processes, allow_changes=allow_changes)
