"""What VLMEvalKit's and Open WebUI's own code sends, in our words; docs/server.md says which versions were tried."""

import json

import httpx
import pytest

from onethinker.serving.guards import Access
from tests.serving.served import data_url, mp4, png, scripted, serving

KEY = "a-key-of-many-characters"


@pytest.fixture(scope="module")
def locked(tmp_path_factory):
    with serving(scripted(), tmp_path_factory.mktemp("uploads"), access=Access(key=KEY)) as found:
        yield found


def post(served, body, key=KEY, **headers) -> httpx.Response:
    """Ask as these programs do: JSON as bytes, and no Origin."""
    told = {"Content-Type": "application/json", "Authorization": f"Bearer {key}", **headers}
    with served.client() as client:
        return client.post("/v1/chat/completions", content=json.dumps(body), headers=told)


def chunks(reply: httpx.Response) -> list[dict]:
    """Return the events of a stream, which ends as OpenAI's do."""
    *lines, last = [line for line in reply.text.splitlines() if line.startswith("data:")]
    assert last == "data: [DONE]"
    return [json.loads(line.removeprefix("data:")) for line in lines]


def said(events: list[dict], name: str = "content") -> str:
    return "".join(choice["delta"].get(name) or "" for event in events for choice in event["choices"])


def text(words: str) -> dict:
    return {"type": "text", "text": words}


def picture(side: int = 64, **more) -> dict:
    return {"type": "image_url", "image_url": {"url": data_url(png(side), "image/jpeg"), **more}}


def user(*parts) -> dict:
    return {"role": "user", "content": list(parts)}


BENCHMARK = {
    "a picture": ([picture(detail="low"), text("Where is the red square?")], "boxes"),
    "pictures between words": (
        [picture(detail="high"), text("How many are in the first and"), picture(96, detail="high"), text("here?")],
        "12",
    ),
    "options in the words": ([picture(detail="low"), text("Question: Which?\nOptions:\nA. red\nB. blue\n")], "B"),
}


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("case", BENCHMARK)
def test_vlmevalkit_gets_the_answer_alone_as_content(locked, case, stream):
    parts, words = BENCHMARK[case]
    messages = [{"role": "system", "content": "Be brief."}, user(*parts)]
    body = {"model": "scripted", "messages": messages, "temperature": 0, "max_tokens": 2048}
    reply = post(locked, body | {"stream": True} if stream else body)
    assert reply.status_code == 200, reply.text
    content = said(chunks(reply)) if stream else reply.json()["choices"][0]["message"]["content"]
    assert words in content
    assert "<" not in content


def test_vlmevalkit_sends_clips_as_files(locked, tmp_path):
    clip = {"type": "video_url", "video_url": {"url": data_url(mp4(tmp_path), "video/mp4")}}
    body = {"model": "scripted", "messages": [user(clip, text("When does it move?"))], "n": 1, "temperature": 0.0}
    reply = post(locked, body).json()
    assert reply["choices"][0]["message"]["content"] == '{"time": [12.3, 25.7]}'
    assert reply["onethinker"]["media"][0]["kind"] == "video"


@pytest.mark.parametrize("key", ["None", "another-key-of-many-characters"])
def test_both_are_told_that_their_key_is_wrong(locked, key):
    reply = post(locked, {"model": "scripted", "messages": [user(picture(), text("How many?"))]}, key=key)
    assert (reply.status_code, "key" in reply.json()["error"]["message"]) == (401, True)


FORWARDED = {
    "X-OpenWebUI-User-Name": "Jo%20Doe",
    "X-OpenWebUI-User-Id": "1",
    "X-OpenWebUI-Chat-Id": "c1",
    "Cookie": "session=1",
    "User-Agent": "Python/3.11 aiohttp/3.14.5",
}
PARAMETERS = {
    "frequency_penalty": 0.1,
    "presence_penalty": 0.0,
    "stop": ["###"],
    "logit_bias": {"50": -100},
    "reasoning_effort": "medium",
    "user": "jo",
    "num_ctx": 2048,
    "tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}],
    "tool_choice": "auto",
}
"""Fields that it passes on where a user has set them; a model of ours has no use for them."""


def test_open_webui_lists_the_models(locked):
    with locked.client(headers={"Authorization": f"Bearer {KEY}", **FORWARDED}) as client:
        listed = client.get("/v1/models").json()
    assert [(each["id"], each["object"]) for each in listed["data"]] == [("scripted", "model")]


def test_open_webui_streams_thinking_answer_and_usage_of_a_talk(locked):
    first = user(text("Where is the red square?"), picture())
    talk = [{"role": "system", "content": "You are helpful."}, first]
    asked = {"model": "scripted", "stream": True, "stream_options": {"include_usage": True}, **PARAMETERS}
    events = chunks(post(locked, {**asked, "messages": talk}, **FORWARDED))
    assert said(events, "reasoning_content") == "This answer is scripted."
    assert "boxes" in said(events)
    assert events[-1]["usage"]["total_tokens"] > 0
    answered = {"role": "assistant", "content": said(events), "reasoning_content": "This answer is scripted."}
    later = [*talk, answered, {"role": "user", "content": "How many are there?"}]
    assert said(chunks(post(locked, {**asked, "messages": later}, **FORWARDED))) == "12"


def test_open_webui_is_told_in_words_that_a_title_needs_a_picture(locked):
    chat = "Write a title.\n<chat_history>\nUSER: Where is the cat?\n</chat_history>"
    body = {"model": "scripted", "stream": False, "max_tokens": 1000, "messages": [{"role": "user", "content": chat}]}
    reply = post(locked, body, **FORWARDED)
    assert (reply.status_code, "picture" in reply.json()["error"]["message"]) == (422, True)
    body["stream"] = True
    [_, failed] = [json.loads(line[5:]) for line in post(locked, body).text.splitlines() if line.startswith("data:")]
    assert "picture" in failed["error"]["message"]
