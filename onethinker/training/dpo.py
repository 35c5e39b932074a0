"""The DPO loop: a batch of preferences, packed as prefix groups of a prompt with both responses, one optimizer step.

Dimensions: S scored tokens of a row, A responses of a row, P preferences of a row.
"""

from collections.abc import Callable, Iterable
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from onethinker.core.errors import DataError
from onethinker.core.frames import Clip
from onethinker.core.sample import Medium
from onethinker.training.dpo_recipe import DpoRecipe, PreferenceLossSettings
from onethinker.training.inputs import too_long_text
from onethinker.training.lengths import Length
from onethinker.training.metrics.alarms import Watch
from onethinker.training.metrics.records import DpoRow
from onethinker.training.opening import open_session
from onethinker.training.packing.row import PrefixGroup
from onethinker.training.reference import Reference, open_reference
from onethinker.training.session import OnStep, TrainingSession, Validator
from onethinker.training.state.progress import Progress


def train_dpo(
    recipe: DpoRecipe,
    folder: Path,
    *,
    on_step: OnStep | None = None,
    on_check: Callable[[int, int], None] | None = None,
    allow_changes: bool = False,
    validator: Validator | None = None,
) -> Path:
    """Make chosen responses likelier than rejected ones and return the folder of the finished model; a stopped run goes
    on.

    The reference is the model that the run starts with; under adapters the one below them. `validator` asks the model
    while it learns, where the recipe has a [validation].

    Raises: CheckpointError, ConfigError, DataError, EngineError, MediaError.
    """
    session = open_session(recipe, folder, allow_changes=allow_changes, on_check=on_check, validator=validator)
    recipe = recipe.model_copy(update={"steps": session.recipe.steps})
    reference = open_reference(session)
    assert reference is not None
    watch = Watch(recipe, session.folder.rows())
    for step in session.steps(on_step):
        first = step * recipe.batch_size
        with session.clock.phase("data"):
            pairs = _pairs(session, session.data.my_indices(first, recipe.batch_size))
            if step + 1 < recipe.steps:
                session.data.read_soon(first + recipe.batch_size, recipe.batch_size)
        row = _learn(session, recipe, reference, pairs, step)
        session.record(watch.complete(row), on_step)
        watch.check()
        skipped = session.progress.skipped + len(row.skipped_samples)
        session.advance(Progress(step + 1, first + recipe.batch_size, skipped=skipped))
    return session.finish()


def preference_loss(rewards_P2: Tensor, label_smoothing: float = 0.0) -> Tensor:
    """Return the loss of each preference (P,), given what its chosen and its rejected response earn.

        ℓ = −(1 − ε) log σ(r_chosen − r_rejected) − ε log σ(r_rejected − r_chosen),      ε = label_smoothing

    Source: DPO (arXiv 2305.18290, equation 7), and with ε above 0 its conservative form (Mitchell, A note on DPO with
    noisy preferences, 2023).

    >>> preference_loss(torch.tensor([[0.0, 0.0]]))
    tensor([0.6931])
    """
    margin_P = rewards_P2[:, 0] - rewards_P2[:, 1]
    return -(1 - label_smoothing) * logsigmoid(margin_P) - label_smoothing * logsigmoid(-margin_P)


def implicit_rewards(
    logps_S: Tensor, reference_S: Tensor, answer_S: Tensor, num_answers: int, settings: PreferenceLossSettings
) -> Tensor:
    """Return what chosen and rejected response of each preference earn (P, 2): beta times the log of how much likelier
    each has become, over its tokens where the settings say so.

    Source: DPO (arXiv 2305.18290, equation 5, without its constant); over the tokens as SimPO (arXiv 2405.14734) has
    it, here against a reference.
    """
    ratios_A = logps_S.new_zeros(num_answers).index_add(0, answer_S, logps_S - reference_S)
    if settings.length_normalized:
        ratios_A = ratios_A / torch.bincount(answer_S, minlength=num_answers)
    return settings.beta * ratios_A.reshape(-1, 2)


def _learn(
    session: TrainingSession, recipe: DpoRecipe, reference: Reference, pairs: list[PrefixGroup], step: int
) -> DpoRow:
    """Take the optimizer step on this process's preferences, and return the record of the step, without alarms."""
    count, tokens, row_tokens, shared_tokens = session.collectives.total(
        len(pairs),
        sum(pair.num_scored for pair in pairs),
        sum(pair.num_tokens for pair in pairs),
        sum(pair.num_shared for pair in pairs),
    )
    with session.clock.phase("update"):
        optimizer_step = session.optimization.begin(pairs, step, reference=reference, tokens=tokens)
        entropy, measured = 0.0, torch.zeros(3, dtype=torch.float64)
        for scored in optimizer_step.rows():
            row, reference_S = scored.row, scored.reference_S
            assert reference_S is not None
            rewards_P2 = implicit_rewards(scored.logps_S, reference_S, row.answer_S, row.num_answers, recipe.loss)
            optimizer_step.backward(scored, preference_loss(rewards_P2, recipe.loss.label_smoothing).sum() / count)
            chosen_P, rejected_P = rewards_P2.detach().double().cpu().T
            measured += torch.stack([chosen_P, rejected_P, (chosen_P > rejected_P).double()]).sum(1) / count
            entropy += float(scored.entropy_S.detach().sum()) / tokens
        stepped = optimizer_step.finish()
    entropy, chosen, rejected, accuracy = session.collectives.total(entropy, *measured.tolist())
    return DpoRow(
        **session.measured(drawn=(step + 1) * recipe.batch_size, bad=[stepped.bad] if stepped.bad else []),
        stage="dpo",
        loss=stepped.loss,
        chosen_reward=chosen,
        rejected_reward=rejected,
        margin=chosen - rejected,
        preference_accuracy=accuracy,
        entropy=entropy,
        grad_norm=stepped.norm,
        router_loss=stepped.balance,
        answer_tokens=int(tokens),
        tokens_by_phase={"data": int(row_tokens - tokens), "reference": int(row_tokens), "update": int(row_tokens)},
        shared_prompt_tokens={"reference": int(shared_tokens), "update": int(shared_tokens)},
    )


def _pairs(session: TrainingSession, indices: Iterable[int]) -> list[PrefixGroup]:
    """Return samples as prefix groups of a prompt with its chosen and its rejected response, in this order.

    Raises: DataError: one is longer than a row: a scene, or media that are not as their headers promised.
    """
    opened: dict[Medium, Clip] = {}
    read = [session.data.read_taught(index, opened) for index in indices]
    prompts = session.data.prompts([request for _, request in read])
    pairs = []
    for (sample, _), prompt in zip(read, prompts, strict=True):
        answers = tuple(session.data.answer_ids(text or "") for text in (sample.response, sample.rejected))
        pair = PrefixGroup(prompt, answers, samples=(sample.id,))
        if pair.num_tokens > session.recipe.max_row_tokens:
            length = Length(len(prompt.input_ids), prompt.visual_tokens, pair.num_scored)
            raise DataError(
                f"sample {sample.id!r}: {too_long_text(length, session.recipe)}; raise max_row_tokens, or lower the"
                " media [budget]"
            )
        pairs.append(pair)
    return pairs
