"""`onethinker rl`: multi-task reinforcement learning from a recipe, on one process or several, or inside verl."""

from onethinker.commands.options import Flags, RlOptions
from onethinker.core.errors import ConfigError


def rl(options: Flags[RlOptions]) -> None:
    """Improve a model by EMA-GRPO on its own graded answers, packed under their prompt; a stopped run resumes."""
    if options.engine == "verl":
        from onethinker.commands.rl_verl import run_verl

        run_verl(options)
        return
    if options.verl_python is not None or options.verl_set:
        raise ConfigError("--verl-python and --verl-set need --engine verl")
    from onethinker.commands.training import run_training

    run_training("rl", options)
