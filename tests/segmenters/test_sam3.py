"""SAM 3 by words and its tracker for pictures alone, on tiny random ones of the same classes."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from onethinker.core.errors import EngineError
from onethinker.core.geometry import Box
from onethinker.core.masks import mask_iou
from onethinker.segmenters.base import cut_out, load_segmenter
from onethinker.segmenters.sam3 import best_fit
from onethinker.tasks.segmentation import NamedSelection
from tests.segmenters.test_segmenters import LEFT, noise
from tests.segmenters.tiny_sam3 import (
    save_tiny_detector,
    save_tiny_picture_sam3,
    save_tiny_sam3,
    save_tiny_whole_sam3,
)

CAT = NamedSelection(**vars(LEFT), words="cat")


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> dict[str, Path]:
    """A tracker for videos, one for pictures, a whole SAM 3, and its detector, each in a folder of its own."""
    root = tmp_path_factory.mktemp("sam3")
    tracker = save_tiny_sam3(root / "tracker")
    save_tiny_whole_sam3(tracker, root / "whole")
    return {
        "tracker": tracker,
        "picture": save_tiny_picture_sam3(tracker, root / "picture"),
        "whole": root / "whole",
        "detector": save_tiny_detector(root / "whole", root / "detector"),
    }


def test_the_tracker_for_pictures_cuts_as_the_one_for_videos_does(folders):
    segmenter = load_segmenter(str(folders["picture"]), "image")
    assert segmenter.name == f"{folders['picture']} (SAM 3)"
    [(index, mask)] = segmenter.segment(noise(1), LEFT)
    [(_, expected)] = load_segmenter(str(folders["tracker"])).segment(noise(1), LEFT)
    assert (index, mask.shape, mask.dtype) == (0, (50, 90), np.dtype(bool))
    assert 0 < mask.mean() < 1
    np.testing.assert_array_equal(mask, expected)


def test_words_find_objects_and_the_box_says_which_is_meant(folders):
    segmenter = load_segmenter(str(folders["detector"]))
    assert segmenter.name == f"{folders['detector']} (SAM 3 by text)"
    frame = noise(1).frames[0]
    inputs = segmenter.processor(images=frame, text="cat", return_tensors="pt")
    with torch.inference_mode():
        outputs = segmenter.detector(**inputs)
    [found] = segmenter.processor.post_process_instance_segmentation(outputs, target_sizes=[frame.shape[:2]])
    assert len(found["masks"]) == 4
    for box_px, expected in zip(found["boxes"].tolist(), found["masks"].numpy(), strict=True):
        box = Box(*(side * 1000 / size for side, size in zip(box_px, (90, 50, 90, 50), strict=True)))
        selection = NamedSelection(box, (), (), words="cat")
        [(_, mask)] = segmenter.segment(noise(1), selection)
        assert mask_iou(mask, expected.astype(bool)) == 1
    [(_, other)] = segmenter.segment(noise(1), NamedSelection(box, (), (), words="the dog"))
    assert mask_iou(other, mask) < 1


@pytest.mark.parametrize(
    ("scores", "box", "index"),
    [
        ([0.9, 0.9, 0.9], Box(0, 0, 400, 1000), 0),
        ([0.9, 0.9, 0.9], Box(450, 0, 1000, 1000), 1),
        ([0.9, 0.4, 0.5], Box(500, 0, 1000, 1000), 2),
        ([0.9, 0.1, 0.1], Box(300, 0, 1000, 1000), 0),
        ([0.9, 0.1, 0.1], Box(400, 0, 1000, 1000), None),
        ([0.1, 0.1, 0.1], Box(0, 0, 1000, 1000), None),
    ],
    ids=["left", "right", "of two alike the surer", "the only sure one", "the sure one lies elsewhere", "none is sure"],
)
def test_the_best_fit_is_the_sure_object_that_overlaps_the_box_most(scores, box, index):
    assert best_fit([Box(0, 0, 400, 1000), *[Box(500, 0, 1000, 1000)] * 2], scores, box) == index


def test_a_whole_sam3_follows_what_its_words_found_in_both_directions(folders):
    segmenter = load_segmenter(f"{folders['whole']}:text", "video")
    assert segmenter.name == f"{folders['whole']} (SAM 3 by text)"
    found = list(segmenter.segment(noise(6), CAT))
    assert [index for index, _ in found] == [2, 3, 4, 5, 1, 0]
    assert {(mask.shape, mask.dtype) for _, mask in found} == {((50, 90), np.dtype(bool))}
    clip = noise(6)
    picture = replace(noise(1), frames=clip.frames[2:3])
    [(_, in_picture)] = load_segmenter(str(folders["detector"])).segment(picture, CAT)
    np.testing.assert_array_equal(found[0][1], in_picture)
    assert all(0 < mask.mean() < 1 for _, mask in found)


def test_where_no_words_fit_the_box_every_mask_is_empty(folders):
    segmenter = load_segmenter(f"{folders['whole']}:text")
    nowhere = NamedSelection(Box(0, 0, 5, 5), (), (), 1.1, words="cat")
    found = list(segmenter.segment(noise(4), nowhere))
    assert [index for index, _ in found] == [2, 3, 1, 0]
    assert not any(mask.any() for _, mask in found)


def test_a_question_longer_than_the_text_encoder_is_cut_to_its_length(folders):
    segmenter = load_segmenter(str(folders["detector"]))
    long = "the one that stands where the other one stood before it moved"
    masks = [cut_out(segmenter, noise(1), LEFT, question=words).mask(0) for words in (long, f"{long} away again")]
    np.testing.assert_array_equal(*masks)


def test_what_a_benchmark_quotes_is_what_the_words_are(folders):
    segmenter = load_segmenter(str(folders["detector"]))
    questions = "cat", 'Cut out what this describes: "cat"', "Cut out what this describes: dog"
    plain, quoted, other = (cut_out(segmenter, noise(1), LEFT, question=question).mask(0) for question in questions)
    np.testing.assert_array_equal(plain, quoted)
    assert (plain != other).any()


def test_a_long_clip_is_followed_without_its_frames_and_large_masks_in_memory(folders, monkeypatch):
    segmenter = load_segmenter(f"{folders['whole']}:text")
    sessions = []
    start = segmenter.tracker.processor.init_video_session
    remember = lambda **given: sessions.append(start(**given)) or sessions[-1]  # noqa: E731
    monkeypatch.setattr(segmenter.tracker.processor, "init_video_session", remember)
    assert len(list(segmenter.segment(noise(12), CAT))) == 12
    [session] = sessions
    outputs = session.output_dict_per_obj[0]["non_cond_frame_outputs"]
    assert len(outputs) == 11
    assert not any("high_res_masks" in output for output in outputs.values())
    assert not any(isinstance(held, torch.Tensor) for held in vars(session.processed_frames).values())
    assert len(session.cache._vision_features) == 1


@pytest.mark.parametrize(("name", "instead"), [("picture", r"facebook/sam3 or"), ("detector", "facebook/sam3:text")])
def test_weights_for_pictures_alone_refuse_a_video_before_and_after_they_are_loaded(folders, name, instead):
    with pytest.raises(EngineError, match=f"works on pictures only; .*{instead}"):
        load_segmenter(str(folders[name]), "video")
    with pytest.raises(EngineError, match=f"^noise: .*works on pictures only; .*{instead}"):
        cut_out(load_segmenter(str(folders[name])), noise(2), LEFT, question="cat")


def test_a_box_without_words_is_refused_by_a_segmenter_that_reads_words(folders):
    with pytest.raises(EngineError, match="no words are given: ask a question"):
        cut_out(load_segmenter(str(folders["detector"])), noise(1), LEFT)
