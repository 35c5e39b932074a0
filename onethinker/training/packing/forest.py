"""A row is a forest: many prompts side by side, each with its answers, every answer seeing its own prompt and itself.

Dimensions: N tokens of a row, P tokens of a prompt, A answers, R tokens of an answer, M tokens of all answers of a
tree, B runs in one call, L tokens of a run, S scored tokens, H heads, D head size.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from types import MethodType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention.bias import causal_lower_right
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

from onethinker.core.errors import ConfigError
from onethinker.core.request import Request
from onethinker.training.packing.decoding import GroupCache

FOREST_ATTENTION = "onethinker_forest"
"""The name under which transformers knows our attention."""
PROVEN_FAMILIES = frozenset(f"transformers.models.{name}.modeling_{name}" for name in ("qwen3_vl", "qwen3_vl_moe"))
"""Where the layers are defined for which tests show that a packed row gives what each sample by itself gives."""
LARGEST_PADDING = 1.3
"""Runs of tokens share one attention call while padding them to one length costs at most this factor."""


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
class Tree:
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
        """Tokens that the tree takes in a row."""
        return len(self.prompt.input_ids) + sum(len(answer) for answer in self.answers)

    @property
    def num_scored(self) -> int:
        """Tokens that are learned."""
        return sum(len(answer) for answer in self.answers) - sum(self.unscored)


@dataclass(frozen=True)
class Branches:
    """The answers of one tree: its prompt starts at place `start` of the row, and its answers follow without gaps.

    Each of `groups` holds answers of similar length, (A, R): numbers of tokens, counted from the first answer's first;
    M is padding.
    """

    start: int
    prompt_length: int
    num_tokens: int
    groups: tuple[Tensor, ...]


@dataclass(frozen=True)
class Layout:
    """Where everything of a row is.

    Each of `stems` holds places of runs of similar length that see nothing but themselves, (B, L), with N as padding:
    prompts, and prompts with their only answer. `gather_N` gives for each place its own in the outputs of stems and
    branches, joined.
    """

    stems: tuple[Tensor, ...]
    branches: tuple[Branches, ...]
    gather_N: Tensor


@dataclass(frozen=True)
class Row:
    """Everything for one forward pass over a forest.

    `scored_S` are the places whose logits predict the learned tokens of the answers, `targets_S`, answer after answer;
    `answer_S` numbers the answer of each scored token, in the order of the trees. `inputs` go to the model as they are.
    """

    inputs: dict[str, Any]
    scored_S: Tensor
    targets_S: Tensor
    answer_S: Tensor
    num_answers: int


def split_prompts(batch: Mapping[str, Tensor], requests: Sequence[Request], model: Any) -> list[Prompt]:
    """Return the single prompts of a padded batch that `encode_requests` made, with their media and the model's
    positions.
    """
    grids = {name: batch[name] for name in ("image_grid_thw", "video_grid_thw") if name in batch}
    positions, _ = model.model.get_rope_index(
        batch["input_ids"], batch["mm_token_type_ids"], attention_mask=batch["attention_mask"], **grids
    )
    prompts, places = [], {"image": [0, 0], "video": [0, 0]}
    for row, request in enumerate(requests):
        kept = batch["attention_mask"][row].bool()
        pixels: dict[str, Tensor] = {}
        for kind, values, grid_name in (
            ("image", "pixel_values", "image_grid_thw"),
            ("video", "pixel_values_videos", "video_grid_thw"),
        ):
            count = sum(clip.kind == kind for clip in request.media)
            if count:
                first, patch = places[kind]
                grid = batch[grid_name][first : first + count]
                patches = int(grid.prod(-1).sum())
                pixels[values], pixels[grid_name] = batch[values][patch : patch + patches], grid
                places[kind] = [first + count, patch + patches]
        prompts.append(
            Prompt(
                batch["input_ids"][row][kept], batch["mm_token_type_ids"][row][kept], positions[:, row, kept], pixels
            )
        )
    return prompts


def check_packing(model: Any) -> None:
    """Do nothing where packed rows are proven to be exact for every layer of the language model.

    Gated delta nets, state spaces and convolutions read on from one sample into the next, and windows and chunks of
    attention would be counted over a whole row; nothing would say so.

    Raises: ConfigError: there are layers of another kind; it names them.
    """
    network = getattr(model, "model", model)
    language = getattr(network, "language_model", network)
    kinds = getattr(language.config, "layer_types", None) or ()
    strange = [f"layer {number}: {kind}" for number, kind in enumerate(kinds) if kind != "full_attention"]
    unproven: dict[str, list[str]] = {}
    for name, module in (("model", model), *language.named_modules(prefix="language_model")):
        if not _is_proven(module):
            unproven.setdefault(type(module).__name__, []).append(name)
    strange += [
        f"{kind} ({places[0]}{f' and {len(places) - 1} more' if places[1:] else ''})"
        for kind, places in unproven.items()
    ]
    if strange:
        raise ConfigError(
            f"{type(model).__name__}: training packs samples side by side, which is proven to be exact for Qwen3-VL"
            " models only. This one has layers of other kinds, which may read on from one sample into the next:"
            f" {', '.join(strange)}. Train a Qwen3-VL model; `onethinker ask` and `evaluate` pack nothing"
        )


def _is_proven(module: nn.Module) -> bool:
    """Return whether a layer takes each token by itself, or is of a family that is proven."""
    if isinstance(module, nn.Linear | nn.Embedding | nn.ModuleList | nn.Dropout):
        return True
    where = type(module).__module__
    return where in PROVEN_FAMILIES or where in ("torch.nn.modules.activation", "transformers.activations")


def use_forest_attention(model: Any) -> None:
    """Let the language model read packed rows; without a layout it attends as before. The weights are untouched.

    The vision tower also takes its patches in by one matrix product, which the convolution over patches that do not
    overlap is, and many times slower.
    """
    model.config.text_config._attn_implementation = FOREST_ATTENTION
    for module in model.model.visual.patch_embed.modules():
        if isinstance(module, nn.Conv3d):
            assert module.kernel_size == module.stride, "patches overlap"
            setattr(module, "forward", MethodType(_whole_patches, module))  # noqa: B010 (a method to mypy)


def _whole_patches(convolution: nn.Conv3d, patches: Tensor) -> Tensor:
    """Return what a convolution gives for patches of its kernel's size, (patches, features)."""
    return nn.functional.linear(patches.flatten(1), convolution.weight.flatten(1), convolution.bias)


def pack(trees: Sequence[Tree]) -> Row:
    """Return the row that holds these trees, on the device of their tensors.

    M-RoPE positions are the model's own for the prompt; every answer continues at the largest of them plus one, on all
    three axes. Raises: ValueError: for no tree at all.
    """
    if not trees:
        raise ValueError("a row needs at least one tree")
    ids, types, positions, scored, targets, owner = [], [], [], [], [], []
    spans: list[tuple[int, int, list[int]]] = []
    place = num_answers = 0
    for tree in trees:
        length = len(tree.prompt.input_ids)
        after = int(tree.prompt.positions.max()) + 1
        ids.append(tree.prompt.input_ids)
        types.append(tree.prompt.mm_token_type_ids)
        positions.append(tree.prompt.positions)
        last, start = place + length - 1, place + length
        for answer, question in zip(tree.answers, tree.unscored or (0,) * len(tree.answers), strict=True):
            steps = torch.arange(len(answer), device=answer.device)
            ids.append(answer)
            types.append(torch.zeros_like(answer))
            positions.append((steps + after).expand(3, -1))
            scored.append(torch.where(steps == 0, last, start + steps - 1)[question:])
            targets.append(answer[question:])
            owner.append(torch.full_like(targets[-1], num_answers))
            start += len(answer)
            num_answers += 1
        spans.append((place, length, [len(answer) for answer in tree.answers]))
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


def rows_of(trees: Sequence[Tree], max_tokens: int) -> list[list[Tree]]:
    """Return the trees dealt to rows of at most `max_tokens` tokens, longest first; a longer tree gets a row of its
    own.
    """
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


def _layout(spans: list[tuple[int, int, list[int]]], num_tokens: int, device: torch.device) -> Layout:
    """Return the layout of trees given as first place, length of the prompt and lengths of the answers."""
    runs, branches = [], []
    for place, length, answers in spans:
        if len(answers) == 1:
            runs.append((place, length + answers[0]))
            continue
        runs.append((place, length))
        if answers:
            starts = torch.tensor([0, *answers]).cumsum(0).tolist()
            groups = tuple(
                group.to(device) for group in _padded(list(zip(starts[:-1], answers, strict=True)), starts[-1])
            )
            branches.append(Branches(place, length, starts[-1], groups))
    stems = list(_padded(runs, num_tokens))
    after = [torch.arange(tree.num_tokens) + tree.start + tree.prompt_length for tree in branches]
    gather_N = torch.empty(num_tokens + 1, dtype=torch.long)
    joined = torch.cat([*(stem.reshape(-1) for stem in stems), *after])
    gather_N[joined] = torch.arange(len(joined))
    return Layout(tuple(stem.to(device) for stem in stems), tuple(branches), gather_N[:num_tokens].to(device))


def _padded(runs: list[tuple[int, int]], padding: int) -> Iterator[Tensor]:
    """Yield runs of places, given as start and length, in groups that padding to one length makes little larger."""
    group: list[tuple[int, int]] = []
    for run in sorted(runs, key=lambda run: run[1]):
        if group and (len(group) + 1) * run[1] > LARGEST_PADDING * (run[1] + sum(length for _, length in group)):
            yield _places(group, padding)
            group = []
        group.append(run)
    if group:
        yield _places(group, padding)


def _places(runs: list[tuple[int, int]], padding: int) -> Tensor:
    steps = torch.arange(max(length for _, length in runs))
    starts, lengths = torch.tensor(runs).T
    return torch.where(steps < lengths[:, None], starts[:, None] + steps, padding)


def forest_attention(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    scaling: float | None = None,
    forest: Layout | None = None,
    decoding: GroupCache | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """Return the attention output (1, N, heads, D) of a packed row, or (B, 1, heads, D) of the next token of answers
    under way.

    Without a layout or a cache of groups this is transformers' own sdpa.

    Stems are causal calls without a mask. The answers of a tree look at its prompt and at themselves; nothing has the
    size of a prompt's square.
    """
    scale = module.head_dim**-0.5 if scaling is None else scaling
    if decoding is not None:
        return decoding.attend(module.layer_idx, query, key, value, scale), None
    if forest is None:
        output: Tensor = sdpa_attention_forward(module, query, key, value, attention_mask, scaling=scaling, **kwargs)[0]
        return output, None
    repeats = module.num_key_value_groups
    # Under autocast the norms of queries and keys leave float32 behind; attention wants one kind.
    query, key = query.to(value.dtype), key.to(value.dtype)
    # The row of zeros at the end is what padding points at; causal attention never sees it from a token that counts.
    q, k, v = (
        nn.functional.pad(states[0].transpose(0, 1), (0, 0, 0, 0, 0, 1))
        for states in (query, key.repeat_interleave(repeats, 1), value.repeat_interleave(repeats, 1))
    )
    outputs = []
    for stem in forest.stems:
        q_stem, k_stem, v_stem = (states[stem].transpose(1, 2) for states in (q, k, v))
        outputs.append(
            scaled_dot_product_attention(q_stem, k_stem, v_stem, is_causal=True, scale=scale)
            .transpose(1, 2)
            .flatten(0, 1)
        )
    branches = _merged_branches if query.device.type == "cpu" else joined_branches
    for tree in forest.branches:
        first = tree.start + tree.prompt_length
        prompt, answers = slice(tree.start, first), slice(first, first + tree.num_tokens)
        outputs.append(branches(q[answers], k[answers], v[answers], k[prompt], v[prompt], scale, tree.groups))
    return torch.cat(outputs)[forest.gather_N][None], None


def joined_branches(
    q: Tensor, k: Tensor, v: Tensor, prompt_k: Tensor, prompt_v: Tensor, scale: float, groups: tuple[Tensor, ...]
) -> Tensor:
    """Return the attention of a tree's answers (M, H, D), each over its prompt joined by itself: a copy of the prompt
    for each answer.
    """
    outputs = torch.empty_like(torch.cat([q, q[:1]]))
    q, k, v = (nn.functional.pad(states, (0, 0, 0, 0, 0, 1)) for states in (q, k, v))
    for group_AR in groups:
        keys, values = (
            torch.cat([prompt.expand(len(group_AR), *prompt.shape), states[group_AR]], 1).transpose(1, 2)
            for prompt, states in ((prompt_k, k), (prompt_v, v))
        )
        queries = q[group_AR].transpose(1, 2)
        seen = causal_lower_right(queries.shape[2], keys.shape[2])
        output = scaled_dot_product_attention(queries, keys, values, attn_mask=seen, scale=scale)
        outputs = outputs.index_put((group_AR,), output.transpose(1, 2))
    return outputs[:-1]


def _merged_branches(
    q: Tensor, k: Tensor, v: Tensor, prompt_k: Tensor, prompt_v: Tensor, scale: float, groups: tuple[Tensor, ...]
) -> Tensor:
    output: Tensor = _MergedBranches.apply(q, k, v, prompt_k, prompt_v, scale, *groups)
    return output


class _MergedBranches(torch.autograd.Function):
    """What `joined_branches` gives, on CPU: all answers look at the one prompt in a single call, each at itself in
    another.

    The two outputs are averaged with the softmax sums of the two calls as weights, which is exact. In backward each
    call gets the merged output and sum, with which its own formula is that of the whole. Source: ring attention, arXiv
    2310.01889.
    """

    @staticmethod
    def forward(
        ctx: Any, q: Tensor, k: Tensor, v: Tensor, prompt_k: Tensor, prompt_v: Tensor, scale: float, *groups: Tensor
    ) -> Tensor:
        flash = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
        output, norm = flash(*map(_heads_first, (q, prompt_k, prompt_v)), scale=scale)
        output_MHD, norm_MH = output[0].transpose(0, 1).float(), norm[0].T
        own_MHD, own_norm_MH = (torch.cat([states, states[:1]]) for states in (output_MHD, norm_MH))
        padded = [nn.functional.pad(states, (0, 0, 0, 0, 0, 1)) for states in (q, k, v)]
        for group_AR in groups:
            output, norm = flash(*(states[group_AR].transpose(1, 2) for states in padded), is_causal=True, scale=scale)
            own_MHD[group_AR], own_norm_MH[group_AR] = output.transpose(1, 2).float(), norm.transpose(1, 2)
        total_MH = torch.logaddexp(norm_MH, own_norm_MH[:-1])
        shares = [(part - total_MH).exp()[..., None] for part in (norm_MH, own_norm_MH[:-1])]
        merged_MHD: Tensor = (output_MHD * shares[0] + own_MHD[:-1] * shares[1]).to(q.dtype)
        ctx.save_for_backward(q, k, v, prompt_k, prompt_v, merged_MHD, total_MH, *groups)
        ctx.scale = scale
        return merged_MHD

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        q, k, v, prompt_k, prompt_v, merged_MHD, total_MH, *groups = ctx.saved_tensors
        flash = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward
        states = [*map(_heads_first, (gradients[0], q, prompt_k, prompt_v, merged_MHD)), total_MH.T[None].contiguous()]
        q_gradient, *prompt_gradients = (
            part[0].transpose(0, 1) for part in flash(*states, 0.0, False, scale=ctx.scale)
        )
        sums = [
            nn.functional.pad(q_gradient, (0, 0, 0, 0, 0, 1)),
            *(part.new_zeros(len(q) + 1, *part.shape[1:]) for part in prompt_gradients),
        ]
        padded = [nn.functional.pad(part, (0, 0, 0, 0, 0, 1)) for part in (gradients[0], q, k, v, merged_MHD)]
        padded_norm = nn.functional.pad(total_MH, (0, 0, 0, 1))
        for group_AR in groups:
            states = [
                *(part[group_AR].transpose(1, 2) for part in padded),
                padded_norm[group_AR].transpose(1, 2).contiguous(),
            ]
            for total, part in zip(sums, flash(*states, 0.0, True, scale=ctx.scale), strict=True):
                total[group_AR] += part.transpose(1, 2)
        return (*(total[:-1] for total in sums), *prompt_gradients, None, *(None for _ in groups))


def _heads_first(states_LHD: Tensor) -> Tensor:
    return states_LHD.transpose(0, 1)[None]


AttentionInterface.register(FOREST_ATTENTION, forest_attention)
AttentionMaskInterface.register(FOREST_ATTENTION, sdpa_mask)
