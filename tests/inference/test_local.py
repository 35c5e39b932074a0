"""The engine that runs in this process, on the tiny model."""

from dataclasses import replace

import pytest
import torch
from transformers import GenerationConfig

from onethinker.core.request import Request, SamplingParams
from onethinker.inference.loading import load_local
from onethinker.inference.local import LocalEngine
from onethinker.inference.streaming import TextPieces
from tests.inference.clips import picture, video

REQUESTS = [
    Request("Where is the circle?", (picture(),)),
    Request("How many?"),
    Request("When?", (video((0.0, 0.5, 1.0)),), "Be brief."),
    Request("Compare.", (picture(seed=1), video((2.0,)))),
]


@pytest.fixture(scope="module")
def engine() -> LocalEngine:
    return load_local("untrained", seed=3)


def texts(engine: LocalEngine, requests: list[Request], sampling: SamplingParams) -> list[str]:
    return [reply.text for reply in engine.complete(requests, sampling)]


def test_greedy_answers_are_those_of_plain_generate(engine):
    from onethinker.inference.encode import encode_requests

    request = REQUESTS[0]
    batch = encode_requests(engine.processor, [request])
    ids = engine.model.generate(**batch, generation_config=GenerationConfig(max_new_tokens=12, do_sample=False))[
        0, batch["input_ids"].shape[1] :
    ]
    assert texts(engine, [request], SamplingParams(max_new_tokens=12)) == [
        engine.processor.tokenizer.decode(ids, skip_special_tokens=True)
    ]


@pytest.mark.parametrize(
    "sampling", [SamplingParams(12), SamplingParams(12, temperature=1.0, top_p=0.9, seed=5)], ids=["greedy", "drawn"]
)
def test_an_answer_does_not_hang_on_what_shares_the_batch(engine, sampling: SamplingParams):
    together = texts(engine, REQUESTS, sampling)
    assert together == texts(replace(engine, max_in_flight=1), REQUESTS, sampling)
    assert together == texts(replace(engine, max_in_flight=3), REQUESTS, sampling)


def test_equal_requests_are_drawn_with_their_own_seeds_and_repeatably(engine):
    sampling = SamplingParams(12, temperature=1.0, seed=1)
    drawn = texts(engine, [REQUESTS[0]] * 4, sampling)
    assert len(set(drawn)) == 4
    assert drawn == texts(engine, [REQUESTS[0]] * 4, sampling)
    assert drawn[1:] == texts(engine, [REQUESTS[0]] * 3, replace(sampling, seed=2))


def test_drawing_leaves_the_random_state_of_torch_alone(engine):
    before = torch.random.get_rng_state()
    engine.complete(REQUESTS[:1], SamplingParams(4, temperature=1.0))
    assert torch.equal(before, torch.random.get_rng_state())


def test_drawn_tokens_follow_the_models_probabilities(engine):
    from onethinker.inference.encode import encode_requests

    batch = encode_requests(engine.processor, REQUESTS[1:2])
    with torch.no_grad():
        logits = engine.model(**batch).logits[0, -1]
    logits[[engine.processor.image_token_id, engine.processor.video_token_id]] = -torch.inf
    expected = torch.softmax(logits / 0.2, -1)
    likeliest = engine.processor.tokenizer.decode([int(expected.argmax())])
    drawn = texts(replace(engine, max_in_flight=500), [REQUESTS[1]] * 500, SamplingParams(1, temperature=0.2))
    # 500 draws: three standard deviations of a share are at most 0.07.
    assert drawn.count(likeliest) / 500 == pytest.approx(float(expected.max()), abs=0.07)


def test_the_token_that_ends_an_answer_is_counted_and_not_shown(engine):
    tokenizer = engine.processor.tokenizer
    first = tokenizer.convert_tokens_to_ids(tokenizer.tokenize(texts(engine, REQUESTS[1:2], SamplingParams(1))[0])[0])
    ended = load_local("untrained", seed=3)
    ended.model.generation_config.eos_token_id = [first, tokenizer.eos_token_id]
    reply = ended.complete(REQUESTS[1:2], SamplingParams(8))[0]
    assert (reply.finish_reason, reply.completion_tokens) == ("stop", 1)
    cut = engine.complete(REQUESTS[1:2], SamplingParams(8))[0]
    assert (cut.finish_reason, cut.completion_tokens) == ("length", 8)


def test_prompt_tokens_do_not_count_the_padding(engine):
    counted = [reply.prompt_tokens for reply in engine.complete(REQUESTS, SamplingParams(1))]
    assert counted == [engine.complete([request], SamplingParams(1))[0].prompt_tokens for request in REQUESTS]


def test_a_penalty_that_comes_with_the_weights_does_not_change_answers(engine):
    penalised = load_local("untrained", seed=3)
    penalised.model.generation_config.repetition_penalty = 5.0
    assert texts(penalised, REQUESTS, SamplingParams(12)) == texts(engine, REQUESTS, SamplingParams(12))


def test_no_request_gives_no_reply(engine):
    assert engine.complete([], SamplingParams()) == []


@pytest.mark.parametrize(
    "sampling", [SamplingParams(12), SamplingParams(12, temperature=1.0, seed=5)], ids=["greedy", "drawn"]
)
def test_pieces_of_a_streamed_answer_add_up_to_what_is_answered_without_streaming(engine, sampling: SamplingParams):
    pieces = list(engine.stream(REQUESTS[0], sampling))
    assert len(pieces) > 3
    assert ["".join(pieces)] == texts(engine, [REQUESTS[0]], sampling)


def test_each_listener_of_a_batch_hears_its_own_answer(engine):
    heard: list[list[str]] = [[] for _ in REQUESTS]
    requests = [replace(request, on_text=own.append) for request, own in zip(REQUESTS, heard, strict=True)]
    assert texts(engine, requests, SamplingParams(12)) == ["".join(own) for own in heard]


def test_a_character_of_several_tokens_comes_whole_and_what_ends_an_answer_does_not_come():
    got: list[str] = []
    pieces = TextPieces(lambda ids: bytes(ids).decode(errors="replace"), got.append, frozenset([0]), "<think>")
    for token in "né禁".encode() + bytes([0, 65]):
        pieces.add(token)
    pieces.finish("<think>né禁")
    assert got == ["<think>n", "é", "禁"]


def test_an_answer_without_any_token_still_comes_with_what_the_template_wrote_of_it():
    got: list[str] = []
    pieces = TextPieces(lambda ids: bytes(ids).decode(), got.append, frozenset([0]), "<think>")
    pieces.add(0)
    pieces.finish("<think>")
    assert got == ["<think>"]
