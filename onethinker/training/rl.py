"""The RL loop: sample groups of answers, grade them, turn rewards into advantages, take the optimizer steps.

Dimensions: P groups, G answers per group, T tokens, S scored tokens.
"""

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch
from accelerate.utils import gather_object
from torch import Tensor

from onethinker.errors import ConfigError
from onethinker.models.loading import load_local
from onethinker.tasks import find_task
from onethinker.tasks.task import Grade
from onethinker.training.adapters import base_weights
from onethinker.training.advantages import compute_advantages
from onethinker.training.checkpoint import Progress
from onethinker.training.config import RlRecipe, RolloutSettings
from onethinker.training.loss import clipped_policy_loss, kl_k3, token_weights
from onethinker.training.packing import Prompt, Row, Tree, use_forest_attention
from onethinker.training.rewards import Failure, Grader, Grading, Ungraded
from onethinker.training.rollouts import Rollout, sample_answers
from onethinker.training.run import OnStep, Run, open_run, score

Reference = Callable[[Row], Tensor]
"""Gives the log-probabilities (S,) of a row's scored tokens under the model that RL started from."""


@dataclass(frozen=True)
class Group:
    """One prompt with its G answers and their grades, none if they could not be graded; `number` is its place in the endless order."""

    number: int
    task: str
    prompt: Prompt
    rollouts: tuple[Rollout, ...]
    grades: tuple[Grade, ...]

    @property
    def accuracy(self) -> float:
        """Mean accuracy of the answers."""
        return sum(grade.accuracy for grade in self.grades) / len(self.grades)


Asked = tuple[Group, Grading]
"""A group without grades, and what will hold them."""


@dataclass(frozen=True)
class GradedTree(Tree):
    """A group as the loss needs it: old log-probabilities of all answer tokens, one advantage and one weight an answer."""

    old_logps: Tensor
    advantages: Tensor
    weights: Tensor


@dataclass(frozen=True)
class Summary:
    """What all processes need to know of a group that one of them holds."""

    number: int
    task: str
    rewards: tuple[float, ...]
    accuracy: float
    format: float
    dropped: Literal["all_right", "all_wrong"] | None
    mean_tokens: float
    cut: int

    @property
    def kept(self) -> bool:
        """Whether the group's answers differ enough to be learned from."""
        return self.dropped is None


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
    for step in range(run.progress.step, recipe.steps):
        started = time.perf_counter()
        batch = _collect(run, recipe, grader)
        collected = time.perf_counter()
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
        measured = _update(run, recipe, reference, batch.groups, advantages, step)
        skipped = run.take_skipped()
        row = {
            "step": step + 1,
            "stage": "rl",
            **measured,
            "groups": len(kept),
            "dropped_groups": sum(batch.dropped.values()),
            "dropped": batch.dropped,
            "surplus_groups": sum(summary.kept for summary in batch.summaries) - len(kept),
            "ungraded": [asdict(lost) for lost in batch.lost],
            "skipped_samples": skipped,
            "seconds": time.perf_counter() - started,
            "rollout_seconds": collected - started,
            "tasks": _by_task(batch.summaries, advantages, {task: moments.sigma for task, moments in ema.items()}),
        }
        run.record(row, on_step)
        run.advance(Progress(step + 1, batch.cursor, ema, run.progress.skipped + len(skipped)))
    return run.finish()


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
        with torch.no_grad(), run.precision(), base_weights(start):
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
    read = [run.read(number) for number in numbers]
    prompts = run.prompts([request for _, request in read])
    size = settings.answers_per_prompt, settings.max_new_tokens
    uniforms_PGT = torch.stack(
        [torch.rand(size, generator=torch.Generator().manual_seed(recipe.seed * 1_000_003 + number)) for number in numbers]
    )
    tokenizer = run.processor.tokenizer
    with run.precision():
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
        texts = [tokenizer.decode(answer.ids[:-1] if answer.ended else answer.ids) for answer in answers]
        task = find_task(sample.problem_type, sample.data_type)
        asked.append((Group(number, task.statistics, prompt, tuple(answers), ()), grader.submit(sample, texts)))
    return asked


def _summary(group: Group, recipe: RlRecipe) -> Summary:
    settings, size = recipe.rollout, len(group.grades)
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
        mean_tokens=sum(len(answer.ids) for answer in group.rollouts) / size,
        cut=sum(not answer.ended for answer in group.rollouts),
    )


@dataclass
class PolicyLoss:
    """The loss of one optimizer step, row by row, with what is measured on the way.

    `measured` sums loss, divergence, entropy and clipped share over this process's rows, with the weights of the loss.
    """

    recipe: RlRecipe
    reference: Reference | None
    num_tokens: int
    num_answers: int
    measured: Tensor

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
        self.measured += (torch.stack([loss_S, kl_S, entropy_S, clipped_S]).detach() * weights_S).sum(1).cpu()
        return (loss_S * weights_S).sum()


def _update(
    run: Run, recipe: RlRecipe, reference: Reference | None, groups: Mapping[int, Group], advantages: Mapping[int, Tensor], step: int
) -> dict[str, Any]:
    """Take the optimizer steps on one batch of groups, each on its share of them, and return what was measured in the mean."""
    numbers, updates = sorted(advantages), recipe.loss.updates_per_batch
    totals, norms = torch.zeros(4), []
    for part in range(updates):
        trees = [_tree(groups[number], advantages[number]) for number in numbers[part::updates] if number in groups]
        answers = [answer for tree in trees for answer in tree.answers]
        num_tokens, num_answers = run.total(sum(map(len, answers)), len(answers))
        if not num_answers:
            continue
        if not trees:
            # Every process takes part in every exchange of gradients, this one with a tree that weighs nothing.
            group = next(iter(groups.values()))
            trees = [_tree(group, torch.zeros(len(group.rollouts)), weight=0.0)]
        loss = PolicyLoss(recipe, reference, int(num_tokens), int(num_answers), torch.zeros(4))
        norms.append(run.update(trees, step, loss))
        totals += loss.measured
    names, taken = ("loss", "kl", "entropy", "clipped_share"), max(1, len(norms))
    means = [total / taken for total in run.total(*totals.tolist())]
    return {**dict(zip(names, means, strict=True)), "grad_norm": sum(norms) / taken, "updates": len(norms)}


def _tree(group: Group, advantages_G: Tensor, *, weight: float = 1.0) -> GradedTree:
    answers = tuple(answer.ids for answer in group.rollouts)
    return GradedTree(
        group.prompt, answers, torch.cat([answer.logps for answer in group.rollouts]), advantages_G, torch.full((len(answers),), weight)
    )


def _by_task(summaries: Sequence[Summary], advantages: Mapping[int, Tensor], sigmas: Mapping[str, float]) -> dict[str, dict[str, float]]:
    """Return what the journal says of each task in the batch: means over all sampled groups, the dropped ones included."""
    rows = {}
    for task in sorted({summary.task for summary in summaries}):
        mine = [summary for summary in summaries if summary.task == task]
        rewards = [reward for summary in mine for reward in summary.rewards]
        used = [float(advantages[summary.number].abs().mean()) for summary in mine if summary.number in advantages]
        rows[task] = {
            "reward": sum(rewards) / len(rewards),
            "accuracy": sum(summary.accuracy for summary in mine) / len(mine),
            "format": sum(summary.format for summary in mine) / len(mine),
            "answer_tokens": sum(summary.mean_tokens for summary in mine) / len(mine),
            "cut_answers": float(sum(summary.cut for summary in mine)),
            "groups": float(len(mine)),
            "dropped_groups": float(sum(not summary.kept for summary in mine)),
            "mean_abs_advantage": sum(used) / len(used) if used else 0.0,
            "sigma": sigmas.get(task, 0.0),
        }
    return rows
