from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from onethinker.core.errors import DataError
from onethinker.data.formats.records import write_records
from onethinker.data.formats.released import write_samples
from onethinker.data.mixture import Mixture
from onethinker.data.synthetic.samples import KINDS
from onethinker.tasks import find_task, task_of


def statistics(sample) -> str:
    return task_of(sample).key


def test_every_stretch_of_as_many_samples_as_tasks_holds_each_task_once():
    mixture = Mixture.open((), (), {}, seed=3)
    keys = sorted({find_task(*kind).key for kind in KINDS})
    for turn in range(3):
        names = [statistics(mixture.sample(turn * len(keys) + place)) for place in range(len(keys))]
        assert sorted(names) == keys


def test_a_sample_is_a_function_of_seed_and_number():
    first, again, other = (Mixture.open((), (), {}, seed=seed).sample(41) for seed in (1, 1, 2))
    assert (first.id, first.problem, first.truth) == (again.id, again.problem, again.truth)
    assert first.id != other.id


def test_only_the_problem_types_asked_for_are_drawn():
    mixture = Mixture.open((), ("Tracking", "OCR"), {}, seed=0)
    assert {mixture.sample(number).problem_type.lower() for number in range(8)} == {"tracking", "ocr"}


def test_a_problem_type_may_be_asked_for_in_one_medium_only():
    mixture = Mixture.open((), ("numerical/image", "tracking"), {}, seed=0)
    assert {(s.problem_type, s.data_type) for s in map(mixture.sample, range(8))} == {
        ("numerical", "image"),
        ("tracking", "video"),
    }


def test_each_medium_has_the_same_share_of_a_task():
    mixture = Mixture.open((), ("math", "tracking"), {}, seed=0)
    drawn = Counter((s.problem_type, s.data_type) for s in map(mixture.sample, range(8)))
    assert drawn == {("math", "image"): 2, ("math", "video"): 2, ("tracking", "video"): 4}


def test_weights_say_how_often_a_task_and_a_medium_come_in_a_round():
    mixture = Mixture.open((), ("math", "tracking"), {"Math": 3, "math/video": 2}, seed=0)
    for turn in range(3):
        drawn = Counter((s.problem_type, s.data_type) for s in map(mixture.sample, range(4 * turn, 4 * turn + 4)))
        assert drawn == {("math", "image"): 1, ("math", "video"): 2, ("tracking", "video"): 1}


def test_a_weight_for_what_is_not_drawn_is_an_error():
    with pytest.raises(DataError, match="math/video"):
        Mixture.open((), ("tracking",), {"math/video": 2}, seed=0)


def test_weights_of_tasks_that_the_files_lack_say_nothing_and_are_named(tmp_path):
    path = questions_about_clips(tmp_path, [2, 2])
    mixture = Mixture.open([path], (), {"tracking": 3, "OCR": 2, "numerical/video": 2, "math/image": 5}, seed=0)
    assert mixture.unused == ("math/image", "tracking")
    drawn = Counter(statistics(sample) for sample in map(mixture.sample, range(30)))
    assert drawn == {"ocr": 20, "numerical": 10}
    with pytest.raises(DataError, match="no task 'trakcing'; did you mean 'tracking'"):
        Mixture.open([path], (), {"trakcing": 3}, seed=0)


def test_records_that_are_left_out_are_not_drawn(tmp_path):
    path = questions_about_clips(tmp_path, [3])
    mixture = Mixture.open([path], ("OCR/video",), {}, seed=0, leave_out={path: {10, 12}})
    assert {mixture.sample(number).problem for number in range(6)} == {"Question 1"}


def test_every_record_of_a_file_comes_once_before_any_comes_again(tmp_path):
    from onethinker.data.synthetic import write_dataset

    path = write_dataset(tmp_path / "data", num_samples=33)
    mixture = Mixture.open((path,), ("tracking",), {}, seed=0)
    ids = [mixture.sample(number).id for number in range(6)]
    assert sorted(ids[:3]) == sorted(ids[3:])
    assert len(set(ids[:3])) == 3


def questions_about_clips(folder: Path, counts: Sequence[int]) -> Path:
    """Return a file with as many questions as `counts` says about each of some pictures and clips, in two tasks."""
    records = [
        {
            "problem": f"<{kind}>Question {question}",
            "answer": "<answer>1</answer>",
            f"{kind}s": [f"{task} {kind} {clip}"],
            "problem_type": task,
            "data_type": kind,
        }
        for task in ("numerical", "OCR")
        for kind in ("image", "video")
        for clip, count in enumerate(counts)
        for question in range(count)
    ]
    write_records(folder / "questions.jsonl", records)
    return folder / "questions.jsonl"


def test_questions_about_a_clip_share_a_turn_of_their_task_in_every_epoch(tmp_path):
    counts = [
        4,
        1,
        5,
        2,
        3,
        4,
    ]  # turns of 4: 4 | 4 + 1 of five | 3 + 1 | 2 + 1 … in 19 records, which 4 does not divide
    mixture = Mixture.open([questions_about_clips(tmp_path, counts)], (), {}, seed=1, questions_per_clip=4)
    turns = [[mixture.sample(4 * turn + place) for place in range(4)] for turn in range(4 * 19)]
    for turn in turns:
        assert len({(statistics(sample), sample.data_type) for sample in turn}) == 1
    assert (
        Counter((statistics(sample), sample.data_type) for turn in turns for sample in turn).most_common()[-1][1]
        == 4 * 19
    )
    whole = Counter(turn[0].media for turn in turns if len({sample.media for sample in turn}) == 1)
    for task in ("numerical", "OCR"):
        for kind in ("image", "video"):
            # Three clips have four questions that go into one turn; in four epochs each is broken up at most once.
            assert sum(count for (path,), count in whole.items() if path.name.startswith(f"{task} {kind}")) >= 3 * 4 - 3


def test_every_record_comes_once_before_any_comes_again_where_questions_share_turns(tmp_path):
    mixture = Mixture.open(
        [questions_about_clips(tmp_path, [4, 1, 5, 2, 3, 4])], ("OCR/video",), {}, seed=1, questions_per_clip=4
    )
    for epoch in range(5):
        drawn = {(sample.media, sample.problem) for sample in map(mixture.sample, range(19 * epoch, 19 * epoch + 19))}
        assert len(drawn) == 19


def test_another_clips_questions_stand_in_for_those_of_a_turn(tmp_path):
    mixture = Mixture.open(
        [questions_about_clips(tmp_path, [4, 4, 4])], ("OCR/video",), {}, seed=1, questions_per_clip=4
    )
    candidates = [list(mixture.candidates(number)) for number in range(4)]
    (clip,) = {of_one[0].media for of_one in candidates}
    assert len({of_one[1].media for of_one in candidates} - {clip}) == 1
    assert len({of_one[1].problem for of_one in candidates}) == 4
    for of_one in candidates:
        assert len({(sample.media, sample.problem) for sample in of_one}) == len(of_one) == 12


@pytest.mark.parametrize("together", [1, 4])
def test_passes_count_what_was_drawn_of_each_task_and_medium(tmp_path, together):
    path = questions_about_clips(tmp_path, [4, 1, 5])
    weights = {"OCR": 3, "numerical/video": 2}
    mixture = Mixture.open([path], (), weights, seed=1, questions_per_clip=together)
    drawn = dict.fromkeys(("ocr/image", "ocr/video", "numerical/image", "numerical/video"), 0)
    for number in range(150):
        assert mixture.passes(number) == {kind: count / 10 for kind, count in drawn.items()}
        sample = mixture.sample(number)
        drawn[f"{sample.problem_type.lower()}/{sample.data_type}"] += 1
    assert Mixture.open((), (), {}, seed=1).passes(100) == {}, "synthetic scenes are endless"


@pytest.mark.parametrize("problem_types", [("segmentatoin",), ("math",)], ids=["unknown", "absent"])
def test_problem_types_that_are_not_there_are_an_error(tmp_path, problem_types):
    path = tmp_path / "samples.jsonl"
    sample = replace(Mixture.open((), ("tracking",), {}, seed=0).sample(0), media=(tmp_path / "a.mp4",))
    (tmp_path / "a.mp4").touch()
    write_samples(path, [sample])
    with pytest.raises(DataError, match="problem types"):
        Mixture.open((path,), problem_types, {}, seed=0)
