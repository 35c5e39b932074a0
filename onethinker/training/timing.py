"""How long a step takes on a GPU that is not at hand: a model of it in named terms, each with its formula in words.

Products are counted as 2 floating-point operations (FLOP) a weight and token. docs/training.md says what is assumed.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from onethinker.families.base import Part, Widths
from onethinker.training.adapters import Count
from onethinker.training.batch import Batch
from onethinker.training.config import TOWERS, Recipe, RlRecipe
from onethinker.training.gpus import Gpu
from onethinker.training.network import Network, exchange_of
from onethinker.training.server_memory import share_of_server
from onethinker.training.sharding import Sharding

PRODUCTS = 0.4
"""Assumed: the share of a data sheet's FLOP/s that large products reach."""
READING = 0.6
"""Assumed: the share of its bytes a second that reading weights and keys reaches."""
LAUNCH_S = 0.5e-3
"""Assumed: the least time that a layer takes for a token step, however little it computes."""


@dataclass(frozen=True)
class Spent:
    """What a part of a step takes, in seconds, and how that was worked out."""

    name: str
    seconds: float
    formula: str


@dataclass(frozen=True)
class Load:
    """What a step means for one process: prompts, and the tokens of each with its answers; `weights` are those that a
    token is multiplied with, by part.
    """

    recipe: Recipe
    batch: Batch
    counts: Mapping[Part, Count]
    widths: Widths
    weights: Mapping[Part, float]
    gpu: Gpu
    network: Network | None = None
    """Where there is one, what the processes send each other is counted."""
    sharding: Sharding | None = None

    @property
    def flops(self) -> float:
        """FLOP a second that products are assumed to reach."""
        return PRODUCTS * (self.gpu.fp32_flops if self.recipe.dtype == "float32" else self.gpu.bf16_flops)

    @property
    def bytes_of_weight(self) -> int:
        """Bytes of a weight in a product."""
        return 4 if self.recipe.dtype == "float32" else 2

    @property
    def group_tokens(self) -> float:
        """Tokens of a prompt with all its answers."""
        return self.batch.prompt_tokens + self.batch.answers * self.batch.answer_tokens

    @property
    def patches(self) -> float:
        """Patches of a prompt's media."""
        return self.widths.patches_per_token * self.batch.visual_tokens

    def attended(self, *, answers: bool = True) -> float:
        """Pairs of a token and one that it sees, in a prompt and, if asked for, its answers."""
        batch = self.batch
        seen = batch.answers * batch.answer_tokens * (batch.prompt_tokens + batch.answer_tokens / 2)
        return batch.prompt_tokens**2 / 2 + (seen if answers else 0.0)

    def forward(self, tokens: float, pairs: float) -> float:
        """FLOP of the language model over so many tokens and pairs; a recurrent layer reads, forgets and writes its
        state for each token: 6 a number.
        """
        widths = self.widths
        products = 2 * (self.weights["language"] + self.weights["merger"]) * tokens
        return (
            products
            + 4 * widths.attention_layers * widths.queries * pairs
            + 6 * widths.recurrent_layers * widths.state * tokens
        )

    def is_trained(self, part: Part) -> bool:
        """Whether weights or adapters of a part are trained."""
        return bool(self.counts[part].trained or self.counts[part].adapters)


def estimate_step(load: Load) -> list[Spent]:
    """Return what a step takes on each GPU, the largest first: products, what is read from memory, and where there is a
    network what is sent; no media.
    """
    update = _update(load)
    rollout = _rollout(load, load.recipe, update) if isinstance(load.recipe, RlRecipe) else []
    return sorted([*rollout, *update, *_exchange(load, update)], key=lambda part: -part.seconds)


def _exchange(load: Load, update: Sequence[Spent]) -> list[Spent]:
    """Return the seconds of what is sent that nothing else hides: layers are gathered while others compute."""
    if load.network is None or load.batch.processes == 1:
        return []
    sent = exchange_of(load.recipe, load.counts, load.batch, load.sharding, used=load.bytes_of_weight)
    beside, alone = sent.seconds(load.network, load.gpu)
    hidden = min(beside, sum(part.seconds for part in update))
    words = f"{sent.formula}; {hidden:,.3g} s more are hidden by the update" if hidden else sent.formula
    return [Spent("exchange", beside + alone - hidden, words)]


def _rollout(load: Load, recipe: RlRecipe, update: Sequence[Spent]) -> list[Spent]:
    """Return the seconds of sampling by this process or the run's servers, and those of the reference."""
    batch, rollout = load.batch, recipe.rollout
    if rollout.engine == "vllm":
        prompts, at_once = share_of_server(rollout, batch)
        spent = _sampling(load, prompts, at_once, gpus=max(1, rollout.vllm.gpus_per_server if rollout.vllm else 1))
        spent = [replace(part, formula=f"each of {rollout.servers} servers: {part.formula}") for part in spent]
        if rollout.lag:
            spent = _beside(spent, sum(part.seconds for part in update))
        spent.append(_scored("scored again", load))
    else:
        prompts = batch.prompts_per_process
        spent = _sampling(load, prompts, min(rollout.decode_batch_size, prompts))
    if recipe.loss.kl_coefficient:
        spent.append(_scored("reference", load))
    return spent


def _scored(name: str, load: Load) -> Spent:
    """Return the seconds of one forward pass over all prompts with their answers."""
    prompts = load.batch.prompts_per_process
    flop = prompts * (load.forward(load.group_tokens, load.attended()) + _vision(load))
    return Spent(name, flop / load.flops, f"{prompts * load.group_tokens:,.0f} tokens forward")


def _beside(spent: Sequence[Spent], seconds: float) -> list[Spent]:
    """Return what is left of a rollout that goes on while the update takes so many seconds."""
    whole = sum(part.seconds for part in spent)
    left = max(0.0, whole - seconds) / whole
    words = f"; {whole:,.3g} s in total, partly hidden by the update (lag = 1)"
    return [replace(part, seconds=part.seconds * left, formula=part.formula + words) for part in spent]


def _sampling(load: Load, prompts: float, at_once: float, gpus: int = 1) -> list[Spent]:
    """Return the seconds of the answers to so many prompts on so many GPUs: media, prompts, and tokens one by one."""
    batch, widths = load.batch, load.widths
    rows = at_once * batch.answers
    keys = 2 * widths.attention_layers * widths.keys * load.bytes_of_weight
    states = 2 * rows * widths.recurrent_layers * widths.state * 4
    seen = at_once * (batch.prompt_tokens + batch.answers * batch.answer_tokens / 2)
    read = (load.weights["language"] * load.bytes_of_weight + seen * keys + states) / (READING * load.gpu.bandwidth)
    token_step = max(max(read, 2 * load.weights["language"] * rows / load.flops) / gpus, widths.layers * LAUNCH_S)
    rounds = prompts / at_once
    prefill = prompts * load.forward(batch.prompt_tokens, load.attended(answers=False)) / load.flops / gpus
    return [
        Spent(
            "decode",
            rounds * batch.answer_tokens * token_step,
            (
                f"{rounds:,.3g} x {batch.answer_tokens:,} token steps of {rows:,.0f} answers, {token_step * 1000:.1f}"
                " ms each"
            ),
        ),
        Spent("prefill", prefill, f"{prompts:,.4g} prompts x {batch.prompt_tokens:,} tokens"),
        Spent("vision, rollout", prompts * _vision(load) / load.flops / gpus, _patches(load, prompts)),
    ]


def _update(load: Load) -> list[Spent]:
    """Return the seconds of learning from the batch: forward, again where activations are not kept, and backward."""
    prompts = load.batch.prompts_per_process
    again, vision_again = (part in load.recipe.computed_again for part in TOWERS)
    trains_all = load.counts["language"].trained > load.counts["language"].total / 2
    times = 1 + again + (2 if trains_all else 1)
    seen = 1 + (vision_again + 2) * load.is_trained("vision")
    language = prompts * times * load.forward(load.group_tokens, load.attended()) / load.flops
    return [
        Spent("update", language, f"{prompts * load.group_tokens:,.0f} tokens, {times} times the forward cost"),
        Spent(
            "vision, update",
            prompts * seen * _vision(load) / load.flops,
            f"{_patches(load, prompts)}, {seen} times forward",
        ),
    ]


def _vision(load: Load) -> float:
    """FLOP of the vision tower over a prompt's patches; attention inside a frame is not counted."""
    return 2 * load.weights["vision"] * load.patches


def _patches(load: Load, prompts: float) -> str:
    return f"{prompts:,.4g} prompts x {load.patches:,.0f} patches"


def time_lines(spent: list[Spent], recipe: Recipe, gpu: Gpu, processes: int) -> list[str]:
    """Return what a step and the run take, and where it goes, as text; GPUs of servers that the run starts count."""
    step_s = sum(part.seconds for part in spent)
    hours = step_s * recipe.steps / 3600
    serving, elsewhere = 0, ""
    if isinstance(recipe, RlRecipe) and recipe.rollout.engine == "vllm":
        vllm = recipe.rollout.vllm
        serving = vllm.servers * vllm.gpus_per_server if vllm else 0
        elsewhere = "" if vllm else ", without those of rollout.endpoints"
    on = f"{processes} x {gpu.name}" + (f" and {serving} for servers" if serving else "")
    lines = [
        f"time         {step_s:,.3g} s per step on {on}, {hours:,.3g} h for the run,"
        f" {hours * (processes + serving):,.3g} GPU hours{elsewhere}: an estimate, not measured (docs/training.md)"
    ]
    return lines + [
        f"  {part.name:<24} {part.seconds:>8,.3g} s {part.seconds / step_s:>4.0%}  {part.formula}" for part in spent
    ]
