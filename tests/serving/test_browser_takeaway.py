"""What is taken away from the page, in a real browser: copied lines, files, corrected answers as training records."""

import json
import shlex
import subprocess
from pathlib import Path

import pytest

from onethinker.cli import main
from onethinker.core.sample import Sample
from onethinker.data.corrections import Corrected, read_corrections
from tests.serving.browsing import ask, picture, save, take_example
from tests.serving.served import png


def test_a_box_is_drawn_with_the_mouse_or_typed_and_is_the_target_of_a_track(page, served):
    take_example(page, served, "tracking")
    page.locator("#clear-box").click()
    page.locator("#task").select_option("")
    page.locator("#draw").click()
    around = page.locator("#overlay").bounding_box()
    corners = [(around["x"] + share * around["width"], around["y"] + share * around["height"]) for share in (0.2, 0.6)]
    page.mouse.move(*corners[0])
    page.mouse.down()
    page.mouse.move(*corners[1], steps=4)
    page.mouse.up()
    assert page.locator("#task").input_value() == "tracking"
    page.locator("#right").fill("700")
    page.locator("#question").fill("Follow it.")
    ask(page)
    page.locator("[data-copy=curl]").click()
    copied = page.evaluate("navigator.clipboard.readText()")
    box = json.loads(copied.partition("box=")[2].partition("'")[0])
    assert box == pytest.approx([200, 200, 700, 600], abs=8)


def test_a_question_is_copied_as_a_line_of_other_programs(page, served, tmp_path):
    take_example(page, served, "multiple choice")
    ask(page)
    lines = {}
    for kind in ("curl", "python", "cli"):
        page.locator(f"[data-copy={kind}]").click()
        lines[kind] = page.evaluate("navigator.clipboard.readText()")
    assert page.locator("#noted").inner_text() == "Copied"
    compile(lines["python"], "copied", "exec")
    assert "options=[" in lines["python"]
    assert lines["curl"].startswith("curl -F 'media=@\"multiple-choice.png\"' --form-string 'question=")
    assert lines["curl"].count("--form-string 'options=") >= 2
    assert lines["cli"].startswith("onethinker ask 'multiple-choice.png' '")
    assert f"--model {served.address}/v1 " in lines["cli"]
    assert f'Thinker.load("{served.address}/v1")' in lines["python"]
    assert "--task 'multiple choice' --options '" in lines["cli"]


def test_an_answer_is_downloaded_in_every_form(page, served):
    take_example(page, served, "tracking")
    ask(page)
    told = json.loads(save(page, "[data-save=json]"))
    assert told["task"] == "tracking"
    assert json.loads(save(page, "[data-save=coco]"))["annotations"]
    assert json.loads(save(page, "[data-save=label-studio]"))["predictions"]
    assert save(page, "[data-save=mot]").count(b"\n") == len(told["boxes"])
    assert save(page, "[data-save=picture]").startswith(b"\x89PNG")
    assert save(page, "[data-save=clip]")[4:8] == b"ftyp"


def test_the_coco_file_of_a_segmentation_has_its_mask(page, served):
    take_example(page, served, "segmentation")
    ask(page)
    told = json.loads(save(page, "[data-save=json]"))
    [found] = json.loads(save(page, "[data-save=coco]"))["annotations"]
    assert found["segmentation"] == told["masks"][0]["segmentation"]


def test_a_form_that_an_answer_does_not_have_is_not_offered(page, served):
    take_example(page, served, "multiple choice")
    ask(page)
    assert [page.locator(f"[data-save={kind}]").is_visible() for kind in ("coco", "mot")] == [False, False]
    assert json.loads(save(page, "[data-save=label-studio]"))["predictions"]


def test_a_box_that_is_dragged_becomes_a_training_record(page, served, tmp_path):
    take_example(page, served, "spatial grounding")
    before = record_of(page, tmp_path, "spatial-grounding.png")
    x1, y1, x2, y2 = json.loads(before.truth)["boxes"]
    around = page.locator("#overlay").bounding_box()
    place = [around["x"] + x2 * around["width"] / 1000, around["y"] + y2 * around["height"] / 1000]
    page.mouse.move(*place)
    page.mouse.down()
    page.mouse.move(place[0] + 0.05 * around["width"], place[1] - 0.1 * around["height"], steps=4)
    page.mouse.up()
    picture(page, "correcting")
    after = saved_record(page, tmp_path, "spatial-grounding.png")
    assert json.loads(after.truth)["boxes"] == pytest.approx([x1, y1, x2 + 50, y2 - 100], abs=8)
    assert json.loads(save(page, "[data-save=json]"))["boxes"][0]["box"] == [x1, y1, x2, y2]
    assert after.problem_type == "spatial grounding"


def test_a_span_that_is_moved_becomes_a_training_record(page, served, tmp_path):
    take_example(page, served, "temporal grounding")
    record_of(page, tmp_path, "temporal-grounding.mp4")
    page.locator("#from").fill("1")
    page.locator("#to").fill("2.5")
    after = saved_record(page, tmp_path, "temporal-grounding.mp4")
    assert json.loads(after.truth) == {"time": [1, 2.5]}


def test_the_record_of_a_track_has_its_target_and_a_correction_is_saved_once(page, served, tmp_path):
    take_example(page, served, "tracking")
    page.evaluate("import('/page/state.js').then(({ state }) => { state.box = [100, 200, 300, 400]; })")
    sample = record_of(page, tmp_path, "tracking.mp4")
    assert "[100,200,300,400]" in sample.problem
    assert list(json.loads(sample.truth)["boxes"])[:2] == ["1", "2"]
    lines = [json.loads(line) for line in save(page, "#save-record").splitlines()]
    assert len(lines) == 1
    ask(page)
    page.locator("#correct").click()
    page.locator("#follow-up").wait_for()
    assert page.locator("#save-record").is_hidden()
    page.locator("#afresh").click()
    assert page.locator("#turns li").count() == 0
    ask(page)
    page.locator("#correct").click()
    first, second = [json.loads(line)["id"] for line in save(page, "#save-record").splitlines()]
    assert first == lines[0]["id"] != second


def test_a_correction_that_the_browser_cannot_keep_says_so(page, served):
    take_example(page, served, "spatial grounding")
    ask(page)
    page.locator("#correct").click()
    page.evaluate("() => { Storage.prototype.setItem = () => { throw new Error('full'); }; }")
    assert save(page, "#save-record").count(b"\n") == 1
    assert "cannot store" in page.locator("#error").inner_text()


def record_of(page, folder: Path, name: str) -> Sample:
    """Ask, begin to correct, and return the record of the answer as it is."""
    ask(page)
    page.locator("#correct").click()
    return saved_record(page, folder, name)


def saved_record(page, folder: Path, name: str) -> Sample:
    """Save the correction, and return what `onethinker data from-answers` makes of the last line."""
    file = folder / "corrected.jsonl"
    file.write_bytes(save(page, "#save-record").splitlines(keepends=True)[-1])
    (folder / name).write_bytes(b"the medium lies beside the file")
    corrected = Corrected()
    read_corrections(file, None, corrected, source="page", least=0.99, answer_only=False)
    [sample] = corrected.samples.values()
    return sample


def test_a_copied_follow_up_has_the_questions_before_it(page, served, tmp_path, monkeypatch, capsys):
    name = '-@a "b";it\'s.png'
    page.goto(served.address)
    page.locator("#file").set_input_files({"name": name, "mimeType": "image/png", "buffer": png()})
    for question in ("Where is the cat's bowl?", "<And the other one?"):
        page.locator("#question").fill(question)
        ask(page)
    lines = {}
    for kind in ("curl", "python", "cli"):
        page.locator(f"[data-copy={kind}]").click()
        lines[kind] = page.evaluate("navigator.clipboard.readText()")
    turn = ["Where is the cat's bowl?", '<answer>{"boxes": [112, 240, 398, 771]}</answer>']
    words = shlex.split(lines["cli"])
    assert words[words.index("--earlier") + 1 :] == turn
    assert f'earlier=[["{turn[0]}",{json.dumps(turn[1])}]]' in lines["python"]
    (tmp_path / name).write_bytes(png())
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match=r"^0$"):
        main(words[1:])
    assert "This answer is scripted." in capsys.readouterr().out
    done = subprocess.run(["sh", "-c", lines["curl"]], cwd=tmp_path, capture_output=True, check=True)
    told = json.loads(done.stdout)
    assert [told["question"], told["media"][0]["kind"]] == ["<And the other one?", "image"]
    assert [*told["turns"][0].values()] == turn
