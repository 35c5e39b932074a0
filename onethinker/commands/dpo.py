"""`onethinker dpo`: direct preference optimization from a recipe, on one process or several."""

from onethinker.commands.options import Flags, TrainingOptions


def dpo(options: Flags[TrainingOptions]) -> None:
    """Teach a model to prefer chosen to rejected responses (DPO), packed under their prompt; a stopped run resumes.

    Records have "chosen" (or "response") and "rejected" texts, as `onethinker rollouts RUN --pairs FILE` writes them.
    """
    from onethinker.commands.training import run_training

    run_training("dpo", options)
