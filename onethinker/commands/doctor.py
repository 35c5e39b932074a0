"""`onethinker doctor`: whether this machine can do the work, and what is missing if not."""

import os
import platform
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import TYPE_CHECKING

from onethinker.core.errors import ConfigError, OneThinkerError
from onethinker.storage.strict_json import to_json

if TYPE_CHECKING:
    import torch

    from onethinker.training.session import TrainingSession

REFERENCE_STEP_S = 0.50
"""A step of tiny_sight where the times of docs/results/quickstart.md were measured."""
MEASURED_STEPS = 3
"""Steps of training from which the time of all of them is estimated."""


@dataclass(frozen=True)
class Check:
    """One thing that was looked at; `detail` is what was found, or what is wrong."""

    name: str
    ok: bool
    detail: str
    seconds: float


def doctor(*, json: bool = False) -> None:
    """Check versions, device, video decoder, grading and the bundled model; exit 1 if anything fails.

    Args:
        json: Print one JSON object: ok, and for each check its name, ok, detail and seconds.
    """
    checks = []
    for name, look in CHECKS.items():
        checks.append(run_check(name, look))
        if not json:
            print(f"{'ok  ' if checks[-1].ok else 'FAIL'}  {name}: {checks[-1].detail}", flush=True)
    failed = [check.name for check in checks if not check.ok]
    if json:
        print(to_json({"ok": not failed, "checks": [asdict(check) for check in checks]}))
    if failed:
        raise OneThinkerError(f"{len(failed)} of {len(checks)} checks failed: {', '.join(failed)}")


def run_check(name: str, look: Callable[[], str]) -> Check:
    """Return what a check found; whatever it raises is its finding."""
    started = time.perf_counter()
    try:
        ok, detail = True, look()
    except Exception as error:  # A doctor reports what is wrong with a machine, whatever that is.
        ok, detail = False, f"{type(error).__name__}: {error}"
    return Check(name, ok, detail, round(time.perf_counter() - started, 3))


def check_versions() -> str:
    """Return the versions that matter. Raises: OneThinkerError: a dependency is not installed, or an older version than
    needed.
    """
    from packaging.requirements import Requirement

    wrong, found = [], {}
    for line in requires("onethinker") or []:
        requirement = Requirement(line)
        if requirement.marker and not requirement.marker.evaluate({"extra": ""}):
            continue
        try:
            found[requirement.name] = version(requirement.name)
        except PackageNotFoundError:
            wrong.append(f"{requirement.name} is not installed")
            continue
        if not requirement.specifier.contains(found[requirement.name], prereleases=True):
            wrong.append(f"{requirement} is needed, {found[requirement.name]} is installed")
    if wrong:
        raise OneThinkerError(f"{'; '.join(wrong)}: run pip install -c constraints.txt -e . in the repository")
    named = ", ".join(f"{name} {found[name]}" for name in ("torch", "transformers", "av"))
    return f"onethinker {version('onethinker')}, Python {platform.python_version()}, {named}, {len(found)} packages"


def check_device() -> str:
    """Return what torch computes on, after a multiplication there."""
    import torch

    device = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    ones = torch.ones(64, 64, device=device)
    if float((ones @ ones).sum()) != 64.0**3:
        raise OneThinkerError(f"{device} gives wrong results for a matrix multiplication; check its driver")
    if device == "cuda":
        properties = torch.cuda.get_device_properties(0)
        return f"{torch.cuda.device_count()} x {properties.name}, {properties.total_memory / 2**30:.0f} GiB"
    return f"{device}, {torch.get_num_threads()} threads"


def describe_processor() -> str:
    """Return the processor's name, its cores, the instructions that torch uses, and one core's measured GFLOP/s."""
    import torch

    info = Path("/proc/cpuinfo")
    lines = [line.partition(":") for line in info.read_text().splitlines()] if info.exists() else []
    known = {name.strip(): value.strip() for name, _, value in lines}
    name = known.get("model name") or platform.processor() or platform.machine()
    amx = " with AMX" if "amx_tile" in known.get("flags", "") else ""
    single, half = multiplying_rate(torch.float32), multiplying_rate(torch.bfloat16)
    bfloat16 = "native" if half > single / 2 else "emulated: leave dtype at float32 on the CPU"
    return (
        f"{name}, {count_cores()} cores, {torch.backends.cpu.get_cpu_capability()}{amx}; float32 {single:.3g} GFLOP/s a"
        f" core, bfloat16 {half:.2g} ({bfloat16})"
    )


def count_cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def multiplying_rate(dtype: "torch.dtype") -> float:
    """Return the GFLOP/s that one core reaches while it multiplies matrices of 512 by 512."""
    import torch

    threads, side = torch.get_num_threads(), 512
    torch.set_num_threads(1)
    try:
        matrix = torch.ones(side, side, dtype=dtype)
        seconds = []
        for _ in range(4):
            started = time.perf_counter()
            matrix @ matrix
            seconds.append(time.perf_counter() - started)
    finally:
        torch.set_num_threads(threads)
    return 2e-9 * side**3 / min(seconds[1:])


def check_quickstart() -> str:
    """Return about how long `onethinker quickstart` takes here without a GPU, from some steps of tiny_sight."""
    from onethinker.commands.quickstart import CPU_PROCESSES, REFERENCE_S
    from onethinker.core.durations import in_words

    step_s = measure_step(CPU_PROCESSES) * max(1.0, CPU_PROCESSES / count_cores())
    total_s = sum(seconds for _, seconds in REFERENCE_S.values()) * step_s / REFERENCE_STEP_S
    return (
        f"about {in_words(total_s)} without a GPU; {step_s:.2f} s a step of tiny_sight, measured over {MEASURED_STEPS}"
    )


def measure_step(processes: int) -> float:
    """Return the seconds of a step of the recipe tiny_sight in one of `processes`, with one thread."""
    import torch

    from onethinker.training.config import SftRecipe
    from onethinker.training.opening import open_session

    recipe, threads = SftRecipe.load("tiny_sight"), torch.get_num_threads()
    batch_size = recipe.batch_size // processes
    torch.set_num_threads(1)
    try:
        with tempfile.TemporaryDirectory() as folder:
            session = open_session(recipe, Path(folder) / "run")
            steps = range(MEASURED_STEPS + 1)
            timed = [
                (time_step(session, step, batch_size), time_optimizer(session.backend.optimizer)) for step in steps
            ]
    finally:
        torch.set_num_threads(threads)
    # The first step also builds what later ones reuse. The smallest time is the one that other programs delayed least.
    total_s = min(seconds for seconds, _ in timed[1:])
    optimizer_s = min(seconds for _, seconds in timed[1:])
    return total_s - optimizer_s * (1 - 1 / processes)  # the processes share the optimizer's work


def time_step(session: "TrainingSession", step: int, batch_size: int) -> float:
    """Return the seconds that one step of SFT takes, from reading its samples on."""
    from onethinker.training.packing.row import PrefixGroup

    started, data = time.perf_counter(), session.data
    read = [data.read(step * batch_size + index) for index in range(batch_size)]
    prompts = data.prompts([request for _, request in read])
    prefix_groups = [
        PrefixGroup(prompt, (data.answer_ids(sample.response or ""),))
        for prompt, (sample, _) in zip(prompts, read, strict=True)
    ]
    tokens = sum(prefix_group.num_scored for prefix_group in prefix_groups)
    optimizer_step = session.optimization.begin(prefix_groups, step, tokens=tokens)
    for scored in optimizer_step.rows():
        optimizer_step.backward(scored, -scored.logps_S.mean())
    optimizer_step.finish()
    return time.perf_counter() - started


def time_optimizer(optimizer: "torch.optim.Optimizer") -> float:
    """Return the seconds that the optimizer alone takes for a step, with gradients of 1."""
    import torch

    for group in optimizer.param_groups:
        for parameter in group["params"]:
            parameter.grad = torch.ones_like(parameter)
    started = time.perf_counter()
    optimizer.step()
    seconds = time.perf_counter() - started
    optimizer.zero_grad()
    return seconds


def check_decoder() -> str:
    """Return what was read back of a video that was just written. Raises: OneThinkerError: frames, times or sizes
    differ.
    """
    import numpy as np

    from onethinker.media.budget import MediaBudget
    from onethinker.media.reading import read_clip
    from onethinker.media.writing import write_video

    frames = np.repeat(np.linspace(0, 240, 8, dtype=np.uint8), 96 * 128 * 3).reshape(8, 96, 128, 3)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "grey.mp4"
        write_video(path, frames, fps=4)
        clip = read_clip(path, MediaBudget(fps=4))
    if clip.times_s != tuple(n / 4 for n in range(8)) or clip.frames.shape != frames.shape:
        raise OneThinkerError(f"a video of 8 frames at 4 fps was read back as {clip.frames.shape} at {clip.times_s}")
    if (error := int(np.abs(clip.frames.astype(int) - frames).max())) > 8:
        raise OneThinkerError(
            f"the colours of a grey video changed by {error} of 255 when it was written and read back"
        )
    return f"{len(clip.times_s)} frames of an H.264 video written and read back with their times"


def check_tasks() -> str:
    """Return how many tasks grade a synthetic truth as perfect. Raises: OneThinkerError: naming those that do not."""
    from onethinker.data.synthetic import KINDS, make_sample
    from onethinker.tasks import find_task, grade_response, max_reward

    wrong = []
    for problem_type, data_type in KINDS:
        sample = make_sample(0, 0, problem_type=problem_type, data_type=data_type)
        task = find_task(problem_type, data_type)
        grade = grade_response(sample.response or "", sample.truth, task=task, options=sample.options)
        if grade.reward != max_reward(task, "paper"):
            wrong.append(f"{problem_type} ({data_type}): reward {grade.reward:g}, {'; '.join(grade.reasons)}")
    if wrong:
        raise OneThinkerError("; ".join(wrong))
    return f"the truth gets the full reward in all {len(KINDS)} kinds of questions"


def check_model() -> str:
    """Return how fast the model that comes with OneThinker answers a question about a picture."""
    from onethinker.core.request import SamplingParams
    from onethinker.data.synthetic import make_sample
    from onethinker.families.built_in import TINY
    from onethinker.inference.encode import build_request
    from onethinker.inference.loading import load_engine

    with load_engine(TINY) as engine:
        request = build_request(make_sample(0, 0, data_type="image"), engine.prompt_template, engine.budget)
        (reply,) = engine.complete([request], SamplingParams(max_new_tokens=16))
    return (
        f"the bundled model read {reply.prompt_tokens} tokens and wrote {reply.completion_tokens} in"
        f" {reply.seconds:.2f} s"
    )


def describe_server() -> str:
    """Return whether `onethinker serve` can run here, and what it lets one request cost."""
    from onethinker.commands.serve import check_installed
    from onethinker.serving.limits import Limits

    try:
        check_installed()
    except ConfigError as error:
        return str(error)
    return Limits().in_words()


CHECKS: dict[str, Callable[[], str]] = {
    "versions": check_versions,
    "device": check_device,
    "processor": describe_processor,
    "decoder": check_decoder,
    "tasks": check_tasks,
    "model": check_model,
    "quickstart": check_quickstart,
    "serve": describe_server,
}
"""In the order in which a failure explains the later ones."""
