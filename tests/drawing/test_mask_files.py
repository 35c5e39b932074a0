"""Masks on disk: palette pictures and folders that DAVIS and YouTube-VOS tools read."""

import json

import numpy as np
import pytest
from PIL import Image

from onethinker.core.errors import DataError, StorageError
from onethinker.drawing.mask_files import palette, write_mask_folder, write_mask_json, write_mask_png

MASK = np.zeros((6, 9), bool)
MASK[1:4, 2:7] = True
EMPTY = np.zeros((6, 9), bool)


def test_the_palette_is_that_of_davis():
    colors = np.frombuffer(palette(), np.uint8).reshape(-1, 3)
    # The first lines of the palette file that DAVIS ships.
    assert colors[:8].tolist() == [
        [0, 0, 0],
        [128, 0, 0],
        [0, 128, 0],
        [128, 128, 0],
        [0, 0, 128],
        [128, 0, 128],
        [0, 128, 128],
        [128, 128, 128],
    ]
    assert colors[[8, 9, 255]].tolist() == [[64, 0, 0], [192, 0, 0], [224, 224, 192]]


def test_a_palette_picture_holds_object_numbers_not_colours(tmp_path):
    write_mask_png(tmp_path / "mask.png", MASK, "made by a test")
    with Image.open(tmp_path / "mask.png") as image:
        assert image.mode == "P"
        np.testing.assert_array_equal(np.array(image), MASK.astype(np.uint8))
        assert image.convert("RGB").getpixel((3, 2)) == (128, 0, 0)
        assert image.text == {"Comment": "made by a test"}


def test_a_folder_is_laid_out_as_youtube_vos_has_it(tmp_path):
    write_mask_folder(tmp_path / "out", "clip", {0: MASK, 5: EMPTY, 10: MASK}, category="a cat", comment="who")
    assert sorted(path.name for path in (tmp_path / "out" / "Annotations" / "clip").iterdir()) == [
        "00000.png",
        "00005.png",
        "00010.png",
    ]
    meta = json.loads((tmp_path / "out" / "meta.json").read_text())
    assert meta["videos"]["clip"]["objects"] == {"1": {"category": "a cat", "frames": ["00000", "00010"]}}


def test_another_video_is_added_and_the_same_one_replaced(tmp_path):
    write_mask_folder(tmp_path, "first", {0: MASK}, category="a")
    write_mask_folder(tmp_path, "second", {0: MASK, 1: MASK}, category="b")
    write_mask_folder(tmp_path, "second", {7: MASK}, category="c")
    meta = json.loads((tmp_path / "meta.json").read_text())
    assert {name: video["objects"]["1"]["category"] for name, video in meta["videos"].items()} == {
        "first": "a",
        "second": "c",
    }
    assert [path.name for path in (tmp_path / "Annotations" / "second").iterdir()] == ["00007.png"]
    assert sorted(path.name for path in (tmp_path / "Annotations").iterdir()) == ["first", "second"]


@pytest.mark.parametrize("content", ["[]", "{", '{"videos": []}'])
def test_a_folder_with_another_meta_file_is_left_alone(tmp_path, content):
    (tmp_path / "meta.json").write_text(content)
    with pytest.raises(DataError, match=r"meta\.json"):
        write_mask_folder(tmp_path, "clip", {0: MASK}, category="a")
    assert (tmp_path / "meta.json").read_text() == content
    assert not (tmp_path / "Annotations").exists()


def test_what_cannot_be_written_is_an_error_that_names_it(tmp_path):
    (tmp_path / "file").write_text("")
    for write in (
        lambda path: write_mask_png(path / "mask.png", MASK),
        lambda path: write_mask_json(path / "mask.json", {}),
        lambda path: write_mask_folder(path, "clip", {0: MASK}, category="a"),
    ):
        with pytest.raises((StorageError, DataError), match="file"):
            write(tmp_path / "file")
