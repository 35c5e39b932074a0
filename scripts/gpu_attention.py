"""For `make check-gpu`: attention of a packed row against all scores with a mask.

Dimensions: H heads, K key heads, N tokens of a row, D head size.
"""

import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from checking import near
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.attention.flex_attention import create_block_mask, flex_attention
from torch.nn.functional import scaled_dot_product_attention

from onethinker.training.packing.attention import packed_attention
from onethinker.training.packing.row import PrefixGroup, Prompt, pack

Attention = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Queries (1, H, N, D), keys and values (1, K, N, D) to (1, N, H, D)."""
FOREST = ((900, (64, 300, 120, 480, 200, 64, 350, 90)), (300, (500, 500, 20, 260)), (500, (400,)), (64, (128,) * 8))
"""Each prompt with its answers: tokens of a row of about 6,500."""
HEADS_2B = (16, 8, 128)
"""Heads, key heads and head size of Qwen3-VL-2B."""
TIMES = 5


def packed_in_bfloat16(
    _: Path,
    *,
    device: str = "cuda",
    forest: Sequence[tuple[int, Sequence[int]]] = FOREST,
    heads: tuple[int, int, int] = HEADS_2B,
) -> str:
    """A packed row in bfloat16, as we attend and by compiled flex attention, is as near to exact attention as all
    scores with a mask are, with its gradients.
    """
    groups = [_group(prompt, answers, device) for prompt, answers in forest]
    layout = pack(groups).inputs["layout"]
    belongs_N, answer_N = _places(groups, device)
    num_tokens = len(belongs_N)

    def seen(_batch: object, _head: object, q: Tensor, k: Tensor) -> Tensor:
        own = (answer_N[k] < 0) | (answer_N[k] == answer_N[q])
        return (q >= k) & (belongs_N[q] == belongs_N[k]) & own

    index_N = torch.arange(num_tokens, device=device)
    mask_NN = seen(None, None, index_N[:, None], index_N[None])
    blocks = create_block_mask(seen, None, None, num_tokens, num_tokens, device=device)
    flex = torch.compile(flex_attention) if device == "cuda" else _forward_only
    module = SimpleNamespace(head_dim=heads[2], num_key_value_groups=heads[0] // heads[1])
    ways: dict[str, Attention] = {
        "ours": lambda q, k, v: packed_attention(module, q, k, v, None, layout=layout)[0],
        "flex": lambda q, k, v: flex(q, k, v, block_mask=blocks, enable_gqa=True).transpose(1, 2),
        "dense": lambda q, k, v: _dense(q, k, v, mask_NN),
    }
    inputs = _random(num_tokens, heads, device)
    with sdpa_kernel(SDPBackend.MATH):
        exact = _run(ways["dense"], [each.float() for each in inputs])
    # bfloat16 has 8 bits: dense attention itself is off by a few of the last ones, at most as much is allowed here.
    bound = [2 * near(own.float(), one, 0.05) for own, one in zip(_run(ways["dense"], inputs), exact, strict=True)]
    said = []
    for name, attention in ways.items():
        found = _run(attention, inputs)
        apart = [near(own.float(), one, most) for own, one, most in zip(found, exact, bound, strict=False)]
        said.append(f"{name} apart by {max(apart):.1g}, {_milliseconds(attention, inputs, device):.1f} ms")
    return f"{num_tokens} tokens, forward and backward: {'; '.join(said)}"


def _group(prompt: int, answers: Sequence[int], device: str) -> PrefixGroup:
    words = torch.zeros(prompt, dtype=torch.long, device=device)
    positions = torch.arange(prompt, device=device).expand(3, -1)
    own = tuple(torch.zeros(length, dtype=torch.long, device=device) for length in answers)
    return PrefixGroup(Prompt(words, words, positions, {}), own)


def _places(groups: Sequence[PrefixGroup], device: str) -> tuple[Tensor, Tensor]:
    """Return of each token of a row the index of its group and of its answer, -1 in a prompt."""
    belongs, answer = list[int](), list[int]()
    for index, group in enumerate(groups):
        belongs += [index] * group.num_tokens
        answer += [-1] * len(group.prompt.input_ids)
        for own, ids in enumerate(group.answers):
            answer += [own] * len(ids)
    return torch.tensor(belongs, device=device), torch.tensor(answer, device=device)


def _random(num_tokens: int, heads: tuple[int, int, int], device: str) -> list[Tensor]:
    """Return queries, keys and values."""
    generator = torch.Generator().manual_seed(0)
    queries, keys, size = heads
    shapes = ((1, count, num_tokens, size) for count in (queries, keys, keys))
    return [torch.randn(shape, generator=generator).to(device, torch.bfloat16) for shape in shapes]


def _dense(q: Tensor, k: Tensor, v: Tensor, mask_NN: Tensor) -> Tensor:
    return scaled_dot_product_attention(q, k, v, attn_mask=mask_NN, enable_gqa=True).transpose(1, 2)


def _forward_only(*inputs: Tensor, **how: Any) -> Tensor:
    """Return flex attention as the CPU has it: without a backward pass."""
    output: Tensor = flex_attention(*(each.detach() for each in inputs), **how)
    return output


def _run(attention: Attention, inputs: Sequence[Tensor]) -> list[Tensor]:
    """Return the outputs, and the gradients of queries, keys and values where there are any."""
    taken = [each.detach().requires_grad_() for each in inputs]
    output = attention(*taken)
    if output.requires_grad:
        weights = torch.linspace(-1, 1, output.numel(), device=output.device).view_as(output).to(output.dtype)
        (output * weights).sum().backward()
    return [output.detach(), *(each.grad for each in taken if each.grad is not None)]


def _milliseconds(attention: Attention, inputs: Sequence[Tensor], device: str) -> float:
    """Return the median time of forward and backward passes; it has been called before."""
    spent = []
    for _ in range(TIMES):
        began = time.perf_counter()
        _run(attention, inputs)
        if device == "cuda":
            torch.cuda.synchronize()
        spent.append((time.perf_counter() - began) * 1000)
    return statistics.median(spent)
