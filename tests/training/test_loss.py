"""Losses against numbers worked out by hand."""

import math

import pytest
import torch

from onethinker.training.config import RlRecipe
from onethinker.training.loss import clipped_policy_loss, kl_k3, token_logps, token_weights


@pytest.mark.parametrize(
    ("ratio", "advantage", "expected"),
    [(1.0, 2.0, -2.0), (1.5, 1.0, -1.3), (1.5, -1.0, 1.5), (0.5, 1.0, -0.5), (0.5, -1.0, 0.8)],
    ids=["on policy", "too far up", "up against it", "down against it", "too far down"],
)
def test_the_ratio_is_clipped_only_where_it_has_gone_far_enough(ratio, advantage, expected):
    loss = clipped_policy_loss(torch.tensor([math.log(ratio)]), torch.zeros(1), torch.tensor([advantage]), clip_low=0.2, clip_high=0.3)
    assert loss.item() == pytest.approx(expected, rel=1e-6)


def test_the_divergence_is_zero_for_equal_models_and_grows_both_ways():
    # k3 of a token that the reference thinks twice as likely: 2 - ln 2 - 1.
    same, above, below = kl_k3(torch.zeros(3), torch.tensor([0.0, math.log(2), -math.log(2)])).tolist()
    assert same == 0
    assert above == pytest.approx(1 - math.log(2), rel=1e-6)
    assert below == pytest.approx(0.5 + math.log(2) - 1, rel=1e-6)


def test_log_probabilities_and_entropy_of_known_odds():
    logits = torch.log(torch.tensor([[0.5, 0.25, 0.25]]))
    logps, entropy = token_logps(logits, torch.tensor([1]))
    assert logps.item() == pytest.approx(math.log(0.25))
    assert entropy.item() == pytest.approx(1.5 * math.log(2))


def test_token_mean_gives_every_token_of_the_batch_one_weight():
    weights = token_weights(torch.tensor([0, 0, 0, 1]), num_answers_in_row=2, num_tokens=8, num_answers=4, aggregate="token_mean")
    assert weights.tolist() == [0.125] * 4


def test_sequence_mean_gives_every_answer_one_weight():
    weights = token_weights(torch.tensor([0, 0, 0, 1]), num_answers_in_row=2, num_tokens=8, num_answers=4, aggregate="sequence_mean")
    assert weights.tolist() == pytest.approx([1 / 12] * 3 + [0.25])


def test_the_defaults_of_rl_are_the_papers():
    recipe = RlRecipe()
    assert (recipe.loss.kl, recipe.loss.clip_low, recipe.loss.clip_high, recipe.loss.aggregate) == (0.01, 0.2, 0.2, "token_mean")
    assert (recipe.rollout.answers_per_prompt, recipe.rollout.prompts_per_step, recipe.rollout.max_new_tokens) == (8, 128, 4096)
    advantage = recipe.advantage
    assert (advantage.algorithm, advantage.decay, advantage.limit, advantage.guard) == ("ema_grpo", 0.99, 5.0, "clip")
