"""The rewards of a recipe outside of RL: in `grade`, in `evaluate` and in the validation of a run."""

import json
import re
import sys

import pytest

from onethinker.core.errors import ConfigError
from onethinker.core.plugins import VARIABLE
from onethinker.evaluation.during_training import open_validator
from onethinker.evaluation.results import read_results
from onethinker.training.config import RlRecipe
from onethinker.training.inputs import check_data
from tests.commands.test_grade import RIGHT, run

LAB = """
def per_token(group, *, sign=1.0):
    return [sign * tokens for tokens in group.tokens]

def crash(group):
    return [group.nothing]

REWARDS = {"per_token": per_token, "crash": crash}
"""


@pytest.fixture
def recipe(tmp_path, monkeypatch):
    monkeypatch.setenv(VARIABLE, "")
    monkeypatch.delitem(sys.modules, "lab_tokens", raising=False)
    (tmp_path / "lab_tokens.py").write_text(LAB)

    def write(rewards: str):
        text = (
            f'plugins = ["{tmp_path}/lab_tokens.py"]\nrewards = "release"\nsteps = 1\nmodel = "untrained"\n{rewards}\n'
        )
        (tmp_path / "rl.toml").write_text(text)
        return tmp_path / "rl.toml"

    return write


PER_TOKEN = "[grading.rewards.per_token]\nweight = 0.5\nsettings = { sign = -1 }"
LENGTH = "[grading.rewards.length]"
WRONG = {**RIGHT, "response": "twelve"}


def grade(tmp_path, recipe, records):
    (tmp_path / "answers.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    output = tmp_path / "graded.jsonl"
    output.unlink(missing_ok=True)
    code = run("grade", "--input", tmp_path / "answers.jsonl", "--output", output, "--recipe", recipe)
    return code, [json.loads(line) for line in output.read_text().splitlines()] if output.exists() else None


def test_grade_gives_the_reward_that_rl_would(tmp_path, recipe) -> None:
    records = [{**RIGHT, "tokens": 4}, {**WRONG, "tokens": 2}]
    code, graded = grade(tmp_path, recipe(PER_TOKEN), records)
    assert code == 0
    assert [own["grade"]["rewards"] for own in graded] == [
        {"task": 1.5, "per_token": -4.0},
        {"task": 0.0, "per_token": -2.0},
    ]
    assert [own["grade"]["reward"] for own in graded] == [1.5 - 2.0, -1.0]


def test_responses_to_one_question_are_a_group(tmp_path, recipe) -> None:
    same = {**RIGHT, "problem_id": 7}
    records = [{**same, "tokens": 4}, {**RIGHT, "problem_id": 8, "tokens": 9}, {**same, "tokens": 8}]
    _, graded = grade(tmp_path, recipe(LENGTH), records)
    assert [own["grade"]["rewards"]["length"] for own in graded] == [0.5, 0.0, -0.5]


@pytest.mark.parametrize(
    "other",
    [
        {"data_type": "image"},
        {"options": ["A. twelve", "C. none"]},
        {"problem_type": "numerical", "options": [], "solution": "<answer>12</answer>"},
        {"problem": "How few?"},
    ],
    ids=" ".join,
)
def test_records_of_one_name_that_ask_something_else_are_another_group(tmp_path, recipe, other) -> None:
    choice = {"problem_id": 7, "problem_type": "multiple choice", "data_type": "video", "problem": "How many?"}
    choice |= {"options": ["A. twelve", "B. none"], "solution": "<answer>A</answer>"}
    choice["response"] = "<think>Counted.</think><answer>A</answer>"
    records = [{**choice, "tokens": 4}, {**choice, **other, "tokens": 8}]
    _, graded = grade(tmp_path, recipe(LENGTH), records)
    assert [own["grade"]["rewards"]["length"] for own in graded] == [0.0, 0.0]


@pytest.mark.parametrize(
    ("rewards", "said"),
    [
        ("[grading.rewards.crash]", r"lab_tokens.py, line 6, in crash: AttributeError"),
        (PER_TOKEN, "the number of tokens of the answers is not known: add 'tokens' to each record"),
        (LENGTH, "reward 'length' .* the number of tokens of the answers is not known"),
    ],
    ids=["a mistake in it", "no tokens", "no tokens for ours"],
)
def test_a_reward_that_fails_grades_nothing_and_is_named(tmp_path, recipe, capfd, rewards, said) -> None:
    code, graded = grade(tmp_path, recipe(rewards), [RIGHT])
    assert (code, graded) == (1, None)
    assert re.search(said, capfd.readouterr().err)


def test_bad_records_of_a_file_are_named_and_the_others_graded(tmp_path, recipe, capfd) -> None:
    records = [{**RIGHT, "tokens": 4}, {**RIGHT, "tokens": "four"}, {**RIGHT, "response": None}]
    code, graded = grade(tmp_path, recipe(PER_TOKEN), records)
    assert code == 1
    assert [own["grade"] is None for own in graded] == [False, True, True]
    assert "row 2: 'tokens' must be the number of tokens" in capfd.readouterr().err


def test_evaluate_weighs_each_answer_and_shows_the_terms_and_takes_up_answers_without(tmp_path, recipe) -> None:
    asked = ["evaluate", "--model", "scripted", "--synthetic", "4", "--output", tmp_path / "out"]
    assert run(*asked) == 0
    plain = read_results(tmp_path / "out")
    assert run(*asked, "--stage", "score", "--recipe", recipe(PER_TOKEN), "--rewards", "paper") == 0
    weighed = read_results(tmp_path / "out")
    assert list(plain) == list(weighed)
    for key, own in weighed.items():
        assert own.grade.metrics["per_token (reward)"] == -own.answer_tokens
        assert own.grade.metrics["task (reward)"] == plain[key].grade.reward
        assert own.grade.reward == plain[key].grade.reward - 0.5 * own.answer_tokens


def test_a_reward_that_fails_ends_an_evaluation_and_scores_nothing(tmp_path, recipe, capfd) -> None:
    asked = ["evaluate", "--model", "scripted", "--synthetic", "1", "--output", tmp_path / "out"]
    assert run(*asked, "--recipe", recipe("[grading.rewards.crash]")) == 1
    assert re.search(r"reward 'crash' failed in .*lab_tokens.py, line 6, in crash", capfd.readouterr().err)
    assert not (tmp_path / "out/results.jsonl").exists()


def test_a_validation_of_rl_has_the_rewards_of_its_recipe_as_scores(recipe) -> None:
    scenes = ["validation.scenes=2", "validation.score='numerical: per_token (reward)'"]
    scenes += ['data.problem_types=["numerical"]']
    loaded = RlRecipe.load(str(recipe(PER_TOKEN)), scenes)
    assert set(open_validator(loaded).rewards) == {"per_token"}
    check_data(loaded)
    wrong = RlRecipe.load(str(recipe(PER_TOKEN)), [*scenes, "validation.score='numerical: per_tokn'"])
    with pytest.raises(ConfigError, match=r"no score 'numerical: per_tokn'; did you mean 'numerical: per_token"):
        check_data(wrong)
