"""The next batch, which servers answer while this one is learned from (`rollout.lag = 1`).

Its prompts are those that follow in the order of the data, as with `rollout.lag = 0`; its answers are by the weights
before the update that goes on meanwhile.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from onethinker.core.errors import ConfigError
from onethinker.core.sample import Sample
from onethinker.rewards.grader import Grader
from onethinker.rl.groups import AskedGroup, being_graded, read_prompts, sampling_params
from onethinker.rl.sampler import EngineSampler, RolloutRequest, Sampler, Sampling
from onethinker.training.config import RlRecipe
from onethinker.training.session import TrainingSession


@dataclass(frozen=True)
class Ahead:
    """The prompts of this process in the next batch, which are being answered; `skipped` could not be read."""

    session: TrainingSession
    recipe: RlRecipe
    indices: Sequence[int]
    samples: Sequence[Sample]
    requests: Sequence[RolloutRequest]
    sampling: Sampling
    skipped: Sequence[dict[str, Any]]

    @classmethod
    def ask(cls, session: TrainingSession, recipe: RlRecipe, sampler: Sampler | EngineSampler, cursor: int) -> "Ahead":
        """Let the batch from `cursor` on be sampled; all processes call it.

        Raises: ConfigError: the sampler cannot do so while the model is trained. DataError: a sample cannot be read.
        """
        if not isinstance(sampler, EngineSampler):
            raise ConfigError(
                f"rollout.lag = 1 needs a sampler with a method `begin`, and {type(sampler).__name__} does not have one"
            )
        data, settings = session.data, recipe.rollout
        with session.clock.phase("data"):
            indices, before = data.my_indices(cursor, settings.generation_batch_size), len(data.skipped)
            samples, requests = read_prompts(session, recipe, indices)
            # They count to the step that learns from the batch: one that is never reached reads them again.
            skipped = data.skipped[before:]
            del data.skipped[before:]
        sampling = sampler.begin(requests, sampling_params(recipe), settings.group_size)
        return cls(session, recipe, indices, samples, requests, sampling, skipped)

    def wait(self) -> None:
        """Return when nothing is in flight any more in any process, so that servers may be sent other weights."""
        with self.session.clock.phase("rollout"):
            self.sampling.wait()
            # A server that comes back meanwhile may be told the weights of before, which the main process removes next.
            self.session.collectives.wait()

    def groups(self, grader: Grader) -> Iterator[AskedGroup]:
        """Yield the groups, whose answers are being graded. Raises: EngineError: they could not be sampled."""
        self.session.data.skipped += self.skipped
        asked = list(zip(self.indices, self.samples, self.requests, strict=True))
        with self.session.clock.phase("rollout"):
            yield from being_graded(self.session, self.recipe, grader, asked, self.sampling.rollouts())
