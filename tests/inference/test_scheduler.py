"""One thread that answers what anyone submits, and what engines tell of tokens."""

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest
import torch

from onethinker.core.errors import EngineError
from onethinker.core.request import Request, SamplingParams
from onethinker.inference import scheduler
from onethinker.inference.encode import encode_requests
from onethinker.inference.engine import Completion
from onethinker.inference.loading import load_local
from onethinker.inference.scheduler import BatchedEngine


@dataclass(frozen=True)
class EchoEngine(BatchedEngine):
    """Says each request's own text, once it may; refuses "bad"."""

    max_in_flight: int = 2
    name: str = "echo"
    may: threading.Event = field(default_factory=threading.Event)
    began: threading.Event = field(default_factory=threading.Event)
    batches: list[list[str]] = field(default_factory=list)

    def complete_batch(self, requests: Sequence[Request], params: SamplingParams) -> list[Completion]:
        texts = [request.text for request in requests]
        self.batches.append(texts)
        self.began.set()
        self.may.wait()
        if "bad" in texts:
            raise EngineError("bad")
        return [Completion(text, 1, 1, "stop", 0.0) for text in texts]


def test_single_requests_that_wait_share_a_batch_and_groups_are_not_mixed_with_them():
    with EchoEngine() as engine:
        futures = [engine.submit(Request("a"), SamplingParams())]
        engine.began.wait()
        futures += [engine.submit(Request(text), SamplingParams()) for text in "bc"]
        futures += engine.submit_all([Request(text) for text in "def"], SamplingParams())
        futures += [engine.submit(Request("g"), SamplingParams()), engine.submit(Request("h"), SamplingParams(seed=1))]
        engine.may.set()
        assert [future.result().text for future in futures] == list("abcdefgh")
    assert engine.batches == [["a"], ["b", "c"], ["d", "e"], ["f"], ["g"], ["h"]]


def test_a_request_waits_for_as_many_as_shared_the_batch_before(monkeypatch):
    monkeypatch.setattr(scheduler, "GATHER_S", 60.0)
    monkeypatch.setattr(scheduler, "GATHER_PART", 1e9)
    with EchoEngine() as engine:
        first = engine.submit(Request("a"), SamplingParams())
        engine.began.wait()
        shared = [engine.submit(Request(text), SamplingParams()) for text in "bc"]
        engine.may.set()
        assert [future.result().text for future in (first, *shared)] == list("abc")
        again = engine.submit(Request("d"), SamplingParams())
        with pytest.raises(TimeoutError):
            again.result(0.2)
        assert engine.submit(Request("e"), SamplingParams()).result().text == "e"
        monkeypatch.setattr(scheduler, "GATHER_S", 0.0)
        alone = [engine.submit(Request(text), SamplingParams()).result().text for text in "fg"]
    assert (engine.batches, alone) == ([["a"], ["b", "c"], ["d", "e"], ["f"], ["g"]], ["f", "g"])


def test_the_wait_is_short_where_batches_are(monkeypatch):
    monkeypatch.setattr(scheduler, "GATHER_S", 60.0)
    with EchoEngine() as engine:
        engine.may.set()
        engine._queue.last_size = 2
        assert engine.submit(Request("a"), SamplingParams()).result(30).text == "a"


def test_closing_an_engine_ends_that_wait(monkeypatch):
    monkeypatch.setattr(scheduler, "GATHER_S", 60.0)
    with EchoEngine() as engine:
        engine.may.set()
        engine._queue.last_size, engine._queue.last_s = 2, 240.0
        waiting = engine.submit(Request("a"), SamplingParams())
    assert waiting.cancelled()


def test_a_bad_request_fails_alone():
    with EchoEngine() as engine:
        engine.may.set()
        good, bad = engine.submit_all([Request("good"), Request("bad")], SamplingParams())
        assert good.result().text == "good"
        with pytest.raises(EngineError, match="bad"):
            bad.result()


def test_a_closed_engine_takes_nothing_more():
    engine = EchoEngine()
    engine.close()
    with pytest.raises(EngineError, match="closed"):
        engine.submit(Request("a"), SamplingParams())


@pytest.mark.parametrize("temperature", [0.0, 1.0], ids=["greedy", "drawn"])
def test_log_probabilities_are_the_models_own_and_change_no_answer(temperature):
    params = SamplingParams(6, temperature, seed=4, logprobs=True)
    requests = [Request("How many?"), Request("Where is the circle, and what is to the left of it?")]
    with load_local("untrained", seed=3) as engine:
        asked = engine.complete(requests, params)
        plain = engine.complete(requests, SamplingParams(6, temperature, seed=4))
    assert [(each.text, each.token_ids) for each in asked] == [(each.text, each.token_ids) for each in plain]
    assert plain[0].logprobs is None
    prompt = encode_requests(engine.processor, requests[:1])["input_ids"]
    ids = torch.cat([prompt, torch.tensor([asked[0].token_ids])], 1)
    with torch.no_grad():
        logprobs = engine.model(input_ids=ids).logits[0, prompt.shape[1] - 1 : -1].log_softmax(-1)
    expected = logprobs.gather(1, ids[0, prompt.shape[1] :, None])[:, 0].tolist()
    assert asked[0].logprobs == pytest.approx(expected, abs=1e-4)  # padded on the left beside a longer prompt
