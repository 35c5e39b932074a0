"""The page in a real browser, where one is installed: asking, following up, comparing, and who can use it."""

import json

import pytest

from onethinker.core.request import SamplingParams
from onethinker.inference.loading import load_engine
from onethinker.tasks import all_tasks
from tests.serving.browsing import TASKS, WAIT_MS, ask, picture, save, take_example, until
from tests.serving.payloads import PAYLOADS
from tests.serving.served import Patient, png, scripted, serving


def test_docs_shows_every_route_without_another_host(page, served, client):
    asked = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(f"{served.address}/docs")
    page.locator(".opblock-summary-path").first.wait_for(timeout=60_000)
    shown = {each.inner_text().replace("\u200b", "") for each in page.locator(".opblock-summary-path").all()}
    assert shown == set(client.get("/openapi.json").json()["paths"])
    assert all(url.startswith((served.address, "data:", "blob:")) for url in asked)
    assert client.get("/docs/nothing.js").status_code == 404


@pytest.mark.parametrize("task", TASKS)
def test_an_example_is_asked_and_its_answer_shown(page, served, task):
    take_example(page, served, task)
    ask(page)
    assert page.locator(".tag").inner_text() == task
    assert page.locator(".answer").inner_text().strip()
    assert page.locator(".thinking").text_content() == "This answer is scripted."
    if task in ("spatial grounding", "segmentation"):
        painted = "document.getElementById('overlay').getContext('2d').getImageData(0,0,9999,9999).data.some(x => x)"
        assert page.evaluate(painted)
    if task == "temporal grounding":
        page.locator("#timeline button").first.click()


@pytest.mark.parametrize("task", sorted({task.problem_type for task in all_tasks()} - set(TASKS)))
def test_a_task_without_an_example_is_chosen_by_its_name(page, served, task):
    take_example(page, served, "numerical")
    page.locator("#task").select_option(task)
    ask(page)
    assert page.locator(".tag").inner_text() == task
    assert page.locator(".answer").inner_text().strip()


def test_the_tiny_model_is_asked_for_each_task(page, tmp_path):
    with serving(load_engine("untrained"), tmp_path / "uploads", sampling=SamplingParams(6)) as served:
        for task in TASKS:
            take_example(page, served, task)
            ask(page)
            assert page.locator(".tag").inner_text() == task
            assert "6 tokens" in page.locator(".said .quiet").inner_text()
            assert page.locator(".problems li").count()  # an untrained model does not find an end
        for task in sorted({task.problem_type for task in all_tasks()} - set(TASKS)):
            take_example(page, served, "numerical")
            page.locator("#task").select_option(task)
            ask(page)
            assert page.locator(".tag").inner_text() == task


def test_escape_stops_an_answer(page, tmp_path):
    engine = Patient()
    with serving(engine, tmp_path / "uploads") as served:
        take_example(page, served, "numerical")
        page.locator("#ask").click()
        assert engine.began.wait(60)
        page.keyboard.press("Escape")
        page.locator("#ask:not([disabled])").wait_for()
        assert engine.gave_up.wait(5)


def test_a_long_question_and_a_long_answer_leave_the_buttons_where_they_are(page, tmp_path):
    with serving(
        scripted(lambda _: "<answer>" + "8, 9 bicycles\n" * 400 + "</answer>"), tmp_path / "uploads"
    ) as served:
        take_example(page, served, "numerical")
        page.locator("#task").select_option("open-ended")
        page.locator("#question").fill("Is it red? " * 1800)
        ask(page)
        assert page.locator("#turns > li").bounding_box()["height"] < 700


def test_another_file_ends_the_answer_about_the_last_one(page, tmp_path):
    engine = Patient()
    with serving(engine, tmp_path / "uploads") as served:
        take_example(page, served, "numerical")
        page.locator("#ask").click()
        assert engine.began.wait(60)
        page.locator("#file").set_input_files({"name": "b.png", "mimeType": "image/png", "buffer": png()})
        assert engine.gave_up.wait(10)
        assert page.locator("#turns > li").count() == 0
        engine.may.set()
        ask(page)
        assert page.locator("#turns > li").count() == 1
        assert json.loads(save(page, "[data-save=json]"))["media"][0]["name"] == "b.png"


def test_nothing_acts_on_an_answer_that_is_no_longer_shown(page, tmp_path):
    engine = Patient()
    engine.may.set()
    with serving(engine, tmp_path / "uploads") as served:
        take_example(page, served, "tracking")
        ask(page)
        engine.may.clear()
        page.locator("#ask").click()
        page.locator(".said").nth(1).wait_for()
        assert (page.locator("#outputs").is_hidden(), page.locator("#timeline").is_hidden()) == (True, True)
        engine.may.set()
        page.locator("#outputs").wait_for()
        page.locator("#draw").click()
        around = page.locator("#overlay").bounding_box()
        page.mouse.move(around["x"] + 9, around["y"] + 9)
        page.mouse.down()
        page.mouse.move(around["x"] + 99, around["y"] + 99, steps=2)
        page.mouse.up()
        assert (page.locator("#outputs").is_hidden(), page.locator("#timeline").is_hidden()) == (True, True)


def test_what_a_model_says_is_never_html(page, tmp_path):
    said = "<think>" + " ".join(PAYLOADS) + "</think><answer>" + " ".join(PAYLOADS) + "</answer>"
    with serving(scripted(lambda _: said), tmp_path / "uploads") as served:
        take_example(page, served, "spatial grounding")
        page.locator("#task").select_option("open-ended")
        page.locator("#question").fill(PAYLOADS[0])
        ask(page)
        page.wait_for_timeout(300)
        assert page.title() == "OneThinker"
        made = "img, script, svg, iframe, form, a, object, embed, style, link, meta, base, math, video, audio, input"
        assert page.locator("#turns").locator(made).count() == 0
        assert page.locator("#history").locator(made).count() == 0
        shown = page.locator("#turns").text_content()
        assert [payload for payload in PAYLOADS if payload not in shown] == []


def test_a_follow_up_is_about_the_same_media_and_the_history_stays(page, served):
    take_example(page, served, "spatial grounding")
    ask(page)
    page.locator("#question").fill("And the other one?")
    page.locator("#task").select_option("")
    ask(page)
    assert page.locator("#turns > li").count() == 2
    assert "spatial grounding" in page.locator(".tag").nth(1).inner_text()
    page.reload()
    page.locator("#past summary").click()
    page.locator("#history button").first.click()
    assert page.locator("#question").input_value() == "And the other one?"
    page.locator("#forget").click()
    assert page.locator("#past").is_hidden()


def test_two_models_answer_side_by_side(page, tmp_path):
    other = scripted(lambda _: '<think>Elsewhere.</think><answer>{"boxes": [600, 600, 900, 900]}</answer>')
    object.__setattr__(other, "name", "other")
    with serving(scripted(), tmp_path / "uploads", second=other) as served:
        take_example(page, served, "spatial grounding")
        ask(page)
        assert page.locator(".by").all_inner_texts() == ["scripted", "other"]
        answers = page.locator(".answer").all_inner_texts()
        assert answers[0] != answers[1]
        assert "600" in answers[1]
        picture(page, "two-models")
        page.locator("#both").uncheck()
        ask(page)
        assert page.locator(".answer").count() == 3


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 375], ids=["desk", "phone"])
def test_no_serious_fault_of_accessibility_is_found_before_or_after_an_answer(browser, served, scheme, width):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    page = browser.new_page(color_scheme=scheme, viewport={"width": width, "height": 800}, bypass_csp=True)
    page.set_default_timeout(WAIT_MS)
    page.goto(served.address)
    page.locator("#examples button").first.wait_for()
    picture(page, f"empty-{scheme}-{width}")
    faults = axe.run(page).response["violations"]
    take_example(page, served, "spatial-temporal grounding")
    ask(page)
    page.locator("#correct").click()
    page.wait_for_timeout(300)
    picture(page, f"answered-{scheme}-{width}")
    faults += axe.run(page).response["violations"]
    assert [
        (each["id"], each["nodes"][0]["html"]) for each in faults if each["impact"] in ("serious", "critical")
    ] == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.close()


def test_the_keyboard_alone_asks_a_question(page, served):
    page.goto(served.address)
    page.locator("#examples button").first.wait_for()
    for _ in range(30):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.closest('#examples') !== null"):
            break
    page.keyboard.press("Enter")
    page.locator("#viewer").wait_for()
    until(page, "document.activeElement.id === 'ask'")
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Shift+Tab")
    assert page.evaluate("document.activeElement.id") == "question"
    page.keyboard.press("Enter")
    page.locator("#outputs").wait_for()
    assert page.locator("#said").text_content().startswith("Answer:")
