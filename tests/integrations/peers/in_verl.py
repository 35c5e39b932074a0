"""verl's reward manager scores by our function: run where verl is installed, by `make test-integrations`."""

import asyncio
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf
from verl import DataProto
from verl.experimental.reward_loop.reward_manager.naive import NaiveRewardManager
from verl.trainer.ppo.reward import get_custom_reward_fn

from onethinker.data.formats.verl import write
from tests.integrations.cases import cases
from tests.integrations.peers.letters import Letters

CHOSEN = {"path": "pkg://onethinker.integrations.verl", "name": "compute_score", "reward_kwargs": {}}


@pytest.mark.parametrize("case", cases(), ids=lambda case: f"{case.sample.id} {case.reward:.2g}")
def test_verl_gives_every_task_our_reward(case):
    config = OmegaConf.create({"reward": {"custom_reward_function": CHOSEN}})
    manager = NaiveRewardManager(config, Letters(), get_custom_reward_fn(config))
    row = write(case.sample, Path())
    ids = torch.tensor([[*map(ord, case.response)]])
    data = DataProto.from_dict(
        {"responses": ids, "attention_mask": torch.ones_like(ids)},
        {name: [row[name]] for name in ("data_source", "reward_model", "extra_info")},
    )
    assert asyncio.run(manager.run_single(data))["reward_score"] == case.reward
