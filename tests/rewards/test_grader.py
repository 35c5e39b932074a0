"""Grading in worker processes: the same grades as here, whatever happens to the workers, and while the next answers are
sampled.
"""

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Protocol

import pytest
import torch
from safetensors.torch import load_file
from transformers.models.qwen3_vl.modeling_qwen3_vl import Qwen3VLVisionModel

from onethinker.core.errors import ConfigError, DataError
from onethinker.core.sample import Sample
from onethinker.data.formats.released import write_samples
from onethinker.data.synthetic import make_sample
from onethinker.rewards.config import GradingSettings
from onethinker.rewards.grader import Grader, Ungraded
from onethinker.rewards.workers import Workers
from onethinker.rl.groups import collect
from onethinker.rl.in_process import InProcessSampler
from onethinker.rl.loop import train_rl
from onethinker.tasks import all_tasks
from onethinker.training.config import RlRecipe
from onethinker.training.opening import open_session
from onethinker.training.state.run_folder import RunFolder


class Taught(Protocol):
    """What the fixture of this name gives."""

    model: str
    questions: Path


HOSTILE = (
    "",
    "<think>",
    "</answer><answer>",
    "\x00\ud800\ufeff\u202e",
    "line\nbreaks\r\n and \u2028 others",
    "<think>so</think><answer>" + "[" * 5000,
    "<think>so</think><answer>NaN</answer>",
    "<think>so</think><answer>1e999</answer>",
    '{"grade": {"reward": 2}}\n{"ready": true}\n',
    "<think>so</think><answer>" + "9" * 100_000 + "</answer>",
    "a / b " * 20_000,
)
"""Texts that break protocols, parsers or patience."""
LONG_TEXTS = tuple(" ".join(f"{word}{number}" for number in range(2500)) for word in ("a", "b"))
"""Two texts of 2,500 words, which ROUGE takes seconds to compare."""
RL = {
    "steps": 2,
    "save_every": 2,
    "max_row_tokens": 512,
    "rollout": {
        "generation_batch_size": 4,
        "group_size": 3,
        "max_new_tokens": 16,
        "decode_batch_size": 2,
        "max_refills": 6,
    },
    "optimizer": {"learning_rate": 1e-4},
}


def samples_of_all_tasks() -> list[Sample]:
    return [
        make_sample(3, n, problem_type=task.problem_type, data_type=task.key.partition("/")[2] or None)
        for n, task in enumerate(all_tasks())
    ]


def open_ended(truth: str = "A") -> Sample:
    return Sample("caption", "What is it?", "open-ended", "image", (), truth=truth)


def says(answer: str) -> str:
    return f"<think>so</think><answer>{answer}</answer>"


def question(**changed: object) -> dict:
    """What a worker is asked."""
    return {
        "problem_type": "ocr",
        "data_type": "image",
        "truth": "A1",
        "frame_px": None,
        "options": [],
        "reward_scheme": "paper",
        "response": says("A1"),
    } | changed


def right(sample: Sample) -> str:
    assert sample.response is not None
    return sample.response


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def worker_pids() -> list[int]:
    """The reward workers that this process has started."""
    children = [
        int(pid) for task in Path("/proc/self/task").iterdir() for pid in (task / "children").read_text().split()
    ]
    return [pid for pid in children if b"rewards.worker" in Path(f"/proc/{pid}/cmdline").read_bytes()]


def recipe_for(taught: Taught, grading: dict, *files: Path, steps: int = 2, **rollout: object) -> RlRecipe:
    """Reinforcement of the taught model on its own questions, and on others."""
    return RlRecipe(
        **{**RL, "steps": steps, "rollout": RL["rollout"] | rollout},
        model=taught.model,
        data={"files": [taught.questions, *files]},
        grading=grading,
    )


def journal(folder: Path) -> list[dict]:
    return [{key: value for key, value in row.items() if "seconds" not in key} for row in RunFolder(folder).rows()]


@pytest.mark.parametrize("reward_scheme", ["paper", "release"])
def test_workers_grade_all_tasks_and_hostile_texts_as_this_process_does_and_in_order(reward_scheme):
    asked = [(sample, [*HOSTILE, *map(right, samples_of_all_tasks())]) for sample in samples_of_all_tasks()]
    with (
        Grader(GradingSettings(workers=2), reward_scheme) as there,
        Grader(GradingSettings(workers=0), reward_scheme) as here,
    ):
        under_way = [there.submit(sample, texts) for sample, texts in asked]
        assert [grading.result() for grading in under_way] == [
            here.submit(sample, texts).result() for sample, texts in asked
        ]


def test_a_slow_answer_does_not_change_the_order():
    sample, responses = (
        open_ended(LONG_TEXTS[1][:6000] + " A"),
        [says(LONG_TEXTS[0][:6000]), says("A"), "nothing", says("b0 b1")],
    )
    with Grader(GradingSettings(workers=2), "paper") as grader:
        together = grader.submit(sample, responses).result()
        alone = [grader.submit(sample, [response]).result() for response in responses]
    assert [(grade,) for grade in together] == alone
    assert len({grade.reasons for grade in together}) == 4


def test_an_answer_that_takes_too_long_loses_its_group_and_no_other():
    # Twice as many words as in LONG_TEXTS take four times as long: far more than the limit on any machine.
    slow_text, slow_truth = ("a " * 5000, "b " * 5000)
    with Grader(GradingSettings(workers=1, seconds=3), "paper") as grader:
        slow = grader.submit(open_ended(slow_truth), [says("A"), says(slow_text)])
        quick = grader.submit(open_ended(), [says("A")])
        assert slow.result() == Ungraded("grading_failed", "no grade within grading.seconds = 3")
        (grade,) = quick.result()
    assert grade.accuracy == 1


def test_workers_that_are_killed_at_work_or_idle_are_replaced_unseen():
    workers = Workers(2, seconds=20)
    try:
        first = workers.submit(question()).result()
        (pid,) = workers.pids
        os.kill(pid, signal.SIGSTOP)
        stuck = workers.submit(question())
        with pytest.raises(TimeoutError):
            stuck.result(timeout=0.2)
        os.kill(pid, signal.SIGKILL)
        assert stuck.result() == first
        for pid in workers.pids:
            os.kill(pid, signal.SIGKILL)
        assert [workers.submit(question()).result() for _ in range(4)] == [first] * 4
    finally:
        workers.close()


def kill_the_first_that_start(folder: Path, kills: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the first Python processes that start from now on be killed by SIGKILL before they run anything of ours."""
    (folder / "sitecustomize.py").write_text(
        "import os, pathlib, signal\n"
        f"for number in range({kills}):\n"
        f"    try: pathlib.Path({str(folder)!r}, f'killed-{{number}}').touch(exist_ok=False)\n"
        "    except FileExistsError: continue\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, (str(folder), os.environ.get("PYTHONPATH")))))


@pytest.mark.parametrize("kills", [1, 2])
def test_workers_that_are_killed_while_they_start_are_replaced_unseen(tmp_path, monkeypatch, kills):
    kill_the_first_that_start(tmp_path, kills, monkeypatch)
    with Grader(GradingSettings(workers=1), "paper") as grader:
        (grade,) = grader.submit(open_ended(), [says("A")]).result()
    assert grade.accuracy == 1
    assert len(list(tmp_path.glob("killed-*"))) == kills


def test_a_worker_that_is_killed_at_every_start_loses_the_group_and_not_the_run(tmp_path, monkeypatch):
    kill_the_first_that_start(tmp_path, 3, monkeypatch)
    with Grader(GradingSettings(workers=1), "paper") as grader:
        assert grader.submit(open_ended(), [says("A")]).result() == Ungraded(
            "grading_failed", "the worker process died 3 times while grading an answer"
        )
        (grade,) = grader.submit(open_ended(), [says("A")]).result()
    assert grade.accuracy == 1


def test_a_run_whose_first_workers_are_killed_while_they_start_equals_one_that_grades_itself(
    tmp_path, taught, monkeypatch
):
    train_rl(recipe_for(taught, {"workers": 0}), tmp_path / "alone")
    kill_the_first_that_start(tmp_path, 2, monkeypatch)
    train_rl(recipe_for(taught, {"workers": 2}), tmp_path / "workers")
    assert len(list(tmp_path.glob("killed-*"))) == 2
    assert journal(tmp_path / "workers") == journal(tmp_path / "alone")


def test_an_answer_that_kills_three_workers_is_given_up(tmp_path, monkeypatch):
    """The kernel ends every worker after a second of its work."""
    (tmp_path / "sitecustomize.py").write_text("import resource; resource.setrlimit(resource.RLIMIT_CPU, (1, 1))")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with Grader(GradingSettings(workers=1), "paper") as grader:
        lost = grader.submit(open_ended(LONG_TEXTS[1]), [says(LONG_TEXTS[0])]).result()
    assert lost == Ungraded("grading_failed", "the worker process died 3 times while grading an answer")


@pytest.mark.parametrize("workers", [0, 1])
def test_a_truth_that_is_none_is_an_error_of_the_data_wherever_it_is_found(workers):
    sample = Sample("box", "Where?", "spatial grounding", "image", (), truth="somewhere")
    with (
        Grader(GradingSettings(workers=workers), "paper") as grader,
        pytest.raises(DataError, match="the truth 'somewhere' is not an answer"),
    ):
        grader.submit(sample, ["x"]).result()


def test_a_mistake_of_ours_in_a_worker_is_raised_with_its_traceback():
    workers = Workers(1, seconds=20)
    try:
        with pytest.raises(RuntimeError, match=r"(?s)Traceback.*Error: .*None"):
            workers.submit(question(truth=None)).result()
    finally:
        workers.close()


def test_a_worker_that_cannot_start_is_an_error_that_says_how_to_see_why(monkeypatch):
    monkeypatch.setenv("PYTHONHOME", "/nowhere")
    workers = Workers(1, seconds=20)
    try:
        with pytest.raises(ConfigError, match=r"did not start.*rewards.worker"):
            workers.submit(question()).result()
    finally:
        workers.close()


def test_workers_load_the_tasks_alone():
    heavy = "{'torch', 'transformers', 'httpx', 'pydantic', 'scipy', 'cv2'}"
    code = f"import sys, onethinker.rewards.worker; print(sorted({heavy} & set(sys.modules)))"
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"
    )


def test_no_worker_outlives_its_grader():
    with Grader(GradingSettings(workers=2), "paper") as grader:
        grader.submit(open_ended(), [says("A")] * 8).result()
        grader.submit(open_ended(LONG_TEXTS[1]), [says(LONG_TEXTS[0])] * 3)
        pids = worker_pids()
    assert len(pids) == 2
    assert not any(map(is_running, pids))


def test_workers_end_with_a_parent_that_is_killed():
    code = (
        "import sys, time; from onethinker.rewards.workers import Workers; w = Workers(1, 20); "
        "w.submit(eval(sys.argv[1])).result(); print(w.pids[0], flush=True); time.sleep(60)"
    )
    parent = subprocess.Popen([sys.executable, "-c", code, repr(question())], stdout=subprocess.PIPE, text=True)
    pid = int(parent.stdout.readline())
    parent.kill()
    parent.communicate()
    for _ in range(100):
        if not is_running(pid):
            return
        time.sleep(0.1)
    os.kill(pid, signal.SIGKILL)
    pytest.fail("the worker outlived its parent by 10 s")


def test_grading_goes_on_while_the_next_groups_are_decoded(tmp_path, taught):
    """The only worker is stopped before it gets an answer, and goes on once the model reads the second pair of
    prompts.
    """
    recipe = recipe_for(taught, {"workers": 1, "seconds": 20}, min_accuracy=-1, max_accuracy=2)
    run = open_session(recipe, tmp_path / "run")
    events = []

    def on_media(*_: object) -> None:
        events.append("prompts are read")
        if len(events) == 2:
            os.kill(grader._workers.pids[0], signal.SIGCONT)

    with Grader(recipe.grading, recipe.rewards) as grader:
        grader.submit(open_ended(), [says("A")]).result()
        os.kill(grader._workers.pids[0], signal.SIGSTOP)
        run.model.model.visual.register_forward_pre_hook(on_media)
        batch = collect(run, recipe, InProcessSampler(run), grader)
    assert events == ["prompts are read"] * 2
    assert (len(batch.summaries), batch.lost) == (4, ())


def test_a_run_with_workers_that_are_killed_equals_one_that_grades_itself(tmp_path, taught):
    killed = []

    def kill_workers(row: dict) -> None:
        killed.extend(worker_pids())
        for pid in worker_pids():
            os.kill(pid, signal.SIGKILL)

    train_rl(recipe_for(taught, {"workers": 2}), tmp_path / "workers", on_step=kill_workers)
    train_rl(recipe_for(taught, {"workers": 0}), tmp_path / "alone")
    assert len(killed) >= 2
    assert journal(tmp_path / "workers") == journal(tmp_path / "alone")
    expected, found = (load_file(tmp_path / name / "model/model.safetensors") for name in ("alone", "workers"))
    assert all(expected[name].equal(found[name]) for name in expected)


def test_dropped_groups_are_counted_by_reason_and_replaced_until_the_batch_is_full(tmp_path, taught):
    train_rl(recipe_for(taught, {"workers": 0}), tmp_path / "run")
    rows = RunFolder(tmp_path / "run").rows()
    assert any(row["dropped"].get("all_wrong", 0) for row in rows)
    cursor = 0
    for row in rows:
        assert row["groups"] == 4
        assert set(row["dropped"]) <= {"all_wrong", "all_right"}
        assert sum(row["dropped"].values()) == row["dropped_groups"]
        sampled = row["groups"] + row["dropped_groups"] + row["surplus_groups"]
        assert sampled == sum(task["groups"] for task in row["tasks"].values())
        assert sampled % 4 == 0
        cursor += sampled
    assert max(row["dropped_groups"] for row in rows) > 0
    assert f'"cursor": {cursor},' in (tmp_path / "run/checkpoints/step-00000002/progress.json").read_text()
    assert all(row["updates"] == 1 for row in rows)


@pytest.mark.parametrize("unfilled", ["smaller", "error"])
def test_a_batch_that_cannot_be_filled_is_smaller_or_an_error_that_names_the_tasks_without_signal(
    tmp_path, taught, unfilled
):
    captions = tmp_path / "captions.jsonl"
    picture = taught.questions.with_name("red.png")
    write_samples(captions, [replace(open_ended("Something that it never says."), problem="What?", media=(picture,))])
    recipe = recipe_for(taught, {"workers": 0}, captions, steps=1, max_refills=1, unfilled=unfilled)
    if unfilled == "smaller":
        train_rl(recipe, tmp_path / "run")
        (row,) = RunFolder(tmp_path / "run").rows()
        assert 0 < row["groups"] < 4
    else:
        with pytest.raises(
            ConfigError,
            match=r"of 8 groups gave a signal, but 4 are needed. Tasks without any signal: open-ended: 4 all_wrong\.",
        ):
            train_rl(recipe, tmp_path / "run")


@pytest.mark.parametrize("kl", [0.0, 0.01])
def test_a_step_encodes_the_media_of_each_prompt_once_to_sample_once_to_learn_and_once_for_the_reference(tmp_path, kl):
    """Counted in patches that go through the vision towers of the model and of the reference inside a real step."""
    recipe = RlRecipe(
        steps=1,
        max_row_tokens=512,
        data={"problem_types": ["tracking", "multiple choice"]},
        rollout={
            "generation_batch_size": 4,
            "group_size": 3,
            "max_new_tokens": 6,
            "min_accuracy": -1,
            "decode_batch_size": 2,
        },
        loss={"kl_coefficient": kl},
        grading={"workers": 0},
    )
    run = open_session(recipe, tmp_path / "other")
    patches = sum(
        len(pixels)
        for prompt in run.data.prompts([run.data.read(number)[1] for number in range(4)])
        for name, pixels in prompt.pixels.items()
        if name.startswith("pixel_values")
    )
    seen: list[int] = []

    def count(module: torch.nn.Module, arguments: tuple) -> None:
        if isinstance(module, Qwen3VLVisionModel):
            seen.append(len(arguments[0]))

    handle = torch.nn.modules.module.register_module_forward_pre_hook(count)
    try:
        train_rl(recipe, tmp_path / "run")
    finally:
        handle.remove()
    # And once more before the checkpoint, which holds nothing that is not finite.
    assert sum(seen) == (4 if kl else 3) * patches
