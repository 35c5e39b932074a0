"""`onethinker sft`: supervised fine-tuning from a recipe, on one process or several."""

from onethinker.commands.options import Flags, TrainingOptions


def sft(options: Flags[TrainingOptions]) -> None:
    """Teach a model whole responses, thinking included, packed without padding; a stopped run goes on."""
    from onethinker.commands.training import run_training

    run_training("sft", options)
