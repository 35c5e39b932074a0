"""verl rewards by our function, trains by our plug-in and shows our frames: run where verl is installed, by
`make test-in-verl`.
"""

import asyncio
import os
import subprocess
import sys
from dataclasses import replace
from functools import reduce
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import yaml
from omegaconf import OmegaConf, open_dict
from tensordict import TensorDict
from tensordict.tensorclass import NonTensorStack
from transfer_queue import KVBatchMeta
from transformers import AutoProcessor
from verl import DataProto
from verl.experimental.reward_loop.reward_manager.naive import NaiveRewardManager
from verl.trainer.ppo.core_algos import get_adv_estimator_fn
from verl.trainer.ppo.reward import get_custom_reward_fn
from verl.trainer.ppo.v1 import get_trainer_cls, trainer_base
from verl.trainer.ppo.v1.trainer_sync import PPOTrainerSync
from verl.utils.config import validate_config
from verl.utils.dataset.rl_dataset import get_dataset_class
from verl.utils.tokenizer.continuous_token import QwenVLContinuousTokenBuilder

from onethinker.core.errors import CheckpointError, ConfigError
from onethinker.data.formats.parquet import write_parquet
from onethinker.data.formats.verl import write
from onethinker.integrations.verl import groups as own_groups
from onethinker.integrations.verl import plugin
from onethinker.integrations.verl.launch import VerlRun, compose, nested, row_of, write_config
from onethinker.rl.advantages import ema_grpo
from onethinker.tasks import find_task
from onethinker.tasks.template import PromptTemplate
from onethinker.training.config import RlRecipe
from tests.integrations.cases import cases
from tests.integrations.peers.letters import Letters
from tests.integrations.shown import BUDGET, MODEL, make_samples, recorded, shown

CHOSEN = {"path": "pkg://onethinker.integrations.verl", "name": "compute_score", "reward_kwargs": {}}
TASKS = [("numerical", "image"), ("tracking", "video"), ("numerical", "image")]


@pytest.mark.parametrize("case", cases(), ids=lambda case: f"{case.sample.id} {case.reward:.2g}")
def test_verl_gives_every_task_our_reward(case):
    config = OmegaConf.create({"reward": {"custom_reward_function": CHOSEN}})
    row = write(case.sample, Path())
    ids = torch.tensor([[*map(ord, case.response)]])
    data = DataProto.from_dict(
        {"responses": ids, "attention_mask": torch.ones_like(ids)},
        {name: [row[name]] for name in ("data_source", "reward_model", "extra_info")},
    )

    async def score() -> float:
        # The manager belongs to the event loop that it is made in.
        manager = NaiveRewardManager(config, Letters(), get_custom_reward_fn(config))
        return (await manager.run_single(data))["reward_score"]

    assert asyncio.run(score()) == case.reward


def test_verl_finds_the_plugin_by_its_variable():
    shown = subprocess.run(
        [
            sys.executable,
            "-c",
            "import verl; from verl.trainer.ppo.v1 import get_trainer_cls as g; print(g('onethinker'))",
        ],
        env={**os.environ, "VERL_USE_EXTERNAL_MODULES": "onethinker.integrations.verl.plugin"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "OneThinkerTrainer" in shown.stdout


@pytest.fixture
def run(tmp_path):
    recipe = RlRecipe.load("rl_8b", ["data.files=['samples.jsonl']", f"model='{MODEL}'", "steps=4"])
    return VerlRun(recipe, tmp_path, gpus=8, budget=BUDGET)


@pytest.fixture
def config(run):
    """The configuration as verl composes it."""
    from hydra import compose as hydra_compose
    from hydra import initialize_config_dir

    write_config(run.folder / "verl.yaml", nested(run.config))
    with initialize_config_dir(str(run.folder), version_base=None):
        composed = hydra_compose("verl")
    OmegaConf.resolve(composed)
    return composed


def test_verl_composes_the_recipe_and_has_every_setting_that_is_told(run, config):
    validate_config(config, use_reference_policy=True, use_critic=False)
    plain = yaml.safe_load((Path(trainer_base.__file__).parents[2] / "config/_generated_ppo_trainer.yaml").read_text())
    ours = ("onethinker.", "data.onethinker.", "trainer.v1.sampler.sampler_kwargs.", "ray_kwargs.", "data.mm_processor")
    for values in run.config.values():
        for name, value in values.items():
            assert OmegaConf.to_container(OmegaConf.create({"": OmegaConf.select(config, name)}))[""] == value
            if not name.startswith((*ours, "reward.custom_reward_function.reward_kwargs")):
                *inside, last = name.split(".")
                group = reduce(lambda found, each: found[each], inside, plain)
                assert last in group, f"verl has no setting {name}"


@pytest.mark.timeout(900)  # verl is imported twice, on any machine
def test_verl_s_own_command_takes_the_configuration(run):
    write_config(run.folder / "verl.yaml", nested(run.config))
    compose(run, sys.executable)
    with pytest.raises(ConfigError, match="nonsense"):
        compose(replace(run, settings=("trainer.nonsense=1",)), sys.executable)


class Store:
    """verl's store of a batch, in memory, with the rows that agents write: a recorded reward at each last token."""

    def __init__(self, rewards_PG: torch.Tensor):
        count, group = rewards_PG.shape
        self.uids = [f"uid{row // group}" for row in range(count * group)] + ["pad0"]
        extra = [
            dict(zip(("problem_type", "data_type"), TASKS[row // group], strict=True)) for row in range(count * group)
        ]
        lengths = [1 + row % 3 for row in range(count * group)] + [1]
        scores = [
            torch.cat([torch.zeros(n - 1), r[None]])
            for n, r in zip(lengths, [*rewards_PG.flatten(), torch.zeros(())], strict=True)
        ]
        masks = [torch.ones(n, dtype=torch.int64) for n in lengths[:-1]] + [torch.zeros(1, dtype=torch.int64)]
        self.columns = {
            "uid": NonTensorStack(*self.uids),
            "extra_info": NonTensorStack(*extra, extra[0]),
            "response_mask": torch.nested.as_nested_tensor(masks, layout=torch.jagged),
            "rm_scores": torch.nested.as_nested_tensor(scores, layout=torch.jagged),
        }
        self.batch = KVBatchMeta(
            keys=[f"{uid}_{row}_0" for row, uid in enumerate(self.uids)],
            tags=[{"is_padding": uid == "pad0"} for uid in self.uids],
            partition_id="train",
        )
        self.written: TensorDict | None = None

    def kv_batch_get(self, *, keys, partition_id, select_fields):
        rows = [self.batch.keys.index(key) for key in keys]
        found = {}
        for name in set(select_fields) & self.columns.keys():
            column = self.columns[name]
            if isinstance(column, torch.Tensor):
                parts = column.unbind()
                found[name] = torch.nested.as_nested_tensor([parts[row] for row in rows], layout=torch.jagged)
            else:
                found[name] = NonTensorStack(*[column[row].data for row in rows])
        return TensorDict(found, batch_size=len(rows))

    def kv_batch_put(self, *, keys, partition_id, fields):
        self.written = fields
        return self.batch


@pytest.fixture
def trainer(config, monkeypatch, tmp_path):
    """Our trainer, of which no worker has been started."""
    config.trainer.default_local_dir = str(tmp_path / "checkpoints")
    made = get_trainer_cls("onethinker")(config)
    monkeypatch.setattr(
        made, "actor_rollout_wg", SimpleNamespace(save_checkpoint=write_weights, load_checkpoint=nothing), raising=False
    )
    monkeypatch.setattr(
        made, "train_dataloader", SimpleNamespace(state_dict=dict, load_state_dict=nothing), raising=False
    )
    return made


def write_weights(path, *_, **__):
    Path(path).mkdir(parents=True)


def nothing(*_, **__):
    return None


def advantages_in_verl(trainer, monkeypatch, rewards_PG):
    store, metrics = Store(rewards_PG), {}
    for module in (trainer_base, plugin):
        monkeypatch.setattr(module.tq, "kv_batch_get", store.kv_batch_get)
        monkeypatch.setattr(module.tq, "kv_batch_put", store.kv_batch_put)
    trainer._compute_advantage(store.batch, metrics)
    return [row.tolist() for row in store.written["advantages"].unbind()], metrics


def test_recorded_rewards_have_our_advantages_and_the_averages_survive_a_checkpoint(trainer, monkeypatch):
    state = {}
    keys = [find_task(*task).key for task in TASKS]
    random = torch.Generator().manual_seed(0)
    for step in range(1, 6):
        rewards_PG = torch.rand(3, 4, generator=random) * 2
        expected_PG, state = ema_grpo(rewards_PG, keys, state)
        found, metrics = advantages_in_verl(trainer, monkeypatch, rewards_PG)
        assert found[-1] == [0.0], "what fills a batch up is no answer"
        for row, expected in enumerate(expected_PG.flatten().tolist()):
            assert found[row] == pytest.approx([expected] * (1 + row % 3), abs=1e-6)
        for key in keys:
            assert metrics[f"onethinker/sigma/{key}"] == pytest.approx(state[key].sigma, abs=1e-12)
        if step == 3:
            trainer.global_steps = step
            trainer._save_checkpoint()
            before = dict(trainer.ema)
            trainer.ema = {}
            trainer._load_checkpoint()
            assert (trainer.global_steps, dict(trainer.ema)) == (step, before)


def test_a_checkpoint_of_another_trainer_is_refused(trainer):
    trainer.global_steps = 2
    PPOTrainerSync._save_checkpoint(trainer)
    with pytest.raises(CheckpointError, match="written by another trainer"):
        trainer._load_checkpoint()


def test_verl_s_own_trainer_cannot_use_the_estimator():
    with pytest.raises(ConfigError, match=r"set trainer\.v1\.trainer_mode=onethinker"):
        get_adv_estimator_fn("ema_grpo")(torch.zeros(2, 3), torch.ones(2, 3), index=["a", "a"])


def test_groups_without_a_signal_are_dropped_by_our_bounds(trainer, monkeypatch):
    buffer = trainer.replay_buffer
    assert isinstance(buffer, own_groups.SignalBuffer)
    accuracies = {"right": [1.0, 1.0], "wrong": [0.0, 0.01], "equal": [0.5, 0.5], "mixed": [0.0, 1.0]}
    keys = [f"{uid}_{row}_0" for uid in accuracies for row in range(2)]
    fields = [{"reward_extra_info": {"accuracy": each}} for values in accuracies.values() for each in values]
    found = TensorDict({"extra_fields": NonTensorStack(*fields)}, batch_size=len(keys))
    monkeypatch.setattr(own_groups.tq, "kv_batch_get", lambda **_: found)
    buffer.finished_keys["train"] = set(accuracies)
    buffer.partitions["train"] = {key: {} for key in keys}
    dropped, counts = buffer._dapo_filtered_keys("train")
    assert dropped == {"right", "wrong"}, "0.005 is not above 0.01; equal accuracies in between are kept, as ours are"
    assert counts == {1.0: 1, 0.005: 1}


@pytest.mark.parametrize("data_type", ["image", "video"])
def test_a_row_has_our_tokens_and_our_patches_in_verl(config, tmp_path, data_type):
    sample = make_samples(tmp_path)[data_type]
    write_parquet(tmp_path / "rows.parquet", [row_of(sample, PromptTemplate())])
    processor, kind = AutoProcessor.from_pretrained(MODEL), get_dataset_class(config.data)
    with open_dict(config):
        config.data.cache_dir = str(tmp_path / "cache")
    row = kind([str(tmp_path / "rows.parquet")], processor.tokenizer, config.data, processor)[0]
    images, videos, audios = asyncio.run(kind.process_multi_modal_info(row["raw_prompt"], 16, config.data))
    how = OmegaConf.to_container(config.data.mm_processor_kwargs)
    builder = QwenVLContinuousTokenBuilder(processor.tokenizer, processor, mm_processor_kwargs=how)
    inputs: dict = {}
    ids = builder.build_initial_tokens(
        row["raw_prompt"], images=images, videos=videos, audios=audios, mm_inputs_out=inputs
    )
    found, expected = shown(ids, inputs), recorded()[data_type]
    ids = expected["ids"] if data_type == "image" else without_outer_marks(expected["ids"], processor.tokenizer)
    assert (found["ids"], found["grid"]) == (ids, expected["grid"])
    assert np.allclose(found["patches"], expected["patches"], atol=1e-4)
    truth = row["reward_model"]["ground_truth"], row["extra_info"]["problem_type"]
    assert truth == (sample.truth, sample.problem_type)


def without_outer_marks(ids, tokenizer):
    """transformers 5.24 writes a begin and end of a video around those of its frames; 5.9, verl's, does not."""
    begin, end = tokenizer.convert_tokens_to_ids(["<|vision_start|>", "<|vision_end|>"])
    first, last = ids.index(begin), len(ids) - 1 - ids[::-1].index(end)
    return [token for index, token in enumerate(ids) if index not in (first, last)]
