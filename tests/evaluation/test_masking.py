"""The stage `masks`: what answers select is cut out, kept, measured, and stands beside the paper's numbers."""

from dataclasses import replace

import pytest
from PIL import Image

from onethinker.core.errors import DataError
from onethinker.core.masks import decode_rle
from onethinker.core.sample import Sample
from onethinker.data.formats.released import read_samples, write_samples
from onethinker.data.published.masks import truth_masks
from onethinker.data.synthetic import make_sample
from onethinker.evaluation.benchmarks.registry import find_benchmark
from onethinker.evaluation.masking import (
    has_segmentation,
    measure_masks,
    read_masks,
)
from onethinker.evaluation.results import Result, read_results
from onethinker.evaluation.scoring import score_benchmark, unparsable
from onethinker.segmenters.base import load_segmenter
from onethinker.storage.folders import MASKS_FILE
from tests.evaluation.mask_samples import (
    ANSWER,
    HALF,
    BoxSegmenter,
    BrightnessSegmenter,
    answered,
    metric,
    pictures,
    video,
)
from tests.segmenters.tiny_sam2 import save_tiny_sam2
from tests.segmenters.tiny_sam3 import save_tiny_sam3


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
    with pytest.raises(DataError, match=r"'s0' has no reference masks.* 'segmentation_output'"):
        has_segmentation([replace(sample, masks=None)])


def test_each_frame_of_a_videos_truth_is_compared_with_the_mask_of_its_moment(tmp_path):
    sample = video(tmp_path, shown=12)
    [result] = measure_masks(BrightnessSegmenter(), [sample], answered([sample], sample.truth), output=tmp_path / "run")
    [made] = read_masks(tmp_path / "run")
    assert [int(decode_rle(rle).any(axis=0).sum()) for rle in made.masks.values()] == list(range(12))
    # The truth is empty in frame 0, where both agree; the record has no mask for frames 5 and 6, which the paper skips.
    assert result.grade.metrics["J (paper)"] == pytest.approx(9 / 10)
    assert result.grade.metrics["J (official)"] == pytest.approx(10 / 12)


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


def test_new_weights_in_the_folder_of_a_sam3_make_masks_of_their_own(tmp_path):
    sample = pictures(tmp_path, 1)[0]
    for seed in (0, 1):
        segmenter = load_segmenter(str(save_tiny_sam3(tmp_path / "sam3", seed=seed)))
        measure_masks(segmenter, [sample], answered([sample], sample.truth), output=tmp_path / "run")
    first, second = read_masks(tmp_path / "run")
    assert first.segmenter == second.segmenter == f"{tmp_path / 'sam3'} (SAM 3)"
    assert first.weights != second.weights


def test_a_users_own_file_with_masks_is_measured(tmp_path):
    write_samples(tmp_path / "mine.jsonl", pictures(tmp_path, 2))
    samples = list(read_samples(tmp_path / "mine.jsonl"))
    assert has_segmentation(samples)
    assert metric(measure_masks(BoxSegmenter(), samples, answered(samples, ANSWER), output=tmp_path), "gIoU") == 1
