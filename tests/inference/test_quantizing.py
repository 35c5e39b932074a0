"""Weights in fewer bits, by torchao where it is installed."""

import importlib.util

import pytest
import torch

from onethinker.core.errors import ConfigError
from onethinker.core.request import SamplingParams
from onethinker.data.synthetic import make_sample
from onethinker.evaluation.results import evaluation_settings
from onethinker.inference.encode import build_request
from onethinker.inference.loading import load_engine
from onethinker.inference.quantizing import quantize

needs_torchao = pytest.mark.skipif(
    importlib.util.find_spec("torchao") is None, reason="needs torchao: pip install 'onethinker[quantize]'"
)


def stored_bytes(model):
    """What the weights take, those of torchao by their parts."""
    total = 0
    for weight in model.parameters():
        names = weight.__tensor_flatten__()[0] if hasattr(weight, "__tensor_flatten__") else ()
        total += sum(getattr(weight, name).nbytes for name in names) if names else weight.nbytes
    return total


@needs_torchao
@pytest.mark.parametrize(("kind", "least"), [("int8", 0.9), ("int4", 0.6)])
def test_quantized_weights_are_smaller_and_answer_almost_the_same(kind, least):
    params = SamplingParams(max_new_tokens=24, temperature=0.0, logprobs=True)
    with load_engine("tiny") as whole, load_engine("tiny", quantization=kind) as small:
        requests = [
            build_request(make_sample(11, i, world="things"), whole.prompt_template, whole.budget) for i in (0, 2)
        ]
        expected, found = whole.complete(requests, params), small.complete(requests, params)
        same = [
            a == b
            for one, two in zip(expected, found, strict=True)
            for a, b in zip(one.token_ids, two.token_ids, strict=False)
        ]
        assert sum(same) / len(same) >= least
        assert stored_bytes(small.model) < {"int8": 0.4, "int4": 0.25}[kind] * stored_bytes(whole.model)
        assert small.model.lm_head.weight.dtype == small.model.dtype
        assert any(one.logprobs != two.logprobs for one, two in zip(expected, found, strict=True))
        assert evaluation_settings(small, params) == {**evaluation_settings(whole, params), "quantization": kind}


@needs_torchao
def test_a_model_whose_weights_are_experts_is_refused():
    class Model(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.embed, self.gate = torch.nn.Embedding(4, 32), torch.nn.Linear(32, 32)
            self.experts = torch.nn.Parameter(torch.zeros(8, 32, 64))

        def get_input_embeddings(self):
            return self.embed

    with pytest.raises(ConfigError, match="experts, would not be quantized"):
        quantize(Model(), "int8", device="cpu")


@pytest.mark.parametrize("model", ["scripted", "http://127.0.0.1:9/v1"])
def test_only_weights_that_are_here_are_quantized(model):
    with pytest.raises(ConfigError, match=r"--quantize: .* has no weights here"):
        load_engine(model, quantization="int8")


@pytest.mark.skipif(importlib.util.find_spec("torchao") is not None, reason="torchao is installed")
def test_without_torchao_the_line_to_type_is_said_before_anything_is_loaded():
    with pytest.raises(ConfigError, match=r"pip install 'onethinker\[quantize\]'"):
        load_engine("tiny", quantization="int4")
