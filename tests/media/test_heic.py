"""HEIC, as phones take pictures: read where pillow-heif is installed, named where it is not."""

import io
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from onethinker.core.errors import MediaError
from onethinker.media.budget import MediaBudget
from onethinker.media.headers import read_header
from onethinker.media.reading import read_clip


@pytest.fixture
def phone_photo(tmp_path: Path) -> Path:
    """A picture of 320 x 200 pixels, red with a blue left half, taken with the phone turned by a quarter."""
    heif = pytest.importorskip("pillow_heif")
    picture = Image.new("RGB", (320, 200), "red")
    picture.paste("blue", (0, 0, 160, 200))
    orientation = Image.Exif()
    orientation[274] = 6
    heif.register_heif_opener()
    content = io.BytesIO()
    picture.save(content, "HEIF", exif=orientation.tobytes())
    path = tmp_path / "IMG_0001.HEIC"
    path.write_bytes(content.getvalue())
    return path


def test_a_phones_picture_is_read_upright(phone_photo):
    clip = read_clip(phone_photo, MediaBudget())
    assert (clip.kind, clip.source_width, clip.source_height, clip.problems) == ("image", 200, 320, ())
    top, bottom = clip.frames[0, 20].mean(0), clip.frames[0, -20].mean(0)
    assert np.argmax(top) == 2
    assert np.argmax(bottom) == 0
    header = read_header(phone_photo)
    assert (header.width, header.height, header.problems) == (200, 320, ())


def test_one_that_is_cut_short_is_refused(phone_photo):
    phone_photo.write_bytes(phone_photo.read_bytes()[:-200])
    for read in (read_header, lambda path: read_clip(path, MediaBudget())):
        with pytest.raises(MediaError, match=r"IMG_0001\.HEIC"):
            read(phone_photo)


def test_without_its_decoder_the_message_says_what_to_install(tmp_path, monkeypatch):
    (tmp_path / "a.heic").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic")
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(MediaError, match="is a HEIC picture: pip install pillow-heif"):
        read_clip(tmp_path / "a.heic", MediaBudget())
