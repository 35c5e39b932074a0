from dataclasses import replace

import pytest

from onethinker.data.formats import write_samples
from onethinker.data.mixing import Mixture
from onethinker.errors import DataError
from onethinker.tasks import TASKS, find_task


def statistics(sample) -> str:
    return find_task(sample.problem_type, sample.data_type).statistics


def test_every_stretch_of_as_many_samples_as_tasks_holds_each_task_once():
    mixture = Mixture.open((), (), {}, seed=3)
    for turn in range(3):
        names = [statistics(mixture.sample(turn * len(TASKS) + place)) for place in range(len(TASKS))]
        assert sorted(names) == sorted(task.statistics for task in TASKS)


def test_a_sample_is_a_function_of_seed_and_number():
    first, again, other = (Mixture.open((), (), {}, seed=seed).sample(41) for seed in (1, 1, 2))
    assert (first.id, first.problem, first.truth) == (again.id, again.problem, again.truth)
    assert first.id != other.id


def test_only_the_problem_types_asked_for_are_drawn():
    mixture = Mixture.open((), ("Tracking", "OCR"), {}, seed=0)
    assert {mixture.sample(number).problem_type.lower() for number in range(8)} == {"tracking", "ocr"}


def test_every_record_of_a_file_comes_once_before_any_comes_again(tmp_path):
    from onethinker.synthetic import write_dataset

    path = write_dataset(tmp_path / "data", num_samples=33)
    mixture = Mixture.open((path,), ("tracking",), {}, seed=0)
    ids = [mixture.sample(number).id for number in range(6)]
    assert sorted(ids[:3]) == sorted(ids[3:])
    assert len(set(ids[:3])) == 3


@pytest.mark.parametrize("problem_types", [("segmentatoin",), ("math",)], ids=["unknown", "absent"])
def test_problem_types_that_are_not_there_are_an_error(tmp_path, problem_types):
    path = tmp_path / "samples.jsonl"
    sample = replace(Mixture.open((), ("tracking",), {}, seed=0).sample(0), media=(tmp_path / "a.mp4",))
    (tmp_path / "a.mp4").touch()
    write_samples(path, [sample])
    with pytest.raises(DataError, match="problem types"):
        Mixture.open((path,), problem_types, {}, seed=0)
