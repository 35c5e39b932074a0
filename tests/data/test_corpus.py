import json
import tomllib

import pytest

from onethinker.cli import main
from onethinker.core.errors import ConfigError
from onethinker.data.corpus import BUILT_IN, UNKNOWN, Corpus, survey
from onethinker.data.formats.form import read_rows


def record(source: str, problem_type: str = "tracking", **more) -> dict:
    about = {"problem_id": 1, "problem": "<video>Track.", "data_type": "video", "problem_reserved_text": "Track."}
    answer = '{"boxes": {"1": [1, 2, 30, 40]}}' if problem_type == "tracking" else "x"
    return {**about, "problem_type": problem_type, "data_source": source, "answer": answer, **more}


def run(*arguments) -> int:
    with pytest.raises(SystemExit) as caught:
        main([str(argument) for argument in arguments])
    return caught.value.code


@pytest.fixture
def root(tmp_path):
    """A corpus of four records: one is whole, of one the video is missing, one is of no set, and one is no record."""
    (tmp_path / "Tracking").mkdir()
    (tmp_path / "Tracking/a.mp4").touch()
    rows = [
        record("ElysiumTrack", videos=["Tracking/a.mp4"]),
        record("GOT-10k", videos=["Tracking/gone.mp4"]),
        record("mine", videos=["Tracking/a.mp4"]),
        5,
    ]
    (tmp_path / "onethinker_rl_train.json").write_text(json.dumps(rows))
    return tmp_path


def test_the_papers_corpus_has_the_papers_counts():
    corpus = Corpus.load("data_onethinker")
    totals: dict[str, float] = {}
    for one in corpus.members:
        totals[one.group] = round(totals.get(one.group, 0) + one.thousands, 1)
    assert totals == {
        "rule-based QA": 329.6,  # 332.6 where UniGeo is counted twice, as the figure prints it
        "open-ended QA and captions": 75.5,
        "temporal grounding": 87.4,
        "spatial grounding": 30,
        "spatial-temporal grounding": 19,
        "tracking": 30,
        "segmentation": 29.3,
    }
    assert {one.license for one in corpus.members} == {UNKNOWN}


@pytest.mark.parametrize(
    ("source", "problem_type", "name"),
    [
        ("NeXT-QA/30_60_s_nextqa", "multiple choice", "NeXT-QA"),
        ("CLEVRER", "multiple choice", "CLEVR(ER)"),
        ("CLEVR-Math", "numerical", "CLEVR-Math"),
        ("RefCOCOp", "segmentation", "RefCOCO+"),
        ("RefCOCO+", "segmentation", "RefCOCO+"),
        ("refcoco_train", "segmentation", "RefCOCO"),
        ("GeoQA", "math", "GeoQA+"),
        ("GeoQA+", "math", "GeoQA+"),
        ("RefCOCOg_train", "spatial grounding", "RefCOCOg"),
        ("sharegpt4o", "open-ended", "Sharegpt4o"),
        ("Ref-DAVIS17", "segmentation", "DAVIS"),
        ("HME100k", "OCR", "HME100k"),
        ("ElysiumTrack", "ocr", None),
        ("", "ocr", None),
    ],
)
def test_a_record_is_of_the_set_with_the_longest_name_that_its_source_begins_with(source, problem_type, name):
    found = Corpus.load("data_onethinker").member_of(record(source, problem_type))
    assert (found.name if found else None) == name


def test_what_is_there_and_what_is_missing_is_counted(root):
    found = survey(Corpus.load("data_onethinker"), root)
    assert {one.name: count for one, count in found.records.items()} == {"ElysiumTrack": 1, "GOT-10k": 1}
    assert {one.name: count for one, count in found.complete.items()} == {"ElysiumTrack": 1}
    assert {one.name: path for one, path in found.missing.items()} == {"GOT-10k": "Tracking/gone.mp4"}
    assert found.others == {"mine (tracking)": 1}
    assert found.unread == ["row 4: expected an object, got 5"]


def test_records_of_sets_whose_media_are_there_are_written_with_their_licence(root, tmp_path, capsys):
    assert run("data", "convert", root, tmp_path / "new" / "all.jsonl", "--recipe", "data_onethinker") == 0
    [line] = (tmp_path / "new" / "all.jsonl").read_text().splitlines()
    assert json.loads(line)["license"] == UNKNOWN
    assert json.loads(line)["videos"] == [str(root / "Tracking/a.mp4")]
    assert "1 lack media" in capsys.readouterr().out


def test_the_list_is_also_for_programs_and_needs_no_data(tmp_path, capsys):
    assert run("data", "convert", tmp_path, "--recipe", "data_onethinker", "--list", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["file"] is None
    assert found["sets"][0] == {
        "name": "LLaVA-Video",
        "group": "rule-based QA",
        "problem_types": ["multiple choice"],
        "folder": str(tmp_path / "QA"),
        "license": UNKNOWN,
        "expected": 72000,
        "records": 0,
        "with_media": 0,
        "first_missing": None,
    }
    assert run("data", "convert", tmp_path, tmp_path / "out.jsonl", "--recipe", "data_onethinker") == 1
    assert "contains none of onethinker_rl_train_unsampled.json" in capsys.readouterr().err
    assert not (tmp_path / "out.jsonl").exists()


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('tasks = ["tracking"]', 'tasks = ["trackin"]', "did you mean 'tracking'"),
        ("thousands = 72", "thousends = 72", "thousands"),
        ('form = "rl"', 'form = "rlx"', "no form 'rlx'"),
        ('form = "rl"', 'form = "coco"', "form = 'coco' is not a file of rows"),
    ],
    ids=["task", "setting", "form", "form of sets"],
)
def test_what_is_wrong_in_a_recipe_of_data_is_named(tmp_path, old, new, said):
    text = (BUILT_IN / "data_onethinker.toml").read_text()
    assert old in text
    assert tomllib.loads(text)
    (tmp_path / "mine.toml").write_text(text.replace(old, new))
    with pytest.raises(ConfigError, match=said):
        Corpus.load(str(tmp_path / "mine.toml"))


def test_a_recipe_of_training_is_none_of_data():
    with pytest.raises(ConfigError, match="did you mean 'data_onethinker'"):
        Corpus.load("data_onethinkr")


def test_a_record_keeps_its_own_licence_where_the_recipe_knows_none(root, tmp_path):
    rows = json.loads((root / "onethinker_rl_train.json").read_text())
    rows[0]["license"] = "cc-by-4.0"
    (root / "onethinker_rl_train.json").write_text(json.dumps(rows))
    assert run("data", "convert", root, tmp_path / "all.jsonl", "--recipe", "data_onethinker") == 0
    assert json.loads((tmp_path / "all.jsonl").read_text())["license"] == "cc-by-4.0"
    known = (BUILT_IN / "data_onethinker.toml").read_text().replace(f'license = "{UNKNOWN}"', 'license = "mit"')
    (tmp_path / "mine.toml").write_text(known)
    assert run("data", "convert", root, tmp_path / "two.jsonl", "--recipe", tmp_path / "mine.toml") == 0
    assert json.loads((tmp_path / "two.jsonl").read_text())["license"] == "mit"


def test_the_suffix_says_how_a_corpus_is_written(root, tmp_path):
    assert run("data", "convert", root, tmp_path / "all.parquet", "--recipe", "data_onethinker") == 0
    assert (tmp_path / "all.parquet").read_bytes()[:4] == b"PAR1"
    [row] = read_rows(tmp_path / "all.parquet")
    assert row[1]["videos"] == ["Tracking/a.mp4"]


@pytest.mark.parametrize(
    "flags",
    [["--leave-out"], ["--copy-media"], ["--embed-media"], ["--media-root", "x"], ["--split", "test"], ["--to", "own"]],
)
def test_flags_that_a_recipe_has_no_use_for_are_refused(root, tmp_path, flags, capsys):
    assert run("data", "convert", root, tmp_path / "all.jsonl", "--recipe", "data_onethinker", *flags) == 1
    assert f"leave out {flags[0]}" in capsys.readouterr().err
    assert not (tmp_path / "all.jsonl").exists()


def test_any_licence_is_shown_and_every_row_that_cannot_be_read_is_counted(root, tmp_path, capsys):
    recipe = (
        (BUILT_IN / "data_onethinker.toml").read_text().replace(f'license = "{UNKNOWN}"', 'license = "see [/terms]"')
    )
    (tmp_path / "mine.toml").write_text(recipe)
    (root / "onethinker_rl_train.json").write_text(json.dumps([5] * 13))
    assert run("data", "convert", root, "--recipe", tmp_path / "mine.toml", "--list") == 0
    shown = capsys.readouterr()
    assert "[/terms]" in shown.out
    assert "3 more rows cannot be read" in shown.err
