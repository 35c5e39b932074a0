"""A row is a forest: many prompts side by side, each with its answers, every answer seeing its own prompt and itself.

Dimensions: N tokens of a row, T prompts (trees), P tokens of a prompt, A answers, R tokens of an answer, S scored tokens, D head size.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

from onethinker.models.engine import Request

FOREST_ATTENTION = "onethinker_forest"
"""The name under which transformers knows our attention."""
TreePlaces = tuple[tuple[int, int], list[tuple[int, int]]]
"""First place and length of a tree's prompt, and those of its answers."""
LARGEST_PADDING = 1.3
"""Trees share one attention call while padding them to one length costs at most this factor."""


@dataclass(frozen=True)
class Prompt:
    """One encoded request: token ids and types (P,), M-RoPE positions (3, P), pixels and grids of its media."""

    input_ids: Tensor
    mm_token_type_ids: Tensor
    positions: Tensor
    pixels: dict[str, Tensor]


@dataclass(frozen=True)
class Tree:
    """A prompt with one (SFT) or several (RL) answers; an answer is token ids with the end token, of shape (R,)."""

    prompt: Prompt
    answers: tuple[Tensor, ...]

    @property
    def num_tokens(self) -> int:
        """Tokens that the tree takes in a row."""
        return len(self.prompt.input_ids) + sum(len(answer) for answer in self.answers)


@dataclass(frozen=True)
class AttentionGroup:
    """Trees that share two attention calls: their prompts padded to one length, their answers padded to another.

    `prompt_TP` and `answer_AR` hold places in the row (padding points at place 0), `tree_A` the tree of each answer,
    `mask_ARK` what an answer token may see of its padded prompt followed by its padded answer.
    """

    prompt_TP: Tensor
    answer_AR: Tensor
    tree_A: Tensor
    mask_ARK: Tensor


@dataclass(frozen=True)
class Layout:
    """Where everything of a row is: the groups for attention, and for each place its place in the groups' joined output."""

    groups: tuple[AttentionGroup, ...]
    gather_N: Tensor


@dataclass(frozen=True)
class Row:
    """Everything for one forward pass over a forest.

    `scored_S` are the places whose logits predict the answer tokens `targets_S`, answer after answer; `answer_S`
    numbers the answer of each scored token, in the order of the trees. `inputs` go to the model as they are.
    """

    inputs: dict[str, Any]
    scored_S: Tensor
    targets_S: Tensor
    answer_S: Tensor
    num_answers: int


def split_prompts(batch: Mapping[str, Tensor], requests: Sequence[Request], model: Any) -> list[Prompt]:
    """Return the single prompts of a padded batch that `encode_requests` made, with their media and the model's positions."""
    grids = {name: batch[name] for name in ("image_grid_thw", "video_grid_thw") if name in batch}
    positions, _ = model.model.get_rope_index(
        batch["input_ids"], batch["mm_token_type_ids"], attention_mask=batch["attention_mask"], **grids
    )
    prompts, places = [], {"image": [0, 0], "video": [0, 0]}
    for row, request in enumerate(requests):
        kept = batch["attention_mask"][row].bool()
        pixels: dict[str, Tensor] = {}
        for kind, values, grid_name in (("image", "pixel_values", "image_grid_thw"), ("video", "pixel_values_videos", "video_grid_thw")):
            count = sum(clip.kind == kind for clip in request.media)
            if count:
                first, patch = places[kind]
                grid = batch[grid_name][first : first + count]
                patches = int(grid.prod(-1).sum())
                pixels[values], pixels[grid_name] = batch[values][patch : patch + patches], grid
                places[kind] = [first + count, patch + patches]
        prompts.append(Prompt(batch["input_ids"][row][kept], batch["mm_token_type_ids"][row][kept], positions[:, row, kept], pixels))
    return prompts


def use_forest_attention(model: Any) -> None:
    """Let the language model read packed rows; without a layout it attends as before. The weights are untouched."""
    model.config.text_config._attn_implementation = FOREST_ATTENTION


def pack(trees: Sequence[Tree]) -> Row:
    """Return the row that holds these trees, on the device of their tensors.

    M-RoPE positions are the model's own for the prompt; every answer continues at the largest of them plus one, on all
    three axes. Raises: ValueError: for no tree at all.
    """
    if not trees:
        raise ValueError("a row needs at least one tree")
    ids, types, positions, scored, targets, owner = [], [], [], [], [], []
    spans: list[TreePlaces] = []
    place = num_answers = 0
    for tree in trees:
        length = len(tree.prompt.input_ids)
        after = int(tree.prompt.positions.max()) + 1
        ids.append(tree.prompt.input_ids)
        types.append(tree.prompt.mm_token_type_ids)
        positions.append(tree.prompt.positions)
        last, start, answers = place + length - 1, place + length, []
        for answer in tree.answers:
            steps = torch.arange(len(answer), device=answer.device)
            ids.append(answer)
            types.append(torch.zeros_like(answer))
            positions.append((steps + after).expand(3, -1))
            scored.append(torch.where(steps == 0, last, start + steps - 1))
            targets.append(answer)
            owner.append(torch.full_like(answer, num_answers))
            answers.append((start, len(answer)))
            start += len(answer)
            num_answers += 1
        spans.append(((place, length), answers))
        place = start
    inputs = {
        "input_ids": torch.cat(ids)[None],
        "mm_token_type_ids": torch.cat(types)[None],
        "position_ids": torch.cat(positions, 1)[:, None],
        "forest": _layout(spans, place, ids[0].device),
        "use_cache": False,
    }
    for name in ("pixel_values", "image_grid_thw", "pixel_values_videos", "video_grid_thw"):
        parts = [tree.prompt.pixels[name] for tree in trees if name in tree.prompt.pixels]
        if parts:
            inputs[name] = torch.cat(parts)
    return Row(inputs, torch.cat(scored), torch.cat(targets), torch.cat(owner), num_answers)


def rows_of(trees: Sequence[Tree], max_tokens: int) -> list[list[Tree]]:
    """Return the trees dealt to rows of at most `max_tokens` tokens, longest first; a longer tree gets a row of its own."""
    rows: list[list[Tree]] = []
    room: list[int] = []
    for tree in sorted(trees, key=lambda tree: tree.num_tokens, reverse=True):
        fitting = next((n for n, free in enumerate(room) if free >= tree.num_tokens), None)
        if fitting is None:
            rows.append([])
            room.append(max_tokens)
            fitting = len(rows) - 1
        rows[fitting].append(tree)
        room[fitting] -= tree.num_tokens
    return rows


def _layout(spans: list[TreePlaces], num_tokens: int, device: torch.device) -> Layout:
    groups, gather, offset = [], torch.zeros(num_tokens, dtype=torch.long), 0
    for members in _similar(spans):
        prompts, answers = [prompt for prompt, _ in members], [answer for _, several in members for answer in several]
        prompt_TP, answer_AR = _places(prompts), _places(answers)
        tree_A = torch.tensor([n for n, (_, several) in enumerate(members) for _ in several], dtype=torch.long)
        for padded in (prompt_TP, answer_AR):
            gather[padded.reshape(-1)[padded.reshape(-1) >= 0]] = offset + torch.nonzero(padded.reshape(-1) >= 0)[:, 0]
            offset += padded.numel()
        seen_AK = torch.cat([prompt_TP[tree_A] >= 0, answer_AR >= 0], 1)
        causal_RK = torch.ones(answer_AR.shape[1], seen_AK.shape[1], dtype=torch.bool).tril(prompt_TP.shape[1])
        mask_ARK = seen_AK[:, None, :] & causal_RK
        groups.append(AttentionGroup(*(t.to(device) for t in (prompt_TP.clamp(min=0), answer_AR.clamp(min=0), tree_A, mask_ARK))))
    return Layout(tuple(groups), gather.to(device))


def _similar(spans: list[TreePlaces]) -> list[list[TreePlaces]]:
    """Return the trees in groups whose prompts, padded to one length, take little more room than they need."""
    groups: list[list[TreePlaces]] = []
    for span in sorted(spans, key=lambda span: span[0][1]):
        padded = (len(groups[-1]) + 1) * span[0][1] if groups else 0
        if groups and padded <= LARGEST_PADDING * (span[0][1] + sum(member[0][1] for member in groups[-1])):
            groups[-1].append(span)
        else:
            groups.append([span])
    return groups


def _places(runs: list[tuple[int, int]]) -> Tensor:
    """Return the places of each run as a padded row of numbers; −1 is padding."""
    width = max((length for _, length in runs), default=0)
    steps = torch.arange(width)
    starts, lengths = torch.tensor(runs, dtype=torch.long).reshape(-1, 2).T
    return torch.where(steps < lengths[:, None], starts[:, None] + steps, -1)


def forest_attention(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    scaling: float | None = None,
    forest: Layout | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """Return the attention output (1, N, heads, D) of a packed row; without a layout this is transformers' own sdpa.

    Prompts are one causal call without a mask. Answers are one call in which each sees its prompt's keys followed by its
    own; memory grows with answer tokens times what they see, never with the square of a prompt.
    """
    if forest is None:
        output: Tensor = sdpa_attention_forward(module, query, key, value, attention_mask, scaling=scaling, **kwargs)[0]
        return output, None
    repeats = module.num_key_value_groups
    q, k, v = (states[0].transpose(0, 1) for states in (query, key, value))
    outputs = []
    for group in forest.groups:
        q_p, k_p, v_p = (states[group.prompt_TP] for states in (q, k, v))
        outputs.append(_attend(q_p, k_p, v_p, scaling=scaling, repeats=repeats, mask=None))
        if group.answer_AR.numel():
            keys, values = (torch.cat([prompt[group.tree_A], states[group.answer_AR]], 1) for prompt, states in ((k_p, k), (v_p, v)))
            outputs.append(_attend(q[group.answer_AR], keys, values, scaling=scaling, repeats=repeats, mask=group.mask_ARK[:, None]))
    return torch.cat(outputs)[forest.gather_N][None], None


def _attend(q: Tensor, k: Tensor, v: Tensor, *, scaling: float | None, repeats: int, mask: Tensor | None) -> Tensor:
    """Return attention over (batch, tokens, heads, D) as (batch · tokens, heads, D); causal when there is no mask."""
    k, v = (states.transpose(1, 2).repeat_interleave(repeats, 1) for states in (k, v))
    out = scaled_dot_product_attention(q.transpose(1, 2), k, v, attn_mask=mask, is_causal=mask is None, scale=scaling)
    return out.transpose(1, 2).flatten(0, 1)


AttentionInterface.register(FOREST_ATTENTION, forest_attention)
AttentionMaskInterface.register(FOREST_ATTENTION, sdpa_mask)
