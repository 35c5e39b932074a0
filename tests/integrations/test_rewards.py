"""What other trainers hand a reward is graded as by ourselves; these functions need none of the trainers."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from onethinker.core.errors import DataError
from onethinker.data.formats import easyr1 as easyr1_form
from onethinker.data.formats import verl as verl_form
from onethinker.integrations import easyr1, trl, verl
from onethinker.integrations.rows import grade_row
from tests.integrations.cases import cases, columns

ROW = {"problem_type": "numerical", "data_type": "image", "answer": "3"}
RIGHT = "<think>Three.</think><answer>3</answer>"


def test_every_task_is_worth_the_same_to_trl_as_to_ourselves():
    found = cases()
    rewards = trl.make_reward()([case.response for case in found], **columns(found))
    assert rewards == [case.reward for case in found]
    assert len({case.reward for case in found}) > 3


@pytest.mark.parametrize("case", cases()[::3], ids=lambda case: case.sample.id)
def test_rows_of_the_forms_of_verl_and_easyr1_are_worth_the_same(case):
    row = verl_form.write(case.sample, Path())
    truth, extra = row["reward_model"]["ground_truth"], row["extra_info"]
    assert verl.compute_score(row["data_source"], case.response, truth, extra)["score"] == case.reward
    row = easyr1_form.write(case.sample, Path())
    [score] = easyr1.compute_score([{"response": case.response, "ground_truth": row["answer"]}])
    assert (score["overall"], score["accuracy"], score["format"]) == (case.reward, 1, 1)


def test_messages_and_parts_of_a_chat_are_completions_and_tables_may_hold_arrays():
    for completion in (
        [{"role": "assistant", "content": RIGHT}],
        [{"role": "assistant", "content": [{"type": "text", "text": RIGHT}]}],
    ):
        assert grade_row({**ROW, "options": np.array([], dtype=object)}, completion).reward == 2


def test_what_the_template_writes_before_an_answer_is_named_and_counts():
    completion = RIGHT.removeprefix("<think>")
    assert grade_row(ROW, completion).format == 0
    assert grade_row(ROW, completion, opening="<think>").reward == 2
    assert trl.make_reward(opening="<think>")([completion], **{name: [value] for name, value in ROW.items()}) == [2]


def test_the_release_scheme_can_be_asked_for():
    assert trl.make_reward("release")([RIGHT], **{name: [value] for name, value in ROW.items()}) == [1.5]
    assert verl.compute_score("", RIGHT, "3", ROW, reward_scheme="release")["score"] == 1.5


def test_a_completion_is_never_its_own_truth():
    """ms-swift hands the messages with the completion as their last turn."""
    messages = [{"role": "user", "content": "How many?"}, {"role": "assistant", "content": RIGHT}]
    with pytest.raises(DataError, match="'answer' or 'solution' is missing"):
        grade_row({**ROW, "answer": None, "messages": messages}, RIGHT)


def test_rows_of_other_functions_have_no_reward_and_a_table_without_tasks_is_refused():
    table = {"problem_type": ["numerical", None], "data_type": ["image", None], "answer": ["3", None]}
    assert trl.make_reward()([RIGHT, "print(3)"], **table) == [2, None]
    with pytest.raises(DataError, match="no column 'problem_type'"):
        trl.make_reward()([RIGHT], answer=["3"])
    with pytest.raises(DataError, match="the column 'problem_type' has 1 values for 2 completions"):
        trl.make_reward()([RIGHT, RIGHT], **{name: [value] for name, value in ROW.items()})


@pytest.mark.parametrize("truth", ["3", "<answer>3</answer>", "[]", "{}", None])
def test_easyr1_rows_that_we_did_not_write_are_refused(truth):
    with pytest.raises(DataError, match="convert --to easyr1"):
        easyr1.compute_score([{"response": RIGHT, "ground_truth": truth}])


def test_a_first_box_stands_in_the_question_for_easyr1_once():
    from onethinker.core.geometry import Box

    track = next(case.sample for case in cases() if case.sample.id == "tracking")
    row = easyr1_form.write(replace(track, problem="Track it.", first_box=Box(1, 2, 3, 4)), Path())
    assert row["problem"].count("[1,2,3,4]") == 1
    assert json.loads(row["answer"])["problem_type"] == "tracking"
    assert easyr1_form.read(row, Path())["problem"] == "Track it."
