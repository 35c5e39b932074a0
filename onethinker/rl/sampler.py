"""The socket of whatever samples answers in RL: the model in training itself, or a server that is sent its weights."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from torch import Tensor

from onethinker.core.request import Request, SamplingParams
from onethinker.training.packing.row import Prompt


@dataclass(frozen=True)
class RolloutRequest:
    """A prompt to be answered: as a request, whose seed decides the answers, and encoded for the model in training."""

    request: Request
    prompt: Prompt


@dataclass(frozen=True)
class Rollout:
    """One sampled completion: token ids, which end with the end token unless it is truncated, and the log-probability
    of each under the model that sampled it.

    Log-probabilities are of the logits divided by the temperature, before any token is forbidden, as the loss computes
    them again. Where another engine than the model in training has sampled, `logps` are in the end those of the model
    in training (the π_old of the loss), `engine_logps` what the engine says of its own, and `version` the steps after
    which its weights were written.
    """

    ids: Tensor
    logps: Tensor
    truncated: bool
    engine_logps: Tensor | None = None
    version: int | None = None
    experts: Tensor | None = None
    """The experts (R, L, K) that each token was predicted with, layer by layer; None without, and of servers."""


class BaseSampler(Protocol):
    """What answers prompts in RL; each process of a run has its own."""

    def load_weights(self, version: int) -> None:
        """Sample from now on with the weights after so many steps; all processes call it after each step."""

    def close(self) -> None:
        """Give back what it holds: connections, files."""


class Sampler(BaseSampler, Protocol):
    """A sampler that may call the model in training, whose weights every process holds meanwhile."""

    def sample(
        self, requests: Sequence[RolloutRequest], params: SamplingParams, group_size: int
    ) -> Sequence[Sequence[Rollout]]:
        """Return a group of completions for each request, in their order, on the device of the prompts."""


class Sampling(Protocol):
    """Completions that are being sampled."""

    def wait(self) -> None:
        """Return when nothing is in flight any more, be it that it failed."""

    def rollouts(self) -> Iterator[tuple[int, Sequence[Rollout]]]:
        """Yield the index of each request with its group of completions, as they come, on the device of the prompts.

        Their log-probabilities are those of the engine; the model in training computes its own afterwards.
        """


@runtime_checkable
class EngineSampler(BaseSampler, Protocol):
    """A sampler with an engine of its own, such as servers: it never calls the model in training, whose weights stay
    sharded, and can sample while that learns, as `rollout.lag = 1` wants it.
    """

    def begin(self, requests: Sequence[RolloutRequest], params: SamplingParams, group_size: int) -> Sampling:
        """Return at once; `load_weights` is not called before its end."""
