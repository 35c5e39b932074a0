"""Losses and advantages as TRL computes them, for tests/rl/trl_values.json: its own lines, run on a few numbers.

    pip install --no-deps --target /tmp/trl trl==1.16.0
    python -m benchmarks.trl_values /tmp/trl > tests/rl/trl_values.json

The statements between two names are cut out of TRL's methods and run as they stand, with the few attributes of the
trainer that they read; no trainer, model or tokenizer is made.
"""

import ast
import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

LENGTHS = (5, 3, 4, 2)
GROUP = 2
MAX_TOKENS = 6
OBJECTIVES: dict[str, dict[str, Any]] = {
    "grpo": {"loss_type": "grpo", "beta": 0.04},
    "dapo": {"loss_type": "dapo", "epsilon_high": 0.28},
    "bnpo": {"loss_type": "bnpo"},
    "dr_grpo": {"loss_type": "dr_grpo"},
    "dual_clip": {"loss_type": "dapo", "delta": 1.5},
    "gspo": {"loss_type": "grpo", "importance_sampling_level": "sequence", "epsilon_low": 0.03, "epsilon_high": 0.04},
    "cispo": {"loss_type": "cispo", "epsilon_high": 1.2},
}
PREFERENCES = {"sigmoid": "sigmoid", "length_normalized": "sigmoid_norm"}


def statements(file: Path, function: str, first: str, last: str) -> Any:
    """Return the code of a function from the statement that begins with `first` to the last that begins with `last`."""
    source = file.read_text(encoding="utf-8")
    found = next(
        node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.FunctionDef) and node.name == function
    )
    texts = [ast.get_source_segment(source, node) or "" for node in found.body]
    begin = next(index for index, text in enumerate(texts) if text.startswith(first))
    end = next(index for index in range(begin, len(texts)) if texts[index].startswith(last))
    return compile(ast.Module(found.body[begin : end + 1], []), str(file), "exec")


def run(code: Any, **names: Any) -> dict[str, Any]:
    """Return all names after the code has run."""
    exec(code, names)
    return names


def main(trl: Path) -> None:
    """Print inputs and values as JSON."""
    torch.manual_seed(0)
    shape = len(LENGTHS), max(LENGTHS)
    mask = (torch.arange(shape[1]) < torch.tensor(LENGTHS)[:, None]).float()
    logps, old, reference = (-torch.rand(shape, dtype=torch.float64) * 2 for _ in range(3))
    old = logps + (old + 1) * 0.6
    rewards = torch.tensor([1.0, 0.25, 0.5, 0.1], dtype=torch.float64)
    trainers = trl / "trl/trainer"
    advantages = all_advantages(trainers, rewards)
    policy = statements(
        trainers / "grpo_trainer.py", "_compute_loss", "log_ratio =", 'if self.loss_type in ["grpo", "sapo"]'
    )
    values = {
        "trl": "1.16.0",
        "rewards": rewards.reshape(-1, GROUP).tolist(),
        "max_tokens": MAX_TOKENS,
        "lengths": LENGTHS,
        **{name: flat(each, mask) for name, each in (("logps", logps), ("old", old), ("reference", reference))},
        "advantages": {name: each.reshape(-1, GROUP).tolist() for name, each in advantages.items()},
        "objectives": {
            name: policy_value(policy, settings, logps, old, reference, mask, advantages["dr_grpo"])
            for name, settings in OBJECTIVES.items()
        },
        "preferences": preferences(trainers, logps, reference, mask),
    }
    print(json.dumps(values))


def flat(values: Tensor, mask: Tensor) -> list[float]:
    """Return the values of real tokens, answer after answer."""
    return values[mask.bool()].tolist()


def policy_value(
    code: Any, settings: dict[str, Any], logps: Tensor, old: Tensor, reference: Tensor, mask: Tensor, advantages: Tensor
) -> dict[str, Any]:
    """Return loss and gradient of TRL's GRPO with some settings."""
    logps = logps.clone().requires_grad_()
    defaults = {
        "importance_sampling_level": "token",
        "epsilon_low": 0.2,
        "epsilon_high": 0.2,
        "beta": 0.0,
        "off_policy_mask_threshold": None,
        "use_vllm": False,
        "max_completion_length": MAX_TOKENS,
        "current_gradient_accumulation_steps": 1,
        "model": SimpleNamespace(training=True),
        "accelerator": SimpleNamespace(num_processes=1),
        "args": SimpleNamespace(use_bias_correction_kl=False, delta=settings.get("delta"), steps_per_generation=1),
    }
    names = run(
        code,
        torch=torch,
        self=SimpleNamespace(**defaults | settings),
        inputs={"ref_per_token_logps": reference, "num_items_in_batch": mask.sum()},
        per_token_logps=logps,
        old_per_token_logps=old,
        mask=mask,
        advantages=advantages[:, None],
        entropy_mask=None,
    )
    names["loss"].backward()
    assert logps.grad is not None
    return {"loss": float(names["loss"].detach()), "gradient": flat(logps.grad, mask)}


def all_advantages(trainers: Path, rewards: Tensor) -> dict[str, Tensor]:
    """Return the advantages of each estimator that TRL has."""
    utils = ast.parse((trainers / "utils.py").read_text(encoding="utf-8"))
    nanstd = [node for node in utils.body if isinstance(node, ast.FunctionDef) and node.name in ("nanstd", "nanvar")]
    names = run(compile(ast.Module(nanstd, []), "utils.py", "exec"), torch=torch)
    names |= {"num_generations": GROUP, "rewards": rewards, "rewards_per_func": rewards[:, None], "device": "cpu"}
    method = "_generate_and_score_completions"
    grpo = statements(trainers / "grpo_trainer.py", method, "unscorable_mask =", "if self.multi_objective_aggregation")
    rloo = statements(
        trainers / "rloo_trainer.py", method, "grouped_rewards =", "if num_generations > 1:\n            bas"
    )
    settings = {"multi_objective_aggregation": "sum_then_normalize", "reward_weights": torch.ones(1)}
    found = {
        name: run(grpo, **names, self=SimpleNamespace(**settings, scale_rewards=scale))["advantages"]
        for name, scale in (("grpo", "group"), ("dr_grpo", "none"))
    }
    found["rloo"] = run(rloo, **names)["advantages"]
    return found


def preferences(trainers: Path, logps: Tensor, reference: Tensor, mask: Tensor) -> dict[str, Any]:
    """Return loss and gradient of TRL's DPO: the answers of a group are chosen and rejected."""
    code = statements(trainers / "dpo_trainer.py", "_compute_loss", "chosen_logratios =", "for loss_type, loss_weight")
    found = {}
    for name, loss_type in PREFERENCES.items():
        own = logps.clone().requires_grad_()
        sums, before = (own * mask).sum(1), (reference * mask).sum(1)
        names = run(
            code,
            torch=torch,
            F=torch.nn.functional,
            self=SimpleNamespace(
                f_divergence_type="reverse_kl",
                loss_types=[loss_type],
                loss_weights=[1.0],
                beta=0.3,
                use_weighting=False,
            ),
            chosen_logps=sums[::2],
            rejected_logps=sums[1::2],
            ref_chosen_logps=before[::2],
            ref_rejected_logps=before[1::2],
            completion_mask=torch.cat([mask[::2], mask[1::2]]),
        )
        names["loss"].backward()
        assert own.grad is not None
        found[name] = {"beta": 0.3, "loss": float(names["loss"].detach()), "gradient": flat(own.grad, mask)}
    return found


if __name__ == "__main__":
    main(Path(sys.argv[1]))
