"""`onethinker sft`: supervised fine-tuning from a recipe, on one process or several."""

from pathlib import Path

import tyro


def sft(
    recipe: tyro.conf.Positional[str], *, output: Path, set: tuple[str, ...] = (), processes: int = 1, allow_changes: bool = False
) -> None:
    """Teach a model whole responses, thinking included, packed without padding; a stopped run goes on.

    Args:
        recipe: A TOML file, or the name of a recipe that comes with OneThinker, such as tiny_sft.
        output: Folder of the run: recipe.json, starts.jsonl, journal.jsonl, checkpoints/, and model/ when it is done.
        set: Settings that replace the recipe's, such as steps=50 optimizer.learning_rate=1e-4 data.files='["a.jsonl"]'.
        processes: Processes on this machine that share each batch; one for each GPU, or for each core.
        allow_changes: Let a stopped run go on with other settings than it began with; starts.jsonl keeps the old and the new ones.
    """
    from onethinker.commands.training import run_training
    from onethinker.training.config import SftRecipe

    run_training("sft", SftRecipe, recipe, output=output, overrides=set, processes=processes, allow_changes=allow_changes)
