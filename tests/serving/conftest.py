import pytest

from tests.serving.browsing import CHROMIUM, WAIT_MS
from tests.serving.served import scripted, serving


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """A server whose model answers each question with the example of its task."""
    with serving(scripted(), tmp_path_factory.mktemp("uploads")) as found:
        yield found


@pytest.fixture(scope="module")
def client(served):
    with served.client() as found:
        yield found


@pytest.fixture(scope="module")
def browser():
    sync_api = pytest.importorskip("playwright.sync_api")
    if CHROMIUM is None:
        pytest.skip("there is no Chromium here")
    with sync_api.sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield found
        found.close()


@pytest.fixture
def page(browser):
    """A page on which no script may fail and nothing may be refused by its own policy."""
    context = browser.new_context(permissions=["clipboard-read", "clipboard-write"], accept_downloads=True)
    found, faults = context.new_page(), []
    found.set_default_timeout(WAIT_MS)
    found.on("pageerror", lambda error: faults.append(str(error)))
    found.on("console", lambda line: faults.append(line.text) if line.type == "error" else None)
    yield found
    context.close()
    assert faults == []
