"""From runs and checkpoints to ordinary folders: transformers loads them, with the same logits, and a card says where
they are from.
"""

from pathlib import Path

import pytest
import torch
from transformers import AutoModelForImageTextToText, AutoProcessor

from onethinker.commands.dispatch import dispatch
from onethinker.core.errors import CheckpointError, ConfigError
from onethinker.core.request import SamplingParams
from onethinker.data.synthetic import make_sample
from onethinker.evaluation.runs import Training
from onethinker.families.built_in import WEIGHTS
from onethinker.families.folder import ModelSettings, load_adapters, read_settings
from onethinker.inference.loading import load_engine, load_local
from onethinker.report.model_export import export_model, find_source, model_card
from onethinker.rl.loop import train_rl
from onethinker.training.adapters import choose_trained
from onethinker.training.config import SftRecipe
from onethinker.training.packing.row import pack
from onethinker.training.sft import train_sft
from tests.evaluation.asking import evaluate
from tests.models import save_tiny
from tests.training.test_adapters import rl_recipe
from tests.training.test_packing import some_groups
from tests.training.test_runs import SFT, StopRunError, stop_after

LORA = {"rank": 4, "alpha": 8.0, "parts": ("language", "vision", "merger")}


@pytest.fixture(scope="module")
def stopped(tmp_path_factory):
    """A run with adapters that was stopped after its first checkpoint, of step 2."""
    folder = tmp_path_factory.mktemp("runs") / "adapted"
    recipe = SftRecipe(**{**SFT, "optimizer": {"learning_rate": 1e-2}}, lora=LORA, seed=3)
    with pytest.raises(StopRunError):
        train_sft(recipe, folder, on_step=stop_after(3))
    return folder, recipe


def test_an_exported_checkpoint_of_adapters_loads_in_transformers_with_the_same_logits(tmp_path, stopped, prompts):
    folder, recipe = stopped
    checkpoint = folder / "checkpoints/step-00000002"
    export_model(checkpoint, tmp_path / "thinker")
    model = AutoModelForImageTextToText.from_pretrained(tmp_path / "thinker", dtype="float32")
    processor = AutoProcessor.from_pretrained(tmp_path / "thinker")
    base = load_local("untrained", seed=recipe.seed)
    adapted = load_local("untrained", seed=recipe.seed).model
    choose_trained(adapted, recipe)
    load_adapters(checkpoint / "model", adapted)

    row = pack(some_groups(prompts)[:1])
    inputs = {name: value for name, value in row.inputs.items() if name != "layout"}
    with torch.no_grad():
        expected, found, before = (network(**inputs).logits for network in (adapted, model, base.model))
    # Weights and change of weights are added once, not their products.
    assert torch.allclose(found, expected, atol=1e-5)
    assert not torch.allclose(before, expected, atol=1e-3)
    assert processor.tokenizer.get_vocab() == base.processor.tokenizer.get_vocab()
    assert read_settings(tmp_path / "thinker").budget == base.budget


def test_a_run_gives_its_finished_model_or_else_its_newest_checkpoint(tmp_path, stopped, monkeypatch):
    folder, _ = stopped
    assert find_source(folder).model == folder / "checkpoints/step-00000002/model"
    finished = train_sft(SftRecipe(**{**SFT, "steps": 1}), tmp_path / "run")
    assert find_source(tmp_path / "run").model == finished
    assert find_source(finished).run == find_source(tmp_path / "run/checkpoints/step-00000001").run == tmp_path / "run"
    save_tiny(tmp_path / "tiny")
    assert find_source(tmp_path / "tiny").run is None
    assert find_source(Path("tiny")).model == WEIGHTS
    monkeypatch.chdir(tmp_path)
    assert find_source(Path("tiny")).model == Path("tiny")  # a folder of one's own comes first


def test_the_weights_can_be_halved(tmp_path, stopped):
    export_model(stopped[0], tmp_path / "thinker", dtype="bfloat16")
    assert AutoModelForImageTextToText.from_pretrained(tmp_path / "thinker").dtype == torch.bfloat16


def test_the_card_names_recipe_journal_and_evaluation(tmp_path, taught, capsys):
    recipe = rl_recipe(taught, steps=1, lora=LORA)
    train_rl(recipe, tmp_path / "run")
    evaluate(
        load_engine(str(tmp_path / "run/model")),
        [make_sample(0, number, problem_type="multiple choice", data_type="image") for number in range(3)],
        output=tmp_path / "scores",
        sampling=SamplingParams(max_new_tokens=16),
    )
    arguments = [
        "export",
        str(tmp_path / "run"),
        "--output",
        str(tmp_path / "my-thinker"),
        "--results",
        str(tmp_path / "scores"),
    ]
    assert dispatch(arguments) == 0
    assert capsys.readouterr().out.strip() == str(tmp_path / "my-thinker")
    card = (tmp_path / "my-thinker/README.md").read_text()
    for expected in (
        "# my-thinker",
        "Reinforcement learning (EMA-GRPO), 1 steps",
        "adapters are merged",
        "| reward, multiple choice | ",
        '"group_size": 4',
        "## Evaluation: scores",
        "| multiple choice | 3 | ",
    ):
        assert expected in card
    assert "base_model" not in card, "a folder of this machine is no model of the hub"


def test_a_card_names_the_model_of_the_hub_that_was_trained():
    rows = (
        {"step": 1, "stage": "sft", "loss": 2.0, "seconds": 3600.0},
        {"step": 2, "stage": "sft", "loss": 1.0, "seconds": 3600.0},
    )
    card = model_card(
        "thinker", Training("run", rows, {"model": "Qwen/Qwen3-VL-8B-Instruct"}), [], settings=ModelSettings()
    )
    assert card.startswith("---\nbase_model: Qwen/Qwen3-VL-8B-Instruct\nlibrary_name: transformers\n")
    assert "2 steps in 2.0 hours." in card
    assert "| loss | 1.500 | 1.500 |" in card


@pytest.mark.parametrize("kind", ["nothing", "no checkpoint", "in the way"])
def test_what_cannot_be_exported_is_an_error_that_says_why(tmp_path, kind):
    output = tmp_path / "out"
    if kind == "no checkpoint":
        (tmp_path / "recipe.json").write_text("{}")
    if kind == "in the way":
        output.mkdir()
    said = {
        "nothing": "expected the folder of a run",
        "no checkpoint": "has not saved a checkpoint yet",
        "in the way": "exists already",
    }[kind]
    with pytest.raises((CheckpointError, ConfigError), match=said):
        export_model(tmp_path, output)
