"""Rewards beside a task's own: ours by hand, those of a plug-in in this process and in workers, and their mistakes."""

import sys

import pytest

from onethinker.core.errors import ConfigError, PluginError
from onethinker.core.plugins import VARIABLE, use_plugins
from onethinker.core.sample import Sample
from onethinker.rewards.config import GradingSettings
from onethinker.rewards.extra import AnswerGroup, RewardedGrade, compute_reward
from onethinker.rewards.grader import Grader
from onethinker.tasks import Grade
from onethinker.training.config import RlRecipe

RIGHT, WRONG = Grade(2.0, 1.0, 1.0, 0.5), Grade(1.0, 0.0, 1.0, 0.5)


def group(tokens: tuple[int, ...], *, grades=None, responses=None, max_tokens: int = 100) -> AnswerGroup:
    grades = grades or (RIGHT,) * len(tokens)
    responses = responses or ("x",) * len(tokens)
    cut = tuple(length == max_tokens for length in tokens)
    return AnswerGroup("s", "?", "ocr", "image", "x", (), responses, grades, tokens, cut, max_tokens)


def test_overlong_answers_lose_up_to_one_over_the_buffer() -> None:
    # 100 tokens, 20 of them the buffer: free up to 80, then 1/20 a token, -1 at the end.
    values = compute_reward("overlong", group((10, 80, 81, 90, 100)), {"buffer_tokens": 20})
    assert values == pytest.approx([0, 0, -0.05, -0.5, -1])


def test_the_shortest_right_answer_gains_and_a_wrong_one_never_does() -> None:
    answers = group((10, 20, 30, 10), grades=(RIGHT, RIGHT, RIGHT, WRONG))
    assert compute_reward("length", answers, {}) == [0.5, 0.0, -0.5, 0.0]
    assert compute_reward("length", group((7, 7)), {}) == [0.0, 0.0]


def test_repetition_counts_the_runs_of_words_that_came_before() -> None:
    # "a b" three times among the five runs of two words: a b, b a, a b, b a, a b.
    answers = group((1, 1), responses=("a b a b a b", "a b c"))
    assert compute_reward("repetition", answers, {"words": 2}) == pytest.approx([2 / 5 - 1, 0.0])


LAB = """
def per_word(group, *, sign=1.0):
    return [sign * len(response.split()) for response in group.responses]

def crash(group):
    return [grade.nothing for grade in group.grades]

def nan(group):
    return [float("nan")] * len(group.responses)

def one(group):
    return 1.0

def short(group):
    return [1.0]

def none(group):
    return None

def die(group):
    import os
    os._exit(3)

REWARDS = {"per_word": per_word, "crash": crash, "nan": nan, "one": one, "short": short, "none": none, "die": die}
"""


@pytest.fixture
def lab(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv(VARIABLE, "")
    monkeypatch.delitem(sys.modules, "lab_rewards", raising=False)
    (tmp_path / "lab_rewards.py").write_text(LAB)
    use_plugins([str(tmp_path / "lab_rewards.py")])


SAMPLE = Sample("s", "What is written?", "ocr", "image", (), truth="exit")
ANSWERS = ("<think>so</think><answer>exit</answer>", "a longer text that is wrong")


def graded(rewards, workers: int):
    settings = GradingSettings(workers=workers, rewards=rewards)
    with Grader(settings, "paper") as grader:
        return grader.submit(SAMPLE, ANSWERS, tokens=(5, 9), truncated=(False, False), max_tokens=10).result()


@pytest.mark.usefixtures("lab")
@pytest.mark.parametrize("workers", [0, 1], ids=["here", "in a worker"])
def test_rewards_are_added_with_their_weights_or_put_in_place_of_the_tasks_own(workers: int) -> None:
    beside = graded({"per_word": {"weight": 0.5, "settings": {"sign": -1}}}, workers)
    assert [grade.reward for grade in beside] == [2.0 - 0.5, 0.0 - 3.0]
    assert [grade.rewards for grade in beside] == [{"task": 2.0, "per_word": -1.0}, {"task": 0.0, "per_word": -6.0}]
    instead = graded({"task": {"weight": 0}, "per_word": {}}, workers)
    assert [grade.reward for grade in instead] == [1.0, 6.0]
    assert [grade.accuracy for grade in instead] == [1.0, 0.0]


@pytest.mark.usefixtures("lab")
def test_a_reward_is_for_its_problem_types_only() -> None:
    plain = graded({"per_word": {"problem_types": ["tracking"]}}, 0)
    assert not any(isinstance(grade, RewardedGrade) for grade in plain)
    assert [grade.reward for grade in plain] == [2.0, 0.0]


@pytest.mark.usefixtures("lab")
@pytest.mark.parametrize("workers", [0, 1], ids=["here", "in a worker"])
@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("crash", r"reward 'crash' failed in .*lab_rewards\.py, line 6, in <listcomp>: AttributeError"),
        ("nan", r"reward 'nan' \(.*lab_rewards\.py, line 8\) must give a finite number for each of 2 .*'s', got \[nan"),
        ("one", r"must give a finite number for each of 2 answers to sample 's', got 1\.0"),
        ("short", r"must give a finite number for each of 2 answers to sample 's', got \[1\.0\]"),
        ("none", r"must give a finite number for each of 2 answers to sample 's', got None"),
    ],
)
def test_a_reward_that_fails_is_named_with_its_line_and_scores_nothing(name: str, said: str, workers: int) -> None:
    with pytest.raises(PluginError, match=said):
        graded({name: {}}, workers)


@pytest.mark.usefixtures("lab")
def test_a_reward_that_kills_its_worker_drops_the_group() -> None:
    assert graded({"die": {}}, 1).reason == "grading_failed"


@pytest.mark.usefixtures("lab")
@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("grading.rewards.per_wrod.weight=1", "no reward 'per_wrod'; did you mean 'per_word'"),
        (
            "grading.rewards.per_word.settings.sing=1",
            r"lab_rewards\.py, line 2.*unexpected keyword argument 'sing'",
        ),
        ('grading.rewards.per_word.problem_types=["tracing"]', "no task 'tracing'; did you mean 'tracking'"),
        ("grading.rewards.task.settings.x=1", "the task's own reward takes no settings"),
    ],
)
def test_a_wrong_reward_in_a_recipe_is_refused_before_anything_starts(override: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        RlRecipe.load("tiny_rl", [override])


def test_a_reward_with_the_name_of_ours_is_refused(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv(VARIABLE, "")
    (tmp_path / "clash_rewards.py").write_text("REWARDS = {'length': len}\n")
    use_plugins([str(tmp_path / "clash_rewards.py")])
    with pytest.raises(ConfigError, match=r"two rewards are named 'length'.*clash_rewards\.py"):
        compute_reward("overlong", group((1,)), {})
