"""The sampled answers of a run on disk: the step computed again from them, a resumed run, and files made of them."""

import json

import pytest
import torch

from onethinker.cli import main
from onethinker.core.errors import CheckpointError
from onethinker.data.formats.released import read_samples
from onethinker.rl.advantages import compute_advantages, find_estimator
from onethinker.rl.loop import train_rl
from onethinker.storage.rollouts import read_rollouts, write_rollouts
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
    assert shown(capsys, run, "--json", "--task", "tracking") == ""
    assert "multiple choice" in shown(capsys, run, "--limit", "1")


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
    with pytest.raises(CheckpointError, match=r"no sampled answers of step 1; there are those of steps \d to 4"):
        list(read_rollouts(tmp_path, 1))
