"""The page at / with its script and style, and the pictures and clips of the world of things that it offers."""

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from starlette.responses import FileResponse, Response

from onethinker.core.frames import Clip
from onethinker.core.sample import Sample
from onethinker.data.synthetic.shown import shown_scenes
from onethinker.media.writing import save_clip
from onethinker.serving.refusals import RefusedError

HERE = Path(__file__).parent / "page"
KINDS = {".html": "text/html", ".js": "text/javascript", ".css": "text/css"}
FILES = {path.name: KINDS[path.suffix] for path in HERE.iterdir() if path.suffix in KINDS}
TASKS = (
    "spatial grounding",
    "numerical",
    "multiple choice",
    "segmentation",
    "tracking",
    "temporal grounding",
    "spatial-temporal grounding",
)
"""Problem types of the scenes that the page offers."""
_FIRST_BOX = re.compile(r"\s*(?:that (?:is|starts)\s+)?(?:(?:at|from)\s+)?\[([\d., ]+)\]")
"""The target's box, as the words of a tracking question have it; on the page it is drawn."""


@dataclass(frozen=True)
class Example:
    """A scene, and the question about it."""

    name: str
    clip: Clip
    about: dict[str, Any]


def page_file(name: str) -> Response:
    """Return a file of the page. Raises: RefusedError: there is none of this name."""
    if name not in FILES:
        raise RefusedError(404, f"there is no page {name[:100]!r}")
    return FileResponse(HERE / name, media_type=FILES[name])


@cache
def examples() -> tuple[Example, ...]:
    """Return the scenes that the page offers, painted anew at each start."""
    scenes = {sample.problem_type: sample for sample in shown_scenes(TASKS)}
    return tuple(_example(scenes[task]) for task in TASKS)


def _example(sample: Sample) -> Example:
    task = sample.problem_type
    name = f"{task.replace(' ', '-')}.{'mp4' if sample.data_type == 'video' else 'png'}"
    box = _FIRST_BOX.search(sample.problem) if task == "tracking" else None
    about = {
        "name": name,
        "question": _FIRST_BOX.sub("", sample.problem) if box else sample.problem,
        "task": task,
        "box": [float(side) for side in box[1].split(",")] if box else None,
        "options": list(sample.options),
    }
    [clip] = sample.media
    assert isinstance(clip, Clip)
    return Example(name, clip, about)


def example_file(name: str, folder: Path) -> Path:
    """Return the picture or clip of an example, written where it is not there yet. Raises: RefusedError."""
    found = next((each for each in examples() if each.name == name), None)
    if found is None:
        raise RefusedError(404, f"there is no example {name[:100]!r}")
    path = folder / name
    if not path.is_file():
        save_clip(found.clip, path)
    return path
