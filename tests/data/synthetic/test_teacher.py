"""The teacher that errs: answers of the right form, wrong by its stated faults, beside truths that stay exact."""

import json

import numpy as np
import pytest

from onethinker.cli import main
from onethinker.core.sample import Sample
from onethinker.data.formats.released import read_samples
from onethinker.data.synthetic import KINDS, make_sample
from onethinker.data.synthetic.samples import make_unseeing
from onethinker.data.synthetic.teacher import LATENESS_S, LOOSENESS, WRONG_CHOICES, taught
from onethinker.tasks import find_task, grade_response

RIGHT = {"math", "OCR"}


def samples(problem_type: str, data_type: str, count: int = 40) -> list[Sample]:
    return [
        make_sample(7, index, problem_type=problem_type, data_type=data_type, world="things") for index in range(count)
    ]


def answer_of(sample: Sample) -> dict:
    return json.loads(sample.response.partition("<answer>")[2].removesuffix("</answer>"))


@pytest.mark.parametrize(("problem_type", "data_type"), KINDS, ids=lambda value: value)
def test_its_answers_have_the_right_form_and_are_often_wrong(problem_type, data_type):
    grades = []
    for sample in samples(problem_type, data_type):
        lesson = taught(sample)
        assert (lesson.truth, lesson.problem, lesson.options) == (sample.truth, sample.problem, sample.options)
        task = find_task(problem_type, data_type)
        grade = grade_response(lesson.response, lesson.truth, task=task, options=lesson.options)
        assert grade.format == 1.0
        assert set(grade.problems) <= {"accuracy"}
        grades.append(grade.accuracy)
    if problem_type in RIGHT:
        assert np.mean(grades) == pytest.approx(1)
    else:
        assert 0.3 < np.mean(grades) < 0.97


def test_its_boxes_are_the_true_ones_moved_outward_and_no_two_by_the_same():
    growths = []
    for sample in samples("spatial grounding", "image"):
        truth, box = answer_of(sample)["boxes"], answer_of(taught(sample))["boxes"]
        outward = np.subtract(box, truth) * [-1, -1, 1, 1]
        assert min(outward) >= 0
        moved = outward / np.tile(np.subtract(truth[2:], truth[:2]), 2)
        growths.append(max(moved))
        assert max(moved) <= LOOSENESS[1] + 0.01
    assert min(growths) < 0.15
    assert max(growths) > 0.35


def test_its_spans_begin_late_and_its_boxes_stay_within_them():
    late = set()
    for sample in samples("spatial-temporal grounding", "video"):
        truth, answer = answer_of(sample), answer_of(taught(sample))
        late.add(answer["time"][0] - truth["time"][0])
        assert answer["time"][1] == truth["time"][1] > answer["time"][0]
        assert answer["boxes"]
        assert set(answer["boxes"]) <= set(truth["boxes"])
        assert min(map(int, answer["boxes"])) >= min(answer["time"][0], int(min(truth["boxes"])))
    assert late == set(LATENESS_S)


def test_a_wrong_choice_is_reasoned_for():
    wrong = 0
    for sample in samples("multiple choice", "image", 100):
        thinking, _, answer = taught(sample).response.partition("</think><answer>")
        letter = answer.removesuffix("</answer>")
        wrong += letter != sample.truth
        lines = [line for line in thinking.removeprefix("<think>").splitlines() if line.startswith(sample.options)]
        read = [option for option in sample.options if option[0] <= letter]
        assert [line for line in lines if line.startswith(read[-1])] == lines[-1:]
        assert all(line.startswith(option) for line, option in zip(lines, read, strict=True))
    assert wrong / 100 == pytest.approx(WRONG_CHOICES, abs=0.15)


def test_the_command_writes_what_it_teaches_and_the_same_again(tmp_path, capsys):
    command = ["data", "synthetic", "--world", "things", "--num-samples", "7", "--seed", "3", "--responses", "erring"]
    for name in ("one", "two"):
        with pytest.raises(SystemExit):
            main([*command, "--output", str(tmp_path / name)])
    first, second = (list(read_samples(tmp_path / name / "samples.jsonl")) for name in ("one", "two"))
    made = [make_sample(3, index, world="things") for index in range(7)]
    assert [sample.response for sample in first] == [sample.response for sample in second]
    assert [sample.response for sample in first] == [taught(sample, 3).response for sample in made]
    assert [sample.truth for sample in first] == [sample.truth for sample in made]
    assert taught(made[6], 3).response != made[6].response


@pytest.mark.parametrize(("problem_type", "data_type"), KINDS, ids=lambda value: value)
def test_responses_of_formats_have_the_right_form_and_are_about_another_scene(problem_type, data_type):
    how = {"problem_type": problem_type, "data_type": data_type, "world": "things"}
    task, made = find_task(problem_type, data_type), [make_unseeing(7, index, **how) for index in range(20)]
    for index, sample in enumerate(made):
        true = make_sample(7, index, **how)
        assert (sample.id, sample.truth, sample.problem, sample.options) == (
            true.id,
            true.truth,
            true.problem,
            true.options,
        )
        grade = grade_response(sample.response, sample.truth, task=task, options=sample.options)
        assert grade.format == 1.0
    assert sum(sample.response != make_sample(7, index, **how).response for index, sample in enumerate(made)) > 15


def test_the_command_writes_responses_of_formats(tmp_path):
    command = ["data", "synthetic", "--world", "things", "--num-samples", "5", "--seed", "3", "--responses", "formats"]
    with pytest.raises(SystemExit):
        main([*command, "--output", str(tmp_path / "made")])
    written = list(read_samples(tmp_path / "made" / "samples.jsonl"))
    assert [s.response for s in written] == [make_unseeing(3, index, world="things").response for index in range(5)]
