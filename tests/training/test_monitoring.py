"""What the journal says of a step: worked out by hand, and in the rows of a real run."""

import json
import math
import re
import time
from dataclasses import fields
from importlib.util import find_spec
from types import SimpleNamespace

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from onethinker.core.errors import CheckpointError, ConfigError
from onethinker.data.synthetic import make_sample
from onethinker.families.tiny import TINY_BUDGET
from onethinker.rl.answers import Sampled, answers_page, write_answers
from onethinker.rl.loop import train_rl
from onethinker.rl.loss import GradedPrefixGroup, PolicyLoss, task_indices
from onethinker.tasks import find_task, grade_response
from onethinker.training.config import RlRecipe, SftRecipe
from onethinker.training.metrics.gpu_memory import peak_gib
from onethinker.training.metrics.records import RlRow, SftRow, TaskRow
from onethinker.training.metrics.settings import LogSettings
from onethinker.training.metrics.stopwatch import Stopwatch
from onethinker.training.metrics.task_rows import MEASURED, Summary, covers_whole_frame, note_answer, task_rows
from onethinker.training.metrics.trackers import check_trackers
from onethinker.training.packing.row import PackedRow, Prompt
from onethinker.training.sft import train_sft
from onethinker.training.state.run_folder import RunFolder
from onethinker.training.step import ScoredRow

PROMPT = Prompt(
    torch.zeros(5, dtype=torch.long), torch.zeros(5, dtype=torch.long), torch.zeros(3, 5, dtype=torch.long), {}
)
SFT = {
    "steps": 4,
    "batch_size": 2,
    "save_every": 2,
    "max_row_tokens": 512,
    "data": {"problem_types": ["multiple choice"]},
}
RL = {
    "steps": 2,
    "save_every": 1,
    "max_row_tokens": 512,
    "data": {"problem_types": ["spatial grounding", "multiple choice"]},
    "rollout": {
        "generation_batch_size": 2,
        "group_size": 3,
        "max_new_tokens": 6,
        "min_accuracy": -1,
        "max_refills": 0,
    },
    "grading": {"workers": 0},
    "log": {"answers_every": 2},
    # An untrained model earns nothing; weights that shrink make it differ from its reference after the first step.
    "optimizer": {"learning_rate": 1e-2, "weight_decay": 1.0},
}


class StopRunError(Exception):
    """Raised by a watcher to stop a run between two steps."""


def prefix_group(task: str, advantage: float, old_logps: list[float]) -> GradedPrefixGroup:
    """One answer of as many tokens as there are log-probabilities."""
    answer = torch.zeros(len(old_logps), dtype=torch.long)
    return GradedPrefixGroup(PROMPT, (answer,), task, torch.tensor(old_logps), torch.tensor([advantage]), torch.ones(1))


def measure(kl_weight: float) -> dict[str, dict[str, float]]:
    """Tracking: two tokens with advantage 2 and ratio 1. Math: advantage -1, one token at ratio 1 and one at 1/2, which
    is clipped.
    """
    prefix_groups = [
        prefix_group("tracking", 2.0, [-1.0, -1.0]),
        prefix_group("math", -1.0, [-1.0, -1.0 + math.log(2)]),
    ]
    logps_S = torch.full((4,), -1.0, requires_grad=True)
    row = PackedRow({}, torch.arange(4), torch.zeros(4, dtype=torch.long), torch.tensor([0, 0, 1, 1]), 2)
    # The reference finds the last token twice as likely, so k3 is 2 - ln 2 - 1 there and 0 elsewhere.
    reference_S = torch.tensor([-1.0, -1.0, -1.0, -1.0 + math.log(2)])
    loss = PolicyLoss(RlRecipe(loss={"kl_coefficient": kl_weight}), num_tokens=4, num_answers=2)
    loss(ScoredRow(row, prefix_groups, logps_S, torch.tensor([0.1, 0.3, 0.5, 0.7]), reference_S))
    return {
        task: dict(zip(MEASURED, loss.measured[task_indices()[task]].tolist(), strict=True))
        for task in ("tracking", "math")
    }


def test_divergence_entropy_and_clipped_tokens_belong_to_the_task_of_their_answer():
    measured = measure(kl_weight=0.0)
    assert measured["tracking"] == pytest.approx(
        {
            "loss": -2.0 * 0.5,
            "kl": 0,
            "entropy": 0.4 / 4,
            "clip_fraction": 0,
            "ratio": (1 + 1) / 4,
            "weight": 0.5,
            "pull": 2 * 2 / 4,
        },
        abs=1e-6,
    )
    kl = 1 - math.log(2)
    # The clipped token's loss is 0.8 · advantage, and it pulls at nothing.
    assert measured["math"] == pytest.approx(
        {
            "loss": (1 + 0.8) / 4,
            "kl": kl / 4,
            "entropy": 1.2 / 4,
            "clip_fraction": 1 / 4,
            "ratio": (1 + 0.5) / 4,
            "weight": 0.5,
            "pull": 1 / 4,
        },
        abs=1e-6,
    )


def test_the_divergence_pulls_too():
    # d k3 / d log p = 1 - exp(reference - log p) = -1 at the last token, times the loss's weight for it.
    assert measure(kl_weight=0.1)["math"]["pull"] == pytest.approx(1 / 4 + 0.1 / 4, abs=1e-6)


def a_summary(index: int, task: str, **changes) -> Summary:
    settings = {
        "rewards": (2.0, 0.0),
        "accuracy": 0.5,
        "format": 1.0,
        "dropped": None,
        "prompt_tokens": 10,
        "lengths": (4, 8),
        "truncated": 1,
        "answers": ("a", "b"),
        "whole_frames": (False, False),
    }
    return Summary(index, task, **{**settings, **changes})


def test_a_tasks_row_is_what_its_groups_and_its_part_of_the_loss_say():
    summaries = [
        a_summary(0, "tracking"),
        a_summary(
            1,
            "tracking",
            rewards=(1.0, 1.0),
            accuracy=0.0,
            dropped="all_wrong",
            answers=("b", ""),
            whole_frames=(True, False),
        ),
        a_summary(2, "math", rewards=(0.0, 1.0)),
    ]
    rows = task_rows(summaries, {0: 1.5, 2: 0.5}, {"tracking": 0.7, "math": 0.2}, measure(kl_weight=0.0))
    tracking = rows["tracking"]
    assert (tracking.reward, tracking.accuracy, tracking.sigma, tracking.mean_abs_advantage) == (1.0, 0.25, 0.7, 1.5)
    assert (
        tracking.answer_tokens,
        tracking.longest_answer_tokens,
        tracking.prompt_tokens,
        tracking.truncated_answers,
    ) == (
        6.0,
        8,
        10.0,
        2,
    )
    assert (tracking.groups, tracking.dropped_groups, tracking.answers) == (2, 1, 4)
    assert (tracking.commonest_answer, tracking.same_answer_fraction, tracking.whole_frame_fraction) == ("b", 0.5, 0.25)
    # One token weight of 1 pulls for tracking, a quarter for math.
    assert [rows[task].logp_gradient_fraction for task in ("tracking", "math")] == pytest.approx([0.8, 0.2])
    assert rows["math"].kl == pytest.approx((1 - math.log(2)) / 2)
    assert rows["math"].clip_fraction == pytest.approx(0.5)
    assert [rows[task].ratio for task in ("tracking", "math")] == pytest.approx([1.0, 0.75])


def test_a_task_without_a_group_in_the_update_has_no_numbers_of_the_loss():
    row = task_rows([a_summary(0, "ocr", dropped="all_right")], {}, {}, {})["ocr"]
    assert (
        row.kl,
        row.entropy,
        row.clip_fraction,
        row.ratio,
        row.logp_gradient_fraction,
        row.mean_abs_advantage,
        row.sigma,
    ) == (None,) * 5 + (0, 0)


def test_long_answers_are_noted_so_that_different_ones_stay_different():
    first, second = (f"<think></think><answer>{'x' * 200}{end}</answer>" for end in "ab")
    assert note_answer(first) != note_answer(second)
    assert note_answer(first) == note_answer(first.replace("<answer>", "<answer>\n "))
    assert len(note_answer(first)) < 70


@pytest.mark.parametrize(
    ("problem_type", "data_type", "answer", "whole"),
    [
        ("tracking", "video", {"boxes": {"1": [0, 0, 1000, 1000], "2": [0, 0, 990, 990]}}, True),
        ("tracking", "video", {"boxes": {"1": [0, 0, 1000, 1000], "2": [0, 0, 500, 500]}}, False),
        ("temporal grounding", "video", {"time": [0.0, 9.0]}, False),
        ("spatial grounding", "image", {"boxes": [0, 0, 1000]}, False),
    ],
    ids=["all boxes", "one of two", "no boxes", "unusable"],
)
def test_what_counts_as_the_whole_frame(problem_type, data_type, answer, whole):
    text = f"<think></think><answer>{json.dumps(answer)}</answer>"
    assert covers_whole_frame(text, find_task(problem_type, data_type)) is whole


def test_a_phase_inside_another_is_not_counted_twice():
    clock, started = Stopwatch(), time.perf_counter()
    with clock.phase("update"):
        time.sleep(0.01)
        with clock.phase("reference"):
            time.sleep(0.05)
        time.sleep(0.01)
    whole = time.perf_counter() - started
    seconds = clock.take()
    assert seconds["reference"] >= 0.05
    assert 0.02 <= seconds["update"] <= whole - 0.05
    assert clock.take() == {}


def test_memory_is_that_of_the_gpu_that_held_most_and_is_counted_anew_for_each_step(monkeypatch):
    reset = []
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device: 3 * 2**30)
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", reset.append)
    gpu = torch.device("cuda", 1)
    assert peak_gib(SimpleNamespace(device=gpu, gather=lambda mine: [*mine, 5.5])) == 5.5
    assert reset == [gpu]
    assert peak_gib(SimpleNamespace(device=torch.device("cpu"))) is None


@pytest.fixture(scope="module")
def rl_run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("rl") / "run"
    train_rl(RlRecipe(**RL), folder)
    return folder


def test_a_row_of_rl_has_the_documented_fields(rl_run):
    rows = RunFolder(rl_run).rows()
    assert [set(row) for row in rows] == [{field.name for field in fields(RlRow)}] * 2
    assert all(set(task) == {field.name for field in fields(TaskRow)} for row in rows for task in row["tasks"].values())


def test_tokens_seconds_and_shares_of_a_real_step_add_up(rl_run):
    row = RunFolder(rl_run).rows()[-1]
    tasks = row["tasks"].values()
    prompts = sum(task["prompt_tokens"] * task["groups"] for task in tasks)
    answers = sum(task["answer_tokens"] * task["answers"] for task in tasks)
    together = {"rollout": prompts + answers, "reference": prompts + answers, "update": prompts + answers}
    assert row["tokens_by_phase"] == pytest.approx({"data": prompts, "grading": answers, **together})
    # Three answers share each prompt, so that two readings of it are saved in each phase.
    assert row["shared_prompt_tokens"] == dict.fromkeys(together, 2 * prompts)
    assert set(row["seconds_by_phase"]) == {"checkpoint", "data", "rollout", "grading", "update", "reference"}
    assert sum(seconds for phase, seconds in row["seconds_by_phase"].items() if phase != "checkpoint") <= row["seconds"]
    assert sum(task["logp_gradient_fraction"] for task in tasks) == pytest.approx(1)
    mean = sum(task["kl"] * task["answer_tokens"] * task["answers"] for task in tasks) / answers
    assert row["kl"] == pytest.approx(mean), "with token_mean every token has one weight"


def test_a_run_leaves_a_page_of_answers_every_so_many_steps(rl_run):
    assert [path.name for path in (rl_run / "answers").iterdir()] == ["step-00000002.html"]
    page = answers_page(rl_run, 2).read_text()
    assert "<h2>multiple choice" in page
    assert "<h2>spatial grounding" in page
    assert page.count("<tr") == 2 * (1 + 3)


@pytest.mark.parametrize("problem", ["multiple choice", "spatial grounding"])
def test_a_page_of_answers_shows_truth_answers_reasons_and_pictures(tmp_path, problem):
    sample = make_sample(1, 0, problem_type=problem, data_type="image")
    task = find_task(problem, "image")
    texts = (
        f"<think>it is</think><answer>{sample.truth}</answer>",
        "<think><script>alert(1)</script></think>\x1b[2J\ud800",
    )
    grades = tuple(grade_response(text, sample.truth, task=task, options=sample.options) for text in texts)
    page = write_answers(tmp_path, 7, [Sampled(sample, texts, grades)], TINY_BUDGET)
    content = page.read_bytes()
    assert page.name == "step-00000007.html"
    # What was asked about; of a box the answer that can be drawn too.
    assert content.count(b"<img") == (2 if problem == "spatial grounding" else 1)
    assert b"<script>" not in content
    assert b"&lt;script&gt;" in content
    assert grades[1].reasons[0].split(":")[0].encode() in content
    assert write_answers(tmp_path, 7, [Sampled(sample, texts, grades)], TINY_BUDGET).read_bytes() == content


def test_answers_in_pixels_are_drawn_where_those_in_thousandths_are(tmp_path):
    sample = make_sample(1, 0, problem_type="spatial grounding", data_type="image")
    grade = grade_response("", sample.truth, task=find_task("spatial grounding", "image"))
    said = ('{"boxes": [100, 200, 300, 400]}', None), ('{"boxes": [50, 50, 150, 100]}', (500, 250))
    pictures = []
    for text, frame_px in said:
        sampled = Sampled(sample, (f"<think></think><answer>{text}</answer>",), (grade,), frame_px)
        page = write_answers(tmp_path, 7, [sampled], TINY_BUDGET).read_text()
        pictures.append(re.findall(r"data:image/webp[^\"']*", page))
    assert pictures[0] == pictures[1]
    assert len(set(pictures[0])) == 2


def test_answers_that_cannot_be_written_are_an_error_that_names_the_file(tmp_path):
    (tmp_path / "answers").touch()
    with pytest.raises(CheckpointError, match=r"step-00000001\.html"):
        write_answers(tmp_path, 1, [], TINY_BUDGET)


def test_tensorboard_has_every_step_once_also_after_a_resume(tmp_path):
    recipe = SftRecipe(**SFT, log={"trackers": ["tensorboard"], "project": "lab"})

    def stop(row):
        if row["step"] == 3:
            raise StopRunError

    with pytest.raises(StopRunError):
        train_sft(recipe, tmp_path / "run", on_step=stop)
    train_sft(recipe, tmp_path / "run")
    rows = RunFolder(tmp_path / "run").rows()
    assert set(rows[0]) == {field.name for field in fields(SftRow)}
    events = EventAccumulator(str(tmp_path / "run/tensorboard/lab"))
    events.Reload()
    # Tensorboard keeps float32.
    assert "memory_gib" not in events.Tags()["scalars"], "of a GPU only"
    losses = [(event.step, event.value) for event in events.Scalars("loss")]
    assert losses == [(row["step"], pytest.approx(row["loss"], rel=1e-6)) for row in rows]
    told = {"seconds_by_phase/update", "tokens_per_second/update", "skipped_samples"}
    assert told <= set(events.Tags()["scalars"])


def test_a_tracker_added_to_a_run_is_told_what_came_before(tmp_path):
    train_sft(SftRecipe(**{**SFT, "steps": 2}), tmp_path / "run")
    train_sft(SftRecipe(**{**SFT, "steps": 2}, log={"trackers": ["tensorboard"]}), tmp_path / "run")
    events = EventAccumulator(str(tmp_path / "run/tensorboard/onethinker"))
    events.Reload()
    assert [event.step for event in events.Scalars("loss")] == [1, 2]


@pytest.mark.skipif(find_spec("wandb") is not None, reason="wandb is installed here")
def test_a_tracker_that_is_not_installed_stops_a_run_before_it_begins(tmp_path):
    with pytest.raises(ConfigError, match=r"pip install 'onethinker\[wandb\]'"):
        train_sft(SftRecipe(**SFT, log={"trackers": ["wandb"]}), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_no_tracker_needs_no_package():
    check_trackers(LogSettings())
