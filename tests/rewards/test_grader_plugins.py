"""Graders of other distributions, installed as pip would leave them: a module and its dist-info folder on the path."""

from pathlib import Path

import pytest

from onethinker.core.errors import ConfigError, PluginError
from onethinker.core.plugins import use_plugins
from onethinker.core.sample import Sample
from onethinker.rewards.config import GradingSettings, RewardModelSettings
from onethinker.rewards.grader import Grader
from onethinker.training.config import RlRecipe

LENGTHS = """
from concurrent.futures import Future


class Lengths:
    def __init__(self, settings):
        self.name = f"{settings.kind} {settings.model}"

    def submit(self, question, truth, answers):
        scores = Future()
        scores.set_result([min(1.0, len(answer) / len(truth)) for answer in answers])
        return scores

    def try_out(self):
        pass

    def close(self):
        pass
"""


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "answer_lengths.py").write_text(LENGTHS)
    info = tmp_path / "thinker_lengths-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: thinker-lengths\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[onethinker.graders]\nlengths = answer_lengths:Lengths\n")
    monkeypatch.syspath_prepend(str(tmp_path))


@pytest.mark.usefixtures("installed")
def test_a_grader_from_outside_gives_the_accuracy_of_free_text() -> None:
    settings = GradingSettings(workers=0, reward_model=RewardModelSettings(kind="lengths", model="v1"))
    caption = Sample("caption", "What is it?", "open-ended", "image", (), truth="A ball.")
    with Grader(settings, "paper") as grader:
        responses = [f"<think>x</think><answer>{text}</answer>" for text in ("A ball.", "A")]
        grades = grader.submit(caption, responses).result()
    assert [grade.accuracy for grade in grades] == [1.0, 1 / 7]
    assert "by lengths v1" in grades[1].problems["accuracy"]


FAULTY = """
from concurrent.futures import Future

from tests_lengths_base import Lengths


class Faulty(Lengths):
    def submit(self, question, truth, answers):
        scores = Future()
        scores.set_result(SCORES)
        return RETURNED
"""


@pytest.mark.parametrize(
    ("scores", "returned", "said"),
    [
        (
            "[1.0, 2.0]",
            "scores",
            r"grader 'SELF' \(.*SELF\.py, line 7\) must give a score from 0 to 1 for each of 2 answers",
        ),
        ("[1.0]", "scores", r"must give a score from 0 to 1 for each of 2 answers, got \[1\.0\]"),
        ("None", "scores", r"must give a score from 0 to 1 for each of 2 answers, got None"),
        ("[1.0, float('nan')]", "scores", r"must give a score from 0 to 1 .* got \[1\.0, nan\]"),
        ("[1 / 0]", "scores", r"grader 'SELF' failed in .*SELF\.py, line 10, in submit: ZeroDivisionError"),
        ("[1.0]", "[1.0, 1.0]", r"submit must return a concurrent\.futures\.Future, got \[1\.0, 1\.0\]"),
    ],
    ids=["too_high", "too_few", "none", "nan", "crash", "no_future"],
)
def test_a_grader_that_fails_is_named_with_its_file_and_scores_nothing(
    tmp_path, monkeypatch, request, scores, returned, said
) -> None:
    monkeypatch.setenv("ONETHINKER_PLUGINS", "")
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "tests_lengths_base.py").write_text(LENGTHS)
    name = f"faulty_{request.node.callspec.id}"
    text = FAULTY.replace("SCORES", scores).replace("RETURNED", returned)
    (tmp_path / f"{name}.py").write_text(f"{text}\n\nGRADERS = {{'{name}': Faulty}}\n")
    use_plugins([str(tmp_path / f"{name}.py")])
    settings = GradingSettings(workers=0, reward_model=RewardModelSettings(kind=name, model="v1"))
    caption = Sample("caption", "What is it?", "open-ended", "image", (), truth="A ball.")
    responses = [f"<think>x</think><answer>{text}</answer>" for text in ("A ball.", "A")]
    with Grader(settings, "paper") as grader, pytest.raises(PluginError, match=said.replace("SELF", name)):
        grader.submit(caption, responses).result()


@pytest.mark.usefixtures("installed")
def test_a_grader_that_nothing_offers_is_an_error_that_names_those_that_are_there() -> None:
    with pytest.raises(ConfigError, match="no grader 'length'; did you mean 'lengths'"):
        RlRecipe.load("tiny_rl", ["grading.reward_model.kind=length"])


def test_a_judge_without_an_address_is_an_error() -> None:
    with pytest.raises(ConfigError, match="kind = 'judge' needs an address and a model"):
        RlRecipe.load("tiny_rl", ["grading.reward_model.kind=judge"])
