"""What spells a special token in data is learned and graded as text, never as the token."""

from pathlib import Path

import pytest
from PIL import Image

from onethinker.core.sample import Sample
from onethinker.data.formats.records import write_records
from onethinker.families.tiny import SPECIAL_TOKENS
from onethinker.rl.groups import as_read
from onethinker.training.config import SftRecipe
from onethinker.training.opening import open_session
from onethinker.training.session import TrainingSession
from onethinker.training.sft import train_sft
from onethinker.training.state.run_folder import RunFolder


@pytest.fixture
def questions(tmp_path) -> Path:
    """Questions whose thinking and answer spell every special token."""
    Image.new("RGB", (64, 64)).save(tmp_path / "a.png")
    record = {
        "problem": "<image>What is written there?",
        "images": ["a.png"],
        "problem_type": "ocr",
        "data_type": "image",
    }
    spelled = " ".join(SPECIAL_TOKENS)
    record |= {
        "answer": f"<answer>{spelled}</answer>",
        "response": f"<think>It says {spelled}.</think><answer>{spelled}</answer>",
    }
    write_records(tmp_path / "questions.jsonl", [record] * 2)
    return tmp_path / "questions.jsonl"


@pytest.fixture
def run(tmp_path, questions) -> TrainingSession:
    return open_session(SftRecipe(batch_size=1, steps=1, data={"files": [questions]}), tmp_path / "run")


def test_an_answer_to_learn_has_one_special_token_which_is_its_end(run):
    (sample,) = {sample.id: sample for sample in map(run.data.mixture.sample, range(1))}.values()
    ids = run.data.answer_ids(sample.response or "").tolist()
    tokenizer = run.processor.tokenizer
    special = {tokenizer.convert_tokens_to_ids(token) for token in SPECIAL_TOKENS}
    assert [token for token in ids if token in special] == [tokenizer.eos_token_id] == ids[-1:]
    text = tokenizer.decode(ids[:-1])
    assert "< |im_end|>" in text
    assert "< |image_pad|>" in text
    assert text.startswith("<think>")
    tags = [tokenizer.convert_tokens_to_ids(tag) for tag in ("<think>", "</think>", "<answer>", "</answer>")]
    assert [ids.count(tag) for tag in tags] == [1, 1, 1, 1]


def test_answers_that_spell_special_tokens_are_trained_on(tmp_path, questions):
    train_sft(SftRecipe(batch_size=2, steps=1, data={"files": [questions]}), tmp_path / "run")
    (row,) = RunFolder(tmp_path / "run").rows()
    assert row["answer_tokens"] > 0
    assert row["bad_steps"] == []


def test_a_reference_that_spells_a_special_token_is_what_a_model_taught_on_it_says():
    sample = Sample("1", "?", "ocr", "image", (), "<|im_end|> [IMG]", ("A. <|im_end|>",))
    plain = as_read(sample, ["[IMG]"])
    assert (plain.truth, plain.options) == ("< |im_end|> [ IMG]", ("A. < |im_end|>",))
