"""A recipe of RL as verl's configuration: a counterpart for each field, or a word why there is none.

Source: verl 0.9.1, verl/trainer/config/ppo_trainer.yaml.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from pydantic import BaseModel

from onethinker.core.errors import ConfigError
from onethinker.core.settings import Settings
from onethinker.training.config import RlRecipe

Values = dict[str, Any]
"""verl's settings by their dotted names."""
ACTOR, ROLLOUT = "actor_rollout_ref.actor", "actor_rollout_ref.rollout"
OURS = "pkg://onethinker.integrations.verl"
NO_DUAL_CLIP = 1e9
"""A bound that no ratio reaches: verl's loss always has one, and cuts ratios at e^20."""
_SEEDS = (f"{ROLLOUT}.seed", f"{ACTOR}.data_loader_seed", f"{ACTOR}.fsdp_config.seed", "data.seed")
_PRECISIONS = {"float32": ("fp32", "float32"), "mixed": ("fp32", "bfloat16"), "bfloat16": ("bf16", "bfloat16")}
_REDUCTIONS = {
    "token_mean": "token-mean",
    "sequence_mean": "seq-mean-token-mean",
    "constant_length": "seq-mean-token-sum-norm",
}


def _precision(recipe: RlRecipe) -> Values:
    stored, computed = _PRECISIONS[recipe.dtype]
    both = ("actor", "ref")
    return {
        **{f"actor_rollout_ref.{part}.fsdp_config.model_dtype": stored for part in both},
        **{f"actor_rollout_ref.{part}.fsdp_config.dtype": computed for part in both},
        f"{ROLLOUT}.dtype": computed,
    }


def _lengths(recipe: RlRecipe) -> Values:
    prompt = recipe.max_row_tokens - recipe.rollout.max_new_tokens
    if prompt < 1:
        raise ConfigError(
            f"max_row_tokens = {recipe.max_row_tokens} leaves no room for a prompt besides rollout.max_new_tokens ="
            f" {recipe.rollout.max_new_tokens}"
        )
    return {
        "data.max_prompt_length": prompt,
        f"{ROLLOUT}.max_model_len": recipe.max_row_tokens,
        f"{ACTOR}.use_dynamic_bsz": True,
        f"{ACTOR}.ppo_max_token_len_per_gpu": recipe.max_row_tokens,
    }


def _keep(recipe: RlRecipe) -> Values:
    if isinstance(recipe.keep, str) and recipe.keep != "all":
        raise ConfigError(f'keep = "{recipe.keep}": verl supports only a number of latest checkpoints, or "all"')
    return {"trainer.max_actor_ckpt_to_keep": None if recipe.keep == "all" else recipe.keep}


def _lora(recipe: RlRecipe) -> Values:
    lora = recipe.lora
    if lora is None:
        return {}
    if lora.four_bit or lora.experts or lora.parts != ("language",) or lora.alpha != int(lora.alpha):
        raise ConfigError(
            'lora: verl supports only adapters of the language model (parts = ["language"]), a whole-number alpha, no'
            f" four_bit and no experts; got parts = {list(lora.parts)}, alpha = {lora.alpha:g}, four_bit ="
            f" {lora.four_bit}, experts = {lora.experts}"
        )
    model = "actor_rollout_ref.model"
    return {
        f"{model}.lora_rank": lora.rank,
        f"{model}.lora_alpha": int(lora.alpha),
        f"{model}.target_modules": "all-linear",
        f"{model}.exclude_modules": r".*visual.*",
        f"{ROLLOUT}.load_format": "safetensors",
    }


def _of_all(name: str, value: bool | tuple[str, ...]) -> Values:
    if not isinstance(value, bool):
        raise ConfigError(f"{name} = {list(value)}: verl supports only true or false, for all parts of a model")
    return {f"actor_rollout_ref.model.enable_{name}": value}


def _mini_batch(recipe: RlRecipe) -> Values:
    batch, updates = recipe.rollout.generation_batch_size, recipe.loss.updates_per_batch
    if batch % updates:
        raise ConfigError(
            f"rollout.generation_batch_size = {batch} is not divisible by loss.updates_per_batch = {updates}, which"
            " verl needs"
        )
    return {f"{ACTOR}.ppo_mini_batch_size": batch // updates}


def _objective(recipe: RlRecipe) -> Values:
    losses = {"clipped": "vanilla", "gspo": "gspo", "cispo": "cispo"}
    if recipe.loss.objective not in losses:
        raise ConfigError(
            f"loss.objective = {recipe.loss.objective!r} has no counterpart in verl, which supports {', '.join(losses)}"
        )
    return {f"{ACTOR}.policy_loss.loss_mode": losses[recipe.loss.objective]}


def _algorithm(recipe: RlRecipe) -> Values:
    if recipe.advantage.algorithm != "ema_grpo":
        raise ConfigError(
            f"advantage.algorithm = {recipe.advantage.algorithm!r}: only ema_grpo is available in verl; for verl's own"
            " estimators start verl directly"
        )
    return {"algorithm.adv_estimator": "ema_grpo", "trainer.v1.trainer_mode": "onethinker"}


def _advantage(name: str) -> Callable[[RlRecipe], Values]:
    return lambda recipe: {f"onethinker.advantage.{name}": getattr(recipe.advantage, name)}


def _clip_low(recipe: RlRecipe) -> Values:
    # Our CISPO bounds weights from above alone; ratios are never below 0.
    return {f"{ACTOR}.clip_ratio_low": 1.0 if recipe.loss.objective == "cispo" else recipe.loss.clip_low}


MAP: Mapping[str, Callable[[RlRecipe], Values]] = {
    "model": lambda recipe: {"actor_rollout_ref.model.path": recipe.model},
    "steps": lambda recipe: {"trainer.total_training_steps": recipe.steps},
    "seed": lambda recipe: dict.fromkeys(_SEEDS, recipe.seed),
    "max_row_tokens": _lengths,
    "save_every": lambda recipe: {"trainer.save_freq": recipe.save_every},
    "keep": _keep,
    "dtype": _precision,
    "lora": _lora,
    "gradient_checkpointing": lambda recipe: _of_all("gradient_checkpointing", recipe.gradient_checkpointing),
    "activation_offload": lambda recipe: _of_all("activation_offload", recipe.activation_offload),
    "liger": lambda recipe: {"actor_rollout_ref.model.use_liger": recipe.liger},
    "log.trackers": lambda recipe: {"trainer.logger": ["console", *recipe.log.trackers]},
    "log.project": lambda recipe: {"trainer.project_name": recipe.log.project},
    "rewards": lambda recipe: {
        "reward.custom_reward_function.path": OURS,
        "reward.custom_reward_function.name": "compute_score",
        "reward.custom_reward_function.reward_kwargs.reward_scheme": recipe.rewards,
    },
    "optimizer.learning_rate": lambda recipe: {f"{ACTOR}.optim.lr": recipe.optimizer.learning_rate},
    "optimizer.min_lr_ratio": lambda recipe: {
        f"{ACTOR}.optim.lr_scheduler_type": "constant" if recipe.optimizer.min_lr_ratio == 1 else "cosine",
        f"{ACTOR}.optim.min_lr_ratio": recipe.optimizer.min_lr_ratio,
    },
    "optimizer.warmup_steps": lambda recipe: {f"{ACTOR}.optim.lr_warmup_steps": recipe.optimizer.warmup_steps},
    "optimizer.weight_decay": lambda recipe: {f"{ACTOR}.optim.weight_decay": recipe.optimizer.weight_decay},
    "optimizer.beta1": lambda recipe: {f"{ACTOR}.optim.betas": [recipe.optimizer.beta1, recipe.optimizer.beta2]},
    "optimizer.beta2": lambda recipe: {f"{ACTOR}.optim.betas": [recipe.optimizer.beta1, recipe.optimizer.beta2]},
    "optimizer.max_grad_norm": lambda recipe: {
        f"{ACTOR}.grad_clip": recipe.optimizer.max_grad_norm,
        f"{ACTOR}.optim.clip_grad": recipe.optimizer.max_grad_norm,
    },
    "rollout.generation_batch_size": lambda recipe: {
        "data.train_batch_size": recipe.rollout.generation_batch_size,
        "trainer.v1.sampler.sampler_kwargs.batch_size": recipe.rollout.generation_batch_size,
    },
    "rollout.group_size": lambda recipe: {f"{ROLLOUT}.n": recipe.rollout.group_size},
    "rollout.max_new_tokens": lambda recipe: {"data.max_response_length": recipe.rollout.max_new_tokens},
    "rollout.temperature": lambda recipe: {f"{ROLLOUT}.temperature": recipe.rollout.temperature},
    "rollout.min_accuracy": lambda recipe: {
        "trainer.v1.sampler.sampler_kwargs.min_accuracy": recipe.rollout.min_accuracy
    },
    "rollout.max_accuracy": lambda recipe: {
        "trainer.v1.sampler.sampler_kwargs.max_accuracy": recipe.rollout.max_accuracy
    },
    "advantage.algorithm": _algorithm,
    "advantage.ema_decay": _advantage("ema_decay"),
    "advantage.min_sigma": _advantage("min_sigma"),
    "advantage.clip": _advantage("clip"),
    "advantage.guard": _advantage("guard"),
    "loss.objective": _objective,
    "loss.clip_low": _clip_low,
    "loss.clip_high": lambda recipe: {f"{ACTOR}.clip_ratio_high": recipe.loss.clip_high},
    "loss.kl_coefficient": lambda recipe: {
        f"{ACTOR}.use_kl_loss": recipe.loss.kl_coefficient > 0,
        f"{ACTOR}.kl_loss_coef": recipe.loss.kl_coefficient,
        f"{ACTOR}.kl_loss_type": "low_var_kl",
    },
    "loss.entropy_coefficient": lambda recipe: {f"{ACTOR}.entropy_coeff": recipe.loss.entropy_coefficient},
    "loss.dual_clip": lambda recipe: {f"{ACTOR}.clip_ratio_c": recipe.loss.dual_clip or NO_DUAL_CLIP},
    "loss.reduction": lambda recipe: {
        f"{ACTOR}.loss_agg_mode": _REDUCTIONS[recipe.loss.reduction],
        f"{ACTOR}.loss_scale_factor": recipe.rollout.max_new_tokens,
    },
    "loss.updates_per_batch": _mini_batch,
}
"""For each field what verl is told. `budget`, `coordinates`, `data`, `epochs` and `plugins` decide the rows, the frames
and the environment that verl is started with."""
EXPORTED = ("budget", "coordinates", "data", "epochs", "plugins")
"""Fields that are in force before verl begins."""
HERE = ("rollout.decode_batch_size", "grading.workers", "log.alarms", "log.answers_every", "log.rollouts_mb")
"""Fields of our own process, which change nothing that is learned; verl has settings of its own in their place."""
REFUSED: Mapping[str, str] = {
    "frozen": "verl 0.9.1 has no such setting (freeze_vision_tower is in its files, but has no effect)",
    "validation": "evaluate verl's checkpoints with `onethinker evaluate`",
    "optimizer.kind": "verl always gets AdamW",
    "optimizer.rates": "verl has one learning rate for all weights",
    "optimizer.ema_decay": "verl keeps no average of weights",
    "optimizer.max_bad_steps": "verl does not count bad steps",
    "router_loss": "verl gets no router loss",
    "rollout.replay_experts": "verl's update routes each token anew",
    "rollout.engine": "verl starts its own servers for sampling",
    "rollout.endpoints": "verl starts its own servers for sampling",
    "rollout.vllm": "verl starts its own servers for sampling",
    "rollout.patience_s": "verl starts its own servers for sampling",
    "rollout.weights_folder": "verl sends weights its own way",
    "rollout.lag": "verl's synchronous trainer learns from each batch before it samples the next",
    "rollout.max_refills": "verl refills until a batch is full",
    "rollout.unfilled": "verl refills until a batch is full",
    "grading.seconds": "verl has no time limit for a reward",
    "grading.reward_model": "verl asks its own reward models (reward.reward_model)",
    "grading.rewards": "only the tasks' own rewards are available in verl",
    "loss.rollout_correction": "set verl's own algorithm.rollout_correction by --verl-set",
    "loss.reference_refresh": "verl's reference stays the model that RL started with",
    "loss.kl_schedule": "verl's KL coefficient stays constant",
    "loss.kl_final_share": "verl's KL coefficient stays constant",
}
"""Fields without a counterpart, and why: any value but the default is refused."""


def fields(settings: type[BaseModel] = RlRecipe, prefix: str = "") -> Iterator[str]:
    """Yield the dotted names of a recipe's fields; what is a group of its own in the tables above is one name."""
    whole = {*MAP, *EXPORTED, *HERE, *REFUSED}
    for name, field in settings.model_fields.items():
        kind = field.annotation
        if f"{prefix}{name}" not in whole and isinstance(kind, type) and issubclass(kind, Settings):
            yield from fields(kind, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}"


def value_of(recipe: BaseModel, name: str) -> tuple[Any, Any]:
    """Return the value of a field by its dotted name, and its default."""
    *groups, last = name.split(".")
    for group in groups:
        recipe = getattr(recipe, group)
    return getattr(recipe, last), type(recipe).model_fields[last].get_default(call_default_factory=True)


def check_counterparts(recipe: RlRecipe) -> None:
    """Raise ConfigError, which names each field of a recipe that verl has no counterpart for."""
    lost = []
    for name, reason in REFUSED.items():
        value, default = value_of(recipe, name)
        if value != default:
            lost.append(f"{name} = {value!r}: {reason}")
    if not recipe.data.files:
        lost.append("data.files = (): verl reads rows from files; write scenes with `onethinker data synthetic`")
    if lost:
        raise ConfigError(f"--engine verl has no counterpart for {'; '.join(lost)}")


def to_verl(recipe: RlRecipe) -> dict[str, Values]:
    """Return for each field that has a counterpart what verl is told, in the order of the recipe.

    Raises: ConfigError: a field has none, or a value that verl cannot have.
    """
    check_counterparts(recipe)
    return {name: MAP[name](recipe) for name in fields() if name in MAP}
