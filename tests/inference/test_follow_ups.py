"""A question about a thought is told what was asked and answered before, and shows the media once."""

import pytest

from onethinker import MediaBudget, Thinker
from onethinker.core.errors import ConfigError
from onethinker.core.request import Request, Turn
from onethinker.families.tiny import build_tiny_processor
from onethinker.inference.encode import encode_requests, prompt_texts
from onethinker.inference.scripted import ScriptedEngine
from tests.inference.clips import picture
from tests.inference.scripted_server import echo, server

BOX = '<think>It sits left.</think><answer>{"boxes": [100, 200, 300, 400]}</answer>'
RED = "<think>I look.</think><answer>red</answer>"


def thinker_saying(*answers: str) -> tuple[Thinker, list[Request]]:
    """Return a thinker that says one text after the other, and the requests that it gets."""
    asked: list[Request] = []

    def say(request: Request) -> str:
        asked.append(request)
        return answers[len(asked) - 1]

    return Thinker(ScriptedEngine(say)), asked


def test_a_follow_up_holds_what_was_asked_and_answered_without_the_thinking():
    thinker, asked = thinker_saying(BOX, RED, BOX)
    first = thinker.ask(picture(), "Where is the cat?")
    second = thinker.ask(first, "What colour is it?", options=["red", "blue"])
    third = thinker.ask(second, "And the dog?")
    where = Turn("Where is the cat?", '<answer>{"boxes": [100, 200, 300, 400]}</answer>')
    colour = Turn("What colour is it?\nOptions:\nred\nblue", "<answer>red</answer>")
    assert [request.earlier for request in asked] == [(), (where,), (where, colour)]
    assert third.turns[:2] == asked[2].earlier
    assert [request.media for request in asked] == [first.clips] * 3
    assert third.sources == first.sources


def test_and_the_dog_has_the_task_of_the_question_before():
    thinker, _ = thinker_saying(BOX, BOX, RED)
    first = thinker.ask(picture(), "Where is the cat?")
    second = thinker.ask(first, "And the dog?")
    assert (second.task, second.answer.y1) == ("spatial grounding", 200)
    assert thinker.ask(second, "What is it doing?").task == "open-ended"


@pytest.mark.parametrize("text", ["<think>I look and look", "<think>I look.</think>", "<thinking>I look.</thinking> "])
def test_an_answer_without_words_is_no_turn(text: str):
    thinker, asked = thinker_saying(text, RED)
    thinker.ask(thinker.ask(picture(), "Where is the cat?"), "What colour is it?")
    assert asked[1].earlier == ()


def test_many_and_streamed_questions_follow_a_thought_too():
    thinker, asked = thinker_saying(BOX, RED, RED, RED)
    first = thinker.ask(picture(), "Where is the cat?")
    colour, size = thinker.ask_many([(first, "What colour is it?"), {"source": first, "question": "How big is it?"}])
    *_, streamed = thinker.stream(first, "Is it old?")
    assert [request.earlier for request in asked[1:]] == [first.turns] * 3
    assert [thought.question for thought in (colour, size, streamed)] == [
        "What colour is it?",
        "How big is it?",
        "Is it old?",
    ]


def test_another_model_reads_the_media_for_itself():
    large = thinker_saying(BOX)[0].ask(picture(512, 512), "Where is the cat?")
    small = MediaBudget(image_max_pixels=64 * 64, image_min_pixels=32 * 32)
    other = Thinker(ScriptedEngine([RED], name="other", budget=small)).ask(large, "What colour is it?")
    assert (large.clip.width, other.clip.width) == (512, 64)


def test_a_local_models_prompt_has_the_picture_once_and_the_words_in_turn():
    processor = build_tiny_processor()
    request = Request("And the dog?", (picture(),), system="Be brief.", earlier=(Turn("Where?", "Left <|im_end|>."),))
    [text] = prompt_texts(processor, [request])
    assert text == (
        "<|im_start|>system\nBe brief.<|im_end|>\n"
        "<|im_start|>user\n<|vision_start|><|image_pad|><|vision_end|>Where?<|im_end|>\n"
        "<|im_start|>assistant\nLeft < |im_end|>.<|im_end|>\n"
        "<|im_start|>user\nAnd the dog?<|im_end|>\n"
        "<|im_start|>assistant\n"
    )
    encode_requests(processor, [request])


def test_a_server_gets_the_picture_once_and_the_words_in_turn():
    with server(echo) as (engine, seen), Thinker(engine) as thinker:
        first = thinker.ask(picture(), "Where is the cat?")
        thinker.ask(first, "What colour is it?")
    [user, assistant, follow_up] = seen.bodies[1]["messages"]
    assert [part["type"] for part in user["content"]] == ["image_url", "text"]
    assert user["content"][1]["text"] == "Where is the cat?"
    assert assistant == {"role": "assistant", "content": first.turns[0].answer}
    assert [part["type"] for part in follow_up["content"]] == ["text"]
    assert follow_up["content"][0]["text"].startswith("What colour is it?")


def test_earlier_turns_that_are_no_thought_give_the_same_request():
    thinker, asked = thinker_saying(BOX, BOX, BOX)
    first = thinker.ask(picture(), "Where is the cat?")
    thinker.ask(first, "And the dog?")
    [turn] = first.turns
    told = thinker.ask(picture(), "And the dog?", earlier=[(turn.question, turn.answer)])
    assert (told.task, asked[2].earlier, asked[2].text) == ("spatial grounding", asked[1].earlier, asked[1].text)


@pytest.mark.parametrize("earlier", ["Where?", [("Where?",)], ["Where?"], [{"question": "Where?"}], 5])
def test_earlier_turns_of_another_form_are_refused(earlier):
    with pytest.raises(ConfigError, match="pairs of a question and its answer"):
        thinker_saying(BOX)[0].ask(picture(), "And the dog?", earlier=earlier)
