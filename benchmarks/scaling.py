"""What training costs on clusters, on paper: docs/scaling.md, computed by the package's own estimates.

    python benchmarks/scaling.py > docs/scaling.md
    python benchmarks/scaling.py --flops        # counts operations on the meta device against the formula

Nothing here is measured on a GPU. A config is a file of tests/training/configs.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from measuring import parser_of

from onethinker.families.registry import family_of
from onethinker.inference.loading import load_meta_model
from onethinker.media.budget import MediaBudget
from onethinker.training.batch import plan_batch
from onethinker.training.config import Recipe, RlRecipe, SftRecipe
from onethinker.training.gpus import GPUS
from onethinker.training.lengths import Length
from onethinker.training.memory import peak
from onethinker.training.network import Network
from onethinker.training.plan import Plan, make_plan
from onethinker.training.sharding import Sharding
from onethinker.training.timing import Load, Spent, estimate_step

CONFIGS = Path(__file__).parents[1] / "tests/training/configs"
SIZES = ("2b", "8b", "32b")
CLUSTERS = (8, 32, 256)
GPU = GPUS["h800"]
NODE_GBITS = 3200
TYPICAL = Length(prompt=2100, visual=1750, answer=500)
"""Tokens of the sample that times are for; memory is for the longest that the recipe allows."""
SHARDINGS = {
    "none": None,
    "fsdp2": Sharding("fsdp2"),
    "fsdp2_full": Sharding("fsdp2", full=True),
    "fsdp2_offload": Sharding("fsdp2", full=True, offload=True),
}
PAPER_HOURS = 32 * 10 * 24
SFT_SAMPLES, RL_PROMPTS = 340_000, 128_000
PICTURE_MB, CLIP_MB, CLIP_CORE_S, PICTURE_CORE_S = 0.15, 4.0, 1.4, 0.02
"""Of a picture and of a clip of 30 s: megabytes (assumed), and seconds of a core to decode it (docs/results/video.md:
2.71 s for a minute of a real clip; a picture is assumed).
"""


@dataclass(frozen=True)
class Case:
    """A recipe on a cluster: its plan, and what a step takes for samples of typical length."""

    recipe: Recipe
    gpus: int
    sharding: str
    plan: Plan
    load: Load

    @property
    def spent(self) -> list[Spent]:
        """The parts of a step."""
        return estimate_step(self.load)

    @property
    def seconds(self) -> float:
        """What a step takes."""
        return sum(part.seconds for part in self.spent)

    @property
    def memory(self) -> float:
        """The most that a GPU holds."""
        return peak(list(self.plan.memory))


def main() -> None:
    """Print the page, or the check of its formula."""
    parser = parser_of(__doc__)
    parser.add_argument("--flops", action="store_true", help="count operations on the meta device instead")
    if parser.parse_args().flops:
        for size in SIZES:
            for part, counted, formula in count_flops(size):
                print(f"{size:4} {part:9} counted {counted:.4e}, formula {formula:.4e}, {formula / counted - 1:+.2%}")
        return
    print("\n".join(page()))


def recipe_of(stage: str, gpus: int) -> Recipe:
    """Return the recipe of a stage that ships, with a batch that the GPUs can share."""
    kind = SftRecipe if stage == "sft" else RlRecipe
    recipe = kind.load(f"{stage}_8b", ["optimizer.kind=adamw"])
    if isinstance(recipe, RlRecipe):
        batch = max(gpus, recipe.rollout.generation_batch_size)
        return recipe.model_copy(update={"rollout": recipe.rollout.model_copy(update={"generation_batch_size": batch})})
    assert isinstance(recipe, SftRecipe)
    return recipe.model_copy(update={"batch_size": max(gpus, recipe.batch_size)})


def case(model: Any, recipe: Recipe, gpus: int, *, name: str | None = None) -> Case | None:
    """Return a recipe on so many GPUs with the quickest sharding that fits, or a named one; None where none fits."""
    budget = recipe.budget or MediaBudget()
    network = Network(gpus // 8, 8, NODE_GBITS * 1e9 / 8)
    for sharding in [name] if name else list(SHARDINGS):
        how = SHARDINGS[sharding]
        plan = make_plan(recipe, processes=gpus, model=model, budget=budget, sharding=how)
        if peak(list(plan.memory)) > GPU.memory and name is None:
            continue
        assert plan.widths is not None
        batch = plan_batch(recipe, budget, gpus, TYPICAL)
        load = Load(recipe, batch, plan.counts, plan.widths, plan.weights, GPU, network, how)
        return Case(recipe, gpus, sharding, plan, load)
    return None


def page() -> Iterator[str]:
    """Yield the lines of docs/scaling.md."""
    models = {size: load_meta_model("any/name", config=CONFIGS / f"qwen3_vl_{size}.json") for size in SIZES}
    yield from opening()
    yield from steps_table(models)
    yield from sharing_table(models)
    yield from decode_table(models)
    yield from fleet_table(models)
    yield from hours_table(models)
    yield from storage_table(models)
    yield from checks(models)


def opening() -> Iterator[str]:
    """Yield what the page is about, and what is assumed."""
    yield from (
        "# Training on clusters: estimates",
        "",
        "All figures are computed by `python benchmarks/scaling.py`, with the same estimates as `--dry-run --gpu`. "
        "**Nothing on this page was measured on a GPU,",
        "and no run of this size was made.** What could be checked without a GPU is listed [at the end]"
        "(#what-is-checked).",
        "The shape of the 32B model is Qwen3-32B with the vision tower of 8B, because its own config was not available "
        "here.",
        "",
        "Assumptions:",
        "",
        f"- Nodes of 8 {GPU.name} ({GPU.memory / 1e9:.0f} GB, {GPU.bf16_flops / 1e12:,.0f} TFLOP/s, "
        f"{GPU.bandwidth / 1e12:.2f} TB/s, NVLink {GPU.link / 1e9:.0f} GB/s in each direction), with {NODE_GBITS:,} "
        "Gb/s between nodes for each node.",
        "- Matrix products reach 40 % of the data sheet, memory reads 60 %, collectives 70 %.",
        "- Recipes `sft_8b` and `rl_8b` with AdamW in mixed precision, also for the other sizes.",
        f"- A typical sample has {TYPICAL.prompt:,} prompt tokens, {TYPICAL.visual:,} of them visual, and answers of "
        f"{TYPICAL.answer}. Memory is for the longest sample that the recipe",
        "  allows: 128 frames and answers of 4,096 tokens.",
        "",
    )


def steps_table(models: dict[str, Any]) -> Iterator[str]:
    """Yield memory and time of a step, and what bounds it."""
    yield from (
        "## A step",
        "",
        "Each row uses the fastest way of sharding the weights that fits. A batch has 32 samples (SFT) or 128 prompts "
        "with 8 answers each (RL). With more GPUs than that, it has",
        "one sample or prompt for each GPU. *Largest part* is the part of a step that takes most time; *exchange* is "
        "the share of communication between processes.",
        "",
        "| model | stage | GPUs | weights | GB per GPU | s per step | largest part | exchange |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    )
    for size, model in models.items():
        for stage in ("sft", "rl"):
            for gpus in CLUSTERS:
                recipe = recipe_of(stage, gpus)
                found = case(model, recipe, gpus)
                if found is None:
                    least = case(model, recipe, gpus, name="fsdp2_offload")
                    assert least is not None
                    yield (
                        f"| {size.upper()} | {stage} | {gpus} | nothing fits: `fsdp2_offload` needs | "
                        f"{least.memory / 1e9:.0f} | | | |"
                    )
                    continue
                most = found.spent[0]
                exchange = next((part.seconds for part in found.spent if part.name == "exchange"), 0.0)
                yield (
                    f"| {size.upper()} | {stage} | {gpus} | `{found.sharding}` | {found.memory / 1e9:.0f} | "
                    f"{found.seconds:,.3g} |"
                    f" {most.name} {most.seconds / found.seconds:.0%} | {exchange / found.seconds:.0%} |"
                )
    yield ""


def unshared(load: Load) -> float:
    """Return the seconds of prompts read and learned from once for each answer instead of once for all."""
    batch = load.batch
    # An answer with a prompt of its own is a group of one.
    alone = replace(load, batch=replace(batch, answers=1))
    parts = {part.name: part.seconds * batch.answers for part in estimate_step(alone) if part.name != "decode"}
    return sum(seconds for name, seconds in parts.items() if name != "exchange")


def sharing_table(models: dict[str, Any]) -> Iterator[str]:
    """Yield what prefix sharing is worth: everything but decoding, with a prompt once or once for each answer."""
    yield from (
        "## Gain from prefix sharing",
        "",
        "The time of an RL step without decoding (prefill, vision, reference, update), with 8 answers to a prompt, on "
        "32 GPUs. *Own prompts*: each answer is processed with",
        "its own copy of the prompt. *Shared*: all answers share one.",
        "",
        "| model | prompt tokens | answer tokens | own prompts, s | shared, s | times faster |",
        "| --- | --- | --- | --- | --- | --- |",
    )
    for size, model in models.items():
        found = case(model, recipe_of("rl", 32), 32, name="fsdp2_full")
        assert found is not None
        for length in (TYPICAL, Length(6900, 6272, 500), Length(6900, 6272, 4096)):
            batch = replace(
                found.load.batch, visual_tokens=length.visual, prompt_tokens=length.prompt, answer_tokens=length.answer
            )
            load = replace(found.load, batch=batch)
            shared = sum(part.seconds for part in estimate_step(load) if part.name not in ("decode", "exchange"))
            own = unshared(load)
            yield (
                f"| {size.upper()} | {length.prompt:,} | {length.answer:,} | {own:,.3g} | {shared:,.3g} | "
                f"{own / shared:.1f} |"
            )
    yield from (
        "",
        "On CPUs the speed-up of the update alone was "
        "[measured](results/training_speed.md#the-update-alone-against-the-naive-batch): 94 to 97 % of the ratio "
        "of tokens for text, and more for pictures.",
        "",
    )


def decode_table(models: dict[str, Any]) -> Iterator[str]:
    """Yield a step of RL by how many prompts a GPU answers at once."""
    yield from (
        "## Gain from decoding more prompts at once",
        "",
        "The time of an RL step on 32 GPUs by `rollout.decode_batch_size`, the number of prompts that a GPU answers "
        "together. With servers, it is the number of prompts that",
        "each process asks at once.",
        "",
        "| model | 1 prompt | 2 prompts | 4 prompts (all of a GPU) | share of decoding, with 4 | GB per GPU, with 4 |",
        "| --- | --- | --- | --- | --- | --- |",
    )
    for size, model in models.items():
        cells, last = [], None
        for at_once in (1, 2, 4):
            recipe = recipe_of("rl", 32)
            assert isinstance(recipe, RlRecipe)
            rollout = recipe.rollout.model_copy(update={"decode_batch_size": at_once})
            last = case(model, recipe.model_copy(update={"rollout": rollout}), 32, name="fsdp2_full")
            assert last is not None
            cells.append(f"{last.seconds:,.3g} s")
        assert last is not None
        decode = sum(part.seconds for part in last.spent if part.name == "decode") / last.seconds
        yield f"| {size.upper()} | {' | '.join(cells)} | {decode:.0%} | {last.memory / 1e9:.0f} |"
    yield ""


def fleet_table(models: dict[str, Any]) -> Iterator[str]:
    """Yield a step of RL of 8B on 32 GPUs of which some sample, as servers, and the others learn."""
    yield from (
        "## A fleet of servers",
        "",
        "An RL step of 8B on 32 GPUs, with 128 prompts of 8 answers. Some of the GPUs are vLLM servers (one GPU each, "
        "asked for all prompts at once); the others train, with",
        "`fsdp2_full`. With `lag = 1` the servers answer the next batch during the update. The gain of vLLM's kernels "
        "and CUDA graphs over our decoder is not included: both",
        "decode at the same assumed share of memory bandwidth.",
        "",
        "| GPUs that train | servers | lag | s per step | largest part | GB per training GPU | RL, GPU hours |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    )
    for learning, lag in ((32, 0), (16, 0), (16, 1), (8, 0), (8, 1)):
        recipe = recipe_of("rl", learning)
        assert isinstance(recipe, RlRecipe)
        at_once = recipe.rollout.generation_batch_size // learning
        settings = [f"rollout.decode_batch_size={at_once}"]
        if learning < 32:
            settings += [f"rollout.lag={lag}", 'rollout.engine="vllm"']
            settings += [f"rollout.vllm={{servers={32 - learning}, gpus_per_server=1}}"]
        found = case(
            models["8b"], RlRecipe.load("rl_8b", ["optimizer.kind=adamw", *settings]), learning, name="fsdp2_full"
        )
        assert found is not None
        most = max(found.spent, key=lambda part: part.seconds)
        hours = found.seconds * RL_PROMPTS / found.load.batch.prompts / 3600 * 32
        yield (
            f"| {learning} | {32 - learning or 'none'} | {lag} | {found.seconds:,.3g} | "
            f"{most.name} {most.seconds / found.seconds:.0%} | {found.memory / 1e9:.0f} | {hours:,.0f} |"
        )
    yield from (
        "",
        "So servers reduce the memory needed on the GPUs that train. They save hours only as far as vLLM decodes "
        "faster; with a lag, only where decoding is the longer half of a step.",
        "",
    )


def hours_table(models: dict[str, Any]) -> Iterator[str]:
    """Yield GPU hours of both stages beside the paper's."""
    yield from (
        "## GPU hours",
        "",
        f"The paper states 32 H800 and about ten days for everything: {PAPER_HOURS:,} GPU hours. It does not state the "
        "number of RL steps, or how the days divide between the stages.",
        f"The RL of our recipe has {RL_PROMPTS:,} prompts, the SFT one pass over {SFT_SAMPLES:,} samples. *Own "
        "prompts*: each answer is processed with its own copy of the prompt.",
        "",
        "| model | GPUs | SFT, h | RL, h | both, GPU hours | share of the paper's | RL with own prompts, GPU hours | "
        "RL, GPU hours |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    )
    for size, model in models.items():
        for gpus in CLUSTERS:
            sft, rl = (case(model, recipe_of(stage, gpus), gpus) for stage in ("sft", "rl"))
            if sft is None or rl is None:
                continue
            hours = [
                one.seconds * samples / one.load.batch.prompts / 3600
                for one, samples in ((sft, SFT_SAMPLES), (rl, RL_PROMPTS))
            ]
            both = sum(hours) * gpus
            fixed = sum(part.seconds for part in rl.spent if part.name in ("decode", "exchange"))
            own = (unshared(rl.load) + fixed) * RL_PROMPTS / rl.load.batch.prompts / 3600 * gpus
            yield (
                f"| {size.upper()} | {gpus} | {hours[0]:,.3g} | {hours[1]:,.3g} | {both:,.0f} | "
                f"{both / PAPER_HOURS:.0%} |"
                f" {own:,.0f} | {hours[1] * gpus:,.0f} |"
            )
    yield from (
        "",
        "These estimates are optimistic. They assume that the hardware reaches its assumed shares at every moment, "
        "without stragglers, data loading, checkpoints and failures.",
        "They say nothing about the quality that is reached. So the share of the paper's hours is a lower bound, not a "
        "claim to be that many times faster.",
        "",
        f"Our target is half of the paper's hours, {PAPER_HOURS // 2:,}. By the tables above, hours are saved by "
        "processing a prompt once for all its answers (the last two columns),",
        "then by answering prompts together, and only then by servers beside the update.",
        "",
    )


def storage_table(models: dict[str, Any]) -> Iterator[str]:
    """Yield what media take on disks, networks and processors."""
    found = case(models["8b"], recipe_of("rl", 32), 32)
    sft = case(models["8b"], recipe_of("sft", 32), 32)
    assert found is not None
    assert sft is not None
    mean_mb, core_s = (PICTURE_MB + CLIP_MB) / 2, (PICTURE_CORE_S + CLIP_CORE_S) / 2
    yield from (
        "## Media",
        "",
        f"Assumed: half pictures of {PICTURE_MB} MB, half clips of 30 s with {CLIP_MB:.0f} MB (about 1 Mb/s). Decoding "
        f"a clip at 2 frames a second takes {CLIP_CORE_S} s of one core, from the",
        f"[measured](results/video.md) 2.7 s for a minute of video. A picture takes {PICTURE_CORE_S} s (assumed).",
        "",
        "| samples | TB on disk | core hours to decode all once | hours on 128 cores |",
        "| --- | --- | --- | --- |",
    )
    for samples in (600_000, 60_000_000):
        hours = samples * core_s / 3600
        yield f"| {samples:,} | {samples * mean_mb / 1e6:,.3g} | {hours:,.0f} | {hours / 128:,.3g} |"
    yield from (
        "",
        "| 8B on 32 GPUs | samples/s | MB/s from disk | decoding cores, over all nodes |",
        "| --- | --- | --- | --- |",
    )
    for name, one in (("SFT", sft), ("RL", found)):
        rate = one.load.batch.prompts / one.seconds
        yield f"| {name} | {rate:,.3g} | {rate * mean_mb:,.3g} | {rate * core_s:,.3g} |"
    yield ""


def checks(models: dict[str, Any]) -> Iterator[str]:
    """Yield what of this was checked, and how."""
    yield from (
        "## What is checked",
        "",
        "- **Operations**: torch's `FlopCounterMode` counts them while the real model classes run a forward pass on "
        "the meta device, with 2,048 tokens and 1,024 patches. The table",
        "  compares the counts with the formula of the estimates (`python benchmarks/scaling.py --flops`):",
        "",
        "| model | part | counted | formula | difference |",
        "| --- | --- | --- | --- | --- |",
    )
    for size in models:
        for part, counted, formula in count_flops(size):
            yield f"| {size.upper()} | {part} | {counted:.4e} | {formula:.4e} | {formula / counted - 1:+.2%} |"
    yield from (
        "",
        "  Here attention is counted over all pairs, as the meta device computes it; the estimates take the half that "
        "a causal kernel needs. The estimates leave out attention inside",
        "  frames; this table includes it.",
        "- **Memory**: the terms are checked against sums by hand (`tests/training/test_plan.py`), not on a GPU.",
        "- **Bytes sent**: the formula is checked against sums by hand (`tests/training/test_planning.py`), not on a "
        "network.",
        "- **Tokens**: a run counts the tokens of its records exactly before it begins "
        "(`tests/training/test_lengths.py`); the typical sample here is assumed.",
        "- **Several nodes**: two launchers on one machine give the same run as one process "
        "(`tests/training/test_nodes.py`).",
        "- **Assumed, not checked**: the reachable shares of data sheets and of the network, and how far the gathering "
        "of layers is hidden. `make check-gpu` is for a machine that has a GPU.",
    )


def count_flops(size: str) -> Iterator[tuple[str, float, float]]:
    """Yield parts of a model with the operations of a forward pass, as torch counts them and by the formula."""
    import torch

    model: Any = load_meta_model("any/name", config=CONFIGS / f"qwen3_vl_{size}.json").to("meta")
    family = family_of(model)
    weights, widths = family.multiplied(model), family.widths(model.config)
    tokens, patches = 2048, 1024
    dtype = next(model.parameters()).dtype

    def empty(*shape: int) -> Any:
        return torch.empty(*shape, device="meta", dtype=dtype)

    def language() -> None:
        positions = torch.zeros(3, 1, tokens, device="meta", dtype=torch.long)
        out = model.model.language_model(
            inputs_embeds=empty(1, tokens, widths.hidden), position_ids=positions, use_cache=False
        )
        model.lm_head(out.last_hidden_state)

    visual = model.model.visual
    head = widths.vision_hidden // model.config.vision_config.num_heads

    def vision() -> None:
        hidden = visual.patch_embed(empty(patches, 3 * 2 * 16 * 16))
        for block in visual.blocks:
            hidden = block(
                hidden,
                cu_seqlens=torch.tensor([0, patches], dtype=torch.int32),
                position_embeddings=(empty(patches, head), empty(patches, head)),
            )

    def merger() -> None:
        for each in (visual.merger, *visual.deepstack_merger_list):
            each(empty(patches, widths.vision_hidden))

    attention = 4 * widths.layers * widths.queries * tokens**2
    yield "language", _counted(language), 2 * weights["language"] * tokens + attention
    attention = 4 * widths.vision_layers * widths.vision_hidden * patches**2
    yield "vision", _counted(vision), 2 * weights["vision"] * patches + attention
    yield "merger", _counted(merger), 2 * weights["merger"] * patches / widths.patches_per_token


def _counted(run: Callable[[], None]) -> float:
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter:
        run()
    return float(counter.get_total_flops())


if __name__ == "__main__":
    main()
