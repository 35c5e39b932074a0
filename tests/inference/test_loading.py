"""From a name to an engine and back into a folder."""

import json

import pytest
import torch
from huggingface_hub import constants
from PIL import Image

from onethinker import Thinker
from onethinker.core.errors import EngineError
from onethinker.core.request import Request, SamplingParams
from onethinker.families.folder import SETTINGS_FILE, save_model
from onethinker.families.tiny import TINY_BUDGET, TINY_TEMPLATE
from onethinker.inference.loading import load_engine, load_local
from onethinker.inference.scripted import ScriptedEngine
from onethinker.media.budget import MediaBudget
from onethinker.tasks.template import PromptTemplate
from tests.inference.clips import picture
from tests.models import save_tiny


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("models") / "tiny"
    save_tiny(path, seed=4)
    return path


def test_a_saved_model_answers_as_before_with_its_own_wording_and_budget(folder):
    built, loaded = load_local("untrained", seed=4), load_engine(str(folder))
    requests = [Request("Where is it?", (picture(),))]
    assert [r.text for r in loaded.complete(requests, SamplingParams(8))] == [
        r.text for r in built.complete(requests, SamplingParams(8))
    ]
    assert (loaded.prompt_template, loaded.budget, loaded.name) == (TINY_TEMPLATE, TINY_BUDGET, str(folder))


def test_a_given_wording_and_budget_replace_those_of_the_folder(folder):
    prompt_template, budget = PromptTemplate(system="Be brief."), MediaBudget(fps=1)
    engine = load_engine(str(folder), prompt_template=prompt_template, budget=budget)
    assert (engine.prompt_template, engine.budget) == (prompt_template, budget)


def test_a_folder_without_settings_gets_the_defaults(folder, tmp_path):
    engine = load_local(str(folder))
    engine.model.save_pretrained(tmp_path)
    engine.processor.save_pretrained(tmp_path)
    plain = load_local(str(tmp_path))
    assert (plain.prompt_template, plain.budget) == (PromptTemplate(), MediaBudget())


def test_the_precision_can_be_chosen(folder):
    assert load_local(str(folder), dtype="bfloat16", device="cpu").model.dtype == torch.bfloat16


def test_saving_replaces_a_folder_as_a_whole(folder, tmp_path):
    engine, target = load_local(str(folder)), tmp_path / "model"
    target.mkdir()
    (target / "stale.txt").write_text("of another model")
    save_model(target, engine.model, engine.processor, settings=engine.settings)
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
    assert not (target / "stale.txt").exists()
    assert json.loads((target / SETTINGS_FILE).read_text())["budget"]["max_frames"] == TINY_BUDGET.max_frames


@pytest.mark.parametrize("name", ["./nowhere", "runs/quick/model", "/nowhere", "a b", "llama"])
def test_a_missing_folder_is_an_error_that_says_what_a_model_can_be(name: str):
    with pytest.raises(EngineError, match="no such folder, and not a hub id"):
        load_engine(name)


def test_a_hub_that_cannot_be_reached_is_an_error_at_once(monkeypatch):
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(EngineError, match=r"hub at http://127\.0\.0\.1:9 cannot be reached"):
        load_engine("nobody/nothing")


def test_an_empty_folder_is_an_error_that_says_so(tmp_path):
    with pytest.raises(EngineError, match=r"there is no config\.json"):
        load_engine(str(tmp_path))


def test_a_model_without_eyes_is_an_error(folder, tmp_path):
    from transformers import LlamaConfig, LlamaForCausalLM

    load_local(str(folder)).processor.save_pretrained(tmp_path)
    small = LlamaConfig(num_hidden_layers=1, hidden_size=8, intermediate_size=8, num_attention_heads=1, vocab_size=16)
    LlamaForCausalLM(small).save_pretrained(tmp_path)
    with pytest.raises(EngineError, match="does not contain a model that answers questions about pictures in text"):
        load_engine(str(tmp_path))


def test_damaged_weights_are_an_error_that_names_the_folder(folder, tmp_path):
    engine = load_local(str(folder))
    save_model(tmp_path / "cut", engine.model, engine.processor, settings=engine.settings)
    weights = tmp_path / "cut" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:10_000])
    with pytest.raises(EngineError, match="cut: the model in this folder cannot be read"):
        load_engine(str(tmp_path / "cut"))


@pytest.mark.parametrize(
    "text", ["{", "[]", '{"budget": {"fps": -1}}', '{"colour": "red"}'], ids=["cut", "list", "range", "unknown"]
)
def test_wrong_settings_are_an_error_that_names_the_file(folder, tmp_path, text: str):
    (tmp_path / SETTINGS_FILE).write_text(text)
    with pytest.raises(EngineError, match=f"{SETTINGS_FILE}: expected"):
        load_engine(str(tmp_path))


def test_a_scripted_engine_says_its_texts_in_turn_and_cuts_them():
    engine = ScriptedEngine(["one two three", "four"])
    replies = engine.complete([Request("a")] * 3, SamplingParams(max_new_tokens=2))
    assert [reply.text for reply in replies] == ["one two", "four", "one two"]
    assert [reply.finish_reason for reply in replies] == ["length", "stop", "length"]


def test_a_scripted_engine_without_texts_is_an_error():
    with pytest.raises(EngineError, match="at least one answer"):
        ScriptedEngine([])


def test_a_folder_says_that_its_model_writes_pixels_and_a_flag_says_otherwise(tmp_path):
    save_tiny(tmp_path / "model")
    path = tmp_path / "model" / "onethinker.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "coordinates": "pixels"}))
    with load_engine(str(tmp_path / "model")) as engine:
        assert engine.coordinates == "pixels"
        assert Thinker(engine, reading="strict").counts_in == "pixels"
    with load_engine("untrained", settings=tmp_path / "model") as engine:
        assert engine.coordinates == "pixels"


@pytest.mark.parametrize(("flag", "sides"), [(None, (100, 200, 300, 800)), ("thousandths", (64, 96, 192, 384))])
def test_places_are_read_as_the_folder_says_where_nobody_says_otherwise(flag, sides):
    text = '<think>x</think><answer>{"boxes": [64, 96, 192, 384]}</answer>'
    engine = ScriptedEngine([text], coordinates="pixels")
    picture = Image.new("RGB", (640, 480))
    assert tuple(Thinker(engine, coordinates=flag).ask(picture, "Where is the cat?").answer) == sides
