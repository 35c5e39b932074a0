"""OneThinker-eval as `hf download` leaves it: 23 files and the folders of media beside them."""

import json
from pathlib import Path
from typing import Any

from onethinker.core.masks import encode_rle
from onethinker.evaluation.benchmarks.base import Benchmark
from onethinker.evaluation.benchmarks.table import BENCHMARKS
from onethinker.tasks import find_task
from tests.evaluation.layouts.media import HEIGHT, WIDTH, picture, rectangle, video

RELEASED = [benchmark for benchmark in BENCHMARKS if benchmark.layouts[0].files[0].startswith("eval_")]


def released_file(benchmark: Benchmark) -> str:
    return benchmark.layouts[0].files[0]


def record(benchmark: Benchmark, number: int = 1) -> dict[str, Any]:
    """A row as it is released; paths begin with ./Evaluation/, which the folder does not have (three other readers of
    these files drop it).
    """
    task = find_task(benchmark.tasks[0], benchmark.data_type)
    kind = "jpg" if benchmark.data_type == "image" else "mp4"
    row: dict[str, Any] = {
        "problem_id": number,
        "problem": "Where is it?" if benchmark.data_type == "image" else "<video>What happens?",
        "data_type": benchmark.data_type,
        "problem_type": task.problem_type,
        "options": ["A. it sits down", "B. it stands up"] if task.problem_type == "multiple choice" else [],
        "solution": f"<answer>{task.example}</answer>",
        "path": f"./Evaluation/{benchmark.key}/GOT-10k_Val_{number:06d}.{kind}",
        "data_source": benchmark.name,
    }
    if task.problem_type != "segmentation":
        return row
    row |= {"resolution": {"width": WIDTH, "height": HEIGHT}}
    rle = encode_rle(rectangle())
    if benchmark.data_type == "image":
        return row | {"segmentation_output": {"segmentation_rle": rle}}
    frames = ["0", "1", "2"]
    # Frames without a mask are null, and the rate is a field of its own. Source: the release's seg_post_sam2.py.
    return row | {"fps": 1, "segmentation_output": {"frames": frames, "segmentation_rle": {"0": rle, "2": None}}}


def build_released(root: Path) -> Path:
    """Write every file with two rows, and their media where they lie after the download."""
    for benchmark in RELEASED:
        rows = [record(benchmark, number) for number in (1, 2)]
        for row in rows:
            path = root / str(row["path"]).removeprefix("./Evaluation/")
            (picture if benchmark.data_type == "image" else video)(path)
        (root / released_file(benchmark)).write_text(json.dumps(rows))
    return root


def build_odd(root: Path, name: str, changes: dict[str, Any]) -> Path:
    """Write one file with a good row, an odd one, and a good one."""
    [benchmark] = [benchmark for benchmark in RELEASED if released_file(benchmark) == name]
    rows = [record(benchmark, number) for number in (1, 2, 3)]
    rows[1] |= changes
    (root / name).write_text(json.dumps(rows))
    return root


def answer(value: object) -> dict[str, str]:
    return {"solution": f"<answer>{value if isinstance(value, str) else json.dumps(value)}</answer>"}


BOX = [100, 200, 300, 400]
SIZE = {"size": [HEIGHT, WIDTH]}
NAN = float("nan")

ODD: dict[str, tuple[str, dict[str, Any], str | None]] = {
    # The release's `accuracy_only` knows no such type and gives 0; Video-R1's files of the same form call it that.
    "free-form": ("eval_mmvu.json", {"problem_type": "free-form", **answer("a red ball")}, "'open-ended'"),
    # Python's `json.load`, with which the release reads, takes NaN; pandas writes it for an empty field.
    "NaN": ("eval_charades.json", {"data_source": NAN, "fps": NAN, "options": NAN}, None),
    # `normalize_number("1/3")` is None in the release, so that no answer is right.
    "a fraction": ("eval_videommmu.json", {"problem_type": "numerical", **answer("1/3")}, "read as 0.3333333333"),
    # `iou_1d` of the release takes any order; another reader of the file swaps the two.
    "a time backwards": ("eval_charades.json", answer({"time": [5, 1]}), "runs backwards"),
    # The release compares places as they stand.
    "a box at 1001": ("eval_refcoco_val.json", answer({"boxes": [100, 200, 1001, 400]}), "got 1001"),
    # Keys are compared as text in the release: what the prompt does not ask for is 0 for everybody.
    "tracking key 0": ("eval_got10k.json", answer({"boxes": {"0": BOX, "1": BOX}}), "got 0"),
    "tracking key 33": ("eval_got10k.json", answer({"boxes": {"1": BOX, "33": BOX}}), "got 33"),
    # `mean_iou_over_intersection` counts a second that both name, wherever it lies.
    "a second outside": ("eval_stvg.json", answer({"time": [4, 6], "boxes": {"5": BOX, "9": BOX}}), "got 9"),
    # Another reader of the file: one box for each whole second from round(t0) on.
    "boxes as a list": ("eval_stvg.json", answer({"time": [4.2, 6], "boxes": [BOX, BOX, BOX]}), None),
    # The release looks masks up by `frames`, and sees no others.
    "an unknown mask key": (
        "eval_seg_mevis.json",
        {
            "segmentation_output": {
                "frames": ["0"],
                "segmentation_rle": {"0": {**SIZE, "counts": [0, 9, 6135]}, "7": None},
            }
        },
        "are not in 'frames'",
    ),
    # Empty masks of a video are written so.
    "counts null": (
        "eval_seg_reasonvos.json",
        {
            "segmentation_output": {
                "frames": ["0", "1", "2"],
                "segmentation_rle": {"0": {**SIZE, "counts": [0, 9, 6135]}, "1": {**SIZE, "counts": None}, "2": SIZE},
            }
        },
        None,
    ),
    # RefCOCO's pictures may have their polygon alone, flat or nested.
    "a flat polygon": (
        "eval_seg_refcoco.json",
        {"segmentation_output": {"segmentation_polygon": [10, 20, 50, 20, 50, 60]}},
        None,
    ),
    "polygons": (
        "eval_seg_refcoco.json",
        {"segmentation_output": {"segmentation_rle": None, "segmentation_polygon": [[10, 20, 50, 20, 50, 60]]}},
        None,
    ),
    "points": (
        "eval_seg_refcoco.json",
        {
            "segmentation_output": {
                "segmentation_rle": {**SIZE, "counts": None},
                "segmentation_polygon": [[[10, 20], [50, 20], [50, 60]]],
            }
        },
        None,
    ),
    # The release never strips it.
    "a literal <video>": (
        "eval_videommmu.json",
        {
            "problem": "Look at <image 1> and the <video>. What comes next in the <video>?",
            "data_type": "video-image",
            "additional_path": "./Evaluation/videommmu/a.jpg",
        },
        None,
    ),
    "a truth that only masks give": ("eval_seg_refcoco.json", answer({"boxes": BOX}), "taken from the masks"),
}
"""Rows that are read: the file, what is odd in them and, where a note says so, its words."""

UNUSABLE: dict[str, tuple[str, dict[str, Any], str]] = {
    # Nothing overlaps a moment or a box without size: the release gives everybody 0.
    "a time of 0 s": ("eval_charades.json", answer({"time": [5, 5]}), "end after it starts"),
    "a box without area": ("eval_refcoco_val.json", answer({"boxes": [100, 200, 100, 400]}), "x1 < x2"),
    # The release gives everybody sIoU 0, whatever is answered.
    "boxes {}": ("eval_stvg.json", answer({"time": [4, 6], "boxes": {}}), "'boxes'"),
    "boxes {} of a track": ("eval_got10k.json", answer({"boxes": {}}), "'boxes'"),
    "no key that is asked for": ("eval_got10k.json", answer({"boxes": {"0": BOX}}), "got 0"),
    # Frames without a mask are left out in the release, which leaves none.
    "all masks null": (
        "eval_seg_mevis.json",
        {"segmentation_output": {"frames": ["0", "1"], "segmentation_rle": {"0": None}}},
        "empty in every frame",
    ),
    "all masks empty": (
        "eval_seg_mevis.json",
        {"segmentation_output": {"frames": ["0"], "segmentation_rle": {"0": SIZE}}},
        "empty in every frame",
    ),
    "a polygon of two points": (
        "eval_seg_refcoco.json",
        {"segmentation_output": {"segmentation_polygon": [10, 20, 50, 20]}},
        "three points",
    ),
    # `float("about 3")` fails in the release, and everybody gets 0.
    "a number in words": ("eval_videommmu.json", {"problem_type": "numerical", **answer("about 3")}, "number"),
    "a task of another benchmark": (
        "eval_charades.json",
        {"problem_type": "numerical", **answer("1")},
        "does not belong",
    ),
    "a type that nobody knows": ("eval_mmvu.json", {"problem_type": "riddle"}, "'riddle'"),
    "NaN as a truth": ("eval_charades.json", {"solution": NAN}, "'solution'"),
    "NaN in a box": ("eval_refcoco_val.json", answer({"boxes": [100, NAN, 300, 400]}), "NaN"),
    "no question": ("eval_mmvu.json", {"problem": None}, "'problem'"),
    "no path": ("eval_mmvu.json", {"path": None}, "path"),
    "a letter without an option": ("eval_mmvu.json", answer("F"), "got F"),
}
"""Rows that are missing: the file, what is odd in them, and the words of the note."""
