"""What other programs take from the server: drawn answers, suggestions for Label Studio, a second model."""

import io
import time

import numpy as np
import pytest
from PIL import Image

from onethinker.core.errors import EngineError
from onethinker.data.annotations import label_studio_config
from onethinker.inference.scripted import example_answer
from onethinker.media.writing import write_video
from onethinker.serving.label_studio import fitted
from tests.serving.served import data_url, mp4, png, scripted, serving

BOX = '{"boxes": [250, 250, 500, 500]}'
WHERE = "Where is the red square?"


def test_an_answer_is_drawn_without_asking_a_model(client, served):
    sent = {"task": "spatial grounding", "answer": BOX}
    drawn = client.post("/v1/draw", files={"media": ("a.png", png())}, data=sent)
    assert drawn.headers["Content-Type"] == "image/png"
    pixels = np.asarray(Image.open(io.BytesIO(drawn.content)).convert("RGB"))
    plain = np.asarray(Image.open(io.BytesIO(png())).convert("RGB"))
    assert pixels.shape == plain.shape
    assert (pixels[40:, 40:] == plain[40:, 40:]).all()
    assert (pixels[14:36, 14:36] != plain[14:36, 14:36]).any()
    assert served.uploads() == []


def test_a_track_is_drawn_into_its_clip(client, tmp_path):
    sent = {"task": "tracking", "answer": '{"boxes": {"0": [100, 100, 300, 300], "1": [200, 200, 400, 400]}}'}
    drawn = client.post("/v1/draw", files={"media": ("a.mp4", mp4(tmp_path))}, data=sent)
    assert drawn.headers["Content-Type"] == "video/mp4"
    assert drawn.content[4:8] == b"ftyp"


def test_a_medium_alone_comes_back_in_a_form_that_browsers_show(client):
    buffer = io.BytesIO()
    Image.open(io.BytesIO(png())).save(buffer, "TIFF")
    shown = client.post("/v1/draw", files={"media": ("a.tiff", buffer.getvalue())})
    assert shown.headers["Content-Type"] == "image/png"
    assert Image.open(io.BytesIO(shown.content)).tobytes() == Image.open(io.BytesIO(png())).tobytes()


@pytest.mark.parametrize(
    ("changed", "status", "words"),
    [
        ({"answer": None}, 400, "give both task and answer"),
        ({"answer": "somewhere"}, 400, "answer"),
        ({"task": "vqa"}, 400, "vqa"),
        ({"task": "tracking", "answer": '{"boxes": {"1": [1, 1, 9, 9]}}'}, 400, "video"),
        ({"media": []}, 422, "give the one picture"),
        ({"media": [data_url(png())] * 2}, 422, "got 2 files"),
    ],
    ids=["no answer", "no box", "no such task", "a track in a picture", "no file", "two files"],
)
def test_what_cannot_be_drawn_is_told(client, changed, status, words):
    body = {"task": "spatial grounding", "answer": BOX, "media": [data_url(png())]}
    reply = client.post("/v1/draw", json=body | changed)
    assert reply.status_code == status, reply.text
    assert words in reply.json()["error"]["message"]


def test_label_studio_is_set_up_and_gets_boxes_under_the_names_of_its_interface(client):
    assert client.post("/setup", json={"project": "1.2", "schema": "<View/>"}).json() == {"model_version": "scripted"}
    task = {"id": 7, "data": {"image": data_url(png()), "question": WHERE}}
    boxes = '<RectangleLabels name="cats" toName="pic"><Label value="Cat"/></RectangleLabels>'
    config = f'<View><Image name="pic" value="$image"/>{boxes}</View>'
    told = client.post("/predict", json={"tasks": [task, task], "label_config": config, "project": "1.2"}).json()
    assert told["model_version"] == "scripted"
    assert len(told["results"]) == 2
    [region] = told["results"][0]["result"]
    assert (region["from_name"], region["to_name"], region["type"]) == ("cats", "pic", "rectanglelabels")
    assert region["value"]["rectanglelabels"] == ["Cat"]
    assert 0 <= region["value"]["x"] < region["value"]["x"] + region["value"]["width"] <= 100


@pytest.mark.parametrize(
    ("task", "kinds"),
    [("tracking", {"videorectangle", "textarea"}), ("temporal grounding", {"timelinelabels", "textarea"})],
)
def test_label_studio_gets_tracks_and_spans_of_a_clip_from_its_local_files(tmp_path, task, kinds):
    mp4(tmp_path)
    data = {"video": "/data/local-files/?d=made.mp4", "question": "This one?", "task": task}
    body = {"tasks": [{"data": data}], "label_config": label_studio_config("video")}
    with serving(scripted(), tmp_path / "uploads", root=tmp_path) as served, served.client() as client:
        [result] = client.post("/predict", json=body).json()["results"]
    assert {region["type"] for region in result["result"]} == kinds


def test_a_task_of_label_studio_without_a_question_has_no_suggestion_and_alone_says_why(client):
    right, wrong = {"data": {"image": data_url(png()), "question": WHERE}}, {"data": {"image": data_url(png())}}
    told = client.post("/predict", json={"tasks": [wrong, right]}).json()["results"]
    assert (told[0]["result"], len(told[1]["result"])) == ([], 2)
    alone = client.post("/predict", json={"tasks": [wrong]})
    assert alone.status_code == 400
    assert '"question"' in alone.json()["error"]["message"]
    assert client.post("/predict", json={"tasks": 3}).status_code == 400


def test_a_video_of_one_frame_is_refused_and_not_a_mistake_of_the_server(client, tmp_path):
    write_video(tmp_path / "one.mp4", np.full((1, 64, 64, 3), 90, np.uint8), fps=4)
    video = data_url((tmp_path / "one.mp4").read_bytes(), "video/mp4")
    data = {"video": video, "question": "Follow it.", "task": "tracking", "box": [1, 1, 99, 99]}
    reply = client.post("/predict", json={"tasks": [{"data": data}]})
    assert reply.status_code == 422, reply.text
    assert "one was seen" in reply.json()["error"]["message"]


def test_a_model_that_fails_for_one_task_of_label_studio_is_no_empty_suggestion(tmp_path):
    def answer(request):
        if "fail" in request.text:
            raise EngineError("the engine is gone")
        return example_answer(request)

    tasks = [{"data": {"image": data_url(png()), "question": words}} for words in (WHERE, "Does it fail?")]
    with serving(scripted(answer), tmp_path / "uploads") as served, served.client() as client:
        assert client.post("/predict", json={"tasks": tasks[:1]}).status_code == 200
        assert client.post("/predict", json={"tasks": tasks}).status_code == 502


BOX_REGION = {"type": "rectanglelabels", "value": {"rectanglelabels": ["object"]}}
POINTS = [{"type": "keypointlabels", "value": {"keypointlabels": [kind]}} for kind in ("positive", "negative")]
TRACK = {"type": "videorectangle", "value": {"sequence": [], "labels": ["object"]}}


def labels_of(regions: list[dict], config: str) -> list[str]:
    return [label for each in fitted(regions, config) for label in next(reversed(each["value"].values()))]


@pytest.mark.parametrize(
    ("regions", "config", "labels"),
    [
        (
            [TRACK],
            '<VideoRectangle name="v" toName="p"/><Labels name="l" toName="p"><Label value="Car"/></Labels>',
            ["Car"],
        ),
        (POINTS, '<KeyPointLabels name="k" toName="p"><Label value="Nose"/></KeyPointLabels>', ["Nose"]),
        (
            POINTS,
            '<KeyPointLabels name="k" toName="p"><Label value="negative"/><Label value="Nose"/></KeyPointLabels>',
            ["Nose", "negative"],
        ),
        (
            [BOX_REGION],
            '<RectangleLabels name="r" toName="p"><Label value="Cat &amp; dog &gt; 1"/></RectangleLabels>',
            ["Cat & dog > 1"],
        ),
        (
            [BOX_REGION],
            '<RectangleLabels name="r" toName="p" hint="a > b"><Label value="Cat"/></RectangleLabels>',
            ["Cat"],
        ),
        (
            [BOX_REGION],
            '<!-- <RectangleLabels name="old" toName="p"><Label value="Old"/></RectangleLabels> -->'
            '<RectangleLabels name="r" toName="p"><!--<Label value="Dog"/>--><Label value="Cat"/></RectangleLabels>',
            ["Cat"],
        ),
    ],
    ids=["a track", "points", "a point beside it", "characters that XML escapes", "a sign in quotes", "comments"],
)
def test_a_region_gets_a_label_of_the_interface(regions, config, labels):
    assert labels_of(regions, config) == labels


@pytest.mark.parametrize(
    "text", ["<a " + "a" * 200_000 + ">", "<!--" * 50_000, '<a "' * 50_000, "<a b='" * 33_000, "<a " + "b =" * 66_000]
)
def test_an_interface_that_is_none_is_read_in_no_time(text):
    started_s = time.process_time()
    assert fitted([BOX_REGION], text) == [BOX_REGION]
    assert time.process_time() - started_s < 1


def test_a_second_model_answers_where_it_is_named(tmp_path):
    other = scripted(lambda _: "<think>Elsewhere.</think><answer>7</answer>")
    object.__setattr__(other, "name", "other")
    body = {"question": "How many?", "media": [data_url(png())]}
    with serving(scripted(), tmp_path / "uploads", second=other) as served, served.client() as client:
        assert [each["id"] for each in client.get("/v1/models").json()["data"]] == ["scripted", "other"]
        answers = {
            name: client.post("/v1/ask", json={**body, "model": name}).json()["answer"]
            for name in ("other", "scripted")
        }
        assert answers == {"other": 7.0, "scripted": 12.0}
        assert client.post("/v1/ask", json=body).json()["model"] == "scripted"
        assert client.post("/v1/ask", json={**body, "model": "third"}).status_code == 404
        chat = {
            "model": "other",
            "messages": [
                {
                    "role": "user",
                    "content": [
                        {"type": "image_url", "image_url": {"url": data_url(png())}},
                        {"type": "text", "text": "How many?"},
                    ],
                }
            ],
        }
        assert client.post("/v1/chat/completions", json=chat).json()["model"] == "other"
        assert served.uploads() == []
