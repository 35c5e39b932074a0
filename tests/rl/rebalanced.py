"""Run by several processes: share prefix groups that all of them can make, and say what each then holds."""

import hashlib
import json
import sys
from pathlib import Path

import torch
from accelerate import Accelerator

from onethinker.rl.loss import GradedPrefixGroup
from onethinker.rl.rebalance import rebalance
from onethinker.training.packing.row import Prompt
from onethinker.training.parallel.collectives import Collectives


def group(index: int, *, prompt: int, answers: list[int]) -> GradedPrefixGroup:
    """Return a prefix group of these lengths whose tensors the index decides; every other one shows something, and was
    sampled by another engine.
    """
    draw = torch.Generator().manual_seed(index)
    ids = torch.randint(0, 1000, (prompt,), generator=draw)
    pixels = {"pixel_values": torch.rand(40 * index, 8, generator=draw).bfloat16()} if index % 2 else {}
    logps = torch.rand(sum(answers), generator=draw)
    return GradedPrefixGroup(
        Prompt(ids, ids % 2, torch.stack([ids] * 3)[:, ::2], pixels),
        tuple(torch.randint(0, 1000, (length,), generator=draw) for length in answers),
        "tracking",
        logps,
        torch.rand(len(answers), generator=draw),
        torch.ones(len(answers)),
        logps + 1 if index % 2 else None,
        experts=torch.randint(0, 128, (sum(answers), 3, 2), generator=draw, dtype=torch.int16) if index % 3 else None,
        samples=(f"sample {index}",),
    )


def described(each: GradedPrefixGroup) -> str:
    """Return a digest of everything that a prefix group holds."""
    return hashlib.sha256(repr([(name, value) for name, value in vars(each).items()]).encode()).hexdigest()


def main() -> None:
    torch.set_printoptions(profile="full")
    collectives = Collectives(Accelerator(cpu=True))
    lengths, folder = json.loads(sys.argv[1]), Path(sys.argv[2])
    held = [group(index, **each) for index, each in enumerate(lengths)]
    # In turns, as prompts that are all alike are shared before they are answered.
    mine = rebalance(held[collectives.index :: collectives.count], collectives)
    report = {
        "tokens": sum(each.num_tokens for each in mine),
        "groups": {each.samples[0]: described(each) for each in mine},
        "expected": {each.samples[0]: described(each) for each in held},
    }
    (folder / f"{collectives.index}.json").write_text(json.dumps(report))


if __name__ == "__main__":
    main()
