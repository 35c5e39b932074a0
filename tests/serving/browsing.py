"""What a person does on the page, for tests in a real browser."""

import os
import shutil
import time
from pathlib import Path

from onethinker.serving.pages import TASKS as TASKS

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
WAIT_MS = 120_000
PICTURES = os.environ.get("ONETHINKER_PICTURES")
"""A folder for pictures of the page, to look at."""


def take_example(page, served, task: str) -> None:
    page.goto(served.address)
    page.locator("#examples button").nth(TASKS.index(task)).click()
    page.locator("#viewer").wait_for()


def ask(page) -> None:
    page.locator("#ask").click()
    page.locator("#ask:not([disabled])").wait_for()
    page.locator("#outputs").wait_for()


def save(page, what: str) -> bytes:
    with page.expect_download() as download:
        page.locator(what).click()
    return Path(download.value.path()).read_bytes()


def picture(page, name: str) -> None:
    if PICTURES:
        page.screenshot(path=Path(PICTURES) / f"{name}.png")


def until(page, expression: str) -> None:
    """Wait until something holds on the page, whose policy forbids Playwright's own way to do so."""
    deadline = time.monotonic() + WAIT_MS / 1000
    while not page.evaluate(expression):
        assert time.monotonic() < deadline, expression
        page.wait_for_timeout(50)
