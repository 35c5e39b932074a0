import os
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from onethinker.core.errors import CheckpointError
from onethinker.core.frames import Clip
from onethinker.core.geometry import Box
from onethinker.core.sample import Masks, Sample
from onethinker.core.sources import FrameFolder
from onethinker.evaluation.results import (
    Answer,
    open_run,
    read_answers,
    result_key,
)
from onethinker.storage.folders import ANSWERS_FILE
from onethinker.storage.hashing import NOTHING, Digests
from onethinker.storage.jsonl_log import open_log

SETTINGS = {"model": "m", "sampling": {"seed": 0}, "budget": {"fps": 2.0}}


@pytest.fixture
def sample(tmp_path: Path) -> Sample:
    Image.new("RGB", (64, 64), (1, 2, 3)).save(tmp_path / "a.png")
    Image.new("L", (64, 64), 1).save(tmp_path / "mask.png")
    masks = Masks({"0": (tmp_path / "mask.png",)}, fps=6.0)
    return Sample("one", "Which?", "segmentation", "video", (tmp_path / "a.png",), truth="{}", masks=masks)


def rewritten(path: Path, content: bytes) -> None:
    """Other bytes of the same number, at the same time as before."""
    before = path.stat()
    assert len(content) == before.st_size
    path.write_bytes(content)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


@pytest.mark.parametrize(
    "change",
    [
        lambda sample: replace(sample, id="two"),
        lambda sample: replace(sample, problem="What?"),
        lambda sample: replace(sample, options=("A. red",)),
        lambda sample: replace(sample, truth="{} "),
        lambda sample: replace(sample, media=sample.media * 2),
        lambda sample: replace(sample, media=(FrameFolder(sample.media[0].parent, ("a.png",), 2.0),)),
        lambda sample: replace(sample, masks=replace(sample.masks, fps=5.0)),
        lambda sample: replace(sample, masks=replace(sample.masks, objects=(1,))),
        lambda sample: replace(sample, masks=None),
        lambda sample: replace(sample, resolution=(64, 64)),
        lambda sample: replace(sample, frame_boxes={0.0: Box(0, 0, 1, 1)}),
    ],
    ids=[
        "id",
        "question",
        "options",
        "truth",
        "media twice",
        "frames",
        "mask times",
        "objects",
        "no masks",
        "resolution",
        "boxes",
    ],
)
def test_everything_that_can_change_an_answer_or_its_grade_changes_the_key(sample, change):
    assert result_key(change(sample), SETTINGS) != result_key(sample, SETTINGS)


@pytest.mark.parametrize("name", ["a.png", "mask.png"])
def test_one_other_byte_in_a_file_changes_the_key_also_at_the_same_size_and_time(sample, tmp_path, name):
    memory, path = tmp_path / "media.json", tmp_path / name
    os.utime(path, ns=(0, 0))
    before = result_key(sample, SETTINGS, Digests(memory))
    content = path.read_bytes()
    rewritten(path, content[:-1] + bytes([content[-1] ^ 1]))
    assert result_key(sample, SETTINGS, Digests(memory)) != before
    rewritten(path, content)
    assert result_key(sample, SETTINGS, Digests(memory)) == before


def test_settings_change_the_key_and_the_place_of_the_media_does_not(sample, tmp_path):
    key = result_key(sample, SETTINGS)
    for change in ({"model": "n"}, {"sampling": {"seed": 1}}, {"budget": {"fps": 1.0}}, {"judge": {"model": "j"}}):
        assert result_key(sample, SETTINGS | change) != key
    moved = tmp_path / "elsewhere" / "b.png"
    moved.parent.mkdir()
    moved.write_bytes(sample.media[0].read_bytes())
    assert result_key(replace(sample, media=(moved,)), SETTINGS) == key


def test_frames_and_times_of_clips_in_memory_change_the_key(sample):
    import numpy as np

    clip = Clip("video", np.zeros((2, 32, 32, 3), np.uint8), (0.0, 0.5), (0, 1), 32, 32, 1.0, "clip")
    other = clip.frames.copy()
    other[1, 0, 0, 0] = 1
    clips = [clip, replace(clip, frames=other), replace(clip, times_s=(0.0, 0.6)), replace(clip, duration_s=2.0)]
    assert len({result_key(replace(sample, media=(own,)), SETTINGS) for own in clips}) == 4
    assert result_key(replace(sample, media=(replace(clip, name="other"),)), SETTINGS) == result_key(
        replace(sample, media=(clip,)), SETTINGS
    )


def test_digests_are_remembered_while_the_file_stays_what_it_was(sample, tmp_path):
    """The memory is looked at: a wrong digest in it is believed for as long as the file's times say that nothing
    changed.
    """
    memory, path = tmp_path / "memory" / "media.json", sample.media[0]
    status = path.stat()
    stamp = [status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino]
    memory.parent.mkdir()
    memory.write_text(f'{{"{path}": [{stamp}, "remembered"]}}')
    assert Digests(memory).of(path) == "remembered"
    path.touch()
    assert Digests(memory).of(path) == Digests().of(path) != "remembered"
    assert Digests().of(tmp_path / "absent.png") == NOTHING
    for damaged in ("[1]", "{", '{"a": 1}'):
        memory.write_text(damaged)
        assert Digests(memory).of(path) == Digests().of(path)


def test_a_file_that_changed_just_now_is_not_remembered_yet(sample, tmp_path):
    memory = tmp_path / "media.json"
    Digests(memory).read_all(sample.media)
    assert not memory.exists()


def test_an_answer_is_never_replaced_by_a_failure(tmp_path):
    failed, said = Answer("k", "one", error="no file"), Answer("k", "one", "yes", "stop", 3, 1)
    with open_log(tmp_path / ANSWERS_FILE) as journal:
        journal.append([failed, Answer("l", "two", error="first"), Answer("l", "two", error="second")])
        journal.append([said])
        journal.append([failed])
    answers = read_answers(tmp_path)
    assert answers["k"] == said
    assert answers["l"].error == "second"


def test_changed_settings_are_refused_with_the_difference_and_a_new_folder_takes_any(tmp_path):
    with open_run(tmp_path, SETTINGS) as journal:
        journal.append([Answer("k", "one", "yes")])
    with (
        pytest.raises(CheckpointError, match=r"model: 'm' → 'n'\n  sampling.seed: 0 → 1"),
        open_run(tmp_path, {**SETTINGS, "model": "n", "sampling": {"seed": 1}}),
    ):
        pass
    with open_run(tmp_path, SETTINGS):
        assert len(read_answers(tmp_path)) == 1


def test_a_journal_is_one_process_at_a_time(tmp_path):
    with (
        open_run(tmp_path, SETTINGS),
        pytest.raises(CheckpointError, match="another process"),
        open_run(tmp_path, SETTINGS),
    ):
        pass
