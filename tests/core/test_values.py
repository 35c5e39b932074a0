"""The values in an answer: exact ones pass, and each fault of another costs its own place alone."""

from collections.abc import Callable

import pytest

from onethinker.core.errors import AnswerError
from onethinker.core.geometry import Box, Point, Span
from onethinker.core.values import Faults, as_box, as_number, as_numbered_boxes, as_points, as_span, read_fields


def test_an_object_has_exactly_the_keys_of_the_form() -> None:
    assert read_fields('{"time": 1}', "time") == {"time": 1}
    with pytest.raises(AnswerError, match="'boxes' is missing"):
        read_fields('{"time": 1}', "time", "boxes")
    with pytest.raises(AnswerError, match="got 'label' too"):
        read_fields('{"time": 1, "label": "cat"}', "time")
    with pytest.raises(AnswerError, match="a JSON object"):
        read_fields("[1]", "time")


@pytest.mark.parametrize("value", [True, False, "1", None, [1], {"a": 1}])
def test_only_numbers_are_numbers(value: object) -> None:
    with pytest.raises(AnswerError, match="'time' must be a number, got"):
        as_number(value, "'time'")


@pytest.mark.parametrize(
    ("read", "value", "reason"),
    [
        pytest.param(as_span, [1], "two seconds", id="one second"),
        pytest.param(as_span, [2, 1], "end after it starts", id="a span backwards"),
        pytest.param(as_span, [1, 1], "end after it starts", id="a span without length"),
        pytest.param(as_span, [-1, 1], "at least 0 seconds", id="before the start"),
        pytest.param(as_span, [0, True], "must be a number, got True", id="a boolean second"),
        pytest.param(as_box, [1, 2, 3], "four thousandths", id="three sides"),
        pytest.param(as_box, [[1, 2, 3, 4]], "four thousandths", id="a list of boxes"),
        pytest.param(as_box, [300, 0, 100, 10], "x1 < x2", id="a box backwards"),
        pytest.param(as_box, [1, 2, 1, 2], "x1 < x2", id="a box without area"),
        pytest.param(as_box, [0, 0, 1001, 10], "between 0 and 1000", id="outside the frame"),
        pytest.param(as_box, [0, 0, "10", 10], "must be a number, got '10'", id="a side as text"),
        pytest.param(as_numbered_boxes, {}, "a box under each number", id="no boxes"),
        pytest.param(as_numbered_boxes, [1, 2, 3, 4], "a box under each number", id="one box"),
        pytest.param(as_numbered_boxes, {"01": [0, 0, 1, 1]}, "whole numbers", id="key 01"),
        pytest.param(as_numbered_boxes, {"1.0": [0, 0, 1, 1]}, "whole numbers", id="key 1.0"),
        pytest.param(as_numbered_boxes, {"-1": [0, 0, 1, 1]}, "whole numbers", id="key -1"),
        pytest.param(as_numbered_boxes, {"٣": [0, 0, 1, 1]}, "whole numbers", id="an Arabic key"),
        pytest.param(as_numbered_boxes, {"9" * 5000: [0, 0, 1, 1]}, "whole numbers", id="a huge key"),
        pytest.param(as_numbered_boxes, {"3": [0, 0, 1]}, "at 3 must be four", id="a bad box by its key"),
    ],
)
def test_values_out_of_their_form_are_refused_with_a_reason(
    read: Callable[[object, str], object], value: object, reason: str
) -> None:
    with pytest.raises(AnswerError, match=reason):
        read(value, "'field'")


def test_points_come_in_the_number_asked_for() -> None:
    assert len(as_points([[1, 2], [3, 4], [5, 6]], 3, "'points'")) == 3
    with pytest.raises(AnswerError, match="must be 3 points"):
        as_points([[1, 2]], 3, "'points'")


def read(value: object, reader: Callable[..., object]) -> tuple[object, list[str]]:
    faults = Faults()
    return reader(value, "'it'", faults), faults.texts


@pytest.mark.parametrize(
    ("reader", "value", "usable", "fault"),
    [
        pytest.param(
            as_box, [-3, 0, 10, 10], Box(0, 0, 10, 10), "'it' must lie between 0 and 1000, got -3", id="left of it"
        ),
        pytest.param(
            as_box, [0, 0, 10, 1012], Box(0, 0, 10, 1000), "'it' must lie between 0 and 1000, got 1012", id="below it"
        ),
        pytest.param(as_span, [-1, 2], Span(0, 2), "'it' must be at least 0 seconds, got -1", id="before the start"),
        pytest.param(
            as_numbered_boxes,
            {"1": [0, 0, 1, 1], "2": [0, 0, 1]},
            {1: Box(0, 0, 1, 1)},
            "'it' at 2 must be four thousandths [x1, y1, x2, y2], got [0, 0, 1]",
            id="one malformed box",
        ),
        pytest.param(
            as_numbered_boxes,
            {"1": [0, 0, 1, 1], "02": [0, 0, 1, 1]},
            {1: Box(0, 0, 1, 1)},
            "'it' must have whole numbers like \"7\" as keys, got '02'",
            id="one key that is none",
        ),
    ],
)
def test_a_fault_is_named_and_the_rest_is_kept(
    reader: Callable[..., object], value: object, usable: object, fault: str
) -> None:
    assert read(value, reader) == (usable, [fault])


@pytest.mark.parametrize(
    "value", [[1005, 0, 1012, 10], [0, -9, 10, 0], [5, 5, float("nan"), 9]], ids=["right", "above", "nan"]
)
def test_a_box_outside_the_frame_is_none(value: object) -> None:
    with pytest.raises(AnswerError):
        read(value, as_box)


def test_of_too_many_points_the_first_count_and_of_too_few_none() -> None:
    faults = Faults()
    assert as_points([[1, 1], [2, 2], [3, 3]], 2, "'it'", faults) == (Point(1, 1), Point(2, 2))
    assert faults.texts == ["'it' must be 2 points, got 3"]
    with pytest.raises(AnswerError, match="must be 2 points, 1 can be used"):
        as_points([[1, 1], [2]], 2, "'it'", Faults())


def test_a_number_that_json_does_not_have_spoils_its_own_place() -> None:
    faults = Faults()
    fields = read_fields('{"a": [1, NaN], "b": 1, "b": 2, "c": 3, "d": 4}', "a", "b", "c", faults=faults)
    assert fields == {
        "a": [1, "expected finite numbers, got NaN"],
        "b": "expected each key once, got 'b' twice",
        "c": 3,
    }
    assert len(faults.texts) == 1
