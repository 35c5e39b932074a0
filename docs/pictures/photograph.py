"""Photograph the page of `onethinker serve` for the documents. Run: python docs/pictures/photograph.py.

A scripted engine answers the examples with their truths, and beside it one that is a little wrong.
"""

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

from onethinker.core.request import Request
from onethinker.data.synthetic.shown import shown_scenes
from onethinker.inference.scripted import ScriptedEngine
from onethinker.serving.pages import TASKS
from tests.serving.served import scripted, serving

HERE = Path(__file__).parent
SAMPLES = tuple(shown_scenes(TASKS))


def right(request: Request) -> str:
    """Return the truth of the example whose question it is."""
    sample = next(each for each in SAMPLES if each.problem.split("[")[0][:20] in request.text)
    return f"<think>I look for it in each frame.</think><answer>{sample.truth}</answer>"


def beside(request: Request) -> str:
    """Return a box that is not quite right."""
    return '<think>Roughly there.</think><answer>{"boxes": [180, 160, 480, 520]}</answer>'


def engine(answers: Callable[[Request], str], name: str) -> ScriptedEngine:
    """Return an engine that is called so."""
    made = scripted(answers)
    object.__setattr__(made, "name", name)
    return made


def ask(page: Page, task: str) -> None:
    """Ask the example of a task, and wait for the answer."""
    page.locator("#examples button").nth(TASKS.index(task)).click()
    page.locator("#ask").click()
    page.locator("#outputs").wait_for()
    page.locator("#ask:not([disabled])").wait_for()


def photograph(page: Page, name: str) -> None:
    """Write what the page shows beside this file."""
    page.evaluate("scrollTo(0, 0)")
    page.wait_for_timeout(500)
    page.screenshot(path=HERE / name)


with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
    browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
    with serving(engine(right, "mine"), Path(folder) / "one") as served:
        page = browser.new_page(viewport={"width": 1100, "height": 720}, color_scheme="dark")
        page.set_default_timeout(180_000)
        page.goto(served.address)
        ask(page, "tracking")
        page.locator("details summary").first.click()
        page.evaluate("document.getElementById('video').pause(); document.getElementById('video').currentTime = 2.5")
        photograph(page, "page_track.png")
        phone = browser.new_page(viewport={"width": 375, "height": 780})
        phone.set_default_timeout(180_000)
        phone.goto(served.address)
        ask(phone, "temporal grounding")
        photograph(phone, "page_phone.png")
    with serving(engine(right, "mine"), Path(folder) / "two", second=engine(beside, "theirs")) as served:
        page = browser.new_page(viewport={"width": 1100, "height": 720})
        page.set_default_timeout(180_000)
        page.goto(served.address)
        ask(page, "spatial grounding")
        page.locator("#correct").click()
        photograph(page, "page_two_models.png")
    browser.close()
