"""Groups of answers to one prompt: how they are asked for, and what becomes of them once they are graded."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from onethinker.core.errors import DataError
from onethinker.core.frames import Clip
from onethinker.core.request import SamplingParams
from onethinker.core.sample import Medium, Sample
from onethinker.inference.chat import plain_text, spelled_tokens
from onethinker.inference.encode import answer_opening
from onethinker.rewards.grader import Failure, Grader, Grading, Ungraded
from onethinker.rl.sampler import Rollout, RolloutRequest, Sampler
from onethinker.tasks import task_of
from onethinker.tasks.grading import Grade
from onethinker.training.config import RlRecipe
from onethinker.training.inputs import too_long_text
from onethinker.training.lengths import Length
from onethinker.training.packing.prefix_group import Prompt
from onethinker.training.session import TrainingSession


@dataclass(frozen=True)
class Group:
    """One prompt with its completions and their grades, none if they could not be graded; `index` is its position in
    the endless order.
    """

    index: int
    task: str
    sample: Sample
    prompt: Prompt
    rollouts: tuple[Rollout, ...]
    texts: tuple[str, ...]
    grades: tuple[Grade, ...]

    @property
    def accuracy(self) -> float:
        """Mean accuracy of the answers."""
        return sum(grade.accuracy for grade in self.grades) / len(self.grades)

    @property
    def is_finite(self) -> bool:
        """Whether all its log-probabilities are numbers."""
        return all(bool(rollout.logps.isfinite().all()) for rollout in self.rollouts)


@dataclass(frozen=True)
class LostGroup:
    """A group that could not be graded, and so is in no mean; `text` says what happened."""

    index: int
    task: str
    reason: Failure
    text: str


@dataclass(frozen=True)
class AskedGroup:
    """A group whose completions are being graded."""

    group: Group
    grading: Grading

    def graded(self) -> Group | LostGroup:
        """Wait for the grades, and return the group with them."""
        grades, group = self.grading.result(), self.group
        if isinstance(grades, Ungraded):
            return LostGroup(group.index, group.task, grades.reason, grades.text)
        return replace(group, grades=grades)


def ask_groups(
    session: TrainingSession, recipe: RlRecipe, sampler: Sampler, grader: Grader, indices: Sequence[int]
) -> Iterator[AskedGroup]:
    """Yield a group for each index in the endless order, sampled a few prompts at a time; the indices alone decide
    what is drawn.
    """
    settings, tokenizer = recipe.rollout, session.processor.tokenizer
    params = SamplingParams(settings.max_new_tokens, settings.temperature)
    spelled, opening = spelled_tokens(tokenizer), answer_opening(session.processor)
    for first in range(0, len(indices), settings.decode_batch_size):
        some = indices[first : first + settings.decode_batch_size]
        with session.clock.phase("data"):
            samples, requests = _read(session, recipe, some)
        with session.clock.phase("rollout"):
            groups = sampler.sample(requests, params, settings.group_size)
        for index, sample, request, rollouts in zip(some, samples, requests, groups, strict=True):
            texts = tuple(
                opening + tokenizer.decode(rollout.ids if rollout.truncated else rollout.ids[:-1])
                for rollout in rollouts
            )
            with session.clock.phase("grading"):
                grading = grader.submit(as_read(sample, spelled), [plain_text(text, spelled) for text in texts])
            task = task_of(sample).key
            yield AskedGroup(Group(index, task, sample, request.prompt, tuple(rollouts), texts, ()), grading)


def _read(
    session: TrainingSession, recipe: RlRecipe, indices: Iterable[int]
) -> tuple[list[Sample], list[RolloutRequest]]:
    """Return the samples with these indices, and what is asked about them.

    Raises: DataError: a prompt with its longest answer fits into no row: a scene, or media that are not as their
    headers promised.
    """
    opened: dict[Medium, Clip] = {}
    read = [session.data.read(index, opened, seed=recipe.seed * 1_000_003 + index) for index in indices]
    prompts = session.data.prompts([request for _, request in read])
    for (sample, _), prompt in zip(read, prompts, strict=True):
        length = Length(len(prompt.input_ids), prompt.visual_tokens, recipe.rollout.max_new_tokens)
        if length.total > recipe.max_row_tokens:
            raise DataError(
                f"sample {sample.id!r}: {too_long_text(length, recipe)}; raise max_row_tokens, or lower"
                " rollout.max_new_tokens"
            )
    requests = [RolloutRequest(request, prompt) for (_, request), prompt in zip(read, prompts, strict=True)]
    return [sample for sample, _ in read], requests


def as_read(sample: Sample, spelled: Sequence[str]) -> Sample:
    """Return a sample whose reference and options spell special tokens as the prompt shows them, and SFT teaches them:
    broken up.
    """
    return replace(
        sample,
        truth=plain_text(sample.truth, spelled),
        options=tuple(plain_text(option, spelled) for option in sample.options),
    )
