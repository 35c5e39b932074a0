"""Models that the tests of several rooms share, as fixtures; tests/conftest.py makes them known."""

from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from PIL import Image

from onethinker.core.request import Request
from onethinker.data.formats.records import write_records
from onethinker.data.synthetic import make_sample
from onethinker.families.folder import ModelSettings, save_model
from onethinker.families.tiny import TINY_BUDGET, TINY_TEMPLATE, build_tiny
from onethinker.inference.encode import build_request, encode_requests
from onethinker.training.config import SftRecipe
from onethinker.training.packing.attention import use_packed_attention
from onethinker.training.packing.row import Prompt, split_prompts
from onethinker.training.sft import train_sft


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def tiny():
    """An untrained tiny model whose random weights are large enough that every token matters, and its processor."""
    model, processor = build_tiny(seed=3)
    use_packed_attention(model)
    return model, processor


def save_tiny(folder: Path, seed: int = 0) -> None:
    """Write an untrained tiny model as an ordinary Hugging Face folder, with the prompt template and budget that it
    wants.
    """
    model, processor = build_tiny(seed)
    save_model(folder, model, processor, settings=ModelSettings(prompt_template=TINY_TEMPLATE, budget=TINY_BUDGET))


def some_requests() -> list[Request]:
    """Two pictures and two clips with questions of different length."""
    kinds = [
        ("spatial grounding", "image"),
        ("tracking", "video"),
        ("multiple choice", "image"),
        ("temporal grounding", "video"),
    ]
    samples = [
        make_sample(5, index, problem_type=problem, data_type=data) for index, (problem, data) in enumerate(kinds)
    ]
    return [build_request(sample, TINY_TEMPLATE, TINY_BUDGET) for sample in samples]


@pytest.fixture(scope="session")
def prompts(tiny) -> list[Prompt]:
    model, processor = tiny
    requests = some_requests()
    return split_prompts(encode_requests(processor, requests), requests, model)


@dataclass(frozen=True)
class Taught:
    """A tiny model that answers A or B by chance, in the right form, and the questions that it answers so: RL has
    something to learn.
    """

    model: str
    questions: Path


@pytest.fixture(scope="session")
def taught(tmp_path_factory) -> Taught:
    folder = tmp_path_factory.mktemp("taught")
    Image.new("RGB", (64, 64), (200, 30, 30)).save(folder / "red.png")
    write_records(
        folder / "questions.jsonl",
        [
            {
                "problem": "<image>Which one?",
                "answer": "<answer>A</answer>",
                "options": ["A. one", "B. two"],
                "images": ["red.png"],
                "problem_type": "multiple choice",
                "data_type": "image",
                "response": f"<think>I see.</think><answer>{'AB'[index % 2]}</answer>",
            }
            for index in range(8)
        ],
    )
    recipe = SftRecipe(
        steps=25,
        batch_size=8,
        max_row_tokens=512,
        data={"files": [folder / "questions.jsonl"]},
        optimizer={"learning_rate": 3e-3},
    )
    return Taught(str(train_sft(recipe, folder / "run")), folder / "questions.jsonl")
