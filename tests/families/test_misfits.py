"""A model folder whose parts are of several models: one line that says which part, and what to do."""

import json
import shutil
from pathlib import Path

import pytest
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file

from onethinker.commands.dry_run import print_plan
from onethinker.core.errors import EngineError, OneThinkerError
from onethinker.families.tiny import TINY_BUDGET, Shape, build_tiny
from onethinker.inference.loading import load_local
from onethinker.training.config import SftRecipe
from tests.models import save_tiny


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "whole"
    save_tiny(folder)
    return folder


def change(path: Path, **values) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def leave_a_layer_out(folder: Path) -> None:
    path = folder / "model.safetensors"
    kept = {name: tensor for name, tensor in load_file(path).items() if ".layers.1." not in name}
    save_file(kept, path, metadata={"format": "pt"})


def say_another_class(folder: Path) -> None:
    text = json.loads((folder / "config.json").read_text())["text_config"]
    change(
        folder / "config.json",
        model_type="qwen3_vl_moe",
        text_config={**text, "model_type": "qwen3_vl_moe_text", "num_experts": 2, "moe_intermediate_size": 8},
    )


def forget_the_chat_template(folder: Path) -> None:
    (folder / "chat_template.jinja").unlink()


def cut_other_patches(folder: Path) -> None:
    path = folder / "processor_config.json"
    own = json.loads(path.read_text())
    change(path, image_processor={**own["image_processor"], "patch_size": 14})


def another_class_of_processor(folder: Path) -> None:
    change(folder / "processor_config.json", processor_class="Qwen2_5_VLProcessor")
    change(folder / "tokenizer_config.json", processor_class="Qwen2_5_VLProcessor")


def media_by_other_tokens(folder: Path) -> None:
    change(folder / "config.json", image_token_id=7)


def break_the_chat_template(folder: Path) -> None:
    (folder / "chat_template.jinja").write_text("{% for message in %}")


def say_nothing_of(*names: str):
    def forget(folder: Path) -> None:
        config = json.loads((folder / "config.json").read_text())
        kept = {name: value for name, value in config.items() if name not in names}
        (folder / "config.json").write_text(json.dumps(kept))

    return forget


def write_a_list(folder: Path) -> None:
    (folder / "config.json").write_text("[]")


def write_no_number(folder: Path) -> None:
    text = json.loads((folder / "config.json").read_text())["text_config"]
    change(folder / "config.json", text_config={**text, "hidden_size": "wide"})


def divide_by_no_heads(folder: Path) -> None:
    text = json.loads((folder / "config.json").read_text())["text_config"]
    change(folder / "config.json", text_config={**text, "num_attention_heads": 0})


def lose_the_processor(folder: Path) -> None:
    (folder / "processor_config.json").unlink()


MISFITS = {
    "weights without a layer": (leave_a_layer_out, "the weights do not match its config.json"),
    "a config of another class": (say_another_class, "a Qwen3VLMoeForConditionalGeneration"),
    "no chat template": (forget_the_chat_template, "no chat template.* copy chat_template.jinja"),
    "a broken chat template": (break_the_chat_template, "chat template cannot write a question.* copy chat_template.j"),
    "no kind of model": (say_nothing_of("model_type"), 'config.json: it has no "model_type"'),
    "no language model": (say_nothing_of("text_config"), 'it has no "text_config", which a model of type qwen3_vl'),
    "no vision tower": (say_nothing_of("vision_config"), 'it has no "vision_config"'),
    "a config that is a list": (write_a_list, 'config.json: it has no "model_type"'),
    "words for a width": (write_no_number, "cannot be read; copy .*hidden_size.* expected int"),
    "no heads": (divide_by_no_heads, "cannot be read; copy or train it again"),
    "no processor": (lose_the_processor, "cannot be read; copy or train it again: .*processor"),
    "patches of another side": (cut_other_patches, "of another side than the model's 32 pixels"),
    "a processor of another family": (another_class_of_processor, "is Qwen2_5_VLProcessor, not Qwen3VLProcessor"),
    "other tokens for media": (media_by_other_tokens, "writes .* for media, the model reads"),
}


@pytest.mark.parametrize("name", MISFITS)
def test_a_folder_of_parts_that_do_not_fit_is_refused_and_the_part_is_named(whole, tmp_path, name):
    spoil, said = MISFITS[name]
    shutil.copytree(whole, tmp_path / "model")
    spoil(tmp_path / "model")
    with pytest.raises(EngineError, match=said) as refused:
        load_local(str(tmp_path / "model"))
    assert str(tmp_path / "model") in str(refused.value)
    assert "\n" not in str(refused.value)


NOT_SEEN_BY_A_PLAN = {
    "weights without a layer",
    "a config of another class",
    "a processor of another family",
    "patches of another side",
    "other tokens for media",
}
"""Weights, config and processor meet only where a model is loaded."""


@pytest.mark.parametrize("name", sorted(MISFITS.keys() - NOT_SEEN_BY_A_PLAN))
def test_a_dry_run_refuses_such_a_folder_too(whole, tmp_path, name):
    shutil.copytree(whole, tmp_path / "model")
    MISFITS[name][0](tmp_path / "model")
    recipe = SftRecipe(model=str(tmp_path / "model"), steps=1)
    with pytest.raises(OneThinkerError) as refused:
        print_plan(recipe, processes=1, config=None, accelerate_config=None)
    assert str(tmp_path / "model") in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(("layers", "width"), [(6, 128), (3, 128), (4, 192)], ids=["deeper", "flatter", "wider"])
def test_adapters_of_another_base_are_refused(whole, tmp_path, layers, width):
    shape = Shape(
        width=width, layers=layers, heads=2, vision_width=128, vision_layers=3, tokens=1024, budget=TINY_BUDGET
    )
    adapted = get_peft_model(build_tiny(0, shape)[0], LoraConfig(r=2, target_modules=["q_proj"]))
    adapted.save_pretrained(tmp_path / "adapters")
    change(tmp_path / "adapters" / "adapter_config.json", base_model_name_or_path=str(whole))
    with pytest.raises(
        EngineError, match=r"do not fit their base model, a Qwen3VLFor.* set base_model_name_or_path"
    ) as refused:
        load_local(str(tmp_path / "adapters"))
    assert "\n" not in str(refused.value)
