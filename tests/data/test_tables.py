"""Parquet and data sets of Hugging Face: rows of any form, media by path or as bytes, read by `datasets` itself."""

import hashlib
import json
import tracemalloc

import pytest
from PIL import Image

from onethinker.cli import main
from onethinker.core.errors import DataError
from onethinker.data.formats.form import read_rows
from onethinker.data.formats.parquet import write_parquet
from onethinker.data.formats.released import read_samples

datasets = pytest.importorskip("datasets")
BOX = "<answer>{}</answer>".format('{"boxes": [0, 250, 500, 1000]}')


def run(*words) -> int:
    with pytest.raises(SystemExit) as ended:
        main(["data", "convert", *map(str, words)])
    return int(ended.value.code or 0)


@pytest.fixture
def own(tmp_path):
    """Two records: a box in a picture, and masks of a video's frames."""
    folder = tmp_path / "in"
    folder.mkdir()
    Image.new("RGB", (64, 48), (200, 30, 30)).save(folder / "a.png")
    (folder / "c.mp4").write_bytes(b"a video")
    rle = {"size": [2, 2], "counts": [1, 3]}
    places = '"positive_points": [[1, 1], [2, 2], [3, 3]], "negative_points": [[9, 1], [9, 2], [9, 3]]'
    shared = {"data_source": "RefCOCO", "options": []}
    records = [
        {"problem": "Where?", "answer": BOX, "problem_type": "spatial grounding", "images": ["a.png"], **shared},
        {
            "problem": "Cut it out.",
            "answer": f'<answer>{{"boxes": [0, 0, 500, 500], "time": 1, {places}}}</answer>',
            "problem_type": "segmentation",
            "videos": ["c.mp4"],
            "images": ["a.png"],
            "segmentation_output": {"frames": ["0", "7"], "segmentation_rle": {"0": rle, "7": None}},
            "fps": 2,
            "terms": {"name": "CC BY"},
            **shared,
        },
    ]
    path = folder / "own.jsonl"
    path.write_text("".join(json.dumps({"problem_id": f"q{n}", **record}) + "\n" for n, record in enumerate(records)))
    return path


def loaded(path):
    return datasets.load_dataset("parquet", data_files=str(path), split="train", cache_dir=str(path.parent / "cache"))


def test_datasets_shows_the_pictures_that_are_written_as_bytes(tmp_path, own):
    assert run(own, tmp_path / "out/all.parquet", "--to", "own", "--embed-media") == 0
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["all.parquet"]
    table = loaded(tmp_path / "out/all.parquet")
    assert table.features["images"] == datasets.List(datasets.Image())
    assert table.features["videos"] == datasets.List(datasets.Video())
    table = table.select_columns(["images", "segmentation_output"])  # to show videos it needs torchcodec
    [picture] = table[0]["images"]
    assert (picture.size, picture.getpixel((0, 0))) == ((64, 48), (200, 30, 30))
    assert table[1]["segmentation_output"]["frames"] == ["0", "7"]


def test_bytes_come_back_as_files_named_by_their_content(tmp_path, own):
    run(own, tmp_path / "all.parquet", "--to", "own", "--embed-media")
    assert run(tmp_path / "all.parquet", tmp_path / "back/own.jsonl", "--to", "own") == 0
    before, after = list(read_samples(own)), list(read_samples(tmp_path / "back/own.jsonl"))
    digest = hashlib.sha256((own.parent / "a.png").read_bytes()).hexdigest()
    assert json.loads((tmp_path / "back/own.jsonl").read_text().splitlines()[0])["images"] == [
        f"media/{digest[:24]}.png"
    ]
    for old, new in zip(before, after, strict=True):
        assert [path.read_bytes() for path in new.media] == [path.read_bytes() for path in old.media]
        assert (new.truth, new.masks, new.extra) == (old.truth, old.masks, old.extra)


def test_copied_media_stand_beside_the_new_file_once_each(tmp_path, own):
    assert run(own, tmp_path / "there/own.parquet", "--to", "own", "--copy-media") == 0
    assert sorted(path.suffix for path in (tmp_path / "there/media").iterdir()) == [".mp4", ".png"]
    assert loaded(tmp_path / "there/own.parquet")[0]["images"][0].startswith("media/")
    (tmp_path / "there").rename(tmp_path / "moved")
    assert run(tmp_path / "moved/own.parquet", tmp_path / "moved/own.jsonl", "--to", "own") == 0
    assert all(path.exists() for sample in read_samples(tmp_path / "moved/own.jsonl") for path in sample.media)


def test_verl_gets_prompt_reward_and_absolute_paths(tmp_path, own):
    assert run(own, tmp_path / "train.parquet", "--to", "verl") == 0
    row = loaded(tmp_path / "train.parquet")[0]
    assert row["prompt"][0]["content"].startswith("<image>\nWhere?")
    assert row["reward_model"] == {"style": "rule", "ground_truth": '{"boxes": [0, 250, 500, 1000]}'}
    assert row["images"] == [{"image": str(own.parent / "a.png")}]
    assert (row["ability"], row["data_source"]) == ("spatial grounding", "RefCOCO")
    told = {"index": "q0", "problem_type": "spatial grounding", "data_type": "image", "options": []}
    assert row["extra_info"] == told, "what a reward function sees"


def test_verls_own_rows_are_read(tmp_path):
    """Source: verl, examples/data_preprocess/geo3k.py."""
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    row = {
        "data_source": "hiyouga/geometry3k",
        "prompt": [{"role": "user", "content": "<image>Find x."}],
        "images": [{"bytes": (tmp_path / "a.png").read_bytes(), "path": None}],
        "ability": "math",
        "reward_model": {"style": "rule", "ground_truth": "3"},
        "extra_info": {"split": "train", "index": 5, "answer": "3", "question": "Find x."},
    }
    datasets.Dataset.from_list([row]).to_parquet(str(tmp_path / "train.parquet"))
    assert run(tmp_path / "train.parquet", tmp_path / "own.jsonl", "--to", "own") == 0
    [sample] = read_samples(tmp_path / "own.jsonl")
    assert (sample.id, sample.problem, sample.problem_type, sample.truth) == ("5", "Find x.", "math", "3")
    assert sample.media[0].read_bytes() == (tmp_path / "a.png").read_bytes()


def held(folder):
    """A data set that holds its pictures, some of its columns empty."""
    pictures = []
    for side in (8, 9):
        Image.new("RGB", (side, side)).save(folder / "a.png")
        pictures.append({"bytes": (folder / "a.png").read_bytes(), "path": None})
    rows = {"problem": ["Where?", "Which?"], "answer": [BOX, "A"], "options": [None, ["A. x", "B. y"]]}
    rows |= {"problem_type": ["spatial grounding", "multiple choice"], "image": pictures}
    text = datasets.Value("string")
    features = {"problem": text, "answer": text, "options": datasets.List(text), "problem_type": text}
    return datasets.Dataset.from_dict(rows, features=datasets.Features({**features, "image": datasets.Image()}))


def write_folder(table, path):
    path.mkdir()
    table.to_parquet(str(path / "train-00000-of-00001.parquet"))


WRITERS = {
    "a folder of parquet": write_folder,
    "a file": lambda table, path: table.to_parquet(str(path)),
    "save_to_disk": lambda table, path: table.save_to_disk(str(path)),
    "save_to_disk of splits": lambda table, path: datasets.DatasetDict({"train": table}).save_to_disk(str(path)),
}


@pytest.mark.parametrize("kind", WRITERS)
def test_a_data_set_is_read_from_whatever_datasets_writes(tmp_path, kind):
    WRITERS[kind](held(tmp_path), tmp_path / "set")
    assert run(tmp_path / "set", tmp_path / "own.jsonl", "--to", "own") == 0
    first, second = read_samples(tmp_path / "own.jsonl")
    assert (first.truth, first.options, second.options) == (BOX[8:-9], (), ("A. x", "B. y"))
    assert first.media[0].parent == tmp_path / "media"
    with Image.open(first.media[0]) as picture:
        assert picture.size == (8, 8)


def test_a_split_that_is_not_there_and_files_that_are_cut_short_are_named(tmp_path, capsys):
    write_folder(held(tmp_path), tmp_path / "set")
    assert run(tmp_path / "set", tmp_path / "own.jsonl", "--to", "own", "--split", "tset") == 1
    assert "tset" in capsys.readouterr().err
    file = tmp_path / "set/train-00000-of-00001.parquet"
    file.write_bytes(file.read_bytes()[:-100])
    assert run(file, tmp_path / "own.jsonl", "--to", "own") == 1
    assert f"{file}: cannot be read as parquet" in capsys.readouterr().err
    (tmp_path / "empty.parquet").touch()
    assert run(tmp_path / "empty.parquet", tmp_path / "own.jsonl", "--to", "own") == 1
    assert "empty.parquet: cannot be read as parquet" in capsys.readouterr().err


def test_rows_that_are_refused_leave_no_media_behind(tmp_path, capsys):
    table = held(tmp_path).add_column("extra", ["fine", "fine"])
    table = table.map(lambda row, n: {"answer": "Z" if n else row["answer"]}, with_indices=True)
    write_folder(table, tmp_path / "set")
    assert run(tmp_path / "set", tmp_path / "out/own.jsonl", "--to", "own") == 1
    assert "row 2: 'answer' is not an answer" in capsys.readouterr().out
    assert not (tmp_path / "out/media").exists()
    assert run(tmp_path / "set", tmp_path / "out/own.jsonl", "--to", "own", "--leave-out") == 1
    assert len(list((tmp_path / "out/media").iterdir())) == 1


def test_media_can_only_be_inside_of_parquet(tmp_path, own, capsys):
    assert run(own, tmp_path / "own.jsonl", "--to", "own", "--embed-media") == 1
    assert "--embed-media writes media into a .parquet file" in capsys.readouterr().err


def test_a_missing_medium_is_named_when_it_is_to_be_copied_or_embedded(tmp_path, own, capsys):
    (own.parent / "a.png").unlink()
    assert run(own, tmp_path / "own.jsonl", "--to", "own", "--copy-media") == 1
    assert "a.png: cannot be copied" in capsys.readouterr().out
    assert run(own, tmp_path / "own.parquet", "--to", "own", "--embed-media") == 1
    assert "a.png: cannot be read" in capsys.readouterr().err
    assert not (tmp_path / "own.parquet").exists()


MIXED = {
    "numbers and texts": ([1, "a"], [1, "a"]),
    "whole numbers and fractions": ([1, 0.5], [1, 0.5]),
    "objects with other fields": ([{"a": 1}, {"b": 2}], [{"a": 1}, {"b": 2}]),
    "an empty object": ([{}, {"b": 2}], [{}, {"b": 2}]),
    "a large number": ([2**70, 1], [2**70, 1]),
    "lists of nothing": ([[], []], [[], []]),
    "turns that lack a field": ([[{"a": 1}, {"a": 2, "b": True}], []], [[{"a": 1}, {"a": 2, "b": True}], []]),
}


@pytest.mark.parametrize(("values", "expected"), MIXED.values(), ids=MIXED)
def test_values_of_different_types_come_back_as_they_were(tmp_path, values, expected):
    write_parquet(tmp_path / "a.parquet", ({"x": value, "n": n} for n, value in enumerate(values)))
    assert [record["x"] for _, record in read_rows(tmp_path / "a.parquet")] == expected


def test_many_rows_are_written_and_read_a_few_at_a_time(tmp_path):
    def rows():
        for number in range(8_000):
            yield {"problem": f"Question {number}? " + "x" * 2000, "images": [f"{number}.png"], "n": number}

    tracemalloc.start()
    try:
        write_parquet(tmp_path / "a.parquet", rows())
        count = sum(1 for _ in read_rows(tmp_path / "a.parquet"))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert count == 8_000
    assert peak < 8e6  # the rows themselves are 16 MB


def test_bytes_outside_of_images_and_videos_are_named(tmp_path, capsys):
    write_folder(held(tmp_path).rename_column("image", "mask"), tmp_path / "set")
    assert run(tmp_path / "set", tmp_path / "own.jsonl", "--to", "own") == 1
    assert "row 1: 'mask' contains bytes" in capsys.readouterr().out


def test_json_text_that_is_cut_short_is_named(tmp_path):
    broken = {"problem": "?", "segmentation_output": '{"frames": ['}
    write_parquet(tmp_path / "a.parquet", [broken, {"problem": "!", "segmentation_output": "none"}])
    (_, error), (_, whole) = read_rows(tmp_path / "a.parquet")
    assert isinstance(error, DataError)
    assert "'segmentation_output' must be JSON" in str(error)
    assert whole == {"problem": "!", "segmentation_output": "none"}


@pytest.mark.parametrize(
    "row", [{}, {"question": "?"}, {"question": "?", "answer": '{"problem_type": '}, {"question": "?", "answer": "7"}]
)
def test_rows_of_easyr1_that_we_did_not_write_are_named(tmp_path, row, capsys):
    (tmp_path / "in.jsonl").write_text(json.dumps({"problem": "?", "images": ["a.png"], **row}) + "\n")
    assert run(tmp_path / "in.jsonl", tmp_path / "out.jsonl", "--from", "easyr1", "--to", "own") == 1
    assert "row 1: " in capsys.readouterr().out
