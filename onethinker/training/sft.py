"""The SFT loop: a batch of samples, packed as prefix groups of a prompt and its response, one optimizer step."""

import time
from collections.abc import Callable, Iterable
from pathlib import Path

import torch
from torch import Tensor

from onethinker.core.errors import DataError
from onethinker.core.frames import Clip
from onethinker.core.request import Request
from onethinker.core.sample import Medium, Sample
from onethinker.inference.encode import split_questions
from onethinker.training.config import SftRecipe
from onethinker.training.inputs import too_long_text
from onethinker.training.lengths import Length
from onethinker.training.metrics.alarms import Watch
from onethinker.training.metrics.bad_steps import bad_step_rows
from onethinker.training.metrics.gpu_memory import peak_gib
from onethinker.training.metrics.records import SftRow
from onethinker.training.opening import open_session
from onethinker.training.optimizer import learning_rate
from onethinker.training.packing.row import PrefixGroup, Prompt, split_answers
from onethinker.training.session import OnStep, TrainingSession, Validator
from onethinker.training.state.progress import Progress


def train_sft(
    recipe: SftRecipe,
    folder: Path,
    *,
    on_step: OnStep | None = None,
    on_check: Callable[[int, int], None] | None = None,
    allow_changes: bool = False,
    validator: Validator | None = None,
) -> Path:
    """Train on whole responses and return the folder of the finished model; a run that was stopped goes on.

    Only the tokens of the response count, all with one weight over the batch, whatever rows and processes they are in.
    A run goes on with other settings than it began with only if changes are allowed. `validator` asks the model while
    it learns, where the recipe has a [validation].

    Raises: CheckpointError, ConfigError, DataError, EngineError, MediaError.
    """
    session = open_session(
        recipe,
        folder,
        batch=recipe.batch_size,
        allow_changes=allow_changes,
        on_check=on_check,
        validator=validator,
    )
    watch = Watch(recipe, session.folder.rows())
    for step in session.steps(on_step):
        started = time.perf_counter()
        first = step * recipe.batch_size
        with session.clock.phase("data"):
            prefix_groups = _groups(session, session.data.my_indices(first, recipe.batch_size))
        row = _learn(session, recipe, prefix_groups, step, started)
        session.record(watch.complete(row), on_step)
        watch.check()
        skipped = session.progress.skipped + len(row.skipped_samples)
        session.advance(Progress(step + 1, first + recipe.batch_size, skipped=skipped))
    return session.finish()


def _learn(
    session: TrainingSession, recipe: SftRecipe, prefix_groups: list[PrefixGroup], step: int, started: float
) -> SftRow:
    """Take the optimizer step on this process's prefix_groups, and return the record of the step, without alarms."""
    tokens, row_tokens, shared_tokens = session.collectives.total(
        sum(prefix_group.num_scored for prefix_group in prefix_groups),
        sum(prefix_group.num_tokens for prefix_group in prefix_groups),
        sum(prefix_group.num_shared for prefix_group in prefix_groups),
    )
    entropy = 0.0
    with session.clock.phase("update"):
        optimizer_step = session.optimization.begin(prefix_groups, step)
        for scored in optimizer_step.rows():
            entropy += float(scored.entropy_S.detach().sum()) / tokens
            optimizer_step.backward(scored, -scored.logps_S.sum() / tokens)
        stepped = optimizer_step.finish()
    (entropy,) = session.collectives.total(entropy)
    return SftRow(
        step=step + 1,
        stage="sft",
        loss=stepped.loss,
        entropy=entropy,
        grad_norm=stepped.norm,
        learning_rate=learning_rate(recipe.optimizer, step, recipe.steps),
        answer_tokens=int(tokens),
        seconds=time.perf_counter() - started,
        seconds_by_phase=session.clock.take(),
        tokens_by_phase={"data": int(row_tokens - tokens), "update": int(row_tokens)},
        shared_prompt_tokens={"update": int(shared_tokens)},
        skipped_samples=session.data.take_skipped(),
        passes=session.data.mixture.passes((step + 1) * recipe.batch_size),
        memory_gib=peak_gib(session.collectives),
        bad_steps=bad_step_rows([stepped.bad] if stepped.bad else []),
    )


def _groups(session: TrainingSession, indices: Iterable[int]) -> list[PrefixGroup]:
    """Return samples as prefix groups; those about the same media are one, each with its own question."""
    opened: dict[Medium, Clip] = {}
    about: dict[tuple[Medium, ...], list[tuple[Sample, Request]]] = {}
    for index in indices:
        sample, request = session.data.read(index, opened)
        about.setdefault(sample.media, []).append((sample, request))
    most = session.recipe.data.questions_per_clip
    parts: list[tuple[list[tuple[Sample, Request]], list[Tensor]]] = []
    for about_one in about.values():
        for first in range(0, len(about_one), most):
            members = about_one[first : first + most]
            questions = (
                split_questions(session.processor, [request for _, request in members]) if len(members) > 1 else None
            )
            parts += (
                [(members, questions)]
                if questions
                else [([member], [torch.empty(0, dtype=torch.long)]) for member in members]
            )
    prompts = session.data.prompts([members[0][1] for members, _ in parts])
    return [
        prefix_group
        for prompt, (members, questions) in zip(prompts, parts, strict=True)
        for prefix_group in _grown(session, prompt, members, questions)
    ]


def _grown(
    session: TrainingSession, prompt: Prompt, members: list[tuple[Sample, Request]], questions: list[Tensor]
) -> list[PrefixGroup]:
    """Return a prefix group of what the first member's prompt shares, or several with the same where one would be
    longer than a row.
    """
    asked = [question.to(prompt.input_ids.device) for question in questions]
    answers = [
        torch.cat([ask, session.data.answer_ids(sample.response or "")])
        for ask, (sample, _) in zip(asked, members, strict=True)
    ]
    shared = prompt.beginning(len(prompt.input_ids) - len(asked[0]))
    answers = [
        _fitted(session, shared, answer, len(ask), sample)
        for answer, ask, (sample, _) in zip(answers, asked, members, strict=True)
    ]
    return [
        PrefixGroup(
            shared,
            tuple(answers[index] for index in part),
            unscored=tuple(len(asked[index]) for index in part),
            samples=tuple(members[index][0].id for index in part),
        )
        for part in split_answers(
            [len(answer) for answer in answers], session.recipe.max_row_tokens - len(shared.input_ids)
        )
    ]


def _fitted(session: TrainingSession, shared: Prompt, answer: Tensor, question: int, sample: Sample) -> Tensor:
    """Return what goes on from a shared prompt, its end cut where the recipe says so and it is longer than a row.

    Raises: DataError: it is longer, and the recipe says nothing of the kind: a scene, or media that are not as their
    headers promised.
    """
    capacity = session.recipe.max_row_tokens - len(shared.input_ids)
    if len(answer) <= capacity:
        return answer
    if session.recipe.data.too_long == "truncate" and capacity > question:
        return answer[:capacity]
    length = Length(len(shared.input_ids) + question, shared.visual_tokens, len(answer) - question)
    raise DataError(
        f"sample {sample.id!r}: {too_long_text(length, session.recipe)}; raise max_row_tokens, or lower the [budget] of"
        " media"
    )
