"""ZeRO-2 of two processes on this machine against one process with everything: the same weights, moments and journal.

What trains needs DeepSpeed, which no other test needs: pip install 'onethinker[deepspeed]'.
"""

import importlib.util
import subprocess
import sys

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from onethinker.commands.dispatch import dispatch
from onethinker.core.errors import ConfigError
from onethinker.core.request import Request
from onethinker.data.formats.records import write_records
from onethinker.data.synthetic import make_sample
from onethinker.families.tiny import TINY_BUDGET, TINY_TEMPLATE, build_tiny
from onethinker.inference.encode import build_request, encode_requests
from onethinker.rl.loop import train_rl
from onethinker.training.config import SftRecipe
from onethinker.training.packing.attention import use_packed_attention
from onethinker.training.packing.row import PrefixGroup, pack, split_prompts
from onethinker.training.parallel.choice import choose_backend
from onethinker.training.parallel.single import Replicated
from onethinker.training.parallel.zero2 import VisionLast, Zero2
from onethinker.training.scoring import score
from onethinker.training.sft import train_sft
from onethinker.training.state.run_folder import RunFolder
from tests.training.test_adapters import rl_recipe
from tests.training.test_runs import SFT
from tests.training.test_sharding import LORA, train_sharded

INSTALLED = importlib.util.find_spec("deepspeed") is not None
needs_deepspeed = pytest.mark.skipif(not INSTALLED, reason="pip install 'onethinker[deepspeed]'")


def questions(folder):
    """Write six questions, two of them about no picture at all: what one process learns about vision, another may not
    even run.
    """
    Image.new("RGB", (64, 64), (200, 30, 30)).save(folder / "red.png")
    words = {
        "problem": "Which?",
        "answer": "<answer>A</answer>",
        "options": ["A. x", "B. y"],
        "problem_type": "multiple choice",
    }
    words |= {"data_type": "image", "response": "<think>I see.</think><answer>A</answer>"}
    picture = {**words, "problem": "<image>Which?", "images": ["red.png"]}
    write_records(folder / "questions.jsonl", [picture, words, picture, words, picture, picture])
    return folder / "questions.jsonl"


@needs_deepspeed
@pytest.mark.timeout(600)  # the first use of DeepSpeed without a GPU compiles a part of it
@pytest.mark.parametrize(
    "kind", ["sft", *(pytest.param(kind, marks=pytest.mark.long) for kind in ("sft, frozen", "rl", "rl with adapters"))]
)
def test_an_optimizer_sharded_over_two_processes_learns_what_a_whole_one_learns(tmp_path, taught, kind):
    # A row for each question: some have no picture. Rows of 128 tokens: the processes have different numbers of them.
    sft = {**SFT, "steps": 3, "save_every": 1, "max_row_tokens": 64, "data": {"files": [questions(tmp_path)]}}
    recipe = {
        "sft": SftRecipe(**sft),
        "sft, frozen": SftRecipe(**sft, frozen=["merger", "model.visual.blocks.0", "model.language_model.layers.0"]),
        "rl": rl_recipe(taught, steps=2, max_row_tokens=128, optimizer={"learning_rate": 1e-3, "max_grad_norm": 0.01}),
        "rl with adapters": rl_recipe(
            taught, steps=2, lora={**LORA, "parts": ["language", "vision"]}, gradient_checkpointing=True
        ),
    }[kind]
    one, two = tmp_path / "one", tmp_path / "two"
    (train_sft if kind.startswith("sft") else train_rl)(recipe, one)
    for report in train_sharded(recipe, two, "deepspeed_zero2"):
        # Shares are as long as each other, with up to one number more for each group of parameters and process.
        assert 0 <= report["mine"] * 2 - report["sharded"] <= 8
        assert report["resumed_equal"]
        assert report["weights_equal"]
        assert report["moments_equal"]
    expected, found = (load_file(folder / "model/model.safetensors") for folder in (one, two))
    assert expected.keys() == found.keys()
    assert max(float((expected[name] - found[name]).abs().mean()) for name in expected) < 1e-5
    rows = [RunFolder(folder).rows() for folder in (one, two)]
    assert kind == "rl with adapters" or rows[0][0]["grad_norm"] > recipe.optimizer.max_grad_norm, (
        "nothing was scaled down"
    )
    for name in ("loss", "grad_norm", "learning_rate"):
        assert [row[name] for row in rows[0]] == pytest.approx([row[name] for row in rows[1]], rel=1e-3, abs=1e-6)


@pytest.mark.skipif(INSTALLED, reason="DeepSpeed is installed")
def test_without_deepspeed_the_error_says_what_to_install(tmp_path, monkeypatch):
    command = [
        "sft",
        "tiny_sft",
        "--output",
        str(tmp_path / "run"),
        "--processes",
        "2",
        "--accelerate-config",
        "deepspeed_zero2",
    ]
    with pytest.raises(ConfigError, match=r"pip install 'onethinker\[deepspeed\]'"):
        dispatch(command)
    monkeypatch.setenv("ACCELERATE_USE_DEEPSPEED", "true")
    with pytest.raises(ConfigError, match=r"pip install 'onethinker\[deepspeed\]'"):
        choose_backend(SftRecipe())


@needs_deepspeed
@pytest.mark.parametrize(
    ("environment", "recipe", "said"),
    [
        ({}, SftRecipe(optimizer={"kind": "muon"}), "needs unsharded matrices"),
        ({}, SftRecipe(lora={"four_bit": True}), "four_bit"),
        ({}, SftRecipe(dtype="bfloat16"), 'dtype = "mixed"'),
        ({"WORLD_SIZE": "1"}, SftRecipe(), "there is only one"),
        ({"ACCELERATE_DEEPSPEED_ZERO_STAGE": "3"}, SftRecipe(), "zero_stage: 2"),
        ({"ACCELERATE_DEEPSPEED_OFFLOAD_OPTIMIZER_DEVICE": "cpu"}, SftRecipe(), "no offloading"),
    ],
    ids=["muon", "4 bits", "bfloat16", "one process", "stage 3", "offloading"],
)
def test_what_deepspeed_cannot_shard_is_refused_with_what_to_do(monkeypatch, environment, recipe, said):
    for name, value in {"ACCELERATE_USE_DEEPSPEED": "true", "WORLD_SIZE": "2", **environment}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError, match=said):
        choose_backend(recipe)


@needs_deepspeed
def test_what_deepspeed_can_shard_is_chosen_only_when_accelerate_says_so(monkeypatch):
    assert choose_backend(SftRecipe()) is Replicated
    monkeypatch.setenv("ACCELERATE_USE_DEEPSPEED", "true")
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert choose_backend(SftRecipe()) is Zero2
    assert choose_backend(SftRecipe(dtype="bfloat16", lora={"rank": 4})) is Zero2


def test_training_loads_deepspeed_only_when_it_is_asked_for():
    code = "import sys, onethinker.rl.loop, onethinker.training.sft; sys.exit('deepspeed' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_gradients_arrive_in_one_order_whatever_a_row_shows():
    model, processor = build_tiny(seed=3)
    use_packed_attention(model)
    order: list[str] = []
    for name, parameter in model.named_parameters():
        parameter.register_post_accumulate_grad_hook(lambda _, name=name: order.append(name))
    picture, clip = (make_sample(5, 0, problem_type=kind) for kind in ("spatial grounding", "tracking"))
    shown = [build_request(sample, TINY_TEMPLATE, TINY_BUDGET) for sample in (picture, clip)]
    rows = [[Request(text="Which?")], shown[:1], shown[1:], shown, [Request(text="Which?"), *shown]]

    def gradients(called, requests):
        order.clear()
        model.zero_grad()
        prompts = split_prompts(encode_requests(processor, requests), requests, model)
        logps_S, _ = score(called, pack([PrefixGroup(prompt, (torch.tensor([5, 6]),)) for prompt in prompts]))
        logps_S.sum().backward()
        return {name: parameter.grad for name, parameter in model.named_parameters()}

    orders = []
    for requests in rows:
        expected, found = gradients(model, requests), gradients(VisionLast(model), requests)
        orders.append(tuple(order))
        for name, gradient in found.items():
            torch.testing.assert_close(
                gradient, torch.zeros_like(gradient) if expected[name] is None else expected[name]
            )
    assert len(set(orders)) == 1
    assert sorted(orders[0]) == sorted(found)
