"""The samples' own responses earn all that can be earned."""

import pytest

from onethinker.data.synthetic import KINDS, make_sample
from onethinker.tasks import find_task, grade_response, max_reward


@pytest.mark.parametrize("reward_scheme", ["paper", "release"])
@pytest.mark.parametrize(("problem_type", "data_type"), KINDS, ids=lambda value: value)
def test_truth_graded_against_itself_is_the_maximum(problem_type, data_type, reward_scheme):
    task = find_task(problem_type, data_type)
    for index in range(40):
        sample = make_sample(7, index, problem_type=problem_type, data_type=data_type)
        assert sample.response is not None
        grade = grade_response(
            sample.response, sample.truth, task=task, options=sample.options, reward_scheme=reward_scheme
        )
        assert (grade.problems, grade.format) == ({}, 1.0), sample.response
        assert grade.reward == pytest.approx(max_reward(task, reward_scheme))
