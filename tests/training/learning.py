"""Run by one or several processes: train runs to their end, and say which samples each of their steps learned from."""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch.distributed import get_rank

from onethinker.rl.loop import train_rl
from onethinker.training.config import RlRecipe, SftRecipe
from onethinker.training.sft import train_sft
from onethinker.training.step import Optimization

STAGES = {"sft": (SftRecipe, train_sft), "rl": (RlRecipe, train_rl)}


@contextmanager
def noted() -> Iterator[dict[int, list[str]]]:
    """Yield the ids of the samples that this process learns from while it is open, by the index of the step."""
    learned: dict[int, list[str]] = {}
    begin = Optimization.begin

    def begin_and_note(optimization: Optimization, prefix_groups: Any, step: int, **how: Any) -> Any:
        learned.setdefault(step, []).extend(sample for group in prefix_groups for sample in group.samples)
        return begin(optimization, prefix_groups, step, **how)

    Optimization.begin = begin_and_note  # type: ignore[method-assign]
    try:
        yield learned
    finally:
        Optimization.begin = begin  # type: ignore[method-assign]


def learn(stage: str, recipe: dict[str, Any], folder: Path) -> dict[int, list[str]]:
    kind, train = STAGES[stage]
    with noted() as learned:
        train(kind.model_validate(recipe), folder)
    return learned


def main() -> None:
    torch.set_num_threads(1)
    for stage, recipe, folder in json.loads(Path(sys.argv[1]).read_text()):
        learned = learn(stage, recipe, Path(folder))
        Path(folder, f"learned-{get_rank()}.json").write_text(json.dumps(learned))


if __name__ == "__main__":
    main()
