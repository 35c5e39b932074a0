"""Memory and time of scoring 8 answers of 4,096 tokens with a vocabulary of 151,936, whose logits at once would be 20
GB.

Run: python benchmarks/loss.py [--tokens 32768] [--hidden 64]

Peak memory of a process, during forward and backward of the head and the loss, less what it holds before: hidden
states, weights, targets. The gradients of states and weights are part of it. "at once" is log_softmax of all logits, in
a process of its own, for as many tokens as fit. Figures: docs/results/training_speed.md.
"""

import subprocess
import sys
import time

import torch
from measuring import parser_of, peak_mb

from onethinker.training.scoring import scored_by_head

VOCABULARY = 151_936


def all_at_once(logits: torch.Tensor, targets: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return log-probability and entropy of each target, from logits that exist all at once."""
    logps = torch.log_softmax(logits, -1)
    with torch.no_grad():
        entropy = -(logps.exp() * logps).sum(-1)
    return logps.gather(-1, targets[:, None])[:, 0], entropy


def measure(kind: str, tokens: int, hidden: int) -> None:
    """Print the growth of this process's peak memory in MB, and its processor time."""
    torch.set_num_threads(1)
    states = torch.randn(tokens, hidden, requires_grad=True)
    weight = torch.randn(VOCABULARY, hidden, requires_grad=True)
    targets = torch.randint(VOCABULARY, (tokens,))
    before, started = peak_mb(), time.process_time()
    logps, _ = scored_by_head(states, weight, targets) if kind == "blocks" else all_at_once(states @ weight.T, targets)
    logps.mean().backward()
    grown = peak_mb() - before
    print(
        f"{kind:8} {tokens:7} {tokens * VOCABULARY * 4 / 2**20:10.0f} {grown:9.0f} "
        f"{time.process_time() - started:10.1f}"
    )


def main() -> None:
    """Print one line a measurement."""
    parser = parser_of(__doc__)
    parser.add_argument("--tokens", type=int, default=8 * 4096, help="scored tokens")
    parser.add_argument("--hidden", type=int, default=64, help="size of a hidden state")
    parser.add_argument(
        "--measure", choices=["blocks", "at once"], help="used by the command itself for the processes it starts"
    )
    arguments = parser.parse_args()
    if arguments.measure:
        measure(arguments.measure, arguments.tokens, arguments.hidden)
        return
    print("way       tokens  logits MB   peak MB  seconds", flush=True)
    for kind, tokens in (
        ("at once", arguments.tokens // 32),
        ("blocks", arguments.tokens // 32),
        ("blocks", arguments.tokens),
    ):
        command = [
            sys.executable,
            __file__,
            "--measure",
            kind,
            "--tokens",
            str(tokens),
            "--hidden",
            str(arguments.hidden),
        ]
        print(subprocess.run(command, capture_output=True, text=True, check=True).stdout, end="", flush=True)


if __name__ == "__main__":
    main()
