"""Parts of RL from outside the package: an estimator of another distribution, and another sampler."""

import json
import sys

import pytest
import torch

from onethinker.core.errors import ConfigError
from onethinker.rl.advantages import find_estimator
from onethinker.rl.loop import train_rl
from onethinker.rl.sampler import Rollout
from onethinker.training.config import RlRecipe
from onethinker.training.packing.row import PrefixGroup, pack
from onethinker.training.rl_settings import AdvantageSettings
from onethinker.training.scoring import score

ESTIMATOR = """
def doubled(rewards_PG, tasks, state, settings):
    return 2 * (rewards_PG - rewards_PG.mean(1, keepdim=True)), state
"""


def recipe_of(taught, **settings) -> RlRecipe:
    return RlRecipe(
        model=taught.model,
        steps=2,
        max_row_tokens=512,
        data={"files": [taught.questions]},
        rollout={"generation_batch_size": 2, "group_size": 2, "max_new_tokens": 32},
        grading={"workers": 0},
        loss={"kl_coefficient": 0},
        **settings,
    )


@pytest.fixture
def other_package(tmp_path, monkeypatch):
    site = tmp_path / "site"
    info = site / "other_estimators-1.0.dist-info"
    info.mkdir(parents=True)
    (site / "other_estimators.py").write_text(ESTIMATOR)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: other-estimators\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[onethinker.estimators]\ndoubled = other_estimators:doubled\n")
    monkeypatch.syspath_prepend(str(site))
    yield
    sys.modules.pop("other_estimators", None)


class ScriptedSampler:
    """Answers every prompt with A and B, as a server might that has the same weights."""

    def __init__(self, session) -> None:
        self.session, self.versions = session, []

    def sample(self, requests, params, group_size):
        assert len({each.request.seed for each in requests}) == len(requests), "each prompt has a seed of its own"
        texts = [f"<think>I see.</think><answer>{'AB'[index % 2]}</answer>" for index in range(group_size)]
        ids = [self.session.data.answer_ids(text) for text in texts]
        with torch.no_grad():
            return [
                [Rollout(each, self._logps(request.prompt, each), truncated=False) for each in ids]
                for request in requests
            ]

    def _logps(self, prompt, ids):
        return score(self.session.model, pack([PrefixGroup(prompt, (ids,))]))[0]

    def load_weights(self, version: int) -> None:
        self.versions.append(version)

    def close(self) -> None:
        self.versions.append("closed")


def test_another_sampler_answers_every_prompt_and_is_told_of_every_step(tmp_path, taught):
    opened = []

    def open_sampler(session):
        opened.append(ScriptedSampler(session))
        return opened[0]

    train_rl(recipe_of(taught), tmp_path / "run", open_sampler=open_sampler)
    rows = [json.loads(line) for line in (tmp_path / "run/journal.jsonl").read_text().splitlines()]
    # One of the two answers is right, in every group of every step.
    assert [row["tasks"]["multiple choice"]["accuracy"] for row in rows] == [0.5, 0.5]
    assert [row["updates"] for row in rows] == [1, 1]
    assert opened[0].versions == [1, 2, "closed"]


@pytest.mark.usefixtures("other_package")
def test_an_estimator_of_another_package_is_found_by_name():
    advantages, _ = find_estimator("doubled")(torch.tensor([[1.0, 0.0]]), ["math"], {}, AdvantageSettings())
    assert advantages.tolist() == [[1.0, -1.0]]
    assert AdvantageSettings(algorithm="doubled").algorithm == "doubled"


@pytest.mark.usefixtures("other_package")
def test_a_run_learns_with_the_estimator_of_another_package(tmp_path, taught):
    train_rl(recipe_of(taught, advantage={"algorithm": "doubled"}), tmp_path / "run", open_sampler=ScriptedSampler)
    row = json.loads((tmp_path / "run/journal.jsonl").read_text().splitlines()[0])
    # The right answer earns 1 more than the wrong one: both lie 0.5 from their mean, and that counts twice.
    assert row["tasks"]["multiple choice"]["mean_abs_advantage"] == pytest.approx(1.0)


@pytest.mark.usefixtures("other_package")
def test_an_unknown_estimator_is_an_error_that_names_those_there_are():
    with pytest.raises(
        ValueError,
        match=r"no estimator 'grpoo'; did you mean 'grpo'.*: ema_grpo, grpo, dr_grpo, rloo, reinforce_pp, doubled",
    ):
        AdvantageSettings(algorithm="grpoo")
    with pytest.raises(ConfigError, match="expected one entry point 'grpoo'"):
        find_estimator("grpoo")
