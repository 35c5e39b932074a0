"""One box in a picture is worth its overlap with the true one."""

import pytest

from onethinker.core.errors import DataError
from onethinker.tasks import find_task, grade_response

TASK = find_task("spatial grounding", "image")
TRUTH = '{"boxes":[100,100,300,300]}'


def respond(answer: str) -> str:
    return f"<think>Look.</think><answer>{answer}</answer>"


def test_half_a_box_is_worth_half_in_both_profiles() -> None:
    response = respond('{"boxes": [100, 100, 300, 200]}')
    paper, release = (
        grade_response(response, TRUTH, task=TASK, reward_scheme=reward_scheme)
        for reward_scheme in ("paper", "release")
    )
    assert (paper.reward, paper.accuracy, paper.format, paper.structure) == (1.5, 0.5, 1.0, 0.5)
    assert release.reward == pytest.approx(0.9 * 0.5 + 0.1 + 0.5)
    assert paper.metrics == {"IoU": 0.5, "R@0.5": 1.0}
    assert paper.problems == {"accuracy": f"0.5 of 1; the truth is {TRUTH!r}"}


def test_a_wrong_schema_loses_the_format_of_the_paper_and_the_structure_of_the_release() -> None:
    response = respond('{"bbox": [100, 100, 300, 300]}')
    paper, release = (
        grade_response(response, TRUTH, task=TASK, reward_scheme=reward_scheme)
        for reward_scheme in ("paper", "release")
    )
    assert (paper.reward, paper.format, paper.structure) == (0.0, 0.0, 0.0)
    assert (release.reward, release.format, release.structure) == (0.1, 1.0, 0.0)
    assert paper.problems == {"answer": "expected a JSON object with \"boxes\", 'boxes' is missing"}


def test_a_right_answer_without_thinking_keeps_its_accuracy_only() -> None:
    grade = grade_response(f"<answer>{TRUTH}</answer>", TRUTH, task=TASK)
    assert (grade.reward, grade.accuracy, grade.format, grade.structure) == (1.0, 1.0, 0.0, 0.0)
    assert grade.problems == {"format": "expected <think> exactly once, got it 0 times"}


@pytest.mark.parametrize(
    "truth", ["", "cat", '{"boxes":[300,100,100,300]}', '{"boxes":[100,100,100,300]}', '{"boxes":[100,100,NaN,300]}']
)
def test_a_truth_that_is_no_box_is_an_error_of_the_data(truth: str) -> None:
    with pytest.raises(DataError, match=r"the truth .* is not an answer to 'spatial grounding'"):
        grade_response(respond(TRUTH), truth, task=TASK)
