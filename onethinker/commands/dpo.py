"""`onethinker dpo`: direct preference optimization from a recipe, on one process or several."""

from onethinker.commands.options import Flags, TrainingOptions


def dpo(options: Flags[TrainingOptions]) -> None:
    """Train a model to prefer chosen over rejected responses (DPO), packed under their prompt; a stopped run resumes.

    Records have "chosen" (or "response") and "rejected" texts, as written by `onethinker rollouts RUN --pairs FILE`.
    """
    from onethinker.commands.training import run_training

    run_training("dpo", options)
