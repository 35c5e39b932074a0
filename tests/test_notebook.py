"""The notebook of the documents runs, and shows what it says.

`python -m tests.notebook docs/asking.ipynb` writes what its cells give into it.
"""

import json
from pathlib import Path

from tests.notebook import run

NOTEBOOK = Path(__file__).parents[1] / "docs/asking.ipynb"


def test_the_notebook_runs_and_its_outputs_are_those_that_it_holds() -> None:
    held, made = json.loads(NOTEBOOK.read_text("utf-8")), run(NOTEBOOK)
    for before, now in zip(held["cells"], made["cells"], strict=True):
        assert kinds(before) == kinds(now), "".join(now["source"])
        assert texts(before) == texts(now), "".join(now["source"])
    shown = [kind for cell in made["cells"] for kind in kinds(cell)]
    assert {"text/html", "image/png", "stream"} <= set(shown)


def kinds(cell) -> list[str]:
    return [kind for output in cell.get("outputs", ()) for kind in output.get("data", {"stream": None})]


def texts(cell) -> list[str]:
    """The outputs in words; pictures and their compressed bytes may differ by version."""
    plain = [output.get("text", output.get("data", {}).get("text/plain")) for output in cell.get("outputs", ())]
    return ["".join(lines) for lines in plain]
