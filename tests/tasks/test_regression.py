import pytest

from onethinker.tasks import grade_response
from onethinker.tasks.regression import Regression, mean_relative_accuracy


@pytest.mark.parametrize(
    ("answer", "truth", "value"),
    [
        (100, 100, 1.0),
        (104, 100, 1.0),
        (107, 100, 0.9),
        (88, 100, 0.8),
        (70.1, 100, 0.5),
        (149, 100, 0.1),
        (150.1, 100, 0.0),
        (-100, 100, 0.0),
    ],
)
def test_a_tenth_is_lost_for_every_five_percent(answer, truth, value):
    assert mean_relative_accuracy(answer, truth) == value


def test_the_sign_of_the_truth_does_not_matter():
    assert mean_relative_accuracy(-88, -100) == mean_relative_accuracy(88, 100)


def test_zero_is_met_by_zero_alone():
    assert (mean_relative_accuracy(0, 0), mean_relative_accuracy(0.01, 0)) == (1, 0)


def test_nothing_parsable_is_the_worst_value():
    assert grade_response("", "3", task=Regression()).metrics == {"MRA": 0.0}


@pytest.mark.parametrize(
    ("answer", "truth", "value"),
    [
        ("2,4", "2.4", 1.0),
        ("2.4 m", "2.4", 1.0),
        ("**2.4**", "2.4", 1.0),
        ("−2.4", "-2.4", 1.0),
        ("2.4 cm", "2.4 m", 0.0),
        ("214 cm", "2.4 m", 0.0),
    ],
)
def test_numbers_are_read_as_in_numerical_questions(answer, truth, value):
    task = Regression()
    assert task.score(task.parse(answer), task.parse(truth), "paper").accuracy == value
    assert task.score(task.parse(answer), task.parse(truth), "paper").metrics == {"MRA": value}
