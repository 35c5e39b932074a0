import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from onethinker.core.errors import MediaError
from onethinker.core.frames import Clip
from onethinker.core.sources import FrameFolder
from onethinker.media import prefetch as ahead
from onethinker.media.budget import ExactBudget, MediaBudget
from onethinker.media.prefetch import Decoders
from onethinker.media.reading import read_clip
from onethinker.media.writing import write_video

BUDGET = MediaBudget()


@pytest.fixture
def pictures(tmp_path: Path) -> list[Path]:
    paths = [tmp_path / f"{number}.png" for number in range(12)]
    for number, path in enumerate(paths):
        Image.new("RGB", (64 + 32 * (number % 3), 64), (20 * number, 0, 0)).save(path)
    return paths


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often each file was sent to a process."""
    counts: Counter[str] = Counter()
    decode = Decoders._decode

    def counting(self, process, medium, budget):
        counts[str(getattr(medium, "name", medium))] += 1
        return decode(self, process, medium, budget)

    monkeypatch.setattr(Decoders, "_decode", counting)
    return counts


def read_ahead(
    wanted: Sequence[Sequence[ahead.Medium]], budget: MediaBudget, *, workers: int = 2, capacity: int | None = None
):
    with Decoders(workers) as decoders:
        yield from ahead.read_ahead(wanted, budget, decoders, capacity=capacity)


def same(found: Clip, expected: Clip) -> bool:
    return (
        np.array_equal(found.frames, expected.frames)
        and replace(found, frames=expected.frames).__dict__ == expected.__dict__
    )


def children() -> list[int]:
    """The decoding processes of this one."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((folder / "stat").read_text().rsplit(")", 1)[1].split()[1])
            if parent == os.getpid() and b"onethinker.media.prefetch" in (folder / "cmdline").read_bytes():
                found.append(int(folder.name))
        except OSError:
            continue
    return found


def test_clips_come_in_order_and_are_those_that_read_clip_returns(tmp_path, pictures):
    write_video(tmp_path / "a.mp4", np.random.default_rng(0).integers(0, 255, (6, 64, 96, 3), np.uint8), fps=2)
    folder = FrameFolder(tmp_path, tuple(path.name for path in pictures[::3]), 2.0)
    memory = Clip("image", np.zeros((1, 64, 64, 3), np.uint8), (0.0,), (0,), 64, 64, 0.0, "memory")
    wanted = [(path,) for path in pictures] + [(tmp_path / "a.mp4",), (), (folder, memory, pictures[1])]
    for media, clips in zip(wanted, read_ahead(wanted, BUDGET, workers=2), strict=True):
        assert len(clips) == len(media)
        assert all(same(clip, read_clip(medium, BUDGET)) for clip, medium in zip(clips, media, strict=True))
    [(exact,)] = list(read_ahead([(pictures[1],)], ExactBudget()))
    assert same(exact, read_clip(pictures[1], ExactBudget()))
    assert children() == []


def test_a_file_that_cannot_be_read_is_an_error_in_its_place(tmp_path, pictures):
    (tmp_path / "broken.png").write_bytes(b"no picture")
    wanted = [(pictures[0],), (tmp_path / "broken.png",), (pictures[1], tmp_path / "absent.mp4"), (pictures[2],)]
    kinds = list(read_ahead(wanted, BUDGET, workers=2))
    assert [isinstance(found, MediaError) for found in kinds] == [False, True, True, False]
    assert "broken.png" in str(kinds[1])
    assert "absent.mp4: there is no such file" in str(kinds[2])


def test_what_several_samples_ask_about_is_decoded_once(pictures, decoded):
    wanted = [(pictures[number // 4],) for number in range(20)] + [(pictures[9], pictures[4]), (pictures[9],)]
    assert len(list(read_ahead(wanted, BUDGET, workers=2, capacity=3))) == 22
    assert len(decoded) == 6
    assert set(decoded.values()) == {1}


def test_no_more_is_decoded_ahead_than_there_is_room_for(pictures, decoded):
    clips = read_ahead([(path,) for path in pictures], BUDGET, workers=2, capacity=4)
    for taken, expected in ((1, 5), (2, 6), (3, 7)):
        next(clips)
        deadline = time.monotonic() + 20
        while decoded.total() < expected and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(0.1)
        assert decoded.total() == expected, f"{taken} taken"
    clips.close()
    assert children() == []


def test_a_process_that_is_killed_costs_its_sample_and_the_next_gets_another(tmp_path, pictures):
    noise = np.random.default_rng(0).integers(0, 255, (40, 256, 256, 3), np.uint8)
    write_video(tmp_path / "slow.mp4", noise, fps=1)
    clips = read_ahead([(tmp_path / "slow.mp4",), (pictures[0],), (pictures[1],)], BUDGET, workers=1)
    killer = threading.Thread(target=kill_first_child)
    killer.start()
    error, first, second = clips
    killer.join()
    assert isinstance(error, MediaError)
    assert "slow.mp4: the process that decoded it was killed by signal 9" in str(error)
    assert same(first[0], read_clip(pictures[0], BUDGET))
    assert same(second[0], read_clip(pictures[1], BUDGET))


def kill_first_child() -> None:
    while not (found := children()):
        time.sleep(0.001)
    os.kill(found[0], signal.SIGKILL)


def test_clips_in_memory_start_no_process(decoded):
    memory = Clip("image", np.zeros((1, 640, 640, 3), np.uint8), (0.0,), (0,), 640, 640, 0.0, "memory")
    small = MediaBudget(image_max_pixels=64 * 64)
    assert [clips[0].width for clips in read_ahead([(memory,), (memory,)], small)] == [64, 64]
    assert decoded.total() == 0


def test_processes_can_be_started_before_they_are_needed_and_serve_several_runs(pictures):
    with Decoders(2) as decoders:
        decoders.warm_up()
        started = children()
        assert len(started) == 3
        for _ in range(2):
            assert len(list(ahead.read_ahead([(path,) for path in pictures], BUDGET, decoders))) == 12
        assert sorted(children()) == sorted(started)
    assert children() == []
