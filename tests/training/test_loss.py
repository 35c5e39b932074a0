"""Losses against numbers worked out by hand."""

import math

import pytest
import torch

from onethinker.rl.loss import clipped_policy_loss, kl_k3, token_weights
from onethinker.training.config import RlRecipe
from onethinker.training.scoring import LOGITS_AT_ONCE, scored_by_head


@pytest.mark.parametrize(
    ("ratio", "advantage", "expected"),
    [(1.0, 2.0, -2.0), (1.5, 1.0, -1.3), (1.5, -1.0, 1.5), (0.5, 1.0, -0.5), (0.5, -1.0, 0.8)],
    ids=["on policy", "too far up", "up against it", "down against it", "too far down"],
)
def test_the_ratio_is_clipped_only_where_it_has_gone_far_enough(ratio, advantage, expected):
    loss = clipped_policy_loss(
        torch.tensor([math.log(ratio)]), torch.zeros(1), torch.tensor([advantage]), clip_low=0.2, clip_high=0.3
    )
    assert loss.item() == pytest.approx(expected, rel=1e-6)


def test_the_divergence_is_zero_for_equal_models_and_grows_both_ways():
    # k3 of a token that the reference thinks twice as likely: 2 - ln 2 - 1.
    same, above, below = kl_k3(torch.zeros(3), torch.tensor([0.0, math.log(2), -math.log(2)])).tolist()
    assert same == 0
    assert above == pytest.approx(1 - math.log(2), rel=1e-6)
    assert below == pytest.approx(0.5 + math.log(2) - 1, rel=1e-6)


def test_log_probabilities_and_entropy_of_known_odds():
    logits = torch.log(torch.tensor([[0.5, 0.25, 0.25]]))
    logps, entropy = scored_by_head(logits, torch.eye(3), torch.tensor([1]))
    assert logps.item() == pytest.approx(math.log(0.25))
    assert entropy.item() == pytest.approx(1.5 * math.log(2))


def test_token_mean_gives_every_token_of_the_batch_one_weight():
    weights = token_weights(
        torch.tensor([0, 0, 0, 1]),
        num_answers_in_row=2,
        num_tokens=8,
        num_answers=4,
        reduction="token_mean",
        max_tokens=9,
    )
    assert weights.tolist() == [0.125] * 4


def test_sequence_mean_gives_every_answer_one_weight():
    weights = token_weights(
        torch.tensor([0, 0, 0, 1]),
        num_answers_in_row=2,
        num_tokens=8,
        num_answers=4,
        reduction="sequence_mean",
        max_tokens=9,
    )
    assert weights.tolist() == pytest.approx([1 / 12] * 3 + [0.25])


def test_constant_length_weighs_a_token_as_if_all_answers_were_as_long_as_allowed():
    weights = token_weights(
        torch.tensor([0, 0, 0, 1]),
        num_answers_in_row=2,
        num_tokens=8,
        num_answers=4,
        reduction="constant_length",
        max_tokens=10,
    )
    assert weights.tolist() == pytest.approx([1 / 40] * 4)


@pytest.mark.parametrize(
    ("dtype", "temperature"),
    [(torch.float32, 1.0), (torch.bfloat16, 1.0), (torch.float32, 0.7), (torch.float32, 1.5)],
    ids=["float32", "bfloat16", "temperature 0.7", "temperature 1.5"],
)
def test_a_vocabulary_of_151936_in_blocks_gives_the_values_and_gradients_of_all_logits_at_once(dtype, temperature):
    generator = torch.Generator().manual_seed(0)
    vocabulary, tokens, hidden = 151_936, 300, 16
    assert tokens * vocabulary > 2 * LOGITS_AT_ONCE, "fewer tokens would fit one block"
    states = torch.randn(tokens, hidden, generator=generator).to(dtype)
    weight = torch.randn(vocabulary, hidden, generator=generator).to(dtype)
    targets = torch.randint(vocabulary, (tokens,), generator=generator)
    # The first and last word of the vocabulary and of a block are where an error by one would show.
    size = LOGITS_AT_ONCE // tokens
    targets[:5] = torch.tensor([0, size - 1, size, 2 * size, vocabulary - 1])
    weights = torch.linspace(-1, 1, tokens)

    def outcome(scored):
        inputs = [tensor.clone().requires_grad_() for tensor in (states, weight)]
        logps, entropy = scored(*inputs)
        (logps * weights).sum().backward()
        return [logps.detach(), entropy, *(tensor.grad.float() for tensor in inputs)]

    def all_at_once(states, weight):
        everything = torch.log_softmax((states @ weight.T).double() / temperature, -1)
        return everything[range(tokens), targets], -(everything.exp() * everything).sum(-1).detach()

    in_blocks = outcome(lambda states, weight: scored_by_head(states, weight, targets, temperature))
    at_once = outcome(all_at_once)
    # log_softmax of all logits in float32 is itself further from double precision than this: 2e-5 and 7e-5.
    assert float((in_blocks[0] - at_once[0]).abs().max()) < 1e-5
    assert float((in_blocks[1] - at_once[1]).abs().max()) < (
        6e-5 if temperature >= 1 else 2e-4
    )  # larger logits round more
    # Gradients of bfloat16 are rounded to 8 bits on the way.
    close = 1e-5 if dtype == torch.float32 else 1e-2
    for found, expected in zip(in_blocks[2:], at_once[2:], strict=True):
        assert float((found - expected).norm() / expected.norm()) < close


def test_a_frozen_head_still_passes_gradients_on():
    states, weight = torch.randn(5, 4, requires_grad=True), torch.randn(9, 4)
    scored_by_head(states, weight, torch.arange(5))[0].sum().backward()
    expected = torch.autograd.grad(torch.log_softmax(states @ weight.T, -1)[range(5), range(5)].sum(), states)[0]
    assert torch.allclose(states.grad, expected, atol=1e-6)


def test_the_defaults_of_rl_are_the_papers():
    recipe = RlRecipe()
    assert (recipe.loss.kl_coefficient, recipe.loss.clip_low, recipe.loss.clip_high, recipe.loss.reduction) == (
        0.01,
        0.2,
        0.2,
        "token_mean",
    )
    assert (recipe.rollout.group_size, recipe.rollout.generation_batch_size, recipe.rollout.max_new_tokens) == (
        8,
        128,
        4096,
    )
    assert recipe.optimizer.kind == "adamw"
    advantage = recipe.advantage
    assert (advantage.algorithm, advantage.ema_decay, advantage.clip, advantage.guard) == (
        "ema_grpo",
        0.99,
        5.0,
        "clip",
    )
