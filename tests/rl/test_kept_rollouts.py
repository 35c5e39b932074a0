"""The sampled answers of a run on disk: the step computed again from them, a resumed run, and files made of them."""

import json
import re
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from onethinker.cli import main
from onethinker.core.errors import CheckpointError
from onethinker.core.geometry import Box
from onethinker.core.sample import Sample
from onethinker.core.sources import VideoPart
from onethinker.data.formats.released import read_samples
from onethinker.rl.advantages import compute_advantages, find_estimator
from onethinker.rl.loop import train_rl
from onethinker.rl.rollouts import _record
from onethinker.storage.rollouts import read_rollouts, write_rollouts
from onethinker.tasks import Grade
from onethinker.training.config import RlRecipe


class StopRunError(Exception):
    """Raised by a watcher to stop a run between two steps."""


def recipe_of(taught) -> RlRecipe:
    return RlRecipe(
        model=taught.model,
        steps=3,
        save_every=2,
        max_row_tokens=512,
        data={"files": [taught.questions]},
        rollout={"generation_batch_size": 2, "group_size": 4, "max_new_tokens": 32},
        grading={"workers": 0},
        loss={"kl_coefficient": 0},
        log={"rollouts_mb": 10, "answers_every": 0},
    )


@pytest.fixture(scope="module")
def run(tmp_path_factory, taught):
    folder = tmp_path_factory.mktemp("kept") / "run"
    train_rl(recipe_of(taught), folder)
    return folder


def test_advantages_and_sigma_computed_again_are_those_of_the_journal(run, taught):
    recipe = recipe_of(taught)
    estimator, ema = find_estimator(recipe.advantage.algorithm), {}
    rows = [json.loads(line) for line in (run / "journal.jsonl").read_text().splitlines()]
    for row in rows:
        kept = [group for group in read_rollouts(run, row["step"]) if group["answers"][0]["advantage"] is not None]
        rewards = torch.tensor([[a["reward"] for a in group["answers"]] for group in kept], dtype=torch.float64)
        tasks = [group["task"] for group in kept]
        again, ema = compute_advantages(estimator, rewards, tasks, ema, recipe.advantage)
        assert again.float().tolist() == [[a["advantage"] for a in group["answers"]] for group in kept]
        told = row["tasks"]["multiple choice"]
        assert len(kept) == row["groups"]
        assert told["sigma"] == ema["multiple choice"].sigma == kept[0]["sigma"]
        assert told["mean_abs_advantage"] == pytest.approx(float(again.abs().mean()), rel=1e-6)
        everything = [a["reward"] for group in read_rollouts(run, row["step"]) for a in group["answers"]]
        assert told["reward"] == pytest.approx(sum(everything) / len(everything))


def test_a_run_that_was_stopped_has_each_step_once_and_the_same(run, taught, tmp_path):
    def stop(row):
        if row["step"] == 3:
            raise StopRunError

    with pytest.raises(StopRunError):
        train_rl(recipe_of(taught), tmp_path / "run", on_step=stop)
    train_rl(recipe_of(taught), tmp_path / "run")
    files = {path.name: path.read_bytes() for path in (run / "rollouts").iterdir()}
    assert sorted(files) == [f"step-{step:08d}.jsonl.gz" for step in (1, 2, 3)]
    assert {path.name: path.read_bytes() for path in (tmp_path / "run/rollouts").iterdir()} == files


def shown(capsys, *words) -> str:
    with pytest.raises(SystemExit) as caught:
        main(["rollouts", *map(str, words)])
    assert caught.value.code == 0
    return capsys.readouterr().out


def test_groups_are_filtered_by_task_and_disagreement(run, capsys):
    groups = [json.loads(line) for line in shown(capsys, run, "--json").splitlines()]
    assert [group["step"] for group in groups] == sorted(group["step"] for group in groups)
    apart = [json.loads(line) for line in shown(capsys, run, "--json", "--min-spread", "0.5").splitlines()]
    assert apart == [g for g in groups if len({a["reward"] for a in g["answers"]}) > 1]
    assert "multiple choice" in shown(capsys, run, "--limit", "1", "--task", "Multiple Choice")


def test_a_group_says_what_became_of_it(run, capsys, tmp_path):
    (group, *_) = [group for group in read_rollouts(run) if group["answers"][0]["advantage"] is not None]
    unused = [{**answer, "advantage": None} for answer in group["answers"]]
    groups = [group, {**group, "answers": unused}, {**group, "answers": unused, "dropped": "all_right"}]
    write_rollouts(tmp_path, 1, groups, max_bytes=1e6)
    said = [line for line in shown(capsys, tmp_path).splitlines() if line.startswith("step 1")]
    for line, state in zip(
        said, ("learned from", "surplus: the batch was already full", "dropped: all_right"), strict=True
    ):
        assert f"  {state}, sigma" in line


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--task", "tracking"], r"--task: no task 'tracking'. There are: multiple choice"),
        (["--best", "best.txt"], r"--best best.txt: expected a name that ends in .jsonl or .json"),
        (["--pairs", "none.jsonl", "--min-spread", "99"], r"none.jsonl: not written, because none of 0 questions"),
    ],
)
def test_a_choice_that_leaves_nothing_is_an_error_and_writes_nothing(run, capsys, tmp_path, monkeypatch, words, said):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as caught:
        main(["rollouts", str(run), *words])
    assert caught.value.code == 1
    assert re.search(said, capsys.readouterr().err)
    assert list(tmp_path.iterdir()) == []


def test_a_run_that_is_not_there_is_named(tmp_path):
    with pytest.raises(CheckpointError, match=r"nowhere: no such folder"):
        list(read_rollouts(tmp_path / "nowhere"))


@pytest.mark.parametrize(
    ("flag", "command", "recipe", "more"),
    [
        ("--best", "sft", "tiny_sft", ["batch_size=2", "frozen=[]"]),
        ("--pairs", "dpo", "tiny_dpo", ["batch_size=2"]),
        ("--rates", "rl", "tiny_rl", ["data.curriculum.field=pass_rate", "rollout.generation_batch_size=2"]),
    ],
    ids=["rejection fine-tuning", "preferences", "curriculum"],
)
def test_a_file_made_of_answers_is_learned_from(run, capsys, tmp_path, flag, command, recipe, more):
    file, learned = tmp_path / "made.jsonl", tmp_path / "learned"
    shown(capsys, run, flag, file)
    more = [f"data.files=[{json.dumps(str(file))}]", f"model={run / 'model'}", "steps=1", "max_row_tokens=512", *more]
    every = ["rollout.min_accuracy=-1", "rollout.max_accuracy=2"]
    more += ["rollout.group_size=2", "rollout.max_new_tokens=16", *every] if command == "rl" else []
    more += ["optimizer.warmup_steps=0"]
    with pytest.raises(SystemExit) as caught:
        main([command, recipe, "--output", str(learned), "--set", *more])
    assert caught.value.code == 0
    (row,) = [json.loads(line) for line in (learned / "journal.jsonl").read_text().splitlines()]
    assert row["stage"] == command
    assert row["file_passes"][str(file)] > 0
    assert (learned / "model/model.safetensors").is_file()


def test_the_best_answers_become_a_file_for_sft(run, capsys, tmp_path):
    shown(capsys, run, "--best", tmp_path / "best.jsonl", "--pairs", tmp_path / "pairs.jsonl")
    best = list(read_samples(tmp_path / "best.jsonl"))
    assert best
    assert all(sample.response.endswith("<answer>A</answer>") for sample in best)
    assert all(sample.media[0].is_file() for sample in best)
    pairs = [json.loads(line) for line in (tmp_path / "pairs.jsonl").read_text().splitlines()]
    assert pairs
    assert all("<answer>A</answer>" in pair["response"] != pair["rejected"] for pair in pairs)


def test_the_oldest_steps_go_first(tmp_path):
    for step in range(1, 5):
        write_rollouts(tmp_path, step, [{"step": step}], max_bytes=90)
    kept = [group["step"] for group in read_rollouts(tmp_path)]
    assert kept in ([3, 4], [4])
    with pytest.raises(CheckpointError, match=r"no sampled answers of step 1; steps \d to 4 are kept"):
        list(read_rollouts(tmp_path, 1))


def test_the_share_of_right_answers_becomes_how_easy_a_record_is(run, capsys, tmp_path):
    shown(capsys, run, "--rates", tmp_path / "rates.jsonl")
    rates = [json.loads(line) for line in (tmp_path / "rates.jsonl").read_text().splitlines()]
    answers: dict[str, list[float]] = {}
    for group in read_rollouts(run):
        answers.setdefault(group["id"], []).extend(answer["accuracy"] for answer in group["answers"])
    assert {str(record["problem_id"]): record["pass_rate"] for record in rates} == {
        name: pytest.approx(sum(values) / len(values)) for name, values in answers.items()
    }
    assert [sample.extra["pass_rate"] for sample in read_samples(tmp_path / "rates.jsonl")]


def test_a_question_is_kept_whole(tmp_path, capsys):
    truth = '{"boxes": {"1": [1, 2, 3, 40]}}'
    kept = [
        Sample("part", "Track.", "tracking", "video", (VideoPart(tmp_path / "a.mp4", 1.0, 2.0),), truth),
        Sample("whole", "Track.", "tracking", "video", (tmp_path / "a.mp4",), truth),
    ]
    kept = [replace(one, source="mine", license="cc-by-4.0", first_box=Box(10, 20, 30, 40)) for one in kept]
    grade, rollout = Grade(1.0, 1.0, 1.0, 0.5), SimpleNamespace(ids=[1], truncated=False)
    groups = [
        _record(
            SimpleNamespace(
                sample=one, grades=(grade,), texts=("x",), rollouts=[rollout], index=n, task="t", frame_px=None
            ),
            None,
        )
        for n, one in enumerate(kept)
    ]
    write_rollouts(
        tmp_path, 1, [{"step": 1, "dropped": None, "sigma": None, **group} for group in groups], max_bytes=9e9
    )
    shown(capsys, tmp_path, "--best", tmp_path / "best.jsonl")
    again = [replace(one, response=None, extra={}) for one in read_samples(tmp_path / "best.jsonl")]
    assert again == kept
