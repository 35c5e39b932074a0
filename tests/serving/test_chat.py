"""The contract with OpenAI's own client."""

import httpx
import openai
import pytest

from tests.serving.served import Patient, data_url, mp4, png, serving


@pytest.fixture(scope="module")
def official(served):
    with openai.OpenAI(base_url=f"{served.address}/v1", api_key="unused", max_retries=0) as client:
        yield client


def message(text: str, *urls: str, kind: str = "image_url") -> dict:
    return {
        "role": "user",
        "content": [*({"type": kind, kind: {"url": url}} for url in urls), {"type": "text", "text": text}],
    }


def test_the_one_model_is_listed_and_found(official):
    assert [model.id for model in official.models.list()] == ["scripted"]
    assert official.models.retrieve("scripted").owned_by == "onethinker"


def test_a_completion_has_content_reasoning_usage_and_the_parsed_answer(official):
    made = official.chat.completions.create(
        model="scripted", messages=[message("Where is the red square?", data_url(png()))]
    )
    [choice] = made.choices
    assert choice.finish_reason == "stop"
    assert choice.message.content == '{"boxes": [112, 240, 398, 771]}' or "boxes" in choice.message.content
    assert "<answer>" not in choice.message.content
    assert choice.message.reasoning_content == "This answer is scripted."
    assert made.usage.total_tokens == made.usage.prompt_tokens + made.usage.completion_tokens
    assert made.onethinker["task"] == "spatial grounding"
    assert len(made.onethinker["boxes"][0]["box"]) == 4


def test_a_video_part_is_a_video(official, tmp_path):
    made = official.chat.completions.create(
        model="scripted",
        messages=[message("When does it move?", data_url(mp4(tmp_path), "video/mp4"), kind="video_url")],
    )
    assert made.onethinker["media"][0]["kind"] == "video"
    assert made.onethinker["span"] is not None


def test_a_stream_adds_up_to_the_completion_and_ends_with_usage_and_the_answer(tmp_path):
    engine = Patient()
    engine.may.set()
    with (
        serving(engine, tmp_path / "uploads") as served,
        openai.OpenAI(base_url=f"{served.address}/v1", api_key="x", max_retries=0) as official,
    ):
        asked = {"model": "patient", "messages": [message("How many?", data_url(png()))]}
        chunks = list(official.chat.completions.create(**asked, stream=True, stream_options={"include_usage": True}))
        whole = official.chat.completions.create(**asked)
        metrics = httpx.get(f"{served.address}/metrics", trust_env=False).text
    deltas = [choice.delta for chunk in chunks for choice in chunk.choices]
    assert deltas[0].role == "assistant"
    said = "".join(delta.content or "" for delta in deltas)
    thought = "".join(getattr(delta, "reasoning_content", None) or "" for delta in deltas)
    assert (said, thought) == (whole.choices[0].message.content, whole.choices[0].message.reasoning_content)
    assert (said, thought) == ("2", "Two balls.")
    assert chunks[-1].usage == whole.usage
    assert chunks[-2].choices[0].finish_reason == "stop"
    assert chunks[-2].onethinker["answer"] == 2.0
    assert 'onethinker_tokens_total{kind="answer"} 6.0' in metrics


def test_our_fields_travel_beside_openais(official, tmp_path):
    made = official.chat.completions.create(
        model="scripted",
        messages=[message("Follow it.", data_url(mp4(tmp_path), "video/mp4"), kind="video_url")],
        extra_body={"task": "tracking", "box": [100, 100, 300, 300]},
    )
    assert made.onethinker["task"] == "tracking"
    assert "[100,100,300,300]" in made.onethinker["question"]


def test_a_prompt_with_its_own_instructions_is_sent_as_it_is_and_keeps_its_tags(served, official):
    own = "How many? Answer inside <answer>…</answer>."
    made = official.chat.completions.create(model="scripted", messages=[message(own, data_url(png()))])
    assert made.choices[0].message.content == "<answer>A</answer>"
    assert made.onethinker["question"] == own


def test_a_system_message_and_earlier_turns_are_told(official):
    made = official.chat.completions.create(
        model="scripted",
        messages=[
            {"role": "system", "content": "Be brief."},
            message("Where is the cat?", data_url(png())),
            {"role": "assistant", "content": "On the left."},
            {"role": "user", "content": "How many balls are there?"},
        ],
        max_completion_tokens=50,
        temperature=0.5,
        top_p=0.9,
        seed=3,
        user="somebody",
    )
    assert made.onethinker["task"] == "numerical"


MISTAKES = {
    "another model": ({"model": "gpt-5"}, openai.NotFoundError, "scripted"),
    "no messages": ({"messages": []}, openai.BadRequestError, "messages"),
    "the assistant last": ({"messages": [{"role": "assistant", "content": "a"}]}, openai.BadRequestError, "last one"),
    "no medium": ({"messages": [{"role": "user", "content": "a"}]}, openai.UnprocessableEntityError, "picture"),
    "too many tokens": ({"max_tokens": 8193}, openai.BadRequestError, "8192"),
    "two answers": ({"n": 2}, openai.BadRequestError, "n:"),
    "a hot temperature": ({"temperature": 2.1}, openai.BadRequestError, "temperature"),
    "audio": (
        {"messages": [{"role": "user", "content": [{"type": "input_audio"}, {"type": "text", "text": "a"}]}]},
        openai.BadRequestError,
        "image_url",
    ),
    "an address": ({"messages": [message("a", "http://example.com/a.png")]}, openai.UnprocessableEntityError, "remote"),
    "no base64": ({"messages": [message("a", "data:image/png;base64,*")]}, openai.UnprocessableEntityError, "base64"),
}


@pytest.mark.parametrize("case", MISTAKES)
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_mistakes_are_the_clients_own_exceptions(official, case, stream):
    changed, kind, words = MISTAKES[case]
    asked = {"model": "scripted", "messages": [message("How many?", data_url(png()))], **changed}
    if case == "no medium" and stream:
        pytest.skip("it shows once the stream has begun")
    with pytest.raises(kind, match=words):
        official.chat.completions.create(**asked, stream=stream)
