"""Settings that only RL has: rollouts, advantages and the loss."""

from typing import Literal

from pydantic import Field, field_validator, model_validator

from onethinker.core.nearest import no_such
from onethinker.core.plugins import load_plugins
from onethinker.core.settings import Settings

Guard = Literal["clip", "group_std"]
Reduction = Literal["token_mean", "sequence_mean", "constant_length"]
BUILT_IN_ESTIMATORS = ("ema_grpo", "grpo", "dr_grpo", "rloo", "reinforce_pp")
BUILT_IN_OBJECTIVES = ("clipped", "gspo", "cispo")
LOSSES_GROUP = "onethinker.losses"
"""The group of entry points under which other packages offer objectives of RL."""
ESTIMATORS_GROUP = "onethinker.estimators"
"""The group of entry points under which other packages offer advantage estimators."""


OBJECTIVE_ALIASES = dict.fromkeys(("ppo", "grpo", "dapo", "ema grpo"), ("clipped",))
"""What other trainers call the clipped surrogate."""


class VllmSettings(Settings):
    """vLLM servers that a run starts on its machine and stops when it ends."""

    command: tuple[str, ...] = Field(("vllm",), min_length=1)
    """How vLLM is called, preferably from its own environment: ["/path/to/vllm-env/bin/vllm"]."""
    servers: int = Field(1, ge=1)
    """Number of servers."""
    gpus_per_server: int = Field(1, ge=0)
    """GPUs per server, taken from those after the GPUs that the run trains on; 0 runs vLLM on the CPU."""
    port: int = Field(8000, ge=1, le=65535)
    """Port of the first server, which listens on this machine only; the others use the next ports."""
    arguments: tuple[str, ...] = ()
    """Further arguments of `vllm serve`, such as ["--gpu-memory-utilization", "0.8"]."""

    @model_validator(mode="after")
    def _check_ports(self) -> "VllmSettings":
        if self.port + self.servers - 1 > 65535:
            raise ValueError(
                f"port: {self.servers} servers need {self.servers} ports from {self.port} on, and ports end at 65535;"
                " set a lower one"
            )
        return self


class RolloutSettings(Settings):
    """How answers are sampled."""

    generation_batch_size: int = Field(128, ge=1)
    """Groups (prompts) per batch, summed over all processes."""
    group_size: int = Field(8, ge=2)
    """G, the number of answers per group."""
    max_new_tokens: int = Field(4096, ge=1)
    """Maximum tokens of an answer; a longer one is cut off there and graded as it is."""
    temperature: float = Field(1.0, gt=0)
    """Sampling temperature; probabilities of answers are computed at this temperature everywhere."""
    decode_batch_size: int = Field(8, ge=1)
    """Groups that a process decodes at the same time."""
    min_accuracy: float = 0.01
    """Groups whose mean accuracy is not above this are dropped, because all their answers are wrong."""
    max_accuracy: float = 0.99
    """Groups whose mean accuracy is not below this are dropped, because all their answers are right."""
    replay_experts: bool = False
    """For a mixture of experts: the update routes each sampled token to the same experts as when it was sampled,
    whatever the routers would choose now. Prompt tokens are routed anew. Needs engine = "in_process"."""
    engine: Literal["in_process", "vllm"] = "in_process"
    """What samples the answers: the model in training itself, or vLLM servers, which receive its weights after each
    step."""
    endpoints: tuple[str, ...] = ()
    """With engine "vllm": addresses of the servers ("http://host:8000/v1"), all serving the recipe's model."""
    vllm: VllmSettings | None = None
    """With engine "vllm", instead of endpoints: servers that the run starts itself."""
    patience_s: float = Field(1800.0, gt=0)
    """With engine "vllm": maximum seconds for a server to start, for the answers to one prompt, and for waiting while
    no server answers."""
    weights_folder: str | None = None
    """With engine "vllm": folder through which the servers get the weights of each step; all of them must see it under
    this path. None: /dev/shm of this machine."""
    lag: Literal[0, 1] = 0
    """With engine "vllm": 1 lets the servers answer the next batch during the update on this one. The answers then come
    from weights that are one step older."""
    max_refills: int = Field(4, ge=0)
    """How many further batches of prompts may be sampled to replace dropped groups."""
    unfilled: Literal["smaller", "error"] = "smaller"
    """What happens when a batch is still not full after max_refills: "smaller" updates on the groups there are, "error"
    stops the run and names the tasks that gave no signal. A run in which no group has ever given a signal stops in
    either case."""

    @property
    def servers(self) -> int:
        """How many servers answer; 0 where the model in training does."""
        return self.vllm.servers if self.vllm is not None else len(self.endpoints)

    @model_validator(mode="after")
    def _check_range(self) -> "RolloutSettings":
        if self.min_accuracy >= self.max_accuracy:
            raise ValueError(
                f"min_accuracy must be below max_accuracy, got {self.min_accuracy} and {self.max_accuracy}"
            )
        return self

    @model_validator(mode="after")
    def _check_experts(self) -> "RolloutSettings":
        if self.replay_experts and self.engine != "in_process":
            raise ValueError('replay_experts needs engine = "in_process": servers do not say which experts they used')
        return self

    @model_validator(mode="after")
    def _check_endpoints(self) -> "RolloutSettings":
        if (self.engine == "vllm") != bool(self.endpoints or self.vllm):
            raise ValueError(
                'engine = "vllm" goes together with endpoints = ["http://host:8000/v1", …] or with vllm = {servers = 2,'
                f" …}}, got engine = {self.engine!r} and {len(self.endpoints)} endpoints"
            )
        if self.endpoints and self.vllm:
            raise ValueError(
                "endpoints are servers that already run, vllm = {…} starts new ones: set only one of the two"
            )
        if self.lag and self.engine != "vllm":
            raise ValueError(
                'lag = 1 needs engine = "vllm": the model in training cannot sample and learn at the same time'
            )
        if len({*self.endpoints}) < len(self.endpoints):
            raise ValueError(f"endpoints: each address may be listed once only, got {', '.join(self.endpoints)}")
        return self


class AdvantageSettings(Settings):
    """How rewards become advantages."""

    algorithm: str = "ema_grpo"
    """ "ema_grpo"; for comparison "grpo", "dr_grpo", "rloo" or "reinforce_pp"; or the advantage estimator of another
    package, by the name of its entry point in the group onethinker.estimators."""
    ema_decay: float = Field(0.99, ge=0, lt=1)
    """Beta of the moving averages."""
    min_sigma: float = Field(1e-3, gt=0)
    """Lower bound of the standard deviation (sigma) that ema_grpo divides by."""
    clip: float = Field(5.0, gt=0)
    """Advantages beyond plus or minus this are handled by `guard`."""
    guard: Guard = "clip"
    """What happens to advantages beyond `clip`: "clip" (the paper) or "group_std" (the released code)."""

    @field_validator("algorithm")
    @classmethod
    def _check_algorithm(cls, name: str) -> str:
        if name in BUILT_IN_ESTIMATORS:
            return name
        known = [*BUILT_IN_ESTIMATORS, *(plugin.name for plugin in load_plugins(ESTIMATORS_GROUP))]
        if name not in known:
            raise ValueError(f"{no_such('estimator', name, known)}; name modules with your own estimators in `plugins`")
        return name


class LossSettings(Settings):
    """How advantages become a loss."""

    objective: str = "clipped"
    """ "clipped" (the paper's equation 12), "gspo" (ratios of whole answers), "cispo" (bounded weights, no token is
    dropped), or an objective of another package by the name of its entry point in the group onethinker.losses."""
    clip_low: float = Field(0.2, gt=0, lt=1)
    """The policy ratio is clipped below 1 minus this."""
    clip_high: float = Field(0.2, gt=0)
    """The policy ratio is clipped above 1 plus this."""
    kl_coefficient: float = Field(0.01, ge=0)
    """Weight of the KL divergence (k3 estimator) from the reference model, by default the model that RL started with. 0
    keeps no reference."""
    reference_refresh: int | None = Field(None, ge=1)
    """Replace the reference model by the current policy every this many steps; None keeps the model that RL started
    with."""
    kl_schedule: Literal["constant", "linear", "cosine"] = "constant"
    """How kl_coefficient decreases over the run."""
    kl_final_share: float = Field(0.0, ge=0, le=1)
    """With a linear or cosine kl_schedule: the fraction of kl_coefficient that remains at the last step."""
    entropy_coefficient: float = Field(0.0, ge=0)
    """Weight of the entropy bonus: the entropy of the next token is subtracted from the loss, which keeps it high."""
    dual_clip: float | None = Field(None, gt=1)
    """For tokens with a negative advantage: the policy ratio beyond which the loss stops growing; 3 is common. None: no
    bound. Only for objective "clipped"."""
    reduction: Reduction = "token_mean"
    """How token losses are averaged: "token_mean", "sequence_mean" as in the paper's equation 12, or "constant_length",
    which divides by the number of answers times max_new_tokens."""
    rollout_correction: float | None = Field(None, ge=1)
    """With rollout.engine "vllm": weight each token by its probability under the training model divided by that at the
    server, capped at this value (2 is common). None: no correction."""
    updates_per_batch: int = Field(1, ge=1)
    """Optimizer steps per batch of rollouts."""

    @field_validator("objective")
    @classmethod
    def _check_objective(cls, name: str) -> str:
        known = [*BUILT_IN_OBJECTIVES, *(plugin.name for plugin in load_plugins(LOSSES_GROUP))]
        if name not in known:
            missing = no_such("objective", name, known, aliases=OBJECTIVE_ALIASES)
            raise ValueError(f"{missing}; name modules with your own losses in `plugins`")
        return name

    @model_validator(mode="after")
    def _check_together(self) -> "LossSettings":
        if self.objective == "gspo" and self.reduction != "sequence_mean":
            raise ValueError(
                'objective = "gspo" gives every answer the same weight and needs reduction = "sequence_mean", got'
                f" {self.reduction!r}"
            )
        if self.dual_clip is not None and (self.objective != "clipped" or self.dual_clip <= 1 + self.clip_high):
            raise ValueError(
                f'dual_clip is for objective = "clipped" and must be above 1 + clip_high, got {self.dual_clip} with'
                f" objective = {self.objective!r} and clip_high = {self.clip_high}"
            )
        if self.reference_refresh is not None and not self.kl_coefficient:
            raise ValueError(f"reference_refresh = {self.reference_refresh} needs a kl_coefficient above 0")
        if self.kl_schedule != "constant" and not self.kl_coefficient:
            raise ValueError(f"kl_schedule = {self.kl_schedule!r} needs a kl_coefficient above 0")
        return self
