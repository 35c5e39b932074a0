"""What the model in training says of answers that another engine has sampled.

Dimensions: G answers of a group, R tokens of an answer, S scored tokens of a row.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from onethinker.training.packing.row import PrefixGroup, Prompt, pack, packed_rows, split_answers
from onethinker.training.session import TrainingSession


def rescored(
    session: TrainingSession, groups: Sequence[tuple[Prompt, Sequence[Tensor]]], *, temperature: float
) -> list[list[Tensor]]:
    """Return the log-probabilities (R,) of the G answers of each prompt, of logits divided by the temperature."""
    most = session.recipe.max_row_tokens
    logps: list[list[Tensor]] = [[] for _ in groups]
    owners: dict[int, int] = {}
    parts: list[PrefixGroup] = []
    for index, (prompt, answers) in enumerate(groups):
        for some in split_answers([len(ids) for ids in answers], most - len(prompt.input_ids)):
            parts.append(PrefixGroup(prompt, tuple(answers[each] for each in some)))
            owners[id(parts[-1])] = index
    scored: dict[int, list[Tensor]] = {}
    with torch.no_grad():
        for row in packed_rows(parts, most):
            logps_S, _ = session.optimization.score(pack(row), session.model, temperature=temperature)
            lengths = [len(ids) for part in row for ids in part.answers]
            each_answer = iter(torch.split(logps_S, lengths))
            for part in row:
                scored[id(part)] = [next(each_answer) for _ in part.answers]
    for part in parts:
        logps[owners[id(part)]] += scored[id(part)]
    return logps
