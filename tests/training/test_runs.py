"""Whole runs of the tiny model: they learn, survive a stop bit for bit, and refuse another recipe."""

import json
import math
from pathlib import Path

import pytest
from safetensors.torch import load_file

from onethinker.core.errors import CheckpointError, ConfigError, DataError, EngineError
from onethinker.families.tiny import build_tiny
from onethinker.rewards.grader import Grader
from onethinker.rl.groups import collect
from onethinker.rl.in_process import InProcessSampler
from onethinker.rl.loop import train_rl
from onethinker.rl.update import update_policy
from onethinker.training.config import RlRecipe, SftRecipe
from onethinker.training.opening import open_session
from onethinker.training.sft import train_sft
from onethinker.training.state.run_folder import RunFolder
from tests.models import save_tiny

SFT = {"steps": 4, "batch_size": 6, "save_every": 2, "max_row_tokens": 512, "optimizer": {"learning_rate": 1e-3}}
RL = {
    "steps": 3,
    "save_every": 1,
    "max_row_tokens": 512,
    "data": {"problem_types": ["spatial grounding", "tracking", "segmentation", "multiple choice"]},
    "rollout": {
        "generation_batch_size": 4,
        "group_size": 3,
        "max_new_tokens": 8,
        "min_accuracy": -1,
        "max_refills": 0,
    },
    "optimizer": {"learning_rate": 1e-4},
    "loss": {"updates_per_batch": 2},
}


class StopRunError(Exception):
    """Raised by a watcher to stop a run between two steps."""


def stop_after(step: int):
    def on_step(row):
        if row["step"] == step:
            raise StopRunError

    return on_step


def journal(folder: Path) -> list[dict]:
    """Return the rows without what depends on the clock."""
    return [{key: value for key, value in row.items() if "seconds" not in key} for row in RunFolder(folder).rows()]


def files(folder: Path) -> dict[str, bytes]:
    """Return the content of every file of a run but for the journal and what tells of starts and processes."""
    found = {str(path.relative_to(folder)): path for path in folder.rglob("*") if path.is_file()}
    return {
        name: path.read_bytes() for name, path in found.items() if name not in ("journal.jsonl", "starts.jsonl", "lock")
    }


def save_old(folder: Path) -> None:
    """Write a model as the hub holds those of earlier transformers: other files, names and fields, and its own way of
    drawing answers.
    """
    save_tiny(folder, seed=2)
    content = {path.name: json.loads(path.read_text()) for path in folder.glob("*.json")}
    processor, tokenizer, config = (
        content["processor_config.json"],
        content["tokenizer_config.json"],
        content["config.json"],
    )
    tokenizer["additional_special_tokens"], tokenizer["tokenizer_class"] = (
        tokenizer.pop("extra_special_tokens"),
        "Qwen2Tokenizer",
    )
    config["transformers_version"], config["torch_dtype"] = "4.57.0", config.pop("dtype")
    for part in ("text_config", "vision_config"):
        config[part].pop("dtype")
    changed = {
        "preprocessor_config.json": processor["image_processor"] | {"min_pixels": 65536, "max_pixels": 16777216},
        "video_preprocessor_config.json": processor["video_processor"],
        "tokenizer_config.json": tokenizer | {"is_local": False},
        "config.json": config,
        "generation_config.json": (
            content["generation_config.json"] | {"do_sample": True, "top_k": 20, "repetition_penalty": 1.05}
        ),
        "chat_template.json": {"chat_template": (folder / "chat_template.jinja").read_text()},
    }
    for name, fields in changed.items():
        (folder / name).write_text(json.dumps(fields))
    for name in ("processor_config.json", "chat_template.jinja"):
        (folder / name).unlink()


@pytest.mark.parametrize(
    "kind", ["sft", "rl", "sft of a folder", "sft of an old folder", "sft with adapters", "rl with adapters"]
)
def test_a_run_that_is_stopped_and_resumed_equals_one_that_was_not(tmp_path, kind):
    whole, stopped, base = tmp_path / "whole", tmp_path / "stopped", tmp_path / "base"
    extra: dict = {"lora": {"rank": 2}} if "adapters" in kind else {}
    if "folder" in kind:
        save_old(base) if "old" in kind else save_tiny(base, seed=2)
        extra = {"model": str(base), "dtype": "bfloat16" if "old" in kind else "float32"}
    train, recipe, stop = (
        (train_rl, RlRecipe(**RL, **extra), 2) if kind.startswith("rl") else (train_sft, SftRecipe(**SFT, **extra), 3)
    )
    train(recipe, whole)
    with pytest.raises(StopRunError):
        train(recipe, stopped, on_step=stop_after(stop))
    assert RunFolder(stopped).checkpoints.all(), "the stop must come after a checkpoint, or nothing is resumed"
    train(recipe, stopped)

    assert journal(stopped) == journal(whole)
    expected, found = files(whole), files(stopped)
    assert found.keys() == expected.keys()
    assert [name for name in expected if found[name] != expected[name]] == []


def test_the_averages_of_rewards_travel_in_the_checkpoint(tmp_path):
    train_rl(RlRecipe(**RL), tmp_path / "run")
    ema = json.loads((tmp_path / "run/checkpoints/step-00000003/progress.json").read_text())["ema"]
    sigmas = {task: values["sigma"] for task, values in RunFolder(tmp_path / "run").rows()[-1]["tasks"].items()}
    assert sigmas
    assert all(math.sqrt(max(0.0, ema[task][1] - ema[task][0] ** 2)) == sigma for task, sigma in sigmas.items())


def test_sft_lowers_the_loss(tmp_path):
    recipe = SftRecipe(**{**SFT, "steps": 25, "save_every": 100, "data": {"problem_types": ["multiple choice"]}})
    train_sft(recipe, tmp_path / "run")
    losses = [row["loss"] for row in RunFolder(tmp_path / "run").rows()]
    assert sum(losses[-3:]) / 3 < 0.5 * losses[0]


def test_a_finished_run_is_returned_without_another_step(tmp_path):
    recipe = SftRecipe(**{**SFT, "steps": 2})
    model = train_sft(recipe, tmp_path / "run")
    assert train_sft(recipe, tmp_path / "run") == model
    assert len(RunFolder(tmp_path / "run").rows()) == 2


def test_another_recipe_in_the_same_folder_is_refused_with_the_difference(tmp_path):
    train_sft(SftRecipe(**{**SFT, "steps": 2}), tmp_path / "run")
    with pytest.raises(CheckpointError, match="batch_size: 6 → 8"):
        train_sft(SftRecipe(**{**SFT, "batch_size": 8}), tmp_path / "run")


def test_no_group_with_a_signal_is_an_error_that_names_the_tasks(tmp_path):
    recipe = RlRecipe(**{**RL, "rollout": {**RL["rollout"], "min_accuracy": 0.98}})
    with pytest.raises(ConfigError, match=r"gave a signal.*tracking"):
        train_rl(recipe, tmp_path / "run")


def test_a_half_written_checkpoint_does_not_count(tmp_path):
    recipe = SftRecipe(**{**SFT, "steps": 2})
    train_sft(recipe, tmp_path / "run")
    folder = RunFolder(tmp_path / "run")
    partial = folder.path / "checkpoints/step-00000009.partial"
    partial.mkdir()
    (partial / "progress.json").write_text("{")
    assert [path.name for path in folder.checkpoints.all()] == ["step-00000002"]
    train_sft(recipe, folder.path)
    assert not partial.exists(), "nothing half-written stays once the run is taken up again"


def test_a_row_that_a_crash_cut_short_is_left_out(tmp_path):
    folder = RunFolder(tmp_path)
    folder.append({"step": 1})
    with folder.journal.open("a") as file:
        file.write('{"step": 2, "lo')
    assert folder.rows() == [{"step": 1}]


def test_a_run_killed_before_its_first_checkpoint_begins_again_with_a_clean_journal(tmp_path):
    recipe = SftRecipe(**{**SFT, "steps": 2})
    folder = RunFolder(tmp_path / "run")
    folder.begin(recipe.model_dump(mode="json"), 0)
    folder.append({"step": 1})
    with folder.journal.open("a") as file:
        file.write('{"step": 2, "lo')
    train_sft(recipe, folder.path)
    assert [row["step"] for row in folder.rows()] == [1, 2]


@pytest.mark.parametrize(
    ("settings", "error"),
    [
        ({"model": "nowhere"}, EngineError),
        ({"data": {"files": ["nowhere.jsonl"]}}, DataError),
        ({"frozen": ["nothing"]}, ConfigError),
    ],
    ids=["model", "data", "frozen"],
)
def test_a_recipe_that_cannot_start_leaves_nothing_behind(tmp_path, settings, error):
    with pytest.raises(error, match=r"nowhere|nothing"):
        train_sft(SftRecipe(**{**SFT, **settings}), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_folder_that_cannot_hold_a_run_is_an_error_that_names_it(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(CheckpointError, match="file"):
        train_sft(SftRecipe(**SFT), tmp_path / "file")


def test_frozen_parts_keep_their_weights_also_through_a_resume(tmp_path):
    recipe = SftRecipe(**{**SFT, "frozen": ["model.visual.patch_embed"]})
    with pytest.raises(StopRunError):
        train_sft(recipe, tmp_path / "run", on_step=stop_after(3))
    after = load_file(train_sft(recipe, tmp_path / "run") / "model.safetensors")
    before = build_tiny(recipe.seed)[0].state_dict()
    changed = {name for name in after if not after[name].equal(before[name])}
    assert not any(name.startswith("model.visual.patch_embed") for name in changed)
    assert "model.visual.pos_embed.weight" in changed


def test_rows_without_media_go_through_where_only_the_vision_tower_is_trained(tmp_path):
    rows = [
        {"problem": "How much is 1+1?", "problem_type": "math", "data_type": "image", "solution": "<answer>2</answer>"}
    ] * 4
    rows = [{**row, "response": "<think>It is 2.</think><answer>2</answer>"} for row in rows]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    data = {"files": [str(tmp_path / "rows.jsonl")]}
    recipe = SftRecipe(**{**SFT, "steps": 2, "batch_size": 2, "frozen": ["language"], "data": data})
    after = load_file(train_sft(recipe, tmp_path / "run") / "model.safetensors")
    before = build_tiny(recipe.seed)[0].state_dict()
    assert all(after[name].equal(before[name]) for name in after if name.startswith("model.language_model"))
    assert [row["grad_norm"] for row in RunFolder(tmp_path / "run").rows()] == [0, 0]


def test_later_prompts_are_tried_before_a_batch_without_signal_is_given_up(tmp_path):
    rollout = {**RL["rollout"], "generation_batch_size": 3, "min_accuracy": 0.0, "max_accuracy": 0.9, "max_refills": 3}
    data = {"problem_types": ["temporal grounding"]}
    recipe = RlRecipe(**{**RL, "steps": 1, "rollout": rollout, "data": data})
    with pytest.raises(ConfigError, match="none of 12 groups gave a signal"):
        train_rl(recipe, tmp_path / "run")


def test_a_later_step_without_any_signal_goes_on_without_an_update(tmp_path):
    recipe = RlRecipe(**{**RL, "steps": 1})
    train_rl(recipe, tmp_path / "run")
    assert RunFolder(tmp_path / "run").rows()[0]["updates"] == 2
    run = open_session(recipe, tmp_path / "run")
    strict = RlRecipe(**{**RL, "steps": 1, "rollout": {**RL["rollout"], "min_accuracy": 0.9, "max_accuracy": 0.95}})
    with Grader(strict.grading, strict.rewards) as grader:
        batch = collect(run, strict, InProcessSampler(run), grader)
    assert batch.dropped == {"all_wrong": 4}
    assert batch.cursor == run.progress.cursor + 4
    before = {name: tensor.clone() for name, tensor in run.model.state_dict().items()}
    assert update_policy(run, strict, None, batch.groups, {}, 0).updates == 0
    assert all(tensor.equal(before[name]) for name, tensor in run.model.state_dict().items())


def test_a_group_that_is_longer_than_a_row_is_split_over_several_and_learned_from_as_in_one(tmp_path, taught):
    rollout = {
        "generation_batch_size": 4,
        "group_size": 6,
        "max_new_tokens": 16,
        "min_accuracy": -1,
        "max_refills": 0,
    }
    weights, rows = [], []
    for max_row_tokens in (1024, 64):
        run = tmp_path / str(max_row_tokens)
        recipe = RlRecipe(
            model=taught.model,
            steps=1,
            max_row_tokens=max_row_tokens,
            rollout=rollout,
            data={"files": [taught.questions]},
            optimizer={"learning_rate": 1e-3},
        )
        weights.append(load_file(train_rl(recipe, run) / "model.safetensors"))
        rows.append(RunFolder(run).rows()[0])
    assert rows[1]["shared_prompt_tokens"]["update"] < rows[0]["shared_prompt_tokens"]["update"], (
        "no group was split over several rows"
    )
    assert rows[0]["grad_norm"] > 0
    assert rows[1]["grad_norm"] == pytest.approx(rows[0]["grad_norm"], rel=1e-4)
    assert rows[1]["loss"] == pytest.approx(rows[0]["loss"], rel=1e-4)
    # Adam's first step divides a gradient by its own size: where it is nearly nothing, rounding decides its sign.
    assert max(float((weights[0][name] - weights[1][name]).abs().mean()) for name in weights[0]) < 1e-5


def test_rl_learns_which_of_two_answers_is_right(tmp_path, taught):
    """The model answers A or B by chance, and A is right."""
    recipe = RlRecipe(
        model=taught.model,
        steps=8,
        max_row_tokens=512,
        data={"files": [taught.questions]},
        rollout={
            "generation_batch_size": 4,
            "group_size": 8,
            "max_new_tokens": 32,
            "max_refills": 0,
            "unfilled": "smaller",
        },
        optimizer={"learning_rate": 1e-3},
    )
    train_rl(recipe, tmp_path)
    accuracy = [task["accuracy"] for row in RunFolder(tmp_path).rows() for task in row["tasks"].values()]
    assert accuracy[0] < 0.75
    assert accuracy[-1] > 0.9
