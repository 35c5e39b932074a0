"""Masks of `onethinker evaluate --segmenter`."""

import json

import pytest

from onethinker.cli import main
from onethinker.data.formats.released import write_samples
from onethinker.storage.folders import MASKS_FILE
from tests.evaluation.mask_samples import pictures


def run(*arguments: object) -> int:
    with pytest.raises(SystemExit) as left:
        main([str(argument) for argument in arguments])
    return left.value.code


def test_the_command_line_measures_masks_counts_unreadable_answers_and_says_the_same_again(tmp_path, capsys):
    write_samples(tmp_path / "eval_seg_refcoco.json", pictures(tmp_path, 2))
    arguments = (
        "evaluate",
        "--model",
        "untrained",
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
    assert "2 answers could not be read and count as 0: s0, s1" in first.err
    assert "masks were made by grabcut" in first.err
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
    assert run("evaluate", "--model", "untrained", *arguments, "--json") == 0
    said = capsys.readouterr()
    [task] = json.loads(said.out)["tasks"]
    assert (task["task"], task["metrics"]["gIoU"]["mean"], task["metrics"]["cIoU"]["mean"]) == (
        "segmentation/image",
        0,
        0,
    )
    assert "1 answers could not be read and count as 0: s0" in said.err


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("--synthetic", 1, "--segmenter", "grabcut"), "no sample is a segmentation question"),
        (("--synthetic", 8, "--segmenter", "/no/such/sam2"), "/no/such/sam2: no such folder"),
    ],
    ids=["nothing to cut", "no weights"],
)
def test_a_segmenter_without_work_or_weights_is_refused_before_anything_is_asked(
    tmp_path, capsys, arguments, complaint
):
    assert run("evaluate", "--model", "untrained", *arguments, "--output", tmp_path / "run") == 1
    assert complaint in capsys.readouterr().err.replace("\n", " ")
    assert not (tmp_path / "run").exists()


def test_a_segmenter_for_pictures_alone_is_refused_for_videos_before_anything_is_asked(tmp_path, capsys):
    (tmp_path / "sam3").mkdir()
    (tmp_path / "sam3" / "config.json").write_text('{"model_type": "sam3_tracker"}')
    arguments = ("--synthetic", 24, "--segmenter", tmp_path / "sam3", "--output", tmp_path / "run")
    assert run("evaluate", "--model", "untrained", *arguments) == 1
    assert "works on pictures only" in capsys.readouterr().err.replace("\n", " ")
    assert not (tmp_path / "run").exists()
