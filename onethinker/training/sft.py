"""The SFT loop: a batch of samples, packed as trees of a prompt and its response, one optimizer step."""

import time
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

from torch import Tensor

from onethinker.training.checkpoint import Progress
from onethinker.training.config import SftRecipe
from onethinker.training.monitoring import SftRow
from onethinker.training.optimizer import learning_rate
from onethinker.training.packing import Row, Tree
from onethinker.training.run import OnStep, Run, open_run


def train_sft(recipe: SftRecipe, folder: Path, *, on_step: OnStep | None = None, allow_changes: bool = False) -> Path:
    """Train on whole responses and return the folder of the finished model; a run that was stopped goes on.

    Only the tokens of the response count, all with one weight over the batch, whatever rows and processes they are in.
    A run goes on with other settings than it began with only if changes are allowed.

    Raises: CheckpointError, ConfigError, DataError, EngineError, MediaError.
    """
    run = open_run(recipe, folder, batch=recipe.batch_size, allow_changes=allow_changes)
    for step in range(run.progress.step, recipe.steps):
        started = time.perf_counter()
        with run.clock.phase("data"):
            trees = _trees(run, run.my_numbers(step * recipe.batch_size, recipe.batch_size))
        tokens, prompt_tokens, row_tokens = run.total(
            sum(len(answer) for tree in trees for answer in tree.answers),
            sum(len(tree.prompt.input_ids) for tree in trees),
            sum(tree.num_tokens for tree in trees),
        )
        losses: list[float] = []
        entropies: list[float] = []

        def row_loss(
            row: Row,
            members: list[Tree],
            logps_S: Tensor,
            entropy_S: Tensor,
            tokens: float = tokens,
            losses: list[float] = losses,
            entropies: list[float] = entropies,
        ) -> Tensor:
            loss = -logps_S.sum() / tokens
            losses.append(float(loss.detach()))
            entropies.append(float(entropy_S.detach().sum()) / tokens)
            return loss

        with run.clock.phase("update"):
            norm = run.update(trees, step, row_loss)
        loss, entropy = run.total(sum(losses), sum(entropies))
        skipped = run.take_skipped()
        row = SftRow(
            step=step + 1,
            stage="sft",
            loss=loss,
            entropy=entropy,
            grad_norm=norm,
            learning_rate=learning_rate(recipe.optimizer, step, recipe.steps),
            answer_tokens=int(tokens),
            seconds=time.perf_counter() - started,
            seconds_by_phase=run.clock.take(),
            tokens_by_phase={"data": int(prompt_tokens), "update": int(row_tokens)},
            skipped_samples=skipped,
        )
        run.record(asdict(row), on_step)
        run.advance(Progress(step + 1, cursor=(step + 1) * recipe.batch_size, skipped=run.progress.skipped + len(skipped)))
    return run.finish()


def _trees(run: Run, numbers: Iterable[int]) -> list[Tree]:
    read = [run.read(number) for number in numbers]
    prompts = run.prompts([request for _, request in read])
    return [Tree(prompt, (run.answer_ids(sample.response or ""),)) for prompt, (sample, _) in zip(prompts, read, strict=True)]
