"""What SFT and RL share: a model under training with its optimizer, its processes and its folder."""

import math
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator, DistributedDataParallelKwargs
from torch import Tensor, nn

from onethinker.data.mixing import Mixture
from onethinker.data.sample import Sample
from onethinker.errors import ConfigError
from onethinker.media.budget import MediaBudget
from onethinker.models.engine import Request
from onethinker.models.folder import save_model
from onethinker.models.loading import load_local
from onethinker.models.prompt import build_request, encode_requests
from onethinker.models.wording import Wording
from onethinker.training.checkpoint import Progress, RunFolder, load_optimizer, load_progress, save_optimizer, save_progress
from onethinker.training.config import OptimizerSettings, Recipe
from onethinker.training.loss import token_logps
from onethinker.training.packing import Prompt, Row, Tree, pack, rows_of, split_prompts, use_forest_attention

OnStep = Callable[[dict[str, Any]], None]
"""Called in the main process with each row of the journal, after it is on disk."""


@dataclass
class Run:
    """A model under training. `model` is bare; `wrapped` is what the loss goes through, so that processes share gradients."""

    recipe: Recipe
    folder: RunFolder
    accelerator: Accelerator
    model: Any
    wrapped: Any
    processor: Any
    wording: Wording
    budget: MediaBudget
    optimizer: torch.optim.Optimizer
    data: Mixture
    progress: Progress

    def my_samples(self, first: int, count: int) -> list[tuple[int, Sample]]:
        """Return this process's share of samples `first` to `first + count` of the endless order, with their numbers."""
        mine = range(first + self.accelerator.process_index, first + count, self.accelerator.num_processes)
        return [(number, self.data.sample(number)) for number in mine]

    def prompts(self, samples: Sequence[Sample]) -> list[Prompt]:
        """Return the samples as encoded prompts on this process's device; media are opened and sized as the budget says."""
        requests: list[Request] = [build_request(sample, self.wording, self.budget) for sample in samples]
        batch = encode_requests(self.processor, requests)
        return split_prompts(batch.to(self.accelerator.device), requests, self.model)

    def answer_ids(self, text: str) -> Tensor:
        """Return the tokens of a whole response with the end token, on this process's device."""
        tokenizer = self.processor.tokenizer
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        return torch.tensor([*ids, tokenizer.eos_token_id], device=self.accelerator.device)

    def update(self, trees: Sequence[Tree], step: int, row_loss: Callable[[Row, list[Tree], Tensor, Tensor], Tensor]) -> float:
        """Take one optimizer step on this process's trees and return the norm of the gradient, all processes together.

        `row_loss` gets a row, its trees, log-probabilities and entropy of its scored tokens, and returns this row's part of
        a sum over all rows of all processes.
        """
        rows = rows_of(trees, self.recipe.max_row_tokens)
        for number, members in enumerate(rows):
            row = pack(members)
            last = number + 1 == len(rows)
            with self.accelerator.no_sync(self.wrapped) if not last else nullcontext():
                logps_S, entropy_S = score(self.wrapped, row)
                # Processes average their gradients; the loss is a sum over all of them.
                self.accelerator.backward(row_loss(row, members, logps_S, entropy_S) * self.accelerator.num_processes)
        settings = self.recipe.optimizer
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(settings, step, self.recipe.steps)
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), settings.max_grad_norm)
        self.optimizer.step()
        self.optimizer.zero_grad()
        return float(norm)

    def total(self, *numbers: float) -> list[float]:
        """Return the sums of numbers over all processes."""
        sums: Tensor = self.accelerator.reduce(torch.tensor(numbers, dtype=torch.float64, device=self.accelerator.device), "sum")
        return [float(number) for number in sums]

    def record(self, row: dict[str, Any], on_step: OnStep | None) -> None:
        """Put a row into the journal and tell whoever watches; only the main process does."""
        if self.accelerator.is_main_process:
            self.folder.append(row)
            if on_step is not None:
                on_step(row)

    def advance(self, progress: Progress) -> None:
        """Take note that a step is done and in the journal, and save when the recipe says so.

        The journal comes first: rows of steps that no checkpoint holds are cut on resume, missing ones could not be made again.
        """
        self.progress = progress
        if progress.step % self.recipe.save_every and progress.step != self.recipe.steps:
            return
        if self.accelerator.is_main_process:
            partial = self.folder.begin_checkpoint(progress.step)
            save_model(partial / "model", self.model, self.processor, wording=self.wording, budget=self.budget)
            save_optimizer(self.optimizer, self.model, partial / "optimizer.safetensors")
            save_progress(progress, partial / "progress.json")
            self.folder.finish_checkpoint(partial)
        self.accelerator.wait_for_everyone()

    def finish(self) -> Path:
        """Write the finished model and return its folder."""
        if self.accelerator.is_main_process:
            save_model(self.folder.model, self.model, self.processor, wording=self.wording, budget=self.budget)
        self.accelerator.wait_for_everyone()
        return self.folder.model


def open_run(recipe: Recipe, path: Path, *, batch: int) -> Run:
    """Return a run that is new, or that goes on from the last whole checkpoint in its folder; `batch` samples are a step.

    Raises: CheckpointError: the folder holds a run of another recipe. EngineError: the model cannot be loaded. ConfigError:
    the parts to freeze are not there, or the batch is smaller than the processes.
    """
    accelerator = Accelerator(
        cpu=not torch.cuda.is_available(), kwargs_handlers=[DistributedDataParallelKwargs(find_unused_parameters=True)]
    )
    if batch < accelerator.num_processes:
        raise ConfigError(f"a batch of {batch} cannot be shared by {accelerator.num_processes} processes; make it larger or start fewer")
    folder, settings = RunFolder(path), recipe.model_dump(mode="json")
    folder.check(settings)
    checkpoints = folder.checkpoints()
    engine = load_local(str(checkpoints[-1] / "model") if checkpoints else recipe.model, seed=recipe.seed, dtype=recipe.dtype)
    model = engine.model.to(accelerator.device)
    use_forest_attention(model)
    model.train()
    _freeze(model, recipe.frozen)
    optimizer = _adamw(model, recipe.optimizer)
    progress = Progress()
    if checkpoints:
        load_optimizer(optimizer, model, checkpoints[-1] / "optimizer.safetensors")
        progress = load_progress(checkpoints[-1] / "progress.json")
    data = Mixture.open(recipe.data.files, recipe.data.problem_types, recipe.data.weights, recipe.data.seed)
    # Only now is anything written: a recipe that cannot start leaves no folder behind.
    if accelerator.is_main_process:
        folder.begin(settings, progress.step)
    accelerator.wait_for_everyone()
    return Run(
        recipe=recipe,
        folder=folder,
        accelerator=accelerator,
        model=model,
        wrapped=accelerator.prepare_model(model) if accelerator.num_processes > 1 else model,
        processor=engine.processor,
        wording=engine.wording,
        budget=recipe.budget or engine.budget,
        optimizer=optimizer,
        data=data,
        progress=progress,
    )


def score(model: nn.Module, row: Row) -> tuple[Tensor, Tensor]:
    """Return log-probability and entropy of every scored token of a row, each of shape (S,)."""
    logits = model(**row.inputs, logits_to_keep=row.scored_S).logits[0]
    return token_logps(logits, row.targets_S)


def learning_rate(settings: OptimizerSettings, step: int, steps: int) -> float:
    """Return the rate of a step (counted from 0): a linear warm-up, then a cosine down to the final share.

    >>> learning_rate(OptimizerSettings(learning_rate=1.0, warmup_steps=4), 1, 100)
    0.5
    >>> learning_rate(OptimizerSettings(learning_rate=1.0), 50, 100)
    0.5
    """
    if step < settings.warmup_steps:
        return settings.learning_rate * (step + 1) / settings.warmup_steps
    share = (step - settings.warmup_steps) / max(1, steps - settings.warmup_steps)
    final = settings.final_learning_rate_share
    return settings.learning_rate * (final + (1 - final) * 0.5 * (1 + math.cos(math.pi * share)))


def _freeze(model: nn.Module, beginnings: Sequence[str]) -> None:
    """Raises: ConfigError: nothing in the model has a name that begins so, or nothing is left to train."""
    names = [name for name, _ in model.named_parameters()]
    for beginning in beginnings:
        if not any(name.startswith(beginning) for name in names):
            raise ConfigError(f"frozen: no parameter's name begins with {beginning!r}; names look like {names[0]!r}, {names[-1]!r}")
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(not name.startswith(tuple(beginnings)))
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise ConfigError(f"frozen: {', '.join(beginnings)} leave nothing to train")


def _adamw(model: nn.Module, settings: OptimizerSettings) -> torch.optim.AdamW:
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    matrices, others = [p for p in trained if p.ndim > 1], [p for p in trained if p.ndim <= 1]
    groups = [{"params": matrices, "weight_decay": settings.weight_decay}, {"params": others, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=settings.learning_rate, betas=(settings.beta1, settings.beta2), fused=True)
