"""A record may mean seconds of a video, a first box and a licence: they are read, shown, checked, counted and kept."""

import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from onethinker.cli import main
from onethinker.core.errors import DataError
from onethinker.core.geometry import Box
from onethinker.core.sources import VideoPart
from onethinker.data.check import Look, Tally, find_faults
from onethinker.data.formats.released import read_samples, record_from_sample, sample_from_record
from onethinker.inference.encode import worded
from onethinker.media.budget import MediaBudget
from onethinker.media.reading import read_clip
from onethinker.tasks.template import PromptTemplate

BOX = [100, 200, 300, 400]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A clip of 4 s that is black before the second 2 and white from there on."""
    folder = tmp_path_factory.mktemp("parts")
    with av.open(str(folder / "clip.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        for number in range(40):
            frame = av.VideoFrame.from_ndarray(np.full((64, 96, 3), 255 * (number >= 20), np.uint8), format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, 10)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return folder


def record(**more: Any) -> dict[str, Any]:
    about = {"problem": "<video><video>When?", "problem_type": "temporal grounding", "data_type": "video"}
    media = {"videos": ["clip.mp4", "clip.mp4"], "clips": [[2, 4], None]}
    return {**about, **media, "answer": '{"time": [0.5, 1.5]}', "problem_id": 7, **more}


def tracking(**more: Any) -> dict[str, Any]:
    own = {"problem": "<video>Track the cup.", "problem_type": "tracking", "videos": ["clip.mp4"], "clips": [[2, None]]}
    return record(**own, answer=json.dumps({"boxes": {"1": BOX}}), first_box=BOX, license="cc-by-4.0", **more)


def sample_of(record: dict[str, Any], folder: Path):
    return sample_from_record(record, root=folder, default_id="x")


def faults(folder: Path, *records: dict[str, Any]) -> list[tuple[str, str]]:
    file = folder / "samples.jsonl"
    file.write_text("".join(json.dumps(one) + "\n" for one in records))
    return [(problem.kind, problem.text) for problem in find_faults([file], Tally(), Look())]


def test_only_the_seconds_that_are_meant_are_decoded(folder):
    first, second = sample_of(record(), folder).media
    assert first == VideoPart(folder / "clip.mp4", 2.0, 4.0)
    assert second == folder / "clip.mp4"
    clip = read_clip(first, MediaBudget())
    assert clip.times_s[0] == 0.0
    assert clip.duration_s == pytest.approx(2.0, abs=0.11)  # of ten frames a second, the last one lasts
    assert clip.frames.min() > 200
    assert read_clip(second, MediaBudget()).frames.min() < 50


def test_parts_first_box_and_licence_are_written_as_they_were_read(folder):
    for given in (record(), tracking()):
        sample = sample_of(given, folder)
        written = record_from_sample(sample, root=folder)
        assert sample_of(written, folder) == sample
        for name in ("clips", "license", "first_box"):
            assert written.get(name) == given.get(name)


def test_the_first_box_is_asked_once(folder):
    sample = sample_of(tracking(), folder)
    assert sample.first_box == Box(*BOX)
    assert "Track the cup at [100,200,300,400]." in worded(sample, (), PromptTemplate(), coordinates="thousandths").text
    said = sample_of(tracking() | {"problem": "<video>Track what is at [100, 200, 300, 400]."}, folder)
    assert worded(said, (), PromptTemplate(), coordinates="thousandths").text.startswith(
        "Track what is at [100, 200, 300, 400].\n"
    )


def test_a_truth_must_lie_within_its_part(folder):
    assert faults(folder, record(videos=["clip.mp4"], problem="<video>When?", clips=[[2, 4]])) == []
    [(kind, text)] = faults(folder, record(videos=["clip.mp4"], problem="<video>When?", clips=[[3.4, 4]]))
    assert kind == "media"
    assert "clip.mp4, 3.4 s to 4 s ends at 0.6" in text
    [(kind, text)] = faults(folder, record(clips=[[9, 12], None]))
    assert kind == "media"
    assert "clip.mp4, 9 s to 12 s: the video ends at 4.00 s" in text


def test_lengths_are_counted_of_parts_and_licences_and_parts_stay(folder, tmp_path, capsys):
    faults(folder, record(), tracking())
    for words in (["stats"], ["filter", "--output", str(tmp_path / "kept.jsonl"), "--at-least", "seconds=3"]):
        with pytest.raises(SystemExit, match="0"):
            main(["data", words[0], str(folder / "samples.jsonl"), *words[1:], "--json"])
    sources = json.loads(capsys.readouterr().out.splitlines()[0])["tasks"]
    assert {one["task"]: one["measures"]["seconds"]["mean"] for one in sources} == {
        "temporal grounding": 6,
        "tracking": 2,
    }
    [kept] = read_samples(tmp_path / "kept.jsonl")
    assert kept.media[0] == VideoPart(folder / "clip.mp4", 2.0, 4.0)


def test_another_form_does_not_show_the_whole_video_instead(folder, tmp_path, capsys):
    faults(folder, tracking())
    with pytest.raises(SystemExit, match="1"):
        main(["data", "convert", str(folder / "samples.jsonl"), str(tmp_path / "x.json"), "--to", "rl"])
    assert "lost: that only" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"clips": [[2, 4]]}, "for each of 2 videos"),
        ({"clips": "2-4"}, "for each of 2 videos"),
        ({"clips": [[4, 2], None]}, r"with start before end, got \[4, 2\]"),
        ({"clips": [[-1, 2], None]}, "in seconds"),
        ({"clips": [["0", 2], None]}, "in seconds"),
        ({"clips": [2, None]}, "in seconds"),
        ({"first_box": [0, 0, 2000, 10]}, "thousandths"),
        ({"first_box": [0.1, 0.1, 0.5, 0.5]}, "thousandths"),
        ({"first_box": [10, 10, 5, 20]}, "thousandths"),
        ({"first_box": BOX}, "is only for tracking questions, but this record is 'temporal grounding'"),
        ({"license": 4}, "'license' must be a text"),
        ({"licence": "mit"}, "did you mean 'license'"),
    ],
)
def test_what_cannot_be_meant_is_named(folder, wrong, said):
    with pytest.raises(DataError, match=said):
        sample_of(record(**wrong), folder)


def test_tracks_of_two_things_in_one_video_are_no_duplicates(folder):
    others = [5, 6, 70, 80]
    assert faults(folder, tracking(), tracking(problem_id=8) | {"first_box": others}) == []
    [(kind, _)] = faults(folder, tracking(), tracking(problem_id=8))
    assert kind == "duplicate"
