"""EMA-GRPO against numbers worked out by hand, and its relatives against each other."""

import math

import pytest
import torch

from onethinker.rl.advantages import ESTIMATORS, dr_grpo, ema_grpo, grpo, rloo, update_moments
from onethinker.training.rl_settings import AdvantageSettings
from onethinker.training.state.progress import Moments


def test_the_first_batch_of_a_task_starts_its_averages():
    # Rewards 1, 0, 1, 1: mean 3/4, mean square 3/4, sigma = sqrt(3/4 - 9/16) = sqrt(3)/4.
    advantages, state = ema_grpo(torch.tensor([[1.0, 0.0], [1.0, 1.0]]), ["math", "math"], {})
    assert state == {"math": Moments(0.75, 0.75)}
    sigma = math.sqrt(3) / 4
    assert torch.allclose(advantages, torch.tensor([[0.5 / sigma, -0.5 / sigma], [0.0, 0.0]]))


def test_averages_move_first_and_are_used_after():
    # m1: 0.99 * 0.5 + 0.01 * 1.0 = 0.505; m2: 0.99 * 0.5 + 0.01 * (4 + 0) / 2 = 0.515; sigma = sqrt(0.515 - 0.255025).
    advantages, state = ema_grpo(torch.tensor([[2.0, 0.0]]), ["tracking"], {"tracking": Moments(0.5, 0.5)})
    assert state["tracking"].m1 == pytest.approx(0.505)
    assert state["tracking"].m2 == pytest.approx(0.515)
    assert advantages[0, 0].item() == pytest.approx(1 / math.sqrt(0.259975), rel=1e-6)


def test_tasks_have_averages_of_their_own():
    rewards = torch.tensor([[1.0, 0.0], [0.52, 0.48]])
    advantages, state = ema_grpo(rewards, ["ocr", "tracking"], {})
    # Each task's spread is its own unit: both groups lie one sigma from their mean.
    assert torch.allclose(advantages, torch.tensor([[1.0, -1.0], [1.0, -1.0]]), atol=1e-4)
    assert state["ocr"].sigma == pytest.approx(0.5)
    assert state["tracking"].sigma == pytest.approx(0.02)


def test_a_task_that_is_not_in_the_batch_keeps_its_averages():
    before = {"ocr": Moments(0.3, 0.2)}
    _, after = ema_grpo(torch.tensor([[1.0, 0.0]]), ["math"], before)
    assert after["ocr"] == Moments(0.3, 0.2)
    assert before == {"ocr": Moments(0.3, 0.2)}


def test_sigma_has_a_floor_and_advantages_a_limit():
    # The averages say that this task never varies: 0.001 is the smallest sigma, 0.05 / 0.001 = 50 is cut to 5.
    state = {"math": Moments(1.0, 1.0)}
    advantages, _ = ema_grpo(torch.tensor([[1.05, 0.95]]), ["math"], state, ema_decay=0.9999999, clip=5.0)
    assert advantages.tolist() == [[5.0, -5.0]]


def test_the_released_guard_divides_the_whole_group_by_its_own_spread():
    state = {"math": Moments(1.0, 1.0)}
    advantages, _ = ema_grpo(torch.tensor([[1.05, 0.95, 1.0]]), ["math"], state, ema_decay=0.9999999, guard="group_std")
    spread = math.sqrt((0.05**2 + 0.05**2) / 3)
    assert torch.allclose(advantages, torch.tensor([[0.05, -0.05, 0.0]]) / spread, atol=1e-3)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_reward_that_is_not_finite_never_enters_the_averages(value):
    with pytest.raises(ValueError, match="finite"):
        update_moments({"math": Moments(0.5, 0.5)}, torch.tensor([[value, 1.0]]), ["math"], ema_decay=0.99)


def test_ema_grpo_with_the_batch_as_its_average_is_the_centred_reward_over_the_batch_spread():
    rewards = torch.rand(6, 4, generator=torch.Generator().manual_seed(1))
    advantages, _ = ema_grpo(rewards, ["math"] * 6, {})
    assert torch.allclose(advantages, dr_grpo(rewards) / rewards.std(correction=0), atol=1e-5)


def test_all_algorithms_centre_every_group():
    rewards = torch.rand(5, 8, generator=torch.Generator().manual_seed(2))
    for advantages in (grpo(rewards), dr_grpo(rewards), rloo(rewards), ema_grpo(rewards, ["a"] * 5, {}, clip=100)[0]):
        assert torch.allclose(advantages.sum(1), torch.zeros(5), atol=1e-4)


@pytest.mark.parametrize("algorithm", ["ema_grpo", "grpo", "dr_grpo", "rloo"])
def test_averages_are_kept_whatever_the_algorithm(algorithm):
    _, state = ESTIMATORS[algorithm](torch.tensor([[1.0, 0.0]]), ["math"], {}, AdvantageSettings())
    assert state == {"math": Moments(0.5, 0.5)}
