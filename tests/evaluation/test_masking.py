"""The stage `masks`: what answers select is cut out, kept, measured, and stands beside the paper's numbers."""

import json
import multiprocessing
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from onethinker.cli import main
from onethinker.core.errors import CheckpointError, DataError, EngineError
from onethinker.core.frames import Clip
from onethinker.core.geometry import box_to_px
from onethinker.core.masks import Mask, decode_rle, encode_rle
from onethinker.core.sample import PICTURE, Masks, Sample
from onethinker.core.sources import FrameFolder
from onethinker.data.formats.released import read_samples, write_samples
from onethinker.data.synthetic import make_sample
from onethinker.evaluation.benchmarks.readers.masks import selection_of, truth_masks
from onethinker.evaluation.benchmarks.table import find_benchmark
from onethinker.evaluation.masking import (
    has_segmentation,
    measure_masks,
    newest_masks,
    read_masks,
    with_stored_masks,
)
from onethinker.evaluation.metrics import score_tasks
from onethinker.evaluation.results import Result, read_results
from onethinker.evaluation.scoring import score_benchmark, unparsable
from onethinker.segmenters.base import load_segmenter
from onethinker.storage.folders import MASKS_FILE, RESULTS_FILE
from onethinker.tasks import grade_response, task_of
from onethinker.tasks.segmentation import Selection
from tests.segmenters.tiny_sam2 import save_tiny_sam2


@dataclass
class BoxSegmenter:
    """Fills the box, in every frame; fails and stops where it is told to, and remembers what it cut."""

    name: str = "boxes"
    for_benchmarks: bool = False
    fails_for: tuple[str, ...] = ()
    stops_after: int | None = None
    cut: list[str] = field(default_factory=list)

    def segment(self, clip: Clip, selection: Selection) -> Iterator[tuple[int, Mask]]:
        if len(self.cut) == self.stops_after:
            raise KeyboardInterrupt
        if clip.name in self.fails_for:
            raise EngineError(f"no memory for {clip.name}")
        self.cut.append(clip.name)
        x1, y1, x2, y2 = (round(side) for side in box_to_px(selection.box, width_px=clip.width, height_px=clip.height))
        mask = np.zeros((clip.height, clip.width), bool)
        mask[y1:y2, x1:x2] = True
        for number in range(len(clip.frames)):
            yield number, mask


@dataclass(frozen=True)
class BrightnessSegmenter:
    """Takes for the object as many columns as the frame is bright, so that a mask tells which frame it was made of."""

    name: str = "brightness"
    for_benchmarks: bool = False

    def segment(self, clip: Clip, selection: Selection) -> Iterator[tuple[int, Mask]]:
        for number, frame in enumerate(clip.frames):
            mask = np.zeros(frame.shape[:2], bool)
            mask[:, : round(float(frame.mean()))] = True
            yield number, mask


SQUARE = np.zeros((40, 60), bool)
SQUARE[10:30, 20:40] = True
ANSWER = json.dumps(selection_of(SQUARE))


def pictures(folder: Path, count: int) -> list[Sample]:
    """Gray pictures in which a square is what was meant."""
    samples = []
    for number in range(count):
        Image.new("RGB", (60, 40)).save(folder / f"{number}.png")
        masks = Masks({PICTURE: (encode_rle(SQUARE),)})
        samples.append(
            Sample(f"s{number}", "?", "segmentation", "image", (folder / f"{number}.png",), truth=ANSWER, masks=masks)
        )
    return samples


def answered(samples: list[Sample], *texts: str) -> list[Result]:
    """The results of the answer stage; the last text is said to all further samples."""
    results = []
    for number, sample in enumerate(samples):
        task = task_of(sample)
        response = f"<think>x</think><answer>{texts[min(number, len(texts) - 1)]}</answer>"
        grade = grade_response(response, sample.truth, task=task)
        results.append(Result(f"key {sample.id}", sample.id, task.key, sample.problem, sample.truth, response, grade))
    return results


def metric(results: list[Result], name: str) -> float:
    [score] = score_tasks(results)
    return score.metrics[name].mean


HALF = json.dumps({**json.loads(ANSWER), "boxes": [333.3333, 250, 500, 750]})
"""The left half of the square."""


def test_giou_and_ciou_of_pictures_and_an_unreadable_answer_stays_in_the_denominator(tmp_path):
    samples = pictures(tmp_path, 4)
    results = measure_masks(BoxSegmenter(), samples, answered(samples, ANSWER, HALF, "over there"), output=tmp_path)
    assert metric(results, "gIoU") == pytest.approx((1 + 0.5 + 0 + 0) / 4)
    assert metric(results, "cIoU") == pytest.approx((400 + 200) / 1600)
    assert unparsable(results) == ["s2", "s3"]
    assert [made.masks is None for made in read_masks(tmp_path)] == [False, False, True, True]
    assert decode_rle(read_masks(tmp_path)[0].masks["image"]).sum() == 400
    assert list(read_results(tmp_path).values()) == results


def test_numbers_stand_beside_the_papers_with_their_intervals(tmp_path):
    samples = pictures(tmp_path, 4)
    results = measure_masks(BoxSegmenter(), samples, answered(samples, ANSWER, HALF, "over there"), output=tmp_path)
    ciou, giou = score_benchmark(find_benchmark("RefCOCO-seg val"), results)
    assert ciou.published["OneThinker-8B"] == 75.8
    assert ciou.estimate.low < ciou.estimate.mean < ciou.estimate.high
    assert giou.estimate.mean == pytest.approx(0.375)


def test_a_failure_has_no_grade_withholds_the_numbers_and_is_tried_again(tmp_path):
    samples = pictures(tmp_path, 3)
    before = answered(samples, ANSWER)
    first = measure_masks(BoxSegmenter(fails_for=("1.png",)), samples, before, output=tmp_path)
    assert [result.grade is None for result in first] == [False, True, False]
    assert "no memory for 1.png" in first[1].error
    assert {row.missing for row in score_benchmark(find_benchmark("RefCOCO-seg val"), first)} == {
        "1 of 3 samples without a grade"
    }
    again = BoxSegmenter()
    assert metric(measure_masks(again, samples, before, output=tmp_path), "gIoU") == 1
    assert again.cut == ["1.png"]


def test_media_that_are_gone_are_a_failure_and_no_empty_mask(tmp_path):
    samples = pictures(tmp_path, 1)
    (tmp_path / "0.png").unlink()
    [result] = measure_masks(BoxSegmenter(), samples, answered(samples, ANSWER), output=tmp_path)
    assert result.grade is None
    assert "0.png" in result.error


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


def test_results_of_other_tasks_and_without_a_grade_come_back_as_they_are(tmp_path):
    choice = make_sample(0, 0, problem_type="multiple choice", data_type="image")
    [cut] = pictures(tmp_path, 1)
    before = answered([choice, cut], choice.truth, ANSWER)
    before[1] = replace(before[1], grade=None, error="no answer")
    assert measure_masks(BoxSegmenter(), [choice, cut], before, output=tmp_path) == before
    assert not (tmp_path / MASKS_FILE).exists()


def test_samples_without_true_masks_are_named_before_anything_is_asked(tmp_path):
    [sample] = pictures(tmp_path, 1)
    assert has_segmentation([sample])
    assert not has_segmentation([make_sample(0, 0, problem_type="numerical", data_type="image")])
    with pytest.raises(DataError, match=r"'s0' has no masks .* 'segmentation_output'"):
        has_segmentation([replace(sample, masks=None)])


def video(folder: Path, *, shown: int) -> Sample:
    """A video of 20 frames, each brighter than the one before, whose first `shown` ones have true masks, all but two of
    them.
    """
    keys = [f"{number:05}" for number in range(20)]
    for number, key in enumerate(keys):
        Image.new("RGB", (100, 60), (number,) * 3).save(folder / f"{key}.png")
    masks = {}
    for number, key in enumerate(keys[:shown]):
        mask = np.zeros((60, 100), bool)
        mask[:, :number] = True
        masks[key] = (encode_rle(mask),)
    masks |= {"00005": (), "00006": ()} if shown > 6 else {}
    answer = json.dumps({"time": 1, **json.loads(ANSWER)})
    media = (FrameFolder(folder, tuple(f"{key}.png" for key in keys), 6),)
    return Sample("v", "?", "segmentation", "video", media, truth=answer, masks=Masks(masks, fps=6))


def test_each_frame_of_a_videos_truth_is_compared_with_the_mask_of_its_moment(tmp_path):
    sample = video(tmp_path, shown=12)
    [result] = measure_masks(BrightnessSegmenter(), [sample], answered([sample], sample.truth), output=tmp_path / "run")
    [made] = read_masks(tmp_path / "run")
    assert [int(decode_rle(rle).any(axis=0).sum()) for rle in made.masks.values()] == list(range(12))
    # The truth is empty in frame 0, where both agree; the record has no mask for frames 5 and 6, which the paper skips.
    assert result.grade.metrics["J (paper)"] == pytest.approx(9 / 10)
    assert result.grade.metrics["J (official)"] == pytest.approx(10 / 12)


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


class NoSegmenter(BrightnessSegmenter):
    """One with the name of another that must not be needed."""

    def segment(self, clip, selection):
        raise AssertionError("these masks are there")


def test_masks_of_another_size_than_the_truth_are_brought_to_it(tmp_path):
    [sample] = pictures(tmp_path, 1)
    Image.new("RGB", (120, 80)).save(tmp_path / "0.png")
    assert metric(measure_masks(BoxSegmenter(), [sample], answered([sample], ANSWER), output=tmp_path), "gIoU") == 1


def test_grabcut_finds_the_shapes_of_synthetic_scenes(tmp_path):
    for kind, name in (("image", "gIoU"), ("video", "J (official)")):
        samples = [
            make_sample(0, index, problem_type="segmentation", data_type=kind, split="test") for index in range(3)
        ]
        assert has_segmentation(samples)
        results = measure_masks(load_segmenter("grabcut"), samples, answered_truth(samples), output=tmp_path / kind)
        assert metric(results, name) > 0.8
        assert {key for sample in samples for key in truth_masks(sample)} >= set(read_masks(tmp_path / kind)[0].masks)


def answered_truth(samples: list[Sample]) -> list[Result]:
    return [answered([sample], sample.truth)[0] for sample in samples]


def test_sam2_makes_the_masks_of_a_benchmark(tmp_path):
    sample = video(tmp_path, shown=3)
    segmenter = load_segmenter(str(save_tiny_sam2(tmp_path / "sam2")))
    [result] = measure_masks(segmenter, [sample], answered([sample], sample.truth), output=tmp_path / "run")
    [made] = read_masks(tmp_path / "run")
    assert made.for_benchmarks
    assert [decode_rle(rle).shape for rle in made.masks.values()] == [(60, 100)] * 3
    assert 0 <= result.grade.metrics["J&F (paper)"] <= 1


def test_a_users_own_file_with_masks_is_measured(tmp_path):
    write_samples(tmp_path / "mine.jsonl", pictures(tmp_path, 2))
    samples = list(read_samples(tmp_path / "mine.jsonl"))
    assert has_segmentation(samples)
    assert metric(measure_masks(BoxSegmenter(), samples, answered(samples, ANSWER), output=tmp_path), "gIoU") == 1


def run(*arguments: object) -> int:
    with pytest.raises(SystemExit) as left:
        main([str(argument) for argument in arguments])
    return left.value.code


def test_the_command_line_measures_masks_counts_unreadable_answers_and_says_the_same_again(tmp_path, capsys):
    write_samples(tmp_path / "eval_seg_refcoco.json", pictures(tmp_path, 2))
    arguments = (
        "evaluate",
        "--model",
        "tiny",
        "--max-new-tokens",
        4,
        "--segmenter",
        "grabcut",
        "--output",
        tmp_path / "runs",
        "--json",
    )
    assert run(*arguments, "--benchmark", "refcoco_seg_val", "--data", tmp_path) == 0
    first = capsys.readouterr()
    record = json.loads(first.out)
    assert [(row["metric"], row["estimate"]["mean"], row["missing"]) for row in record["benchmarks"]] == [
        ("cIoU", 0, ""),
        ("gIoU", 0, ""),
    ]
    assert record["unparsable"] == {"RefCOCO-seg val": ["s0", "s1"]}
    assert "2 answers could not be read and count 0: s0, s1" in first.err
    assert "masks are by grabcut" in first.err
    assert run(*arguments, "--benchmark", "refcoco_seg_val", "--data", tmp_path) == 0
    assert capsys.readouterr().out == first.out
    assert (tmp_path / "runs/refcoco_seg_val" / MASKS_FILE).read_bytes().count(b"\n") == 2


def test_a_file_of_segmentation_has_mask_metrics_in_its_scores(tmp_path, capsys):
    write_samples(tmp_path / "mine.jsonl", pictures(tmp_path, 1))
    arguments = (
        "--data",
        tmp_path / "mine.jsonl",
        "--segmenter",
        "grabcut",
        "--output",
        tmp_path / "run",
        "--max-new-tokens",
        4,
    )
    assert run("evaluate", "--model", "tiny", *arguments, "--json") == 0
    said = capsys.readouterr()
    [task] = json.loads(said.out)["tasks"]
    assert (task["task"], task["metrics"]["gIoU"]["mean"], task["metrics"]["cIoU"]["mean"]) == (
        "segmentation/image",
        0,
        0,
    )
    assert "1 answers could not be read and count 0: s0" in said.err


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("--synthetic", 1, "--segmenter", "grabcut"), "there is no question of segmentation"),
        (("--synthetic", 8, "--segmenter", "/no/such/sam2"), "/no/such/sam2: no such folder"),
    ],
    ids=["nothing to cut", "no weights"],
)
def test_a_segmenter_without_work_or_weights_is_refused_before_anything_is_asked(
    tmp_path, capsys, arguments, complaint
):
    assert run("evaluate", "--model", "tiny", *arguments, "--output", tmp_path / "run") == 1
    assert complaint in capsys.readouterr().err.replace("\n", " ")
    assert not (tmp_path / "run").exists()


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
