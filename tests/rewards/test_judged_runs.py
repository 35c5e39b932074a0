"""Runs of RL whose accuracy comes from a judge: their rewards, resuming, and groups that it fails."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Protocol

import pytest
from safetensors.torch import load_file

from onethinker.core.errors import CheckpointError, ConfigError, EngineError
from onethinker.core.sample import Sample
from onethinker.data.formats.released import write_samples
from onethinker.rewards.config import RewardModelSettings
from onethinker.rewards.grader import Grader
from onethinker.rl.groups import collect
from onethinker.rl.in_process import InProcessSampler
from onethinker.rl.loop import train_rl
from onethinker.training.config import RlRecipe
from onethinker.training.opening import open_session
from onethinker.training.state.run_folder import RunFolder
from tests.rewards.model_server import KEY, Answer, asked_of_judge, server, verdict


class Taught(Protocol):
    """What the fixture of this name gives."""

    model: str
    questions: Path


@pytest.mark.parametrize("status", [401, 404])
def test_a_reward_model_that_cannot_be_used_stops_a_run_before_it_leaves_anything(tmp_path, status):
    class Refuses(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.send_error(status)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Refuses)
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    model = {"kind": "judge", "address": f"http://127.0.0.1:{http.server_port}", "model": "x"}
    try:
        with pytest.raises(
            EngineError, match=rf"grading\.reward_model: a test request to judge x failed.*status {status}"
        ):
            train_rl(RlRecipe(grading={"reward_model": model}), tmp_path / "run")
    finally:
        http.shutdown()
        thread.join()
        http.server_close()
    assert not (tmp_path / "run").exists()


def recipe_for(taught: Taught, settings: RewardModelSettings, folder: Path, **changed: Any) -> RlRecipe:
    """Reinforcement of the taught model, which says A or B, on one caption whose truth is A."""
    write_samples(
        folder / "captions.jsonl",
        [Sample("caption", "Which one?", "open-ended", "image", (taught.questions.with_name("red.png"),), truth="A")],
    )
    rollout = {
        "generation_batch_size": 4,
        "group_size": 3,
        "max_new_tokens": 16,
        "decode_batch_size": 1,
        "max_refills": 2,
    }
    return RlRecipe(
        **{
            "model": taught.model,
            "steps": 2,
            "save_every": 1,
            "data": {"files": [folder / "captions.jsonl"]},
            "rollout": rollout | changed.pop("rollout", {}),
            "grading": {"workers": 0, "reward_model": settings.model_dump()},
            "optimizer": {"learning_rate": 1e-4},
            **changed,
        }
    )


def half_for_b(body: dict[str, Any], number: int = 0) -> Answer:
    """A judge unlike ROUGE: B is half right."""
    return verdict(json.dumps({"score": {"A": 1.0, "B": 0.5}.get(asked_of_judge(body)["answer"], 0.0)}))


def test_accuracy_reward_and_filter_of_a_run_come_from_the_judge_alone(tmp_path, taught):
    with server(half_for_b) as (settings, seen):
        train_rl(recipe_for(taught, settings, tmp_path), tmp_path / "run")
        answers = [asked_of_judge(body)["answer"] for body in seen.bodies]
    rows = RunFolder(tmp_path / "run").rows()
    scores = [{"A": 1.0, "B": 0.5}.get(answer, 0.0) for answer in answers]
    tasks = [row["tasks"]["open-ended"] for row in rows]
    sampled = sum(task["groups"] for task in tasks)
    assert sum(task["accuracy"] * task["groups"] for task in tasks) / sampled == pytest.approx(
        sum(scores) / (sampled * 3), abs=1e-9
    )
    assert sum(task["reward"] * task["groups"] for task in tasks) == pytest.approx(
        sum((task["accuracy"] + task["format"]) * task["groups"] for task in tasks), abs=1e-9
    )
    assert {reason for row in rows for reason in row["dropped"]} <= {"all_right"}


def test_a_run_judged_alike_is_resumed_as_if_it_had_not_stopped(tmp_path, taught):
    def stop(row: dict[str, Any]) -> None:
        raise InterruptedError

    with server(half_for_b) as (settings, _):
        recipe = recipe_for(taught, settings, tmp_path, steps=3)
        train_rl(recipe, tmp_path / "whole")
        for _ in range(2):
            with pytest.raises(InterruptedError):
                train_rl(recipe, tmp_path / "stopped", on_step=stop)
        train_rl(recipe, tmp_path / "stopped")
    whole, stopped = (
        [{k: v for k, v in row.items() if "seconds" not in k} for row in RunFolder(tmp_path / name).rows()]
        for name in ("whole", "stopped")
    )
    assert whole == stopped
    expected, found = (load_file(tmp_path / name / "model/model.safetensors") for name in ("whole", "stopped"))
    assert all(expected[name].equal(found[name]) for name in expected)


def test_groups_that_the_judge_fails_are_dropped_counted_and_replaced_and_the_key_is_in_no_file(
    tmp_path, taught, monkeypatch
):
    monkeypatch.setenv("ONETHINKER_REWARD_KEY", KEY)

    def fails_at_first(body: dict[str, Any], number: int) -> Answer:
        return (400, {"error": {"message": f"I do not like Bearer {KEY}"}}) if number == 0 else half_for_b(body)

    with server(fails_at_first) as (settings, seen):
        train_rl(recipe_for(taught, settings, tmp_path, steps=1), tmp_path / "run")
    (row,) = RunFolder(tmp_path / "run").rows()
    assert row["dropped"]["reward_failed"] == 1
    assert row["dropped_groups"] == sum(row["dropped"].values())
    (lost,) = row["ungraded"]
    assert (lost["index"], lost["task"], lost["reason"]) == (0, "open-ended", "reward_failed")
    assert lost["text"].endswith("status 400: I do not like Bearer …")
    assert row["groups"] == 4
    assert set(seen.keys) == {f"Bearer {KEY}"}
    assert not [path for path in (tmp_path / "run").rglob("*") if path.is_file() and KEY.encode() in path.read_bytes()]


def test_a_judge_that_fails_for_every_group_stops_the_run_with_its_words(tmp_path, taught):
    with (
        server(lambda body, number: (400, {"message": "out of credit"})) as (settings, _),
        pytest.raises(
            ConfigError,
            match=r"none of 12 groups gave a signal.*open-ended: 12 reward_failed\. Not graded: .*out of credit",
        ),
    ):
        train_rl(recipe_for(taught, settings, tmp_path), tmp_path / "run")


def test_another_judge_is_another_recipe_but_another_address_is_not(tmp_path, taught):
    with server(half_for_b) as (settings, _):
        train_rl(recipe_for(taught, settings, tmp_path), tmp_path / "run")
        with pytest.raises(CheckpointError, match=r"grading\.reward_model\.model: 'tester' → 'other'"):
            train_rl(recipe_for(taught, settings.model_copy(update={"model": "other"}), tmp_path), tmp_path / "run")
    with server(half_for_b) as (settings, _):
        train_rl(recipe_for(taught, settings, tmp_path), tmp_path / "run")


def test_the_judge_is_asked_while_the_next_group_is_decoded(tmp_path, taught):
    """The judge answers nothing about the first group before the model has read the second prompt."""
    second_is_read = threading.Event()

    def waits(body: dict[str, Any], number: int) -> Answer:
        return half_for_b(body) if second_is_read.wait(10) else (400, {"message": "nothing was decoded meanwhile"})

    reads: list[None] = []

    def on_media(*_: object) -> None:
        reads.append(None)
        if len(reads) == 2:
            second_is_read.set()

    with server(waits) as (settings, _):
        recipe = recipe_for(
            taught, settings, tmp_path, rollout={"generation_batch_size": 2, "min_accuracy": -1, "max_accuracy": 2}
        )
        run = open_session(recipe, tmp_path / "run")
        run.model.model.visual.register_forward_pre_hook(on_media)
        with Grader(recipe.grading, recipe.rewards) as grader:
            batch = collect(run, recipe, InProcessSampler(run), grader)
    assert (len(batch.summaries), batch.lost) == (2, ())
