"""`onethinker rl`: multi-task reinforcement learning from a recipe, on one process or several."""

from onethinker.commands.options import Flags, TrainingOptions


def rl(options: Flags[TrainingOptions]) -> None:
    """Improve a model by EMA-GRPO on its own graded completions, packed under their prompt; a stopped run resumes."""
    from onethinker.commands.training import run_training

    run_training("rl", options)
