"""The model is asked while it learns: by the project's own evaluation, and not a bit of the training changes by it."""

import importlib.util
import json
import math
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from onethinker.core.errors import ConfigError
from onethinker.core.request import SamplingParams
from onethinker.evaluation.during_training import open_validator
from onethinker.evaluation.results import read_answers, read_results
from onethinker.evaluation.stages import answer, score
from onethinker.inference.loading import load_engine
from onethinker.rl.loop import train_rl
from onethinker.training.config import Recipe, RlRecipe, SftRecipe
from onethinker.training.dpo import train_dpo
from onethinker.training.dpo_recipe import DpoRecipe
from onethinker.training.sft import train_sft
from onethinker.training.state.run_folder import RunFolder
from onethinker.training.validation import Curve, ValidationSettings, check_validation, drawn_kinds, score_of

TASKS = ["spatial grounding", "multiple choice"]
VALIDATION = {"scenes": 4, "every": 2, "max_new_tokens": 6, "batch_size": 2}
SFT = {
    "steps": 4,
    "batch_size": 4,
    "save_every": 2,
    "max_row_tokens": 512,
    "data": {"problem_types": TASKS},
    "optimizer": {"learning_rate": 1e-3},
}
RL = {
    "steps": 2,
    "save_every": 1,
    "max_row_tokens": 512,
    "data": {"problem_types": TASKS},
    "rollout": {
        "generation_batch_size": 2,
        "group_size": 2,
        "max_new_tokens": 6,
        "min_accuracy": -1,
        "max_refills": 0,
    },
    "grading": {"workers": 0},
}
LOOPS = {
    "sft": (SftRecipe, train_sft, SFT),
    "dpo": (DpoRecipe, train_dpo, {**SFT, "max_row_tokens": 1024}),
    "rl": (RlRecipe, train_rl, RL),
}
zero2 = pytest.mark.skipif(importlib.util.find_spec("deepspeed") is None, reason="pip install 'onethinker[deepspeed]'")


class KilledError(Exception):
    """Stands for a kill: nothing is cleaned up by it."""


def sft(folder: Path, validation: dict | None = None, **settings) -> RunFolder:
    recipe = SftRecipe.model_validate({**SFT, "validation": validation, **settings})
    train_sft(recipe, folder, validator=open_validator(recipe))
    return RunFolder(folder)


def weights(run: RunFolder) -> bytes:
    return (run.model / "model.safetensors").read_bytes()


def rows(run: RunFolder) -> list[dict]:
    """Return the steps of a run without what depends on the clock."""
    return [{key: value for key, value in row.items() if "seconds" not in key} for row in run.rows()]


def curve(run: RunFolder) -> list[dict]:
    return [{key: value for key, value in row.items() if key != "seconds"} for row in run.validations()]


@pytest.fixture(scope="module")
def validated(tmp_path_factory) -> RunFolder:
    return sft(tmp_path_factory.mktemp("sft") / "run", VALIDATION)


def make_run(stage: str, folder: Path, validation: dict | None, means: list[float] | None = None, **settings):
    """Train by one of the loops; `means` stand in for what its validations have found."""
    kind, train, defaults = LOOPS[stage]
    recipe: Recipe = kind.model_validate({**defaults, "validation": validation, **settings})
    validator, left = open_validator(recipe), iter(means or ())

    def judged(session, path):
        mean = next(left)
        return {**validator(session, path), "accuracy": {"mean": mean, "low": mean, "high": mean}}

    torch.manual_seed(5)
    train(recipe, folder, validator=judged if means else validator)
    return RunFolder(folder)


@pytest.mark.parametrize("stage", LOOPS)
def test_every_loop_learns_the_same_bits_with_and_without_validation(stage, tmp_path) -> None:
    asked = make_run(stage, tmp_path / "with", {**VALIDATION, "every": 1}, steps=2)
    plain = make_run(stage, tmp_path / "without", None, steps=2)
    assert weights(plain) == weights(asked)
    assert rows(plain) == rows(asked)
    assert [row["step"] for row in asked.validations()] == [0, 1, 2]


def test_the_model_is_asked_before_the_first_step_every_n_steps_and_after_the_last(tmp_path) -> None:
    run = sft(tmp_path / "run", {**VALIDATION, "every": 3})
    assert [row["step"] for row in run.validations()] == [0, 3, 4]


def test_a_validation_says_how_many_samples_have_been_asked(tmp_path) -> None:
    heard: dict[str, list[tuple[int, int]]] = {}
    recipe = SftRecipe.model_validate({**SFT, "steps": 1, "validation": VALIDATION})

    def progress(what: str):
        return lambda *counts: heard.setdefault(what, []).append(counts)

    train_sft(recipe, tmp_path / "run", validator=open_validator(recipe, progress=progress))
    assert heard == {f"validation after step {step}": [(0, 4), (2, 4), (4, 4)] for step in (0, 1)}


def test_answers_are_those_of_evaluate_on_the_checkpoint_of_that_step(validated, tmp_path) -> None:
    recipe = SftRecipe.model_validate({**SFT, "validation": VALIDATION})
    validator = open_validator(recipe)
    checkpoint = validated.checkpoints.all()[-1] / "model"
    with load_engine(str(checkpoint), batch_size=2) as engine:
        answer(engine, validator.samples, output=tmp_path / "own", sampling=SamplingParams(6, 0.0))
    own = score(validator.samples, output=tmp_path / "own")
    ours = read_results(validated.validation(4)).values()
    assert [(one.sample_id, one.response, one.grade) for one in ours] == [
        (one.sample_id, one.response, one.grade) for one in own
    ]


def test_each_validation_keeps_answers_scores_intervals_and_pictures(validated) -> None:
    for step in (0, 2, 4):
        folder = validated.validation(step)
        assert len(read_answers(folder)) == 4
        assert len(list((folder / "examples").glob("*.truth.webp"))) == 4
    row = validated.validations()[-1]
    assert set(row["tasks"]) == {"spatial grounding", "multiple choice"}
    for scores in row["tasks"].values():
        assert scores["asked"] == 2
        assert scores["accuracy"]["low"] <= scores["accuracy"]["mean"] <= scores["accuracy"]["high"]
    means = [scores["accuracy"]["mean"] for scores in row["tasks"].values()]
    assert math.isclose(row["accuracy"]["mean"], sum(means) / 2)


def test_a_run_killed_during_validation_goes_on_with_the_answers_that_it_had(validated, tmp_path) -> None:
    recipe = SftRecipe.model_validate({**SFT, "validation": VALIDATION})
    whole = open_validator(recipe)

    def killed(session, folder):
        if session.progress.step == 2:
            half = type(whole)(whole.settings, whole.samples[:2], whole.reward_scheme)
            half(session, folder)
            raise KilledError
        return whole(session, folder)

    with pytest.raises(KilledError):
        train_sft(recipe, tmp_path / "run", validator=killed)
    first = (tmp_path / "run/validation/step-00000002/answers.jsonl").read_bytes()
    train_sft(recipe, tmp_path / "run", validator=whole)
    resumed = RunFolder(tmp_path / "run")
    assert (resumed.validation(2) / "answers.jsonl").read_bytes().startswith(first)
    assert weights(resumed) == weights(validated)
    assert curve(resumed) == curve(validated)
    assert rows(resumed) == rows(validated)


def test_answers_of_other_weights_do_not_count(tmp_path) -> None:
    recipe = SftRecipe.model_validate({**SFT, "steps": 1, "validation": VALIDATION})
    folder = tmp_path / "run/validation/step-00000000"
    folder.mkdir(parents=True)
    (folder / "settings.json").write_text(json.dumps({"settings": {"weights": "others"}, "about": {}}))
    (folder / "answers.jsonl").write_text("")
    train_sft(recipe, tmp_path / "run", validator=open_validator(recipe))
    assert len(read_answers(folder)) == 4


def scored(*means: float, samples: str = "a") -> tuple[dict, ...]:
    """Rows of validations every 10 steps."""
    estimate = [{"mean": mean, "low": mean, "high": mean} for mean in means]
    return tuple({"step": 10 * n, "accuracy": one, "tasks": {}, "samples": samples} for n, one in enumerate(estimate))


SCENES = {"scenes": 4, "every": 10}


@pytest.mark.parametrize(
    ("means", "patience", "best", "is_over"),
    [
        ((0.1, 0.3, 0.2), 2, 10, False),
        ((0.1, 0.3, 0.2, 0.3), 2, 10, True),
        ((0.1, 0.3, 0.2, 0.1, 0.4), 2, 40, False),
        ((0.5, 0.1, 0.1, 0.1), 0, 0, False),
    ],
    ids=["one bad", "two bad, equal is no better", "better again", "no patience asked for"],
)
def test_patience_counts_validations_after_the_best(means, patience, best, is_over) -> None:
    curve = Curve(ValidationSettings(**SCENES, patience=patience), scored(*means))
    assert (curve.best["step"], curve.is_over) == (best, is_over)


def test_scores_on_other_samples_are_not_compared() -> None:
    later = scored(0.9, 0.1, 0.2)[1:]
    rows = (scored(0.9, samples="easy")[0], *later)
    assert Curve(ValidationSettings(**SCENES), rows).best["step"] == 20


def test_a_score_of_a_task_that_no_scene_asks_is_refused_before_the_run() -> None:
    def check(scenes: int) -> None:
        check_validation(ValidationSettings(scenes=scenes, score="tracking"), ())

    kinds = drawn_kinds(100, ())
    enough = [problem_type for problem_type, _ in kinds].index("tracking") + 1
    check(enough)
    with pytest.raises(ConfigError, match=r"validation\.score: no score 'tracking'"):
        check(enough - 1)
    recipe = SftRecipe.model_validate({**SFT, "data": {}, "validation": {"scenes": 100}})
    asked = [(sample.problem_type, sample.data_type) for sample in open_validator(recipe).samples]
    assert asked == kinds


def test_a_score_that_there_is_not_is_named_with_those_that_there_are(validated) -> None:
    row = validated.validations()[-1]
    assert score_of(row, "multiple choice") == row["tasks"]["multiple choice"]["accuracy"]
    assert score_of(row, "spatial grounding: reward") == row["tasks"]["spatial grounding"]["reward"]
    with pytest.raises(ConfigError, match=r"validation\.score.*'trackin'.*multiple choice"):
        score_of(row, "trackin")


def test_the_best_checkpoint_is_named_and_outlives_newer_ones(tmp_path) -> None:
    recipe = SftRecipe.model_validate({**SFT, "steps": 5, "save_every": 1, "validation": {**VALIDATION, "every": 1}})
    means = iter((0.1, 0.2, 0.9, 0.3, 0.2, 0.1))
    validator = open_validator(recipe)

    def judged(session, folder):
        mean = next(means)
        return {**validator(session, folder), "accuracy": {"mean": mean, "low": mean, "high": mean}}

    train_sft(recipe, tmp_path / "run", validator=judged)
    checkpoints = RunFolder(tmp_path / "run").checkpoints
    assert [path.name for path in checkpoints.all()] == ["step-00000002", "step-00000004", "step-00000005"]
    assert checkpoints.best == checkpoints.all()[0].resolve()
    assert (checkpoints.folder / "best/model/model.safetensors").is_file()


@pytest.mark.parametrize("stage", LOOPS)
def test_a_run_of_any_loop_that_is_out_of_patience_ends_early_saved_and_finished(stage, tmp_path) -> None:
    settings = {"steps": 5, "save_every": 5}
    validation, means = {**VALIDATION, "every": 1, "patience": 1}, [0.5, 0.6, 0.4]
    run = make_run(stage, tmp_path / "run", validation, means, **settings)
    assert [row["step"] for row in run.rows()] == [1, 2]
    assert [path.name for path in run.checkpoints.all()] == ["step-00000001", "step-00000002"]
    assert run.checkpoints.best == run.checkpoints.all()[0].resolve()
    assert [row["ends_run"] for row in run.validations()] == [False, False, True]
    before = weights(run)
    make_run(stage, tmp_path / "run", validation, means, **settings)  # nothing is left to do
    assert weights(run) == before
    assert len(run.validations()) == 3


@pytest.mark.parametrize(
    ("keep", "left"),
    [(1, [5]), (3, [3, 4, 5]), ("all", [1, 2, 3, 4, 5]), ("every 2", [2, 4, 5])],
    ids=["the last", "the last three", "all", "every second and the last two"],
)
def test_checkpoints_that_are_kept(keep, left, tmp_path) -> None:
    checkpoints = RunFolder(tmp_path).checkpoints
    for step in range(1, 6):
        with checkpoints.writing(step, size=0, keep=keep) as partial:
            partial.mkdir(exist_ok=True)
    assert [int(path.name[5:]) for path in checkpoints.all()] == left


@pytest.mark.parametrize("keep", [0, "some", "every", "every 0", "every x", -1])
def test_a_rule_of_keeping_that_there_is_not_is_refused(keep) -> None:
    with pytest.raises(ValueError, match='"all", or "every"'):
        SftRecipe(keep=keep)


def test_a_recipe_with_validation_is_not_trained_without_a_validator(tmp_path) -> None:
    with pytest.raises(ConfigError, match="open_validator"):
        train_sft(SftRecipe.model_validate({**SFT, "validation": VALIDATION}), tmp_path / "run")


@pytest.mark.parametrize("settings", [{}, {"scenes": 2, "files": ["a.jsonl"]}], ids=["neither", "both"])
def test_validation_asks_about_files_or_scenes(settings) -> None:
    with pytest.raises(ValueError, match="set exactly one of"):
        ValidationSettings.model_validate(settings)


def test_adapters_with_dropout_learn_the_same_bits_with_and_without_validation(tmp_path) -> None:
    lora = {"lora": {"rank": 2, "dropout": 0.5}, "gradient_checkpointing": True, "steps": 2}
    runs = []
    for name, validation in (("plain", None), ("asked", {**VALIDATION, "every": 1})):
        torch.manual_seed(7)
        runs.append(sft(tmp_path / name, validation, **lora))
    plain, asked = runs
    assert weights(plain) == weights(asked)
    assert rows(plain) == rows(asked)


@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.parametrize("config", ["", "fsdp2", "fsdp2_offload", pytest.param("deepspeed_zero2", marks=zero2)])
def test_processes_that_share_weights_learn_the_same_bits_with_and_without_validation(tmp_path, config) -> None:
    (tmp_path / "recipe.toml").write_text(
        'model = "untrained"\nsteps = 2\nbatch_size = 4\nmax_row_tokens = 512\n[optimizer]\nlearning_rate = 1e-3\n'
        f"[data]\nproblem_types = {json.dumps(TASKS)}\n"
    )
    command = [sys.executable, "-m", "onethinker", "sft", str(tmp_path / "recipe.toml"), "--processes", "2"]
    command += ["--accelerate-config", config] if config else []
    validation = ["--set", "validation.scenes=3", "validation.every=1", "validation.max_new_tokens=6"]
    for name, more in (("asked", validation), ("plain", [])):
        subprocess.run([*command, "--output", str(tmp_path / name), *more], capture_output=True, check=True)
    asked, plain = RunFolder(tmp_path / "asked"), RunFolder(tmp_path / "plain")
    assert weights(asked) == weights(plain)
    assert rows(asked) == rows(plain)
    assert [row["step"] for row in asked.validations()] == [0, 1, 2]
    assert len(read_answers(asked.validation(2))) == 3
