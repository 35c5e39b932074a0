"""Our method inside verl 0.9.1: reward, EMA-GRPO, group filter and media of the trainer that `onethinker rl --engine
verl` starts; the reward also alone.

    reward.custom_reward_function.path=pkg://onethinker.integrations.verl
    reward.custom_reward_function.name=compute_score
"""

from onethinker.integrations.verl.reward import compute_score

__all__ = ["compute_score"]
