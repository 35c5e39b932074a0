"""The list of samples: same every time, endless, balanced, its truth true."""

import json
import re
from collections import Counter
from hashlib import sha256

import numpy as np
import pytest
from pycocotools import mask as coco

from onethinker.core.errors import DataError
from onethinker.core.frames import Clip
from onethinker.core.sample import PICTURE, Sample
from onethinker.data.synthetic import KINDS, make_sample
from onethinker.data.synthetic.painting import FPS
from onethinker.data.synthetic.scene import COLORS

EACH_KIND = pytest.mark.parametrize(("problem_type", "data_type"), KINDS, ids=lambda value: value)


def clip_of(sample: Sample) -> Clip:
    (clip,) = sample.media
    assert isinstance(clip, Clip)
    return clip


def samples_of(problem_type: str, data_type: str, count: int, **more: object) -> list[Sample]:
    return [make_sample(7, index, problem_type=problem_type, data_type=data_type, **more) for index in range(count)]


def pixels_of(color: str, frame: np.ndarray) -> np.ndarray:
    """Where a frame has a colour, found by its looks alone: nearer to it, in any of its shades, than a blend would
    be.
    """
    shades = np.array(COLORS[color]) * np.linspace(0.94, 1.08, 9)[:, None]
    return (np.abs(frame[:, :, None] - np.minimum(shades, 255)).max(-1) < 14).any(-1)


def looked_up_box(color: str, frame: np.ndarray) -> list[float]:
    rows, columns = np.nonzero(pixels_of(color, frame))
    scale = 1000 / len(frame)
    return [columns.min() * scale, rows.min() * scale, (columns.max() + 1) * scale, (rows.max() + 1) * scale]


def color_asked_about(sample: Sample) -> str:
    return next(word for word in re.findall(r"\w+", sample.problem) if word in COLORS)


def near(box: list[float], other: list[float], clip: Clip, *, within_px: int = 3) -> bool:
    """Whether boxes agree to some pixels and rounding: the tips of stars and triangles are blended pixels of no
    colour's own.
    """
    return max(abs(a - b) for a, b in zip(box, other, strict=True)) <= 1000 * within_px / clip.width + 1


def test_every_problem_type_is_asked():
    types = {"multiple choice", "numerical", "regression", "math", "OCR", "open-ended", "spatial grounding"}
    types |= {"temporal grounding", "spatial-temporal grounding", "tracking", "segmentation"}
    assert {problem_type for problem_type, _ in KINDS} == types
    assert {data_type for problem_type, data_type in KINDS if problem_type == "segmentation"} == {"image", "video"}


@EACH_KIND
def test_a_sample_is_the_same_every_time_and_in_any_order(problem_type, data_type):
    for index, sample in reversed(list(enumerate(samples_of(problem_type, data_type, 4)))):
        again = make_sample(7, index, problem_type=problem_type, data_type=data_type)
        assert (sample.problem, sample.truth, sample.response, sample.masks) == (
            again.problem,
            again.truth,
            again.response,
            again.masks,
        )
        assert (clip_of(sample).frames == clip_of(again).frames).all()


@EACH_KIND
def test_scenes_differ_between_splits_seeds_and_numbers(problem_type, data_type):
    lists = [samples_of(problem_type, data_type, 40, split=split) for split in ("train", "test")]
    lists.append([make_sample(8, index, problem_type=problem_type, data_type=data_type) for index in range(40)])
    digests = [sha256(clip_of(sample).frames.tobytes()).digest() for samples in lists for sample in samples]
    assert len(set(digests)) == len(digests)


def test_problem_types_take_turns_and_pictures_and_clips_within_each():
    counts = Counter(
        (sample.problem_type, sample.data_type) for sample in (make_sample(0, index) for index in range(88))
    )
    assert set(counts) == set(KINDS)
    for problem_type, data_type in KINDS:
        both = sum(kind == problem_type for kind, _ in KINDS)
        assert counts[problem_type, data_type] == 8 // both


def test_a_problem_type_is_found_in_any_case():
    assert make_sample(0, 0, problem_type="ocr").problem_type == "OCR"


@pytest.mark.parametrize(
    "wrong", [{"problem_type": "poetry"}, {"problem_type": "tracking", "data_type": "image"}, {"side_px": 8}], ids=str
)
def test_what_cannot_be_made_is_named(wrong):
    with pytest.raises(DataError, match=r"poetry|tracking|side_px"):
        make_sample(0, 0, **wrong)


def test_questions_and_answers_use_few_words():
    samples = [sample for kind in KINDS for sample in samples_of(*kind, 100)]
    texts = [" ".join((sample.problem, sample.response or "", *sample.options)) for sample in samples]
    assert len(set(re.findall("[A-Za-z]+", " ".join(texts)))) < 130
    assert max(len(sample.problem) for sample in samples) < 60
    assert max(len(sample.response or "") for sample in samples) < 330


@EACH_KIND
def test_the_answer_is_the_released_form_without_spaces_between(problem_type, data_type):
    for sample in samples_of(problem_type, data_type, 20):
        assert (sample.response or "").endswith(f"</think><answer>{sample.truth}</answer>")
        if "grounding" in problem_type or problem_type in ("tracking", "segmentation"):
            assert json.dumps(json.loads(sample.truth), separators=(",", ":")) == sample.truth


def test_a_search_names_what_is_seen_up_to_the_thing_that_is_asked_about():
    ends = 0
    for index in range(200):
        sample = make_sample(1, index, problem_type="multiple choice", data_type="image")
        if asked := re.match(r"What (?:color is the|shape is) (\w+)", sample.problem):
            (seen,) = re.findall(r"I see (.*?)\.", sample.response)
            *before, last = seen.split(", ")
            right = sample.options["ABCD".index(sample.truth)].split(". ")[1]
            assert sorted(last.split()) == sorted((asked[1], right))
            assert not any({asked[1], right} & set(name.split()) for name in before)
            ends += bool(before)
    assert ends > 20


def test_a_box_lies_around_the_pixels_of_the_colour_asked_about():
    for sample in samples_of("spatial grounding", "image", 100):
        clip = clip_of(sample)
        assert near(json.loads(sample.truth)["boxes"], looked_up_box(color_asked_about(sample), clip.frames[0]), clip)


@pytest.mark.parametrize("data_type", ["image", "video"])
def test_a_segmentation_answer_agrees_with_its_mask(data_type):
    for sample in samples_of("segmentation", data_type, 100):
        answer, clip = json.loads(sample.truth), clip_of(sample)
        key = PICTURE if data_type == "image" else str(round(answer["time"] * FPS))
        mask = coco.decode(*sample.masks.frames[key]).astype(bool)
        rows, columns = np.nonzero(mask)
        extent_px = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
        assert answer["boxes"] == [round(1000 * int(edge) / clip.width) for edge in extent_px]
        for name, inside in (("positive_points", True), ("negative_points", False)):
            for x, y in answer[name]:
                assert 0 <= x < 1000
                assert 0 <= y < 1000
                assert mask[int(y * clip.height / 1000), int(x * clip.width / 1000)] == inside


def test_masks_of_a_clip_are_empty_where_the_thing_is_not_seen():
    for sample in samples_of("segmentation", "video", 30):
        color, clip = color_asked_about(sample), clip_of(sample)
        for frame, (rle,) in zip(clip.frames, sample.masks.frames.values(), strict=True):
            assert bool(coco.area(rle)) == pixels_of(color, frame).any()


def test_times_are_those_of_the_painted_frames():
    asked = Counter()
    for sample in samples_of("temporal grounding", "video", 150):
        clip, color = clip_of(sample), color_asked_about(sample)
        what = sample.problem.rstrip("?.").rsplit(" ", 1)[1]
        asked[what] += 1
        if what == "move":
            changes = [bool((a != b).any()) for a, b in zip(clip.frames, clip.frames[1:], strict=False)]
            frames = [k for k, changed in enumerate(changes) if changed]
            expected = [clip.times_s[frames[0]], clip.times_s[frames[-1] + 1]]
        else:
            seen = [bool(pixels_of(color, frame).any()) for frame in clip.frames]
            frames = [k for k, is_seen in enumerate(seen) if is_seen == (what == "visible")]
            assert frames == list(range(frames[0], frames[-1] + 1))
            expected = [clip.times_s[frames[0]], clip.times_s[frames[-1]]]
        assert json.loads(sample.truth)["time"] == expected, sample.problem
    assert set(asked) == {"visible", "move", "hidden"}


def test_spatial_temporal_keys_are_the_whole_seconds_of_the_span():
    for sample in samples_of("spatial-temporal grounding", "video", 60):
        answer, clip, color = json.loads(sample.truth), clip_of(sample), color_asked_about(sample)
        start, end = answer["time"]
        assert list(answer["boxes"]) == [str(second) for second in range(10) if start <= second <= end]
        seen = [
            time_s for time_s, frame in zip(clip.times_s, clip.frames, strict=True) if pixels_of(color, frame).any()
        ]
        assert [seen[0], seen[-1]] == [start, end]
        for second, box in answer["boxes"].items():
            assert near(box, looked_up_box(color, clip.frames[int(second) * FPS]), clip)


def test_tracking_key_k_is_the_frame_at_k_minus_1_seconds():
    found = []
    for sample in samples_of("tracking", "video", 60):
        boxes, clip, color = json.loads(sample.truth)["boxes"], clip_of(sample), color_asked_about(sample)
        assert list(boxes) == [str(key) for key in range(1, int(clip.duration_s) + 1)]
        assert sample.problem.endswith(f" at {json.dumps(boxes['1'], separators=(',', ':'))}.")
        for key, box in boxes.items():
            found.append(near(box, looked_up_box(color, clip.frames[(int(key) - 1) * FPS]), clip, within_px=6))
    # A corner that peeks out from behind another thing may be blended pixels only, and still part of the mask.
    assert sum(found) >= 0.99 * len(found)


def test_a_larger_painting_shows_the_same_scene():
    small, large = (make_sample(3, 6, side_px=side) for side in (128, 512))
    assert clip_of(large).frames.shape == (1, 512, 512, 3)
    assert small.problem == large.problem
    assert np.abs(np.subtract(json.loads(small.truth)["boxes"], json.loads(large.truth)["boxes"])).max() < 1000 / 128
