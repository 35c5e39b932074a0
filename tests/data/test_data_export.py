"""Answers of `ask` and `evaluate` as files of other tools, each read by its own library where that is there."""

import csv
import json
from xml.etree import ElementTree as ET

import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO

from onethinker.cli import main
from onethinker.core.masks import encode_rle
from onethinker.evaluation.masking import AnswerMasks
from onethinker.evaluation.results import Result, write_results
from onethinker.media.writing import write_video
from onethinker.storage.jsonl_log import write_log

BOX = '{"boxes": [100, 250, 500, 1000]}'
TRACK = '{"boxes": {"1": [0, 0, 500, 500], "2": [250, 0, 750, 500]}}'
PLACES = '"positive_points": [[1, 1], [2, 2], [500, 250]], "negative_points": [[900, 1], [900, 2], [900, 3]]'


def run(*words) -> int:
    with pytest.raises(SystemExit) as ended:
        main(["data", "export", *map(str, words)])
    return int(ended.value.code or 0)


def said(answer: str) -> str:
    return f"<think>.</think><answer>{answer}</answer>"


@pytest.fixture
def answers(tmp_path):
    """What `onethinker ask` prints about a picture, twice about a video, and an answer that cannot be read."""
    Image.new("RGB", (640, 480)).save(tmp_path / "a.png")
    write_video(tmp_path / "c.mp4", np.zeros((20, 48, 64, 3), np.uint8), fps=10)
    rows = [
        ("Where is the cat?", "spatial grounding", "a.png", BOX),
        ("Cut out the cat.", "segmentation", "a.png", f'{{"boxes": [0, 0, 500, 500], {PLACES}}}'),
        ("Track the car.", "tracking", "c.mp4", TRACK),
        ("Track the <man>.", "tracking", "c.mp4", '{"boxes": {"1": [0, 0, 100, 100]}}'),
        ("Where is the dog?", "spatial grounding", "a.png", "no idea"),
    ]
    path = tmp_path / "answers.jsonl"
    path.write_text(
        "".join(
            json.dumps({"question": question, "task": task, "media": [name], "text": said(answer), "model": "m"}) + "\n"
            for question, task, name, answer in rows
        )
    )
    return path


def test_videos_of_one_name_and_one_called_images_have_files_of_their_own(tmp_path, answers):
    rows = [json.loads(answers.read_text().splitlines()[number]) for number in (0, 2)]
    for name in ("images.mp4", "p/x.mp4", "x-2.mp4", "q/x.mp4"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes((tmp_path / "c.mp4").read_bytes())
        rows.append({**rows[1], "media": [name]})
    answers.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert run(answers, tmp_path / "cvat", "--to", "cvat") == 0
    assert len(list((tmp_path / "cvat").iterdir())) == 6
    [image] = ET.parse(tmp_path / "cvat/images.xml").getroot().findall("image")
    assert image.get("name").endswith("a.png")


@pytest.mark.parametrize("to", ["coco", "label-studio", "supervision", "cvat"])
def test_half_characters_of_a_question_end_no_export(tmp_path, answers, to):
    row = json.loads(answers.read_text().splitlines()[0])
    answers.write_text(json.dumps({**row, "question": "Where is \ud800 the \0 cat?", "text": said(BOX)}) + "\n")
    assert run(answers, tmp_path / "new", "--to", to) == 0
    if to == "cvat":
        ET.parse(tmp_path / "new/images.xml")


def test_pycocotools_reads_all_answers_with_boxes_as_one_data_set(tmp_path, answers, capsys):
    assert run(answers, tmp_path / "coco.json", "--to", "coco") == 0
    assert "row 5: no answer" in capsys.readouterr().err
    data = COCO(str(tmp_path / "coco.json"))
    assert [each["bbox"] for each in data.loadAnns(data.getAnnIds())] == [
        [64, 120, 256, 360],
        [0, 0, 320, 240],
        [0, 0, 32, 24],
        [16, 0, 32, 24],
        [0, 0, 6.4, 4.8],
    ]
    assert data.loadAnns([2])[0]["num_keypoints"] == 6


def test_supervision_reads_the_coco_file_of_pictures(tmp_path, answers):
    import supervision as sv

    answers.write_text(answers.read_text().splitlines()[0] + "\n")
    assert run(answers, tmp_path / "coco.json", "--to", "coco") == 0
    data = sv.DetectionDataset.from_coco(str(tmp_path), str(tmp_path / "coco.json"))
    [(_, _, found)] = list(data)
    assert found.xyxy.tolist() == [[64, 120, 320, 480]]


def test_supervisions_columns_hold_every_box(tmp_path, answers):
    assert run(answers, tmp_path / "boxes.csv", "--to", "supervision") == 0
    with (tmp_path / "boxes.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["tracker_id"] for row in rows] == ["", "", "3", "3", "4"]
    assert [row["frame_index"] for row in rows] == ["0", "0", "0", "10", "0"]
    assert (rows[3]["x_min"], rows[3]["time_s"], rows[3]["question"]) == ("16.0", "1.0", "Track the car.")


def test_label_studio_gets_tasks_and_an_interface_for_each_kind_of_media(tmp_path, answers):
    assert run(answers, tmp_path / "tasks.json", "--to", "label-studio") == 0
    tasks = json.loads((tmp_path / "tasks.json").read_text())
    assert [next(iter(task["data"])) for task in tasks] == ["image", "image", "video", "video"]
    assert tasks[0]["predictions"][0]["result"][0]["value"]["x"] == 10
    for kind in ("image", "video"):
        names = {tag.get("name") for tag in ET.parse(tmp_path / f"tasks.{kind}.xml").getroot()}
        own = [task for task in tasks if kind in task["data"]]
        assert {one["from_name"] for task in own for one in task["predictions"][0]["result"]} <= names


def test_cvat_gets_a_file_of_pictures_and_one_a_video(tmp_path, answers):
    assert run(answers, tmp_path / "cvat", "--to", "cvat") == 0
    assert sorted(path.name for path in (tmp_path / "cvat").iterdir()) == ["c.xml", "images.xml"]
    images = ET.parse(tmp_path / "cvat/images.xml").getroot()
    assert images.findtext("version") == "1.1"
    [image] = images.findall("image")
    assert (image.get("width"), image.get("height")) == ("640", "480")
    assert [[box.get(side) for side in ("xtl", "ytl", "xbr", "ybr")] for box in image.findall("box")] == [
        ["64.00", "120.00", "320.00", "480.00"],
        ["0.00", "0.00", "320.00", "240.00"],
    ]
    assert image.find("points").get("points") == "0.64,0.48;1.28,0.96;320.00,120.00"
    first, second = ET.parse(tmp_path / "cvat/c.xml").getroot().findall("track")
    assert [(box.get("frame"), box.get("outside")) for box in first] == [("0", "0"), ("10", "0"), ("11", "1")]
    assert (second.get("id"), len(second)) == ("1", 2)


def test_mot_has_a_file_a_video_with_a_track_an_answer(tmp_path, answers, capsys):
    assert run(answers, tmp_path / "mot", "--to", "mot") == 0
    assert "a.png: is a picture" in capsys.readouterr().err
    assert (tmp_path / "mot/c.txt").read_text().splitlines() == [
        "1,1,1.00,1.00,32.00,24.00,1,-1,-1,-1",
        "11,1,17.00,1.00,32.00,24.00,1,-1,-1,-1",
        "1,2,1.00,1.00,6.40,4.80,1,-1,-1,-1",
    ]


@pytest.fixture
def evaluated(tmp_path, answers):
    """A folder of `evaluate` with the masks of two objects of one video, and the samples that were asked about."""
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "settings.json").write_text(json.dumps({"settings": {"model": "m"}, "about": {}}))
    mask = np.zeros((48, 64), bool)
    mask[:24, :32] = True
    answer = said(f'{{"boxes": [0, 0, 500, 500], "time": 0, {PLACES}}}')
    names, samples, results, masks = ("one", "two"), [], [], []
    for name, shown in zip(names, (mask, ~mask), strict=True):
        rles = {"00000": encode_rle(shown), "00005": encode_rle(np.zeros_like(mask))}
        output = {"frames": list(rles), "segmentation_rle": rles}
        samples.append(
            {
                "problem_id": name,
                "problem": f"Cut out {name}.",
                "problem_type": "segmentation",
                "videos": ["c.mp4"],
                "segmentation_output": output,
                "fps": 2,
            }
        )
        results.append(Result(f"k{name}", name, "segmentation/video", "?", "", answer, None))
        masks.append(AnswerMasks(f"m{name}", f"k{name}", name, "grabcut", None, False, rles, {}))
    write_results(folder, results)
    write_log(folder / "masks.jsonl", masks)
    (tmp_path / "samples.jsonl").write_text("".join(json.dumps(sample) + "\n" for sample in samples))
    return folder


@pytest.mark.parametrize(("to", "below"), [("youtube-vos", "Annotations/c"), ("davis", "c")])
def test_masks_of_an_evaluation_become_palette_pictures_with_an_object_an_answer(tmp_path, evaluated, to, below):
    assert run(evaluated, tmp_path / "masks", "--to", to, "--data", tmp_path / "samples.jsonl") == 0
    with Image.open(tmp_path / "masks" / below / "00000.png") as picture:
        indices = np.asarray(picture)
        assert (picture.mode, picture.getpalette()[:6]) == ("P", [0, 0, 0, 128, 0, 0])
    assert [(indices == number).sum() for number in range(3)] == [0, 32 * 24, 64 * 48 - 32 * 24]
    meta = json.loads((tmp_path / "masks/meta.json").read_text())["videos"]["c"]["objects"]
    assert meta["2"] == {"category": "object", "frames": ["00000"], "question": "Cut out two.", "id": "two"}


def test_what_cannot_be_exported_is_named_and_nothing_is_written(tmp_path, answers, evaluated, capsys):
    assert run(answers, tmp_path / "no", "--to", "davis") == 1
    assert "there are no masks; `onethinker evaluate --segmenter` makes them" in capsys.readouterr().err
    assert run(evaluated, tmp_path / "no", "--to", "coco") == 1
    assert "name the file of samples with --data" in capsys.readouterr().err
    assert run(answers, tmp_path / "no", "--to", "cocoo") == 1
    assert "coco" in capsys.readouterr().err
    answers.write_text('{"question": "?", "task": "tracking", "media": ["gone.mp4"], "text": ""}\n')
    assert run(answers, tmp_path / "no", "--to", "mot") == 1
    assert "answers.jsonl, row 1: 'media': there is no file" in capsys.readouterr().err
    assert not (tmp_path / "no").exists()


@pytest.mark.parametrize("to", ["coco", "label-studio", "mot"])
def test_answers_about_parts_and_stills_are_named_and_the_others_are_written(tmp_path, answers, to, capsys):
    write_video(tmp_path / "still.mp4", np.zeros((1, 48, 64, 3), np.uint8), fps=10)
    track = {"question": "Track.", "task": "tracking", "text": said(TRACK)}
    rows = [{"media": ["c.mp4"], "clips": [[1, 2]]}, {"media": ["still.mp4"]}, {"media": ["c.mp4"]}]
    answers.write_text("".join(json.dumps({**track, **row}) + "\n" for row in rows))
    assert run(answers, tmp_path / "out", "--to", to, "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["rows"], found["written"]) == (3, 1)
    part, still = found["left_out"]
    assert "c.mp4, 1 s to 2 s: is only a part of a video" in part
    assert "still.mp4: numbering the frames of a video needs at least two" in still


def test_answers_keep_the_categories_of_their_samples(tmp_path, answers):
    about = {"problem": "Where?", "problem_type": "spatial grounding", "data_type": "image", "images": ["a.png"]}
    named = {"cat": "cat", "dog": 'dog & "co"', "other": None}
    samples = [
        {**about, "problem_id": name, **({"category": category} if category else {})}
        for name, category in named.items()
    ]
    data = tmp_path / "samples.jsonl"
    data.write_text("".join(json.dumps(sample) + "\n" for sample in samples))
    answers.write_text(
        "".join(json.dumps({"id": name, "text": said(BOX)}) + "\n" for name in ("cat", "dog", "other", "cat"))
    )
    assert run(answers, tmp_path / "boxes.csv", "--to", "supervision", "--data", data) == 0
    with (tmp_path / "boxes.csv").open() as file:
        rows = [(row["class_id"], row["class_name"]) for row in csv.DictReader(file)]
    assert rows == [("0", "cat"), ("1", 'dog & "co"'), ("2", "object"), ("0", "cat")]
    assert run(answers, tmp_path / "tasks.json", "--to", "label-studio", "--data", data) == 0
    interface = ET.parse(tmp_path / "tasks.image.xml").getroot()
    boxes = next(tag for tag in interface if tag.get("name") == "box")
    assert [label.get("value") for label in boxes] == ["cat", 'dog & "co"', "object"]


def test_an_interface_that_is_there_is_not_replaced(tmp_path, answers, capsys):
    (tmp_path / "tasks.video.xml").write_text("mine")
    assert run(answers, tmp_path / "tasks.json", "--to", "label-studio") == 1
    assert "tasks.video.xml: already exists" in capsys.readouterr().err
    assert (tmp_path / "tasks.video.xml").read_text() == "mine"
    assert not (tmp_path / "tasks.json").exists()
    assert not (tmp_path / "tasks.image.xml").exists()


def test_a_root_of_media_without_samples_is_refused(tmp_path, answers, capsys):
    assert run(answers, tmp_path / "coco.json", "--to", "coco", "--media-root", tmp_path) == 1
    assert "--media-root needs --data" in capsys.readouterr().err
