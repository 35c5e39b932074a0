"""Adapters and frozen parts: what is trained is what was named, packed rows stay exact, checkpoints are small and
resume bit for bit.
"""

import json
import os
import subprocess
import sys
import warnings

import pytest
import torch
from safetensors.torch import load_file

from onethinker.core.errors import ConfigError
from onethinker.families.registry import family_of
from onethinker.families.tiny import build_tiny
from onethinker.inference.loading import load_local
from onethinker.rl.loop import train_rl
from onethinker.training.adapters import base_weights, choose_trained, count_parameters, is_adapter
from onethinker.training.config import RlRecipe, SftRecipe
from onethinker.training.packing.attention import use_packed_attention
from onethinker.training.packing.row import pack
from onethinker.training.scoring import score
from onethinker.training.settings import LoraSettings
from onethinker.training.sft import train_sft
from onethinker.training.state.run_folder import RunFolder
from tests.models import save_tiny
from tests.training.test_packing import one_by_one, some_groups
from tests.training.test_runs import SFT, StopRunError, journal, stop_after

ALL = ("language", "vision", "merger")
LORA = {"rank": 4, "alpha": 8.0, "parts": ALL}


def with_adapters(parts=ALL, **settings):
    """Return a tiny model whose adapters are no longer nothing."""
    model, _ = build_tiny(seed=3)
    use_packed_attention(model)
    choose_trained(model, SftRecipe(lora=LoraSettings(rank=4, parts=parts), **settings))
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.02)
    return model


@pytest.mark.parametrize("parts", [("language",), ("vision",), ("merger",), ALL], ids="+".join)
def test_adapters_are_added_to_the_parts_that_are_named_and_nothing_else_is_trained(parts):
    model = with_adapters(parts)
    trained = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    assert all(is_adapter(name) for name in trained)
    assert {family_of(model).part_of(name) for name in trained} == set(parts)
    counts = count_parameters(model)
    assert sum(count.total for count in counts.values()) == sum(p.numel() for p in build_tiny()[0].parameters())
    assert {part for part, count in counts.items() if count.adapters} == set(parts)
    assert not any(count.trained for count in counts.values())


def test_adapters_are_merged_without_a_warning(tmp_path):
    train_sft(SftRecipe(**SFT | {"steps": 1, "lora": LORA, "gradient_checkpointing": True}), tmp_path / "run")
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # of transformers, and of peft that the hub was asked in vain
        load_local(str(RunFolder(tmp_path / "run").checkpoints.all()[-1] / "model"))


def test_an_adapter_of_a_layer_has_rank_times_both_of_its_widths():
    # One layer of the tiny language model: q 128 -> 128, k and v 128 -> 64, o 128 -> 128, gate and up 128 -> 384, down
    # 384 -> 128.
    of_a_layer = 4 * ((128 + 128) + 2 * (128 + 64) + (128 + 128) + 2 * (128 + 384) + (384 + 128))
    assert count_parameters(with_adapters(("language",)))["language"].adapters == 4 * of_a_layer


def test_frozen_keeps_the_named_parts_and_trains_the_others():
    model, _ = build_tiny()
    choose_trained(model, SftRecipe(frozen=("vision", "model.language_model.embed_tokens")))
    counts = count_parameters(model)
    assert counts["vision"].trained == 0
    assert counts["merger"].trained == counts["merger"].total > 0
    assert (
        counts["language"].total - counts["language"].trained == model.model.language_model.embed_tokens.weight.numel()
    )


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"frozen": ("language", "vision", "merger")}, "nothing is left to train"),
        ({"frozen": ("visoin",)}, "not one of the parts language, vision, merger"),
        ({"optimizer": {"rates": {"visoin": 0.1}}}, "optimizer.rates: 'visoin' is not one of the parts"),
        (
            {"frozen": ("vision",), "lora": LoraSettings(parts=("vision", "merger"))},
            "no layer of vision can have an adapter",
        ),
    ],
    ids=["all", "unknown", "unknown rate", "frozen and adapted"],
)
def test_a_choice_that_cannot_be_trained_is_refused(settings, said):
    with pytest.raises(ConfigError, match=said):
        choose_trained(build_tiny()[0], SftRecipe(**settings))


def test_the_random_halves_of_adapters_follow_the_seed_and_leave_the_global_state_alone():
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    states = [with_adapters(seed=seed).state_dict() for seed in (1, 1, 2)]
    assert torch.rand(1).equal(expected)
    name = next(name for name in states[0] if "lora_A" in name)
    assert states[0][name].equal(states[1][name])
    assert not states[0][name].equal(states[2][name])


def gradients(model):
    found = {name: parameter.grad.clone() for name, parameter in model.named_parameters() if parameter.grad is not None}
    model.zero_grad()
    return found


def largest_difference(found, expected):
    assert found.keys() == expected.keys()
    return max(float((found[name] - expected[name]).norm() / expected[name].norm()) for name in expected)


def test_packing_is_exact_under_adapters_and_gradient_checkpointing(prompts):
    model, prefix_groups = with_adapters(), some_groups(prompts)
    weights = torch.linspace(
        -1, 1, sum(len(answer) for prefix_group in prefix_groups for answer in prefix_group.answers)
    )
    expected = one_by_one(model, prefix_groups)
    (expected * weights).sum().backward()
    expected_gradients = gradients(model)
    assert expected_gradients
    assert all(is_adapter(name) for name in expected_gradients)
    for checkpointing in (False, True):
        model.train()
        if checkpointing:
            model.activation_checkpointing_enable({"use_reentrant": False})
        packed, _ = score(model, pack(prefix_groups))
        (packed * weights).sum().backward()
        # float32 sums in another order.
        assert float((packed - expected).detach().abs().max()) < 1e-5
        assert largest_difference(gradients(model), expected_gradients) < 1e-5


def test_the_model_without_its_adapters_is_the_one_that_training_began_with(prompts):
    base, _ = build_tiny(seed=3)
    use_packed_attention(base)
    model, row = with_adapters(), pack(some_groups(prompts))
    with torch.no_grad():
        expected, adapted = score(base, row)[0], score(model, row)[0]
        with base_weights(model):
            found = score(model, row)[0]
    assert found.equal(expected)
    assert not torch.allclose(adapted, expected, atol=1e-3)


def test_scoring_the_reference_between_forward_and_backward_leaves_the_gradients_as_they_are(prompts):
    model, row = with_adapters(), pack(some_groups(prompts))
    model.train()
    model.activation_checkpointing_enable({"use_reentrant": False})
    score(model, row)[0].sum().backward()
    expected = gradients(model)
    logps, _ = score(model, row)
    with torch.no_grad(), base_weights(model):
        score(model, row)
    logps.sum().backward()
    found = gradients(model)
    assert found.keys() == expected.keys()
    assert all(found[name].equal(expected[name]) for name in expected)


def rl_recipe(taught, **settings) -> RlRecipe:
    """Return three steps of RL that have something to learn from."""
    rollout = {
        "generation_batch_size": 4,
        "group_size": 4,
        "max_new_tokens": 16,
        "min_accuracy": -1,
        "max_refills": 0,
    }
    data = {"files": [taught.questions]}
    whole = {
        "model": taught.model,
        "steps": 3,
        "save_every": 1,
        "max_row_tokens": 512,
        "rollout": rollout,
        "data": data,
    }
    return RlRecipe(**{**whole, "optimizer": {"learning_rate": 1e-3}, **settings})


@pytest.mark.parametrize("stage", ["sft", "rl"])
def test_a_stopped_run_with_adapters_equals_a_whole_one_and_ends_as_an_ordinary_model(tmp_path, taught, stage):
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    train, recipe = {
        "sft": (
            train_sft,
            SftRecipe(
                **{**SFT, "steps": 3, "save_every": 1}, lora={**LORA, "dropout": 0.1}, gradient_checkpointing=True
            ),
        ),
        "rl": (train_rl, rl_recipe(taught, lora=LORA)),
    }[stage]
    model = train(recipe, whole)
    with pytest.raises(StopRunError):
        train(recipe, stopped, on_step=stop_after(2))
    assert RunFolder(stopped).checkpoints.all()
    train(recipe, stopped)
    assert journal(stopped) == journal(whole)

    checkpoint = f"checkpoints/step-{recipe.steps:08d}"
    for file in (
        f"{checkpoint}/model/adapter_model.safetensors",
        f"{checkpoint}/optimizer.safetensors",
        "model/model.safetensors",
    ):
        expected, found = load_file(whole / file), load_file(stopped / file)
        assert expected.keys() == found.keys()
        assert all(expected[name].equal(found[name]) for name in expected)
    assert not (whole / checkpoint / "model/model.safetensors").exists()
    assert all(".lora_" in name for name in load_file(whole / checkpoint / "model/adapter_model.safetensors"))

    # Merged: an ordinary folder with the base's own names, changed where adapters were and nowhere else.
    before = load_local(recipe.model, seed=recipe.seed).model.state_dict()
    after = load_file(model / "model.safetensors")
    changed = {name for name in after if not after[name].equal(before[name])}
    assert changed
    assert all(before[name].ndim == 2 and "embed" not in name for name in changed)


def test_under_adapters_rl_measures_its_divergence_from_the_base(tmp_path, taught):
    recipe = rl_recipe(taught, lora=LORA)
    train_rl(recipe, tmp_path / "run")
    rows = RunFolder(tmp_path / "run").rows()
    assert rows[0]["grad_norm"] > 0
    assert rows[0]["kl"] == 0
    assert rows[1]["kl"] > 1e-5


def test_a_checkpoint_of_adapters_is_a_model_that_can_be_asked(tmp_path, prompts):
    save_tiny(tmp_path / "base", seed=3)
    recipe = SftRecipe(**{**SFT, "steps": 2}, model=str(tmp_path / "base"), lora=LORA)
    merged = load_local(str(train_sft(recipe, tmp_path / "run")))
    checkpoint = tmp_path / "run/checkpoints/step-00000002/model"
    assert json.loads((checkpoint / "adapter_config.json").read_text())["base_model_name_or_path"] == str(
        tmp_path / "base"
    )
    adapted = load_local(str(checkpoint))
    expected, found = merged.model.state_dict(), adapted.model.state_dict()
    assert expected.keys() == found.keys()
    assert all(expected[name].equal(found[name]) for name in expected)
    assert (adapted.prompt_template, adapted.budget) == (merged.prompt_template, merged.budget)


def test_adapters_are_in_float32_above_weights_in_bfloat16(tmp_path):
    recipe = SftRecipe(**{**SFT, "steps": 1, "dtype": "bfloat16"}, lora=LORA)
    model = train_sft(recipe, tmp_path / "run")
    adapters = load_file(tmp_path / "run/checkpoints/step-00000001/model/adapter_model.safetensors")
    assert {tensor.dtype for tensor in adapters.values()} == {torch.float32}
    assert {tensor.dtype for tensor in load_file(model / "model.safetensors").values()} == {torch.bfloat16}


@pytest.mark.parametrize("dtype", ["bfloat16", "mixed"])
def test_rl_in_less_precision_scores_the_same_tokens_nearly_the_same(tmp_path, taught, dtype):
    entropy = {}
    for kind in ("float32", dtype):
        train_rl(rl_recipe(taught, steps=1, dtype=kind), tmp_path / kind)
        (row,) = RunFolder(tmp_path / kind).rows()
        assert row["clip_fraction"] == 0, "the update must score as the rollout did"
        entropy[kind] = row["entropy"]
    kept = torch.float32 if dtype == "mixed" else torch.bfloat16
    assert {tensor.dtype for tensor in load_file(tmp_path / dtype / "model/model.safetensors").values()} == {kept}
    # bfloat16 has 8 bits: near, and not the same.
    assert entropy[dtype] == pytest.approx(entropy["float32"], rel=0.05)
    assert entropy[dtype] != entropy["float32"]


def test_dropout_in_rl_is_refused():
    with pytest.raises(ValueError, match="must be 0 in RL"):
        RlRecipe(lora={"dropout": 0.1})


def test_four_bits_where_they_cannot_be_had_are_refused_with_what_to_do(tmp_path):
    save_tiny(tmp_path / "base")
    for model, said in (
        ("untrained", "use a model folder or a hub id"),
        (str(tmp_path / "base"), r"pip install 'onethinker\[4bit\]'|NVIDIA GPU"),
    ):
        with pytest.raises(ConfigError, match=said):
            train_sft(SftRecipe(**SFT, model=model, lora={"four_bit": True}), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_adapters_of_two_processes_are_written_alike(tmp_path):
    code = (
        "import sys; from pathlib import Path; from onethinker.families.folder import ModelSettings, save_model; "
        "from onethinker.families.tiny import build_tiny; from onethinker.training.adapters import choose_trained; "
        "from onethinker.training.config import SftRecipe; model, processor = build_tiny(); "
        "choose_trained(model, SftRecipe(lora={'rank': 2})); "
        "save_model(Path(sys.argv[1]), model, processor, settings=ModelSettings(base='untrained'))"
    )
    written = []
    for seed in ("1", "2"):
        subprocess.run(
            [sys.executable, "-c", code, str(tmp_path / seed)], env=os.environ | {"PYTHONHASHSEED": seed}, check=True
        )
        written.append({path.name: path.read_bytes() for path in (tmp_path / seed).iterdir()})
    assert written[0] == written[1]
