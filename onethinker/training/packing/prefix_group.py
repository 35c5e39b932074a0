"""A prompt with the answers that share it, and how such groups are packed into rows.

Dimensions: P tokens of a prompt, R tokens of an answer.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from torch import Tensor

from onethinker.core.request import Request
from onethinker.families.registry import family_of


@dataclass(frozen=True)
class Prompt:
    """One encoded request: token ids and types (P,), M-RoPE positions (3, P), pixels and grids of its media."""

    input_ids: Tensor
    mm_token_type_ids: Tensor
    positions: Tensor
    pixels: dict[str, Tensor]

    @property
    def visual_tokens(self) -> int:
        """Tokens that stand for pictures and frames."""
        return int((self.mm_token_type_ids > 0).sum())

    def beginning(self, length: int) -> "Prompt":
        """Return its first tokens, with all media, which must lie among them."""
        return Prompt(self.input_ids[:length], self.mm_token_type_ids[:length], self.positions[:, :length], self.pixels)


@dataclass(frozen=True)
class PrefixGroup:
    """A prompt with one or several answers; an answer is token ids with the end token, of shape (R,).

    The first `unscored` tokens of an answer, by default none, are read and not learned: a question of its own about the
    media of the prompt. `samples` are the ids of what it was made from, for messages.
    """

    prompt: Prompt
    answers: tuple[Tensor, ...]
    unscored: tuple[int, ...] = field(default=(), kw_only=True)
    samples: tuple[str, ...] = field(default=(), kw_only=True)

    @property
    def num_tokens(self) -> int:
        """Tokens that the prefix group takes in a row."""
        return len(self.prompt.input_ids) + sum(len(answer) for answer in self.answers)

    @property
    def num_scored(self) -> int:
        """Tokens that are learned."""
        return sum(len(answer) for answer in self.answers) - sum(self.unscored)

    @property
    def num_shared(self) -> int:
        """Prompt tokens that a row for each answer would have read in addition."""
        return len(self.prompt.input_ids) * (len(self.answers) - 1)


def split_prompts(batch: Mapping[str, Tensor], requests: Sequence[Request], model: Any) -> list[Prompt]:
    """Return the single prompts of a padded batch that `encode_requests` made, with their media and the model's
    positions.
    """
    family = family_of(model)
    positions = family.positions(model, batch)
    prompts, taken = [], dict.fromkeys(family.media_inputs, (0, 0))
    for row, request in enumerate(requests):
        kept = batch["attention_mask"][row].bool()
        pixels: dict[str, Tensor] = {}
        for kind, (values, grids) in family.media_inputs.items():
            count = sum(clip.kind == kind for clip in request.media)
            if count:
                first, patch = taken[kind]
                grid = batch[grids][first : first + count]
                patches = int(grid.prod(-1).sum())
                pixels[values], pixels[grids] = batch[values][patch : patch + patches], grid
                taken[kind] = first + count, patch + patches
        ids, types = batch["input_ids"][row][kept], batch["mm_token_type_ids"][row][kept]
        prompts.append(Prompt(ids, types, positions[:, row, kept], pixels))
    return prompts


def split_answers(lengths: Sequence[int], capacity: int) -> list[range]:
    """Return the indices of answers in parts of at most `capacity` tokens each; a longer answer is a part of its own.

    >>> split_answers([3, 4, 2, 9, 1], 8)
    [range(0, 2), range(2, 3), range(3, 4), range(4, 5)]
    """
    firsts, taken = [0], 0
    for index, length in enumerate(lengths):
        if index > firsts[-1] and taken + length > capacity:
            firsts.append(index)
            taken = 0
        taken += length
    return [range(first, end) for first, end in pairwise([*firsts, len(lengths)])]


def packed_rows(prefix_groups: Sequence[PrefixGroup], max_tokens: int) -> list[list[PrefixGroup]]:
    """Return the groups packed into rows of at most `max_tokens` tokens, longest first; a longer group gets a row of
    its own.
    """
    rows: list[list[PrefixGroup]] = []
    free: list[int] = []
    for prefix_group in sorted(prefix_groups, key=lambda prefix_group: prefix_group.num_tokens, reverse=True):
        fitting = next((row for row, left in enumerate(free) if left >= prefix_group.num_tokens), None)
        if fitting is None:
            rows.append([])
            free.append(max_tokens)
            fitting = len(rows) - 1
        rows[fitting].append(prefix_group)
        free[fitting] -= prefix_group.num_tokens
    return rows
