"""ZeRO-2 by DeepSpeed: every process keeps a shard of the gradients and of the optimizer, and all of the weights.

`accelerate launch --config_file …` says by the environment that it is wanted; only then is DeepSpeed imported. Its
optimizer averages gradients in the order in which they arrive, and that must be the same in every process. For the
language model it is. What belongs to vision is handed over last and together, whatever a row shows.
"""

import importlib.util
import math
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn
from torch.func import functional_call

from onethinker.core.errors import ConfigError
from onethinker.families.registry import family_of
from onethinker.training.config import Recipe
from onethinker.training.optimizer import make_optimizer, set_learning_rate
from onethinker.training.parallel.base import NamedTensors
from onethinker.training.parallel.collectives import full_tensors
from onethinker.training.parallel.moments import read_moments

MOMENTS = ("exp_avg", "exp_avg_sq")
"""AdamW's two moving averages, as torch names them."""


def check_zero2(recipe: Recipe) -> None:
    """Raise ConfigError where DeepSpeed is missing, is asked for another stage than 2, or cannot follow the recipe."""
    check_installed()
    settings = _settings()
    offload = {settings.get(name, {}).get("device", "none") for name in ("offload_optimizer", "offload_param")}
    if settings["stage"] != 2 or offload != {"none"}:
        raise ConfigError(
            "DeepSpeed is supported with zero_stage: 2 and no offloading (it shards gradients and optimizer): set"
            " these. Instead of its stage 3 use --accelerate-config fsdp2_full, instead of its offloading fsdp2_offload"
        )
    if recipe.lora is not None and recipe.lora.four_bit:
        raise ConfigError("lora.four_bit does not work with DeepSpeed: leave out one of them")
    if recipe.lora is None and recipe.dtype == "bfloat16":
        raise ConfigError(
            'dtype = "bfloat16" does not work with DeepSpeed, which keeps float32 weights: set dtype = "mixed"'
        )


def check_installed() -> None:
    """Raise ConfigError unless DeepSpeed is there."""
    if importlib.util.find_spec("deepspeed") is None:
        raise ConfigError(
            "accelerate's config file asks for DeepSpeed, which is not installed: pip install 'onethinker[deepspeed]'"
        )


def _settings() -> dict[str, Any]:
    from accelerate.utils import DeepSpeedPlugin

    return dict(DeepSpeedPlugin().deepspeed_config["zero_optimization"])


@dataclass(frozen=True)
class Zero2:
    """A model whose gradients and optimizer are sharded by DeepSpeed's engine."""

    model: Any
    optimizer: torch.optim.Optimizer
    engine: Any
    rows_in_step: ClassVar[bool] = True

    @classmethod
    def wrap(cls, model: Any, recipe: Recipe, device: torch.device) -> Self:
        """Make the optimizer of a model and shard it with the gradients."""
        import deepspeed
        from deepspeed.utils.mixed_precision_linkage import lazy_init_hp_params_optimizer_state

        optimizer = make_optimizer(model.to(device), recipe.optimizer)
        config = {
            "train_micro_batch_size_per_gpu": 1,
            "gradient_accumulation_steps": 1,
            "gradient_clipping": recipe.optimizer.max_grad_norm,
            "zero_optimization": _settings(),
            # Gradients are averaged in float32: no module is named whose gradients might travel in less.
            "torch_autocast": {
                "enabled": recipe.dtype == "mixed",
                "dtype": "bfloat16",
                "lower_precision_safe_modules": [],
            },
        }
        engine, *_ = deepspeed.initialize(
            model=VisionLast(model), optimizer=optimizer, config=config, dist_init_required=False
        )
        # Of several groups DeepSpeed makes only the first one's moments known by parameter; what it finds made it takes
        # as it is.
        state = engine.optimizer.optimizer.state
        for shard, parameters in zip(_shards(engine), engine.optimizer.bit16_groups, strict=True):
            state[shard] = {
                "step": torch.zeros((), device=shard.device),
                **{kind: torch.zeros_like(shard) for kind in MOMENTS},
            }
            lazy_init_hp_params_optimizer_state(parameters, shard, state)
        return cls(model, optimizer, engine)

    def share_frozen(self, model: Any, device: torch.device) -> Any:
        """Return the model, brought to the device: weights are not sharded."""
        return model.to(device)

    @property
    def callee(self) -> Any:
        """DeepSpeed's engine, which is to see every forward pass that it gets the gradients of."""
        return self.engine

    def backward(self, loss: Tensor, *, last: bool) -> None:
        """Add a row's gradients to this process's shard."""
        self.engine.set_gradient_accumulation_boundary(last)
        self.engine.backward(loss)

    def reduce_gradients(self) -> Tensor:
        """Return the norm of the gradient, which is averaged already; NaN where it is not finite, which DeepSpeed says
        by a negative one.
        """
        norm = float(self.engine.optimizer.scaled_global_norm())
        return torch.tensor(norm if norm >= 0 else math.nan, dtype=torch.float64)

    def step(self, learning_rate: float, norm: Tensor) -> None:
        """Take a step; DeepSpeed scales the gradient down itself."""
        set_learning_rate(self.engine.optimizer, learning_rate)
        self.engine.step()

    def drop(self) -> None:
        """Forget the gradients and take no step: DeepSpeed itself does so where they are not finite."""
        for gradients in self.engine.optimizer.averaged_gradients.values():
            for gradient in gradients:
                gradient.fill_(torch.nan)
        self.engine.step()
        assert self.engine.optimizer.overflow, "DeepSpeed has taken a step with a gradient that is not finite"
        self.optimizer.zero_grad()

    def own_gradients(self) -> Iterable[tuple[str, Tensor | None]]:
        """Return none: the shards are cut across parameters."""
        return ()

    def gradients(self) -> Iterator[tuple[str, Tensor | None]]:
        """Yield each trained parameter's name and full gradient; every process must take all of them."""
        from deepspeed.utils import safe_get_full_grad

        for name, parameter in self._trained().items():
            yield name, safe_get_full_grad(parameter)

    def unsharded(self) -> AbstractContextManager[None]:
        """Do nothing: the weights are there."""
        return nullcontext()

    def together(self) -> AbstractContextManager[None]:
        """Do nothing: the weights are there."""
        return nullcontext()

    def weights(self, *, keep: bool, dtype: torch.dtype | None = None) -> dict[str, Tensor] | None:
        """Return None: the model holds its weights; all of them where they are wanted in another dtype."""
        return None if dtype is None else full_tensors(dict(self.model.named_parameters()), keep=keep, dtype=dtype)

    def own_moments(self) -> NamedTensors:
        """Yield this process's shard of the optimizer's moments, one vector for each group of parameters."""
        for shard in _shards(self.engine):
            for kind in MOMENTS:
                yield f"the optimizer's {kind}", self.engine.optimizer.optimizer.state[shard][kind]

    def moments(self, *, keep: bool) -> dict[str, Tensor]:
        """Return the optimizer's tensors under the names of their parameters, where they are kept."""
        from deepspeed.utils import safe_get_full_optimizer_state

        steps = self.engine.optimizer.optimizer.state[_shards(self.engine)[0]]["step"]
        kept = {}
        for name, parameter in self._trained().items():
            for kind in MOMENTS:
                full = safe_get_full_optimizer_state(parameter, kind)
                if keep:
                    kept[f"{name}/{kind}"] = full.cpu()
            kept[f"{name}/step"] = steps.cpu().clone()
        return kept if keep else {}

    def sharded_moments(self) -> dict[str, Tensor] | None:
        """Return None: one process writes them all."""
        return None

    def load_moments(self, path: Path) -> None:
        """Read a file of `moments`, or of an optimizer that was not sharded: the most steps of any parameter then
        count for all.

        Raises: CheckpointError: the file is damaged or belongs to another model.
        """
        from deepspeed.utils import safe_set_full_optimizer_state

        steps = 0.0
        for parameter, kind, value in read_moments(self.model, path):
            if kind == "step":
                steps = max(steps, float(value))
            else:
                safe_set_full_optimizer_state(parameter, value, kind)
        for shard in _shards(self.engine):
            self.engine.optimizer.optimizer.state[shard]["step"].fill_(steps)

    def _trained(self) -> Mapping[str, nn.Parameter]:
        return {name: parameter for name, parameter in self.model.named_parameters() if parameter.requires_grad}


def _shards(engine: Any) -> list[Tensor]:
    """Return this process's shard of each group of parameters, one long vector each."""
    return [group["params"][0] for group in engine.optimizer.param_groups]


class _Together(torch.autograd.Function):
    """Hands on what it gets, and gives back all gradients at one time; where there is none, zeros."""

    @staticmethod
    def forward(ctx: Any, *weights: Tensor) -> tuple[Tensor, ...]:
        return tuple(weight.view_as(weight) for weight in weights)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, ...]:
        return gradients


class VisionLast(nn.Module):
    """A model whose trained vision tower and mergers get their gradients after all others, in one order, also if
    nothing is seen.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model, self._part_of = model, family_of(model).part_of

    def forward(self, **inputs: Any) -> Any:
        """Return what the model returns."""
        trained = ((name, p) for name, p in self.model.named_parameters() if p.requires_grad)
        seen = {name: p for name, p in trained if self._part_of(name) != "language"}
        if not seen:
            return self.model(**inputs)
        # Autograd takes what was made first last; nothing waits behind it then.
        stand_ins = _Together.apply(*seen.values())
        output = functional_call(self.model, dict(zip(seen, stand_ins, strict=True)), (), inputs)
        output.logits = output.logits + stand_ins[0].flatten()[0] * 0.0
        return output
