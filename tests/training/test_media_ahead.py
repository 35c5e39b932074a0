"""Media of the next step are read by a thread, and nothing else changes."""

import threading
import time

import pytest

from onethinker.core.errors import MediaError
from onethinker.data.synthetic import write_dataset
from onethinker.families.tiny import TINY_BUDGET
from onethinker.media import ahead as media_ahead
from onethinker.media.ahead import MediaAhead
from onethinker.rl.loop import train_rl
from onethinker.training.config import RlRecipe, SftRecipe
from onethinker.training.data_source import DataSource
from onethinker.training.sft import train_sft
from tests.training.test_runs import files, journal

ROW = {"max_row_tokens": 1024, "steps": 3}


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    return write_dataset(tmp_path_factory.mktemp("records"), num_samples=24, world="things")


@pytest.fixture
def readers(monkeypatch):
    """The names of the threads that read media, in order."""
    names = []

    def read(medium, budget):
        names.append(threading.current_thread().name)
        return media_ahead_read(medium, budget)

    media_ahead_read = media_ahead.read_clip
    monkeypatch.setattr(media_ahead, "read_clip", read)
    return names


def sft(records, folder):
    train_sft(SftRecipe(model="tiny", batch_size=4, data={"files": [records]}, **ROW), folder)


def rl(records, folder):
    rollout = {"generation_batch_size": 4, "group_size": 4, "max_new_tokens": 60, "max_refills": 0}
    rollout["unfilled"] = "smaller"
    train_rl(RlRecipe(model="tiny", data={"files": [records]}, rollout=rollout, grading={"workers": 0}, **ROW), folder)


@pytest.mark.parametrize("train", [sft, rl])
def test_a_run_is_the_same_to_the_bit_and_reads_on_another_thread(tmp_path, records, readers, monkeypatch, train):
    train(records, tmp_path / "ahead")
    ahead = [name.startswith("media-ahead") for name in readers]
    assert sum(ahead) >= 4, "the media of a step or more"
    monkeypatch.setattr(DataSource, "read_soon", lambda *_: None)
    readers.clear()
    train(records, tmp_path / "late")
    assert {name.startswith("media-ahead") for name in readers} == {False}
    assert len(ahead) == len(readers), "nothing is read twice, or for nobody"
    assert journal(tmp_path / "ahead") == journal(tmp_path / "late")
    assert files(tmp_path / "ahead") == files(tmp_path / "late")


def test_what_cannot_be_read_is_said_when_it_is_asked_for(tmp_path):
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no picture")
    ahead = MediaAhead(TINY_BUDGET)
    ahead.start([broken])
    with pytest.raises(MediaError, match=r"broken\.png"):
        ahead.take(broken)


def test_what_nobody_asked_for_is_forgotten_and_what_has_not_begun_is_read_at_once(tmp_path, monkeypatch):
    free, begun, read = threading.Event(), threading.Event(), []

    def slow(medium, _):
        begun.set()
        if threading.current_thread().name.startswith("media-ahead"):
            free.wait()
        read.append(medium.name)
        return medium.name

    monkeypatch.setattr(media_ahead, "read_clip", slow)
    ahead = MediaAhead(TINY_BUDGET)
    first, second, third, fourth = (tmp_path / name for name in "abcd")
    ahead.start([first, second])
    begun.wait()
    assert ahead.take(second) == "b", "it is not waited for"
    ahead.start([third])
    ahead.start([fourth])
    free.set()
    assert ahead.take(fourth) == "d"
    for _ in range(100):
        if len(read) == 4:
            break
        time.sleep(0.01)
    assert sorted(read) == ["a", "b", "c", "d"]
    assert ahead.take(first) == "a"
    assert read.count("a") == 2, "it had been forgotten, and is read again"
