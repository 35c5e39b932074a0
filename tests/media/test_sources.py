import base64
import csv
import io

import numpy as np
import pytest
from PIL import Image

from onethinker.core.errors import MediaError
from onethinker.core.sources import FrameFolder, TablePicture, picture_texts
from onethinker.media.budget import MediaBudget
from onethinker.media.reading import read_clip

BUDGET = MediaBudget(fps=2)


def png(colour, size=(64, 64)) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", size, colour).save(file, "PNG")
    return file.getvalue()


def frame_folder(folder, grays, size=(64, 64)) -> tuple[str, ...]:
    folder.mkdir()
    for number, gray in enumerate(grays):
        (folder / f"{number:05d}.png").write_bytes(png((gray,) * 3, size))
    return tuple(f"{number:05d}.png" for number in range(len(grays)))


def test_a_folder_of_frames_is_a_video_with_the_times_of_its_rate(tmp_path):
    names = frame_folder(tmp_path / "walk", range(0, 200, 10))
    clip = read_clip(FrameFolder(tmp_path / "walk", names, fps=10), BUDGET)
    assert clip.kind == "video"
    assert clip.times_s == (0.0, 0.5, 1.0, 1.5)
    assert clip.frames[:, 0, 0, 0].tolist() == [0, 50, 100, 150]
    assert (clip.duration_s, clip.source_width, clip.name) == (2.0, 64, "walk")


@pytest.mark.parametrize("names", [(), ("absent.png",), ("text.png",)], ids=["none", "absent", "no picture"])
def test_a_folder_without_its_frames_is_an_error_that_names_it(tmp_path, names):
    (tmp_path / "walk").mkdir()
    (tmp_path / "walk" / "text.png").write_text("no picture")
    with pytest.raises(MediaError, match="walk" if not names else names[0]):
        read_clip(FrameFolder(tmp_path / "walk", names, fps=10), BUDGET)


def table_with(tmp_path, *fields) -> tuple:
    text = io.StringIO()
    csv.writer(text, delimiter="\t", lineterminator="\n").writerow(fields)
    (tmp_path / "table.tsv").write_bytes(b"index\timage\n" + text.getvalue().encode())
    return tmp_path / "table.tsv", len(b"index\timage\n"), len(text.getvalue().encode())


def test_a_picture_in_a_table_is_read_where_it_lies(tmp_path):
    pictures = [base64.b64encode(png(colour)).decode() for colour in ("red", "blue")]
    table, offset, length = table_with(tmp_path, 'a "quoted"\nname', str(pictures))
    clips = [read_clip(TablePicture(table, offset, length, column=1, index=n), BUDGET) for n in (0, 1)]
    assert [clip.frames[0, 0, 0].tolist() for clip in clips] == [[255, 0, 0], [0, 0, 255]]
    assert clips[0].kind == "image"


@pytest.mark.parametrize(
    ("field", "column"),
    [("no base64!", 1), (base64.b64encode(b"no picture").decode(), 1), ("x", 7), ("['a'", 1)],
    ids=str,
)
def test_a_field_without_a_picture_is_an_error_that_names_the_table(tmp_path, field, column):
    table, offset, length = table_with(tmp_path, "1", field)
    with pytest.raises(MediaError, match=r"table\.tsv"):
        read_clip(TablePicture(table, offset, length, column), BUDGET)


def test_frames_of_a_folder_are_sized_like_the_first(tmp_path):
    names = frame_folder(tmp_path / "walk", [1, 2], size=(96, 64))
    Image.new("L", (48, 32), 9).save(tmp_path / "walk" / names[1])
    assert np.unique(read_clip(FrameFolder(tmp_path / "walk", names, fps=2), BUDGET).frames[1]).tolist() == [9]


def test_a_list_that_is_none_is_refused():
    with pytest.raises(ValueError, match="not a list"):
        picture_texts("[1, 2]")
