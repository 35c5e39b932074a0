"""Objectives of RL against numbers worked out by hand, and an objective of another package."""

import math
import sys

import pytest
import torch

from onethinker.core.errors import ConfigError, PluginError
from onethinker.core.plugins import VARIABLE, use_plugins
from onethinker.rl.advantages import reinforce_pp
from onethinker.rl.loss import dual_clipped, kl_coefficient, sequence_ratio, token_losses
from onethinker.rl.outside import PolicyTokens
from onethinker.training.config import RlRecipe
from onethinker.training.rl_settings import LossSettings
from onethinker.training.scoring import scored_by_head


def tokens(ratios: list[float], advantages: list[float], answers: list[int]) -> PolicyTokens:
    logps_S = torch.tensor(ratios).log().requires_grad_()
    answer_S = torch.tensor(answers)
    return PolicyTokens(
        logps_S, torch.zeros(len(ratios)), torch.tensor(advantages)[answer_S], answer_S, len(advantages)
    )


def slope(given: PolicyTokens, settings: LossSettings) -> list[float]:
    (pull_S,) = torch.autograd.grad(token_losses(given, settings).sum(), given.logps_S)
    return pull_S.tolist()


GSPO = LossSettings(objective="gspo", reduction="sequence_mean", clip_low=0.1, clip_high=0.1)


def test_the_ratio_of_an_answer_is_the_geometric_mean_of_its_tokens() -> None:
    # (2 · 1/2)^(1/2) = 1 and (4 · 1 · 2)^(1/3) = 2.
    given = tokens([2.0, 0.5, 4.0, 1.0, 2.0], [1.0, 1.0], [0, 0, 1, 1, 1])
    assert sequence_ratio(given).tolist() == pytest.approx([1, 1, 2, 2, 2])


def test_gspo_clips_whole_answers_and_pulls_at_each_token_alike() -> None:
    # Answer 0 has ratio 1 and A = 3; answer 1 has ratio 2 and A = 1, beyond 1.1: clipped, without gradient.
    given = tokens([2.0, 0.5, 2.0, 2.0], [3.0, 1.0], [0, 0, 1, 1])
    assert token_losses(given, GSPO).tolist() == pytest.approx([-3, -3, -1.1, -1.1])
    # d/dlogp of -2·3·s, with s = exp(mean of two): -2·3·1/2 at each token.
    assert slope(given, GSPO) == pytest.approx([-3, -3, 0, 0])


def test_cispo_bounds_the_weight_and_never_cuts_a_token_off() -> None:
    settings = LossSettings(objective="cispo", clip_high=0.2)
    given = tokens([1.0, 3.0, 0.5], [2.0, -1.0, 1.0], [0, 1, 2])
    # -min(ρ, 1.2) · A is the slope; PPO would have none at the second... and this has 1.2.
    assert slope(given, settings) == pytest.approx([-2.0, 1.2, -0.5])
    losses = token_losses(given, settings).tolist()
    assert losses == pytest.approx([0.0, 1.2 * math.log(3), -0.5 * math.log(0.5)])


def test_dual_clip_bounds_the_loss_of_tokens_against_which_the_advantage_is() -> None:
    settings = LossSettings(dual_clip=3.0)
    given = tokens([10.0, 2.0, 10.0], [-1.0, -1.0, 1.0], [0, 1, 2])
    assert token_losses(given, settings).tolist() == pytest.approx([3.0, 2.0, -1.2])
    assert slope(given, settings)[:2] == pytest.approx([0.0, 2.0])
    assert dual_clipped(torch.tensor([-1.0]), torch.tensor([-1.0]), 3.0).tolist() == [-1.0]


def test_the_default_is_the_clipped_surrogate() -> None:
    given = tokens([1.5, 1.0], [1.0, -2.0], [0, 1])
    assert token_losses(given, LossSettings()).tolist() == pytest.approx([-1.2, 2.0])


def test_reinforce_pp_divides_by_the_deviation_of_the_whole_batch() -> None:
    # Centred: ±1, ±3, whose mean square is 5.
    advantages = reinforce_pp(torch.tensor([[2.0, 0.0], [6.0, 0.0]]))
    assert advantages.flatten().tolist() == pytest.approx([x / math.sqrt(5) for x in (1, -1, 3, -3)], rel=1e-5)


@pytest.mark.parametrize(
    ("schedule", "shares"), [("constant", [1, 1, 1]), ("linear", [1, 0.6, 0.2]), ("cosine", [1, 0.6, 0.2])]
)
def test_the_weight_of_the_divergence_falls_as_its_schedule_says(schedule: str, shares: list[float]) -> None:
    settings = LossSettings(kl_coefficient=0.5, kl_schedule=schedule, kl_final_share=0.2)
    assert [kl_coefficient(settings, step, 3) for step in range(3)] == pytest.approx([0.5 * share for share in shares])


def test_the_gradient_of_the_entropy_is_that_of_autograd() -> None:
    torch.manual_seed(0)
    states, weight, temperature = torch.randn(4, 3, dtype=torch.float32), torch.randn(7, 3), 0.7
    outcomes = []
    for by_hand in (True, False):
        own, head = states.clone().requires_grad_(), weight.clone().requires_grad_()
        if by_hand:
            logps, entropy = scored_by_head(own, head, torch.arange(4), temperature, entropy_gradient=True)
        else:
            all_logps = torch.log_softmax(own @ head.T / temperature, -1)
            logps, entropy = all_logps[range(4), range(4)], -(all_logps.exp() * all_logps).sum(-1)
        (logps.sum() + (entropy * torch.arange(4)).sum()).backward()
        outcomes.append((own.grad, head.grad))
    for mine, theirs in zip(*outcomes, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("loss.objective=gspo", 'needs reduction = "sequence_mean", got'),
        ("loss.objective=gsop", "no objective 'gsop'; did you mean 'gspo'"),
        ("loss.objective=dapo", "did you mean 'clipped'"),
        ("loss.dual_clip=1.1", r"must be above 1 \+ clip_high"),
    ],
)
def test_what_does_not_go_together_is_refused(override: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        RlRecipe.load("tiny_rl", [override])
    with pytest.raises(ValueError, match="needs a kl_coefficient above 0"):
        LossSettings(kl_coefficient=0, kl_schedule="linear")


LAB = """
import torch

def plain(tokens, settings):
    return -tokens.advantages_S * tokens.logps_S

def crash(tokens, settings):
    return tokens.nothing

def mean(tokens, settings):
    return (tokens.logps_S * 1).mean()

def still(tokens, settings):
    return tokens.advantages_S

def nan(tokens, settings):
    return tokens.logps_S * float("nan")

LOSSES = {"plain": plain, "crash": crash, "mean": mean, "still": still, "nan": nan}
"""


def test_an_objective_of_another_package_is_used_and_its_mistakes_are_named(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv(VARIABLE, "")
    monkeypatch.delitem(sys.modules, "lab_losses", raising=False)
    (tmp_path / "lab_losses.py").write_text(LAB)
    use_plugins([str(tmp_path / "lab_losses.py")])
    given = tokens([1.0, 2.0], [2.0, -1.0], [0, 1])
    assert slope(given, LossSettings(objective="plain")) == [-2.0, 1.0]
    for name, said in {
        "crash": r"loss 'crash' failed in .*lab_losses\.py, line 8, in crash: AttributeError",
        "mean": r"loss 'mean' \(.*lab_losses\.py, line 10\) must give a tensor of 2 losses with a gradient, got \(\)",
        "still": r"must give a tensor of 2 losses with a gradient, got \(2,\)",
        "nan": r"loss 'nan' \(.*line 16\) returned a loss that is not finite",
    }.items():
        with pytest.raises(PluginError, match=said):
            token_losses(given, LossSettings(objective=name))
