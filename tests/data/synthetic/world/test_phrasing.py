"""Questions are worded in many ways, and in no words that the vocabulary does not know."""

import string

import numpy as np
import pytest

from onethinker.data.synthetic import make_sample
from onethinker.data.synthetic.world.phrasing import WORDINGS, say
from onethinker.data.synthetic.world.vocabulary import split_words, words_of_world


@pytest.mark.parametrize("kind", WORDINGS)
def test_every_kind_of_question_has_12_wordings_or_more_that_differ_in_words(kind):
    assert len({" ".join(split_words(text)) for text in WORDINGS[kind]}) >= 12


@pytest.mark.parametrize("kind", WORDINGS)
def test_wordings_are_plain_lower_case_questions_or_requests(kind):
    for text in WORDINGS[kind]:
        assert text == text.lower()
        assert text[-1] in "?."
        assert "  " not in text


def test_a_question_may_be_asked_or_ordered():
    rng = np.random.default_rng(0)
    asked = {say(rng, "locate", thing="cat") for _ in range(600)}
    assert {"Where is the cat?", "find me the cat"} <= asked


def test_every_wording_is_used():
    rng = np.random.default_rng(0)
    asked = {say(rng, "count", things="cats").lower().rstrip("?.") for _ in range(800)}
    bare = [text for text in WORDINGS["count"] if "{picture}" not in text]
    assert {text.format(things="cats").rstrip("?.") for text in bare} <= asked


def test_the_vocabulary_holds_every_word_of_the_world():
    known = {*words_of_world(), "think", "answer"}
    for index in range(1500):
        sample = make_sample(2, index, world="things")
        text = " ".join((sample.problem, sample.response or "", *sample.options))
        assert {word for word in split_words(text) if len(word) > 1} <= known, text  # letters alone are spelled
        assert set(text) <= set(string.printable)


def test_questions_and_answers_are_short():
    for index in range(300):
        sample = make_sample(3, index, world="things")
        assert len(sample.problem) < 110
        assert len(sample.response or "") < 420
