"""What SFT and RL share: a model under training with its optimizer, its processes and its folder."""

import itertools
import logging
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import ProjectConfiguration, broadcast_object_list, gather_object
from safetensors.torch import save_file
from torch import Tensor, nn

from onethinker.core.errors import DataError, MediaError, TrainingError
from onethinker.core.frames import Clip
from onethinker.core.grammar import without_opening
from onethinker.core.request import Request
from onethinker.core.sample import Medium, Sample
from onethinker.data.formats.records import write_records
from onethinker.data.mixture import Mixture
from onethinker.data.validate import Checked
from onethinker.families.folder import ModelSettings, load_adapters, save_model
from onethinker.families.packing import check_packing
from onethinker.inference.chat import plain_text, spelled_tokens
from onethinker.inference.encode import answer_opening, encode_requests, request_about
from onethinker.inference.loading import load_local
from onethinker.media.budget import MediaBudget
from onethinker.media.reading import read_clip
from onethinker.tasks.template import Wording
from onethinker.training.adapters import choose_trained
from onethinker.training.config import FREE_SETTINGS, Recipe
from onethinker.training.inputs import Inputs, check_data, choose_inputs, measure, open_mixture, unused_weights
from onethinker.training.loss import scored_by_head
from onethinker.training.metrics.bad_steps import BadStep, Taken, first_not_finite, largest_by_part, together
from onethinker.training.metrics.records import Stopwatch
from onethinker.training.metrics.trackers import Trackers, check_trackers
from onethinker.training.optimizer import learning_rate, make_optimizer
from onethinker.training.packing.attention import use_packed_attention
from onethinker.training.packing.prefix_group import Prompt, Tree, rows_of, split_prompts
from onethinker.training.packing.row import Row, pack
from onethinker.training.parallel.fsdp2 import (
    average_whole_gradients,
    gathered,
    gradient_norm,
    is_sharded,
    is_wanted,
    scale_gradients,
    shard,
    whole,
)
from onethinker.training.parallel.zero2 import Zero, wants_zero
from onethinker.training.preflight import check_share
from onethinker.training.state.checkpoint import (
    Progress,
    RunFolder,
    Start,
    Streak,
    checkpoint_bytes,
    load_optimizer,
    load_progress,
    optimizer_tensors,
    save_progress,
)
from onethinker.training.state.provenance import Digests, about_start, digest_data, digest_model

LEFT_OUT = "left_out.jsonl"
"""The file in a run's folder with every record that is not drawn, and why; empty as a rule."""
FEWEST_SAMPLES = 1000
"""Shares are of at least so many samples, or of all records if they are fewer: one bad file among the first draws stops
no long run.
"""
OnStep = Callable[[dict[str, Any]], None]
"""Called in the main process with each row of the journal, after it is on disk."""
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Stepped:
    """What an optimizer step has measured, all processes together; `bad` says why it was not taken where it was not."""

    loss: float
    norm: float
    bad: BadStep | None = None


@dataclass
class Run:
    """A model under training, with all that a step needs.

    `streak` counts the optimizer steps that were not taken, `last_bad` is the last of them, and `taken` is the last one
    that was.
    """

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
    streak: Streak = field(default_factory=Streak)
    last_bad: BadStep | None = None
    taken: Taken | None = None

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

        Those that come together because they are about one clip go to one process, if there are enough for every
        process.
        """
        processes, together = self.accelerator.num_processes, self.data.together
        size = together if count >= together * processes else 1
        mine = self.accelerator.process_index
        return [
            number for number in range(first, first + count) if (number // size - first // size) % processes == mine
        ]

    def read(self, number: int, opened: dict[Medium, Clip] | None = None) -> tuple[Sample, Request]:
        """Return a sample with its media opened and sized as the budget says; one that cannot be read is noted and
        another stands in.

        `opened` keeps what was read, for others that are about the same.

        Raises: DataError: nor can the others, as many as are tried before there are too many of them.
        """
        opened = {} if opened is None else opened
        for sample in itertools.islice(self.data.candidates(number), int(self._allowed_skips(self.progress)) + 2):
            try:
                opened.update(
                    {medium: read_clip(medium, self.budget) for medium in sample.media if medium not in opened}
                )
                return sample, request_about(sample, tuple(opened[medium] for medium in sample.media), self.wording)
            except MediaError as error:
                self.skipped.append({"number": number, "id": sample.id, "reason": str(error)})
        tried = [skipped for skipped in self.skipped if skipped["number"] == number]
        raise DataError(
            f"{len(tried)} samples, one after the other, cannot be read; the last is {tried[-1]['id']}:"
            f" {tried[-1]['reason']}"
        )

    def prompts(self, requests: Sequence[Request]) -> list[Prompt]:
        """Return requests as encoded prompts on this process's device."""
        batch = encode_requests(self.processor, requests)
        return split_prompts(batch.to(self.accelerator.device), requests, self.model)

    def take_skipped(self) -> list[dict[str, Any]]:
        """Return what no process could read since this was last called: number in the order, id and reason of each
        sample.
        """
        mine, self.skipped = self.skipped, []
        return sorted(gather_object(mine), key=lambda skipped: int(skipped["number"]))

    def _allowed_skips(self, progress: Progress) -> float:
        fewest = FEWEST_SAMPLES if self.data.num_records is None else min(FEWEST_SAMPLES, self.data.num_records)
        return self.recipe.data.max_corrupt_share * max(progress.cursor, fewest)

    def answer_ids(self, text: str) -> Tensor:
        """Return the tokens of a whole response with the end token, on this process's device; no other special token is
        among them.

        What the chat template has already written of it stands in the prompt, and is not learned twice.
        """
        tokenizer = self.processor.tokenizer
        learned = plain_text(without_opening(text, answer_opening(self.processor)), spelled_tokens(tokenizer))
        ids = tokenizer(learned, add_special_tokens=False)["input_ids"]
        return torch.tensor([*ids, tokenizer.eos_token_id], device=self.accelerator.device)

    def update(
        self,
        trees: Sequence[Tree],
        step: int,
        row_loss: Callable[[Row, list[Tree], Tensor, Tensor], Tensor],
        *,
        temperature: float = 1.0,
    ) -> Stepped:
        """Take one optimizer step on this process's trees and return what it measured, all processes together.

        `row_loss` gets a row, its trees, log-probabilities and entropy of its scored tokens at the temperature, and
        returns this row's part of a sum over all rows of all processes. Where the loss or the gradient is not finite no
        step is taken: weights and moments stay.
        """
        rows, sharded = rows_of(trees, self.recipe.max_row_tokens), is_sharded(self.model)
        dealt = sharded or self.zero is not None
        # Each row of a model that is dealt out takes all processes; those with fewer rows repeat one, and it counts
        # nothing.
        number_of_rows = max(gather_object([len(rows)])) if dealt else len(rows)
        # Only the dropout of adapters draws from this; which step it is decides what is left out, so a resumed run
        # equals a whole one.
        torch.manual_seed(
            (self.recipe.seed * 1_000_003 + step) * self.accelerator.num_processes + self.accelerator.process_index
        )
        losses: list[float] = []
        suspects: list[str] = []
        first: Row | None = None
        for number in range(number_of_rows):
            members = rows[number % len(rows)]
            row = pack(members)
            first = first or row
            with self.precision():
                logps_S, entropy_S = score(self.zero.engine if self.zero else self.model, row, temperature=temperature)
            if not logps_S.requires_grad:
                logps_S.requires_grad_()  # a row without media, where all is frozen but what sees
            # Processes average their gradients; the loss is a sum over all of them.
            loss = row_loss(row, members, logps_S, entropy_S) if number < len(rows) else logps_S.sum() * 0.0
            losses.append(float(loss.detach()))
            if not math.isfinite(losses[-1]):
                suspects += [sample for tree in members for sample in tree.samples]
            loss = loss * self.accelerator.num_processes
            if self.zero is not None:
                self.zero.backward(loss, last=number + 1 == number_of_rows)
            else:
                self.accelerator.backward(loss)
        if self.zero is None and self.accelerator.num_processes > 1:
            average_whole_gradients(self.model)
        norm = self.zero.norm() if self.zero else gradient_norm(self.model)
        # Summed up, so that all processes see the same and do the same.
        total_loss, not_finite = self.total(sum(losses), not math.isfinite(norm))
        everyone = [sample for tree in trees for sample in tree.samples]
        if not math.isfinite(total_loss) or not_finite:
            what = (
                f"the loss ({total_loss})"
                if not math.isfinite(total_loss)
                else f"the norm of the gradient ({float(norm)})"
            )
            mine = suspects if not math.isfinite(total_loss) else everyone
            return Stepped(total_loss, float(norm), self._drop_step(what, mine, step))
        largest = {} if self.zero else largest_by_part((name, p.grad) for name, p in self.model.named_parameters())
        self.taken = Taken(first, tuple(everyone), largest, self.streak.last_good_step)
        self._take_step(step, norm)
        self.streak = Streak(0, step + 1)
        return Stepped(total_loss, float(norm))

    def _take_step(self, step: int, norm: Tensor | float) -> None:
        settings = self.recipe.optimizer
        rate = learning_rate(settings, step, self.recipe.steps)
        if self.zero is not None:
            self.zero.step(rate)
            return
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        scale_gradients(self.model, settings.max_grad_norm, torch.as_tensor(norm))
        self.optimizer.step()
        self.optimizer.zero_grad()

    def _drop_step(self, what: str, samples: Sequence[str], step: int) -> BadStep:
        """Forget the gradients and return what they say."""
        gradients = (
            self.zero.gradients() if self.zero else ((name, p.grad) for name, p in self.model.named_parameters())
        )
        largest = together(gather_object([largest_by_part(gradients)]))
        if self.zero is not None:
            self.zero.drop()
        self.optimizer.zero_grad()
        return self.bad_step(what, samples, step, largest)

    def bad_step(
        self, what: str, samples: Sequence[str], step: int, largest: Mapping[str, float | None] | None = None
    ) -> BadStep:
        """Count an optimizer step that is not taken, and return what led there; all processes take part, each with its
        samples.
        """
        rate = learning_rate(self.recipe.optimizer, step, self.recipe.steps)
        named = tuple(sorted(set(gather_object(list(samples)))))
        self.last_bad = BadStep(what, named, largest or {}, self.streak.last_good_step, rate)
        self.streak = replace(self.streak, bad=self.streak.bad + 1)
        return self.last_bad

    def total(self, *numbers: float) -> list[float]:
        """Return the sums of numbers over all processes."""
        sums: Tensor = self.accelerator.reduce(
            torch.tensor(numbers, dtype=torch.float64, device=self.accelerator.device), "sum"
        )
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

        The journal comes first: rows of steps that no checkpoint holds are cut on resume, missing ones could not be
        made again.

        Raises: DataError: more samples could not be read than the recipe allows. TrainingError: more steps in a row
        were bad than the recipe allows, or what would be saved is not finite. The step is then not saved.
        """
        if self.streak.bad > self.recipe.optimizer.max_bad_steps:
            assert self.last_bad is not None
            bad = self._find_not_finite() or self.last_bad
            raise TrainingError(
                f"{self.streak.bad} optimizer steps in a row could not be taken, up to step {progress.step}, more than "
                f"optimizer.max_bad_steps = {self.recipe.optimizer.max_bad_steps}: {bad.text()}. {self._way_back()}"
            )
        if progress.skipped > self._allowed_skips(progress):
            raise DataError(
                f"{progress.skipped} of the first {progress.cursor} samples could not be read, more than"
                f" data.max_corrupt_share = {self.recipe.data.max_corrupt_share} allows. {self.folder.journal} names"
                " them under skipped_samples. Mend or remove them and run the same command again: it goes on from the"
                " last checkpoint"
            )
        self.progress = replace(progress, streak=self.streak)
        if progress.step % self.recipe.save_every and progress.step != self.recipe.steps:
            return
        self._check_finite(progress.step)
        weights, keep = self._weights(), self.accelerator.is_main_process
        moments = (
            self.zero.moments(keep=keep)
            if self.zero
            else whole(optimizer_tensors(self.optimizer, self.model), keep=keep)
        )
        if keep:
            size = _checkpoint_bytes(self.model, self.recipe)
            with self.clock.phase("checkpoint"), self.folder.writing(progress.step, size=size) as partial:
                save_model(partial / "model", self.model, self.processor, settings=self.settings, state=weights)
                save_file(moments, partial / "optimizer.safetensors")
                save_progress(self.progress, partial / "progress.json")
        self.accelerator.wait_for_everyone()

    def _check_finite(self, step: int) -> None:
        """Raises: TrainingError: in all processes, where what a checkpoint of this step would hold is not finite in one
        of them.
        """
        with self.clock.phase("checkpoint"):
            problem = self._find_not_finite()
        if problem is not None:
            raise TrainingError(f"step {step} is not saved: {problem.text()}. {self._way_back()}")

    def _find_not_finite(self) -> BadStep | None:
        """Return what is not finite after the last step that was taken, or None; all processes take part.

        That is a weight, one of the optimizer's moving averages, or what the model says of a batch that it has just
        learned from: weights that are finite can be too large for anything to be computed with them. Nothing is where
        this process has taken no step yet.
        """
        if self.taken is None:
            return None
        mine = first_not_finite(
            (name, weight) for name, weight in self.model.named_parameters() if weight.requires_grad
        )
        if mine is None:
            mine = first_not_finite(
                self.zero.own_moments() if self.zero else optimizer_tensors(self.optimizer, self.model).items()
            )
        with gathered(self.model), self.precision(), torch.no_grad():
            logps_S, _ = score(self.model, self.taken.row)
        if mine is None and not bool(logps_S.isfinite().all()):
            mine = "what the model says of the batch that it has just learned from"
        found = [each for each in gather_object([mine]) if each is not None]
        if not found:
            return None
        step = self.streak.last_good_step
        samples = tuple(sorted(set(gather_object(list(self.taken.samples)))))
        largest = together(gather_object([self.taken.largest_gradients]))
        rate = learning_rate(self.recipe.optimizer, step - 1, self.recipe.steps)
        return BadStep(f"{found[0]}, after step {step},", samples, largest, self.taken.last_good_step, rate)

    def _way_back(self) -> str:
        """Return what a run that cannot go on has left, and what to do."""
        checkpoints = self.folder.checkpoints()
        last = f"{checkpoints[-1].name} is the last good checkpoint" if checkpoints else "There is no checkpoint yet"
        again = "run the command again with --allow-changes" if checkpoints else "run the command again"
        return (
            f"{last}. Lower optimizer.learning_rate, lengthen optimizer.warmup_steps, or mend the samples that are"
            f" named, and {again}"
        )

    def _weights(self) -> dict[str, Tensor] | None:
        """Return the weights of a model that is dealt out, in the main process, or None where the model holds them
        itself.
        """
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


def open_run(
    recipe: Recipe,
    path: Path,
    *,
    batch: int,
    allow_changes: bool = False,
    on_check: Callable[[int, int], None] | None = None,
) -> Run:
    """Return a run that is new, or that goes on from the last whole checkpoint in its folder; `batch` samples are a
    step.

    Before anything else all records are checked, and the headers of their media; `on_check` gets how many of these have
    been.

    Settings that decide what is learned may differ from those that the run began with only if changes are allowed.

    Raises: CheckpointError: the folder holds a run of another recipe, its checkpoints are damaged, or the disk has no
    room for new ones. EngineError: the model cannot be loaded. ConfigError: the parts to freeze are not there, or the
    batch is smaller than the processes.
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
    checked = Checked()
    if accelerator.is_main_process:
        checked = check_data(recipe, on_check)
    start = _find_start(accelerator, folder)
    digests: dict[str, Digests] = {}
    if accelerator.is_main_process:
        step = int(start.checkpoint.name.partition("-")[2]) if start.checkpoint else 0
        changed += folder.check_records(step, allow_changes=allow_changes)
        digests["data"] = digest_data(recipe.data.files)
        changed += folder.check_inputs({"data": digests["data"]}, allow_changes=allow_changes)
    lora, checkpoint = recipe.lora, start.checkpoint
    weights = str(checkpoint / "model") if checkpoint and lora is None else recipe.model
    four_bit = lora is not None and lora.four_bit
    engine = load_local(weights, seed=recipe.seed, dtype=recipe.weights_dtype, four_bit=four_bit)
    check_packing(engine.model)
    if accelerator.is_main_process:
        # After it was loaded: only then is a model of the hub here for certain.
        digests["model"] = digest_model(recipe.model)
        changed += folder.check_inputs({"model": digests["model"]}, allow_changes=allow_changes)
    model = engine.model.to(accelerator.device)
    use_packed_attention(model)
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
    budget = recipe.budget or engine.budget
    inputs = Inputs()
    if accelerator.is_main_process:
        lengths = measure(recipe, checked, processor=engine.processor, wording=engine.wording, budget=budget)
        inputs = choose_inputs(recipe, checked, lengths)
    (inputs,) = broadcast_object_list([inputs])
    data = open_mixture(recipe, inputs)
    # Only now is anything written: a recipe that cannot start leaves no folder behind.
    trackers = None
    if accelerator.is_main_process:
        saves = math.ceil((recipe.steps - progress.step) / recipe.save_every)
        folder.check_room(_checkpoint_bytes(model, recipe), saves)
        about = {"inputs": digests, **about_start(accelerator.num_processes)}
        folder.begin(settings, progress.step, changed=changed, torn=start.torn, about=about)
        for line in (*inputs.lines, *unused_weights(data)):
            _log.warning("%s", line)
        left_out = [{"file": str(each.file), "row": each.row, "reason": each.text} for each in inputs.left_out]
        write_records(path / LEFT_OUT, left_out)
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
        budget=budget,
        optimizer=optimizer,
        data=data,
        progress=progress,
        trackers=trackers,
        clock=Stopwatch(torch.cuda.synchronize if accelerator.device.type == "cuda" else None),
        zero=zero,
        streak=progress.streak,
    )


def _find_start(accelerator: Accelerator, folder: RunFolder) -> Start:
    """Return where to go on; the main process reads the checkpoints and tells the others."""
    found = [folder.find_start() if accelerator.is_main_process else None]
    broadcast_object_list(found)
    (start,) = found
    assert start is not None
    return start


def _checkpoint_bytes(model: nn.Module, recipe: Recipe) -> int:
    return checkpoint_bytes(
        parameter for parameter in model.parameters() if recipe.lora is None or parameter.requires_grad
    )


def score(model: nn.Module, row: Row, *, temperature: float = 1.0) -> tuple[Tensor, Tensor]:
    """Return log-probability and entropy of every scored token of a row, each of shape (S,), of logits divided by the
    temperature.
    """
    (head,) = (
        module
        for name, module in model.named_modules()
        if name.split(".")[-1] == "lm_head" and isinstance(module, nn.Linear)
    )
    with _scoring(head, row.targets_S, temperature):
        scored_S2 = model(**row.inputs, logits_to_keep=row.scored_S).logits[0]
    return scored_S2[:, 0], scored_S2[:, 1]


@contextmanager
def _scoring(head: nn.Linear, targets_S: Tensor, temperature: float) -> Iterator[None]:
    """Let the head, while this is open, give log-probability and entropy of the targets, (1, S, 2), in place of all
    logits.

    It stays inside the model's own forward, where whatever wraps the model gathers its weights and counts its
    gradients.
    """

    def forward(hidden_1SH: Tensor) -> Tensor:
        logps_S, entropy_S = scored_by_head(hidden_1SH[0], head.weight, targets_S, temperature)
        return torch.stack([logps_S[None], entropy_S[None]], -1)

    setattr(head, "forward", forward)  # noqa: B010 (a method to mypy)
    try:
        yield
    finally:
        del head.forward
