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
    """Servers of vLLM that a run starts itself, on its machine, and ends with itself."""

    command: tuple[str, ...] = Field(("vllm",), min_length=1)
    """How vLLM is called, best in an environment of its own: ["/path/to/vllm-env/bin/vllm"]."""
    servers: int = Field(1, ge=1)
    """How many there are."""
    gpus_per_server: int = Field(1, ge=0)
    """GPUs of each, out of those after the GPUs that the run trains on; 0 for vLLM on the CPU."""
    port: int = Field(8000, ge=1, le=65535)
    """Where the first one listens, on this machine alone; the others take the next ports."""
    arguments: tuple[str, ...] = ()
    """Further arguments of `vllm serve`, such as ["--gpu-memory-utilization", "0.8"]."""

    @model_validator(mode="after")
    def _check_ports(self) -> "VllmSettings":
        if self.port + self.servers - 1 > 65535:
            raise ValueError(f"port: there are not {self.servers} ports from {self.port} on")
        return self


class RolloutSettings(Settings):
    """How answers are sampled."""

    generation_batch_size: int = Field(128, ge=1)
    """Groups in one batch, over all processes."""
    group_size: int = Field(8, ge=2)
    """G, the size of a group."""
    max_new_tokens: int = Field(4096, ge=1)
    """An answer that has not ended by then is cut, and graded as it is."""
    temperature: float = Field(1.0, gt=0)
    """Divides the logits before a token is drawn, and wherever an answer's probability is computed."""
    decode_batch_size: int = Field(8, ge=1)
    """Groups that a process decodes together."""
    min_accuracy: float = 0.01
    """Groups whose mean accuracy is not above this are dropped: all their answers are wrong."""
    max_accuracy: float = 0.99
    """Groups whose mean accuracy is not below this are dropped: all their answers are right."""
    replay_experts: bool = False
    """In a mixture of experts the update sends each sampled token to the experts that it was sampled with, whatever its
    routers would choose by then; tokens of prompts are routed anew. Needs the engine in_process."""
    engine: Literal["in_process", "vllm"] = "in_process"
    """What samples: the model in training itself, or servers of vLLM that are sent its weights after each step."""
    endpoints: tuple[str, ...] = ()
    """With engine "vllm": the addresses of the servers ("http://host:8000/v1"), all of the recipe's model."""
    vllm: VllmSettings | None = None
    """With engine "vllm", in place of endpoints: servers that the run starts itself."""
    patience_s: float = Field(1800.0, gt=0)
    """With engine "vllm": seconds that a server may take to start and for the answers to one prompt, and that the run
    waits while no server answers."""
    weights_folder: str | None = None
    """With engine "vllm": where the weights of a step lie for the servers, a folder that all of them see under this
    name; None: /dev/shm of this machine."""
    lag: Literal[0, 1] = 0
    """With engine "vllm": 1 has the servers answer the next batch while this one is learned from, by weights that are a
    step older."""
    max_refills: int = Field(4, ge=0)
    """Further batches of prompts that are tried to replace dropped groups."""
    unfilled: Literal["smaller", "error"] = "smaller"
    """What happens when the refills are used up: the step goes on with the groups there are, or the run stops and says
    which tasks gave no signal. A run in which no group at all has ever given one stops in either case."""

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
            raise ValueError("endpoints are servers that run already, vllm = {…} starts others: give one of both")
        if self.lag and self.engine != "vllm":
            raise ValueError('lag = 1 is for engine = "vllm": the model in training does one thing at a time')
        if len({*self.endpoints}) < len(self.endpoints):
            raise ValueError(f"endpoints: an address stands more than once: {', '.join(self.endpoints)}")
        return self


class AdvantageSettings(Settings):
    """How rewards become advantages."""

    algorithm: str = "ema_grpo"
    """ema_grpo, its relatives grpo, dr_grpo, rloo and reinforce_pp for comparison, or an estimator of another package
    by the name of its entry point in the group onethinker.estimators.
    """
    ema_decay: float = Field(0.99, ge=0, lt=1)
    """Beta of the moving averages."""
    min_sigma: float = Field(1e-3, gt=0)
    """Smallest sigma."""
    clip: float = Field(5.0, gt=0)
    """Advantages beyond it are treated by the guard."""
    guard: Guard = "clip"
    """clip (the paper), or group_std (the released code)."""

    @field_validator("algorithm")
    @classmethod
    def _check_algorithm(cls, name: str) -> str:
        if name in BUILT_IN_ESTIMATORS:
            return name
        known = [*BUILT_IN_ESTIMATORS, *(plugin.name for plugin in load_plugins(ESTIMATORS_GROUP))]
        if name not in known:
            raise ValueError(
                f"{no_such('estimator', name, known)}; `plugins` names modules with estimators of your own"
            )
        return name


class LossSettings(Settings):
    """How advantages become a loss."""

    objective: str = "clipped"
    """clipped (the paper's equation 12), gspo (ratios of whole answers), cispo (bounded weights, no token cut off), or
    an objective of another package by the name of its entry point in the group onethinker.losses."""
    clip_low: float = Field(0.2, gt=0, lt=1)
    """The policy ratio is clipped below 1 less this."""
    clip_high: float = Field(0.2, gt=0)
    """The policy ratio is clipped above 1 plus this."""
    kl_coefficient: float = Field(0.01, ge=0)
    """Weight of the k3 divergence from the model that RL started with; 0 keeps no copy of it."""
    reference_refresh: int | None = Field(None, ge=1)
    """Steps after which the reference becomes the policy as it is then, again and again; None keeps the model that RL
    started with."""
    kl_schedule: Literal["constant", "linear", "cosine"] = "constant"
    """How that weight falls over the run."""
    kl_final_share: float = Field(0.0, ge=0, le=1)
    """The share of it that is left at the last step, where it falls."""
    entropy_coefficient: float = Field(0.0, ge=0)
    """Weight of the entropy of the next token, which is subtracted from the loss and so kept up."""
    dual_clip: float | None = Field(None, gt=1)
    """Of tokens with a negative advantage, the ratio beyond which the loss grows no more; 3 is common. None: no bound.
    For objective "clipped"."""
    reduction: Reduction = "token_mean"
    """token_mean, sequence_mean as in the paper's equation 12, or constant_length, which divides by answers times
    max_new_tokens.
    """
    rollout_correction: float | None = Field(None, ge=1)
    """With rollout.engine "vllm": weigh each token by its probability in the model in training over that at the server,
    at most this (2 is common); None: no correction."""
    updates_per_batch: int = Field(1, ge=1)
    """Optimizer steps taken on each batch of rollouts."""

    @field_validator("objective")
    @classmethod
    def _check_objective(cls, name: str) -> str:
        known = [*BUILT_IN_OBJECTIVES, *(plugin.name for plugin in load_plugins(LOSSES_GROUP))]
        if name not in known:
            missing = no_such("objective", name, known, aliases=OBJECTIVE_ALIASES)
            raise ValueError(f"{missing}; `plugins` names modules with losses of your own")
        return name

    @model_validator(mode="after")
    def _check_together(self) -> "LossSettings":
        if self.objective == "gspo" and self.reduction != "sequence_mean":
            raise ValueError(
                f'objective = "gspo" weighs whole answers alike and needs reduction = "sequence_mean", got'
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
