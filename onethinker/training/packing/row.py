"""A packed row: prompts side by side, each with its answers, every answer seeing its own prompt and itself.

Dimensions: P tokens of a prompt, N tokens of a row, A answers, R tokens of an answer, M tokens of all answers of a
group, B runs in one call, L tokens of a run, S scored tokens.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from onethinker.core.request import Request
from onethinker.families.processing import position_ids
from onethinker.families.registry import family_of

LARGEST_PADDING = 1.3
"""Runs of tokens share one attention call while padding them to one length costs at most this factor."""
SHARE_SLACK = 1.05
"""A group may be so much longer than a process's share before it is cut, and its prompt read twice."""


@dataclass(frozen=True)
class Prompt:
    """One encoded request: token ids and types (P,), positions (axes, P), pixels and grids of its media."""

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
    media of the prompt. `learned` are parts of the prompt that are learned too: earlier answers of a conversation.
    `samples` are the ids of what it was made from, for messages.
    """

    prompt: Prompt
    answers: tuple[Tensor, ...]
    unscored: tuple[int, ...] = field(default=(), kw_only=True)
    learned: tuple[range, ...] = field(default=(), kw_only=True)
    samples: tuple[str, ...] = field(default=(), kw_only=True)

    @property
    def num_tokens(self) -> int:
        """Tokens that the prefix group takes in a row."""
        return len(self.prompt.input_ids) + sum(len(answer) for answer in self.answers)

    @property
    def num_scored(self) -> int:
        """Tokens that are learned."""
        return sum(map(len, self.answers)) - sum(self.unscored) + sum(map(len, self.learned))

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
    prompts = []
    for row, pixels in enumerate(family.split_media(batch, requests)):
        kept = batch["attention_mask"][row].bool()
        ids, types = batch["input_ids"][row][kept], batch["mm_token_type_ids"][row][kept]
        prompts.append(Prompt(ids, types, positions[:, row, kept], pixels))
    return prompts


def joined_pixels(prompts: Sequence[Prompt]) -> dict[str, Tensor]:
    """Return pixels and grids of all prompts by the names of the model's inputs; {} where none shows anything."""
    names = dict.fromkeys(name for prompt in prompts for name in prompt.pixels)
    return {name: torch.cat([prompt.pixels[name] for prompt in prompts if name in prompt.pixels]) for name in names}


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


def split_group(prompt: int, answers: Sequence[int], *, max_tokens: int, share: float) -> list[range]:
    """Return the indices of a group's answers in parts that, each with the prompt, have at most `max_tokens` tokens,
    and about a process's `share` of an update's.

    A part is not closed before its answers have about as many tokens as the prompt, which each part reads again.

    >>> split_group(10, [30, 30, 30, 30], max_tokens=1000, share=80.0)
    [range(0, 2), range(2, 4)]
    >>> split_group(60, [30, 30, 30, 30], max_tokens=1000, share=80.0)
    [range(0, 2), range(2, 4)]
    """
    return split_answers(answers, int(min(max_tokens - prompt, max(SHARE_SLACK * share - prompt, prompt))))


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


@dataclass(frozen=True)
class Branches:
    """The answers of one group: its prompt starts at position `start` of the row, and its answers follow without gaps.

    Each of `groups` holds answers of similar length, (A, R): indices of tokens, counted from the first answer's first;
    M is padding.
    """

    start: int
    prompt_length: int
    num_tokens: int
    groups: tuple[Tensor, ...]


@dataclass(frozen=True)
class Layout:
    """Where each part of a row is.

    Each of `stems` holds positions of runs of similar length that see nothing but themselves, (B, L), with N as
    padding: prompts, and prompts with their only answer. `prompts` says of each of `branches` which of `stems`, and
    which run of it, is its prompt. `gather_N` is where each token of the row stands in the
    outputs of stems and branches, joined.
    """

    stems: tuple[Tensor, ...]
    branches: tuple[Branches, ...]
    prompts: tuple[tuple[int, int], ...]
    gather_N: Tensor


@dataclass(frozen=True)
class PackedRow:
    """Everything for one forward pass over a packed row.

    `scored_S` are the positions whose logits predict `targets_S`, the learned tokens of the answers, answer after
    answer; `answer_S` is the index of the answer of each scored token, in the order of groups. `inputs` go to the model
    as they are.
    """

    inputs: dict[str, Any]
    scored_S: Tensor
    targets_S: Tensor
    answer_S: Tensor
    num_answers: int


def pack(prefix_groups: Sequence[PrefixGroup]) -> PackedRow:
    """Return the row that holds these groups, on the device of their tensors.

    Positions are the model's own for the prompt; every answer continues at the largest of
    them plus one, on all axes. Raises: ValueError: for no group at all.
    """
    if not prefix_groups:
        raise ValueError("a row needs at least one prefix group")
    ids, types, positions = list[Tensor](), list[Tensor](), list[Tensor]()
    scored: list[tuple[Tensor, Tensor, Tensor]] = []
    spans: list[tuple[int, int, list[int]]] = []
    start = num_answers = 0
    for prefix_group in prefix_groups:
        prompt, answers = prefix_group.prompt, prefix_group.answers
        ids += [prompt.input_ids, *answers]
        types += [prompt.mm_token_type_ids, *map(torch.zeros_like, answers)]
        positions += [prompt.positions, *_positions(prefix_group)]
        scored += _scored(prefix_group, start, num_answers)
        spans.append((start, len(prompt.input_ids), [len(answer) for answer in answers]))
        start += prefix_group.num_tokens
        num_answers += len(answers)
    inputs = {
        "input_ids": torch.cat(ids)[None],
        "mm_token_type_ids": torch.cat(types)[None],
        **_placed(torch.cat(positions, 1)[:, None]),
        "layout": _layout(spans, start, ids[0].device),
        "use_cache": False,
    }
    inputs |= joined_pixels([prefix_group.prompt for prefix_group in prefix_groups])
    scored_S, targets_S, answer_S = (torch.cat(parts) for parts in zip(*scored, strict=True))
    return PackedRow(inputs, scored_S, targets_S, answer_S, num_answers)


def _placed(positions: Tensor) -> dict[str, Tensor]:
    """Return the positions of a row (axes, 1, N) as a model takes them.

    Where positions of one axis begin anew transformers makes a mask of N x N, which our attention does not need: not so
    where it is given any.
    """
    masks = {} if len(positions) > 1 else {"attention_mask": positions.new_ones(1, 1, 1, 1)}
    return {"position_ids": position_ids(positions), **masks}


def _positions(prefix_group: PrefixGroup) -> Iterator[Tensor]:
    """Yield the positions (axes, R) of each answer: it goes on from the largest of its prompt, on all axes."""
    prompt = prefix_group.prompt.positions
    after = int(prompt.max()) + 1
    for answer in prefix_group.answers:
        yield (torch.arange(len(answer), device=answer.device) + after).expand(len(prompt), -1)


def _scored(prefix_group: PrefixGroup, start: int, first_answer: int) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Yield each part that is learned of a prefix group that begins at `start`: the positions that predict it, its
    tokens, and for each the index of its answer; parts of the prompt count to the first one.
    """
    ids = prefix_group.prompt.input_ids
    for part in prefix_group.learned:
        before = torch.arange(part.start - 1, part.stop - 1, device=ids.device)
        targets = ids[part.start : part.stop]
        yield before + start, targets, torch.full_like(targets, first_answer)
    after = start + len(ids)
    last = after - 1
    questions = prefix_group.unscored or (0,) * len(prefix_group.answers)
    for index, (answer, question) in enumerate(zip(prefix_group.answers, questions, strict=True), first_answer):
        steps = torch.arange(len(answer), device=answer.device)
        targets = answer[question:]
        yield torch.where(steps == 0, last, after + steps - 1)[question:], targets, torch.full_like(targets, index)
        after += len(answer)


def _layout(spans: list[tuple[int, int, list[int]]], num_tokens: int, device: torch.device) -> Layout:
    """Return the layout of prefix groups given as first position, length of the prompt and lengths of the answers."""
    runs, branches = [], []
    for position, length, answers in spans:
        if len(answers) == 1:
            runs.append((position, length + answers[0]))
            continue
        runs.append((position, length))
        if answers:
            starts = torch.tensor([0, *answers]).cumsum(0).tolist()
            groups = tuple(
                group.to(device) for group in _padded(list(zip(starts[:-1], answers, strict=True)), starts[-1])
            )
            branches.append(Branches(position, length, starts[-1], groups))
    stems = list(_padded(runs, num_tokens))
    after = [
        torch.arange(prefix_group.num_tokens) + prefix_group.start + prefix_group.prompt_length
        for prefix_group in branches
    ]
    gather_N = torch.empty(num_tokens + 1, dtype=torch.long)
    joined = torch.cat([*(stem.reshape(-1) for stem in stems), *after])
    gather_N[joined] = torch.arange(len(joined))
    firsts = {int(first): (index, run) for index, stem in enumerate(stems) for run, first in enumerate(stem[:, 0])}
    prompts = tuple(firsts[each.start] for each in branches)
    on_device = tuple(stem.to(device) for stem in stems)
    return Layout(on_device, tuple(branches), prompts, gather_N[:num_tokens].to(device))


def _padded(runs: list[tuple[int, int]], padding: int) -> Iterator[Tensor]:
    """Yield runs of indices, given as start and length, in groups that padding to one length makes little larger."""
    group: list[tuple[int, int]] = []
    for run in sorted(runs, key=lambda run: run[1]):
        if group and (len(group) + 1) * run[1] > LARGEST_PADDING * (run[1] + sum(length for _, length in group)):
            yield _indices(group, padding)
            group = []
        group.append(run)
    if group:
        yield _indices(group, padding)


def _indices(runs: list[tuple[int, int]], padding: int) -> Tensor:
    steps = torch.arange(max(length for _, length in runs))
    starts, lengths = torch.tensor(runs).T
    return torch.where(steps < lengths[:, None], starts[:, None] + steps, padding)
