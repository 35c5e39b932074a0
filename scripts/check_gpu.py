"""What only a machine with a GPU can show, in less than 8 minutes: `make check-gpu`.

Each check prints a line: "holds" with what was measured, "FAILED", or "not tried" with what it would need. The exit
code is 0 where all that was tried holds, 1 where something does not, 3 on a machine without a GPU.
"""

import gc
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from checking import MIB, NotTriedError, left_s, near, need, peak
from gpu_attention import packed_in_bfloat16
from gpu_model import kernels, speed
from gpu_servers import served
from safetensors.torch import load_file
from torch import Tensor, distributed
from torch.distributed.tensor import DTensor

from onethinker.data.synthetic import make_sample
from onethinker.families.tiny import TINY_BUDGET, TINY_TEMPLATE, build_tiny
from onethinker.inference.encode import build_request, encode_requests
from onethinker.training.config import SftRecipe
from onethinker.training.liger import use_liger
from onethinker.training.packing.attention import use_packed_attention
from onethinker.training.packing.row import PackedRow, PrefixGroup, Prompt, pack, split_prompts
from onethinker.training.parallel.fsdp2 import Fsdp2
from onethinker.training.parallel.single import gradient_norm
from onethinker.training.scoring import score, scored_by_head
from onethinker.training.state.run_folder import RunFolder

NO_GPU = 3
SFT = {
    "steps": 4,
    "save_every": 2,
    "batch_size": 8,
    "max_row_tokens": 2048,
    "data.problem_types": '["multiple choice", "spatial grounding"]',
    "optimizer.kind": "adamw",
    "optimizer.warmup_steps": 0,
    "optimizer.min_lr_ratio": 1,
}
RL = {
    "steps": 2,
    "save_every": 2,
    "data.problem_types": '["multiple choice"]',
    "rollout.generation_batch_size": 4,
    "rollout.group_size": 4,
    "rollout.max_new_tokens": 24,
    "rollout.min_accuracy": -1,
    "rollout.max_accuracy": 2,
    "optimizer.warmup_steps": 0,
}


def a_row(device: str, answers: int) -> tuple[Any, PackedRow]:
    """Return a tiny model in training, and a row of a question about a picture with so many answers of 64 tokens."""
    model, processor = build_tiny(seed=3)
    use_packed_attention(model)
    requests = [build_request(make_sample(5, 0, problem_type="spatial grounding"), TINY_TEMPLATE, TINY_BUDGET)]
    (prompt,) = split_prompts(encode_requests(processor, requests), requests, model)
    generator = torch.Generator().manual_seed(0)
    ids = tuple(torch.randint(20, 250, (64,), generator=generator).to(device) for _ in range(answers))
    pixels = {name: value.to(device) for name, value in prompt.pixels.items()}
    words = (prompt.input_ids, prompt.mm_token_type_ids, prompt.positions)
    here = Prompt(*(value.to(device) for value in words), pixels)
    return model.to(device).train(), pack([PrefixGroup(here, ids)])


def learned(model: Any, row: PackedRow, device: str) -> tuple[float, Tensor]:
    """Return the peak in MiB of a row that is learned from, NaN on the CPU, and all gradients in one vector."""
    model.zero_grad()
    score(model, row)[0].mean().backward()  # what is set up once is not measured
    model.zero_grad()
    with peak(device) as grown:
        score(model, row)[0].mean().backward()
    gradients = [weight.grad.flatten().cpu() for weight in model.parameters() if weight.grad is not None]
    return (grown or [float("nan")])[0], torch.cat(gradients)


def activations(_: Path, *, device: str = "cuda", answers: int = 64) -> str:
    """Checkpointing and offloading take memory away, and leave the gradients as they are."""
    found = []
    for how in ({}, {"offload": False}, {"offload": True}):
        model, row = a_row(device, answers)
        if how:
            model.activation_checkpointing_enable({"use_reentrant": False}, **how)
        found.append(learned(model, row, device))
    apart = max(near(gradients, found[0][1], 1e-4) for _, gradients in found[1:])
    sizes = [size for size, _ in found]
    if device == "cuda":
        assert sizes[0] > sizes[1] > sizes[2], f"not less each time: {sizes}"
    kept, checkpointed, offloaded = sizes
    return (
        f"all kept {kept:.0f} MiB, gradient_checkpointing {checkpointed:.0f}, activation_offload {offloaded:.0f};"
        f" gradients apart by {apart:.1g}"
    )


def liger(_: Path, *, device: str = "cuda", answers: int = 64) -> str:
    """Liger's kernels take memory away, and leave the gradients as they are but for rounding."""
    need(find_spec("liger_kernel") is not None, "pip install 'onethinker[liger]'")
    model, row = a_row(device, answers)
    before, expected = learned(model, row, device)
    use_liger(model)
    after, found = learned(model, row, device)
    apart = near(found, expected, 1e-3)
    assert after < before, f"{after:.0f} MiB, {before:.0f} without"
    return f"{before:.0f} MiB, with liger {after:.0f}; gradients apart by {apart:.1g}"


def logits(_: Path, *, device: str = "cuda", tokens: int = 8192, words: int = 151_936) -> str:
    """Log-probabilities are made without all logits, and are those of all logits."""
    hidden = 64
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(words, hidden, generator=generator).to(device).requires_grad_()
    states = torch.randn(tokens, hidden, generator=generator).to(device).requires_grad_()
    targets = torch.randint(words, (tokens,), generator=generator).to(device)
    with peak(device) as grown:
        logps, _entropy = scored_by_head(states, weight, targets)
        logps.mean().backward()
    some = slice(0, 64)
    expected = torch.log_softmax(states[some].detach() @ weight.detach().T, -1).gather(1, targets[some, None])[:, 0]
    near(logps.detach()[some].cpu(), expected.cpu(), 1e-4)
    at_once = tokens * words * 4 / MIB
    assert not grown or grown[0] < at_once / 4, f"{grown[0]:.0f} MiB of {at_once:.0f} for all logits"
    return f"{(grown or [float('nan')])[0]:.0f} MiB, where all logits would be {at_once:.0f}"


def offloaded_shares(_: Path, *, device: str = "cuda") -> str:
    """FSDP2 with shares in the computer's memory, over one process: the GPU never holds the whole model, and a step is
    that of a model held whole.
    """
    recipe = SftRecipe(optimizer={"learning_rate": 1e-3})
    (whole, row), (sharded, _row) = a_row(device, 4), a_row(device, 4)
    environment = {"FSDP_OFFLOAD_PARAMS": "true", "FSDP_RESHARD_AFTER_FORWARD": "true"}
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = str(found.getsockname()[1])
    environment |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "RANK": "0", "WORLD_SIZE": "1"}
    os.environ.update(environment)
    distributed.init_process_group("cuda:nccl,cpu:gloo" if device == "cuda" else "gloo")
    try:
        with peak(device) as grown:
            backend = Fsdp2.wrap(sharded.cpu(), recipe, torch.device(device))
        size = sum(weight.nbytes for weight in whole.parameters()) / MIB
        assert not grown or grown[0] < size, f"sharding took {grown[0]:.0f} MiB of the GPU, the model has {size:.0f}"
        for model in (whole, backend.callee):
            (-score(model, row)[0].mean()).backward()
        norm = backend.reduce_gradients()
        near(norm.cpu(), gradient_norm(whole).cpu(), 1e-3)
        backend.step(1e-3, norm)
        with backend.together(), torch.no_grad():
            assert bool(score(backend.callee, row)[0].isfinite().all()), "what the model says is not finite"
        shares = [weight.to_local() for weight in sharded.parameters() if isinstance(weight, DTensor)]
        assert {share.device.type for share in shares} == {"cpu"}, "shares are not in the computer's memory"
        moments = backend.moments(keep=True)
        assert moments, "there are no moments"
    finally:
        distributed.destroy_process_group()
        for name in environment:
            del os.environ[name]
    return f"{sum(share.nbytes for share in shares) / MIB:.0f} MiB off the GPU; norm of the gradient {float(norm):.4g}"


def train(stage: str, folder: Path, settings: dict[str, Any], *flags: str, device: str = "cuda") -> RunFolder:
    """Run `onethinker sft` or `rl` and return the run's folder. Raises: AssertionError: it failed. NotTriedError: it
    would take longer than all checks may.
    """
    words = [sys.executable, "-m", "onethinker", stage, f"tiny_{stage}", "--output", str(folder), *flags, "--set"]
    words += [f"{name}={value}" for name, value in settings.items()]
    environment = os.environ | ({} if device == "cuda" else {"CUDA_VISIBLE_DEVICES": ""})
    try:
        done = subprocess.run(
            words, env=environment, capture_output=True, text=True, check=False, timeout=max(1.0, left_s())
        )
    except subprocess.TimeoutExpired as error:
        raise NotTriedError("more time than all checks may take") from error
    assert done.returncode == 0, done.stderr.strip().splitlines()[-1:]
    return RunFolder(folder)


def trained(folder: Path) -> RunFolder:
    """Return the run of SFT that several checks compare with."""
    run = RunFolder(folder.parent / "trained")
    return run if run.model.exists() else train("sft", run.path, SFT)


def losses(run: RunFolder) -> Tensor:
    """Return the losses of a run's steps."""
    return torch.tensor([float(row["loss"]) for row in run.rows()])


def weights(run: RunFolder) -> Tensor:
    """Return all weights of a finished run in one vector."""
    return torch.cat([weight.flatten().float() for weight in load_file(run.model / "model.safetensors").values()])


def as_the_cpu(folder: Path) -> str:
    """SFT on the GPU has the losses of SFT on the CPU; in bfloat16 products nearly so."""
    on_gpu, on_cpu = trained(folder), train("sft", folder / "cpu", SFT, device="cpu")
    apart = near(losses(on_gpu), losses(on_cpu), 1e-3)
    mixed = near(losses(train("sft", folder / "mixed", SFT | {"dtype": "mixed"})), losses(on_cpu), 0.02)
    return (
        f'losses apart by {apart:.1g}, with dtype = "mixed" by {mixed:.1g}; {on_gpu.rows()[-1]["memory_gib"]:.2f} GiB'
    )


def resumed(folder: Path) -> str:
    """A run that goes on from a checkpoint ends as one that was never stopped."""
    whole = trained(folder)
    train("sft", folder / "parts", SFT | {"steps": 2})
    parts = train("sft", folder / "parts", SFT, "--allow-changes")
    equal = weights(parts).equal(weights(whole))
    apart = near(weights(parts), weights(whole), 1e-4)
    return "bit for bit" if equal else f"apart by {apart:.1g}: kernels of this GPU add up in no fixed order"


def reinforcement(folder: Path) -> str:
    """RL samples and learns on the GPU: the first update's ratio to the policy that sampled is 1."""
    start = trained(folder)
    run = train("rl", folder / "rl", RL | {"model": start.model})
    rows = run.rows()
    assert all(abs(row["ratio"] - 1) < 1e-3 for row in rows), f"ratios {[row['ratio'] for row in rows]}"
    return f"ratios {[round(row['ratio'], 5) for row in rows]}, {rows[-1]['memory_gib']:.2f} GiB"


def few_bits(folder: Path) -> str:
    """AdamW in 8 bits, and adapters over weights in 4 bits, learn."""
    need(find_spec("bitsandbytes") is not None, "pip install 'onethinker[8bit,4bit]'")
    start = trained(folder)
    eight = losses(train("sft", folder / "eight", SFT | {"optimizer.kind": "adamw8bit"}))
    near(eight, losses(start), 0.05)
    four = SFT | {"model": start.model, "lora.rank": 4, "lora.four_bit": "true", "frozen": "[]"}
    found = losses(train("sft", folder / "four", four))
    assert bool(found.isfinite().all()), found.tolist()
    return (
        f"losses in 8 bits {[round(loss, 3) for loss in eight.tolist()]}, in 4 {[round(x, 3) for x in found.tolist()]}"
    )


def two_gpus(folder: Path) -> str:
    """Two processes that share weights learn what one learns, with the memory that each way promises."""
    need(torch.cuda.device_count() > 1, f"two GPUs; there is {torch.cuda.device_count()}")
    expected = weights(trained(folder))
    configs = ["fsdp2", "fsdp2_full", "fsdp2_offload"]
    configs += ["deepspeed_zero2"] if find_spec("deepspeed") else []
    memory = {}
    for config in configs:
        run = train("sft", folder / config, SFT, "--processes", "2", "--accelerate-config", config)
        near(weights(run), expected, 1e-3)
        memory[config] = round(run.rows()[-1]["memory_gib"], 3)
    assert memory["fsdp2_offload"] < memory["fsdp2"], memory
    return f"GiB on each: {json.dumps(memory)}"


CHECKS: tuple[Callable[[Path], str], ...] = (
    activations,
    logits,
    liger,
    offloaded_shares,
    packed_in_bfloat16,
    kernels,
    speed,
    as_the_cpu,
    resumed,
    reinforcement,
    served,
    few_bits,
    two_gpus,
)


def tried(check: Callable[[Path], str], folder: Path) -> tuple[str, str]:
    """Return whether a check holds, and what it says."""
    try:
        return "holds", check(folder)
    except NotTriedError as error:
        return "not tried", f"needs {error}"
    except Exception as error:  # a check that ends in any other way has failed, and the others are still tried
        return "FAILED", f"{type(error).__name__}: {error}"


def main() -> int:
    """Try all checks and return the exit code."""
    if not torch.cuda.is_available():
        print("check-gpu: this machine has no GPU that torch can use, so nothing was checked", file=sys.stderr)
        return NO_GPU
    print(f"{torch.cuda.device_count()} x {torch.cuda.get_device_name()}, torch {torch.__version__}", flush=True)
    failed = 0
    with tempfile.TemporaryDirectory() as folder:
        for check in CHECKS:
            own, began = Path(folder) / check.__name__, time.monotonic()
            own.mkdir()
            outcome, said = tried(check, own)
            failed += outcome == "FAILED"
            seconds = time.monotonic() - began
            gc.collect()
            torch.cuda.empty_cache()  # runs of training and vLLM are processes of their own
            print(f"{outcome:<10} {check.__name__:<18} {seconds:5.0f} s  {check.__doc__}\n{' ' * 11}{said}", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
