"""Masks from a box and points: GrabCut where the truth is known, SAM 2's road on a tiny one, and what both have in
common.
"""

import json
from pathlib import Path

import cv2
import matplotlib
import numpy as np
import pytest
import torch
from PIL import Image
from transformers import Sam2Config, Sam2Model, Sam2Processor

from onethinker.core.errors import EngineError
from onethinker.core.frames import Clip
from onethinker.core.geometry import Box, Point, box_to_px, point_to_px
from onethinker.core.masks import mask_iou
from onethinker.data.synthetic import make_sample
from onethinker.segmenters.base import cut_out, load_segmenter
from onethinker.segmenters.grabcut import GrabCutSegmenter, follow
from onethinker.tasks.segmentation import Selection
from tests.segmenters.composites import composite, jittered, moving_composite, picture, reduced, true_selection
from tests.segmenters.tiny_sam2 import save_tiny_sam2
from tests.segmenters.tiny_sam3 import save_tiny_sam3, save_tiny_whole_sam3

PHOTO = Path(matplotlib.get_data_path()) / "sample_data" / "grace_hopper.jpg"
"""The one photograph that the installed packages bring; benchmarks/segmenter.py measures twenty."""
LEFT = Selection(Box(100, 100, 600, 600), (Point(300, 300),), (Point(900, 900),), 1.1)
RIGHT = Selection(Box(500, 500, 900, 900), (Point(700, 700),), (Point(100, 100),), 1.1)


@pytest.fixture(scope="module")
def photo() -> np.ndarray:
    with Image.open(PHOTO) as image:
        return reduced(np.array(image.convert("RGB")))


@pytest.fixture(scope="module")
def tiny_sam2(tmp_path_factory) -> Path:
    return save_tiny_sam2(tmp_path_factory.mktemp("sam2"))


@pytest.fixture(scope="module")
def tiny_sam3(tmp_path_factory) -> Path:
    return save_tiny_sam3(tmp_path_factory.mktemp("sam3"))


def noise(num_frames: int, *, height: int = 50, width: int = 90) -> Clip:
    frames = np.random.default_rng(0).integers(0, 256, (num_frames, height, width, 3), dtype=np.uint8)
    times_s = tuple(n / 2 for n in range(num_frames))
    kind = "video" if num_frames > 1 else "image"
    return Clip(
        kind,
        frames,
        times_s,
        tuple(range(num_frames)),
        width,
        height,
        num_frames / 2 if num_frames > 1 else 0.0,
        "noise",
    )


def test_grabcut_cuts_pieces_of_a_photograph_out_of_it(photo):
    # Colours swapped between channels: a piece of another scene, with the structure of a real one.
    ious = []
    for seed in range(5):
        rng = np.random.default_rng(seed)
        frame, truth = composite(photo, photo[..., [1, 2, 0]], rng)
        selection = jittered(true_selection(truth, rng), 0.05, rng)
        [(number, mask)] = GrabCutSegmenter().segment(picture(frame), selection)
        assert number == 0
        ious.append(mask_iou(mask, truth))
    assert np.mean(ious) >= 0.9
    assert min(ious) >= 0.7


def test_grabcut_follows_in_both_directions_from_the_selected_moment(photo):
    frames = np.stack([photo[: 2 * 128, n : n + 320] for n in range(0, 45, 5)])  # the camera pans
    ious = []
    for seed in range(3):
        rng = np.random.default_rng(seed)
        clip, truths = moving_composite(frames, photo[..., [2, 0, 1]], rng)
        found = list(GrabCutSegmenter().segment(clip, true_selection(truths[4], rng, time_s=clip.times_s[4])))
        assert [number for number, _ in found] == [4, 5, 6, 7, 8, 3, 2, 1, 0]
        ious += [mask_iou(mask, truths[number]) for number, mask in found]
    assert np.mean(ious) >= 0.85
    assert min(ious) >= 0.7


def test_grabcut_shows_nothing_behind_a_cut(photo):
    rng = np.random.default_rng(0)
    frame, truth = composite(photo, photo[..., [1, 2, 0]], rng)
    other = np.ascontiguousarray(255 - frame[::-1, ::-1])
    masks = dict(GrabCutSegmenter().segment(video(frame, frame, other, frame), true_selection(truth, rng)))
    assert mask_iou(masks[1], truth) > 0.8
    assert not masks[2].any()
    assert not masks[3].any()


def test_negative_points_take_away_and_positive_points_add():
    frame = np.full((100, 200, 3), 40, np.uint8)
    frame[20:80, 20:90] = (200, 60, 60)
    frame[20:80, 110:180] = (60, 200, 60)
    box = Box(100, 200, 900, 800)

    def area_of(half: slice, *, positive: tuple[Point, ...], negative: tuple[Point, ...]) -> float:
        [(_, mask)] = GrabCutSegmenter().segment(picture(frame), Selection(box, positive, negative))
        return float(mask[20:80, half].mean())

    left, right = Point(275, 500), Point(725, 500)
    assert area_of(slice(20, 90), positive=(left,), negative=(right,)) > 0.95
    assert area_of(slice(110, 180), positive=(left,), negative=(right,)) < 0.05
    assert area_of(slice(110, 180), positive=(left, right), negative=()) > 0.95


@pytest.mark.parametrize(
    "box",
    [Box(0, 0, 1000, 1000), Box(0, 0, 1, 1), Box(999, 999, 1000, 1000), Box(0, 500, 1000, 501)],
    ids=["everything", "a corner", "the last corner", "a line"],
)
@pytest.mark.parametrize("frame", [np.zeros((40, 70, 3), np.uint8), noise(1).frames[0]], ids=["black", "noise"])
def test_grabcut_bears_every_box(box, frame):
    for points in ((), (Point(0, 0), Point(1000, 1000), Point(500, 500))):
        masks = dict(GrabCutSegmenter().segment(video(frame, frame), Selection(box, points, points)))
        assert [mask.shape for mask in masks.values()] == [frame.shape[:2]] * 2


def test_grabcut_gives_the_same_mask_twice(photo):
    rng = np.random.default_rng(3)
    frame, truth = composite(photo, photo[..., [1, 2, 0]], rng)
    selection = true_selection(truth, rng)
    [(_, first)] = GrabCutSegmenter().segment(picture(frame), selection)
    cv2.setRNGSeed(77)
    [(_, second)] = GrabCutSegmenter().segment(picture(frame), selection)
    np.testing.assert_array_equal(first, second)


def test_an_empty_mask_stays_empty(photo):
    assert not follow(np.zeros(photo.shape[:2], bool), photo, photo).any()


def test_an_answer_to_a_synthetic_scene_gives_the_mask_of_its_shape():
    sample = make_sample(7, 2, problem_type="segmentation", data_type="image", split="pictures", side_px=320)
    from onethinker.tasks import find_task

    answer = find_task("segmentation", "image").parse(sample.truth, ())
    (clip,) = sample.media
    [(_, mask)] = load_segmenter("grabcut").segment(clip, answer)
    x1, y1, x2, y2 = (round(side) for side in box_to_px(answer.box, width_px=clip.width, height_px=clip.height))
    assert mask[y1:y2, x1:x2].mean() > 0.5
    assert np.count_nonzero(mask) == pytest.approx(np.count_nonzero(mask[y1:y2, x1:x2]), rel=0.05)
    for points, on_object in ((answer.positive_points, True), (answer.negative_points, False)):
        for point in points:
            x, y = point_to_px(point, width_px=clip.width, height_px=clip.height)
            assert mask[int(y), int(x)] == on_object


def test_sam2_follows_in_both_directions_at_the_size_of_the_frames(tiny_sam2):
    found = list(load_segmenter(str(tiny_sam2)).segment(noise(6), LEFT))
    assert [number for number, _ in found] == [2, 3, 4, 5, 1, 0]
    assert {(mask.shape, mask.dtype) for _, mask in found} == {((50, 90), np.dtype(bool))}


@pytest.mark.parametrize(
    "other",
    [
        Selection(RIGHT.box, LEFT.positive_points, LEFT.negative_points, 1.1),
        Selection(LEFT.box, RIGHT.positive_points, LEFT.negative_points, 1.1),
        Selection(LEFT.box, LEFT.positive_points, RIGHT.negative_points, 1.1),
        Selection(LEFT.box, LEFT.negative_points, LEFT.positive_points, 1.1),
        Selection(LEFT.box, (), (), 1.1),
        Selection(LEFT.box, LEFT.positive_points, LEFT.negative_points, 2.0),
    ],
    ids=["box", "positive points", "negative points", "labels", "no points", "moment"],
)
def test_every_part_of_a_selection_reaches_sam2_and_goes_on_to_the_other_frames(tiny_sam2, other):
    segmenter = load_segmenter(str(tiny_sam2))
    before, after = (dict(segmenter.segment(noise(6), selection)) for selection in (LEFT, other))
    assert any((before[number] != after[number]).any() for number in (0, 5))
    assert (before[2] != after[2]).any()


def test_sam3_follows_a_selection_in_both_directions_and_says_that_it_is_one(tiny_sam3):
    segmenter = load_segmenter(str(tiny_sam3))
    assert segmenter.name == f"{tiny_sam3} (SAM 3)"
    found = list(segmenter.segment(noise(6), LEFT))
    assert [number for number, _ in found] == [2, 3, 4, 5, 1, 0]
    assert {(mask.shape, mask.dtype) for _, mask in found} == {((50, 90), np.dtype(bool))}
    points = Selection(LEFT.box, LEFT.negative_points, LEFT.positive_points, LEFT.time_s)
    for other in (Selection(RIGHT.box, LEFT.positive_points, LEFT.negative_points, LEFT.time_s), points):
        moved = dict(segmenter.segment(noise(6), other))
        assert all((moved[number] != mask).any() for number, mask in found[:1])
        assert any((moved[number] != mask).any() for number, mask in found[1:])


def test_of_a_whole_sam3_the_tracker_is_loaded_with_its_own_neck(tiny_sam3, tmp_path):
    whole = dict(save_tiny_whole_sam3(tiny_sam3, tmp_path).named_parameters())
    loaded = load_segmenter(str(tmp_path))
    assert loaded.name.endswith("(SAM 3)")
    for name, weight in loaded.model.named_parameters():
        own = name.replace("vision_encoder.neck.", "tracker_neck.")
        home = next(key for key in (own, f"tracker_model.{name}", f"detector_model.{name}") if key in whole)
        assert torch.equal(weight, whole[home]), name


def test_a_picture_gets_the_mask_of_sam2_for_pictures(tiny_sam2):
    clip = noise(1)
    [(_, mask)] = load_segmenter(str(tiny_sam2)).segment(clip, LEFT)
    network = load_segmenter(str(tiny_sam2)).model
    parts = {
        name: getattr(network.config, name).to_dict()
        for name in ("vision_config", "prompt_encoder_config", "mask_decoder_config")
    }
    model = Sam2Model(Sam2Config(**parts)).eval()
    found = model.load_state_dict(network.state_dict(), strict=False)
    assert found.missing_keys == []
    size = {"width_px": 90, "height_px": 50}
    points = [list(point_to_px(point, **size)) for point in (*LEFT.positive_points, *LEFT.negative_points)]
    processor = Sam2Processor.from_pretrained(tiny_sam2)
    inputs = processor(
        images=clip.frames[0],
        input_boxes=[[list(box_to_px(LEFT.box, **size))]],
        input_points=[[points]],
        input_labels=[[[1, 0]]],
        return_tensors="pt",
    )
    with torch.inference_mode():
        logits = model(**inputs, multimask_output=False).pred_masks
    expected = processor.post_process_masks(logits, inputs["original_sizes"])[0][0, 0].numpy()
    assert 0 < expected.mean() < 1
    assert mask_iou(mask, expected) > 0.99  # the video model adds a padding token to the points


def test_masks_come_back_at_the_size_of_the_source_and_say_who_made_them(tiny_sam2):
    clip = noise(3)
    clip = Clip("video", clip.frames, clip.times_s, (0, 12, 24), 180, 100, 1.5, "larger.mp4")
    for name, for_benchmarks in (("grabcut", False), (str(tiny_sam2), True)):
        heard: list[tuple[int, int]] = []
        found = cut_out(
            load_segmenter(name), clip, LEFT, on_progress=lambda done, total, heard=heard: heard.append((done, total))
        )
        assert heard == [(1, 3), (2, 3), (3, 3)]
        assert found.mask(1).shape == (100, 180)
        assert found.draw().frames.shape == clip.frames.shape
        record = json.loads(json.dumps(found.to_dict()))
        assert (record["segmenter"], record["for_benchmarks"]) == (name, for_benchmarks)
        assert [frame["index"] for frame in record["frames"]] == [0, 12, 24]
        assert {tuple(frame["segmentation"]["size"]) for frame in record["frames"]} == {(100, 180)}
        assert ("not for benchmark numbers" in found.label) != for_benchmarks


def test_masks_by_grabcut_say_so_in_the_drawing():
    clip = noise(1, height=160, width=320)
    found = cut_out(load_segmenter("grabcut"), clip, LEFT)
    band = found.draw().frames[0, -8:]
    assert band.mean() < 0.6 * clip.frames[0, -8:].mean()


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("grabcuts", "no such folder, and not a hub id"),
        ("./absent", "no such folder, and not a hub id"),
        ("{folder}/empty", r"there is no config\.json"),
        ("{folder}/bert", "expected the weights of a SAM 2"),
        ("{folder}/whole:text", "'sam2_video' cannot search by words; leave out :text"),
        ("grabcut:text", "GrabCut cannot search by words; leave out :text"),
        ("{folder}/torn", "cannot be loaded"),
        ("{folder}/half", "missing"),
        ("nobody/no-such-sam2", "cannot be reached"),
    ],
)
def test_a_segmenter_that_cannot_be_had_is_named_with_the_reason(tiny_sam2, tmp_path, monkeypatch, name, complaint):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    spoil(tiny_sam2, tmp_path)
    with pytest.raises(EngineError, match=complaint):
        load_segmenter(name.format(folder=tmp_path))


def spoil(whole: Path, folder: Path) -> None:
    """An empty model folder, one of another model, one with torn weights, and one in which some are missing."""
    from safetensors.torch import load_file, save_file

    (folder / "empty").mkdir()
    (folder / "bert").mkdir()
    (folder / "bert" / "config.json").write_text('{"model_type": "bert"}')
    for name in ("whole", "torn", "half"):
        (folder / name).mkdir()
        for path in whole.iterdir():
            (folder / name / path.name).write_bytes(path.read_bytes())
    weights = folder / "torn" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    weights = folder / "half" / "model.safetensors"
    tensors = load_file(weights)
    save_file(
        {name: tensor for name, tensor in tensors.items() if not name.startswith("memory_encoder")},
        weights,
        {"format": "pt"},
    )


def video(*frames: np.ndarray) -> Clip:
    times_s = tuple(n / 10 for n in range(len(frames)))
    height, width, _ = frames[0].shape
    return Clip("video", np.stack(frames), times_s, tuple(range(len(frames))), width, height, len(frames) / 10, "video")
