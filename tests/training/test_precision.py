"""What the CPU computes with by default: float32 (and float64), because most processors emulate 16-bit numbers, many
times slower.
"""

from collections import Counter

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from onethinker.core.request import SamplingParams
from onethinker.data.synthetic import make_sample
from onethinker.inference.encode import build_request
from onethinker.inference.loading import load_engine
from onethinker.rl.loop import train_rl
from onethinker.segmenters.loading import load_sam
from onethinker.training.config import RlRecipe, SftRecipe
from onethinker.training.sft import train_sft
from tests.segmenters.tiny_sam2 import save_tiny_sam2

HALVES = (torch.bfloat16, torch.float16)


class Halves(TorchDispatchMode):
    """Counts every operation that reads or makes a number of 16 bits, forward, backward and in the optimizer."""

    def __init__(self) -> None:
        super().__init__()
        self.found: Counter[str] = Counter()
        self.seen = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        self.seen += 1
        if any(isinstance(leaf, torch.Tensor) and leaf.dtype in HALVES for leaf in tree_leaves((args, kwargs, out))):
            self.found[str(func)] += 1
        return out


@pytest.mark.parametrize("kind", ["adamw", "muon"])
def test_a_step_of_sft_has_no_number_of_16_bits(tmp_path, kind):
    recipe = SftRecipe(steps=2, batch_size=4, max_row_tokens=1024, optimizer={"kind": kind})
    with Halves() as halves:
        train_sft(recipe, tmp_path / "run")
    assert halves.found == {}
    assert halves.seen > 1000


def test_mixed_precision_multiplies_in_16_bits_and_attends_over_packed_rows_in_float32(tmp_path):
    """On the CPU, where the backward pass of attention in bfloat16 is the slower one. The vision tower, which is no
    packed row, has none here.
    """
    recipe = SftRecipe(steps=2, batch_size=4, max_row_tokens=1024, dtype="mixed", frozen=("vision",))
    with Halves() as halves:
        train_sft(recipe, tmp_path / "run")
    assert halves.found["aten.mm.default"] > 10
    assert not [name for name in halves.found if "attention" in name and "backward" in name]


def test_a_step_of_the_quickstarts_recipes_has_none(tmp_path):
    for name in ("tiny_sight", "tiny_sft"):
        with Halves() as halves:
            train_sft(SftRecipe.load(name, ["steps=1", "batch_size=2", "model=untrained"]), tmp_path / name)
        assert halves.found == {}


@pytest.mark.parametrize("lora", [None, {"rank": 2}], ids=["weights", "adapters"])
def test_a_step_of_rl_with_a_reference_has_none(taught, tmp_path, lora):
    recipe = RlRecipe(
        model=taught.model,
        steps=1,
        max_row_tokens=1024,
        data={"files": [taught.questions]},
        rollout={"generation_batch_size": 2, "max_new_tokens": 8, "min_accuracy": -1.0, "max_accuracy": 2.0},
        grading={"workers": 0},
        lora=lora,
    )
    with Halves() as halves:
        train_rl(recipe, tmp_path / "run")
    assert halves.found == {}
    assert halves.seen > 1000


@pytest.mark.parametrize("stored", ["float32", "bfloat16"])
@pytest.mark.parametrize("temperature", [0.0, 1.0], ids=["greedy", "drawn"])
def test_asking_has_none_in_whatever_the_weights_are_stored(tmp_path, stored, temperature):
    tiny = load_engine("untrained")
    tiny.model.to(getattr(torch, stored)).save_pretrained(tmp_path / "model")
    tiny.processor.save_pretrained(tmp_path / "model")
    engine = load_engine(str(tmp_path / "model"))
    samples = [make_sample(0, 0, data_type=data_type) for data_type in ("image", "video")]
    requests = [build_request(sample, engine.prompt_template, engine.budget) for sample in samples]
    with Halves() as halves:  # what it counts is this thread's, so that the batch is answered here
        engine.complete_batch(requests, SamplingParams(8, temperature))
    assert halves.found == {}
    assert halves.seen > 100


def test_sam2_is_loaded_in_float32_in_whatever_its_weights_are_stored(tmp_path):
    save_tiny_sam2(tmp_path)
    load_sam(str(tmp_path)).model.to(torch.bfloat16).save_pretrained(tmp_path)
    assert {parameter.dtype for parameter in load_sam(str(tmp_path)).model.parameters()} == {torch.float32}


def test_what_is_counted_would_be_found():
    weight = torch.ones(2, 2, requires_grad=True)
    with Halves() as halves:
        (weight.bfloat16() @ weight.bfloat16()).sum().backward()
    assert any("mm" in name for name in halves.found)
