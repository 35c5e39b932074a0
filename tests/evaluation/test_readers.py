"""Each benchmark in the layout in which its authors publish it, made small on the spot."""

import json
import pickle
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from onethinker.core.errors import DataError
from onethinker.core.masks import encode_rle
from onethinker.evaluation.benchmarks.readers.expressions import DAVIS_FPS, read_mevis, read_palettes, read_reasonvos
from onethinker.evaluation.benchmarks.readers.got10k import read_got10k
from onethinker.evaluation.benchmarks.readers.masks import (
    load_mask,
    selection_of,
    truth_masks,
)
from onethinker.evaluation.benchmarks.readers.pickles import load_plain_pickle, read_plain_pickle
from onethinker.evaluation.benchmarks.readers.refcoco import read_refcoco
from onethinker.evaluation.benchmarks.readers.released import read_released
from onethinker.evaluation.benchmarks.readers.temporal import (
    read_activitynet_captions,
    read_activitynet_rtl,
    read_charades_sta,
)
from onethinker.evaluation.parts import check_samples
from onethinker.media.budget import MediaBudget
from onethinker.media.reading import read_clip
from onethinker.tasks import find_task


def write(path: Path, content: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def rectangle(x1: int, y1: int, x2: int, y2: int, size: tuple[int, int] = (64, 96)) -> np.ndarray:
    mask = np.zeros(size, bool)
    mask[y1:y2, x1:x2] = True
    return mask


# RefCOCO


def refcoco(root: Path, *, protocol: int = 0, **changes: object) -> Path:
    """RefCOCO's three files: two references of one sentence and two, in two splits, and a polygon each."""
    ref = {
        "ref_id": 5,
        "ann_id": 11,
        "image_id": 3,
        "file_name": "COCO_train2014_000000000003_11.jpg",
        "split": "val",
        "category_id": 1,
        "sent_ids": [20, 21],
        "sentences": [
            {"sent_id": 20, "sent": "left cat", "raw": "Left cat", "tokens": ["left", "cat"]},
            {"sent_id": 21, "sent": "the cat", "raw": "the cat", "tokens": ["the", "cat"]},
        ],
    }
    other = {**ref, "ref_id": 6, "split": "testA", "sentences": ref["sentences"][:1]}
    (root / "refcoco").mkdir(parents=True)
    (root / "refcoco/refs(unc).p").write_bytes(pickle.dumps([{**ref, **changes}, other], protocol=protocol))
    polygon = [[10, 20, 50, 20, 50, 60, 10, 60]]
    instances = {
        "images": [{"id": 3, "file_name": "COCO_train2014_000000000003.jpg", "width": 100, "height": 200}],
        "annotations": [
            {"id": 11, "image_id": 3, "category_id": 1, "bbox": [10.0, 20.0, 40.0, 40.0], "segmentation": polygon}
        ],
    }
    write(root / "refcoco/instances.json", instances)
    (root / "train2014").mkdir()
    return root


@pytest.mark.parametrize("protocol", [0, 2, 4], ids=["as published", "protocol 2", "protocol 4"])
def test_refcoco_gives_a_box_for_every_sentence_of_the_split(tmp_path, protocol):
    samples = list(read_refcoco(refcoco(tmp_path, protocol=protocol), "refcoco", "refs(unc).p", "val"))
    assert [sample.id for sample in samples] == ["5-20", "5-21"]
    assert "left cat" in samples[0].problem
    assert json.loads(samples[0].truth) == {"boxes": [100, 100, 500, 300]}
    assert samples[0].media == (tmp_path / "train2014/COCO_train2014_000000000003.jpg",)
    check_samples(samples)


def test_refcoco_masks_come_from_polygons_and_give_box_and_points(tmp_path):
    [sample] = read_refcoco(refcoco(tmp_path), "refcoco", "refs(unc).p", "testA", masks=True)
    [mask] = truth_masks(sample).values()
    assert (mask.shape, mask.sum(), bool(mask[30, 30]), bool(mask[10, 30])) == ((200, 100), 40 * 40, True, False)
    assert json.loads(sample.truth)["boxes"] == [100, 100, 500, 300]
    check_samples([sample])


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"ann_id": 12}, "reference 1: 'ann_id' is 12"),
        ({"image_id": "3"}, "reference 1: 'image_id' must be of type int"),
        ({"split": None}, "reference 1: 'split'"),
        ({"sentences": [{"sent_id": 1}]}, "reference 1, 'sentences': 'sent'"),
    ],
    ids=["object", "picture", "split", "sentence"],
)
def test_a_bad_reference_is_named(tmp_path, changes, complaint):
    with pytest.raises(DataError, match=rf"refs\(unc\)\.p, {complaint}"):
        list(read_refcoco(refcoco(tmp_path, **changes), "refcoco", "refs(unc).p", "val"))


def test_a_split_without_references_is_an_error(tmp_path):
    with pytest.raises(DataError, match="no reference of the split 'testB'"):
        list(read_refcoco(refcoco(tmp_path), "refcoco", "refs(unc).p", "testB"))


class Attack:
    def __reduce__(self):
        return (open, ("/tmp/should-never-exist", "w"))


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_pickle_that_would_run_code_is_refused_and_runs_none(tmp_path, protocol):
    path = tmp_path / "attack.p"
    path.write_bytes(pickle.dumps([{"a": Attack()}], protocol=protocol))
    with pytest.raises(DataError, match=r"attack\.p: expected lists, .* only, got (_io|io|__builtin__|builtins)\.open"):
        load_plain_pickle(path)
    assert not Path("/tmp/should-never-exist").exists()


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_plain_pickles_of_every_protocol_are_read_as_they_are(protocol):
    shared = {"x": [1, -(2**70), 2.5, None, True, False, "né"]}
    value = {"a": [shared, shared, (), (1,), (1, 2), (1, 2, 3, 4), {}, []], "long": list(range(3000)), 7: "x" * 300}
    assert read_plain_pickle(pickle.dumps(value, protocol=protocol)) == value


HOSTILE = {
    "GLOBAL": b"cos\nsystem\n.",
    "STACK_GLOBAL": b"\x80\x04\x8c\x02os\x8c\x06system\x93.",
    "INST": b"(S'true'\nios\nsystem\n.",
    "OBJ of a text": b"(\x8c\x01a\x8c\x01bo.",
    "REDUCE of a text": b"\x8c\x01a(t R.".replace(b" ", b""),
    "NEWOBJ of a text": b"\x80\x02\x8c\x01a)\x81.",
    "BUILD of a list": b"]}\x8c\x06append\x8c\x01xsb.",
    "a persistent id": b"Pname\n.",
    "an extension": b"\x80\x02\x82\x01.",
    "a memo of 2**31 places": b"]r\xff\xff\xff\x7f0.",
    "a text of 2**62 bytes": b"\x80\x04\x8d" + (2**62).to_bytes(8, "little") + b"abc.",
    "bytes of 2**31 bytes": b"\x80\x05\x96" + (2**31).to_bytes(8, "little") + b"abc.",
    "a number of a million digits": b"I" + b"9" * 1_000_000 + b"\n.",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_pickle_is_an_error_that_costs_no_memory(tmp_path, name):
    path = tmp_path / "attack.p"
    path.write_bytes(HOSTILE[name])
    tracemalloc.start()
    with pytest.raises(DataError, match=r"attack\.p: (expected lists, .* got os\.system|a damaged pickle)"):
        load_plain_pickle(path)
    assert tracemalloc.get_traced_memory()[1] < 2**26
    tracemalloc.stop()


def test_damaged_pickles_are_an_error_wherever_they_are_cut(tmp_path):
    whole = pickle.dumps([{"a": [1, 2, ("x", None)]}], protocol=2)
    for length in range(len(whole)):
        (tmp_path / "cut.p").write_bytes(whole[:length])
        with pytest.raises(DataError, match=r"cut\.p"):
            load_plain_pickle(tmp_path / "cut.p")


# Moments


def test_charades_sta_lines_are_spans(tmp_path):
    path = write(
        tmp_path / "charades_sta_test.txt", "3MSZA 24.3 30.4##person turn a light on.\nAO8RW 0.0 6.9##a person reads\n"
    )
    first, second = read_charades_sta(path, tmp_path)
    assert (first.truth, first.media) == ('{"time": [24.3, 30.4]}', (tmp_path / "Charades_v1_480/3MSZA.mp4",))
    assert "person turn a light on." in first.problem
    check_samples([first, second])


@pytest.mark.parametrize(
    "line", ["3MSZA 24.3##x", "3MSZA a b##x", "3MSZA 5.0 5.0##x", "3MSZA 5.0.1 6.0##x", "3MSZA 5.0 6.0##"]
)
def test_a_bad_line_of_charades_sta_is_named(tmp_path, line):
    path = write(tmp_path / "charades_sta_test.txt", f"AO8RW 0.0 6.9##x\n{line}\n")
    with pytest.raises(DataError, match=r"charades_sta_test\.txt, line 2"):
        list(read_charades_sta(path, tmp_path))


def test_activitynet_sentences_are_spans_inside_their_video(tmp_path):
    video = {"duration": 50.0, "timestamps": [[0.5, 12.5], [40, 55.2], [30, 20]], "sentences": ["a", " b", "c"]}
    path = write(tmp_path / "activitynet/val_2.json", {"v_uqiMw7tQ1Cc": video})
    (tmp_path / "activitynet/videos").mkdir()
    (tmp_path / "activitynet/videos/v_uqiMw7tQ1Cc.mkv").write_bytes(b"")
    samples = list(read_activitynet_captions(path, tmp_path))
    assert [json.loads(sample.truth)["time"] for sample in samples] == [[0.5, 12.5], [40, 50], [20, 30]]
    assert samples[0].media == (tmp_path / "activitynet/videos/v_uqiMw7tQ1Cc.mkv",)
    check_samples(samples)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"duration": "50"}, "'duration'"),
        ({"sentences": ["a"]}, "2 'timestamps' for 1 'sentences'"),
        ({"timestamps": [[1, 2], [3]]}, "sentence 1: 'timestamps'"),
        ({"timestamps": [[1, 2], [60, 70]]}, "sentence 1: 'time' must end after it starts"),
        ({"sentences": ["a", ""]}, "sentence 1: 'sentences'"),
    ],
    ids=["duration", "number", "one end", "outside", "empty"],
)
def test_a_bad_video_of_activitynet_is_named(tmp_path, change, complaint):
    video = {"duration": 50.0, "timestamps": [[0, 12], [40, 50]], "sentences": ["a", "b"]}
    path = write(tmp_path / "val_2.json", {"v_1": {**video, **change}})
    with pytest.raises(DataError, match=f"'v_1'.*{complaint}"):
        list(read_activitynet_captions(path, tmp_path))


def test_questions_of_activitynet_rtl_are_spans_and_those_of_a_video_a_group(tmp_path):
    # LITA, eval_model_rtl.py (parse_start_end_timestamps): the first two seconds in the answer, cut to the video, in
    # order; VideoMind, activitynet_rtl.py: the video is v_VID.
    record = {
        "question_id": 0,
        "vid": "uqiMw7tQ1Cc",
        "duration": 55.15,
        "question": "When does the man show that he is tired?",
        "answer": "<12.5> <40> He sits down and holds his knees, so he is tired.",
    }
    odd = [{**record, "answer": "<12.5> only"}, {**record, "vid": 3}, {**record, "duration": None}, "text"]
    records = [record, {**record, "answer": "<60.0> <30.> later"}, {**record, "vid": "other"}, *odd]
    path = write(tmp_path / "temporal_reasoning/annot_val_1_q229.json", records)
    bad: list[DataError] = []
    samples = list(read_activitynet_rtl(path, tmp_path, bad.append))
    assert [json.loads(sample.truth)["time"] for sample in samples] == [[12.5, 40], [30, 55.15], [12.5, 40]]
    assert [sample.group for sample in samples] == ["uqiMw7tQ1Cc", "uqiMw7tQ1Cc", "other"]
    assert samples[0].media == (tmp_path / "activitynet/videos/v_uqiMw7tQ1Cc.mp4",)
    assert samples[0].problem == record["question"]
    assert [f"question {number}" in str(error) for number, error in enumerate(bad, 3)] == [True] * 4
    check_samples(samples)


# GOT-10k


def got10k(root: Path, *, boxes: list[str] | None = None, hidden: tuple[int, ...] = ()) -> Path:
    folder = root / "val/GOT-10k_Val_000001"
    folder.mkdir(parents=True)
    write(root / "val/list.txt", "GOT-10k_Val_000001\n")
    for number in range(1, 26):
        Image.new("RGB", (100, 50), (number * 10,) * 3).save(folder / f"{number:08d}.jpg")
    write(
        folder / "groundtruth.txt",
        "\n".join(boxes or [f"{10 + n}.0000,20.0000,30.0000,10.0000" for n in range(25)]) + "\n",
    )
    write(folder / "absence.label", "".join(f"{int(n in hidden)}\n" for n in range(25)))
    write(folder / "cover.label", "8\n" * 25)
    return root / "val"


def test_got10k_is_asked_a_box_a_second_from_that_of_the_first_frame(tmp_path):
    [sample] = read_got10k(got10k(tmp_path))
    assert json.loads(sample.truth)["boxes"] == {
        "1": [100, 400, 400, 600],
        "2": [200, 400, 500, 600],
        "3": [300, 400, 600, 600],
    }
    assert sample.problem.endswith("at [100,400,400,600].")
    clip = read_clip(sample.media[0], MediaBudget(fps=2))
    assert clip.times_s == (0.0, 0.5, 1.0, 1.5, 2.0)
    assert clip.frames[2, 0, 0, 0] == pytest.approx(110, abs=2)  # JPEG
    check_samples([sample])


def test_seconds_in_which_the_object_is_hidden_are_not_asked_for(tmp_path):
    [sample] = read_got10k(got10k(tmp_path, hidden=(10,)))
    assert list(json.loads(sample.truth)["boxes"]) == ["1", "3"]


@pytest.mark.parametrize(
    ("boxes", "hidden", "complaint"),
    [
        (["1,2,3,4"] * 24, (), r"groundtruth\.txt: 24 boxes for 25 frames"),
        (["1,2,3,4"] * 10 + ["1,2,3"] + ["1,2,3,4"] * 14, (), r"groundtruth\.txt, line 11: expected x,y,width,height"),
        (["1,2,3,4"] * 20 + ["1,2,0,4"] * 5, (), r"groundtruth\.txt, line 21: expected a box with an area"),
        (None, (0,), "hidden in the first frame"),
    ],
    ids=["number", "three sides", "no area", "hidden"],
)
def test_a_bad_video_of_got10k_is_named(tmp_path, boxes, hidden, complaint):
    with pytest.raises(DataError, match=complaint):
        list(read_got10k(got10k(tmp_path, boxes=boxes, hidden=hidden)))


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
        ({"frames": ["0", "1"], "segmentation_rle": {"0": encode_rle(STILL), "1": encode_rle(STILL.T)}}, "one size"),
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
