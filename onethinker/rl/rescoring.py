"""What the model in training says of answers that another engine has sampled.

Dimensions: G answers of a group, R tokens of an answer, S scored tokens of a row.
"""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from onethinker.rl.sampler import Rollout
from onethinker.training.packing.row import PrefixGroup, Prompt, pack, packed_rows, split_answers
from onethinker.training.session import TrainingSession


def rescored(
    session: TrainingSession, groups: Sequence[tuple[Prompt, Sequence[Rollout]]], *, temperature: float
) -> list[tuple[Rollout, ...]]:
    """Return the G answers of each prompt with the log-probabilities of the model in training, of logits divided by the
    temperature; those that they came with are the engine's. All processes take part.
    """
    scored = _scored(
        session, [(prompt, [each.ids for each in rollouts]) for prompt, rollouts in groups], temperature=temperature
    )
    return [
        tuple(
            replace(rollout, logps=logps_R, engine_logps=rollout.logps)
            for rollout, logps_R in zip(rollouts, logps, strict=True)
        )
        for (_, rollouts), logps in zip(groups, scored, strict=True)
    ]


def _scored(
    session: TrainingSession, groups: Sequence[tuple[Prompt, Sequence[Tensor]]], *, temperature: float
) -> list[list[Tensor]]:
    """Return the log-probabilities of the answers of each prompt."""
    most = session.recipe.max_row_tokens
    logps: list[list[Tensor]] = [[] for _ in groups]
    owners: dict[int, int] = {}
    parts: list[PrefixGroup] = []
    for index, (prompt, answers) in enumerate(groups):
        for some in split_answers([len(ids) for ids in answers], most - len(prompt.input_ids)):
            parts.append(PrefixGroup(prompt, tuple(answers[each] for each in some)))
            owners[id(parts[-1])] = index
    scored: dict[int, list[Tensor]] = {}
    rows = packed_rows(parts, most)
    count = max(session.collectives.gather([len(rows)])) if session.backend.rows_in_step else len(rows)
    with session.backend.together(), torch.no_grad():
        for index in range(count):
            # A process with fewer rows than another scores some of its own again.
            row = rows[index % len(rows)]
            logps_S, _ = session.optimization.score(pack(row), session.model, temperature=temperature)
            lengths = [len(ids) for part in row for ids in part.answers]
            each_answer = iter(torch.split(logps_S, lengths))
            for part in row:
                scored[id(part)] = [next(each_answer) for _ in part.answers]
    for part in parts:
        logps[owners[id(part)]] += scored[id(part)]
    return logps
