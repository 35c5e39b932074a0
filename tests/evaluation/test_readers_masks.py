"""Masks in the layouts of their authors: MeViS, DAVIS, ReasonVOS, and the release's own files."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from onethinker.core.errors import DataError
from onethinker.core.masks import encode_rle
from onethinker.data.published.expressions import DAVIS_FPS, read_mevis, read_palettes, read_reasonvos
from onethinker.data.published.masks import (
    load_mask,
    selection_of,
    truth_masks,
)
from onethinker.evaluation.benchmarks.readers.released import read_released
from onethinker.evaluation.parts import check_samples
from onethinker.media.budget import MediaBudget
from onethinker.media.reading import read_clip
from onethinker.tasks import find_task
from tests.evaluation.layouts.writing import rectangle, write

# Objects in videos

NAMES = ["00000", "00001", "00002"]
MOVING = [rectangle(10 + 10 * n, 20, 30 + 10 * n, 40) for n in range(3)]
STILL = rectangle(70, 50, 80, 60)


def frames(folder: Path) -> None:
    folder.mkdir(parents=True)
    for number, name in enumerate(NAMES):
        Image.new("RGB", (96, 64), (number * 100,) * 3).save(folder / f"{name}.jpg")


def palette(path: Path, indices: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(indices.astype(np.uint8), "P")
    image.putpalette([0, 0, 0, 128, 0, 0, 0, 128, 0])
    image.save(path)


def test_mevis_masks_are_those_of_all_objects_of_an_expression(tmp_path):
    frames(tmp_path / "JPEGImages/clip")
    expressions = {
        "0": {"exp": "the moving box", "obj_id": [1], "anno_id": [4]},
        "1": {"exp": "both", "obj_id": [1, 2], "anno_id": [4, 5]},
    }
    write(tmp_path / "meta_expressions.json", {"videos": {"clip": {"frames": NAMES, "expressions": expressions}}})
    rles = {"4": [encode_rle(mask) for mask in MOVING], "5": [None, encode_rle(STILL), None]}
    write(tmp_path / "mask_dict.json", rles)
    one, both = read_mevis(tmp_path)
    assert [mask.tolist() for mask in truth_masks(one).values()] == [mask.tolist() for mask in MOVING]
    assert [int(mask.sum()) for mask in truth_masks(both).values()] == [400, 500, 400]
    assert json.loads(both.truth)["time"] == round(1 / 6, 3)
    assert one.masks.times_s == {"00000": 0.0, "00001": 1 / 6, "00002": 2 / 6}
    assert (one.id, '"the moving box"' in one.problem) == ("clip-0", True)
    assert read_clip(both.media[0], MediaBudget(fps=6)).times_s == pytest.approx((0, 1 / 6, 2 / 6))
    check_samples([one, both])


def test_davis_and_youtube_vos_palettes_number_the_objects(tmp_path):
    frames(tmp_path / "JPEGImages/dance")
    for name, mask in zip(NAMES[:2], MOVING, strict=False):
        palette(tmp_path / f"Annotations/dance/{name}.png", np.where(mask, 1, np.where(STILL, 2, 0)))
    expressions = {"0": {"exp": "a dancer", "obj_id": "1"}, "1": {"exp": "the stone", "obj_id": 2}}
    write(tmp_path / "meta_expressions.json", {"videos": {"dance": {"frames": NAMES, "expressions": expressions}}})
    dancer, stone = read_palettes(tmp_path, fps=DAVIS_FPS)
    assert [mask.tolist() for mask in truth_masks(dancer).values()] == [
        *(mask.tolist() for mask in MOVING[:2]),
        np.zeros((64, 96), bool).tolist(),
    ]
    assert [int(mask.sum()) for mask in truth_masks(stone).values()] == [100, 100, 0]
    assert list(stone.masks.times_s.values()) == [0, 1 / 24, 2 / 24]
    check_samples([dancer, stone])


@pytest.mark.parametrize(
    ("source", "obj_id"),
    [
        ("VIPSeg", "000000012"),  # VideoLISA, eval_reason_vos.py: f"{source}_{video}_{obj_id}", the id as it is written
        ("MOSE", "3"),
        ("MeViS", 4),
        ("BURST", "2_1"),
    ],
)
def test_reasonvos_has_a_folder_of_masks_for_each_object_named_as_its_id_is_written(tmp_path, source, obj_id):
    frames(tmp_path / "JPEGImages/clip")
    for name, mask in zip(NAMES, MOVING, strict=True):
        path = tmp_path / f"Annotations/{source}_clip_{obj_id}/{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(mask.astype(np.uint8) * 255).save(path)
    expressions = [{"exp_id": 7, "obj_id": obj_id, "exp_text": "what moves", "is_sent": False}] * 2
    odd = [{**expressions[0], "obj_id": None}, {**expressions[0], "obj_id": "../x"}, {**expressions[0], "obj_id": "9"}]
    videos = {
        "clip": {"source": source, "frames": NAMES, "expressions": [*expressions, *odd]},
        "broken": {"source": source, "frames": [], "expressions": expressions},
    }
    write(tmp_path / "meta_expressions.json", {"videos": videos})
    bad: list[DataError] = []
    first, second = read_reasonvos(tmp_path, bad.append)
    assert [mask.tolist() for mask in truth_masks(first).values()] == [mask.tolist() for mask in MOVING]
    assert (first.id, second.id, first.source) == ("clip-0", "clip-1", source)
    check_samples([first, second])
    assert [
        text
        for text in ("expression '2'", "expression '3'", "_clip_9", "'broken'")
        if text not in "".join(map(str, bad))
    ] == []
    assert len(bad) == 4


@pytest.mark.parametrize(
    ("video", "masks", "complaint"),
    [
        ({"frames": [], "expressions": {}}, {}, "'frames'"),
        ({"frames": NAMES, "expressions": 3}, {}, "'expressions'"),
        ({"frames": NAMES, "expressions": {"0": {"exp": ""}}}, {}, "expression '0': 'exp'"),
        ({"frames": NAMES, "expressions": {"0": {"exp": "x", "anno_id": [None]}}}, {}, "expression '0': 'anno_id'"),
        (
            {"frames": NAMES, "expressions": {"0": {"exp": "x", "anno_id": [4]}}},
            {"4": [None]},
            "mask_dict.json: '4' must be a list of 3",
        ),
        (
            {"frames": NAMES, "expressions": {"0": {"exp": "x", "anno_id": [4]}}},
            {"4": [{"size": [2, 2]}] * 3},
            "clip-0",
        ),
        ({"frames": NAMES, "expressions": {"0": {"exp": "x", "anno_id": [4]}}}, {"4": [None] * 3}, "clip-0"),
    ],
    ids=["frames", "expressions", "text", "object", "masks", "run length", "nowhere"],
)
def test_a_bad_expression_is_named(tmp_path, video, masks, complaint):
    write(tmp_path / "meta_expressions.json", {"videos": {"clip": video}})
    write(tmp_path / "mask_dict.json", masks)
    with pytest.raises(DataError, match=complaint):
        list(read_mevis(tmp_path))


def test_a_mask_in_colours_is_refused(tmp_path):
    Image.new("RGB", (4, 4)).save(tmp_path / "colours.png")
    with pytest.raises(DataError, match=r"colours\.png: expected a PNG of object numbers"):
        load_mask(tmp_path / "colours.png", [1])


# Released files


def test_released_segmentation_files_with_masks_alone_get_box_and_points(tmp_path):
    rles = {"0": encode_rle(MOVING[0]), "2": encode_rle(MOVING[2])}
    common = {"problem": "what moves", "problem_type": "segmentation", "problem_id": 1, "fps": 2}
    video = {
        **common,
        "data_type": "video",
        "path": "a.mp4",
        "segmentation_output": {"frames": ["0", "1", "2"], "segmentation_rle": rles},
    }
    image = {
        **common,
        "data_type": "image",
        "path": "./a.jpg",
        "segmentation_output": {"segmentation_rle": encode_rle(STILL)},
    }
    first, second = read_released(write(tmp_path / "eval_seg.json", [video, image]))
    assert [int(mask.sum()) for mask in truth_masks(first).values()] == [400, 0, 400]
    assert json.loads(first.truth)["time"] == 0
    assert list(truth_masks(second)) == ["image"]
    assert (first.id, second.id) == ("1", "1#2")
    check_samples([first, second])


@pytest.mark.parametrize(
    ("output", "complaint"),
    [
        (None, "'segmentation_output'"),
        (3, "'segmentation_output'"),
        ({"segmentation_rle": {}}, "'frames'"),
        ({"frames": ["0"], "segmentation_rle": {"1": encode_rle(STILL)}}, "empty in every frame"),
        ({"frames": ["0"], "segmentation_rle": {}}, "empty in every frame"),
        (
            {"frames": ["0", "1"], "segmentation_rle": {"0": encode_rle(STILL), "1": encode_rle(STILL.T)}},
            "the same size",
        ),
    ],
    ids=["none", "number", "frames", "unknown frame", "size", "sizes"],
)
def test_bad_masks_name_their_record(tmp_path, output, complaint):
    record = {"problem": "x", "problem_type": "segmentation", "data_type": "video", "path": "a.mp4", "fps": 2}
    path = write(tmp_path / "eval_seg.json", [{**record, "segmentation_output": output}])
    with pytest.raises(DataError, match=f"row 1.*{complaint}"):
        list(read_released(path))


@pytest.mark.parametrize(
    "mask",
    [rectangle(0, 0, 96, 64), rectangle(40, 30, 41, 31), rectangle(0, 0, 1, 64), rectangle(95, 63, 96, 64), STILL],
    ids=["whole frame", "one pixel", "edge", "corner", "box"],
)
def test_box_and_points_of_any_mask_are_an_answer_of_the_task(mask):
    answer = selection_of(mask)
    selection = find_task("segmentation", "image").parse(json.dumps(answer))
    height, width = mask.shape
    for x, y in selection.positive_points:
        assert mask[min(int(y * height / 1000), height - 1), min(int(x * width / 1000), width - 1)]
    if not mask.all():
        for x, y in selection.negative_points:
            assert not mask[min(int(y * height / 1000), height - 1), min(int(x * width / 1000), width - 1)]
