"""Samples that cannot be read: skipped, replaced, counted and named, until there are too many."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image
from safetensors.torch import load_file

from onethinker.commands.console import watching_training
from onethinker.core.errors import DataError
from onethinker.data.formats.records import write_records
from onethinker.data.mixture import Mixture
from onethinker.report.terminal import Progress
from onethinker.rl.loop import train_rl
from onethinker.training.config import RlRecipe, SftRecipe
from onethinker.training.sft import train_sft
from onethinker.training.state.run_folder import RunFolder

SFT = {"steps": 3, "batch_size": 8, "save_every": 1, "max_row_tokens": 512}
RL = {
    "steps": 3,
    "save_every": 1,
    "max_row_tokens": 512,
    "rollout": {
        "generation_batch_size": 8,
        "group_size": 2,
        "max_new_tokens": 4,
        "min_accuracy": -1,
        "decode_batch_size": 3,
    },
    "grading": {"workers": 0},
}
STAGES = {"sft": (train_sft, SftRecipe, SFT), "rl": (train_rl, RlRecipe, RL)}

every_stage = pytest.mark.parametrize("stage", STAGES)


class StopRunError(Exception):
    """Raised by a watcher to stop a run between two steps."""


@pytest.fixture
def questions(tmp_path) -> Path:
    """Sixteen questions about pictures, of which two cannot be read: one is cut short, one is damaged where only
    decoding can tell.
    """
    for number in range(16):
        Image.new("RGB", (64, 64), (16 * number, 30, 30)).save(tmp_path / f"{number}.png")
    cut = tmp_path / "3.png"
    cut.write_bytes(cut.read_bytes()[:60])
    damage(tmp_path / "11.png")
    records = [
        {
            "problem_id": f"picture-{number}",
            "problem": "<image>Which one?",
            "answer": f"<answer>{'AB'[number % 2]}</answer>",
            "options": ["A. one", "B. two"],
            "images": [f"{number}.png"],
            "problem_type": "multiple choice",
            "data_type": "image",
            "response": f"<think>I see.</think><answer>{'AB'[number % 2]}</answer>",
        }
        for number in range(16)
    ]
    write_records(tmp_path / "questions.jsonl", records)
    return tmp_path / "questions.jsonl"


def damage(path: Path) -> None:
    """Spoil the pixels of a PNG and leave its header and its end."""
    content = path.read_bytes()
    place = content.index(b"IDAT") + 4
    path.write_bytes(content[:place] + b"\xff" * 20 + content[place + 20 :])


def train(stage: str, questions: Path, folder: Path, *, share: float = 0.3, on_step=None) -> list[dict]:
    """Run a stage and return its journal without what depends on the clock."""
    function, kind, settings = STAGES[stage]
    function(kind(**settings, data={"files": [questions], "max_corrupt_fraction": share}), folder, on_step=on_step)
    return journal(folder)


def journal(folder: Path) -> list[dict]:
    return [{key: value for key, value in row.items() if "seconds" not in key} for row in RunFolder(folder).rows()]


def skipped_in(rows: list[dict]) -> list[dict]:
    return [skipped for row in rows for skipped in row["skipped_samples"]]


@every_stage
def test_what_cannot_be_read_is_named_in_the_journal_and_another_record_stands_in(tmp_path, questions, stage):
    rows = train(stage, questions, tmp_path / "run")
    # Sixteen records, 24 draws: each comes once in the first two steps, and half of them again in the third.
    assert [skipped["index"] for skipped in skipped_in(rows)] == sorted(
        skipped["index"] for skipped in skipped_in(rows)
    )
    assert {skipped["id"] for skipped in skipped_in(rows[:2])} == {"picture-3", "picture-11"}
    for skipped in skipped_in(rows):
        assert f"{skipped['id'].removeprefix('picture-')}.png" in skipped["reason"]
    if stage == "rl":
        assert [sum(task["groups"] for task in row["tasks"].values()) for row in rows] == [8, 8, 8]
    else:
        assert len({row["answer_tokens"] for row in rows}) == 1
    progress = json.loads((tmp_path / "run/checkpoints/step-00000003/progress.json").read_text())
    assert (progress["skipped"], progress["cursor"]) == (len(skipped_in(rows)), 24)


@pytest.mark.parametrize("is_strict", [False, True], ids=["", "strict"])
def test_damaged_media_count_as_unreadable_where_the_recipe_is_strict(tmp_path, questions, caplog, is_strict):
    damaged = tmp_path / "5.png"
    damaged.write_bytes(damaged.read_bytes()[:-12])
    data = {"files": [questions], "max_corrupt_fraction": 0.3, "strict_media": is_strict}
    train_sft(SftRecipe(**(SFT | {"steps": 2}), data=data), tmp_path / "run")
    skipped = {skipped["id"]: skipped["reason"] for skipped in skipped_in(journal(tmp_path / "run"))}
    assert skipped.keys() == {"picture-3", "picture-11"} | ({"picture-5"} if is_strict else set())
    loss = "5.png: its end is missing: the file is cut short"
    assert loss in (skipped["picture-5"] if is_strict else caplog.text)


@every_stage
def test_more_than_the_stated_share_stops_the_run_with_all_of_them_in_the_journal_and_mending_them_lets_it_go_on(
    tmp_path, questions, stage
):
    """0.1 of sixteen records is one sample and a half; that one cannot be read is known before, the other shows when it
    is drawn.
    """
    with pytest.raises(
        DataError,
        match=r"2 of the first \d+ samples could not be read, more than data\.max_corrupt_fraction = 0\.1 allows",
    ):
        train(stage, questions, tmp_path / "run", share=0.1)
    rows = journal(tmp_path / "run")
    assert {skipped["id"] for skipped in skipped_in(rows)} == {"picture-3", "picture-11"}
    saved = [path.name for path in RunFolder(tmp_path / "run").checkpoints.all()]
    assert saved == [f"step-{step:08d}" for step in range(1, len(rows))]
    for number in (3, 11):
        Image.new("RGB", (64, 64), (16 * number, 30, 30)).save(tmp_path / f"{number}.png")
    assert len(train(stage, questions, tmp_path / "run", share=0.1)) == 3


@every_stage
def test_a_resumed_run_counts_on_and_equals_one_that_was_not_stopped(tmp_path, questions, stage):
    def stop(row: dict) -> None:
        if row["step"] == 2:
            raise StopRunError

    whole = train(stage, questions, tmp_path / "whole")
    with pytest.raises(StopRunError):
        train(stage, questions, tmp_path / "stopped", on_step=stop)
    assert train(stage, questions, tmp_path / "stopped") == whole
    last = "checkpoints/step-00000003"
    assert (tmp_path / "whole" / last / "progress.json").read_text() == (
        tmp_path / "stopped" / last / "progress.json"
    ).read_text()
    expected, found = (load_file(tmp_path / name / last / "model/model.safetensors") for name in ("whole", "stopped"))
    assert all(expected[name].equal(found[name]) for name in expected)


def test_a_run_on_mended_files_differs_only_where_a_record_was_replaced(tmp_path, questions):
    broken = train("sft", questions, tmp_path / "broken")
    for number in (3, 11):
        Image.new("RGB", (64, 64), (16 * number, 30, 30)).save(tmp_path / f"{number}.png")
    mended = train("sft", questions, tmp_path / "mended")
    first = next(place for place, row in enumerate(broken) if row["skipped_samples"])
    assert broken[:first] == mended[:first]
    assert broken[first]["loss"] != mended[first]["loss"]
    assert skipped_in(mended) == []


def test_files_of_which_nothing_can_be_read_stop_the_run_soon(tmp_path, questions):
    for number in range(16):
        Image.new("RGB", (64, 64)).save(tmp_path / f"{number}.png")
        damage(tmp_path / f"{number}.png")
    with pytest.raises(DataError, match=r"6 samples in a row cannot be read; the last is picture-\d+: "):
        train("sft", questions, tmp_path / "run")


@every_stage
@pytest.mark.parametrize("bad", [9, 1])
def test_a_larger_share_of_unreadable_media_than_allowed_stops_a_run_before_it_begins(tmp_path, questions, stage, bad):
    for number in range(16):
        Image.new("RGB", (64, 64)).save(tmp_path / f"{number}.png")
    for number in range(bad):
        (tmp_path / f"{number}.png").write_bytes(b"")
    with pytest.raises(
        DataError,
        match=(
            rf"media of {bad} of 16 records cannot be read, more than data\.max_corrupt_fraction = 0\.01"
            r" .*row 1: .*0\.png"
        ),
    ):
        train(stage, questions, tmp_path / "run", share=0.01)
    assert not (tmp_path / "run").exists()


def test_what_could_not_be_read_is_said_on_the_screen(tmp_path, questions, capsys, caplog):
    with watching_training("SFT", 3, tmp_path / "run") as on_step:
        train("sft", questions, tmp_path / "run", on_step=on_step)
    assert "media that cannot be read, each replaced when it is drawn: 1 of 16 records" in caplog.text
    said = capsys.readouterr().err
    assert re.search(
        r"[12] samples? could not be read by step \d and were replaced; the last, picture-(3|11): .*png", said
    )
    assert re.search(r"step 3/3 .* unread \d", said)


def test_a_view_of_a_run_counts_what_could_not_be_read_once_also_where_steps_are_done_again():
    rows = [{"step": step, "skipped_samples": [{"id": "a", "reason": "gone"}] * step} for step in (1, 2, 3)]
    progress = Progress("SFT", 5, rows)
    assert progress.unread == 6
    progress.add(rows[2])
    assert progress.unread == 6
    [said] = progress.add({"step": 4, "skipped_samples": [{"id": "b", "reason": "cut"}] * 2})
    assert said == "8 samples could not be read by step 4 and were replaced; the last, b: cut"


def test_each_record_can_stand_in_once_and_the_order_is_a_function_of_the_number(questions):
    mixture = Mixture.open([questions], (), {}, 0)
    for number in (0, 7, 40):
        candidates = [sample.id for sample in mixture.candidates(number)]
        assert candidates[0] == mixture.sample(number).id
        assert sorted(candidates) == sorted(f"picture-{n}" for n in range(16))


def test_two_processes_skip_what_one_skips(tmp_path, questions):
    one = train("sft", questions, tmp_path / "one")
    settings = [
        *(f"{name}={value}" for name, value in SFT.items()),
        f'data.files=["{questions}"]',
        "data.max_corrupt_fraction=0.3",
    ]
    command = [
        sys.executable,
        "-m",
        "onethinker",
        "sft",
        str(tmp_path / "empty.toml"),
        "--output",
        str(tmp_path / "two"),
        "--processes",
        "2",
    ]
    (tmp_path / "empty.toml").touch()
    done = subprocess.run([*command, "--set", *settings], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    two = journal(tmp_path / "two")
    assert skipped_in(one) == skipped_in(two) != []
    assert [row["loss"] for row in one] == pytest.approx([row["loss"] for row in two], rel=1e-3)
