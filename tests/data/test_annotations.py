"""Answers in the forms of other tools, each read back by the library of its field where that is installed.

pycocotools always is. motmetrics, trackeval and label-studio-sdk are heavy: `pip install` them to run their tests here;
what they read stands in the other tests value by value.
"""

import json
import xml.etree.ElementTree as ET

import numpy as np
import pytest
from pycocotools.coco import COCO

from onethinker import Clip, Thinker
from onethinker.core.errors import AnswerError, MediaError
from onethinker.core.masks import encode_rle
from onethinker.data.annotations import label_studio_config, to_coco
from onethinker.inference.scripted import ScriptedEngine
from onethinker.segmenters.base import ObjectMasks

SHOWN = np.zeros((8, 96, 128, 3), np.uint8)
CLIP = Clip("video", SHOWN, tuple(n / 2 for n in range(8)), tuple(range(0, 120, 15)), 1280, 960, 4.0, "car.mp4")
PICTURE = Clip("image", SHOWN[:1], (0.0,), (0,), 1280, 960, 0.0, "cat.jpg")
BOX = '{"boxes": [100, 200, 300, 400]}'
TRACK = (
    '{"boxes": {"1": [100, 200, 300, 400], "2": [150, 200, 350, 400], "4": [0, 0, 1000, 1000], "9": [0, 0, 10, 10]}}'
)
TUBE = '{"time": [1.2, 2.5], "boxes": {"2": [100, 200, 300, 400]}}'
SPAN = '{"time": [1.0, 2.5]}'
POINTS = '"positive_points": [[110, 210], [120, 220], [130, 230]], "negative_points": [[0, 0], [1, 1], [500, 1000]]'
CASES = {
    "spatial grounding": (PICTURE, BOX),
    "segmentation": (PICTURE, f'{{"boxes": [100, 200, 300, 400], {POINTS}}}'),
    "tracking": (CLIP, TRACK),
    "spatial-temporal grounding": (CLIP, TUBE),
    "temporal grounding": (CLIP, SPAN),
    "segmentation of a video": (CLIP, f'{{"time": 1.5, "boxes": [100, 200, 300, 400], {POINTS}}}'),
    "open-ended": (PICTURE, 'A <cat> & "dog"'),
    "multiple choice": (PICTURE, "B"),
}


def thought(name):
    clip, answer = CASES[name]
    engine = ScriptedEngine([f"<think>.</think><answer>{answer}</answer>"])
    return Thinker(engine).ask(clip, "Where is it?", task=name.removesuffix(" of a video"), options=("A. 1", "B. 2"))


def coco_of(tmp_path, data):
    (tmp_path / "coco.json").write_text(json.dumps(data))
    return COCO(tmp_path / "coco.json")


@pytest.mark.parametrize("name", [name for name in CASES if "segm" in name or "track" in name or "spatial" in name])
def test_pycocotools_reads_the_boxes_in_pixels(name, tmp_path):
    said = thought(name)
    coco = coco_of(tmp_path, said.to_coco("cat"))
    assert [category["name"] for category in coco.loadCats(coco.getCatIds())] == ["cat"]
    found = {}
    for each in coco.loadAnns(coco.getAnnIds()):
        [image] = coco.loadImgs(each["image_id"])
        assert (image["width"], image["height"]) == (1280, 960)
        left, top, width, height = each["bbox"]
        assert each["area"] == pytest.approx(width * height)
        found[image.get("time_s", 0.0)] = (left, top, left + width, top + height)
    within = {time_s: box for time_s, box in said.boxes_px.items() if time_s < 4}
    assert found.keys() == within.keys()
    for time_s, box in within.items():
        assert found[time_s] == pytest.approx(box)


def test_pycocotools_takes_the_annotations_as_results_with_an_overlap_of_one(tmp_path):
    coco = coco_of(tmp_path, thought("spatial grounding").to_coco())
    results = coco.loadRes([{**each, "score": 1.0} for each in coco.dataset["annotations"]])
    from pycocotools.cocoeval import COCOeval

    scores = COCOeval(coco, results, "bbox")
    scores.evaluate()
    scores.accumulate()
    scores.summarize()
    assert scores.stats[0] == pytest.approx(1.0)


def test_the_boxes_of_a_video_name_video_second_and_frame():
    data = thought("tracking").to_coco()
    assert [(image["file_name"], image["frame_index"]) for image in data["images"]] == [
        ("car.mp4#t=0", 0),
        ("car.mp4#t=1", 30),
        ("car.mp4#t=3", 90),
    ]
    assert {each["track_id"] for each in data["annotations"]} == {1}
    assert data["videos"] == [{"id": 1, "name": "car.mp4", "width": 1280, "height": 960}]


def test_points_are_keypoints_of_coco(tmp_path):
    coco = coco_of(tmp_path, thought("segmentation").to_coco())
    [category] = coco.loadCats(coco.getCatIds())
    [found] = coco.loadAnns(coco.getAnnIds())
    assert category["keypoints"][0] == "positive_1"
    assert len(category["keypoints"]) == found["num_keypoints"] == 6
    assert found["keypoints"][:3] == [pytest.approx(140.8), pytest.approx(201.6), 2]


def masks_of(said, shown):
    """Masks of a segmentation's answer: by frame of the source, the columns that they cover."""
    masks = np.zeros((len(shown), 960, 1280), bool)
    for mask, columns in zip(masks, shown.values(), strict=True):
        mask[100:300, columns] = True
    frames = SHOWN[: len(shown)]
    clip = Clip(said.clip.kind, frames, tuple(n / 30 for n in shown), tuple(shown), 1280, 960, 4.0, said.clip.name)
    return ObjectMasks(clip, said.answer, "grabcut", False, tuple(map(encode_rle, masks)))


def test_a_mask_is_the_segmentation_of_the_answered_box(tmp_path):
    said = thought("segmentation")
    coco = coco_of(tmp_path, said.to_coco("cat", masks_of(said, {0: slice(200, 400)})))
    [found] = coco.loadAnns(coco.getAnnIds())
    mask = coco.annToMask(found)
    assert mask.shape == (960, 1280)
    assert mask.sum() == mask[100:300, 200:400].sum() == found["area"] == 200 * 200
    assert found["bbox"] == said.to_coco()["annotations"][0]["bbox"]
    assert found["num_keypoints"] == 6


def test_each_frame_of_a_video_that_has_a_mask_is_an_image_of_one_track(tmp_path):
    said = thought("segmentation of a video")
    shown = {45: slice(200, 400), 60: slice(210, 410), 75: slice(0, 0)}
    coco = coco_of(tmp_path, said.to_coco("cat", masks_of(said, shown)))
    found = [(image["file_name"], image["frame_index"]) for image in coco.loadImgs(coco.getImgIds())]
    assert found == [("car.mp4#t=1.5", 45), ("car.mp4#t=2", 60)]
    answered, followed = coco.loadAnns(coco.getAnnIds())
    assert answered["bbox"] == said.to_coco()["annotations"][0]["bbox"]
    assert followed["bbox"] == [210, 100, 200, 200]
    assert answered["track_id"] == followed["track_id"]
    assert [coco.annToMask(each).sum() for each in (answered, followed)] == [40_000, 40_000]


def test_several_answers_share_one_data_set(tmp_path):
    said = [thought("spatial grounding").annotation("cat"), thought("tracking").annotation("car")]
    coco = coco_of(tmp_path, to_coco([*said, thought("spatial grounding").annotation("cat")]))
    assert len(coco.getImgIds()) == len(coco.getAnnIds()) == 5
    assert [category["name"] for category in coco.loadCats(coco.getCatIds())] == ["cat", "car"]
    assert len(coco.getAnnIds(catIds=coco.getCatIds(["cat"]))) == 2


@pytest.mark.parametrize("name", ["temporal grounding", "open-ended", "multiple choice"])
def test_an_answer_without_boxes_has_no_place_in_coco_and_mot(name):
    assert thought(name).boxes_px == {}
    for write in (thought(name).to_coco, thought(name).to_mot):
        with pytest.raises(AnswerError, match="no boxes"):
            write()


def test_mot_counts_frames_and_pixels_from_one():
    assert thought("tracking").to_mot().splitlines() == [
        "1,1,129.00,193.00,256.00,192.00,1,-1,-1,-1",
        "31,1,193.00,193.00,256.00,192.00,1,-1,-1,-1",
        "91,1,1.00,1.00,1280.00,960.00,1,-1,-1,-1",
    ]


def test_motmetrics_reads_the_boxes_in_pixels(tmp_path):
    motmetrics = pytest.importorskip("motmetrics")
    said = thought("tracking")
    (tmp_path / "car.txt").write_text(said.to_mot())
    read = motmetrics.io.loadtxt(tmp_path / "car.txt", fmt="mot15-2D")
    assert read.index.tolist() == [(1, 1), (31, 1), (91, 1)]
    for row, box in zip(read.itertuples(), said.boxes_px.values(), strict=False):
        assert (row.X, row.Y, row.X + row.Width, row.Y + row.Height) == pytest.approx(box)


def test_trackeval_reads_every_frame(tmp_path):
    trackeval = pytest.importorskip("trackeval")
    (tmp_path / "us" / "data").mkdir(parents=True)
    (tmp_path / "gt" / "car" / "gt").mkdir(parents=True)
    text = thought("tracking").to_mot()
    (tmp_path / "us/data/car.txt").write_text(text)
    (tmp_path / "gt/car/gt/gt.txt").write_text(text.replace(",1,-1,-1,-1", ",1,1,1"))
    data = trackeval.datasets.MotChallenge2DBox(
        {
            "GT_FOLDER": str(tmp_path / "gt"),
            "TRACKERS_FOLDER": str(tmp_path),
            "TRACKERS_TO_EVAL": ["us"],
            "SKIP_SPLIT_FOL": True,
            "SEQ_INFO": {"car": 120},
            "PRINT_CONFIG": False,
        }
    )
    raw = data.get_raw_seq_data("us", "car")
    assert [index for index, boxes in enumerate(raw["tracker_dets"]) if len(boxes)] == [0, 30, 90]
    hota = trackeval.metrics.HOTA().eval_sequence(data.get_preprocessed_seq_data(raw, "pedestrian"))
    assert hota["HOTA"].mean() == pytest.approx(1.0)


def test_frames_cannot_be_numbered_where_one_was_seen():
    lone = Clip("video", SHOWN[:1], (0.0,), (0,), 1280, 960, 4.0, "car.mp4")
    engine = ScriptedEngine([f"<think>.</think><answer>{TRACK}</answer>"])
    with pytest.raises(MediaError, match=r"car\.mp4: numbering the frames of a video needs at least two"):
        Thinker(engine).ask(lone, "Track it.", task="tracking").to_mot()


@pytest.mark.parametrize("name", CASES)
def test_label_studio_gets_every_answer_under_names_of_its_interface(name):
    said = thought(name)
    task = json.loads(json.dumps(said.to_label_studio("cat", url="/data/a")))
    view = ET.fromstring(label_studio_config(said.clip.kind, "cat"))
    controls = {tag.get("name"): tag.tag.lower() for tag in view if tag.get("toName") == "media"}
    assert task["data"][said.clip.kind] == "/data/a"
    results = task["predictions"][0]["result"]
    assert all(controls[result["from_name"]] == result["type"] for result in results)
    assert results[-1]["value"] == {"text": [said.answer_text]}
    assert len({result["id"] for result in results}) == len(results)


def test_label_studio_counts_percent_and_frames_from_one():
    box, *points, _ = thought("segmentation").to_label_studio()["predictions"][0]["result"]
    assert box["value"] == {
        "x": 10.0,
        "y": 20.0,
        "width": 20.0,
        "height": 20.0,
        "rotation": 0,
        "rectanglelabels": ["object"],
    }
    assert (box["original_width"], box["original_height"]) == (1280, 960)
    assert [point["value"]["keypointlabels"] for point in points] == [["positive"]] * 3 + [["negative"]] * 3
    track, _ = thought("tracking").to_label_studio()["predictions"][0]["result"]
    keys = [(key["frame"], key["time"], key["enabled"]) for key in track["value"]["sequence"]]
    assert keys == [(1, 0.0, True), (31, 1.0, False), (91, 3.0, False)]
    assert track["value"]["framesCount"] == 120
    span, _ = thought("temporal grounding").to_label_studio()["predictions"][0]["result"]
    assert span["value"]["ranges"] == [{"start": 31, "end": 76}]


@pytest.mark.parametrize("name", CASES)
def test_label_studio_takes_the_predictions(name):
    interface = pytest.importorskip("label_studio_sdk.label_interface")
    said = thought(name)
    view = interface.LabelInterface(label_studio_config(said.clip.kind, 'a "cat" & more'))
    view.validate()
    [prediction] = said.to_label_studio('a "cat" & more')["predictions"]
    # The SDK knows no TimelineLabels and refuses all of their values; Label Studio itself reads "ranges" in frames.
    prediction["result"] = [result for result in prediction["result"] if result["type"] != "timelinelabels"]
    assert view.validate_prediction(prediction, return_errors=True) == []


def test_label_studios_converter_makes_the_same_coco(tmp_path):
    converter = pytest.importorskip("label_studio_sdk.converter")
    said = thought("spatial grounding")
    task = said.to_label_studio("cat", url="cat.jpg")
    task |= {"id": 1, "annotations": [{"id": 1, **task.pop("predictions")[0]}]}
    (tmp_path / "in.json").write_text(json.dumps([task]))
    studio = converter.Converter(
        label_studio_config("image", "cat"), project_dir=str(tmp_path), download_resources=False
    )
    studio.convert_to_coco(str(tmp_path / "in.json"), str(tmp_path / "out"), is_dir=False)
    [found] = json.loads((tmp_path / "out/result.json").read_text())["annotations"]
    assert found["bbox"] == pytest.approx(said.to_coco()["annotations"][0]["bbox"])
