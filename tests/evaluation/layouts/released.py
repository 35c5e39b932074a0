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
