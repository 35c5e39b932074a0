"""Judge and POLAR on several servers, each a process: one is killed at its work, and no answer is lost."""

from concurrent.futures import wait
from typing import Any

import httpx
import pytest

from onethinker.core.errors import ConfigError, EngineError
from onethinker.evaluation.config import EvaluationConfig
from onethinker.evaluation.runner import open_judge
from onethinker.rewards.config import GradingSettings, RewardModelSettings
from onethinker.rewards.grader import Grader
from onethinker.rewards.judge import Judge, Question
from onethinker.rl.loop import train_rl
from onethinker.training.config import RlRecipe
from onethinker.training.state.run_folder import RunFolder
from tests.inference.scripted_server import server as refusing_server
from tests.inference.test_fleet import fleet
from tests.rewards.model_server import caption, says, server, share_of_words, verdict
from tests.rewards.test_judged_runs import Taught, recipe_for

GONE = "http://127.0.0.1:9/v1"


def settings_of(servers: Any, kind: str = "judge", **more: Any) -> RewardModelSettings:
    addresses = [address.removesuffix("/v1" if kind == "polar" else "") for address, _ in servers]
    return RewardModelSettings(kind=kind, address=addresses, model="tester", first_wait_s=0.01, **more)


def accuracies(settings: RewardModelSettings) -> list[list[float]]:
    with Grader(GradingSettings(workers=0, reward_model=settings), "paper") as grader:
        groups = [grader.submit(caption(), [says(f"{group} {n}") for n in range(3)]) for group in range(20)]
        return [[grade.accuracy for grade in group.result()] for group in groups]


@pytest.mark.parametrize("kind", ["judge", "polar"])
def test_one_of_two_servers_that_is_killed_loses_no_group(kind):
    with fleet(0, kind=kind) as one:
        expected = accuracies(settings_of(one, kind))
    with fleet(0, 6, kind=kind) as two:
        assert accuracies(settings_of(two, kind)) == expected
        assert two[1][1].wait() == 9, "it was killed while it worked"


def test_a_run_goes_on_when_one_of_its_two_judges_is_killed(tmp_path, taught: Taught):
    steps = {"steps": 3, "rollout": {"min_accuracy": -1, "max_accuracy": 2}}

    def rows(name: str, settings: RewardModelSettings) -> list[dict[str, Any]]:
        train_rl(recipe_for(taught, settings, tmp_path, **steps), tmp_path / name)
        return [{k: v for k, v in row.items() if "seconds" not in k} for row in RunFolder(tmp_path / name).rows()]

    with fleet(0, kind="judge") as one:
        expected = rows("one", settings_of(one))
    with fleet(0, 8, kind="judge") as two:
        assert rows("two", settings_of(two)) == expected
        assert two[1][1].wait() == 9, "it was killed while it worked"
    assert [row["groups"] for row in expected] == [4, 4, 4]


def test_two_judges_share_the_answers_of_an_evaluation_and_one_that_is_killed_loses_none(tmp_path):
    questions = [Question("What?", "A red ball.", f"answer {n}") for n in range(60)]
    with fleet(0, kind="judge") as one:
        expected = [each.score for each in Judge(settings_of(one)).score(questions)]
    with fleet(0, 0, kind="judge") as two:
        assert [each.score for each in Judge(settings_of(two)).score(questions)] == expected
        counts = [httpx.get(f"{address}/models").json()["asked"] for address, _ in two]
        assert sum(counts) == 60
        assert min(counts) >= 15
    with fleet(7, 0, kind="judge") as two:
        grading = {"judge": ", ".join(address for address, _ in two), "judge_model": "tester"}
        judge = open_judge(EvaluationConfig.model_validate({"grading": grading}), tmp_path)
        assert [each.score for each in judge.score(questions)] == expected


def test_a_judge_that_is_not_there_yet_is_said_and_the_others_are_asked(caplog):
    with fleet(0, kind="judge") as [(address, _)]:
        judge = Judge(settings_of([(address, None), (GONE, None)]))
        judge.try_out()
        assert f"{GONE} does not answer yet; the other servers are used" in caplog.text
        [said] = judge.score([Question("What?", "A red ball.", "red")])
    assert 0 <= said.score <= 1


def test_a_judge_of_several_that_refuses_stops_the_run_before_it_begins():
    with (
        fleet(0, kind="judge") as [(address, _)],
        refusing_server(lambda body, number: (404, {}, {"message": "no such model"})) as (other, _),
        pytest.raises(EngineError, match=r"a test request to judge tester failed: .*no such model"),
    ):
        Judge(settings_of([(address, None), (other.address, None)])).try_out()


def test_a_verdict_that_is_none_is_asked_of_each_judge_and_rests_neither(caplog):
    def picky(body: dict[str, Any], number: int) -> Any:
        return verdict("no") if "bad" in body["messages"][1]["content"] else share_of_words(body)

    with server(picky) as (first, seen_first), server(picky) as (second, seen_second):
        settings = first.model_copy(update={"address": f"{first.address},{second.address}"})
        judge = Judge(settings)
        lost, good = judge.submit("What?", "A red ball.", ["bad"]), judge.submit("What?", "A red ball.", ["red"])
        wait([lost, good])
        judge.close()
    assert "no answer after 2 tries" in str(lost.exception())
    assert good.result() == [3 / 8]
    assert len(seen_first.bodies) + len(seen_second.bodies) == 5
    assert "gets no requests" not in caplog.text


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("http://h:1/v1,", "got '' in 'http://h:1/v1,'"),
        ("h:1/v1", "must be an address such as http://host:8000/v1, got 'h:1/v1'"),
        (["http://h:1/v1", "http://h:1/v1/"], "this address is listed more than once: http://h:1/v1"),
        ([], "needs an address"),
    ],
    ids=str,
)
def test_addresses_that_are_none_are_refused_with_the_recipe(address, said):
    with pytest.raises(ConfigError) as refused:
        RlRecipe.load("tiny_rl", [f"grading.reward_model={{kind='judge',model='x',address={address!r}}}"])
    assert said in str(refused.value)
