import pytest
import torch

from onethinker.models.engine import Request
from onethinker.models.prompt import build_request, encode_requests
from onethinker.models.tiny import TINY_BUDGET, TINY_WORDING, build_tiny
from onethinker.synthetic import make_sample
from onethinker.training.packing import Prompt, split_prompts, use_forest_attention


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
    use_forest_attention(model)
    return model, processor


def some_requests() -> list[Request]:
    """Two pictures and two clips with questions of different length."""
    kinds = [("spatial grounding", "image"), ("tracking", "video"), ("multiple choice", "image"), ("temporal grounding", "video")]
    samples = [make_sample(5, number, problem_type=problem, data_type=data) for number, (problem, data) in enumerate(kinds)]
    return [build_request(sample, TINY_WORDING, TINY_BUDGET) for sample in samples]


@pytest.fixture(scope="session")
def prompts(tiny) -> list[Prompt]:
    model, processor = tiny
    requests = some_requests()
    return split_prompts(encode_requests(processor, requests), requests, model)
