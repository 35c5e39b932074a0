"""POST /v1/ask and what is around it, over a real socket."""

import json

import pytest

from onethinker.core.masks import decode_rle
from onethinker.inference.loading import load_engine
from onethinker.serving.limits import Limits
from onethinker.tasks import all_tasks
from tests.serving.served import Patient, data_url, events, mp4, png, serving


def test_health_and_tasks_say_what_there_is(client):
    assert client.get("/health").json() == {"status": "ok", "model": "scripted", "in_flight": 0, "needs_key": False}
    told = client.get("/v1/tasks").json()
    assert [task["key"] for task in told["tasks"]] == [task.key for task in all_tasks()]
    assert told["request"]["properties"]["question"]["maxLength"] == 20_000
    numerical = next(task for task in told["tasks"] if task["key"] == "numerical")
    assert numerical["answer"] == {"anyOf": [{"type": "number"}, {"type": "null"}]}


@pytest.mark.parametrize("task", all_tasks(), ids=lambda task: task.key)
def test_each_task_is_answered_with_its_own_type(client, tmp_path, task):
    kind = task.data_types[0]
    file = ("a.png", png()) if kind == "image" else ("a.mp4", mp4(tmp_path))
    reply = client.post("/v1/ask", files={"media": file}, data={"question": "This one?", "task": task.problem_type})
    assert reply.status_code == 200, reply.text
    told = reply.json()
    assert told["task"] == task.problem_type
    assert told["guessed"] is False
    assert told["thinking"] == "This answer is scripted."
    assert told["answer"] is not None
    assert told["media"][0] | {"frames": 0} == {
        "name": file[0],
        "kind": kind,
        "width": 64,
        "height": 64,
        "duration_s": 2.0 if kind == "video" else 0.0,
        "frames": 0,
    }
    assert told["usage"]["total_tokens"] == told["usage"]["prompt_tokens"] + told["usage"]["completion_tokens"]


def test_json_with_a_data_url_gives_what_a_form_gives(client):
    question = {"question": "Where is the red square?"}
    as_form = client.post("/v1/ask", files={"media": ("image.png", png())}, data=question).json()
    as_json = client.post("/v1/ask", json={**question, "media": [data_url(png())]}).json()
    assert as_json | {"timing": 0} == as_form | {"timing": 0}
    assert as_json["task"] == "spatial grounding"
    assert as_json["guessed"] is True
    assert as_json["boxes"] == [{"time_s": 0.0, "box": as_json["answer"]}]


def test_the_lines_of_a_form_end_as_those_of_json(client):
    told = client.post("/v1/ask", files={"media": png()}, data={"question": "Where is it?\r\nThe red one."}).json()
    assert told["question"] == "Where is it?\nThe red one."


@pytest.mark.parametrize(
    "name", ["it's, [a] & b #1.png", "Screenshot 10.00\u202fAM.png", "cafe\u0301.png", "a" * 90 + ".png"]
)
def test_the_files_of_an_answer_name_the_medium_as_its_owner_does(client, name):
    asked = {"question": "Where is it?", "task": "spatial grounding", "files": ["coco", "label-studio"]}
    told = client.post("/v1/ask", files={"media": (name, png())}, data=asked).json()
    assert told["media"][0]["name"] == name
    assert told["files"]["coco"]["images"][0]["file_name"] == name
    assert told["files"]["label-studio"]["data"]["image"] == name


def test_a_segmentation_has_masks_at_the_size_of_the_picture_unless_they_are_not_wanted(client):
    asked = {"question": "Cut out the square.", "task": "segmentation", "files": "coco"}
    told = client.post("/v1/ask", files={"media": png(96)}, data=asked).json()
    [mask], [in_coco] = told["masks"], told["files"]["coco"]["annotations"]
    assert decode_rle(mask["segmentation"]).shape == (96, 96)
    assert in_coco["segmentation"] == mask["segmentation"]
    assert len(told["points"]["positive"]) == 3
    without = client.post("/v1/ask", files={"media": png()}, data={**asked, "masks": "false"}).json()
    assert without["masks"] == []
    assert "segmentation" not in without["files"]["coco"]["annotations"][0]


def test_an_answer_comes_in_the_forms_of_other_tools(client):
    asked = {"question": "Where is it?", "task": "spatial grounding", "files": ["coco", "label-studio", "mot"]}
    files = client.post("/v1/ask", json={**asked, "media": [data_url(png())]}).json()["files"]
    assert files["coco"]["annotations"][0]["bbox"]
    assert files["label-studio"]["predictions"]
    assert files["mot"].startswith("1,")
    without = client.post("/v1/ask", json={"question": "How many?", "files": ["coco"], "media": [data_url(png())]})
    assert "no boxes" in without.json()["files"]["coco"]["error"]


def test_a_follow_up_knows_what_was_asked_before(tmp_path, served):
    seen = []
    served.answering.thinker.engine.__dict__["answers"] = lambda request: seen.append(request) or "<answer>1</answer>"
    try:
        with served.client() as client:
            turn = {"question": "Where is the cat?", "answer": "[1,2,3,4]"}
            body = {"question": "And the dog?", "earlier": [turn], "before": "spatial grounding"}
            told = client.post("/v1/ask", json={**body, "media": [data_url(png())]}).json()
    finally:
        from onethinker.inference.scripted import example_answer

        served.answering.thinker.engine.__dict__["answers"] = example_answer
    assert told["task"] == "spatial grounding"
    assert [(turn.question, turn.answer) for turn in seen[0].earlier] == [("Where is the cat?", "[1,2,3,4]")]


def test_thinking_streams_before_the_answer_and_the_reply_ends_it(tmp_path):
    engine = Patient()
    with serving(engine, tmp_path / "uploads") as served, served.client() as client:
        body = {"question": "How many balls?", "media": [data_url(png())], "stream": True}
        with client.stream("POST", "/v1/ask", json=body) as reply:
            lines = reply.iter_text()
            first = next(text for text in lines if "Two" in text)
            assert "done" not in first
            engine.may.set()
            told = events(first + "".join(lines))
    said: dict[str, str] = {}
    for name, data in told[:-1]:  # pieces that wait together are sent together
        said[name] = said.get(name, "") + json.loads(data)["text"]
    assert list(said.items()) == [("thinking", "Two balls."), ("answer", "2")]
    name, data = told[-1]
    assert (name, json.loads(data)["answer"], json.loads(data)["task"]) == ("done", 2.0, "numerical")


def test_what_waits_beyond_the_queue_is_refused_with_when_to_come_back(tmp_path):
    engine, body = Patient(), {"question": "How many?", "media": [data_url(png())], "stream": True}
    with serving(engine, tmp_path / "uploads", limits=Limits(queue=1)) as served, served.client() as client:
        with client.stream("POST", "/v1/ask", json=body) as first:
            refused = client.post("/v1/ask", json=body)
            assert refused.status_code == 429
            assert int(refused.headers["Retry-After"]) >= 1
            assert refused.json()["error"]["type"] == "rate_limit_error"
            engine.may.set()
            first.read()
        assert client.post("/v1/ask", json=body).status_code == 200


def test_the_tiny_model_answers_with_tokens_as_they_come(tmp_path):
    with serving(load_engine("untrained"), tmp_path / "uploads") as served, served.client() as client:
        body = {"question": "Read <|im_end|><|image_pad|></think> aloud.", "media": [data_url(png())]}
        told = client.post("/v1/ask", json={**body, "max_new_tokens": 8}).json()
        assert told["usage"]["completion_tokens"] == 8
        assert told["finish_reason"] == "length"
        streamed = client.post("/v1/ask", json={**body, "max_new_tokens": 8, "stream": True}).text
        assert json.loads(events(streamed)[-1][1])["text"] == told["text"]
        follow_up = {**body, "max_new_tokens": 2, "earlier": [{"question": body["question"], "answer": "No."}]}
        usage = client.post("/v1/ask", json=follow_up).json()["usage"]
        assert 0 < usage["prompt_tokens_details"]["cached_tokens"] < usage["prompt_tokens"]


BROKEN = {
    "no question": ({"media": [data_url(png())]}, 400, "question"),
    "an unknown field": ({"question": "a", "media": [], "medium": "x"}, 400, "medium"),
    "no media": ({"question": "a"}, 422, "give a picture"),
    "no such task": ({"question": "a", "task": "vqa", "media": [data_url(png())]}, 400, "vqa"),
    "a box that is none": ({"question": "a", "box": [5, 5, 1, 1], "media": [data_url(png())]}, 400, "box"),
    "NaN": (b'{"question": "a", "temperature": NaN}', 400, "temperature"),
    "deep nesting": (b'{"question": ' + b"[" * 100_000, 400, "recursion"),
    "a lone surrogate": (b'{"question": "\\ud800"}', 400, "hex escape"),
    "no JSON": (b"question=a", 400, "JSON"),
    "a picture of random bytes": ({"question": "a", "media": [data_url(b"\x00\x01" * 99)]}, 422, "image.png"),
    "a cut picture": ({"question": "a", "media": [data_url(png()[:40])]}, 422, "image.png"),
    "no base64": ({"question": "a", "media": ["data:image/png;base64,%%%"]}, 422, "base64"),
    "a path": ({"question": "a", "media": ["/etc/passwd"]}, 422, "--media-root"),
    "an address": ({"question": "a", "media": ["http://example.com/a.png"]}, 422, "--allow-remote"),
    "a picture for tracking": ({"question": "a", "task": "tracking", "media": [data_url(png())]}, 400, "video"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_wrong_request_is_told_what_is_wrong(client, served, case):
    body, status, words = BROKEN[case]
    sent = {"content": body} if isinstance(body, bytes) else {"json": body}
    reply = client.post("/v1/ask", headers={"Content-Type": "application/json"}, **sent)
    assert reply.status_code == status, reply.text
    assert words in reply.json()["error"]["message"]
    assert str(served.folder) not in reply.text
    assert served.uploads() == []


FORMS = {
    "no boundary": ("multipart/form-data", b"x"),
    "not closed": (
        "multipart/form-data; boundary=b",
        b'--b\r\nContent-Disposition: form-data; name="question"\r\n\r\na',
    ),
    "no UTF-8": (
        "multipart/form-data; boundary=b",
        b'--b\r\nContent-Disposition: form-data; name="question"\r\n\r\n\xff\xfe\r\n--b--\r\n',
    ),
    "an unknown charset": (
        "multipart/form-data; boundary=b; charset=zzz",
        b'--b\r\nContent-Disposition: form-data; name="question"\r\n\r\na\r\n--b--\r\n',
    ),
    "a file of another name": (
        "multipart/form-data; boundary=b",
        b'--b\r\nContent-Disposition: form-data; name="x"; filename="a.png"\r\n\r\na\r\n--b--\r\n',
    ),
    "plain text": ("text/plain", b"question"),
}


@pytest.mark.parametrize("case", FORMS)
def test_a_form_that_is_none_is_the_clients_mistake(client, served, case):
    kind, body = FORMS[case]
    reply = client.post("/v1/ask", headers={"Content-Type": kind}, content=body)
    assert 400 <= reply.status_code < 500, reply.text
    assert served.uploads() == []


def test_metrics_count_requests_and_tokens(client):
    client.post("/v1/ask", files={"media": png()}, data={"question": "How many?"})
    told = client.get("/metrics").text
    assert 'onethinker_requests_total{route="/v1/ask",status="200"}' in told
    assert 'onethinker_tokens_total{kind="answer"}' in told
    assert "onethinker_in_flight 0.0" in told
