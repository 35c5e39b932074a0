"""What a recipe becomes for verl, and what is refused by name; verl itself is asked in `peers/in_verl.py`."""

import json
import re
import sys

import pytest
import torch
from PIL import Image
from transformers import AutoProcessor

from onethinker.commands.dispatch import dispatch
from onethinker.core.errors import ConfigError, DataError, EngineError
from onethinker.core.sample import Sample
from onethinker.inference.encode import build_request, encode_requests
from onethinker.integrations.verl.advantages import answer_advantages
from onethinker.integrations.verl.launch import row_of
from onethinker.integrations.verl.recipe import EXPORTED, HERE, MAP, REFUSED, fields, to_verl
from onethinker.integrations.verl.version import check_version
from onethinker.rl.advantages import ema_grpo
from onethinker.tasks.template import PromptTemplate
from onethinker.training.config import RlRecipe
from onethinker.training.rl_settings import AdvantageSettings
from tests.integrations.shown import BUDGET, MODEL, make_samples, recorded, shown

FILES = "data.files=['samples.jsonl']"
DRY = ["rl", "rl_8b", "--engine", "verl", "--dry-run"]
RIGHT = {"problem": "How many?", "problem_type": "numerical", "data_type": "image", "solution": "<answer>3</answer>"}


@pytest.fixture
def samples(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (64, 64), "red").save("a.png")
    (tmp_path / "samples.jsonl").write_text(json.dumps({**RIGHT, "path": "a.png"}) + "\n")
    return tmp_path


def recipe(*settings: str) -> RlRecipe:
    return RlRecipe.load("rl_8b", [FILES, *settings])


def told(*settings: str) -> dict:
    return {name: value for values in to_verl(recipe(*settings)).values() for name, value in values.items()}


def test_every_field_of_a_recipe_has_a_counterpart_or_a_reason():
    assert set(fields()) == {*MAP, *EXPORTED, *HERE, *REFUSED}
    assert len([*MAP, *EXPORTED, *HERE, *REFUSED]) == len(set(fields()))


def test_the_paper_s_recipe_is_spelled_for_verl():
    verl = told()
    assert verl["algorithm.adv_estimator"] == "ema_grpo"
    assert (verl["data.train_batch_size"], verl["actor_rollout_ref.rollout.n"]) == (128, 8)
    assert verl["data.max_prompt_length"] + verl["data.max_response_length"] == 16_384
    assert verl["actor_rollout_ref.actor.kl_loss_coef"] == 0.01
    assert verl["actor_rollout_ref.actor.optim.lr_scheduler_type"] == "constant"
    assert verl["actor_rollout_ref.actor.clip_ratio_c"] == 1e9, "no dual clip, which verl has by default"


@pytest.mark.parametrize(
    ("setting", "named"),
    [
        ('frozen=["vision"]', r"frozen = \('vision',\)"),
        ("optimizer.kind=muon", "optimizer.kind = 'muon': verl always gets AdamW"),
        ("rollout.max_refills=0", "rollout.max_refills = 0: verl refills"),
        ("loss.kl_schedule=cosine", "loss.kl_schedule = 'cosine'"),
        ("grading.rewards={length = {}}", "grading.rewards"),
        ("validation={files = ['a.jsonl']}", "validation"),
        ("data.files=[]", "onethinker data synthetic"),
        ("advantage.algorithm=rloo", "only ema_grpo"),
        ('keep="every 500"', 'keep = "every 500"'),
        ("lora={parts = ['vision']}", "lora: verl supports only adapters"),
        ("loss.updates_per_batch=3", "is not divisible by loss.updates_per_batch = 3"),
        ("max_row_tokens=4096", "leaves no room for a prompt"),
        (
            'gradient_checkpointing=["language"]',
            r"gradient_checkpointing = \['language'\]: verl supports only true or false",
        ),
    ],
)
def test_a_field_without_a_counterpart_is_refused_by_name(setting, named):
    with pytest.raises(ConfigError, match=named):
        to_verl(recipe(setting))


def test_advantages_of_answers_in_any_order_are_those_of_groups():
    rewards_PG = torch.tensor([[1.0, 0.0, 0.25], [2.0, 2.0, 0.5], [0.0, 1.0, 1.0]])
    tasks = ["math", "tracking", "math"]
    _, state = ema_grpo(rewards_PG.flip(1) / 3, tasks, {})
    expected_PG, after = ema_grpo(rewards_PG, tasks, state)
    order = torch.randperm(9, generator=torch.Generator().manual_seed(0)).tolist()
    names = {f"group {row}": task for row, task in enumerate(tasks)}
    groups = [f"group {index // 3}" for index in order]
    advantages, seen = answer_advantages(rewards_PG.flatten()[order], groups, names, state, AdvantageSettings())
    assert torch.equal(advantages, expected_PG.flatten()[order])
    assert {task: (m.m1, m.m2) for task, m in seen.items()} == {
        task: pytest.approx((m.m1, m.m2), abs=1e-15) for task, m in after.items()
    }


def test_a_group_that_lost_an_answer_is_centred_in_what_is_left():
    # Mean 0.5 and mean square 0.5 over all four answers: sigma is 0.5.
    rewards = torch.tensor([1.0, 0.0, 1.0, 0.0])
    advantages, state = answer_advantages(
        rewards, ["a", "a", "b", "a"], {"a": "ocr", "b": "ocr"}, {}, AdvantageSettings()
    )
    assert state["ocr"].sigma == 0.5
    assert torch.allclose(advantages, torch.tensor([4 / 3, -2 / 3, 0.0, -2 / 3]))


def test_another_verl_is_refused():
    with pytest.raises(ConfigError, match=r"onethinker needs verl 0.9.1, .* found verl 0.9.2"):
        check_version("0.9.2")
    with pytest.raises(ConfigError, match="found no verl"):
        check_version(None)


def test_words_that_verl_takes_for_media_are_refused(tmp_path):
    sample = Sample("1", "What does <image> mean?", "numerical", "image", (tmp_path / "a.png",), "3")
    with pytest.raises(DataError, match="the question contains <image>"):
        row_of(sample, PromptTemplate())


def test_a_dry_run_prints_map_and_command_and_writes_nothing(samples, capsys):
    before = sorted(samples.iterdir())
    code = dispatch([*DRY, "--nodes", "4", "--processes", "8", "--set", FILES, "model=tiny", "--verl-set", "a.b=4"])
    shown = capsys.readouterr().out
    assert code == 0
    assert "loss.kl_coefficient            actor_rollout_ref.actor.kl_loss_coef = 0.01" in shown
    assert "rows           128,000, in the order of our own run" in shown
    assert "VERL_USE_EXTERNAL_MODULES=onethinker.integrations.verl.plugin" in shown
    assert "-m verl.trainer.main_ppo" in shown
    assert "a.b=4" in shown
    assert "trainer.nnodes = 4" in shown
    assert "trainer.n_gpus_per_node = 8" in shown
    assert "configuration  OUTPUT/verl.yaml" in shown
    assert str(samples) not in shown.replace(f"{samples}/samples.jsonl", ""), "no folder that nobody named"
    assert sorted(samples.iterdir()) == before


def test_modules_that_verl_is_told_to_load_already_stay(samples, capsys, monkeypatch):
    monkeypatch.setenv("VERL_USE_EXTERNAL_MODULES", "my.platform")
    assert dispatch([*DRY, "--set", FILES, "model=tiny"]) == 0
    assert "VERL_USE_EXTERNAL_MODULES=my.platform,onethinker.integrations.verl.plugin" in capsys.readouterr().out


def test_a_python_without_verl_is_refused_before_anything_is_written(samples, capsys):
    words = ["rl", "rl_8b", "--engine", "verl", "--output", "out", "--verl-python", sys.executable]
    with pytest.raises(ConfigError, match=f"--verl-python {sys.executable}: .* found no verl"):
        dispatch([*words, "--set", FILES, "model=tiny"])
    assert not (samples / "out").exists()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--gpu", "h100"], "--gpu needs --engine own"),
        (["--processes", "7"], "1 nodes of 7 GPUs (--nodes, --processes): verl divides the 1024 answers"),
        (["--nodes", "3"], "and they are not divisible by 3"),
        (["--processes", "8", "--verl-set", "trainer.nnodes=3"], "3 nodes of 8 GPUs"),
        (["--verl-set", "+actor_rollout_ref.rollout.n=1", "trainer.n_gpus_per_node=256"], "the 128 answers"),
        (["--nodes", "0"], "--nodes must be at least 1"),
        (["--nodes", "4", "--node-rank", "3"], "--node-rank needs --engine own: with verl, start Ray"),
        (["--main-address", "x"], "--main-address needs --engine own"),
        (["--network", "5"], "--network needs --engine own"),
        (["--set", FILES, "model=untrained"], 'model = "untrained" is built in memory'),
    ],
)
def test_flags_that_verl_cannot_have_are_refused(samples, words, says):
    setting = [] if "--set" in words else ["--set", FILES, "model=tiny"]
    with pytest.raises(ConfigError, match=re.escape(says)):
        dispatch([*DRY, *words, *setting])


def test_a_model_that_is_not_there_is_answered_with_the_setting(samples):
    with pytest.raises(EngineError, match=r"runs/none/model: no such folder, .*; choose another with --set model=…"):
        dispatch([*DRY, "--set", FILES, "model=runs/none/model"])


def test_flags_of_verl_are_refused_without_it():
    with pytest.raises(ConfigError, match="--verl-python and --verl-set need --engine verl"):
        dispatch(["rl", "tiny_rl", "--dry-run", "--verl-set", "trainer.nnodes=4"])


@pytest.mark.parametrize("data_type", ["image", "video"])
def test_what_verl_must_show_is_what_we_show(tmp_path, data_type):
    processor = AutoProcessor.from_pretrained(MODEL)
    request = build_request(make_samples(tmp_path)[data_type], PromptTemplate(), BUDGET)
    inputs = encode_requests(processor, [request])
    found, expected = shown(inputs["input_ids"][0].tolist(), inputs), recorded()[data_type]
    assert (found["ids"], found["grid"]) == (expected["ids"], expected["grid"])
    assert torch.allclose(torch.tensor(found["patches"]), torch.tensor(expected["patches"]), atol=1e-4)
