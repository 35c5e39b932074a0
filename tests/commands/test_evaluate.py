import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from onethinker.cli import main
from onethinker.core.sample import Sample
from onethinker.data.formats.records import write_records
from onethinker.data.formats.released import write_samples
from onethinker.media.writing import write_video
from tests.commands.chat_server import serving


def run(*arguments) -> int:
    with pytest.raises(SystemExit) as left:
        main([str(argument) for argument in arguments])
    return left.value.code


def test_evaluate_asks_held_out_scenes_and_report_makes_a_page(tmp_path, capsys):
    arguments = (
        "evaluate",
        "--model",
        "untrained",
        "--synthetic",
        4,
        "--output",
        tmp_path / "run",
        "--max-new-tokens",
        4,
        "--json",
    )
    assert run(*arguments) == 0
    first = capsys.readouterr().out
    scores = json.loads(first)
    assert sum(task["num_samples"] for task in scores["tasks"]) == 4
    assert scores["mean_accuracy"] is not None
    assert run(*arguments) == 0
    assert capsys.readouterr().out == first
    assert run("report", tmp_path / "run", "--output", tmp_path / "page.html") == 0
    assert (tmp_path / "page.html").read_text().startswith("<!doctype html>")


def test_a_file_sets_the_options_of_evaluate_and_flags_replace_them(tmp_path, capsys):
    file = tmp_path / "scenes.toml"
    file.write_text(
        'output = "nowhere"\n[samples]\nsynthetic = 4\n[asking]\nmodel = "untrained"\nmax_new_tokens = 4\nseed = 7\n'
        '[grading]\nrewards = "release"\n'
    )
    # The file says nothing of a limit, and sets the seed to something else than its default.
    flags = ("--output", tmp_path / "run", "--seed", 0, "--limit", 2, "--json")
    assert run("evaluate", "--config", file, *flags) == 0
    assert sum(task["num_samples"] for task in json.loads(capsys.readouterr().out)["tasks"]) == 2
    settings = json.loads((tmp_path / "run" / "settings.json").read_text())["settings"]
    assert (settings["model"], settings["reward_scheme"]) == ("untrained", "release")
    assert (settings["sampling"]["seed"], settings["sampling"]["max_new_tokens"]) == (0, 4)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        pytest.param("[samples]\nsynthetics = 4", "samples.synthetics", id="an unknown key"),
        pytest.param("[samples]\nsynthetic = 'four'", "samples.synthetic", id="a text for a count"),
        pytest.param("synthetic =", "cannot be read as settings of an evaluation", id="no TOML"),
        pytest.param(None, "No such file", id="no file"),
    ],
)
def test_a_file_of_settings_that_is_wrong_is_refused_by_name(tmp_path, capsys, text, named):
    file = tmp_path / "scenes.toml"
    if text is not None:
        file.write_text(text)
    assert run("evaluate", f"--config={file}", "--model", "untrained", "--output", tmp_path / "run") == 1
    said = capsys.readouterr().err.replace("\n", "")
    assert str(file) in said
    assert named in said


def test_evaluate_prints_a_table(tmp_path, capsys):
    assert (
        run("evaluate", "--model", "untrained", "--synthetic", 1, "--output", tmp_path / "run", "--max-new-tokens", 4)
        == 0
    )
    assert "mean accuracy" in capsys.readouterr().out


def test_greedy_is_the_default_and_a_flag_draws_as_the_release_does(tmp_path):
    for name, flags in {
        "default": (),
        "greedy": ("--mode", "greedy"),
        "release": ("--mode", "release"),
        "warm": ("--temperature", 0.7),
    }.items():
        arguments = (
            "--model",
            "untrained",
            "--synthetic",
            1,
            "--max-new-tokens",
            4,
            "--output",
            tmp_path / name,
            "--stage",
            "answer",
        )
        assert run("evaluate", *arguments, *flags) == 0
    drawn = {
        path.parent.name: json.loads(path.read_text())["settings"]["sampling"]
        for path in tmp_path.glob("*/settings.json")
    }
    assert {name: (own["temperature"], own["top_p"]) for name, own in drawn.items()} == {
        "default": (0.0, 1.0),
        "greedy": (0.0, 1.0),
        "release": (0.1, 0.001),
        "warm": (0.7, 1.0),
    }


def test_without_a_folder_for_its_results_nothing_is_asked(capsys):
    assert run("evaluate", "--synthetic", 1) == 1
    assert "give an --output folder" in capsys.readouterr().err


def test_samples_that_cannot_be_asked_are_named_and_leave_with_1(tmp_path, capsys):
    samples = [Sample("seven", "How many?", "numerical", "image", (tmp_path / "absent.png",), truth="2")]
    write_samples(tmp_path / "samples.jsonl", samples)
    assert (
        run("evaluate", "--model", "untrained", "--data", tmp_path / "samples.jsonl", "--output", tmp_path / "run") == 1
    )
    said = capsys.readouterr().err
    assert "1 of 1 samples" in said
    assert "absent.png" in said


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("--model", "untrained"), "--data FILE, --synthetic"),
        (
            ("--model", "untrained", "--benchmark", "mmmu", "--synthetic", "1"),
            "--benchmark and --synthetic cannot be combined",
        ),
        (("--model", "untrained", "--benchmark", "mmmlu"), "no benchmark 'mmmlu'"),
        (("--model", "untrained", "--benchmark", "mmmu", "--data", "/nowhere"), "/nowhere/MMMU_DEV_VAL.tsv"),
        (("--model", "untrained", "--benchmark", "paper", "--data", "/nowhere"), "no data of any benchmark"),
        (("--model", "untrained", "--synthetic", "1", "--judge", "sage"), "--judge must be an address"),
        (("--model", "untrained", "--synthetic", "0"), "--synthetic must be at least 1"),
        (
            ("--model", "untrained", "--synthetic", "1", "--mode", "release", "--temperature", "1"),
            "is not for --mode release",
        ),
        (("--model", "untrained", "--data", "absent.jsonl"), "absent.jsonl"),
        (("--model", "/no/such/model", "--synthetic", "1"), "/no/such/model"),
    ],
    ids=[
        "no samples",
        "benchmark and scenes",
        "no benchmark",
        "no data",
        "no data at all",
        "judge",
        "none",
        "mode and temperature",
        "file",
        "model",
    ],
)
def test_bad_input_leaves_with_1_and_writes_nothing(tmp_path, capsys, arguments, complaint):
    assert run("evaluate", *arguments, "--output", tmp_path / "run") == 1
    assert complaint in capsys.readouterr().err.replace("\n", "")
    assert not (tmp_path / "run").exists()


def test_report_of_nothing_leaves_with_1(tmp_path, capsys):
    assert run("report", tmp_path, "--output", tmp_path / "page.html") == 1
    assert "not a run: there is no results.jsonl" in capsys.readouterr().err
    assert not (tmp_path / "page.html").exists()


def charades(folder: Path, count: int) -> Path:
    """A released evaluation file of so many questions about one clip."""
    folder.mkdir()
    write_video(folder / "a.mp4", np.zeros((4, 64, 64, 3), np.uint8), fps=2)
    record = {"problem": "When?", "problem_type": "temporal grounding", "data_type": "video", "path": "a.mp4"}
    records = [{**record, "problem_id": n, "solution": '<answer>{"time": [0, 1]}</answer>'} for n in range(count)]
    (folder / "eval_charades.json").write_text(json.dumps(records))
    return folder


def test_the_list_says_what_is_found_and_where_the_rest_goes(tmp_path, capsys):
    data = charades(tmp_path / "data", 1)
    assert run("evaluate", "--list", "--data", data, "--json") == 0
    listed = json.loads(capsys.readouterr().out)
    assert len(listed["benchmarks"]) == 39
    by_name = {record["name"]: record for record in listed["benchmarks"]}
    assert [name for name, record in by_name.items() if record["found"]] == ["Charades-STA"]
    assert by_name["GOT-10k"]["missing"] == [["eval_got10k.json"], ["GOT-10k/val/list.txt"]]
    assert {"name", "task", "metrics", "published", "found", "missing"} <= by_name["MMMU"].keys()
    assert run("evaluate", "--list", "--data", data) == 0
    table = capsys.readouterr().out
    assert "found:" in table
    assert "charades_sta" not in table
    assert "data found for 1 of 39 benchmarks" in table


def test_a_benchmark_is_asked_and_stands_beside_the_paper(tmp_path, capsys):
    data = charades(tmp_path / "data", 2)
    arguments = (
        "evaluate",
        "--model",
        "untrained",
        "--data",
        data,
        "--output",
        tmp_path / "runs",
        "--max-new-tokens",
        4,
    )
    assert run(*arguments, "--benchmark", "Charades-STA", "--json") == 0
    said = capsys.readouterr()
    rows = json.loads(said.out)["benchmarks"]
    assert json.loads(said.out)["unparsable"] == {"Charades-STA": ["0", "1"]}
    assert "Charades-STA: 2 answers could not be read and count as 0: 0, 1" in said.err
    assert [(row["metric"], row["estimate"]["mean"]) for row in rows] == [
        ("R@0.3", 0),
        ("R@0.5", 0),
        ("R@0.7", 0),
        ("tIoU", 0),
    ]
    assert rows[3]["published"]["OneThinker-8B"] == 59.9
    assert "Charades-STA: 2 samples, but 3720 are expected" in said.err
    assert (tmp_path / "runs/charades_sta/results.jsonl").read_text().count("\n") == 2
    assert run(*arguments, "--benchmark", "paper") == 0
    table = capsys.readouterr().out
    assert "Charades-STA" in table
    assert "59.9" in table
    assert run("report", tmp_path / "runs/charades_sta", "--output", tmp_path / "page.html") == 0


def test_other_weights_are_asked_in_the_words_of_their_file(tmp_path):
    data = charades(tmp_path / "data", 1)
    words = tmp_path / "theirs.toml"
    words.write_text(
        'system = "Think first."\ntemplate = "{question} ({instructions})"\n[instructions]\n"temporal grounding" = "Say'
        ' when."\n'
    )
    arguments = (
        "evaluate",
        "--model",
        "untrained",
        "--benchmark",
        "charades_sta",
        "--data",
        data,
        "--output",
        tmp_path / "runs",
    )
    assert run(*arguments, "--prompt-template", words, "--max-new-tokens", 4) == 0
    prompt_template = json.loads((tmp_path / "runs/charades_sta/settings.json").read_text())["settings"][
        "prompt_template"
    ]
    assert (prompt_template["system"], prompt_template["instructions"]) == (
        "Think first.",
        {"temporal grounding": "Say when."},
    )


@pytest.mark.parametrize("model", ["untrained", "server"])
def test_media_of_another_kind_than_the_question_are_not_asked_about(tmp_path, capsys, model):
    picture, clip = np.zeros((2, 64, 64, 3), np.uint8)[:1], np.zeros((8, 64, 64, 3), np.uint8)
    Image.fromarray(picture[0]).save(tmp_path / "a.jpg")
    Image.fromarray(picture[0]).save(
        tmp_path / "moves.gif", save_all=True, append_images=[Image.new("RGB", (64, 64), "red")]
    )
    write_video(tmp_path / "clip.mp4", clip, fps=4)
    records = [
        {
            "problem": "What?",
            "problem_type": "ocr",
            "data_type": kind,
            "path": name,
            "solution": "x",
            "problem_id": f"{name} as {kind}",
        }
        for name, kind in (
            ("a.jpg", "video"),
            ("clip.mp4", "image"),
            ("moves.gif", "image"),
            ("a.jpg", "image"),
            ("clip.mp4", "video"),
        )
    ]
    write_records(tmp_path / "samples.jsonl", records)
    with serving("<think>x</think><answer>x</answer>") as (address, _):
        engine = ("--model", "untrained") if model == "untrained" else ("--model", address)
        more = ("--max-new-tokens", 2, "--output", tmp_path / "run")
        assert run("evaluate", *engine, "--data", tmp_path / "samples.jsonl", *more) == 1
    said = " ".join(capsys.readouterr().err.split())
    assert "3 of 5 samples have no grade" in said
    assert "a.jpg as video: a.jpg is a picture, but the question is about a video" in said
    assert "clip.mp4 as image: clip.mp4 is a video (or an animation), but the question is about a picture" in said
    assert "moves.gif as image: moves.gif is a video" in said


def test_ids_that_repeat_and_truths_that_are_none_are_found_before_the_model_is_loaded(tmp_path, capsys):
    record = {
        "problem": "What?",
        "problem_type": "ocr",
        "data_type": "image",
        "path": "a.png",
        "solution": "x",
        "problem_id": 3,
    }
    write_records(tmp_path / "twice.jsonl", [record, record])
    assert (
        run(
            "evaluate",
            "--model",
            "http://127.0.0.1:9/v1",
            "--data",
            tmp_path / "twice.jsonl",
            "--output",
            tmp_path / "run",
        )
        == 1
    )
    assert "sample ids must be unique, but '3' is used more than once" in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "run").exists()


def test_a_record_of_a_benchmark_that_cannot_be_used_is_named_and_missing_and_the_others_are_asked(tmp_path, capsys):
    (tmp_path / "data/activitynet").mkdir(parents=True)
    write_video(tmp_path / "data/activitynet/v_a.mp4", np.zeros((8, 64, 64, 3), np.uint8), fps=4)
    spans = [[0, 1], [0, 0], [0.5, 2]]
    video = {"duration": 2.0, "timestamps": spans, "sentences": ["A man sits.", "A title.", "He stands up."]}
    (tmp_path / "data/activitynet/val_2.json").write_text(json.dumps({"v_a": video}))
    arguments = (
        "--benchmark",
        "activitynet_captions",
        "--data",
        tmp_path / "data",
        "--output",
        tmp_path / "run",
        "--max-new-tokens",
        2,
    )
    assert run("evaluate", "--model", "untrained", *arguments) == 0
    said = " ".join(capsys.readouterr().err.split())
    assert "ActivityNet Captions: 1 of 3 rows cannot be used, and are missing from its numbers:" in said
    assert "'v_a', sentence 1: 'time' must end after it starts, got [0, 0]" in said
    assert "ActivityNet Captions: 2 samples, but 17031 are expected" in said
    (tmp_path / "data/activitynet/val_2.json").write_text(
        json.dumps({"v_a": {**video, "timestamps": [[0, 0], [1, 1], [2, 2]]}})
    )
    assert run("evaluate", "--model", "untrained", *arguments) == 1
    assert "none of 3 rows can be used; first reason: " in " ".join(capsys.readouterr().err.split())
