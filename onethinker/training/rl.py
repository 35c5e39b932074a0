"""The RL loop: sample groups of answers, grade them, turn rewards into advantages, take the optimizer steps.

Dimensions: P groups, G answers per group, T tokens, S scored tokens.
"""

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import torch
from accelerate.utils import gather_object
from torch import Tensor

from onethinker.data.sample import Sample
from onethinker.errors import ConfigError
from onethinker.models.loading import load_local
from onethinker.tasks import TASKS, find_task
from onethinker.tasks.task import Grade
from onethinker.training.adapters import base_weights
from onethinker.training.advantages import EmaState, compute_advantages
from onethinker.training.alarms import find_alarms
from onethinker.training.answers import Sampled, write_answers
from onethinker.training.checkpoint import Progress
from onethinker.training.config import RlRecipe, RolloutSettings
from onethinker.training.loss import clipped_policy_loss, kl_k3, token_weights
from onethinker.training.monitoring import (
    MEASURED,
    Measured,
    Phase,
    RlRow,
    Summary,
    covers_whole_frame,
    note_answer,
    task_rows,
)
from onethinker.training.optimizer import learning_rate
from onethinker.training.packing import Prompt, Row, Tree, use_forest_attention
from onethinker.training.rewards import Failure, Grader, Grading, Ungraded
from onethinker.training.rollouts import Rollout, sample_answers
from onethinker.training.run import OnStep, Run, open_run, score
from onethinker.training.sharding import gathered

Reference = Callable[[Row], Tensor]
"""Gives the log-probabilities (S,) of a row's scored tokens under the model that RL started from."""
TASK_NUMBERS = {task.statistics: number for number, task in enumerate(TASKS)}
"""The row of each task in what a loss measures, the same in every process."""


@dataclass(frozen=True)
class Group:
    """One prompt with its G answers and their grades, none if they could not be graded; `number` is its place in the endless order."""

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
class GradedTree(Tree):
    """A group as the loss needs it: its task, old log-probabilities of all answer tokens, one advantage and one weight an answer."""

    task: str
    old_logps: Tensor
    advantages: Tensor
    weights: Tensor


@dataclass(frozen=True)
class Lost:
    """A group that could not be graded, and so is in no mean; `text` says what happened."""

    number: int
    task: str
    reason: Failure
    text: str


@dataclass(frozen=True)
class Batch:
    """What a step has sampled: this process's groups by number, and of everybody's in order the summaries and the lost ones.

    `cursor` is the number of the next prompt.
    """

    groups: dict[int, Group]
    summaries: tuple[Summary, ...]
    lost: tuple[Lost, ...]
    cursor: int

    @property
    def dropped(self) -> dict[str, int]:
        """Return how many groups were dropped for which reason."""
        reasons = [summary.dropped for summary in self.summaries if summary.dropped is not None]
        return dict(sorted(Counter([*reasons, *(lost.reason for lost in self.lost)]).items()))


def train_rl(recipe: RlRecipe, folder: Path, *, on_step: OnStep | None = None, allow_changes: bool = False) -> Path:
    """Improve a model by multi-task reinforcement learning and return the folder of the finished one; a stopped run goes on.

    It goes on with other settings than it began with only if changes are allowed.

    Raises: CheckpointError, ConfigError, DataError, EngineError, MediaError.
    """
    with Grader(recipe.grading, recipe.rewards) as grader:
        run = open_run(recipe, folder, batch=recipe.rollout.prompts_per_step, allow_changes=allow_changes)
        return _train(run, recipe, grader, on_step)


def _train(run: Run, recipe: RlRecipe, grader: Grader, on_step: OnStep | None) -> Path:
    reference = _reference(run, recipe)
    journal = run.folder.rows()
    for step in range(run.progress.step, recipe.steps):
        started = time.perf_counter()
        with gathered(run.model):
            batch = _collect(run, recipe, grader)
        kept = [summary for summary in batch.summaries if summary.kept][: recipe.rollout.prompts_per_step]
        rewards_PG = torch.tensor([summary.rewards for summary in kept], dtype=torch.float64).reshape(-1, recipe.rollout.answers_per_prompt)
        settings = recipe.advantage
        advantages_PG, ema = compute_advantages(
            settings.algorithm,
            rewards_PG,
            [summary.task for summary in kept],
            run.progress.ema,
            decay=settings.decay,
            floor=settings.floor,
            limit=settings.limit,
            guard=settings.guard,
        )
        advantages = {summary.number: row for summary, row in zip(kept, advantages_PG.float(), strict=True)}
        with run.clock.phase("update"):
            updated = _update(run, recipe, reference, batch.groups, advantages, step)
        if recipe.log.answers_every and (step + 1) % recipe.log.answers_every == 0:
            _show_answers(run, step + 1, batch)
        row = _row(run, recipe, batch, step=step, advantages=advantages, ema=ema, updated=updated, started=started)
        record = asdict(row)
        record["alarms"] = [asdict(alarm) for alarm in find_alarms([*journal, record], recipe.log.alarms)]
        journal = [*journal, record][-2 * max(1, recipe.log.alarms.window) :]
        run.record(record, on_step)
        run.advance(Progress(step + 1, batch.cursor, ema, run.progress.skipped + len(row.skipped_samples)))
    return run.finish()


def _row(
    run: Run,
    recipe: RlRecipe,
    batch: Batch,
    *,
    step: int,
    advantages: Mapping[int, Tensor],
    ema: EmaState,
    updated: "Updated",
    started: float,
) -> RlRow:
    """Return the journal's row of a step that is done, without alarms; all processes take part."""
    groups = batch.groups.values()
    prompts, answers, shared = run.total(
        sum(len(group.prompt.input_ids) for group in groups),
        sum(len(answer.ids) for group in groups for answer in group.rollouts),
        sum(len(group.prompt.input_ids) * (len(group.rollouts) - 1) for group in groups),
    )
    tokens: dict[Phase, int] = {"data": int(prompts), "rollout": int(prompts + answers), "grading": int(answers)}
    saved: dict[Phase, int] = {"rollout": int(shared)}
    if recipe.loss.kl:
        tokens["reference"], saved["reference"] = updated.tokens, updated.shared_tokens
    tokens["update"], saved["update"] = updated.tokens, updated.shared_tokens
    return RlRow(
        step=step + 1,
        stage="rl",
        loss=updated.loss,
        kl=updated.mean("kl"),
        entropy=updated.mean("entropy"),
        clipped_share=updated.mean("clipped_share"),
        grad_norm=updated.grad_norm,
        updates=updated.updates,
        learning_rate=learning_rate(recipe.optimizer, step, recipe.steps),
        groups=len(advantages),
        dropped_groups=sum(batch.dropped.values()),
        dropped=batch.dropped,
        surplus_groups=sum(summary.kept for summary in batch.summaries) - len(advantages),
        ungraded=[asdict(lost) for lost in batch.lost],
        skipped_samples=run.take_skipped(),
        seconds=time.perf_counter() - started,
        seconds_by_phase=run.clock.take(),
        tokens_by_phase=tokens,
        shared_prompt_tokens=saved,
        tasks=task_rows(
            batch.summaries,
            {number: float(advantages_G.abs().mean()) for number, advantages_G in advantages.items()},
            {task: moments.sigma for task, moments in ema.items()},
            updated.measured,
        ),
    )


def _show_answers(run: Run, step: int, batch: Batch) -> None:
    """Write a page with the first group of each task that the main process has graded itself; the others write nothing."""
    if not run.accelerator.is_main_process:
        return
    shown: dict[str, Sampled] = {}
    for _, group in sorted(batch.groups.items()):
        if group.grades and group.task not in shown:
            shown[group.task] = Sampled(group.sample, group.texts, group.grades)
    write_answers(run.folder.path, step, [shown[task] for task in sorted(shown)], run.budget)


def _reference(run: Run, recipe: RlRecipe) -> Reference | None:
    """Return what scores rows as the model that RL started from did, or None when the divergence from it has no weight.

    Under adapters that is the model itself without them, and no second copy.
    """
    if recipe.loss.kl == 0:
        return None
    if recipe.lora is not None:
        start = run.model
    else:
        dtype = "float32" if recipe.dtype == "float32" else "bfloat16"
        start = load_local(recipe.model, seed=recipe.seed, dtype=dtype).model
        use_forest_attention(start)
        start.to(run.accelerator.device).eval().requires_grad_(False)

    def reference(row: Row) -> Tensor:
        with run.clock.phase("reference"), torch.no_grad(), run.precision(), base_weights(start):
            return score(start, row)[0]

    return reference


def _collect(run: Run, recipe: RlRecipe, grader: Grader) -> Batch:
    """Return the groups of a step: prompts are drawn in batches until enough of them give a signal or the refills are used up.

    Then the step has fewer groups, none even, unless there never was a signal or the recipe wants a full batch.

    Raises: ConfigError: with the tasks that gave no signal. DataError: a sample cannot be read, nor those that could stand in.
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
        f"{kept or 'none'} of {len(batch.summaries) + len(batch.lost)} groups gave a signal, {settings.prompts_per_step} are needed. "
        f"Tasks without any: {tasks or 'none'}.{failure} Train longer by SFT first, choose other data, widen rollout.min_accuracy and "
        'rollout.max_accuracy, allow more rollout.max_refills, or go on with smaller batches by rollout.unfilled = "smaller"'
    )


def _answer(run: Run, recipe: RlRecipe, grader: Grader, numbers: Sequence[int]) -> list[Asked]:
    """Return the groups of a few prompts, decoded together, with their grading under way; the numbers alone decide what is drawn."""
    settings, config = recipe.rollout, run.model.config
    with run.clock.phase("data"):
        read = [run.read(number) for number in numbers]
        prompts = run.prompts([request for _, request in read])
    size = settings.answers_per_prompt, settings.max_new_tokens
    uniforms_PGT = torch.stack(
        [torch.rand(size, generator=torch.Generator().manual_seed(recipe.seed * 1_000_003 + number)) for number in numbers]
    )
    tokenizer = run.processor.tokenizer
    with run.clock.phase("rollout"), run.precision():
        rollouts = sample_answers(
            run.model,
            prompts,
            uniforms_PGT,
            temperature=settings.temperature,
            end_token=tokenizer.eos_token_id,
            forbidden_tokens=(config.image_token_id, config.video_token_id),
        )
    asked = []
    for number, (sample, _), prompt, answers in zip(numbers, read, prompts, rollouts, strict=True):
        texts = tuple(tokenizer.decode(answer.ids[:-1] if answer.ended else answer.ids) for answer in answers)
        task = find_task(sample.problem_type, sample.data_type)
        with run.clock.phase("grading"):
            grading = grader.submit(sample, texts)
        asked.append((Group(number, task.statistics, sample, prompt, tuple(answers), texts, ()), grading))
    return asked


def _summary(group: Group, recipe: RlRecipe) -> Summary:
    settings, sample, size = recipe.rollout, group.sample, len(group.grades)
    task = find_task(sample.problem_type, sample.data_type)
    return Summary(
        number=group.number,
        task=group.task,
        rewards=tuple(grade.reward for grade in group.grades),
        accuracy=group.accuracy,
        format=sum(grade.format for grade in group.grades) / size,
        dropped="all_wrong"
        if group.accuracy <= settings.min_accuracy
        else "all_right"
        if group.accuracy >= settings.max_accuracy
        else None,
        prompt_tokens=len(group.prompt.input_ids),
        lengths=tuple(len(answer.ids) for answer in group.rollouts),
        cut=sum(not answer.ended for answer in group.rollouts),
        answers=tuple(map(note_answer, group.texts)),
        whole_frames=tuple(covers_whole_frame(text, task, sample.options) for text in group.texts),
    )


@dataclass
class PolicyLoss:
    """The loss of one optimizer step, row by row, with what is measured on the way.

    `measured` sums what `MEASURED` names over this process's rows, for each task, in the shape (tasks, names).
    """

    recipe: RlRecipe
    reference: Reference | None
    num_tokens: int
    num_answers: int
    measured: Tensor = field(default_factory=lambda: torch.zeros(len(TASK_NUMBERS), len(MEASURED), dtype=torch.float64))

    def __call__(self, row: Row, members: Sequence[Tree], logps_S: Tensor, entropy_S: Tensor) -> Tensor:
        """Return a row's part of the batch's loss."""
        settings = self.recipe.loss
        trees = [tree for tree in members if isinstance(tree, GradedTree)]
        old_logps_S = torch.cat([tree.old_logps for tree in trees])
        advantages_S = torch.cat([tree.advantages for tree in trees]).to(logps_S)[row.answer_S]
        weights_S = torch.cat([tree.weights for tree in trees]).to(logps_S)[row.answer_S] * token_weights(
            row.answer_S,
            num_answers_in_row=row.num_answers,
            num_tokens=self.num_tokens,
            num_answers=self.num_answers,
            aggregate=settings.aggregate,
            max_tokens=self.recipe.rollout.max_new_tokens,
        )
        loss_S = clipped_policy_loss(logps_S, old_logps_S, advantages_S, clip_low=settings.clip_low, clip_high=settings.clip_high)
        kl_S = torch.zeros_like(loss_S)
        if self.reference is not None:
            kl_S = kl_k3(logps_S, self.reference(row))
        loss_S = loss_S + settings.kl * kl_S
        ratio_S = (logps_S - old_logps_S).detach().exp()
        clipped_S = ((ratio_S < 1 - settings.clip_low) | (ratio_S > 1 + settings.clip_high)).to(logps_S)
        loss = (loss_S * weights_S).sum()
        (pull_S,) = torch.autograd.grad(loss, logps_S, retain_graph=True)
        weighed_S = [value_S.detach() * weights_S for value_S in (loss_S, kl_S, entropy_S, clipped_S, torch.ones_like(loss_S))]
        tasks_A = [TASK_NUMBERS[tree.task] for tree in trees for _ in tree.answers]
        tasks_S = torch.tensor(tasks_A, device=row.answer_S.device)[row.answer_S]
        self.measured.index_add_(0, tasks_S.cpu(), torch.stack([*weighed_S, pull_S.abs()], 1).double().cpu())
        return loss


@dataclass(frozen=True)
class Updated:
    """What the optimizer steps on one batch of groups have measured, over all processes.

    `loss` and `grad_norm` are means over the steps, None without any; `tokens` are those of the packed rows, `shared_tokens` what
    one row an answer would have read in addition.
    """

    updates: int
    loss: float | None
    grad_norm: float | None
    measured: Measured
    tokens: int
    shared_tokens: int

    def mean(self, name: str) -> float | None:
        """Return the mean of what was measured over all tasks, with the weights of the loss; None where nothing has weight."""
        weight = sum(sums["weight"] for sums in self.measured.values())
        return sum(sums[name] for sums in self.measured.values()) / weight if weight else None


def _update(
    run: Run, recipe: RlRecipe, reference: Reference | None, groups: Mapping[int, Group], advantages: Mapping[int, Tensor], step: int
) -> Updated:
    """Take the optimizer steps on one batch of groups, each on its share of them, and return what was measured on the way."""
    numbers, updates = sorted(advantages), recipe.loss.updates_per_batch
    measured_TM = torch.zeros(len(TASK_NUMBERS), len(MEASURED), dtype=torch.float64)
    norms, tokens, shared = [], 0, 0
    for part in range(updates):
        mine = [number for number in numbers[part::updates] if number in groups]
        trees = [tree for number in mine for tree in _trees(groups[number], advantages[number], recipe.max_row_tokens)]
        answers = [answer for tree in trees for answer in tree.answers]
        num_tokens, num_answers = run.total(sum(map(len, answers)), len(answers))
        if not num_answers:
            continue
        tokens += sum(tree.num_tokens for tree in trees)
        shared += sum(len(tree.prompt.input_ids) * (len(tree.answers) - 1) for tree in trees)
        if not trees:
            # Every process takes part in every exchange of gradients, this one with a tree that weighs nothing.
            group = next(iter(groups.values()))
            trees = _trees(group, torch.zeros(len(group.rollouts)), recipe.max_row_tokens, weight=0.0)
        loss = PolicyLoss(recipe, reference, int(num_tokens), int(num_answers))
        norms.append(run.update(trees, step, loss))
        measured_TM += loss.measured
    total_tokens, total_shared, *totals = run.total(tokens, shared, *measured_TM.flatten().tolist())
    sums = {
        task: dict(zip(MEASURED, totals[number * len(MEASURED) : (number + 1) * len(MEASURED)], strict=True))
        for task, number in TASK_NUMBERS.items()
    }
    taken = len(norms)
    return Updated(
        updates=taken,
        loss=sum(each["loss"] for each in sums.values()) / taken if taken else None,
        grad_norm=sum(norms) / taken if taken else None,
        measured=sums,
        tokens=int(total_tokens),
        shared_tokens=int(total_shared),
    )


def _trees(group: Group, advantages_G: Tensor, max_tokens: int, *, weight: float = 1.0) -> list[GradedTree]:
    """Return a group as one tree, or as several with the same prompt where it would be longer than a row."""
    parts: list[list[int]] = [[]]
    room = free = max_tokens - len(group.prompt.input_ids)
    for number, answer in enumerate(group.rollouts):
        if parts[-1] and len(answer.ids) > free:
            parts.append([])
            free = room
        parts[-1].append(number)
        free -= len(answer.ids)
    return [
        GradedTree(
            group.prompt,
            tuple(group.rollouts[number].ids for number in part),
            group.task,
            torch.cat([group.rollouts[number].logps for number in part]),
            advantages_G[part],
            torch.full((len(part),), weight),
        )
        for part in parts
    ]
