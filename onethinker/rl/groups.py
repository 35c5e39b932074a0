"""Groups of answers to one prompt: how they are asked for and graded, which of them give a signal, and how often others
are sampled in place of those that give none.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from typing import Literal

from onethinker.core.errors import ConfigError, DataError
from onethinker.core.frames import Clip
from onethinker.core.request import SamplingParams
from onethinker.core.sample import Medium, Sample
from onethinker.inference.chat import plain_text, spelled_tokens
from onethinker.inference.encode import answer_opening
from onethinker.rewards.extra import RewardedGrade
from onethinker.rewards.grader import Failure, Graded, Grader, Grading, Ungraded
from onethinker.rl.rescoring import rescored
from onethinker.rl.sampler import EngineSampler, Rollout, RolloutRequest, Sampler
from onethinker.tasks import task_of
from onethinker.tasks.grading import Grade
from onethinker.tasks.pixels import frame_px_of
from onethinker.tasks.places import FrameSize
from onethinker.training.config import RlRecipe
from onethinker.training.inputs import too_long_text
from onethinker.training.lengths import Length
from onethinker.training.metrics.task_rows import Summary, covers_whole_frame, note_answer
from onethinker.training.packing.row import Prompt
from onethinker.training.rl_settings import RolloutSettings
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
    frame_px: FrameSize | None = None
    """Size of the frames in whose pixels the completions count places, None for thousandths."""

    @property
    def accuracy(self) -> float:
        """Mean accuracy of the answers."""
        return sum(grade.accuracy for grade in self.grades) / len(self.grades)

    @property
    def num_tokens(self) -> int:
        """Tokens of the prompt and of all answers."""
        return len(self.prompt.input_ids) + sum(len(rollout.ids) for rollout in self.rollouts)

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
    grading: Grading | Future[Graded]

    def graded(self) -> Group | LostGroup:
        """Wait for the grades, and return the group with them."""
        grades, group = self.grading.result(), self.group
        if isinstance(grades, Ungraded):
            return LostGroup(group.index, group.task, grades.reason, grades.text)
        return replace(group, grades=grades)


@dataclass(frozen=True)
class Batch:
    """What a step has sampled: this process's groups by index, and of everybody's in order the summaries and the lost
    ones.

    `cursor` is the index of the next prompt. `broken` are the ids of samples to which the model gave answers whose
    log-probabilities are not finite; there are no groups then.
    """

    groups: dict[int, Group]
    summaries: tuple[Summary, ...]
    lost: tuple[LostGroup, ...]
    cursor: int
    broken: tuple[str, ...] = ()

    @property
    def with_signal(self) -> list[Summary]:
        """The groups whose answers differ enough to be learned from, also those beyond what a step takes."""
        return [summary for summary in self.summaries if summary.kept]

    @property
    def dropped(self) -> dict[str, int]:
        """How many groups were dropped for which reason."""
        reasons = [summary.dropped for summary in self.summaries if summary.dropped is not None]
        return dict(sorted(Counter([*reasons, *(lost.reason for lost in self.lost)]).items()))


def collect(
    session: TrainingSession,
    recipe: RlRecipe,
    sampler: Sampler | EngineSampler,
    grader: Grader,
    ahead: Iterable[AskedGroup] | None = None,
) -> Batch:
    """Return the groups of a step: prompts are sampled in batches until enough of them give a signal or the refills are
    used up.

    Then the step has fewer groups, none even, unless there never was a signal or the recipe wants a full batch. `ahead`
    is the first batch, where it has been sampled already.

    Raises: ConfigError: with the tasks that gave no signal. DataError: a sample cannot be read, nor those that could
    stand in.
    """
    wanted, cursor = recipe.rollout.generation_batch_size, session.progress.cursor
    groups: dict[int, Group] = {}
    summaries: list[Summary] = []
    lost: list[LostGroup] = []
    for _ in range(1 + recipe.rollout.max_refills):
        if ahead is None:
            ahead = ask_groups(session, recipe, sampler, grader, session.data.my_indices(cursor, wanted))
        # Servers answer in any order; what is learned from has always the same.
        asked, ahead = sorted(ahead, key=lambda each: each.group.index), None
        if isinstance(sampler, EngineSampler):
            asked = _scored_here(session, recipe, asked)
        cursor += wanted
        broken = session.collectives.gather([each.group.sample.id for each in asked if not each.group.is_finite])
        if broken:
            return Batch({}, (), (), cursor, tuple(broken))
        with session.clock.phase("grading"):
            graded = [each.graded() for each in asked]
        groups |= {each.group.index: each.group for each in asked}
        groups |= {group.index: group for group in graded if isinstance(group, Group)}
        summaries += session.collectives.gather([_summary(each, recipe) for each in graded if isinstance(each, Group)])
        lost += session.collectives.gather([each for each in graded if isinstance(each, LostGroup)])
        if sum(summary.kept for summary in summaries) >= wanted:
            break
    summaries.sort(key=lambda group: group.index)
    lost.sort(key=lambda group: group.index)
    batch = Batch(groups, tuple(summaries), tuple(lost), cursor)
    _check_signal(batch, recipe.rollout, is_first=not session.progress.ema)
    return batch


def drop_reason(accuracy: float, settings: RolloutSettings) -> Literal["all_wrong", "all_right"] | None:
    """Return why a group with this mean accuracy gives no signal, or None where it gives one.

    >>> [drop_reason(accuracy, RolloutSettings()) for accuracy in (0.0, 0.5, 1.0)]
    ['all_wrong', None, 'all_right']
    """
    if accuracy <= settings.min_accuracy:
        return "all_wrong"
    return "all_right" if accuracy >= settings.max_accuracy else None


def _check_signal(batch: Batch, settings: RolloutSettings, *, is_first: bool) -> None:
    """Raises: ConfigError: there are too few groups with a signal to go on."""
    kept = len(batch.with_signal)
    if kept >= settings.generation_batch_size or (settings.unfilled == "smaller" and (kept or not is_first)):
        return
    reasons: dict[str, Counter[str]] = {}
    for summary in batch.summaries:
        reasons.setdefault(summary.task, Counter())[summary.dropped or "kept"] += 1
    for lost in batch.lost:
        reasons.setdefault(lost.task, Counter())[lost.reason] += 1
    tasks = "; ".join(
        f"{task}: {', '.join(f'{count} {reason}' for reason, count in sorted(counts.items()))}"
        for task, counts in sorted(reasons.items())
        if "kept" not in counts
    )
    failure = f" Not graded: {batch.lost[-1].text}." if batch.lost else ""
    raise ConfigError(
        f"{kept or 'none'} of {len(batch.summaries) + len(batch.lost)} groups gave a signal, but"
        f" {settings.generation_batch_size} are needed. Tasks without any signal: {tasks or 'none'}.{failure} Run SFT"
        " for longer first, choose other data, widen rollout.min_accuracy and rollout.max_accuracy, raise"
        ' rollout.max_refills, or accept smaller batches with rollout.unfilled = "smaller"'
    )


def _terms(group: Group) -> dict[str, float]:
    """Return the mean of each term of a group's rewards, {} where the task's own is the only one."""
    terms = [grade.rewards for grade in group.grades if isinstance(grade, RewardedGrade)]
    return {name: sum(own[name] for own in terms) / len(terms) for name in terms[0]} if terms else {}


def _summary(group: Group, recipe: RlRecipe) -> Summary:
    sample = group.sample
    task = task_of(sample)
    return Summary(
        index=group.index,
        task=group.task,
        rewards=tuple(grade.reward for grade in group.grades),
        accuracy=group.accuracy,
        format=sum(grade.format for grade in group.grades) / len(group.grades),
        dropped=drop_reason(group.accuracy, recipe.rollout),
        prompt_tokens=len(group.prompt.input_ids),
        lengths=tuple(len(rollout.ids) for rollout in group.rollouts),
        truncated=sum(rollout.truncated for rollout in group.rollouts),
        answers=tuple(map(note_answer, group.texts)),
        whole_frames=tuple(covers_whole_frame(text, task, sample.options, group.frame_px) for text in group.texts),
        terms=_terms(group),
    )


def ask_groups(
    session: TrainingSession, recipe: RlRecipe, sampler: Sampler | EngineSampler, grader: Grader, indices: Sequence[int]
) -> Iterator[AskedGroup]:
    """Yield a group for each index in the endless order, sampled a few prompts at a time; the indices alone decide
    what is drawn.
    """
    settings = recipe.rollout
    for first in range(0, len(indices), settings.decode_batch_size):
        some = indices[first : first + settings.decode_batch_size]
        with session.clock.phase("data"):
            samples, requests = read_prompts(session, recipe, some)
        asked = list(zip(some, samples, requests, strict=True))
        with session.clock.phase("rollout"):
            yield from being_graded(session, recipe, grader, asked, _sampled(sampler, requests, recipe))


def _sampled(
    sampler: Sampler | EngineSampler, requests: Sequence[RolloutRequest], recipe: RlRecipe
) -> Iterable[tuple[int, Sequence[Rollout]]]:
    """Return the index of each request with its completions, as they come where an engine of its own samples."""
    params, group_size = sampling_params(recipe), recipe.rollout.group_size
    if isinstance(sampler, EngineSampler):
        return sampler.begin(requests, params, group_size).rollouts()
    return enumerate(sampler.sample(requests, params, group_size))


def _scored_here(session: TrainingSession, recipe: RlRecipe, asked: Sequence[AskedGroup]) -> list[AskedGroup]:
    """Return groups that an engine has sampled with the log-probabilities of the model in training as it is now; all
    processes take part.
    """
    groups = [(each.group.prompt, each.group.rollouts) for each in asked]
    with session.clock.phase("rollout"):
        scored = rescored(session, groups, temperature=recipe.rollout.temperature)
    return [
        replace(each, group=replace(each.group, rollouts=rollouts))
        for each, rollouts in zip(asked, scored, strict=True)
    ]


def sampling_params(recipe: RlRecipe) -> SamplingParams:
    """Return what a recipe says of how answers are drawn."""
    return SamplingParams(recipe.rollout.max_new_tokens, recipe.rollout.temperature)


def being_graded(
    session: TrainingSession,
    recipe: RlRecipe,
    grader: Grader,
    asked: Sequence[tuple[int, Sample, RolloutRequest]],
    sampled: Iterable[tuple[int, Sequence[Rollout]]],
) -> Iterator[AskedGroup]:
    """Yield each group as soon as it has been sampled and its grades are asked for; `sampled` says of which of the
    `asked` each is.
    """
    tokenizer = session.processor.tokenizer
    spelled, opening = spelled_tokens(tokenizer), answer_opening(session.processor)
    for position, rollouts in sampled:
        index, sample, request = asked[position]
        texts = tuple(
            opening + tokenizer.decode(rollout.ids if rollout.truncated else rollout.ids[:-1]) for rollout in rollouts
        )
        frame_px = frame_px_of(request.request.media, session.data.coordinates)
        with session.clock.phase("grading"):
            grading = grader.submit(
                as_read(sample, spelled),
                [plain_text(text, spelled) for text in texts],
                frame_px=frame_px,
                tokens=[len(rollout.ids) for rollout in rollouts],
                truncated=[rollout.truncated for rollout in rollouts],
                max_tokens=recipe.rollout.max_new_tokens,
            )
        task = task_of(sample).key
        group = Group(index, task, sample, request.prompt, tuple(rollouts), texts, (), frame_px)
        yield AskedGroup(group, grading)


def read_prompts(
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
