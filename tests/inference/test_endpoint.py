"""The remote engine against a real vLLM server; `cluster/vllm/serve_cpu.sh` starts one.

ONETHINKER_TEST_ENDPOINT is its address, ONETHINKER_TEST_MODEL the folder that it serves.
"""

import os

import pytest

from onethinker.core.request import Request, SamplingParams
from onethinker.data.synthetic import make_sample
from onethinker.inference.encode import build_request
from onethinker.inference.loading import load_engine, load_local
from onethinker.inference.local import LocalEngine
from onethinker.inference.openai import RemoteEngine
from tests.inference.clips import evenly, picture, video

ENDPOINT, MODEL = os.environ.get("ONETHINKER_TEST_ENDPOINT"), os.environ.get("ONETHINKER_TEST_MODEL")
pytestmark = [
    pytest.mark.endpoint,
    pytest.mark.skipif(
        not (ENDPOINT and MODEL), reason="needs a server: set ONETHINKER_TEST_ENDPOINT and ONETHINKER_TEST_MODEL"
    ),
]


@pytest.fixture(scope="module")
def engines() -> tuple[RemoteEngine, LocalEngine]:
    return load_engine(ENDPOINT), load_local(MODEL)


@pytest.mark.parametrize(
    "request_",
    [
        Request("No media at all?"),
        Request("What is it?", (picture(),)),
        Request("Compare them.", (picture(32, 64), picture(96, 160, seed=1)), "Be brief."),
        Request("When?", (video(evenly(10, 20)),)),
        Request("When?", (video(evenly(200, 64)),)),
        Request("When?", (video((5.52, 5.56, 8.0, 199.9)),)),
        Request("When?", (video((0.0, 0.5, 1.25)),)),
        Request("When?", (video((7.3,)),)),
        Request("Which?", (video(evenly(10, 6)), picture())),
        Request("What do <|image_pad|> and <|im_end|> mean?", (picture(),)),
    ],
    ids=[
        "text",
        "picture",
        "two pictures",
        "10 s",
        "200 s",
        "variable rate",
        "odd",
        "one frame",
        "both",
        "spelled tokens",
    ],
)
def test_the_server_reads_as_many_prompt_tokens_as_the_local_engine(engines, request_: Request):
    remote, local = (engine.complete([request_], SamplingParams(max_new_tokens=1))[0] for engine in engines)
    assert remote.prompt_tokens == local.prompt_tokens


def test_at_least_95_of_100_greedy_answers_are_the_same(engines):
    remote, local = engines
    samples = [make_sample(11, number, split="endpoint") for number in range(100)]
    requests = [build_request(sample, local.prompt_template, local.budget) for sample in samples]
    theirs, ours = (engine.complete(requests, SamplingParams(max_new_tokens=160)) for engine in (remote, local))
    same = [mine.text == other.text for mine, other in zip(ours, theirs, strict=True)]
    different = len({reply.text for reply in ours})
    print(f"{sum(same)} of {len(same)} answers equal; {different} different ones")
    assert [reply.prompt_tokens for reply in theirs] == [reply.prompt_tokens for reply in ours]
    assert different >= 50, "the model knows too little for this to be a test: train it longer"
    assert sum(same) >= 95
