"""What a Python program holds becomes the same picture or video as a file of it would."""

import io

import numpy as np
import pytest
import torch
from PIL import Image

from onethinker.core.errors import MediaError
from onethinker.core.frames import Clip
from onethinker.core.sources import MemoryFile
from onethinker.media.budget import ExactBudget
from onethinker.media.memory import as_media
from onethinker.media.reading import read_clip
from onethinker.media.writing import write_video

PICTURE = np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)
FRAMES = np.random.default_rng(1).integers(0, 256, (6, 40, 60, 3), np.uint8)
EXACT = ExactBudget(image_min_pixels=1024, frame_min_pixels=1024, fps=60)


def png(frame=PICTURE):
    file = io.BytesIO()
    Image.fromarray(frame).save(file, "PNG")
    return file.getvalue()


def only(given, **how):
    [medium] = as_media(given, **how)
    return read_clip(medium, EXACT)


def tensor(array=PICTURE):
    return torch.from_numpy(array.copy())


@pytest.mark.parametrize(
    "given",
    [
        pytest.param(PICTURE, id="numpy H W 3"),
        pytest.param(np.moveaxis(PICTURE, -1, 0), id="numpy 3 H W"),
        pytest.param(PICTURE[::-1][::-1], id="numpy view with negative strides"),
        pytest.param(PICTURE / 255, id="numpy float64 0 to 1"),
        pytest.param((PICTURE / 255).astype(np.float16), id="numpy float16"),
        pytest.param(np.dstack([PICTURE, np.full((40, 60), 255, np.uint8)]), id="numpy RGBA, opaque"),
        pytest.param(tensor(), id="torch H W 3"),
        pytest.param(tensor().permute(2, 0, 1), id="torch 3 H W"),
        pytest.param(tensor().permute(2, 0, 1) / 255, id="torch float 3 H W"),
        pytest.param((tensor() / 255).requires_grad_(), id="torch with a gradient"),
        pytest.param(Image.fromarray(PICTURE), id="PIL"),
        pytest.param(png(), id="bytes"),
        pytest.param(bytearray(png()), id="bytearray"),
        pytest.param(memoryview(png()), id="memoryview"),
        pytest.param(io.BytesIO(png()), id="open file"),
        pytest.param([PICTURE], id="a list of one"),
        pytest.param((png(),), id="a tuple of one"),
    ],
)
def test_a_picture_in_memory_is_the_picture(given):
    clip = only(given)
    assert (clip.kind, clip.source_width, clip.source_height) == ("image", 60, 40)
    assert clip.frames[0].tolist() == PICTURE.tolist()


def test_paths_are_read_as_they_are_and_know_the_home_folder(tmp_path, monkeypatch):
    (tmp_path / "a.png").write_bytes(png())
    monkeypatch.setenv("HOME", str(tmp_path))
    for given in (tmp_path / "a.png", str(tmp_path / "a.png"), "~/a.png"):
        assert only(given).frames[0].tolist() == PICTURE.tolist()


@pytest.mark.parametrize(
    "color", [np.full((2, 2), 90, np.uint8), np.full((2, 2, 1), 90, np.uint8)], ids=["H W", "H W 1"]
)
def test_gray_becomes_three_equal_colours(color):
    [clip] = as_media(color)
    assert clip.frames[0].tolist() == [[[90, 90, 90]] * 2] * 2


def test_what_is_transparent_becomes_white_in_arrays_as_in_files():
    clear = np.zeros((8, 9, 4), np.uint8)
    clear[..., 3] = np.arange(72).reshape(8, 9)
    [array], [image] = as_media(clear), as_media(Image.fromarray(clear))
    assert array.frames.tolist() == image.frames.tolist()


def test_bfloat16_is_read_within_its_three_digits():
    [clip] = as_media((tensor() / 255).to(torch.bfloat16))
    assert np.abs(clip.frames[0].astype(int) - PICTURE).max() <= 1


@pytest.mark.parametrize(
    "given",
    [
        pytest.param(FRAMES, id="numpy T H W 3"),
        pytest.param(np.moveaxis(FRAMES, -1, 1), id="numpy T 3 H W"),
        pytest.param(tensor(FRAMES), id="torch T H W 3"),
        pytest.param(tensor(FRAMES).permute(0, 3, 1, 2) / 255, id="torch float T 3 H W"),
        pytest.param(list(FRAMES), id="a list of arrays"),
        pytest.param([Image.fromarray(frame) for frame in FRAMES], id="a list of PIL images"),
        pytest.param([tensor(frame) for frame in FRAMES], id="a list of tensors"),
    ],
)
def test_frames_with_a_rate_are_one_video(given):
    clip = only(given, fps=2)
    assert (clip.kind, clip.duration_s, clip.times_s) == ("video", 3.0, (0.0, 0.5, 1.0, 1.5, 2.0, 2.5))
    assert clip.frames.tolist() == FRAMES.tolist()


def test_a_video_file_in_memory_is_the_video(tmp_path):
    write_video(tmp_path / "a.mp4", FRAMES, fps=2)
    read = read_clip(tmp_path / "a.mp4", EXACT)
    with (tmp_path / "a.mp4").open("rb") as file:
        for given in (file, (tmp_path / "a.mp4").read_bytes()):
            held = only(given)
            assert (held.kind, held.times_s) == ("video", read.times_s)
            assert held.frames.tolist() == read.frames.tolist()


def test_several_media_keep_their_order():
    video = np.zeros((2, 40, 60, 3), np.uint8)
    clips = as_media([PICTURE, video, Image.new("RGB", (5, 6))], fps=1)
    assert [(clip.kind, clip.source_width) for clip in clips] == [("image", 60), ("video", 60), ("image", 5)]


def test_an_animation_that_pillow_opened_is_a_video_and_stays_where_it_was(tmp_path):
    frames = [Image.new("RGB", (40, 40), color) for color in ("red", "lime", "blue")]
    frames[0].save(tmp_path / "a.webp", save_all=True, append_images=frames[1:], duration=500, lossless=True)
    with Image.open(tmp_path / "a.webp") as image:
        image.seek(1)
        clip = only(image)
        assert image.tell() == 1
    assert (clip.kind, clip.duration_s, clip.name) == ("video", 1.5, "a.webp")


def test_a_photograph_is_upright_and_the_callers_image_unchanged(tmp_path):
    image = Image.fromarray(PICTURE)
    exif = image.getexif()
    exif[0x0112] = 6
    image.save(tmp_path / "a.png", exif=exif)
    with Image.open(tmp_path / "a.png") as opened:
        clip = only(opened)
        assert opened.size == (60, 40)
    assert (clip.source_width, clip.source_height) == (40, 60)
    assert clip.frames.tolist() == read_clip(tmp_path / "a.png", EXACT).frames.tolist()


def test_a_buffer_that_is_written_again_does_not_change_what_was_asked_about():
    buffer = PICTURE.copy()
    [clip] = as_media(buffer)
    buffer[:] = 0
    assert clip.frames[0].tolist() == PICTURE.tolist()


@pytest.mark.parametrize(
    ("given", "fps", "expected"),
    [
        pytest.param([], None, "the list is empty", id="empty list"),
        pytest.param(None, None, "expected a path.*got NoneType", id="none"),
        pytest.param({"a": 1}, None, "expected a path.*got dict", id="mapping"),
        pytest.param(3, None, "got int", id="number"),
        pytest.param(PICTURE.astype(np.int64), None, r"got int64: array.astype\('uint8'\)", id="int64"),
        pytest.param(PICTURE.astype(np.uint16), None, r"\(array // 257\)", id="uint16"),
        pytest.param(PICTURE > 9, None, r"got bool: array.astype\('uint8'\) \* 255", id="bool"),
        pytest.param(PICTURE.astype(np.float32), None, "got 0 to 255: divide by 255", id="floats to 255"),
        pytest.param(PICTURE / 100 - 1, None, "undo what normalized them", id="normalized"),
        pytest.param(PICTURE / 250, None, "clip them", id="a little above 1"),
        pytest.param(PICTURE * np.nan, None, "NaN", id="NaN"),
        pytest.param(PICTURE.astype(object), None, "got object", id="objects"),
        pytest.param(FRAMES, None, "is 6 frames: give fps=", id="frames without a rate"),
        pytest.param(FRAMES[..., 0], 2, r"6x40x60 has no axis.*array\[..., None\]", id="gray frames"),
        pytest.param(FRAMES[..., :2], 2, r"expected \(T, H, W, 3\)", id="two colours"),
        pytest.param(FRAMES[None], 2, "1x6x40x60x3", id="a batch of videos"),
        pytest.param(PICTURE[0, 0], None, "shape 3", id="a vector"),
        pytest.param(np.uint8(3), None, "single number", id="a scalar"),
        pytest.param(PICTURE[:0], None, "shape 0x60x3", id="no rows"),
        pytest.param(
            np.zeros((3, 9, 3), np.uint8), None, "colour axis first or last", id="three rows of three colours"
        ),
        pytest.param(FRAMES, 0, "fps must be more than 0", id="no rate"),
        pytest.param(FRAMES, float("nan"), "fps must be more than 0", id="a rate that is no number"),
        pytest.param(PICTURE, 2, "fps= is for frames in memory", id="a rate for a picture"),
        pytest.param("a.mp4", 2, "fps= is for frames in memory", id="a rate for a file"),
        pytest.param([PICTURE, PICTURE[:9]], 2, "the same size, got 60 x 40, 60 x 9", id="frames of two sizes"),
        pytest.param(iter(FRAMES), 2, r"got iterator: give list\(…\) of it", id="iterator"),
        pytest.param("https://example.com/a.jpg", None, "the result of onethinker.media.remote.fetch", id="address"),
        pytest.param("data:image/png;base64,aGk=", None, "addresses are not opened", id="data address"),
        pytest.param(io.StringIO("hi"), None, "open it with 'rb'", id="text file"),
        pytest.param(io.BytesIO(), None, r"seek\(0\)", id="file at its end"),
        pytest.param([PICTURE, "a.png", 4], None, "got int", id="one bad of three"),
    ],
)
def test_what_cannot_be_meant_is_refused_with_what_to_do(given, fps, expected):
    with pytest.raises(MediaError, match=expected):
        as_media(given, fps=fps)


def test_a_closed_image_and_a_closed_file_are_named(tmp_path):
    (tmp_path / "a.png").write_bytes(png())
    image, file = Image.open(tmp_path / "a.png"), (tmp_path / "a.png").open("rb")
    image.close()
    file.close()
    with pytest.raises(MediaError, match=r"a\.png: the PIL image cannot be read"):
        as_media(image)
    with pytest.raises(MediaError, match="closed file"):
        as_media(file)


def test_bytes_that_are_no_picture_are_named():
    with pytest.raises(MediaError, match="file in memory: cannot be read as a picture or video"):
        only(b"hello world, this is no picture")


def test_what_holds_pixels_prints_a_line():
    clip = Clip("video", FRAMES, tuple(range(6)), tuple(range(6)), 60, 40, 6.0, "a.mp4")
    assert repr(clip) == "Clip('a.mp4', video of 6 s, 6 frames of 60 x 40, source 60 x 40)"
    assert repr(MemoryFile(png(), "a.png")) == "MemoryFile(name='a.png')"
