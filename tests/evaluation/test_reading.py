"""How answers are read: named in the settings and in each result, and by default lenient for others' models alone."""

import json
from contextlib import nullcontext
from dataclasses import asdict

import pytest

from onethinker.core.errors import CheckpointError
from onethinker.core.sample import Sample
from onethinker.data.synthetic import make_sample
from onethinker.evaluation.config import EvaluationConfig
from onethinker.evaluation.parts import Part
from onethinker.evaluation.results import read_settings
from onethinker.evaluation.runner import _coordinates, _reading, run_evaluation
from onethinker.evaluation.stages import answer, score
from onethinker.inference.model_checks import is_ours
from onethinker.inference.scripted import ScriptedEngine
from onethinker.rewards.config import GradingSettings
from onethinker.rewards.grader import Grader
from tests.evaluation.asking import evaluate
from tests.models import save_tiny


class Silent:
    """Listens to nothing."""

    def note(self, text):
        pass

    def progress(self, what):
        return nullcontext(lambda done, total: None)


SAMPLE = make_sample(3, 0, problem_type="spatial grounding", data_type="image")
BOX = json.loads(SAMPLE.truth)["boxes"]
QWEN = "```json\n" + json.dumps([{"bbox_2d": BOX, "label": "it"}]) + "\n```"


def test_another_models_form_is_worth_nothing_strictly_and_all_leniently_with_each_repair_named(tmp_path):
    [strict] = evaluate(ScriptedEngine([QWEN]), [SAMPLE], output=tmp_path / "strict")
    answer(ScriptedEngine([QWEN]), [SAMPLE], output=tmp_path / "lenient", reading="lenient")
    [lenient] = score([SAMPLE], output=tmp_path / "lenient", reading="lenient")
    assert (strict.reading, strict.grade.accuracy) == ("strict", 0)
    assert (lenient.reading, lenient.grade.accuracy, lenient.grade.format) == ("lenient", 1, 0)
    assert "'bbox_2d' is 'boxes'" in lenient.grade.problems["repair"]
    assert read_settings(tmp_path / "lenient")["settings"]["reading"] == "lenient"
    with pytest.raises(CheckpointError, match="reading: 'lenient' → 'strict'"):
        score([SAMPLE], output=tmp_path / "lenient")


def test_pixels_are_those_of_the_frames_that_the_model_was_shown(tmp_path):
    engine = ScriptedEngine([QWEN])
    answer(engine, [SAMPLE], output=tmp_path, reading="lenient")
    [line] = (tmp_path / "answers.jsonl").read_text().splitlines()
    width, height = json.loads(line)["frame_px"]
    sides = [side * (width, height)[index % 2] / 1000 for index, side in enumerate(BOX)]
    text = json.dumps({"bbox_2d": sides})
    how = {"reading": "lenient", "coordinates": "pixels"}
    answer(ScriptedEngine([text]), [SAMPLE], output=tmp_path / "pixels", **how)
    [result] = score([SAMPLE], output=tmp_path / "pixels", **how)
    assert result.grade.accuracy == pytest.approx(1)
    assert tuple(result.frame_px) == (width, height)


def test_ours_is_a_model_whose_folder_has_our_settings(tmp_path):
    (tmp_path / "onethinker.json").write_text("{}")
    assert [is_ours(name) for name in ("untrained", str(tmp_path), "Qwen/Qwen3-VL-8B-Instruct", "http://h:1/v1")] == [
        True,
        True,
        False,
        False,
    ]
    assert is_ours("http://h:1/v1", settings=tmp_path)


@pytest.mark.parametrize(
    ("model", "grading", "mode"),
    [
        ("untrained", {}, "strict"),
        ("Qwen/Qwen3-VL-8B-Instruct", {}, "lenient"),
        ("Qwen/Qwen3-VL-8B-Instruct", {"reading": "strict"}, "strict"),
        ("untrained", {"reading": "lenient"}, "lenient"),
        ("untrained", {"coordinates": "pixels"}, "strict"),
    ],
)
def test_the_default_is_by_whose_model_it_is(tmp_path, model, grading, mode):
    config = EvaluationConfig.model_validate({"asking": {"model": model}, "grading": grading})
    assert _reading(config, Part(None, [SAMPLE], tmp_path)) == mode


def test_a_folder_is_read_again_as_it_was_before(tmp_path):
    answer(ScriptedEngine([QWEN]), [SAMPLE], output=tmp_path, reading="lenient")
    assert _reading(EvaluationConfig(), Part(None, [SAMPLE], tmp_path)) == "lenient"
    stored = read_settings(tmp_path)
    del stored["settings"]["reading"]
    (tmp_path / "settings.json").write_text(json.dumps(stored))
    assert _reading(EvaluationConfig(), Part(None, [SAMPLE], tmp_path)) == "strict"


@pytest.mark.parametrize("workers", [0, 1])
def test_rewards_never_read_leniently(workers):
    with Grader(GradingSettings(workers=workers), "paper") as grader:
        grades = grader.submit(SAMPLE, [QWEN, f"<answer>{QWEN}</answer>"]).result()
    assert [asdict(grade)["reward"] for grade in grades] == [0, 0]


def test_a_folder_that_says_pixels_is_evaluated_so_until_a_flag_says_otherwise(tmp_path):
    save_tiny(tmp_path / "model")
    path = tmp_path / "model" / "onethinker.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "coordinates": "pixels"}))

    def read(name, **grading):
        asking = {"model": str(tmp_path / "model"), "max_new_tokens": 4}
        samples = {"synthetic": 1}
        config = {"asking": asking, "grading": grading, "samples": samples, "output": tmp_path / name}
        run_evaluation(EvaluationConfig.model_validate(config), Silent())
        settings = [read_settings(folder.parent)["settings"] for folder in (tmp_path / name).rglob("settings.json")]
        return {(each["reading"], each["coordinates"]) for each in settings}

    assert read("own") == {("strict", "pixels")}
    assert read("said", coordinates="thousandths", reading="lenient") == {("lenient", "thousandths")}


def test_a_folder_of_answers_in_pixels_is_graded_in_pixels_again(tmp_path):
    answer(ScriptedEngine([QWEN]), [SAMPLE], output=tmp_path, reading="lenient", coordinates="pixels")
    assert _coordinates(EvaluationConfig(), Part(None, [SAMPLE], tmp_path)) == "pixels"


def test_an_answer_without_places_is_graded_where_no_frame_has_pixels(tmp_path):
    asked = Sample("sum", "2 + 2?", "numerical", "image", (), truth="4")
    engine = ScriptedEngine(["<think>2 + 2</think><answer>4</answer>"], coordinates="pixels")
    answer(engine, [asked], output=tmp_path)
    [result] = score([asked], output=tmp_path, coordinates="pixels")
    assert (result.error, result.grade.accuracy) == (None, 1)
