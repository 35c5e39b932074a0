"""The SFT loop: a batch of samples, packed as prefix groups of a prompt and its response, one optimizer step."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from itertools import chain
from pathlib import Path

import torch
from torch import Tensor

from onethinker.core.errors import DataError
from onethinker.core.frames import Clip
from onethinker.core.request import Request
from onethinker.core.sample import Medium, Sample
from onethinker.inference.encode import split_questions
from onethinker.training.config import SftRecipe
from onethinker.training.conversation import conversation_groups
from onethinker.training.inputs import too_long_text
from onethinker.training.lengths import Length
from onethinker.training.metrics.alarms import Watch
from onethinker.training.metrics.records import SftRow
from onethinker.training.opening import open_session
from onethinker.training.packing.row import PrefixGroup, Prompt, split_answers
from onethinker.training.session import OnStep, TrainingSession, Validator
from onethinker.training.state.progress import Progress

Part = tuple[list[tuple[Sample, Request]], list[Tensor]]
"""Samples with their requests, and the tokens of each that the first one's prompt ends with: its question."""


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
    session = open_session(recipe, folder, allow_changes=allow_changes, on_check=on_check, validator=validator)
    recipe = recipe.model_copy(update={"steps": session.recipe.steps})
    watch = Watch(recipe, session.folder.rows())
    for step in session.steps(on_step):
        first = step * recipe.batch_size
        with session.clock.phase("data"):
            prefix_groups = _groups(session, session.data.my_indices(first, recipe.batch_size))
            if step + 1 < recipe.steps:
                session.data.read_soon(first + recipe.batch_size, recipe.batch_size)
        row = _learn(session, recipe, prefix_groups, step)
        session.record(watch.complete(row), on_step)
        watch.check()
        skipped = session.progress.skipped + len(row.skipped_samples)
        session.advance(Progress(step + 1, first + recipe.batch_size, skipped=skipped))
    return session.finish()


def _learn(session: TrainingSession, recipe: SftRecipe, prefix_groups: list[PrefixGroup], step: int) -> SftRow:
    """Take the optimizer step on this process's prefix groups, and return the record of the step, without alarms."""
    tokens, row_tokens, shared_tokens = session.collectives.total(
        sum(prefix_group.num_scored for prefix_group in prefix_groups),
        sum(prefix_group.num_tokens for prefix_group in prefix_groups),
        sum(prefix_group.num_shared for prefix_group in prefix_groups),
    )
    entropy = 0.0
    with session.clock.phase("update"):
        optimizer_step = session.optimization.begin(prefix_groups, step, tokens=tokens)
        for scored in optimizer_step.rows():
            entropy += float(scored.entropy_S.detach().sum()) / tokens
            optimizer_step.backward(scored, -scored.logps_S.sum() / tokens)
        stepped = optimizer_step.finish()
    (entropy,) = session.collectives.total(entropy)
    return SftRow(
        **session.measured(drawn=(step + 1) * recipe.batch_size, bad=[stepped.bad] if stepped.bad else []),
        stage="sft",
        loss=stepped.loss,
        entropy=entropy,
        grad_norm=stepped.norm,
        router_loss=stepped.balance,
        answer_tokens=int(tokens),
        tokens_by_phase={"data": int(row_tokens - tokens), "update": int(row_tokens)},
        shared_prompt_tokens={"update": int(shared_tokens)},
    )


def _groups(session: TrainingSession, indices: Iterable[int]) -> list[PrefixGroup]:
    """Return samples as prefix groups; those about the same media are one, each with its own question."""
    opened: dict[Medium, Clip] = {}
    about: dict[tuple[Medium, ...], list[tuple[Sample, Request]]] = {}
    told: list[PrefixGroup] = []
    for index in indices:
        sample, request = session.data.read_taught(index, opened)
        if sample.is_conversation:
            told += [_cut(session, group, sample) for group in conversation_groups(session.data, sample, request)]
        else:
            about.setdefault(sample.media, []).append((sample, request))
    parts = [part for members in about.values() for part in _sharing(session, members)]
    prompts = session.data.prompts([members[0][1] for members, _ in parts]) if parts else []
    grown = [_grown(session, prompt, *part) for prompt, part in zip(prompts, parts, strict=True)]
    return [*told, *chain.from_iterable(grown)]


def _sharing(session: TrainingSession, about_one: list[tuple[Sample, Request]]) -> Iterator[Part]:
    """Yield samples about the same media in parts that share a prompt: several questions of a clip, or one alone."""
    most = session.recipe.data.questions_per_clip
    for first in range(0, len(about_one), most):
        members = about_one[first : first + most]
        questions = split_questions(session.processor, [request for _, request in members]) if members[1:] else None
        if questions:
            yield members, questions
        else:
            yield from (([member], [torch.empty(0, dtype=torch.long)]) for member in members)


def _cut(session: TrainingSession, told: PrefixGroup, sample: Sample) -> PrefixGroup:
    """Return a conversation whose last answer ends where the row does. Raises: DataError: as `_fitted` says."""
    return replace(told, answers=(_fitted(session, told.prompt, told.answers[0], 0, sample),))


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
        f"sample {sample.id!r}: {too_long_text(length, session.recipe)}; raise max_row_tokens, or lower the media"
        " [budget]"
    )
