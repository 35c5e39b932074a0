"""Spans and boxes of videos in the layouts of their authors: Charades-STA, ActivityNet, GOT-10k."""

import json
from pathlib import Path

import pytest
from PIL import Image

from onethinker.core.errors import DataError
from onethinker.data.published.got10k import read_got10k
from onethinker.data.published.temporal import (
    read_activitynet_captions,
    read_activitynet_rtl,
    read_charades_sta,
)
from onethinker.evaluation.parts import check_samples
from onethinker.media.budget import MediaBudget
from onethinker.media.reading import read_clip
from tests.evaluation.layouts.writing import write

# Moments


def test_charades_sta_lines_are_spans(tmp_path):
    path = write(
        tmp_path / "charades_sta_test.txt", "3MSZA 24.3 30.4##person turn a light on.\nAO8RW 0.0 6.9##a person reads\n"
    )
    first, second = read_charades_sta(path, tmp_path)
    assert (first.truth, first.media) == ('{"time": [24.3, 30.4]}', (tmp_path / "Charades_v1_480/3MSZA.mp4",))
    assert "person turn a light on." in first.problem
    check_samples([first, second])


@pytest.mark.parametrize(
    "line", ["3MSZA 24.3##x", "3MSZA a b##x", "3MSZA 5.0 5.0##x", "3MSZA 5.0.1 6.0##x", "3MSZA 5.0 6.0##"]
)
def test_a_bad_line_of_charades_sta_is_named(tmp_path, line):
    path = write(tmp_path / "charades_sta_test.txt", f"AO8RW 0.0 6.9##x\n{line}\n")
    with pytest.raises(DataError, match=r"charades_sta_test\.txt, line 2"):
        list(read_charades_sta(path, tmp_path))


def test_activitynet_sentences_are_spans_inside_their_video(tmp_path):
    video = {"duration": 50.0, "timestamps": [[0.5, 12.5], [40, 55.2], [30, 20]], "sentences": ["a", " b", "c"]}
    path = write(tmp_path / "activitynet/val_2.json", {"v_uqiMw7tQ1Cc": video})
    (tmp_path / "activitynet/videos").mkdir()
    (tmp_path / "activitynet/videos/v_uqiMw7tQ1Cc.mkv").write_bytes(b"")
    samples = list(read_activitynet_captions(path, tmp_path))
    assert [json.loads(sample.truth)["time"] for sample in samples] == [[0.5, 12.5], [40, 50], [20, 30]]
    assert samples[0].media == (tmp_path / "activitynet/videos/v_uqiMw7tQ1Cc.mkv",)
    check_samples(samples)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"duration": "50"}, "'duration'"),
        ({"sentences": ["a"]}, "2 'timestamps' for 1 'sentences'"),
        ({"timestamps": [[1, 2], [3]]}, "sentence 1: 'timestamps'"),
        ({"timestamps": [[1, 2], [60, 70]]}, "sentence 1: 'time' must end after it starts"),
        ({"sentences": ["a", ""]}, "sentence 1: 'sentences'"),
    ],
    ids=["duration", "number", "one end", "outside", "empty"],
)
def test_a_bad_video_of_activitynet_is_named(tmp_path, change, complaint):
    video = {"duration": 50.0, "timestamps": [[0, 12], [40, 50]], "sentences": ["a", "b"]}
    path = write(tmp_path / "val_2.json", {"v_1": {**video, **change}})
    with pytest.raises(DataError, match=f"'v_1'.*{complaint}"):
        list(read_activitynet_captions(path, tmp_path))


def test_questions_of_activitynet_rtl_are_spans_and_those_of_a_video_a_group(tmp_path):
    # LITA, eval_model_rtl.py (parse_start_end_timestamps): the first two seconds in the answer, cut to the video, in
    # order; VideoMind, activitynet_rtl.py: the video is v_VID.
    record = {
        "question_id": 0,
        "vid": "uqiMw7tQ1Cc",
        "duration": 55.15,
        "question": "When does the man show that he is tired?",
        "answer": "<12.5> <40> He sits down and holds his knees, so he is tired.",
    }
    odd = [{**record, "answer": "<12.5> only"}, {**record, "vid": 3}, {**record, "duration": None}, "text"]
    records = [record, {**record, "answer": "<60.0> <30.> later"}, {**record, "vid": "other"}, *odd]
    path = write(tmp_path / "temporal_reasoning/annot_val_1_q229.json", records)
    bad: list[DataError] = []
    samples = list(read_activitynet_rtl(path, tmp_path, bad.append))
    assert [json.loads(sample.truth)["time"] for sample in samples] == [[12.5, 40], [30, 55.15], [12.5, 40]]
    assert [sample.group for sample in samples] == ["uqiMw7tQ1Cc", "uqiMw7tQ1Cc", "other"]
    assert samples[0].media == (tmp_path / "activitynet/videos/v_uqiMw7tQ1Cc.mp4",)
    assert samples[0].problem == record["question"]
    assert [f"question {number}" in str(error) for number, error in enumerate(bad, 3)] == [True] * 4
    check_samples(samples)


# GOT-10k


def got10k(root: Path, *, boxes: list[str] | None = None, hidden: tuple[int, ...] = ()) -> Path:
    folder = root / "val/GOT-10k_Val_000001"
    folder.mkdir(parents=True)
    write(root / "val/list.txt", "GOT-10k_Val_000001\n")
    for number in range(1, 26):
        Image.new("RGB", (100, 50), (number * 10,) * 3).save(folder / f"{number:08d}.jpg")
    write(
        folder / "groundtruth.txt",
        "\n".join(boxes or [f"{10 + n}.0000,20.0000,30.0000,10.0000" for n in range(25)]) + "\n",
    )
    write(folder / "absence.label", "".join(f"{int(n in hidden)}\n" for n in range(25)))
    write(folder / "cover.label", "8\n" * 25)
    return root / "val"


def test_got10k_is_asked_a_box_a_second_from_that_of_the_first_frame(tmp_path):
    [sample] = read_got10k(got10k(tmp_path))
    assert json.loads(sample.truth)["boxes"] == {
        "1": [100, 400, 400, 600],
        "2": [200, 400, 500, 600],
        "3": [300, 400, 600, 600],
    }
    assert sample.problem.endswith("at [100,400,400,600].")
    clip = read_clip(sample.media[0], MediaBudget(fps=2))
    assert clip.times_s == (0.0, 0.5, 1.0, 1.5, 2.0)
    assert clip.frames[2, 0, 0, 0] == pytest.approx(110, abs=2)  # JPEG
    check_samples([sample])


def test_seconds_in_which_the_object_is_hidden_are_not_asked_for(tmp_path):
    [sample] = read_got10k(got10k(tmp_path, hidden=(10,)))
    assert list(json.loads(sample.truth)["boxes"]) == ["1", "3"]


@pytest.mark.parametrize(
    ("boxes", "hidden", "complaint"),
    [
        (["1,2,3,4"] * 24, (), r"groundtruth\.txt: 24 boxes for 25 frames"),
        (["1,2,3,4"] * 10 + ["1,2,3"] + ["1,2,3,4"] * 14, (), r"groundtruth\.txt, line 11: expected x,y,width,height"),
        (["1,2,3,4"] * 20 + ["1,2,0,4"] * 5, (), r"groundtruth\.txt, line 21: expected a box with an area"),
        (None, (0,), "hidden in the first frame"),
    ],
    ids=["number", "three sides", "no area", "hidden"],
)
def test_a_bad_video_of_got10k_is_named(tmp_path, boxes, hidden, complaint):
    with pytest.raises(DataError, match=complaint):
        list(read_got10k(got10k(tmp_path, boxes=boxes, hidden=hidden)))
