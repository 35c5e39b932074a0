"""The journal of masks: a stage that is stopped, cut or killed goes on, and what is there is not made again."""

import json
import multiprocessing
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from onethinker.core.errors import CheckpointError
from onethinker.core.frames import Clip
from onethinker.core.masks import Mask
from onethinker.core.sample import Sample
from onethinker.evaluation.masking import (
    measure_masks,
    newest_masks,
    read_masks,
    with_stored_masks,
)
from onethinker.evaluation.results import read_results
from onethinker.storage.folders import MASKS_FILE, RESULTS_FILE
from onethinker.tasks.segmentation import Selection
from tests.evaluation.mask_samples import (
    ANSWER,
    HALF,
    BoxSegmenter,
    BrightnessSegmenter,
    NoSegmenter,
    answered,
    pictures,
    video,
)


def test_a_stopped_stage_goes_on_and_ends_like_one_that_was_never_stopped(tmp_path):
    samples = pictures(tmp_path, 5)
    before = answered(samples, ANSWER, HALF)
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    measure_masks(BoxSegmenter(), samples, before, output=whole)
    with pytest.raises(KeyboardInterrupt):
        measure_masks(BoxSegmenter(stops_after=3), samples, before, output=stopped)
    assert not (stopped / RESULTS_FILE).exists()
    again = BoxSegmenter()
    measure_masks(again, samples, before, output=stopped)
    assert again.cut == ["3.png", "4.png"]
    for name in (MASKS_FILE, RESULTS_FILE):
        assert (stopped / name).read_bytes() == (whole / name).read_bytes()


def test_a_journal_cut_at_any_byte_of_its_last_line_keeps_all_others(tmp_path):
    samples = pictures(tmp_path, 3)
    before = answered(samples, ANSWER)
    measure_masks(BoxSegmenter(), samples, before, output=tmp_path)
    whole = (tmp_path / MASKS_FILE).read_bytes()
    last = whole.rindex(b"\n", 0, -1) + 1
    for cut in (last, last + 1, (last + len(whole)) // 2, len(whole) - 1):
        (tmp_path / MASKS_FILE).write_bytes(whole[:cut])
        again = BoxSegmenter()
        measure_masks(again, samples, before, output=tmp_path)
        assert again.cut == ["2.png"]
        assert (tmp_path / MASKS_FILE).read_bytes() == whole


def test_a_damaged_journal_is_named_with_its_line(tmp_path):
    samples = pictures(tmp_path, 1)
    (tmp_path / MASKS_FILE).write_text('{"key": 3}\n')
    with pytest.raises(CheckpointError, match=r"masks\.jsonl, line 1"):
        measure_masks(BoxSegmenter(), samples, answered(samples, ANSWER), output=tmp_path)


def test_another_segmenter_or_answer_has_masks_of_its_own(tmp_path):
    samples = pictures(tmp_path, 1)
    measure_masks(BoxSegmenter(), samples, answered(samples, ANSWER), output=tmp_path)
    for segmenter, text in ((BoxSegmenter("others"), ANSWER), (BoxSegmenter(), HALF)):
        measure_masks(segmenter, samples, answered(samples, text), output=tmp_path)
        assert segmenter.cut == ["0.png"]
    assert len({made.key for made in read_masks(tmp_path)}) == 3


def test_scoring_again_without_a_segmenter_finds_the_masks_of_the_last_one_if_it_made_all(tmp_path):
    samples = pictures(tmp_path, 2)
    before = answered(samples, ANSWER, HALF)
    assert with_stored_masks(before, tmp_path) == before
    measure_masks(BoxSegmenter("first"), samples, before, output=tmp_path)
    with pytest.raises(KeyboardInterrupt):
        measure_masks(BoxSegmenter("second", stops_after=1), samples, before, output=tmp_path)
    assert with_stored_masks(before, tmp_path) == before
    assert [made.segmenter for made in newest_masks(tmp_path)] == ["second"]
    complete = measure_masks(BoxSegmenter("second"), samples, before, output=tmp_path)
    assert with_stored_masks(before, tmp_path) == complete
    assert list(read_results(tmp_path).values()) == complete
    assert with_stored_masks(answered(samples, HALF), tmp_path) != complete


def test_masks_that_an_older_version_has_measured_are_measured_anew_without_a_segmenter(tmp_path):
    sample = video(tmp_path, shown=12)
    results = answered([sample], sample.truth)
    [result] = measure_masks(BrightnessSegmenter(), [sample], results, output=tmp_path / "run")
    journal = tmp_path / "run/masks.jsonl"
    line = json.loads(journal.read_text())
    journal.write_text(json.dumps({**line, "metrics": {"J": 0.5, "F": 0.5, "J&F": 0.5}}) + "\n")
    [again] = measure_masks(NoSegmenter(), [sample], results, output=tmp_path / "run")
    assert again.grade.metrics == result.grade.metrics
    assert len(read_masks(tmp_path / "run")) == 2


@dataclass
class SlowSegmenter(BoxSegmenter):
    """Takes a hundredth of a second for a picture, so that a kill finds it at work."""

    def segment(self, clip: Clip, selection: Selection) -> Iterator[tuple[int, Mask]]:
        time.sleep(0.01)
        return super().segment(clip, selection)


def _measure_slowly(samples: list[Sample], output: Path) -> None:
    measure_masks(SlowSegmenter(), samples, answered(samples, ANSWER, HALF), output=output)


def test_kill_9_costs_at_most_the_mask_in_flight(tmp_path):
    samples = pictures(tmp_path, 40)
    _measure_slowly(samples, tmp_path / "whole")
    rng, kills = np.random.default_rng(0), 0
    while not (tmp_path / "killed" / RESULTS_FILE).exists():
        lines = count_lines(tmp_path / "killed" / MASKS_FILE)
        worker = multiprocessing.get_context("fork").Process(
            target=_measure_slowly, args=(samples, tmp_path / "killed")
        )
        worker.start()
        time.sleep(rng.uniform(0.02, 0.15) * (1 + kills / 10))  # longer and longer, for a machine that is busy
        worker.kill()
        worker.join()
        kills += 1
        assert count_lines(tmp_path / "killed" / MASKS_FILE) >= lines
    assert kills > 3
    for name in (MASKS_FILE, RESULTS_FILE):
        assert (tmp_path / "killed" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def count_lines(path: Path) -> int:
    return path.read_bytes().count(b"\n") if path.exists() else 0
