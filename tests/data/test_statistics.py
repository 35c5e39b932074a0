"""What files hold is counted as one would count it by hand, on a table, as JSON and on a page."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from onethinker.cli import main
from onethinker.data.guessing import best_constant, middle_of
from onethinker.data.likeness import Looks, look_of
from onethinker.tasks import find_task

BOX = {"boxes": [100, 200, 300, 600]}


def smooth(seed: int, side: int = 96) -> Image.Image:
    """A picture of soft shapes, as photographs are; noise has no look."""
    small = np.random.default_rng(seed).integers(0, 256, (5, 5, 3), dtype=np.uint8)
    return Image.fromarray(small).resize((side, side), Image.Resampling.BICUBIC)


def record(image: str, task: str, answer: Any, *, source: str = "drawn", **more: Any) -> dict[str, Any]:
    text = answer if isinstance(answer, str) else json.dumps(answer)
    fields = {"problem": "<image>How many cups are there?", "images": [image], "data_type": "image"}
    return {**fields, "problem_type": task, "answer": text, "data_source": source, **more}


def write(file: Path, rows: list[dict[str, Any]]) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


@pytest.fixture
def data(tmp_path) -> Path:
    for seed in range(4):
        smooth(seed).save(tmp_path / f"{seed}.png")
    (tmp_path / "copy.png").write_bytes((tmp_path / "0.png").read_bytes())
    smooth(1).save(tmp_path / "again.jpg", quality=80)
    counts = [record(f"{n % 4}.png", "numerical", answer) for n, answer in enumerate(("3", "3", "3", "7"))]
    boxes = [
        record("copy.png", "spatial grounding", BOX, source="boxes"),
        record("again.jpg", "spatial grounding", {"boxes": [0, 0, 100, 100]}, source="boxes"),
    ]
    response = {"response": "<think>One, two, three.</think><answer>3</answer>"}
    return write(tmp_path / "data.jsonl", [*counts[:3], {**counts[3], **response}, *boxes, {"problem": "no task"}])


def stats(capsys, *words: str | Path) -> dict[str, Any]:
    with pytest.raises(SystemExit, match="0"):
        main(["data", "stats", *map(str, words), "--json"])
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def test_records_measures_and_answers_are_counted(data, capsys) -> None:
    found = stats(capsys, data)
    assert found["records"] == 7
    assert found["unread"]["count"] == 1
    assert found["unread"]["first"][0].startswith(f"{data}, row 7: ")
    assert {row["task"]: row["records"] for row in found["tasks"]} == {"numerical": 4, "spatial grounding": 2}
    assert {row["source"]: row["records"] for row in found["sources"]} == {"drawn": 4, "boxes": 2}
    numerical, grounding = (row["measures"] for row in found["tasks"])
    assert numerical["question_words"]["median"] == 5
    assert numerical["response_words"]["count"] == 1
    assert numerical["thinking_words"]["mean"] == 3
    assert numerical["megapixels"]["max"] == pytest.approx(96 * 96 / 1e6)
    # sqrt(200 x 400) = 282.843 and sqrt(100 x 100) = 100; centres at 200 and 50.
    assert grounding["box_side"]["max"] == pytest.approx(282.843, abs=0.001)
    assert (grounding["box_side"]["min"], grounding["box_x"]["max"], grounding["box_y"]["min"]) == (100, 200, 50)
    assert found["answers"] == {"numerical": {"different": 2, "top": [["3", 3], ["7", 1]]}}


def test_the_best_constant_is_graded_by_the_task_itself(data, capsys) -> None:
    best = stats(capsys, data, "--no-media")["best_constant"]
    assert best["numerical"] == {"answer": "3", "accuracy": 0.75, "graded": 4}
    # The first box answers itself wholly, and covers 1/... nothing of the second; the median box is worse than either.
    assert best["spatial grounding"]["accuracy"] >= 0.5


def test_a_letter_counts_only_where_the_question_has_it() -> None:
    truths = [("C", ("A. a", "B. b", "C. c")), ("C", ("A. a", "B. b", "C. c")), ("A", ("A. a", "B. b"))]
    guess = best_constant(find_task("multiple choice", "image"), truths)
    assert guess is not None
    assert (guess.answer, guess.accuracy) == ("C", pytest.approx(2 / 3))


def test_the_median_of_answers_keeps_their_form() -> None:
    assert middle_of(['{"time": [0, 4]}', '{"time": [2, 5]}', '{"time": [4.5, 9]}']) == '{"time": [2, 5]}'
    assert middle_of(["a cat", "3"]) is None


def test_copies_and_media_that_look_alike_are_found(data, capsys) -> None:
    media = stats(capsys, data, "--near", "6")["media"]
    folder = data.parent
    assert (media["files"], media["missing"]) == (6, 0)
    assert media["copies"] == [[f"{folder}/0.png", f"{folder}/copy.png"]]
    assert sorted(map(sorted, media["alike"])) == [
        [f"{folder}/0.png", f"{folder}/copy.png"],
        [f"{folder}/1.png", f"{folder}/again.jpg"],
    ]


def test_without_near_nothing_is_said_of_looks(data, capsys) -> None:
    assert stats(capsys, data)["media"]["alike"] is None


def test_looks_are_found_wherever_their_bits_differ() -> None:
    looks = Looks(4)
    looks.add((0,), "first")
    for bits in (0b1111, 0b1 | 1 << 20 | 1 << 40 | 1 << 63, 1 << 12):
        assert looks.find((bits,)) == "first"
    assert looks.find((0b11111,)) is None
    assert looks.find((0, 0)) is None


def test_a_picture_of_one_colour_is_like_no_other(tmp_path) -> None:
    Image.new("RGB", (64, 64), "red").save(tmp_path / "red.png")
    smooth(3).save(tmp_path / "shapes.png")
    assert look_of(tmp_path / "red.png") is None
    assert look_of(tmp_path / "shapes.png") is not None


def test_what_is_shared_with_a_file_to_measure_by_is_told_apart(data, tmp_path, capsys) -> None:
    held = tmp_path / "held"
    held.mkdir()
    (held / "same.png").write_bytes((tmp_path / "2.png").read_bytes())
    smooth(3).save(held / "alike.jpg", quality=70)
    smooth(50).save(held / "other.png")
    rows = [
        record("same.png", "ocr", "STOP", problem_id="bytes", problem="<image>Read it."),
        record("alike.jpg", "ocr", "STOP", problem_id="look", problem="<image>Read it too."),
        record("other.png", "numerical", "4", problem_id="words", problem="<image>How  many CUPS are there?"),
        record("other.png", "numerical", "4", problem_id="own", problem="<image>How many forks?"),
    ]
    against = stats(capsys, data, "--near", "6", "--against", write(held / "bench.jsonl", rows))["against"]
    assert against["samples"] == 4
    assert [pair["id"] for pair in against["same_media"]] == ["bytes"]
    assert [pair["id"] for pair in against["alike_media"]] == ["look"]
    assert [pair["id"] for pair in against["same_question"]] == ["words"]
    assert against["same_media"][0]["like"] == "data-3"


def test_shards_are_counted_like_one_run(data, tmp_path, capsys, monkeypatch) -> None:
    monkeypatch.setattr("onethinker.data.spreading.AT_ONCE", 2)  # seven records are four blocks
    bench = write(tmp_path / "bench.jsonl", [record("2.png", "numerical", "4", problem_id="q")])
    words = (data, "--near", "6", "--against", bench)
    alone = stats(capsys, *words, "--workers", "1", "--html", tmp_path / "alone.html")
    parts = ("--parts", tmp_path / "parts")
    for shard in ("2/2", "1/2"):
        assert "part" in stats(capsys, *words, *parts, "--shard", shard)
    assert stats(capsys, *words, *parts, "--html", tmp_path / "joined.html") == alone
    assert (tmp_path / "joined.html").read_bytes() == (tmp_path / "alone.html").read_bytes()


def test_tokens_are_those_of_the_model(data, capsys) -> None:
    numerical = stats(capsys, data, "--model", "untrained")["tasks"][0]["measures"]
    assert numerical["visual_tokens"]["min"] == numerical["visual_tokens"]["max"] == 9  # 96 x 96 in squares of 32
    assert numerical["prompt_tokens"]["min"] > 9
    assert numerical["response_tokens"]["count"] == 1


def test_tables_fit_eighty_columns(data, capsys) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(["data", "stats", str(data)])
    shown = capsys.readouterr().out
    assert re.search(r"numerical +4 +0 +5", shown)
    assert max(map(len, shown.splitlines())) <= 80


def test_the_page_shows_numbers_plots_and_samples_and_loads_nothing(data, tmp_path, capsys) -> None:
    page = tmp_path / "pages/data.html"
    stats(capsys, data, "--html", page)
    text = page.read_text()
    assert text.count('<article class="card example"') == 6
    assert text.count("data:image/webp;base64,") == 6
    assert "<rect class=" in text
    assert "One, two, three." in text
    assert re.findall(r'(?:src|href)="(?!data:|#)', text) == []


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "name at least one file"),
        (("--no-media", "--near", "4"), "leave out --no-media"),
        (("--near", "64"), "--near must be from 0 to 31"),
        (("--against", "absent.jsonl"), "there is no such file"),
        (("--against", "mvbenhc"), "did you mean"),
        (("--html", "page.txt"), "--html page.txt"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else None,
)
def test_what_cannot_be_done_is_said_before_anything_is_read(words, said, data, capsys) -> None:
    with pytest.raises(SystemExit, match="1"):
        main(["data", "stats", *([str(data)] if words else []), *words])
    assert said in capsys.readouterr().err
