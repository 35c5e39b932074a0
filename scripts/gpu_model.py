"""For `make check-gpu`: a random model of the shape of Qwen3-VL-2B: which attention it calls, how fast it samples and
learns by the loop of `onethinker rl`, and what memory that takes.
"""

import copy
import json
import statistics
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from checking import left_s, need
from torch.profiler import ProfilerActivity, profile, record_function
from transformers import Qwen3VLConfig, Qwen3VLForConditionalGeneration

from onethinker.data.synthetic import make_sample
from onethinker.families.folder import ModelSettings, save_model
from onethinker.families.tiny import TINY_TEMPLATE, build_tiny_processor
from onethinker.inference.encode import build_request, encode_requests
from onethinker.media.budget import MediaBudget
from onethinker.rl.loop import train_rl
from onethinker.training.config import RlRecipe
from onethinker.training.packing.attention import use_packed_attention
from onethinker.training.packing.row import PrefixGroup, Prompt, pack, split_prompts
from onethinker.training.scoring import score

SHAPE_2B: dict[str, Any] = json.loads(
    (Path(__file__).parents[1] / "tests/training/configs/qwen3_vl_2b.json").read_text("utf-8")
)
TOKENS = {
    "image_token_id": "<|image_pad|>",
    "video_token_id": "<|video_pad|>",
    "vision_start_token_id": "<|vision_start|>",
}
BUDGET = MediaBudget(max_frames=8, image_min_pixels=448 * 448, frame_min_pixels=224 * 224)
"""196 visual tokens a picture."""
ATTENTION, PART = "aten::_scaled_dot_product_", "a part of the model"
"""How the profiler names implementations of attention, and what is called here."""
DIRECT = "aten::_efficient_attention_forward"
"""What torch calls by itself where answers see their prompt and flash attention cannot be had."""
SPEED = {"groups": 16, "group_size": 8, "max_new_tokens": 256}
STEPS = 5
"""The first of which sets things up, and is not counted."""
FLAT = 0.01
"""What is held after a step may differ by this share of it."""


class _EnoughError(Exception):
    """The steps are done, and nothing is to be saved."""


def random_model(shape: dict[str, Any], device: str, *, layers: int | None = None) -> tuple[Any, Any]:
    """Return a random model of this shape in bfloat16 with a processor of a small vocabulary; with so many layers, of
    vision too, where it is not to have all.
    """
    processor, shape = build_tiny_processor(), copy.deepcopy(shape)
    for name, token in TOKENS.items():
        shape[name] = processor.tokenizer.convert_tokens_to_ids(token)
    if layers is not None:
        shape["text_config"]["num_hidden_layers"] = shape["vision_config"]["depth"] = layers
        shape["vision_config"]["deepstack_visual_indexes"] = [0]
    config = Qwen3VLConfig(**shape)
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.bfloat16)
    try:
        with torch.device(device):
            model = Qwen3VLForConditionalGeneration(config)
    finally:
        torch.set_default_dtype(before)
    model.generation_config.eos_token_id = processor.tokenizer.eos_token_id
    model.generation_config.pad_token_id = processor.tokenizer.pad_token_id
    return model, processor


def kernels(_: Path, *, device: str = "cuda", shape: dict[str, Any] = SHAPE_2B) -> str:
    """The attention that torch chooses for a packed row in bfloat16 never holds all scores, of text or of vision."""
    model, processor = random_model(shape, device, layers=2)
    use_packed_attention(model)
    requests = [build_request(make_sample(5, 0, problem_type="spatial grounding"), TINY_TEMPLATE, BUDGET)]
    (prompt,) = split_prompts(encode_requests(processor, requests), requests, model)
    here = Prompt(
        *(value.to(device) for value in (prompt.input_ids, prompt.mm_token_type_ids, prompt.positions)),
        {name: value.to(device) for name, value in prompt.pixels.items()},
    )
    several, single = torch.full((4, 64), 30, device=device), torch.full((32,), 30, device=device)
    row = pack([PrefixGroup(here, tuple(several)), PrefixGroup(here, (single,))])
    parts = {"language": model.model.language_model, "vision": model.model.visual}
    found = {name: called_by(part, lambda: score(model, row)[0].mean().backward()) for name, part in parts.items()}
    said = "; ".join(
        f"{name} {', '.join(f'{calls} x {kernel}' for kernel, calls in own.items())}" for name, own in found.items()
    )
    assert all(own and "math" not in own for own in found.values()), f"all scores are held, or none is seen: {said}"
    return f"calls of a forward pass of 2 layers: {said}"


def called_by(part: Any, run: Callable[[], object]) -> dict[str, int]:
    """Return which implementations of scaled_dot_product_attention a part of a model calls while `run` runs, and how
    often.
    """
    opened: list[record_function] = []

    def begin(*_: Any) -> None:
        opened.append(record_function(PART))
        opened[-1].__enter__()

    def end(*_: Any) -> None:
        opened.pop().__exit__(None, None, None)

    hooks = [part.register_forward_pre_hook(begin), part.register_forward_hook(end)]
    try:
        with profile(activities=[ProfilerActivity.CPU]) as profiled:
            run()
    finally:
        for hook in hooks:
            hook.remove()
    inside = [event for event in profiled.events() if _is_inside(event)]
    return dict(sorted(Counter(filter(None, map(_kernel, inside))).items()))


def _kernel(event: Any) -> str:
    """Return which implementation of attention an operation is, "" where it is none, or a part of one."""
    above = event.cpu_parent.name if event.cpu_parent is not None else ""
    if event.name == DIRECT and not above.startswith(ATTENTION):
        return "efficient"
    return event.name.removeprefix(ATTENTION).replace("_attention", "") if event.name.startswith(ATTENTION) else ""


def _is_inside(event: Any) -> bool:
    """Tell whether an operation is one of the forward pass of the part."""
    while event is not None and event.name != PART:
        event = event.cpu_parent
    return event is not None


def speed(
    folder: Path,
    *,
    device: str = "cuda",
    shape: dict[str, Any] = SHAPE_2B,
    sizes: dict[str, int] = SPEED,
    budget: MediaBudget = BUDGET,
) -> str:
    """RL of a random model of 2B in bfloat16: tokens a second of sampling and of the update, and memory that does not
    grow with the steps.
    """
    need(device == "cpu" or left_s() > 120, "two more minutes than were left")
    model, processor = random_model(shape, device)
    size = sum(weight.numel() for weight in model.parameters())
    save_model(folder / "model", model, processor, settings=ModelSettings(prompt_template=TINY_TEMPLATE, budget=budget))
    del model
    rows, held = measured_steps(folder, device, sizes)
    counted = rows[1:]
    sampled = [
        (row["tokens_by_phase"]["rollout"] - row["tokens_by_phase"]["data"]) / row["seconds_by_phase"]["rollout"]
        for row in counted
    ]
    learned = [row["tokens_by_phase"]["update"] / row["seconds_by_phase"]["update"] for row in counted]
    said = (
        f"{size / 1e9:.3g} billion parameters; {statistics.median(sampled):,.0f} tokens a second sampled,"
        f" {sizes['groups'] * sizes['group_size']} answers at once; {statistics.median(learned):,.0f} learned;"
        f" {held[-1] / 2**30:.2f} GiB held after a step, by step {[round(each / 2**30, 2) for each in held]}"
    )
    if device == "cuda":
        said += f"; at most {max(row['memory_gib'] for row in rows):.2f} GiB"
        assert growth(held) <= FLAT, f"memory is not flat: {said}"
    return said


def growth(held: Sequence[int]) -> float:
    """Return how far what is held after each step but the first differs, as a share of the least.

    >>> growth([50, 100, 100, 102])
    0.02
    """
    return (max(held[1:]) - min(held[1:])) / min(held[1:])


def measured_steps(folder: Path, device: str, sizes: dict[str, int]) -> tuple[list[dict[str, Any]], list[int]]:
    """Return the journal's rows of some steps of RL, and the bytes that are held after each of them."""
    rows: list[dict[str, Any]] = []
    held: list[int] = []

    def on_step(row: dict[str, Any]) -> None:
        rows.append(row)
        held.append(torch.cuda.memory_allocated() if device == "cuda" else _resident_bytes())
        if len(rows) == STEPS:
            raise _EnoughError

    rollout = {
        "generation_batch_size": sizes["groups"],
        "decode_batch_size": sizes["groups"],
        "group_size": sizes["group_size"],
        "max_new_tokens": sizes["max_new_tokens"],
        "min_accuracy": -1,
        "max_accuracy": 2,
        "max_refills": 0,
    }
    recipe = RlRecipe(
        model=str(folder / "model"),
        dtype="bfloat16",
        steps=1000,
        save_every=1000,
        max_row_tokens=8192,
        data={"problem_types": ["spatial grounding", "multiple choice"]},
        rollout=rollout,
        grading={"workers": 0},
        loss={"kl_coefficient": 0},
        optimizer={"kind": "adamw", "learning_rate": 1e-6},
    )
    with suppress(_EnoughError):
        train_rl(recipe, folder / "run", on_step=on_step)
    return rows, held


def _resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096
