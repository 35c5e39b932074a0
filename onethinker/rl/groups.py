"""One batch of RL: prompts are drawn, answered and graded until enough groups of answers give a signal.

Dimensions: P groups, G answers per group, T tokens.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from accelerate.utils import gather_object

from onethinker.core.errors import ConfigError, DataError
from onethinker.core.frames import Clip
from onethinker.core.sample import Medium, Sample
from onethinker.inference.chat import plain_text, spelled_tokens
from onethinker.inference.encode import answer_opening
from onethinker.rewards.grader import Failure, Grader, Grading, Ungraded
from onethinker.rl.rollouts import Rollout, sample_answers
from onethinker.tasks import task_of
from onethinker.tasks.grading import Grade
from onethinker.training.config import RlRecipe, RolloutSettings
from onethinker.training.inputs import too_long_text
from onethinker.training.lengths import Length
from onethinker.training.metrics.records import Summary, covers_whole_frame, note_answer
from onethinker.training.packing.prefix_group import Prompt
from onethinker.training.session import Run


@dataclass(frozen=True)
class Group:
    """One prompt with its G answers and their grades, none if they could not be graded; `number` is its place in the
    endless order.
    """

    number: int
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


Asked = tuple[Group, Grading]
"""A group without grades, and what will hold them."""


@dataclass(frozen=True)
class Lost:
    """A group that could not be graded, and so is in no mean; `text` says what happened."""

    number: int
    task: str
    reason: Failure
    text: str


@dataclass(frozen=True)
class Batch:
    """What a step has sampled: this process's groups by number, and of everybody's in order the summaries and the lost
    ones.

    `cursor` is the number of the next prompt. `broken` are the ids of samples to which the model gave answers whose
    log-probabilities are not finite; there are no groups then.
    """

    groups: dict[int, Group]
    summaries: tuple[Summary, ...]
    lost: tuple[Lost, ...]
    cursor: int
    broken: tuple[str, ...] = ()

    @property
    def dropped(self) -> dict[str, int]:
        """Return how many groups were dropped for which reason."""
        reasons = [summary.dropped for summary in self.summaries if summary.dropped is not None]
        return dict(sorted(Counter([*reasons, *(lost.reason for lost in self.lost)]).items()))


def collect(run: Run, recipe: RlRecipe, grader: Grader) -> Batch:
    """Return the groups of a step: prompts are drawn in batches until enough of them give a signal or the refills are
    used up.

    Then the step has fewer groups, none even, unless there never was a signal or the recipe wants a full batch.

    Raises: ConfigError: with the tasks that gave no signal. DataError: a sample cannot be read, nor those that could
    stand in.
    """
    settings, cursor = recipe.rollout, run.progress.cursor
    groups: dict[int, Group] = {}
    summaries: list[Summary] = []
    lost: list[Lost] = []
    for _ in range(1 + settings.max_refills):
        mine = run.my_numbers(cursor, settings.prompts_per_step)
        asked: list[Asked] = []
        for first in range(0, len(mine), settings.prompts_at_once):
            asked += _answer(run, recipe, grader, mine[first : first + settings.prompts_at_once])
        broken = gather_object(
            [
                group.sample.id
                for group, _ in asked
                if not all(bool(each.logps.isfinite().all()) for each in group.rollouts)
            ]
        )
        if broken:
            return Batch({}, (), (), cursor + settings.prompts_per_step, tuple(broken))
        found: list[Summary | Lost] = []
        for group, grading in asked:
            with run.clock.phase("grading"):
                grades = grading.result()
            if isinstance(grades, Ungraded):
                found.append(Lost(group.number, group.task, grades.reason, grades.text))
            else:
                group = replace(group, grades=grades)
                found.append(_summary(group, recipe))
            groups[group.number] = group
        for each in gather_object(found):
            (lost if isinstance(each, Lost) else summaries).append(each)
        cursor += settings.prompts_per_step
        if sum(summary.kept for summary in summaries) >= settings.prompts_per_step:
            break
    batch = Batch(groups, tuple(sorted(summaries, key=_number)), tuple(sorted(lost, key=_number)), cursor)
    _check_signal(batch, settings, is_first=not run.progress.ema)
    return batch


def _number(group: Summary | Lost) -> int:
    return group.number


def _check_signal(batch: Batch, settings: RolloutSettings, *, is_first: bool) -> None:
    """Raises: ConfigError: there are too few groups with a signal to go on."""
    kept = sum(summary.kept for summary in batch.summaries)
    if kept >= settings.prompts_per_step or (settings.unfilled == "smaller" and (kept or not is_first)):
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
        f"{kept or 'none'} of {len(batch.summaries) + len(batch.lost)} groups gave a signal,"
        f" {settings.prompts_per_step} are needed. Tasks without any: {tasks or 'none'}.{failure} Train longer by SFT"
        " first, choose other data, widen rollout.min_accuracy and rollout.max_accuracy, allow more"
        ' rollout.max_refills, or go on with smaller batches by rollout.unfilled = "smaller"'
    )


def _answer(run: Run, recipe: RlRecipe, grader: Grader, numbers: Sequence[int]) -> list[Asked]:
    """Return the groups of a few prompts, decoded together, with their grading under way; the numbers alone decide what
    is drawn.
    """
    settings, config = recipe.rollout, run.model.config
    with run.clock.phase("data"):
        opened: dict[Medium, Clip] = {}
        read = [run.read(number, opened) for number in numbers]
        prompts = run.prompts([request for _, request in read])
        for (sample, _), prompt in zip(read, prompts, strict=True):
            _check_fits(recipe, sample, prompt)
    size = settings.answers_per_prompt, settings.max_new_tokens
    uniforms_PGT = torch.stack(
        [
            torch.rand(size, generator=torch.Generator().manual_seed(recipe.seed * 1_000_003 + number))
            for number in numbers
        ]
    )
    tokenizer = run.processor.tokenizer
    spelled = spelled_tokens(tokenizer)
    with run.clock.phase("rollout"), run.precision():
        rollouts = sample_answers(
            run.model,
            prompts,
            uniforms_PGT,
            temperature=settings.temperature,
            end_token=tokenizer.eos_token_id,
            forbidden_tokens=(config.image_token_id, config.video_token_id),
        )
    asked, begun = [], answer_opening(run.processor)
    for number, (sample, _), prompt, answers in zip(numbers, read, prompts, rollouts, strict=True):
        texts = tuple(begun + tokenizer.decode(answer.ids[:-1] if answer.ended else answer.ids) for answer in answers)
        task = task_of(sample)
        with run.clock.phase("grading"):
            grading = grader.submit(_as_read(sample, spelled), [plain_text(text, spelled) for text in texts])
        asked.append((Group(number, task.statistics, sample, prompt, tuple(answers), texts, ()), grading))
    return asked


def _check_fits(recipe: RlRecipe, sample: Sample, prompt: Prompt) -> None:
    """Raise DataError for a prompt whose longest answer fits into no row: a scene, or media that are not as their
    headers promised.
    """
    length = Length(len(prompt.input_ids), prompt.visual_tokens, recipe.rollout.max_new_tokens)
    if length.total > recipe.max_row_tokens:
        raise DataError(
            f"sample {sample.id!r}: {too_long_text(length, recipe)}; raise max_row_tokens, or lower"
            " rollout.max_new_tokens"
        )


def _as_read(sample: Sample, spelled: Sequence[str]) -> Sample:
    """Return a sample whose reference and options spell special tokens as the prompt shows them, and SFT teaches them:
    broken up.
    """
    return replace(
        sample,
        truth=plain_text(sample.truth, spelled),
        options=tuple(plain_text(option, spelled) for option in sample.options),
    )


def _summary(group: Group, recipe: RlRecipe) -> Summary:
    settings, sample, size = recipe.rollout, group.sample, len(group.grades)
    task = task_of(sample)
    return Summary(
        number=group.number,
        task=group.task,
        rewards=tuple(grade.reward for grade in group.grades),
        accuracy=group.accuracy,
        format=sum(grade.format for grade in group.grades) / size,
        dropped=(
            "all_wrong"
            if group.accuracy <= settings.min_accuracy
            else "all_right"
            if group.accuracy >= settings.max_accuracy
            else None
        ),
        prompt_tokens=len(group.prompt.input_ids),
        lengths=tuple(len(answer.ids) for answer in group.rollouts),
        cut=sum(not answer.ended for answer in group.rollouts),
        answers=tuple(map(note_answer, group.texts)),
        whole_frames=tuple(covers_whole_frame(text, task, sample.options) for text in group.texts),
    )
