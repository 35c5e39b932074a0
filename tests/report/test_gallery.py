"""What a report shows of single samples: which pictures are drawn, which samples have a place, what a browser does with
them.
"""

import json
import re
import shutil
import subprocess
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from onethinker.core.masks import encode_rle
from onethinker.core.sample import PICTURE, Masks, Sample
from onethinker.data.published.masks import selection_of
from onethinker.data.synthetic import make_sample
from onethinker.evaluation.examples import (
    answer_picture,
    choose_examples,
    draw_examples,
    truth_picture,
)
from onethinker.evaluation.masking import AnswerMasks
from onethinker.evaluation.results import Result, write_results
from onethinker.evaluation.runs import Run, load_evaluation, load_runs
from onethinker.media.budget import MediaBudget
from onethinker.report import gallery as browsing
from onethinker.report.gallery import make_gallery, outcome_of
from onethinker.report.page import write_report
from onethinker.storage.folders import MASKS_FILE, SETTINGS_FILE
from onethinker.tasks import find_task, grade_response, task_of
from onethinker.tasks.grading import Grade

SETTINGS = {
    "model": "untrained",
    "weights": None,
    "reward_scheme": "paper",
    "sampling": {"max_new_tokens": 160, "temperature": 0.0, "top_p": 1.0, "seed": 7},
    "budget": MediaBudget().model_dump(mode="json"),
    "prompt_template": {"template": "{question}"},
}
ABOUT = {"date": "2026-01-01", "machine": "a laptop", "python": "3.11", "versions": {"torch": "2.14"}}
UNREADABLE = Grade(0.0, 0.0, 0.0, 0.0, {}, {"answer": "there is no answer block"})


def graded(sample: Sample, response: str) -> Result:
    task = task_of(sample)
    grade = grade_response(response, sample.truth, task=task, options=sample.options)
    return Result(
        f"key-{sample.id}",
        sample.id,
        task.key,
        sample.problem,
        sample.truth,
        response,
        grade,
        options=sample.options,
    )


def result(
    number: int, accuracy: float | None, *, task: str = "numerical", folder: str = "a", text: str = "x" * 100
) -> Result:
    grade = None if accuracy is None else Grade(accuracy, accuracy, 1.0, 0.5)
    return Result(
        f"{folder}{number}",
        f"sample{number}",
        task,
        "How many?",
        "2",
        text,
        grade,
        error="no such file" if grade is None else None,
    )


def store(folder: Path, results: list[Result]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / SETTINGS_FILE).write_text(json.dumps({"settings": SETTINGS, "about": ABOUT}))
    write_results(folder, results)
    return folder


def runs_of(*folders: Path) -> list[Run]:
    return [Run(folder.name, (load_evaluation(folder),)) for folder in folders]


def add_picture(folder: Path, key: str, *, num_bytes: int) -> None:
    path = truth_picture(folder, key)
    path.parent.mkdir(exist_ok=True)
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(path)
    path.write_bytes(path.read_bytes().ljust(num_bytes, b"\0"))


def test_every_task_is_drawn_with_truth_and_where_it_has_a_form_with_the_answer(tmp_path):
    scenes = [make_sample(5, index, split="test") for index in range(22)]
    results = [graded(scene, scene.response) for scene in scenes]
    draw_examples(scenes, results, store(tmp_path, results))
    for scene, own in zip(scenes, results, strict=True):
        structured = find_task(scene.problem_type, scene.data_type).structured
        with Image.open(truth_picture(tmp_path, own.key)) as picture:
            assert picture.format == "WEBP"
            assert picture.width > picture.height if scene.data_type == "video" else picture.width == 320
        assert answer_picture(tmp_path, own.key).exists() == structured


def test_what_is_drawn_are_the_first_ones_and_the_first_that_are_wrong_or_unread():
    results = [result(number, 1.0) for number in range(100)]
    results[70], results[80] = result(70, 0.0), replace(result(80, 0.0), grade=UNREADABLE)
    results[3] = result(3, None)
    chosen = choose_examples(results, most=10)
    assert len(chosen) == 10
    assert {"a0", "a1", "a2", "a4", "a5", "a70", "a80"} <= chosen
    assert "a3" not in chosen


def test_tasks_share_the_pictures_and_each_has_one():
    results = [result(number, 1.0, task=f"task{number % 5}") for number in range(100)]
    assert len(choose_examples(results, most=20)) == 20
    assert len(choose_examples(results, most=3)) == 5


def test_masks_are_drawn_once_they_are_there(tmp_path):
    mask = np.zeros((40, 60), bool)
    mask[10:30, 20:40] = True
    Image.new("RGB", (60, 40)).save(tmp_path / "a.png")
    truth = json.dumps(selection_of(mask))
    masks = Masks({PICTURE: (encode_rle(mask),)})
    sample = Sample("s", "?", "segmentation", "image", (tmp_path / "a.png",), truth=truth, masks=masks)
    own = graded(sample, f"<think>x</think><answer>{truth}</answer>")
    store(tmp_path, [own])
    draw_examples([sample], [own], tmp_path)
    everywhere = AnswerMasks(
        "masks", own.key, "s", "grabcut", None, False, {"image": encode_rle(np.ones_like(mask))}, {"gIoU": 1 / 6}
    )
    (tmp_path / MASKS_FILE).write_text(json.dumps(asdict(everywhere)) + "\n")
    draw_examples([sample], [own], tmp_path)
    corners = [
        np.asarray(Image.open(path).convert("RGB"))[5, 5].astype(int)
        for path in (
            truth_picture(tmp_path, own.key),
            answer_picture(tmp_path, own.key),
            answer_picture(tmp_path, "masks"),
        )
    ]
    assert [bool(red > 90 and blue < 40) for red, _, blue in corners] == [False, False, True]
    [card] = make_gallery(runs_of(tmp_path), max_bytes=10**6).cards
    assert card.answers[0].picture == browsing._data_address(answer_picture(tmp_path, "masks"))


def test_outcomes_are_told_apart():
    assert [outcome_of(result(0, value)) for value in (1.0, 0.5, 0.49, None)] == [
        "right",
        "right",
        "wrong",
        "not asked",
    ]
    assert outcome_of(replace(result(0, 0.0), grade=UNREADABLE)) == "unparsable"


def test_a_page_takes_as_many_samples_of_each_task_as_fit_those_with_pictures_first(tmp_path):
    results = [result(number, 1.0, task="few" if number < 10 else "many") for number in range(60)]
    store(tmp_path, results)
    add_picture(tmp_path, "a59", num_bytes=20_000)
    gallery = make_gallery(runs_of(tmp_path), max_bytes=45_000)
    assert [card.sample_id for card in gallery.cards if card.picture] == ["sample59"]
    counts = [sum(card.group == group for card in gallery.cards) for group in ("few", "many")]
    assert abs(counts[0] - counts[1]) <= 1
    assert len(gallery.cards) + gallery.num_left_out == 60


def test_a_page_stays_below_its_limit_and_says_what_is_missing(tmp_path):
    results = [result(number, 1.0, text="word " * 2000) for number in range(60)]
    store(tmp_path / "run", results)
    for own in results:
        add_picture(tmp_path / "run", own.key, num_bytes=30_000)
    write_report(tmp_path / "page.html", load_runs([tmp_path / "run"]), max_mb=1.0)
    page = (tmp_path / "page.html").read_text()
    assert len(page) < 1.1e6
    shown = page.count("<article")
    assert 15 < shown < 60
    assert f"{shown} of 60 samples; {60 - shown} were left out" in page


def test_the_number_of_samples_is_bounded_too(tmp_path):
    store(tmp_path, [result(number, 1.0) for number in range(browsing.MOST_SAMPLES + 5)])
    gallery = make_gallery(runs_of(tmp_path), max_bytes=10**9)
    assert (len(gallery.cards), gallery.num_left_out) == (browsing.MOST_SAMPLES, 5)


def test_a_question_stands_once_with_what_each_run_says_and_another_one_under_its_name_apart(tmp_path):
    before = store(tmp_path / "before", [result(1, 0.0), result(2, 1.0), result(3, 1.0)])
    after = store(
        tmp_path / "after",
        [result(1, 1.0, folder="b"), result(2, 0.2, folder="b"), replace(result(3, 1.0), problem="Other?")],
    )
    cards = make_gallery(runs_of(before, after), max_bytes=10**6).cards
    assert [card.tags for card in cards] == ["0-wrong 1-right better", "0-right 1-wrong worse", "0-right", "1-right"]


def test_a_sample_that_could_not_be_asked_shows_why(tmp_path):
    store(tmp_path / "run", [result(1, None, text="")])
    write_report(tmp_path / "page.html", load_runs([tmp_path / "run"]))
    page = (tmp_path / "page.html").read_text()
    assert "<li>no such file</li>" in page
    assert 'data-tags="0-not-asked"' in page


def test_options_stand_below_the_question(tmp_path):
    store(tmp_path / "run", [replace(result(1, 1.0), options=("A. red", "B. <i>blue"))])
    write_report(tmp_path / "page.html", load_runs([tmp_path / "run"]))
    assert "A. red<br>B. &lt;i&gt;blue" in (tmp_path / "page.html").read_text()


@pytest.mark.skipif(shutil.which("chromium") is None, reason="needs a browser")
@pytest.mark.parametrize(
    ("choose", "shown"),
    [
        ("", "all 4"),
        ("form.outcome.value = '0-wrong';", "2 of 4"),
        ("form.outcome.value = 'better';", "1 of 4"),
        ("form.group.value = 'math';", "1 of 4"),
        ("form.words.value = 'NEEDLE ';", "1 of 4"),
        ("form.group.value = 'math'; form.words.value = 'needle';", "0 of 4"),
    ],
    ids=["all", "wrong", "better", "task", "words", "both"],
)
def test_a_browser_filters(tmp_path, choose, shown):
    values = [result(1, 0.0), result(2, 0.0, text="a needle in it"), result(3, 1.0), result(4, 1.0, task="math")]
    before = store(tmp_path / "before", values)
    after = store(tmp_path / "after", [result(1, 1.0, folder="b"), *values[1:]])
    write_report(tmp_path / "page.html", load_runs([before, after]))
    page = (tmp_path / "page.html").read_text()
    if choose:  # a hand on the page is a script that its policy would not allow
        page = re.sub(r'<meta http-equiv="Content-Security-Policy"[^\n]*', "", page)
        page = page.replace("</body>", f"<script>{choose} form.dispatchEvent(new Event('input'));</script></body>")
    (tmp_path / "page.html").write_text(page)
    command = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path}", "--dump-dom"]
    dom = subprocess.run(
        [*command, (tmp_path / "page.html").as_uri()], capture_output=True, text=True, check=True, timeout=60
    ).stdout
    assert f">{shown}</output>" in dom
    hidden = len(re.findall(r"<article[^>]* hidden", dom))
    assert 4 - hidden == int(shown.removeprefix("all ").split()[0])
