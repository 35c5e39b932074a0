"""What cannot be learned from is found before a run begins, and named with file, row, field, value and what to do."""

import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image

from onethinker.core.errors import DataError
from onethinker.data.formats.records import write_records
from onethinker.data.validate import check_files

TAGGED = "<think>I see.</think><answer>{}</answer>"


@pytest.fixture(scope="module")
def media(tmp_path_factory) -> Path:
    """A folder with a picture of 96 x 64, one that is cut short, an animation, and clips of 2 s."""
    folder = tmp_path_factory.mktemp("media")
    pixels = np.random.default_rng(0).integers(0, 255, (64, 96, 3)).astype(np.uint8)
    Image.fromarray(pixels).save(folder / "a.png")
    Image.fromarray(pixels).save(folder / "b.jpg")
    (folder / "cut.jpg").write_bytes((folder / "b.jpg").read_bytes()[:1500])
    (folder / "empty.png").touch()
    (folder / "text.png").write_text("no picture")
    Image.new("RGB", (96, 64)).save(
        folder / "moves.gif", save_all=True, append_images=[Image.new("RGB", (96, 64), "red")]
    )
    for name, form in (("clip.mp4", "mp4"), ("clip.ts", "mpegts")):
        with av.open(str(folder / name), "w", format=form) as container:
            stream = container.add_stream("libx264", rate=25)
            stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
            for number in range(50):
                frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
                frame.pts, frame.time_base = number, Fraction(1, 25)
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
    return folder


def about(medium: str, task: str, answer: Any, **more: Any) -> dict[str, Any]:
    """Return a record about a picture or clip; the answer is written as JSON unless it is a text."""
    kind = "video" if Path(medium).suffix in (".mp4", ".ts", ".mkv") else "image"
    text = answer if isinstance(answer, str) else json.dumps(answer)
    record = {"problem": "Which?", f"{kind}s": [medium], "data_type": kind, "problem_type": task, "answer": text}
    return record | {"response": TAGGED.format(text)} | more


def check(media: Path, *records: dict[str, Any], need: str = "response", **settings: Any):
    write_records(media / "data.jsonl", records)
    return check_files([media / "data.jsonl"], need=need, **settings)  # type: ignore[arg-type]


BOX = {"boxes": [100, 200, 300, 400]}
POINTS = {"positive_points": [[150, 250]] * 3, "negative_points": [[50, 50]] * 3}
RLE = {"size": [64, 96], "counts": [64 * 96]}
GOOD = {
    "picture": about("a.png", "spatial grounding", BOX),
    "clip": about("clip.mp4", "temporal grounding", {"time": [0.5, 2.0]}),
    "a hair beyond the end": about("clip.ts", "temporal grounding", {"time": [0.5, 2.4]}),
    "track": about("clip.mp4", "tracking", {"boxes": {"1": BOX["boxes"], "3": BOX["boxes"]}}),
    "mask": about("a.png", "segmentation", {**BOX, **POINTS}, segmentation_output={"segmentation_rle": RLE}),
    "half a mask's size": about(
        "a.png", "segmentation", {**BOX, **POINTS}, segmentation_output={"segmentation_rle": {**RLE, "size": [32, 48]}}
    ),
    "masks of a clip": about(
        "clip.mp4",
        "segmentation",
        {"time": 1, **BOX, **POINTS},
        segmentation_output={"frames": ["0", "1"], "segmentation_rle": {"0": RLE, "1": None}},
        fps=1,
    ),
}
WRONG = {
    "a video among the images": (
        about("a.png", "ocr", "x", images=["clip.mp4"]),
        r"'images' names .*clip\.mp4 as a picture, but it is a video",
    ),
    "an animation among the images": (
        about("a.png", "ocr", "x", images=["moves.gif"]),
        r"'images' names .*moves\.gif as a picture, but it is a",
    ),
    "a picture among the videos": (
        about("clip.mp4", "ocr", "x", videos=["b.jpg"]),
        r"'videos' names .*b\.jpg as a video, but it is a picture",
    ),
    "frames as pictures": (
        about("a.png", "tracking", BOX, data_type="video"),
        "'data_type' is video, but there are only pictures",
    ),
    "a picture as path of a video": (
        about("clip.mp4", "ocr", "x", videos=None, path="b.jpg"),
        r"'path' names .*b\.jpg as a video, but it is a picture",
    ),
    "a folder": (
        about("a.png", "ocr", "x", images=["."]),
        "is a folder or device; a picture or video must be a file",
    ),
    "a device": (about("a.png", "ocr", "x", images=["/dev/null"]), "/dev/null is a folder or device"),
    "a name that is too long": (
        about("a.png", "ocr", "x", images=["a" * 5000]),
        "cannot be opened: File name too long",
    ),
    "a span that ends after the clip": (
        about("clip.mp4", "temporal grounding", {"time": [1, 10]}),
        r"'time' ends at 10 s, but .*clip\.mp4 ends at 2\.00 s",
    ),
    "a span after a clip without a length": (
        about("clip.ts", "temporal grounding", {"time": [1, 3]}),
        r"'time' ends at 3 s, but .*clip\.ts ends at 2",
    ),
    "a span that runs backwards": (
        about("clip.mp4", "temporal grounding", {"time": [2, 1]}),
        "must end after it starts",
    ),
    "a key after the clip": (
        about("clip.mp4", "tracking", {"boxes": {"1": BOX["boxes"], "4": BOX["boxes"]}}),
        r"'boxes' has the key 4, which stands for second 3 s, but .*clip\.mp4 ends at 2\.00 s",
    ),
    "a tube after the clip": (
        about("clip.mp4", "spatial-temporal grounding", {"time": [1, 5], "boxes": {"2": BOX["boxes"]}}),
        r"'time' ends at 5 s, but .*clip\.mp4 ends",
    ),
    "a moment after the clip": (
        about("clip.mp4", "segmentation", {"time": 9, **BOX, **POINTS}),
        r"'time' is 9 s, but .*clip\.mp4 ends",
    ),
    "a mask with swapped sides": (
        about(
            "a.png",
            "segmentation",
            {**BOX, **POINTS},
            segmentation_output={"segmentation_rle": {**RLE, "size": [96, 64]}},
        ),
        (
            r"a mask's 'size' \(height, width\) .*its sides are swapped: it is 64 wide and 96 high, unlike the 96 x 64"
            r" of .*a\.png"
        ),
    ),
    "a clip's masks with swapped sides": (
        about(
            "clip.mp4",
            "segmentation",
            {"time": 1, **BOX, **POINTS},
            segmentation_output={"frames": ["0"], "segmentation_rle": {"0": {**RLE, "size": [96, 64]}}},
            fps=1,
        ),
        r"its sides are swapped: .*clip\.mp4",
    ),
    "a mask of another shape": (
        about(
            "a.png",
            "segmentation",
            {**BOX, **POINTS},
            segmentation_output={"segmentation_rle": {**RLE, "size": [64, 64]}},
        ),
        "it is 64 wide and 64 high, unlike the 96 x 64",
    ),
    "a resolution with swapped sides": (
        about("a.png", "ocr", "x", resolution={"width": 64, "height": 96}),
        "'resolution': its sides are swapped",
    ),
    "a response without tags": (
        about("a.png", "ocr", "x", response="It says x."),
        r"the response has no <answer>…</answer>.*got 'It says x\.'",
    ),
    "a response without an answer": (
        about("a.png", "ocr", "x", response="<think>x</think>"),
        "the response has no <answer>",
    ),
    "a response of another form": (
        about("a.png", "spatial grounding", BOX, response=TAGGED.format("left")),
        "the response's answer block is not an answer to 'spatial grounding'",
    ),
    "a response with boxes from 0 to 1": (
        about("a.png", "spatial grounding", BOX, response=TAGGED.format('{"boxes": [0.1, 0.2, 0.3, 0.4]}')),
        "the response's answer block has boxes with coordinates from 0 to 1",
    ),
}


@pytest.mark.parametrize("record", GOOD.values(), ids=GOOD)
def test_what_is_right_is_taken_without_a_word(media, record):
    checked = check(media, record)
    assert (checked.count, checked.lines()) == (1, [])


@pytest.mark.parametrize(("record", "said"), WRONG.values(), ids=WRONG)
def test_what_is_surely_wrong_is_an_error_with_its_place(media, record, said):
    with pytest.raises(DataError, match=rf"data\.jsonl, row 2: {said}|data\.jsonl, row 2: .*{said}"):
        check(media, GOOD["picture"], record, GOOD["clip"])


def test_wrong_records_can_be_left_out_and_are_named(media):
    checked = check(
        media, GOOD["picture"], WRONG["a folder"][0], GOOD["clip"], WRONG["a key after the clip"][0], invalid="skip"
    )
    assert [record.row for record in checked.records] == [1, 3]
    assert [problem.row for problem in checked.invalid] == [2, 4]
    [said] = checked.lines()
    assert said.startswith("2 of 4 records: ")
    assert "row 2" in said
    assert "row 4" in said


def test_files_of_which_nothing_is_right_are_an_error_also_where_records_may_be_left_out(media):
    with pytest.raises(DataError, match="row 1"):
        check(media, WRONG["a folder"][0], invalid="skip")


@pytest.mark.parametrize(
    ("name", "said"), [("cut.jpg", "cut short"), ("empty.png", "is empty"), ("text.png", "cannot be read")]
)
def test_media_that_cannot_be_read_are_named_and_are_an_error_beyond_their_share(media, name, said):
    records = [GOOD["picture"]] * 3 + [about("a.png", "ocr", "x", images=[name])]
    checked = check(media, *records, max_corrupt_fraction=0.25)
    assert len(checked.records) == 4
    [line] = checked.lines()
    assert "1 of 4 records" in line
    assert name in line
    with pytest.raises(
        DataError,
        match=rf"media of 1 of 4 records cannot be read, more than data\.max_corrupt_fraction = 0\.2 allows.*{said}",
    ):
        check(media, *records, max_corrupt_fraction=0.2)


def test_doubtful_records_are_said_once_a_kind_with_their_rows(media):
    loose = about("a.png", "ocr", "x", response="<answer>x</answer>")
    blind = about("a.png", "ocr", "x", images=None)
    checked = check(media, GOOD["picture"], loose, loose, blind)
    said = checked.lines()
    assert len(said) == 2
    assert any(
        "2 of 4 records: " in line and "not one think block" in line and "data.jsonl row 3" in line for line in said
    )
    assert any("1 of 4 records: " in line and "no picture or video to the question" in line for line in said)


@pytest.mark.parametrize(("task", "said", "truth"), [("multiple choice", "(B) dog", "A"), ("numerical", "12", "13")])
def test_a_response_that_its_own_reference_contradicts_is_doubtful(media, task, said, truth):
    more = {"options": ["A. cat", "B. dog"]} if task == "multiple choice" else {}
    [line] = check(media, GOOD["picture"], about("a.png", task, truth, response=TAGGED.format(said), **more)).lines()
    assert f"row 2: the response answers {said!r}, but the record's reference answer is {truth!r}" in line
    assert check(media, about("a.png", task, said, **more)).lines() == []


def test_boxes_that_look_like_pixels_are_doubtful(media):
    pixels = [about("a.png", "spatial grounding", {"boxes": [n, 2, 30 + n, 60]}) for n in range(10)]
    [said] = check(media, *pixels).lines()
    assert "10 of 10 records" in said
    assert "seem to be in pixels" in said
    assert check(media, *pixels[:9]).lines() == []
    assert check(media, *pixels, GOOD["picture"]).lines() == []


def test_an_mp4_that_is_cut_short_is_doubtful(media):
    content = (media / "clip.mp4").read_bytes()
    index = content.index(b"moov") - 4
    (media / "short.mp4").write_bytes((content[:32] + content[index:] + content[32:index])[:-50])
    [said] = check(media, about("short.mp4", "ocr", "x")).lines()
    assert "short.mp4: it is cut short: 50 bytes are missing at its end" in said
    with pytest.raises(
        DataError, match=r"media of 1 of 1 records cannot be read.*50 bytes are missing.*data\.strict_media"
    ):
        check(media, about("short.mp4", "ocr", "x"), max_corrupt_fraction=0.5, strict_media=True)


def test_rl_needs_no_response_and_sft_no_truth(media):
    record = {**GOOD["picture"], "response": None}
    assert check(media, record, need="truth").lines() == []
    with pytest.raises(DataError, match="SFT needs a complete response"):
        check(media, record)
    assert check(media, {**GOOD["picture"], "answer": ""}).lines() == []
