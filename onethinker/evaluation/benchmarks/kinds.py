"""What benchmarks of a kind have in common: how their files are read, what is measured, how a row is written."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from onethinker.core.sample import Sample
from onethinker.data.published import refcoco
from onethinker.data.published.files import Bad
from onethinker.evaluation.benchmarks.base import UNNAMED, Benchmark, Layout, Metric
from onethinker.evaluation.benchmarks.readers.released import read_released
from onethinker.evaluation.benchmarks.readers.tables import Form, read_table

_PLAIN = Form()


def released_file(name: str, num_samples: int | None = None) -> Layout:
    """Return a file in one of the release's own forms, with its own number of samples where it has one."""
    return Layout((name,), lambda root, bad: read_released(root / name, bad), num_samples)


def table_file(name: str, form: Form = _PLAIN) -> Layout:
    """Return a table (TSV), read as its form says."""
    return Layout((name,), lambda root, bad: read_table(root / name, form, bad))


def annotation_file(name: str, read: Callable[[Path, Path, Bad], Iterator[Sample]]) -> Layout:
    """Return a file of annotations with a reader of its own, which gets the file and the folder of all data."""
    return Layout((name,), lambda root, bad: read(root / name, root, bad))


def refcoco_files(name: str, refs: str, split: str, *, masks: bool = False) -> Layout:
    """Return a split of RefCOCO's own files, with masks as the truth in place of boxes where these are asked for."""
    files = (f"{name}/{refs}", f"{name}/instances.json")
    return Layout(files, lambda root, bad: refcoco.read_refcoco(root, name, refs, split, masks=masks, bad=bad))


def _same(*names: str) -> tuple[Metric, ...]:
    """Return metrics that we and the paper call the same."""
    return tuple(Metric(name, name) for name in names)


_ACCURACY = _same("accuracy")
_QA = ("multiple choice", "numerical", "math", "regression", "ocr", "open-ended")
_CHOICE_OR_MATH = ("multiple choice", "math")
TEMPORAL = _same("R@0.3", "R@0.5", "R@0.7", "tIoU")
_BOX = (*_same("R@0.5"), Metric("IoU"))
TUBE = (*_same("tIoU@0.5", "tIoU", "sIoU@0.5", "sIoU"), Metric("vIoU"), Metric("vIoU@0.3"), Metric("vIoU@0.5"))
TRACK = (
    *_same("AO", "R@0.3", "R@0.5", "R@0.7"),
    Metric("AO (official)"),
    Metric("SR@0.5 (official)"),
    Metric("SR@0.75 (official)"),
)
_IMAGE_MASK = (*_same("cIoU"), Metric("gIoU"))
_VIDEO_MASK = tuple(
    Metric(f"{name} ({whose})", name if whose == "paper" else None)
    for whose in ("paper", "official")
    for name in ("J", "F", "J&F")
)
CAPTION = (Metric("judge"), Metric("ROUGE-1"), Metric("ROUGE-2"), Metric("ROUGE-L"), Metric(UNNAMED, "score"))
QUESTIONS = (Metric("questions answered (paper)", "score"), Metric("questions answered"))
_SHOWN_AS = "expressions are put into our prompt; the reference is masks, and box and points are derived from them"


def image_qa(
    name: str, table: str, num_samples: int, form: Form = _PLAIN, *, other: tuple[str, ...] = (), **more: Any
) -> Benchmark:
    """Return a row of questions about pictures in a table, or in the `other` tables that it is found under."""
    return Benchmark(
        name,
        "image QA",
        _CHOICE_OR_MATH,
        "image",
        num_samples,
        tuple(table_file(file, form) for file in (table, *other)),
        **{"metrics": _ACCURACY, **more},
    )


def video_qa(name: str, num_samples: int, layout: Layout) -> Benchmark:
    """Return a row of questions about videos."""
    return Benchmark(name, "video QA", _QA, "video", num_samples, (layout,), _ACCURACY)


def temporal_grounding(
    name: str, num_samples: int | None, *layouts: Layout, metrics: tuple[Metric, ...] = TEMPORAL, note: str = ""
) -> Benchmark:
    """Return a row of questions for a time span in a video."""
    return Benchmark(
        name, "temporal grounding", ("temporal grounding",), "video", num_samples, layouts, metrics, note=note
    )


def spatial_grounding(name: str, num_samples: int, *layouts: Layout) -> Benchmark:
    """Return a row of questions for a box in a picture."""
    return Benchmark(name, "spatial grounding", ("spatial grounding",), "image", num_samples, layouts, _BOX)


def image_segmentation(name: str, *layouts: Layout) -> Benchmark:
    """Return a row of questions for a mask in a picture."""
    return Benchmark(name, "image segmentation", ("segmentation",), "image", None, layouts, _IMAGE_MASK, note=_SHOWN_AS)


def video_segmentation(name: str, num_samples: int | None, *layouts: Layout) -> Benchmark:
    """Return a row of questions for masks in a video."""
    return Benchmark(
        name, "video segmentation", ("segmentation",), "video", num_samples, layouts, _VIDEO_MASK, note=_SHOWN_AS
    )
