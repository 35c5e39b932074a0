"""What SFT and RL share: a model under training with its optimizer, its processes and its folder."""

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import ProjectConfiguration, broadcast_object_list, gather_object
from safetensors.torch import save_file
from torch import Tensor, nn

from onethinker.clip import Clip
from onethinker.data.checking import check_files
from onethinker.data.mixing import Mixture
from onethinker.data.sample import Medium, Sample
from onethinker.errors import DataError, MediaError
from onethinker.media.budget import MediaBudget
from onethinker.media.reading import read_clip
from onethinker.models.engine import Request
from onethinker.models.folder import ModelSettings, load_adapters, save_model
from onethinker.models.loading import load_local
from onethinker.models.prompt import encode_requests, request_about
from onethinker.models.wording import Wording
from onethinker.training.adapters import choose_trained
from onethinker.training.checkpoint import (
    Progress,
    RunFolder,
    Start,
    checkpoint_bytes,
    load_optimizer,
    load_progress,
    optimizer_tensors,
    save_progress,
)
from onethinker.training.config import FREE_SETTINGS, Recipe
from onethinker.training.loss import scored_by_head
from onethinker.training.monitoring import Stopwatch
from onethinker.training.optimizer import learning_rate, make_optimizer
from onethinker.training.packing import Prompt, Row, Tree, check_packing, pack, rows_of, split_prompts, use_forest_attention
from onethinker.training.preflight import check_share
from onethinker.training.sharding import average_whole_gradients, clip_gradients, is_sharded, is_wanted, shard, whole
from onethinker.training.trackers import Trackers, check_trackers
from onethinker.training.zero import Zero, wants_zero

FEWEST_SAMPLES = 1000
"""Shares are of at least so many samples, so that one bad file among the first does not stop a run."""
OnStep = Callable[[dict[str, Any]], None]
"""Called in the main process with each row of the journal, after it is on disk."""


@dataclass
class Run:
    """A model under training, with all that a step needs."""

    recipe: Recipe
    folder: RunFolder
    accelerator: Accelerator
    model: Any
    processor: Any
    wording: Wording
    budget: MediaBudget
    optimizer: torch.optim.Optimizer
    data: Mixture
    progress: Progress
    trackers: Trackers | None
    clock: Stopwatch
    zero: Zero | None = None
    skipped: list[dict[str, Any]] = field(default_factory=list)

    @property
    def settings(self) -> ModelSettings:
        """What is written beside the weights; of adapters also which model they belong to."""
        if self.recipe.lora is None:
            return ModelSettings(wording=self.wording, budget=self.budget)
        folder = Path(self.recipe.model).expanduser()
        base = str(folder.resolve()) if folder.is_dir() else self.recipe.model
        return ModelSettings(wording=self.wording, budget=self.budget, base=base, seed=self.recipe.seed)

    def precision(self) -> AbstractContextManager[Any]:
        """Return the context in which the model is called: it multiplies in bfloat16 where the recipe says "mixed"."""
        return torch.autocast(self.accelerator.device.type, torch.bfloat16, enabled=self.recipe.dtype == "mixed")

    def my_numbers(self, first: int, count: int) -> list[int]:
        """Return this process's share of the samples `first` to `first + count` of the endless order.

        Those that come together because they are about one clip go to one process, if there are enough for every process.
        """
        processes, together = self.accelerator.num_processes, self.data.together
        size = together if count >= together * processes else 1
        mine = self.accelerator.process_index
        return [number for number in range(first, first + count) if (number // size - first // size) % processes == mine]

    def read(self, number: int, opened: dict[Medium, Clip] | None = None) -> tuple[Sample, Request]:
        """Return a sample with its media opened and sized as the budget says; one that cannot be read is noted and another stands in.

        `opened` keeps what was read, for others that are about the same.

        Raises: DataError: nor can the others, as many as are tried before there are too many of them.
        """
        opened = {} if opened is None else opened
        for sample in itertools.islice(self.data.candidates(number), int(self._allowed_skips(self.progress)) + 2):
            try:
                opened.update({medium: read_clip(medium, self.budget) for medium in sample.media if medium not in opened})
                return sample, request_about(sample, tuple(opened[medium] for medium in sample.media), self.wording)
            except MediaError as error:
                self.skipped.append({"number": number, "id": sample.id, "reason": str(error)})
        tried = [skipped for skipped in self.skipped if skipped["number"] == number]
        raise DataError(f"{len(tried)} samples, one after the other, cannot be read; the last is {tried[-1]['id']}: {tried[-1]['reason']}")

    def prompts(self, requests: Sequence[Request]) -> list[Prompt]:
        """Return requests as encoded prompts on this process's device."""
        batch = encode_requests(self.processor, requests)
        return split_prompts(batch.to(self.accelerator.device), requests, self.model)

    def take_skipped(self) -> list[dict[str, Any]]:
        """Return what no process could read since this was last called: number in the order, id and reason of each sample."""
        mine, self.skipped = self.skipped, []
        return sorted(gather_object(mine), key=lambda skipped: int(skipped["number"]))

    def _allowed_skips(self, progress: Progress) -> float:
        return self.recipe.data.max_corrupt_share * max(progress.cursor, FEWEST_SAMPLES)

    def answer_ids(self, text: str) -> Tensor:
        """Return the tokens of a whole response with the end token, on this process's device."""
        tokenizer = self.processor.tokenizer
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        return torch.tensor([*ids, tokenizer.eos_token_id], device=self.accelerator.device)

    def update(
        self,
        trees: Sequence[Tree],
        step: int,
        row_loss: Callable[[Row, list[Tree], Tensor, Tensor], Tensor],
        *,
        temperature: float = 1.0,
    ) -> float:
        """Take one optimizer step on this process's trees and return the norm of the gradient, all processes together.

        `row_loss` gets a row, its trees, log-probabilities and entropy of its scored tokens at the temperature, and returns
        this row's part of a sum over all rows of all processes.
        """
        rows, sharded = rows_of(trees, self.recipe.max_row_tokens), is_sharded(self.model)
        dealt = sharded or self.zero is not None
        # Each row of a model that is dealt out takes all processes; those with fewer rows repeat one, and it counts nothing.
        number_of_rows = max(gather_object([len(rows)])) if dealt else len(rows)
        # Only the dropout of adapters draws from this; which step it is decides what is left out, so a resumed run equals a whole one.
        torch.manual_seed((self.recipe.seed * 1_000_003 + step) * self.accelerator.num_processes + self.accelerator.process_index)
        for number in range(number_of_rows):
            members = rows[number % len(rows)]
            row = pack(members)
            with self.precision():
                logps_S, entropy_S = score(self.zero.engine if self.zero else self.model, row, temperature=temperature)
            if not logps_S.requires_grad:
                logps_S.requires_grad_()  # a row without media, where all is frozen but what sees
            # Processes average their gradients; the loss is a sum over all of them.
            loss = row_loss(row, members, logps_S, entropy_S) if number < len(rows) else logps_S.sum() * 0.0
            loss = loss * self.accelerator.num_processes
            if self.zero is not None:
                self.zero.backward(loss, last=number + 1 == number_of_rows)
            else:
                self.accelerator.backward(loss)
        settings = self.recipe.optimizer
        rate = learning_rate(settings, step, self.recipe.steps)
        if self.zero is not None:
            return self.zero.step(rate)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        if self.accelerator.num_processes > 1:
            average_whole_gradients(self.model)
        norm = clip_gradients(self.model, settings.max_grad_norm)
        self.optimizer.step()
        self.optimizer.zero_grad()
        return norm

    def total(self, *numbers: float) -> list[float]:
        """Return the sums of numbers over all processes."""
        sums: Tensor = self.accelerator.reduce(torch.tensor(numbers, dtype=torch.float64, device=self.accelerator.device), "sum")
        return [float(number) for number in sums]

    def record(self, row: dict[str, Any], on_step: OnStep | None) -> None:
        """Put a row into the journal and tell trackers and whoever watches; only the main process does."""
        if self.accelerator.is_main_process:
            self.folder.append(row)
            if self.trackers is not None:
                self.trackers.tell([row])
            if on_step is not None:
                on_step(row)

    def advance(self, progress: Progress) -> None:
        """Take note that a step is done and in the journal, and save when the recipe says so.

        The journal comes first: rows of steps that no checkpoint holds are cut on resume, missing ones could not be made again.

        Raises: DataError: more samples could not be read than the recipe allows; the step is not saved.
        """
        if progress.skipped > self._allowed_skips(progress):
            raise DataError(
                f"{progress.skipped} of the first {progress.cursor} samples could not be read, more than data.max_corrupt_share = "
                f"{self.recipe.data.max_corrupt_share} allows. {self.folder.journal} names them under skipped_samples. Mend or remove them "
                "and run the same command again: it goes on from the last checkpoint"
            )
        self.progress = progress
        if progress.step % self.recipe.save_every and progress.step != self.recipe.steps:
            return
        weights, keep = self._weights(), self.accelerator.is_main_process
        moments = self.zero.moments(keep=keep) if self.zero else whole(optimizer_tensors(self.optimizer, self.model), keep=keep)
        if keep:
            size = _checkpoint_bytes(self.model, self.recipe)
            with self.clock.phase("checkpoint"), self.folder.writing(progress.step, size=size) as partial:
                save_model(partial / "model", self.model, self.processor, settings=self.settings, state=weights)
                save_file(moments, partial / "optimizer.safetensors")
                save_progress(progress, partial / "progress.json")
        self.accelerator.wait_for_everyone()

    def _weights(self) -> dict[str, Tensor] | None:
        """Return the weights of a model that is dealt out, in the main process, or None where the model holds them itself."""
        if not is_sharded(self.model):
            return None
        return whole(dict(self.model.named_parameters()), keep=self.accelerator.is_main_process)

    def finish(self) -> Path:
        """Write the finished model, adapters merged, and return its folder."""
        weights = self._weights()
        if self.accelerator.is_main_process:
            if self.trackers is not None:
                self.trackers.finish()
            model = self.model
            if self.recipe.lora is not None:
                last = self.folder.checkpoints()[-1] / "model"
                model, weights = load_local(str(last), device="cpu", dtype=self.recipe.weights_dtype).model, None
            settings = ModelSettings(wording=self.wording, budget=self.budget)
            with self.folder.writing_model() as folder:
                save_model(folder, model, self.processor, settings=settings, state=weights)
        self.accelerator.wait_for_everyone()
        return self.folder.model


def open_run(recipe: Recipe, path: Path, *, batch: int, allow_changes: bool = False) -> Run:
    """Return a run that is new, or that goes on from the last whole checkpoint in its folder; `batch` samples are a step.

    Settings that decide what is learned may differ from those that the run began with only if changes are allowed.

    Raises: CheckpointError: the folder holds a run of another recipe, its checkpoints are damaged, or the disk has no room for
    new ones. EngineError: the model cannot be loaded. ConfigError: the parts to freeze are not there, or the batch is smaller
    than the processes.
    """
    check_trackers(recipe.log)
    dealt = wants_zero(recipe)
    accelerator = Accelerator(
        cpu=not torch.cuda.is_available(),
        log_with=list(recipe.log.trackers) or None,
        project_config=ProjectConfiguration(logging_dir=str(path / "tensorboard")),
    )
    check_share(batch, accelerator.num_processes)
    sharded = is_wanted(accelerator.num_processes, recipe)
    folder, settings = RunFolder(path), recipe.model_dump(mode="json")
    changed = folder.check(settings, free=FREE_SETTINGS, allow_changes=allow_changes)
    if accelerator.is_main_process:
        check_files(recipe.data.files, need=recipe.need)
    start = _find_start(accelerator, folder)
    lora, checkpoint = recipe.lora, start.checkpoint
    weights = str(checkpoint / "model") if checkpoint and lora is None else recipe.model
    four_bit = lora is not None and lora.four_bit
    engine = load_local(weights, seed=recipe.seed, dtype=recipe.weights_dtype, four_bit=four_bit)
    check_packing(engine.model)
    model = engine.model.to(accelerator.device)
    use_forest_attention(model)
    model.train()
    choose_trained(model, recipe)
    if checkpoint and lora is not None:
        load_adapters(checkpoint / "model", model)
    if recipe.gradient_checkpointing:
        model.activation_checkpointing_enable({"use_reentrant": False})
    if sharded:
        shard(model, mixed=recipe.dtype == "mixed")
    optimizer = make_optimizer(model, recipe.optimizer)
    zero = Zero.deal(model, optimizer, recipe) if dealt else None
    progress = Progress()
    if checkpoint:
        if not any(change.startswith("optimizer.kind:") for change in changed):
            moments = checkpoint / "optimizer.safetensors"
            zero.load_moments(moments) if zero else load_optimizer(optimizer, model, moments)
        progress = load_progress(checkpoint / "progress.json")
    data = Mixture.open(**recipe.data.model_dump(exclude={"max_corrupt_share"}))
    # Only now is anything written: a recipe that cannot start leaves no folder behind.
    trackers = None
    if accelerator.is_main_process:
        saves = math.ceil((recipe.steps - progress.step) / recipe.save_every)
        folder.check_room(_checkpoint_bytes(model, recipe), saves)
        folder.begin(settings, progress.step, changed=changed, torn=start.torn)
        if recipe.log.trackers:
            trackers = Trackers(accelerator, recipe.log, path, recipe=settings, step=progress.step)
            trackers.tell(folder.rows())
    accelerator.wait_for_everyone()
    return Run(
        recipe=recipe,
        folder=folder,
        accelerator=accelerator,
        model=model,
        processor=engine.processor,
        wording=engine.wording,
        budget=recipe.budget or engine.budget,
        optimizer=optimizer,
        data=data,
        progress=progress,
        trackers=trackers,
        clock=Stopwatch(torch.cuda.synchronize if accelerator.device.type == "cuda" else None),
        zero=zero,
    )


def _find_start(accelerator: Accelerator, folder: RunFolder) -> Start:
    """Return where to go on; the main process reads the checkpoints and tells the others."""
    found = [folder.find_start() if accelerator.is_main_process else None]
    broadcast_object_list(found)
    (start,) = found
    assert start is not None
    return start


def _checkpoint_bytes(model: nn.Module, recipe: Recipe) -> int:
    return checkpoint_bytes(parameter for parameter in model.parameters() if recipe.lora is None or parameter.requires_grad)


def score(model: nn.Module, row: Row, *, temperature: float = 1.0) -> tuple[Tensor, Tensor]:
    """Return log-probability and entropy of every scored token of a row, each of shape (S,), of logits divided by the temperature."""
    (head,) = (module for name, module in model.named_modules() if name.split(".")[-1] == "lm_head" and isinstance(module, nn.Linear))
    with _scoring(head, row.targets_S, temperature):
        scored_S2 = model(**row.inputs, logits_to_keep=row.scored_S).logits[0]
    return scored_S2[:, 0], scored_S2[:, 1]


@contextmanager
def _scoring(head: nn.Linear, targets_S: Tensor, temperature: float) -> Iterator[None]:
    """Let the head, while this is open, give log-probability and entropy of the targets, (1, S, 2), in place of all logits.

    It stays inside the model's own forward, where whatever wraps the model gathers its weights and counts its gradients.
    """

    def forward(hidden_1SH: Tensor) -> Tensor:
        logps_S, entropy_S = scored_by_head(hidden_1SH[0], head.weight, targets_S, temperature)
        return torch.stack([logps_S[None], entropy_S[None]], -1)

    setattr(head, "forward", forward)  # noqa: B010 (a method to mypy)
    try:
        yield
    finally:
        del head.forward
