"""A page of samples shows those that were asked for, with truths drawn, and what is wrong with them."""

import base64
import io
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from onethinker.cli import main
from onethinker.core.masks import encode_rle
from onethinker.data.synthetic import write_dataset
from tests.data.test_statistics import BOX, record, write


@pytest.fixture
def data(tmp_path) -> Path:
    Image.new("RGB", (200, 200), "white").save(tmp_path / "white.png")
    mask = np.zeros((200, 200), bool)
    mask[20:120, 20:60] = True
    points = {"positive_points": [[200, 300]] * 3, "negative_points": [[900, 900]] * 3}
    plain = {"problem": "<image>Where is the <b>cup</b>?"}
    rows = [
        record("white.png", "numerical", "3", response="<think>Deep thought.</think><answer>3</answer>"),
        record("white.png", "spatial grounding", BOX, source="boxes", **plain),
        record(
            "white.png",
            "segmentation",
            {**BOX, **points},
            source="masks",
            segmentation_output={"segmentation_rle": encode_rle(mask)},
            problem="<image>Cut it.",
        ),
        record("gone.png", "ocr", "STOP", problem="<image>Read it."),
        {"problem": "no task"},
    ]
    return write(tmp_path / "data.jsonl", rows)


def view(capsys, tmp_path: Path, *words: str | Path) -> tuple[list[dict[str, Any]], str]:
    """The rows on a page, and the page."""
    with pytest.raises(SystemExit, match="0"):
        main(["data", "view", *map(str, words), "--output", str(tmp_path / "page.html"), "--json"])
    found = json.loads(capsys.readouterr().out)
    return found["samples"], Path(found["output"]).read_text()


def pictures(page: str) -> list[Any]:
    found = re.findall(r"data:image/webp;base64,([A-Za-z0-9+/=]+)", page)
    return [np.asarray(Image.open(io.BytesIO(base64.b64decode(text))).convert("RGB")).astype(int) for text in found]


def test_truths_are_drawn_and_reasoning_is_folded(data, tmp_path, capsys) -> None:
    rows, page = view(capsys, tmp_path, data)
    assert [row["row"] for row in rows] == [1, 2, 3, 4, 5]
    plain, boxed, masked = pictures(page)
    assert plain.min() > 250
    red = (boxed[..., 0] - boxed[..., 1] > 100).mean()
    assert 0.002 < red < 0.1
    orange = (masked[..., 0] - masked[..., 2] > 60).mean()
    assert orange == pytest.approx(0.1, abs=0.05)  # 100 x 40 of 200 x 200 pixels
    assert "<details><summary>Reasoning</summary><pre>Deep thought.</pre>" in page
    assert "Where is the &lt;b&gt;cup&lt;/b&gt;?" in page
    assert re.findall(r'(?:src|href)="(?!data:|#)', page) == []


def test_media_that_are_gone_and_rows_that_cannot_be_read_are_on_the_page(data, tmp_path, capsys) -> None:
    rows, page = view(capsys, tmp_path, data)
    assert rows[3]["faults"][0][0] == "media"
    assert rows[4]["faults"][0][0] == "record"
    assert "gone.png" in page


CHOICES: dict[str, tuple[tuple[str, ...], list[int]]] = {
    "by task": (("--task", "segmentation"), [3]),
    "by source": (("--source", "boxes", "masks"), [2, 3]),
    "the first": (("--limit", "2"), [1, 2]),
    "by fault": (("--fault", "media"), [4]),
    "by words": (("--words", "deep THOUGHT"), [1]),
    "by measure": (("--at-least", "box_side=100"), [2, 3]),
}


@pytest.mark.parametrize(("words", "wanted"), CHOICES.values(), ids=CHOICES)
def test_samples_are_chosen(words, wanted, data, tmp_path, capsys) -> None:
    rows, page = view(capsys, tmp_path, data, *words)
    assert [row["row"] for row in rows] == wanted
    assert page.count("<article") == len(wanted)
    assert ("there are more" in page) == (words[0] == "--limit")


def test_faults_are_named_where_they_are_asked_for(data, tmp_path, capsys) -> None:
    rows, _ = view(capsys, tmp_path, data, "--check")
    assert [kind for row in rows for kind, _ in row["faults"]].count("nothing to learn") == 0
    assert [row["row"] for row in rows if row["faults"]] == [4, 5]


def test_every_task_can_be_drawn(tmp_path, capsys) -> None:
    samples = write_dataset(tmp_path / "scenes", num_samples=24, seed=0)
    rows, page = view(capsys, tmp_path, samples)
    assert [row["faults"] for row in rows] == [[]] * 24
    assert len(pictures(page)) == 24


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--fault", "medai"), "did you mean 'media'"),
        (("--limit", "0"), "--limit must be 1 or more"),
        (("--output", "page.txt"), "--output page.txt"),
        (("absent.jsonl",), "absent.jsonl: there is no such file"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else None,
)
def test_what_cannot_be_shown_is_said(words, said, data, capsys) -> None:
    with pytest.raises(SystemExit, match="1"):
        main(["data", "view", str(data), *words])
    assert said in capsys.readouterr().err
