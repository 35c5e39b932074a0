"""The groups of an update, shared between processes again once their answers are sampled and their tokens are known.

Tensors move from the process that sampled a group to the one that learns from it: nothing is read or encoded twice.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from onethinker.rl.loss import GradedPrefixGroup
from onethinker.training.balance import balance
from onethinker.training.packing.row import Prompt
from onethinker.training.parallel.collectives import Collectives


def rebalance(prefix_groups: Sequence[GradedPrefixGroup], collectives: Collectives) -> list[GradedPrefixGroup]:
    """Return which of the prefix groups of all processes this one learns from, so that each has about as many tokens;
    all processes take part.
    """
    device = collectives.device
    held = [_map_tensors(each, lambda tensor: tensor.to(device).contiguous()) for each in prefix_groups]
    shapes = [(collectives.index, _map_tensors(each, lambda tensor: tensor.to("meta"))) for each in held]
    every = collectives.gather(shapes)
    receivers = balance([shape.num_tokens for _, shape in every], collectives.count)
    own, mine = iter(held), list[GradedPrefixGroup]()
    sent, received = list[tuple[Tensor, int]](), list[tuple[Tensor, int]]()
    for (sender, shape), receiver in zip(every, receivers, strict=True):
        group = next(own) if sender == collectives.index else None
        if receiver == collectives.index:
            empty = group or _map_tensors(shape, lambda tensor: torch.empty_like(tensor, device=device))
            mine.append(empty)
            received += [] if group else [(tensor, sender) for tensor in _tensors(empty)]
        elif group:
            sent += [(tensor, receiver) for tensor in _tensors(group)]
    collectives.exchange(sent, received)
    return mine


def _map_tensors(group: GradedPrefixGroup, change: Callable[[Tensor], Tensor]) -> GradedPrefixGroup:
    """Return a prefix group with each of its tensors changed, in an order that is always the same."""
    prompt = group.prompt
    return replace(
        group,
        prompt=Prompt(
            change(prompt.input_ids),
            change(prompt.mm_token_type_ids),
            change(prompt.positions),
            {name: change(pixels) for name, pixels in prompt.pixels.items()},
        ),
        answers=tuple(map(change, group.answers)),
        old_logps=change(group.old_logps),
        advantages=change(group.advantages),
        weights=change(group.weights),
        engine_logps=None if group.engine_logps is None else change(group.engine_logps),
        experts=None if group.experts is None else change(group.experts),
    )


def _tensors(group: GradedPrefixGroup) -> list[Tensor]:
    found: list[Tensor] = []

    def note(tensor: Tensor) -> Tensor:
        found.append(tensor)
        return tensor

    _map_tensors(group, note)
    return found
