"""A prompt with the answers that share it, and how such groups are dealt to rows.

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


def deal(lengths: Sequence[int], room: int) -> list[range]:
    """Return the numbers of answers in parts of at most `room` tokens each; an answer that is longer is a part of its
    own.

    >>> deal([3, 4, 2, 9, 1], 8)
    [range(0, 2), range(2, 3), range(3, 4), range(4, 5)]
    """
    firsts, taken = [0], 0
    for number, length in enumerate(lengths):
        if number > firsts[-1] and taken + length > room:
            firsts.append(number)
            taken = 0
        taken += length
    return [range(first, end) for first, end in pairwise([*firsts, len(lengths)])]


def packed_rows(prefix_groups: Sequence[PrefixGroup], max_tokens: int) -> list[list[PrefixGroup]]:
    """Return the groups dealt to rows of at most `max_tokens` tokens, longest first; a longer group gets a row of its
    own.
    """
    rows: list[list[PrefixGroup]] = []
    room: list[int] = []
    for prefix_group in sorted(prefix_groups, key=lambda prefix_group: prefix_group.num_tokens, reverse=True):
        fitting = next((n for n, free in enumerate(room) if free >= prefix_group.num_tokens), None)
        if fitting is None:
            rows.append([])
            room.append(max_tokens)
            fitting = len(rows) - 1
        rows[fitting].append(prefix_group)
        room[fitting] -= prefix_group.num_tokens
    return rows
