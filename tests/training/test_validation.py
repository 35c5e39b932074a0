"""The model is asked while it learns: by the project's own evaluation, and not a bit of the training changes by it."""

import json
import math
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
from onethinker.training.config import RlRecipe, SftRecipe
from onethinker.training.sft import train_sft
from onethinker.training.state.run_folder import RunFolder
from onethinker.training.validation import Curve, ValidationSettings, score_of

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


def test_sft_learns_the_same_bits_with_and_without_validation(validated, tmp_path) -> None:
    plain = sft(tmp_path / "plain")
    assert weights(plain) == weights(validated)
    assert rows(plain) == rows(validated)


def test_rl_learns_the_same_bits_with_and_without_validation(tmp_path) -> None:
    for name, validation in (("with", {**VALIDATION, "every": 1}), ("without", None)):
        recipe = RlRecipe.model_validate({**RL, "validation": validation})
        torch.manual_seed(5)
        train_rl(recipe, tmp_path / name, validator=open_validator(recipe))
    asked, plain = RunFolder(tmp_path / "with"), RunFolder(tmp_path / "without")
    assert weights(asked) == weights(plain)
    assert rows(asked) == rows(plain)
    assert [row["step"] for row in asked.validations()] == [0, 1, 2]


def test_the_model_is_asked_before_the_first_step_every_n_steps_and_after_the_last(tmp_path) -> None:
    run = sft(tmp_path / "run", {**VALIDATION, "every": 3})
    assert [row["step"] for row in run.validations()] == [0, 3, 4]


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


def test_a_run_out_of_patience_ends_early_saved_and_finished(tmp_path) -> None:
    recipe = SftRecipe.model_validate({**SFT, "steps": 9, "save_every": 9, "validation": {**VALIDATION, "patience": 1}})
    validator, means = open_validator(recipe), iter((0.5, 0.6, 0.4))

    def judged(session, folder):
        mean = next(means)
        return {**validator(session, folder), "accuracy": {"mean": mean, "low": mean, "high": mean}}

    train_sft(recipe, tmp_path / "run", validator=judged)
    run = RunFolder(tmp_path / "run")
    assert [row["step"] for row in run.rows()] == [1, 2, 3, 4]
    assert [path.name for path in run.checkpoints.all()] == ["step-00000002", "step-00000004"]
    assert run.validations()[-1]["ends_run"] is True
    before = weights(run)
    train_sft(recipe, tmp_path / "run", validator=judged)  # nothing is left to do
    assert weights(run) == before


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
    with pytest.raises(ValueError, match="either files or scenes"):
        ValidationSettings.model_validate(settings)
