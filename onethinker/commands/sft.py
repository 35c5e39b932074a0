"""`onethinker sft`: supervised fine-tuning from a recipe, on one process or several."""

from onethinker.commands.options import Flags, TrainingOptions


def sft(options: Flags[TrainingOptions]) -> None:
    """Fine-tune a model on complete responses, thinking included, packed without padding; a stopped run resumes."""
    from onethinker.commands.training import run_training

    run_training("sft", options)
