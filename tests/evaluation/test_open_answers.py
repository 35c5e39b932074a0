"""MMMU's questions without options, by both rules that numbers are published under."""

import pytest

from onethinker.core.sample import Sample
from onethinker.evaluation.open_answers import PAPER, chooses, is_any_of, with_any_answer
from onethinker.tasks import STRICT, grade_response, task_of


@pytest.mark.parametrize(
    ("answer", "right", "official", "paper"),
    [
        ("transplant", ["Transplant"], True, True),
        ("8.4 V", ["8.4"], True, True),
        ("8.4", ["8.40"], True, False),
        ("7243000", ["7,243,000"], True, False),
        ("1,243.004 dollars", ["1243"], True, False),
        (r"2\sqrt{2}", ["2.83"], True, False),
        (r"$2\sqrt{2}$", ["2.83"], True, False),
        (r"\frac{24}{7}", ["24/7", "3.429"], True, False),
        ("3.429", ["24/7", "3.429"], True, True),
        ("the city of tampa", ["Tampa", "Florida"], True, True),
        ("MgS", ["$MgS$", "MgS"], True, True),
        ("The result is 12", ["12"], True, True),
        ("a", ["A"], True, True),
        ("8.45 V", ["8.4"], False, True),
        ("9", ["8.4"], False, False),
        (r"2\sqrt{3}", ["2.83"], False, False),
        ("Miami", ["Tampa", "Florida"], False, False),
        ("B", ["8.4"], False, False),
        ("A", ["8.4"], False, True),
    ],
)
def test_open_answers_are_right_by_mmmus_rule_and_by_the_choice_between_them_and_others(answer, right, official, paper):
    # MMMU, utils/eval_utils.py: parse_open_response and eval_open; a root and a fraction are worked out by us.
    # VLMEvalKit: MMMU_preproc, can_infer_option and can_infer_text.
    assert (is_any_of(answer, right), any(chooses(answer, text) for text in right)) == (official, paper)


def test_a_grade_has_mmmus_rule_as_its_accuracy_and_the_papers_beside_it():
    sample = Sample("1", "How high is it?", "math", "image", (), truth="24/7", answers=("24/7", "3.429"))
    response = "<think>long</think>\n<answer>about 3.43 m, 3.429</answer>"
    grade = grade_response(response, sample.truth, task=task_of(sample))
    assert grade.accuracy == 0
    grade = with_any_answer(grade, sample, response, STRICT, "paper")
    assert (grade.accuracy, grade.reward, grade.metrics) == (1, 2, {"accuracy": 1, PAPER: 1})
    assert "accuracy" not in grade.problems
    nothing = with_any_answer(grade_response("", sample.truth, task=task_of(sample)), sample, "", STRICT, "paper")
    assert (nothing.accuracy, nothing.metrics[PAPER]) == (0, 0)
