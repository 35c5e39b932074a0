"""Losses and advantages beside those of TRL's own lines; benchmarks/trl_values.py has made the numbers."""

import json
from pathlib import Path

import pytest
import torch

from onethinker.rl.advantages import compute_advantages, find_estimator
from onethinker.rl.loss import kl_k3, token_losses, token_weights
from onethinker.rl.outside import PolicyTokens
from onethinker.training.dpo import implicit_rewards, preference_loss
from onethinker.training.dpo_recipe import PreferenceLossSettings
from onethinker.training.rl_settings import AdvantageSettings, LossSettings

TRL = json.loads(Path(__file__).with_name("trl_values.json").read_text())
LOGPS, OLD, REFERENCE = (torch.tensor(TRL[name], dtype=torch.float64) for name in ("logps", "old", "reference"))
ANSWERS = torch.arange(len(TRL["lengths"])).repeat_interleave(torch.tensor(TRL["lengths"]))
OBJECTIVES = {
    "grpo": {"kl_coefficient": 0.04, "reduction": "sequence_mean"},
    "dapo": {"clip_high": 0.28, "reduction": "token_mean"},
    "bnpo": {"reduction": "token_mean"},
    "dr_grpo": {"reduction": "constant_length"},
    "dual_clip": {"dual_clip": 1.5},
    "gspo": {"objective": "gspo", "reduction": "sequence_mean", "clip_low": 0.03, "clip_high": 0.04},
    "cispo": {"objective": "cispo", "clip_high": 0.2},
}


@pytest.mark.parametrize("name", OBJECTIVES)
def test_an_objective_has_the_loss_and_the_gradient_of_trl(name):
    settings = LossSettings(**{"kl_coefficient": 0} | OBJECTIVES[name])
    logps = LOGPS.clone().requires_grad_()
    advantages = torch.tensor(TRL["advantages"]["dr_grpo"], dtype=torch.float64).flatten()
    count = len(TRL["lengths"])
    tokens = PolicyTokens(logps, OLD, advantages[ANSWERS], ANSWERS, count)
    weights = token_weights(
        ANSWERS,
        num_answers_in_row=count,
        num_tokens=len(ANSWERS),
        num_answers=count,
        reduction=settings.reduction,
        max_tokens=TRL["max_tokens"],
    )
    loss = ((token_losses(tokens, settings) + settings.kl_coefficient * kl_k3(logps, REFERENCE)) * weights).sum()
    loss.backward()
    assert float(loss.detach()) == pytest.approx(TRL["objectives"][name]["loss"], rel=1e-6)
    assert logps.grad.tolist() == pytest.approx(TRL["objectives"][name]["gradient"], rel=1e-6)


@pytest.mark.parametrize(("name", "tolerance"), [("grpo", 1e-3), ("dr_grpo", 1e-9), ("rloo", 1e-9)])
def test_an_estimator_has_the_advantages_of_trl(name, tolerance):
    # TRL adds 1e-4 to the deviation of a group where we add 1e-6, and its deviation is that of a sample: √(G / (G - 1))
    # times ours.
    rewards = torch.tensor(TRL["rewards"], dtype=torch.float64)
    tasks = ["ocr"] * len(rewards)
    found, _ = compute_advantages(find_estimator(name), rewards, tasks, {}, AdvantageSettings(algorithm=name))
    expected = torch.tensor(TRL["advantages"][name], dtype=torch.float64)
    expected *= (rewards.shape[1] / (rewards.shape[1] - 1)) ** 0.5 if name == "grpo" else 1
    assert found.flatten().tolist() == pytest.approx(expected.flatten().tolist(), rel=tolerance)


@pytest.mark.parametrize("name", ["sigmoid", "length_normalized"])
def test_dpo_has_the_loss_and_the_gradient_of_trl(name):
    expected, logps = TRL["preferences"][name], LOGPS.clone().requires_grad_()
    settings = PreferenceLossSettings(beta=expected["beta"], length_normalized=name == "length_normalized")
    loss = preference_loss(implicit_rewards(logps, REFERENCE, ANSWERS, len(TRL["lengths"]), settings)).mean()
    loss.backward()
    assert float(loss.detach()) == pytest.approx(expected["loss"], rel=1e-6)
    assert logps.grad.tolist() == pytest.approx(expected["gradient"], rel=1e-6)
