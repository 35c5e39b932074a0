"""The grammar of responses and the strict JSON inside: what passes, what is refused and why, and how long it takes."""

import re
import time

import pytest

from onethinker.core.errors import AnswerError
from onethinker.core.grammar import (
    Response,
    find_answer,
    parse_json,
    parse_response,
)
from onethinker.core.values import read_fields


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("<think>a < b / c</think><answer>10 / 12 km</answer>", id="side by side"),
        pytest.param(
            "\n <think>\na < b / c\n</think>\n\n<answer>\n10 / 12 km\n</answer>\n", id="with white space around"
        ),
    ],
)
def test_a_response_is_a_think_block_and_an_answer_block(text: str) -> None:
    assert parse_response(text) == Response("a < b / c", "10 / 12 km")


def test_blocks_may_be_empty() -> None:
    assert parse_response("<think></think><answer></answer>") == Response("", "")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        pytest.param("", "<think> exactly once, got it 0 times", id="empty"),
        pytest.param("7", "<think> exactly once, got it 0 times", id="no tags"),
        pytest.param("<answer>7</answer>", "<think> exactly once, got it 0 times", id="no thinking"),
        pytest.param("<think>x</think>", "<answer> exactly once, got it 0 times", id="no answer"),
        pytest.param("<think>x</think><answer>7", "</answer> exactly once, got it 0 times", id="cut"),
        pytest.param(
            "<think>x</think><answer>7</answer><answer>8</answer>",
            "<answer> exactly once, got it 2 times",
            id="two answers",
        ),
        pytest.param(
            "<think>x<answer>7</answer></think><answer>8</answer>",
            "<answer> exactly once",
            id="an answer in the thinking",
        ),
        pytest.param(
            "<think><think>x</think></think><answer>7</answer>", "<think> exactly once, got it 2 times", id="nested"
        ),
        pytest.param("<answer>7</answer><think>x</think>", "another order", id="the wrong way round"),
        pytest.param("<think>x<answer>7</think></answer>", "another order", id="crossed"),
        pytest.param(
            "So: <think>x</think><answer>7</answer>", "nothing before the think block, got 'So:'", id="words before"
        ),
        pytest.param(
            "<think>x</think> so <answer>7</answer>", "nothing between the blocks, got 'so'", id="words between"
        ),
        pytest.param(
            "<think>x</think><answer>7</answer>.", "nothing after the answer block, got '.'", id="words after"
        ),
        pytest.param("<Think>x</Think><answer>7</answer>", "<think> exactly once, got it 0 times", id="capitals"),
        pytest.param(
            "< think>x</think><answer>7</answer>", "<think> exactly once, got it 0 times", id="a space in a tag"
        ),
    ],
)
def test_anything_else_is_refused_with_a_reason(text: str, reason: str) -> None:
    with pytest.raises(AnswerError, match=re.escape(reason)):
        parse_response(text)


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        pytest.param("<answer>7</answer>", "7", id="no thinking"),
        pytest.param("<think>x</think><answer>7</answer> or <answer> 8 </answer>", "8", id="the last one"),
        pytest.param("<think><answer>7</answer></think><answer>8</answer>", "8", id="not the one in the thinking"),
        pytest.param("<think>x</think>y</think><answer>8</answer>", "8", id="after the last end of thinking"),
        pytest.param("<answer>7<answer>8</answer>", "8", id="the innermost"),
        pytest.param("<answer>7</answer><answer>8", "7", id="the last that is whole"),
    ],
)
def test_the_answer_that_counts_is_the_last_one_after_the_thinking(text: str, answer: str) -> None:
    assert find_answer(text) == answer


@pytest.mark.parametrize(
    "text", ["", "7", "<answer>7", "7</answer>", "</answer><answer>", "<answer>7</answer></think>"]
)
def test_without_an_answer_block_there_is_no_answer(text: str) -> None:
    with pytest.raises(AnswerError, match="no answer block"):
        find_answer(text)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        pytest.param("[NaN]", "finite numbers, got NaN", id="NaN"),
        pytest.param("[Infinity]", "finite numbers, got Infinity", id="infinity"),
        pytest.param("[-Infinity]", "finite numbers, got -Infinity", id="minus infinity"),
        pytest.param("[1e999]", "finite numbers, got 1e999", id="1e999"),
        pytest.param("[-1e999]", "finite numbers, got -1e999", id="-1e999"),
        pytest.param("[" + "9" * 5000 + "]", "at most 32 characters, got one of 5000", id="a huge integer"),
        pytest.param("[0." + "9" * 5000 + "]", "at most 32 characters", id="a huge fraction"),
        pytest.param('{"a": 1, "a": 2}', "each key once, got 'a' twice", id="a key twice"),
        pytest.param('{"a": 1, "\\u0061": 2}', "each key once, got 'a' twice", id="a key twice in disguise"),
        pytest.param("[" * 50_000, "at most 8 levels", id="50,000 brackets"),
        pytest.param("[" * 9 + "]" * 9, "at most 8 levels", id="9 levels"),
        pytest.param('{"a":' * 20_000 + "1" + "}" * 20_000, "characters of JSON|at most 8 levels", id="20,000 objects"),
        pytest.param("[" + "1," * 60_000 + "1]", "at most 100000 characters", id="too long"),
        pytest.param("```json\n[1]\n```", "expected JSON", id="a code fence"),
        pytest.param("{'a': 1}", "expected JSON", id="Python quotes"),
        pytest.param("[1,]", "expected JSON", id="a comma too many"),
        pytest.param("[1] [2]", "expected JSON", id="two values"),
        pytest.param("[٣]", "expected JSON", id="Arabic digits"),
        pytest.param("\ufeff[1]", "expected JSON", id="a byte order mark"),
        pytest.param("[\x00]", "expected JSON", id="NUL"),
        pytest.param("", "expected JSON", id="nothing"),
    ],
)
def test_json_is_strict(text: str, reason: str) -> None:
    with pytest.raises(AnswerError, match=reason):
        parse_json(text)


def test_json_of_8_levels_passes() -> None:
    assert parse_json("[" * 8 + "]" * 8) == [[[[[[[[]]]]]]]]


HOSTILE = {
    "answer tags and spaces": "<answer>" + " " * 1_000_000,
    "many answer tags": "<answer> " * 110_000,
    "nested think tags": "<think>" * 70_000 + "</think>" * 70_000,
    "nested answers": "<think>x</think>" + "<answer>" * 60_000 + "</answer>" * 60_000,
    "half tags": "<" * 1_000_000,
    "spaces": " " * 1_000_000,
    "spaces between the blocks": "<think></think>" + " " * 1_000_000 + "x<answer>1</answer>",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_megabyte_of_hostile_text_is_refused_at_once(name: str) -> None:
    """In under 20 ms of a core's own time; the best of several tries, since other processes share its caches."""
    seconds = []
    for _ in range(5):
        started_s = time.process_time()
        with pytest.raises(AnswerError):
            parse_response(HOSTILE[name])
        seconds.append(time.process_time() - started_s)
    assert min(seconds) < 0.02


@pytest.mark.parametrize(
    "text",
    [
        "[" * 99_000,
        '{"' * 49_000,
        '"' + "\\" * 99_000,
        "9" * 99_000,
        "{" + ",".join(f'"{n}":1' for n in range(10_000)) + "}",
        "-" * 99_000,
    ],
    ids=["brackets", "objects", "backslashes", "digits", "keys", "signs"],
)
def test_hostile_json_is_refused_at_once(text: str) -> None:
    started_s = time.perf_counter()
    with pytest.raises(AnswerError):
        read_fields(text, "boxes")
    assert time.perf_counter() - started_s < 3  # milliseconds; what grows with the square takes minutes
