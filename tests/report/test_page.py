import base64
import hashlib
import json
import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from onethinker.core.errors import CheckpointError, StorageError
from onethinker.evaluation.examples import answer_picture, truth_picture
from onethinker.evaluation.results import Result
from onethinker.evaluation.runs import find_runs, load_runs, load_training
from onethinker.processes.machine import about_this_machine
from onethinker.report.page import write_report
from onethinker.storage.folders import RESULTS_FILE, SETTINGS_FILE
from onethinker.storage.jsonl_log import append_to_log
from onethinker.tasks.grading import Grade

ABOUT = {
    "command": "onethinker evaluate --model untrained --synthetic 2 --output before",
    "folder": "/home/me",
    "commit": "0d94a99",
    "date": "2026-01-01",
    "machine": "a laptop",
    "python": "3.11",
    "versions": {"torch": "2.14"},
}
SETTINGS = {
    "model": "untrained",
    "weights": None,
    "reward_scheme": "paper",
    "sampling": {"max_new_tokens": 160, "temperature": 0.0, "top_p": 1.0, "seed": 7},
    "budget": {"fps": 2.0, "max_frames": 12},
    "prompt_template": {"template": "{question}"},
}


def write_evaluation(
    folder: Path,
    accuracies: list[float],
    *,
    text: str = "<think>I see it.</think><answer>4</answer>",
    problem: str = "How many <b>dots</b>?",
    truth: str = "2",
    sample_id: str = "sample",
    settings: dict = SETTINGS,
    about: dict = ABOUT,
) -> Path:
    """One task; the first sample has pictures; keys are those of no other folder."""
    folder.mkdir(parents=True)
    (folder / SETTINGS_FILE).write_text(json.dumps({"settings": settings, "about": about}))
    grades = [Grade(value + 1, value, 1.0, 0.5, {}, {"accuracy": "expected 2, got 4"}) for value in accuracies]
    results = [
        Result(f"{ord(folder.name[0])}-{i}", f"{sample_id}{i}", "numerical", problem, truth, text, grade)
        for i, grade in enumerate(grades)
    ]
    append_to_log(folder / RESULTS_FILE, results)
    truth_picture(folder, results[0].key).parent.mkdir()
    for path in (truth_picture(folder, results[0].key), answer_picture(folder, results[0].key)):
        Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(path)
    return folder


def write_training(folder: Path, stage: str = "rl") -> Path:
    folder.mkdir(parents=True)
    tasks = {"tracking": {"reward": 1.25, "accuracy": 0.25, "format": 1.0, "sigma": 0.1}} if stage == "rl" else {}
    rows = [{"step": step, "stage": stage, "loss": 1 / step, "seconds": 30.0, "tasks": tasks} for step in range(1, 4)]
    (folder / "journal.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows) + '{"step": 4, "st')
    (folder / "recipe.json").write_text(json.dumps({"seed": 17}))
    return folder


class Page(HTMLParser):
    """Collects what a page would load, and checks that its tags are closed in order."""

    VOID = frozenset({"meta", "img", "br", "input", "line", "polyline", "circle"})

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open_tags: list[str] = []
        self.addresses: list[str] = []
        self.tags: list[str] = []
        self.attributes: set[str] = set()
        self.text = ""
        self.feed(html)

    def handle_data(self, data):
        self.text += data

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.attributes |= {name for name, _ in attributes}
        self.addresses += [value for name, value in attributes if name in ("src", "href", "srcset")]
        if tag not in self.VOID:
            self.open_tags.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.tags.append(tag)

    def handle_endtag(self, tag):
        assert self.open_tags.pop() == tag


@pytest.fixture
def report(tmp_path: Path) -> str:
    runs = [write_evaluation(tmp_path / "before", [0.0, 0.5]), write_evaluation(tmp_path / "after", [1.0, 0.5])]
    runs += [write_training(tmp_path / "sft", "sft"), write_training(tmp_path / "rl")]
    write_report(tmp_path / "pages" / "report.html", load_runs(runs), title="Quick & small")
    return (tmp_path / "pages" / "report.html").read_text()


def test_report_is_whole_html_that_loads_nothing_from_elsewhere(report):
    page = Page(report)
    assert page.open_tags == []
    assert page.addresses
    assert all(address.startswith(("data:image/webp;base64,", "#")) for address in page.addresses)
    assert page.tags.count("script") == 1
    assert not re.search(r"https?://", report)


def test_report_shows_before_and_after_with_their_means(report):
    assert '<td class="n">0.250</td>' in report
    assert '<td class="n">0.750</td>' in report
    assert report.index("before: mean accuracy") < report.index("after: mean accuracy")


def test_report_shows_curves_answers_reasons_and_how_to_repeat(report):
    for words in (
        "reward of tracking: 1.25 at the end",
        "loss: ",
        "1 min 30 s",
        "I see it.",
        "expected 2, got 4",
        "a laptop",
        "torch 2.14",
        "seed 17",
        "cd /home/me\nonethinker evaluate --model untrained --synthetic 2 --output before",
        "greedy, seed 7, at most 160 tokens",
        "max_frames 12",
        "commit 0d94a99",
    ):
        assert words in report, words


def test_an_evaluation_remembers_the_command_line_and_the_commit_that_it_ran_with():
    code = (
        "import json, sys; sys.argv = ['/somewhere/bin/onethinker', 'evaluate', '--model', 'my model'];"
        "from onethinker.processes.machine import about_this_machine; print(json.dumps(about_this_machine()))"
    )
    about = json.loads(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout)
    assert about["command"] == "onethinker evaluate --model 'my model'"
    assert about["folder"] == str(Path.cwd())
    assert about["commit"] is None or re.fullmatch("[0-9a-f]{40}[+]?", about["commit"])
    assert about_this_machine()["command"] is None  # pytest is no command of ours


def test_an_evaluation_without_a_command_says_so(tmp_path):
    write_evaluation(tmp_path / "run", [1.0], about=ABOUT | {"command": None})
    write_report(tmp_path / "a.html", load_runs([tmp_path / "run"]))
    assert "The command was not recorded" in (tmp_path / "a.html").read_text()


def test_runs_of_one_name_are_told_apart(tmp_path):
    write_evaluation(tmp_path / "a" / "scores", [1.0])
    write_evaluation(tmp_path / "b" / "scores", [0.0])
    write_report(tmp_path / "a.html", load_runs([tmp_path / "a" / "scores", tmp_path / "b" / "scores"]))
    assert "a/scores → b/scores" in (tmp_path / "a.html").read_text()


def test_the_only_script_is_the_one_that_the_page_allows(report):
    script = report.split("<script>")[1].split("</script>")[0]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src &#39;sha256-{digest}&#39;" in report or f"script-src 'sha256-{digest}'" in report


ATTACKS = {
    "script": "<script>alert(1)</script>",
    "image": "<img src=x onerror=alert(1)>",
    "quotes": '"\' onmouseover="alert(1)" x=\'',
    "end of script": "</script></pre></details><script src=//evil.example></script>",
    "style": "</style><style>*{display:none}</style>",
    "template": "{{ 7 * 191 }}{% include 'x' %}",
}


@pytest.mark.parametrize("attack", ATTACKS.values(), ids=ATTACKS)
def test_text_of_models_and_data_cannot_become_markup(tmp_path, attack):
    plain = write_evaluation(tmp_path / "plain", [0.0])
    evil = tmp_path / ("evil " + attack.replace("/", "∕"))
    write_evaluation(
        evil,
        [0.0],
        text=f"<think>{attack}</think><answer>{attack}</answer>",
        problem=attack,
        sample_id=attack,
        truth=attack,
        settings={**SETTINGS, "model": attack, "prompt_template": {"template": attack}, "judge": {"model": attack}},
        about=dict.fromkeys(ABOUT, attack) | {"versions": {attack: attack}},
    )
    write_report(tmp_path / "plain.html", load_runs([plain]), title="x")
    write_report(tmp_path / "evil.html", load_runs([evil]), title=attack)
    harmless, page = (Page((tmp_path / name).read_text()) for name in ("plain.html", "evil.html"))
    assert page.open_tags == []
    assert page.tags.count("script") == page.tags.count("style") == 1
    assert page.tags.count("img") == harmless.tags.count("img")
    assert page.attributes == harmless.attributes
    assert attack in page.text
    assert "1337" not in page.text


def test_report_works_with_evaluations_only_and_with_training_only(tmp_path):
    write_report(tmp_path / "a.html", load_runs([write_evaluation(tmp_path / "only", [1.0])]))
    write_report(tmp_path / "b.html", load_runs([write_training(tmp_path / "train")]))
    assert "Learning" not in (tmp_path / "a.html").read_text()
    assert "Learning from rewards" in (tmp_path / "b.html").read_text()


def test_a_task_with_unasked_samples_shows_no_number(tmp_path):
    folder = write_evaluation(tmp_path / "part", [1.0])
    append_to_log(
        folder / RESULTS_FILE, [Result("k", "sample9", "numerical", "How many?", "2", "", None, error="no such file")]
    )
    write_report(tmp_path / "a.html", load_runs([folder]))
    page = (tmp_path / "a.html").read_text()
    assert "1 not asked" in page
    assert '<td class="n">1.000</td>' not in page.split("Reward, format")[0]


def test_a_folder_of_runs_is_searched_in_the_order_in_which_they_began(tmp_path):
    for when, name in ((300, "a"), (100, "b"), (200, "c")):
        folder = write_evaluation(tmp_path / name, [1.0])
        for path in folder.glob("*.json*"):
            os.utime(path, (when, when))
    (tmp_path / "pictures").mkdir()
    assert [folder.name for folder in find_runs(tmp_path)] == ["b", "c", "a"]


def test_a_step_that_was_done_again_counts_once_and_a_torn_line_not_at_all(tmp_path):
    folder = write_training(tmp_path / "rl")
    path = folder / "journal.jsonl"
    path.write_text(path.read_text().rsplit("\n", 1)[0] + '\n{"step": 3, "stage": "rl", "loss": 9.0, "seconds": 1.0}\n')
    assert load_training(folder).curve("loss") == [(1, 1.0), (2, 0.5), (3, 9.0)]


@pytest.mark.parametrize("content", ["[1, 2]\n", "{}\n", "nonsense\n", ""], ids=["list", "no step", "no json", "empty"])
def test_a_damaged_journal_is_named_and_nothing_is_written(tmp_path, content):
    (tmp_path / "rl").mkdir()
    (tmp_path / "rl" / "journal.jsonl").write_text(content)
    with pytest.raises(CheckpointError, match=r"journal\.jsonl"):
        write_report(tmp_path / "report.html", load_runs([tmp_path / "rl"]))
    assert not (tmp_path / "report.html").exists()


def test_a_folder_without_a_run_is_named(tmp_path):
    with pytest.raises(CheckpointError, match=r"results\.jsonl or journal\.jsonl"):
        write_report(tmp_path / "report.html", load_runs([tmp_path]))


def test_a_page_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match=r"file/page\.html"):
        write_report(tmp_path / "file" / "page.html", load_runs([write_evaluation(tmp_path / "run", [1.0])]))


def test_half_a_character_in_an_answer_does_not_stop_the_report(tmp_path):
    write_report(tmp_path / "a.html", load_runs([write_evaluation(tmp_path / "run", [0.0], text="\ud800")]))
    assert "<h1>" in (tmp_path / "a.html").read_text()
