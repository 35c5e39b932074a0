"""COCO's boxes and masks become questions and come back; pycocotools reads what is written."""

import json

import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO

from onethinker.cli import main
from onethinker.core.masks import decode_rle, encode_rle
from onethinker.core.sample import PICTURE
from onethinker.data.formats.released import read_samples

HALF = encode_rle(np.arange(64)[None, :].repeat(48, 0) < 32)


def run(*words) -> int:
    with pytest.raises(SystemExit) as ended:
        main(["data", "convert", *map(str, words)])
    return int(ended.value.code or 0)


def test_boxes_and_masks_come_back_and_pycocotools_reads_them(tmp_path):
    Image.new("RGB", (64, 48)).save(tmp_path / "ä.png")
    shared = {"data_type": "image", "images": ["ä.png"], "options": [], "data_source": "RefCOCO"}
    places = '"positive_points": [[1, 1], [2, 2], [3, 3]], "negative_points": [[900, 1], [900, 2], [900, 3]]'
    boxed = {"problem": "Where is the left cat?", "answer": '<answer>{"boxes": [1, 250, 333, 1000]}</answer>'}
    cut = {"problem": "Cut it out.", "answer": f'<answer>{{"boxes": [0, 0, 500, 1000], {places}}}</answer>'}
    records = [
        {"problem_id": "a", **boxed, **shared, "problem_type": "spatial grounding", "category": "cat", "response": "x"},
        {"problem_id": "b", **cut, **shared, "problem_type": "segmentation"},
    ]
    records[1] |= {"segmentation_output": {"segmentation_rle": HALF}, "resolution": {"width": 64, "height": 48}}
    (tmp_path / "own.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    assert run(tmp_path / "own.jsonl", tmp_path / "coco.json", "--to", "coco") == 0
    data = COCO(str(tmp_path / "coco.json"))
    assert data.anns[1]["bbox"] == [0.064, 12.0, 21.248, 36.0]
    assert data.anns[2]["bbox"] == [0, 0, 32, 48]
    assert int(data.annToMask(data.anns[2]).sum()) == data.anns[2]["area"] == 32 * 48
    assert (len(data.imgs), [data.cats[number]["name"] for number in (1, 2)]) == (1, ["cat", "object"])
    assert run(tmp_path / "coco.json", tmp_path / "back.jsonl", "--to", "own") == 0
    before, after = list(read_samples(tmp_path / "own.jsonl")), list(read_samples(tmp_path / "back.jsonl"))
    assert [(one.id, one.problem, one.truth, one.media, one.masks, one.extra, one.response) for one in after] == [
        (one.id, one.problem, one.truth, one.media, one.masks, one.extra, one.response) for one in before
    ]


@pytest.fixture
def instances(tmp_path):
    """A data set of others: a good object, and one of each fault."""
    Image.new("RGB", (64, 48)).save(tmp_path / "a.png")
    good = {"image_id": 5, "bbox": [32.0, 0, 32.0, 48], "segmentation": [[32, 0, 64, 0, 64, 48, 32, 48]]}
    others = [
        {"category_id": 3},
        {"category_id": 3},
        {"category_id": 4, "iscrowd": 1},
        {"category_id": 5, "bbox": [60, 0, 9, 9]},
        {"category_id": 77},
        {"category_id": 0, "image_id": 6},
        {"category_id": 1, "bbox": [1, 2, 0, 4]},
    ]
    data = {
        "info": {"year": 2017},
        "images": [{"id": 5, "file_name": "a.png", "width": 64, "height": 48}],
        "annotations": [{**good, "category_id": 2}, *({**good, **other} for other in others)],
        "categories": [{"id": number, "name": name} for number, name in enumerate("abcdef")],
    }
    path = tmp_path / "instances.json"
    path.write_text(json.dumps(data, indent=1))
    return path


def test_objects_are_asked_for_by_category_and_every_fault_is_named_with_its_row(tmp_path, instances, capsys):
    assert run(instances, tmp_path / "own.jsonl", "--to", "own") == 1
    said = capsys.readouterr().out.splitlines()
    faults = [
        "2 objects",
        "2 objects",
        "a group",
        "not inside the 64 x 48",
        "'category_id' 77",
        "'image_id' 6",
        "'bbox'",
    ]
    for row, (line, why) in enumerate(zip(said, faults, strict=True), 2):
        assert f"{instances}, row {row}: " in line
        assert why in line
    assert not (tmp_path / "own.jsonl").exists()
    assert run(instances, tmp_path / "own.jsonl", "--to", "own", "--leave-out") == 1
    [sample] = read_samples(tmp_path / "own.jsonl")
    assert (sample.problem, sample.truth) == ("Where is the c in the picture?", '{"boxes": [500, 0, 1000, 1000]}')
    assert sample.media == (tmp_path / "a.png",)


def test_polygons_become_masks_with_a_truth_for_the_reward(tmp_path, instances):
    run(instances, tmp_path / "masks.jsonl", "--to", "own", "--leave-out", "--from", "coco-masks")
    sample = next(read_samples(tmp_path / "masks.jsonl"))
    assert decode_rle(sample.masks.frames[PICTURE][0]).sum() == 32 * 48
    assert json.loads(sample.truth)["boxes"] == [500, 0, 1000, 1000]


WRONG = {
    "cut short": (lambda text: text[: text.index('"categories"') + 20], "not JSON"),
    "UTF-16": (lambda text: text.encode("utf-16"), "not UTF-8"),
    "an object that is none": (lambda text: text.replace('"info": {', '"images": [7], "info": {'), "'images' must be"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_file_that_cannot_be_read_is_named_and_nothing_is_written(tmp_path, instances, name, capsys):
    change, said = WRONG[name]
    content = change(instances.read_text())
    instances.write_bytes(content if isinstance(content, bytes) else content.encode())
    assert run(instances, tmp_path / "own.jsonl", "--to", "own", "--from", "coco") == 1
    error = capsys.readouterr().err
    assert "instances.json" in error
    assert said in error
    assert not (tmp_path / "own.jsonl").exists()


def test_a_byte_order_mark_and_paths_of_windows_are_read(tmp_path, instances):
    text = instances.read_text().replace('"a.png"', '"sub\\\\a.png"')
    instances.write_text("\ufeff" + text, encoding="utf-8")
    (tmp_path / "sub").mkdir()
    (tmp_path / "a.png").rename(tmp_path / "sub/a.png")
    run(instances, tmp_path / "own.jsonl", "--to", "own", "--leave-out")
    assert next(read_samples(tmp_path / "own.jsonl")).media[0].exists()


def test_what_is_no_box_and_no_mask_is_refused(tmp_path, capsys):
    (tmp_path / "own.jsonl").write_text(
        '{"problem": "2 + 2?", "answer": "4", "problem_type": "numerical", "data_type": "image"}\n'
    )
    assert run(tmp_path / "own.jsonl", tmp_path / "coco.json", "--to", "coco") == 1
    assert "row 1: COCO has boxes and masks of one picture; this is numerical" in capsys.readouterr().out
    assert not (tmp_path / "coco.json").exists()


def data_set(tmp_path, name, number, **more):
    """A file with one picture of each of two ids, and what `more` adds to the annotation of the second."""
    for picture in "ab":
        Image.new("RGB", (64, 48)).save(tmp_path / f"{picture}.png")
    data = {
        "images": [{"id": number(n), "file_name": f"{'ab'[n - 1]}.png", "width": 64, "height": 48} for n in (1, 2)],
        "annotations": [
            {"image_id": number(2), "category_id": number(2), "bbox": [32, 0, 32, 48]},
            *more.get("also", []),
        ],
        "categories": [{"id": number(n), "name": f"cat {n}"} for n in (1, 2)],
    }
    path = tmp_path / f"{name}.json"
    path.write_text(json.dumps(data))
    return path


@pytest.mark.parametrize("number", [float, str])
def test_ids_of_other_types_find_their_pictures(tmp_path, number):
    assert run(data_set(tmp_path, "ids", number), tmp_path / "own.jsonl", "--to", "own") == 0
    [sample] = read_samples(tmp_path / "own.jsonl")
    assert (sample.media[0].name, sample.problem) == ("b.png", "Where is the cat 2 in the picture?")


def test_an_id_that_is_none_is_refused_and_one_of_an_annotation_is_a_lost_row(tmp_path, capsys):
    assert run(data_set(tmp_path, "ids", lambda n: [n]), tmp_path / "own.jsonl", "--to", "own") == 1
    assert "'images': 'id' must be a number or a text, got [1]" in capsys.readouterr().err
    path = data_set(tmp_path, "row", int, also=[{"image_id": None, "category_id": 1, "bbox": [1, 1, 2, 2]}])
    assert run(path, tmp_path / "own.jsonl", "--to", "own", "--leave-out") == 1
    assert "row 2: 'image_id' must be a number or a text, got None" in capsys.readouterr().out
    assert len(list(read_samples(tmp_path / "own.jsonl"))) == 1


def test_an_object_beside_a_crowd_of_its_kind_is_not_the_only_one(tmp_path, capsys):
    crowd = {"image_id": 2, "category_id": 2, "iscrowd": 1, "bbox": [0, 0, 9, 9]}
    assert run(data_set(tmp_path, "crowd", int, also=[crowd]), tmp_path / "own.jsonl", "--to", "own") == 1
    assert "row 1: 2 objects in the picture are 'cat 2'" in capsys.readouterr().out
