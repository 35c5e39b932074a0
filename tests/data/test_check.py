import json
from pathlib import Path

import pytest
from PIL import Image

from onethinker.data.check import KINDS, Look, Tally, find_faults
from onethinker.data.fixing import fix_files
from onethinker.data.formats.records import read_records

GOOD = {
    "problem_id": 1,
    "problem": "How many cups?",
    "problem_type": "numerical",
    "data_type": "image",
    "answer": "3",
    "images": ["a.png"],
}
BOX = {**GOOD, "problem": "Where is the cup?", "problem_type": "spatial grounding"}


@pytest.fixture
def folder(tmp_path):
    Image.new("RGB", (640, 480)).save(tmp_path / "a.png")
    (tmp_path / "broken.png").write_bytes((tmp_path / "a.png").read_bytes()[:60])
    return tmp_path


def found_in(folder: Path, *records, **asked) -> list[tuple[int, str, str]]:
    file = folder / "samples.jsonl"
    file.write_text("".join((record if isinstance(record, str) else json.dumps(record)) + "\n" for record in records))
    tally = Tally()
    faults = [(problem.row, problem.kind, problem.text) for problem in find_faults([file], tally, Look(**asked))]
    assert tally.records == len(records)
    assert sum(tally.faults.values()) == len(faults)
    assert {kind for _, kind, _ in faults} <= set(KINDS)
    return faults


@pytest.mark.parametrize(
    ("record", "kind", "said"),
    [
        ('{"problem": ', "record", "not JSON"),
        ("[1]", "record", "expected an object"),
        ({**GOOD, "problem_type": "counting"}, "record", "counting"),
        ({**GOOD, "answer": "three"}, "record", "'answer' is not an answer to 'numerical'"),
        ({**BOX, "answer": '{"boxes": [1, 2, 1001, 4]}'}, "record", "1001"),
        ({**GOOD, "problem": "<image><image>How many?"}, "record", "2 times <image>"),
        ({**GOOD, "problem_type": "multiple choice", "options": ["A. a", "B. b"], "answer": "C"}, "record", "answer"),
        ({**GOOD, "answer": ""}, "nothing to learn", "'answer'"),
        ({**GOOD, "response": "<answer>3</answer>"}, "grammar", "think"),
        ({**GOOD, "response": "<think>.</think><answer>4</answer>"}, "contradiction", "'4'"),
        ({**GOOD, "images": ["nowhere.png"]}, "media", "nowhere.png"),
        ({**GOOD, "images": ["broken.png"]}, "media", "broken.png"),
        ({**GOOD, "images": [], "videos": ["a.png"], "data_type": "video"}, "media", "a.png"),
        ({**GOOD, "images": []}, "media", "no picture or video"),
    ],
    ids=lambda value: None if isinstance(value, dict) else value[:24],
)
def test_a_fault_is_named_with_its_row_and_kind(folder, record, kind, said):
    faults = found_in(folder, GOOD, record)
    assert [(row, found) for row, found, _ in faults if found not in ("id", "duplicate")] == [(2, kind)]
    assert said in next(text for _, found, text in faults if found == kind)


def test_good_records_have_no_faults(folder):
    other = {**BOX, "problem_id": 2, "answer": '<answer>{"boxes": [100, 200, 900, 990]}</answer>'}
    assert found_in(folder, GOOD, other) == []


def test_an_id_and_a_question_that_are_there_twice_point_to_the_first(folder):
    faults = found_in(folder, GOOD, {**GOOD, "problem": "How many plates?"}, {**GOOD, "problem_id": 7, "answer": "4"})
    assert [(row, kind) for row, kind, _ in faults] == [(2, "id"), (3, "duplicate")]
    assert all("row 1" in text for _, _, text in faults)


def test_records_without_an_id_do_not_share_one(folder):
    nameless = {name: value for name, value in GOOD.items() if name != "problem_id"}
    assert found_in(folder, nameless, {**nameless, "problem": "How many plates?"}) == []


def test_what_a_stage_needs_is_asked_for(folder):
    assert [kind for _, kind, _ in found_in(folder, GOOD, need="response")] == ["nothing to learn"]


def test_without_media_none_is_opened(folder):
    assert found_in(folder, {**GOOD, "images": ["nowhere.png"]}, with_media=False) == []


def test_faults_of_more_records_than_are_held_at_once_come_in_order(folder):
    rows = [{**GOOD, "problem_id": n, "problem": f"How many, {n}?"} for n in range(2500)]
    rows[3]["answer"] = rows[1500]["answer"] = "x"
    rows[2400]["problem_id"] = 5
    faults = found_in(folder, *rows, with_media=False)
    assert [(row, kind) for row, kind, _ in faults] == [(4, "record"), (1501, "record"), (2401, "id")]


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        (
            {"problemtype": "numerical", **{k: v for k, v in GOOD.items() if k != "problem_type"}},
            {"problem_type": "numerical"},
        ),
        (
            {**GOOD, "problem_type": "Spatial_Grounding", "answer": '{"boxes": [1, 2, 3, 4]}'},
            {"problem_type": "spatial grounding"},
        ),
        (
            {**GOOD, "problem_type": "multiple choice", "answer": "A", "options": {"A": "cat", "B": "dog"}},
            {"options": ["A. cat", "B. dog"]},
        ),
        (
            {**BOX, "answer": '<answer>{"boxes": [0.1, 0.2, 0.55, 1.0]}</answer>'},
            {"answer": '<answer>{"boxes": [100, 200, 550, 1000]}</answer>'},
        ),
        ({**GOOD, "images": [".\\a.png"]}, {"images": ["./a.png"]}),
        ({**GOOD, "images": "a.png"}, {"images": ["a.png"]}),
    ],
    ids=["field", "problem type", "options", "places from 0 to 1", "backslashes", "media as one path"],
)
def test_what_is_certain_is_mended_in_a_new_file_and_named(folder, record, expected):
    (folder / "samples.jsonl").write_text(json.dumps(record) + "\n")
    fixed = fix_files([folder / "samples.jsonl"], folder / "fixed.jsonl")
    [(_, mended)] = read_records(folder / "fixed.jsonl")
    assert {name: mended[name] for name in expected} == expected
    assert [row for _, row, _ in fixed.changes] == [1]
    assert list(find_faults([folder / "fixed.jsonl"], Tally())) == []


@pytest.mark.parametrize(
    "answer",
    ['{"boxes": [0, 0, 1, 1]}', '{"boxes": [0.5, 0.2, 30, 40]}', '{"boxes": [120.5, 20, 300, 400]}', "not JSON"],
)
def test_places_that_may_be_meant_as_they_are_stay(folder, answer):
    (folder / "samples.jsonl").write_text(json.dumps({**BOX, "answer": answer}) + "\n")
    assert fix_files([folder / "samples.jsonl"], folder / "fixed.jsonl").changes == []
    assert [record["answer"] for _, record in read_records(folder / "fixed.jsonl")] == [answer]


def test_copies_are_left_out_ids_become_their_own_and_rows_that_are_none_are_named(folder):
    other = {**GOOD, "problem": "How many plates?"}
    (folder / "samples.jsonl").write_text("\n".join([json.dumps(GOOD), json.dumps(GOOD), "{", json.dumps(other)]))
    fixed = fix_files([folder / "samples.jsonl"], folder / "fixed.jsonl")
    assert [record["problem_id"] for _, record in read_records(folder / "fixed.jsonl")] == [1, "1-2"]
    assert [row for _, row, _ in fixed.changes] == [2, 3, 4]
    assert fixed.changes[1][2].startswith("left out: not JSON")
    assert fixed.written == 2


def test_media_are_still_found_from_another_folder(folder):
    (folder / "samples.jsonl").write_text(json.dumps(GOOD) + "\n")
    (folder / "new").mkdir()
    fix_files([folder / "samples.jsonl"], folder / "new" / "fixed.jsonl")
    assert list(find_faults([folder / "new" / "fixed.jsonl"], Tally())) == []
