"""Many questions at once: order, capacity, and one failure that stays one."""

import threading
from concurrent.futures import Future

import numpy as np
import pytest
from PIL import Image

from onethinker import Clip, Failed, Question, Thinker
from onethinker.core.errors import ConfigError, DataError, EngineError, MediaError
from onethinker.core.request import SamplingParams
from onethinker.inference.engine import Completion, Engine
from onethinker.inference.scheduler import BatchedEngine
from onethinker.inference.scripted import ScriptedEngine
from onethinker.media.budget import MediaBudget
from onethinker.tasks.template import PromptTemplate

PICTURE = np.zeros((40, 60, 3), np.uint8)


def words(request):
    """The engine says back what it was asked, with the seed."""
    return f"<think>.</think><answer>{request.text.split(chr(10))[0].split()[-1]} {request.seed}</answer>"


def echo(**how):
    return Thinker(ScriptedEngine(words, **how))


class Slow(Engine):
    """Answers, last first, once so many requests are waiting or the test says that no more will come."""

    name, prompt_template, budget = "slow", PromptTemplate(), MediaBudget()

    def __init__(self, capacity):
        self.max_in_flight = capacity
        self.waiting = []
        self.most = 0

    def submit(self, request, params):
        self.waiting.append((request, Future()))
        self.most = max(self.most, len(self.waiting))
        future = self.waiting[-1][1]
        if len(self.waiting) == 2 * self.max_in_flight:
            threading.Thread(target=self.answer).start()
        return future

    def answer(self):
        waiting, self.waiting = self.waiting, []
        for request, future in reversed(waiting):
            future.set_result(Completion(words(request), 1, 1, "stop", 0.0))


def test_answers_come_in_the_order_of_the_questions_whatever_is_ready_first():
    slow = Slow(3)
    thoughts = list(Thinker(slow).ask_many([(PICTURE, f"q{number}") for number in range(12)]))
    assert [thought.answer_text for thought in thoughts] == [f"q{number} {number}" for number in range(12)]
    assert slow.most == 6


def test_questions_are_pairs_mappings_and_values():
    asked = [
        (PICTURE, "one"),
        {"source": PICTURE, "question": "two", "task": "numerical"},
        Question([PICTURE, PICTURE], "three", "OCR"),
    ]
    thoughts = list(echo().ask_many(asked, task="math"))
    assert [thought.task for thought in thoughts] == ["math", "numerical", "ocr"]
    assert [len(thought.clips) for thought in thoughts] == [1, 1, 2]


def test_each_failure_is_its_own_questions_problem(tmp_path):
    asked = [
        (PICTURE, "first"),
        (tmp_path / "absent.png", "gone"),
        (PICTURE.astype(int), "wrong type"),
        {"source": PICTURE, "question": "juggle", "task": "juggling"},
        {"source": PICTURE, "question": "typed", "tsak": "math"},
        {"source": PICTURE},
        (PICTURE, 5),
        "a question without a picture",
        Question(PICTURE, "box", "tracking", box=(1, 2)),
        (PICTURE, "last"),
    ]
    outcomes = list(echo(max_in_flight=4).ask_many(asked))
    assert [outcome.answer_text for outcome in (outcomes[0], outcomes[-1])] == ["first 0", "last 9"]
    failed = outcomes[1:-1]
    assert all(isinstance(outcome, Failed) and outcome.answer is None for outcome in failed)
    assert [type(outcome.error) for outcome in failed] == [
        MediaError,
        MediaError,
        DataError,
        ConfigError,
        ConfigError,
        ConfigError,
        ConfigError,
        DataError,
    ]
    assert "absent.png" in failed[0].problems[0]
    assert "tsak" in failed[3].to_dict()["problems"][0]


def test_an_engine_that_fails_once_answers_the_others():
    def say(request):
        if "broken" in request.text:
            raise EngineError("no answer for this one")
        return words(request)

    class Failing(ScriptedEngine):
        def submit(self, request, params):
            try:
                return super().submit(request, params)
            except EngineError as error:
                future = Future()
                future.set_exception(error)
                return future

    first, failed, last = Thinker(Failing(say)).ask_many([(PICTURE, "a"), (PICTURE, "broken"), (PICTURE, "c")])
    assert (first.answer_text, last.answer_text) == ("a 0", "c 2")
    assert str(failed.error) == "no answer for this one"


def test_a_closed_engine_fails_every_question_and_hangs_for_none():
    thinker = Thinker(Batched())
    thinker.close()
    outcomes = list(thinker.ask_many([(PICTURE, "a"), (PICTURE, "b"), (PICTURE, "c")]))
    assert ["closed" in outcome.problems[0] for outcome in outcomes] == [True] * 3


class Batched(BatchedEngine):
    """Notes which questions share a batch."""

    name, prompt_template, budget, max_in_flight = "batched", PromptTemplate(), MediaBudget(), 4

    def complete_batch(self, requests, params):
        seen = self.__dict__.setdefault("seen", [])
        seen.append(len(requests))
        return [Completion(words(request), 1, 1, "stop", 0.0) for request in requests]


def test_an_engine_that_batches_gets_full_batches():
    engine = Batched()
    with Thinker(engine) as thinker:
        thoughts = list(thinker.ask_many((PICTURE, f"q{number}") for number in range(10)))
    assert [thought.answer_text for thought in thoughts] == [f"q{number} {number}" for number in range(10)]
    assert engine.seen == [4, 4, 2]


def test_an_endless_iterator_is_read_no_further_than_needed():
    read = []

    def endless():
        while True:
            read.append(len(read))
            yield PICTURE, f"q{len(read)}"

    answers = echo(max_in_flight=2).ask_many(endless())
    assert [next(answers).answer_text for _ in range(3)] == ["q1 0", "q2 1", "q3 2"]
    assert len(read) <= 3 + 2 * 2
    answers.close()


def test_no_questions_have_no_answers():
    assert list(echo().ask_many([])) == []


def test_equal_questions_are_drawn_with_seeds_of_their_own_and_the_first_as_ask_draws_it():
    thinker = Thinker(ScriptedEngine(words), SamplingParams(temperature=1, seed=7))
    many = list(thinker.ask_many([(PICTURE, "q")] * 3))
    assert [thought.answer_text for thought in many] == ["q 7", "q 8", "q 9"]
    assert thinker.ask(PICTURE, "q").answer_text == "q 7"


def test_the_tiny_model_answers_many_as_it_answers_one(tiny_thinker, tmp_path):
    path = tmp_path / "a.png"
    Image.fromarray(PICTURE).save(path)
    asked = [(path, "How many?"), (PICTURE, "How many balls?"), ([path, PICTURE], "Which is older?")]
    many = list(tiny_thinker.ask_many(asked))
    assert [thought.text for thought in many] == [tiny_thinker.ask(*each).text for each in asked]
    assert many[0].timing.answer_s > 0


@pytest.fixture(scope="module")
def tiny_thinker():
    with Thinker.load("untrained", sampling=SamplingParams(max_new_tokens=8)) as thinker:
        yield thinker


def test_a_question_about_several_is_about_the_first_video():
    video = np.zeros((4, 40, 60, 3), np.uint8)
    thought = echo().ask([PICTURE, video], "Which is older?", fps=2)
    assert [clip.kind for clip in thought.clips] == ["image", "video"]
    assert isinstance(thought.source, Clip)
    assert thought.clip.kind == "video"
    assert thought.to_dict()["media"] == ["picture in memory", "video in memory"]


@pytest.mark.parametrize(
    ("how", "expected"),
    [
        ({"options": "AB"}, "options must be a list"),
        ({"options": 3}, "options must be a list"),
        ({"box": "1 2 3 4"}, "box must be a list"),
        ({"box": ["1", "2", "3", "4"]}, "thousandths"),
        ({"task": 3}, "task must be a text"),
    ],
    ids=str,
)
def test_arguments_of_another_type_are_named(how, expected):
    with pytest.raises(ConfigError, match=expected):
        echo().ask(PICTURE, "q", **how)


def test_a_question_without_words_is_refused_as_on_the_command_line():
    with pytest.raises(ConfigError, match="the question is empty; give one"):
        echo().ask(PICTURE, " ")
