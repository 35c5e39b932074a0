"""A local model reads the media of a conversation once, and says the same as if it read them again."""

from dataclasses import replace

import numpy as np
import pytest

from onethinker import SamplingParams, Thinker
from onethinker.core.frames import Clip
from onethinker.core.request import Turn
from onethinker.inference.loading import load_engine
from tests.inference.clips import picture, video

TOLD = (Turn("What is it?", "A box."),)
FEW = SamplingParams(6, logprobs=True)


@pytest.fixture(scope="module")
def engine():
    with load_engine("untrained") as found:
        yield found


@pytest.fixture
def seen(engine):
    """How often the vision tower has been asked."""
    calls: list[int] = []
    handle = engine.model.model.visual.register_forward_hook(lambda *_: calls.append(1))
    yield calls
    handle.remove()


@pytest.mark.parametrize("medium", [picture(), video((0.0, 0.5, 1.0, 1.5))], ids=["picture", "video"])
def test_a_follow_up_reads_only_what_is_new_and_gets_the_same_answer(engine, seen, medium):
    thinker = Thinker(engine, FEW)
    first = replace(thinker.ask(medium, "What is it?", task="open-ended"), turns=TOLD)
    second = thinker.ask(first, "What colour is it?", task="open-ended")
    assert len(seen) == 1
    assert 0 < second.reply.cached_tokens < second.reply.prompt_tokens
    thinker.ask(picture(64, 64), "What is it?")
    anew = thinker.ask(first, "What colour is it?", task="open-ended")
    assert (len(seen), anew.reply.cached_tokens) == (3, 0)
    assert (second.text, second.reply.prompt_tokens) == (anew.text, anew.reply.prompt_tokens)
    assert second.reply.logprobs == pytest.approx(anew.reply.logprobs, abs=1e-4)  # other shapes round otherwise


def test_other_media_and_questions_that_are_asked_together_are_read_anew(engine, seen):
    thinker = Thinker(engine, FEW)
    thinker.ask(picture(), "What is it?")
    assert thinker.ask(picture(seed=1), "Why?", earlier=TOLD).reply.cached_tokens == 0
    both = thinker.ask_many([{"source": picture(seed=1), "question": "Why?", "earlier": TOLD}] * 2)
    assert [each.reply.cached_tokens for each in both] == [0, 0]
    assert thinker.ask(picture(seed=1), "Why?", earlier=TOLD).reply.cached_tokens == 0
    assert len(seen) == 4
    assert thinker.ask(picture(seed=1), "Why?", earlier=TOLD).reply.cached_tokens > 0


def test_the_same_patches_in_another_shape_are_read_anew(engine):
    grey = {
        shape: Clip("image", np.full((1, *shape, 3), 90, np.uint8), (0.0,), (0,), shape[1], shape[0], 0.0, "grey")
        for shape in ((64, 96), (96, 64))
    }
    thinker = Thinker(engine, FEW)
    thinker.ask(grey[64, 96], "What is it?")
    assert thinker.ask(grey[96, 64], "Why?", earlier=TOLD).reply.cached_tokens == 0
