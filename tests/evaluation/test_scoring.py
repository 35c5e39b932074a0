"""From results to a benchmark's numbers: GOT-10k by the paper and by its own toolkit, and what a number still needs."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from onethinker.core.errors import DataError
from onethinker.core.geometry import Box, box_at
from onethinker.core.sample import Sample
from onethinker.evaluation.benchmarks.data import read_benchmark
from onethinker.evaluation.benchmarks.registry import find_benchmark
from onethinker.evaluation.frame_metrics import frame_overlaps, with_frame_metrics
from onethinker.evaluation.results import Result
from onethinker.evaluation.scoring import score_benchmark
from onethinker.tasks import find_task, grade_response
from onethinker.tasks.tracking import Track

TASK = find_task("tracking", "video")
A, B = Box(0, 0, 100, 100), Box(100, 0, 200, 100)


def test_between_two_answered_seconds_the_box_moves_on_a_straight_line():
    assert box_at({0: A, 1: B}, 0.25) == Box(25, 0, 125, 100)
    assert box_at({0: A, 4: B}, 1.0) == Box(25, 0, 125, 100)
    assert [box_at({1: A, 2: B}, time_s) for time_s in (0.9, 1, 2, 2.1, 30)] == [None, A, B, B, B]
    assert box_at({}, 0.0) is None


def test_every_frame_but_the_first_counts_and_thresholds_are_strict():
    truth = {0.0: A, 0.1: A, 0.2: A, 0.3: B}
    # The box stands still: 1, 1 and, against B, 0. The first frame is not counted.
    assert frame_overlaps(Track({0: A}), truth) == {
        "frames": 3,
        "overlaps": 2,
        "frames_above_0.5": 2,
        "frames_above_0.75": 2,
    }
    half = frame_overlaps(Track({0: Box(0, 0, 100, 50)}), {0.0: A, 0.1: A})
    assert half == {"frames": 1, "overlaps": 0.5, "frames_above_0.5": 0, "frames_above_0.75": 0}


def test_an_answer_that_cannot_be_read_overlaps_nothing_in_any_frame():
    assert frame_overlaps(None, {0.0: A, 0.1: A, 0.2: B}) == {
        "frames": 2,
        "overlaps": 0,
        "frames_above_0.5": 0,
        "frames_above_0.75": 0,
    }


def video(root: Path, name: str, boxes: list[tuple[int, int, int, int]], *, hidden: tuple[int, ...] = ()) -> None:
    """A video of GOT-10k of 100 x 100 pixels with these boxes (x, y, width, height), a line a frame."""
    folder = root / "GOT-10k/val" / name
    folder.mkdir(parents=True)
    for number in range(len(boxes)):
        Image.new("RGB", (100, 100)).save(folder / f"{number + 1:08d}.jpg")
    (folder / "groundtruth.txt").write_text("".join(f"{x},{y},{w},{h}\n" for x, y, w, h in boxes))
    (folder / "cover.label").write_text("".join(f"{0 if n in hidden else 8}\n" for n in range(len(boxes))))
    with (root / "GOT-10k/val/list.txt").open("a") as file:
        file.write(f"{name}\n")


def answered(samples: list[Sample], *texts: str) -> list[Result]:
    results = []
    for sample, text in zip(samples, texts, strict=True):
        response = f"<think>x</think><answer>{text}</answer>"
        grade = with_frame_metrics(grade_response(response, sample.truth, task=TASK), sample, response)
        results.append(Result(sample.id, sample.id, TASK.key, sample.problem, sample.truth, response, grade))
    return results


def values(results: list[Result]) -> dict[str, float | None]:
    rows = score_benchmark(find_benchmark("GOT-10k"), results)
    return {row.metric: row.estimate.mean if row.estimate else None for row in rows}


def test_got_10k_has_the_papers_numbers_over_videos_and_its_own_over_all_frames(tmp_path):
    # Ten pixels, 100 thousandths, to the right a second; frame 15 is hidden. The other video stands still for 4 frames.
    video(tmp_path, "GOT-10k_Val_000001", [(n, 0, 20, 20) for n in range(21)], hidden=(15,))
    video(tmp_path, "GOT-10k_Val_000002", [(0, 0, 50, 50)] * 4)
    samples = list(read_benchmark(find_benchmark("GOT-10k"), tmp_path))
    track = {str(k): [100 * (k - 1), 0, 100 * (k - 1) + 200, 200] for k in (1, 2, 3)}
    assert json.loads(samples[0].truth)["boxes"] == track
    right = answered(samples, json.dumps({"boxes": track}), json.dumps({"boxes": {"1": [0, 0, 500, 500]}}))
    assert values(right) == dict.fromkeys(
        ("AO", "R@0.3", "R@0.5", "R@0.7", "AO (official)", "SR@0.5 (official)", "SR@0.75 (official)"), 1
    )
    found = values(answered(samples, json.dumps({"boxes": track}), "lost"))
    assert (found["AO"], found["R@0.5"]) == (0.5, 0.5)
    # 20 later frames less the hidden one, all found, and 3 later frames, all lost.
    assert found["AO (official)"] == pytest.approx(19 / 22)
    assert found["SR@0.5 (official)"] == found["SR@0.75 (official)"] == pytest.approx(19 / 22)


def test_a_box_that_is_right_each_second_may_be_wrong_between_them(tmp_path):
    # Away and back within a second: frame 5 is elsewhere, where the straight line is not.
    video(tmp_path, "GOT-10k_Val_000001", [(0 if n != 5 else 60, 0, 20, 20) for n in range(11)])
    samples = list(read_benchmark(find_benchmark("GOT-10k"), tmp_path))
    found = values(answered(samples, json.dumps({"boxes": {"1": [0, 0, 200, 200], "2": [0, 0, 200, 200]}})))
    assert (found["AO"], found["AO (official)"]) == (1, pytest.approx(0.9))


RELEASED = {"problem": "Track it at [0,0,200,200].", "problem_type": "tracking", "data_type": "video", "problem_id": 1}
RELEASED |= {
    "path": "GOT-10k/GOT-10k_Val_000001.mp4",
    "solution": '<answer>{"boxes": {"1": [0, 0, 200, 200]}}</answer>',
}


def test_the_released_file_gets_every_frame_where_the_videos_are_there(tmp_path):
    (tmp_path / "eval_got10k.json").write_text(json.dumps([RELEASED]))
    [alone] = read_benchmark(find_benchmark("GOT-10k"), tmp_path)
    assert alone.frame_boxes == {}
    rows = score_benchmark(find_benchmark("GOT-10k"), answered([alone], '{"boxes": {"1": [0, 0, 200, 200]}}'))
    assert {row.metric: row.missing for row in rows if row.estimate is None} == dict.fromkeys(
        ("AO (official)", "SR@0.5 (official)", "SR@0.75 (official)"), "needs GOT-10k/val"
    )
    video(tmp_path, "GOT-10k_Val_000001", [(0, 0, 20, 20), (0, 0, 20, 20), (0, 0, 20, 10)])
    [sample] = read_benchmark(find_benchmark("GOT-10k"), tmp_path)
    assert sample.frame_boxes == {0.0: Box(0, 0, 200, 200), 0.1: Box(0, 0, 200, 200), 0.2: Box(0, 0, 200, 100)}
    assert values(answered([sample], '{"boxes": {"1": [0, 0, 200, 200]}}'))["AO (official)"] == 0.75


def test_a_released_video_that_the_folder_does_not_have_is_named(tmp_path):
    video(tmp_path, "GOT-10k_Val_000002", [(0, 0, 20, 20)] * 2)
    (tmp_path / "eval_got10k.json").write_text(json.dumps([RELEASED]))
    with pytest.raises(DataError, match=r"GOT-10k_Val_000001/groundtruth\.txt"):
        list(read_benchmark(find_benchmark("GOT-10k"), tmp_path))
    (tmp_path / "eval_got10k.json").write_text(json.dumps([{**RELEASED, "path": "a.mp4"}]))
    with pytest.raises(DataError, match=r"'1': .*a\.mp4 does not name a video of .*val"):
        list(read_benchmark(find_benchmark("GOT-10k"), tmp_path))


def test_a_grade_of_a_sample_without_frames_stays_as_it_is():
    sample = Sample("s", "?", "tracking", "video", (), truth='{"boxes": {"1": [0, 0, 1, 1]}}')
    grade = grade_response("<answer>x</answer>", sample.truth, task=TASK)
    assert with_frame_metrics(grade, sample, "<answer>x</answer>") is grade
    counted = with_frame_metrics(
        grade, replace(sample, frame_boxes={0.0: Box(0, 0, 9, 9), 0.2: Box(0, 0, 9, 9)}), "<answer>x</answer>"
    )
    assert (counted.metrics["frames"], counted.metrics["overlaps"]) == (1, 0)
