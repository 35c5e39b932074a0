"""RefCOCO in its own files, whose references are pickles: plain ones are read, and none can run code."""

import json
import pickle
import tracemalloc
from pathlib import Path

import pytest

from onethinker.core.errors import DataError
from onethinker.data.published.masks import (
    truth_masks,
)
from onethinker.data.published.pickles import load_plain_pickle, read_plain_pickle
from onethinker.data.published.refcoco import read_refcoco
from onethinker.evaluation.parts import check_samples
from tests.evaluation.layouts.writing import write

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
    with pytest.raises(DataError, match="the split 'testB' has no references"):
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
