"""EasyR1's reward manager scores by our function: run where EasyR1 is installed, by `make test-integrations`."""

from pathlib import Path

import torch
from verl.protocol import DataProto
from verl.workers.reward.config import RewardConfig
from verl.workers.reward.function import AutoRewardManager

from onethinker.data.formats.easyr1 import write
from onethinker.integrations import easyr1
from tests.integrations.cases import cases
from tests.integrations.peers.letters import Letters


def test_easyr1_gives_every_task_our_reward():
    config = RewardConfig(f"{easyr1.__file__}:compute_score")
    config.post_init()
    found = cases()
    length = max(len(case.response) for case in found)
    ids = torch.tensor([[*map(ord, case.response.ljust(length))] for case in found])
    mask = torch.tensor([[1] * len(case.response) + [0] * (length - len(case.response)) for case in found])
    truths = [write(case.sample, Path())["answer"] for case in found]
    data = DataProto.from_dict({"responses": ids, "response_mask": mask}, {"ground_truth": truths})
    rewards, parts = AutoRewardManager(config, Letters()).compute_reward(data)
    assert torch.allclose(rewards.sum(-1), torch.tensor([case.reward for case in found]))
    assert parts["overall"] == [case.reward for case in found]
