"""Files for Label Studio and CVAT are read by their own libraries: label-studio-sdk, and Datumaro, which is CVAT's."""

import json
from pathlib import Path

import pytest

from tests.data.test_data_export import answers, run

__all__ = ["answers"]


def test_label_studio_finds_nothing_wrong_with_interfaces_tasks_and_predictions(tmp_path, answers):
    interface = pytest.importorskip("label_studio_sdk.label_interface").LabelInterface
    assert run(answers, tmp_path / "tasks.json", "--to", "label-studio") == 0
    tasks = json.loads((tmp_path / "tasks.json").read_text())
    for kind in ("image", "video"):
        known = interface((tmp_path / f"tasks.{kind}.xml").read_text())
        known.validate()
        own = [task for task in tasks if kind in task["data"]]
        assert len(own) == 2
        for task in own:
            assert known.validate_task({"data": task["data"]})
            assert known.validate_prediction(task["predictions"][0], return_errors=True) == []
    [*_, last] = own[0]["predictions"][0]["result"]
    assert known.validate_region({**last, "from_name": "nothing"}, return_errors=True) != []


def labels_of(path: Path, subset: str) -> list[tuple[str, list[float]]]:
    """The boxes of a CVAT file as Datumaro reads them, each with its label."""
    base = pytest.importorskip("datumaro.plugins.data_formats.cvat.base")
    read = base.CvatBase(str(path), subset=subset)
    names = read.categories()[base.AnnotationType.label]
    return [
        (names[own.label].name, [round(side, 2) for side in own.points])
        for item in read
        for own in item.annotations
        if own.type == base.AnnotationType.bbox
    ]


def test_datumaro_reads_the_boxes_of_pictures_and_tracks(tmp_path, answers):
    pytest.importorskip("datumaro")
    assert run(answers, tmp_path / "cvat", "--to", "cvat") == 0
    (tmp_path / "cvat/images").mkdir()
    (tmp_path / "cvat/images/a.png").write_bytes((tmp_path / "a.png").read_bytes())
    assert labels_of(tmp_path / "cvat/images.xml", "pictures") == [
        ("object", [64, 120, 320, 480]),
        ("object", [0, 0, 320, 240]),
    ]
    track = labels_of(tmp_path / "cvat/c.xml", "video")
    assert ("object", [16, 0, 48, 24]) in track
    assert ("object", [0, 0, 32, 24]) in track
