import gzip
import json
from pathlib import Path

import numpy as np
import pytest

from onethinker.core.errors import DataError, StorageError
from onethinker.core.frames import Clip
from onethinker.core.sample import PICTURE, Masks, Sample
from onethinker.data.formats.records import read_records, write_records
from onethinker.data.formats.released import read_samples, write_samples

RL = {
    "problem_id": 7,
    "problem": "<image>\nWhere is the cat?",
    "answer": '<answer>{"boxes": [1, 2, 3, 4]}</answer>',
    "problem_type": "spatial grounding",
    "data_type": "image",
    "images": ["pictures/a.jpg"],
    "videos": None,
    "options": None,
    "data_source": "RefCOCOp",
    "problem_reserved_text": "Where is the cat?",
}


def write(path: Path, *records) -> Path:
    if path.suffix == ".json":
        path.write_text(json.dumps(records))
    else:
        path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


def error_of(path: Path) -> str:
    with pytest.raises(DataError) as caught:
        list(read_samples(path))
    return str(caught.value)


@pytest.mark.parametrize("name", ["rl.json", "rl.jsonl"])
def test_the_rl_form_is_read_from_lists_and_lines(tmp_path, name):
    (sample,) = read_samples(write(tmp_path / name, RL))
    assert sample == Sample(
        id="7",
        problem="Where is the cat?",
        problem_type="spatial grounding",
        data_type="image",
        media=(tmp_path / "pictures/a.jpg",),
        truth='{"boxes": [1, 2, 3, 4]}',
        source="RefCOCOp",
        extra={"problem_reserved_text": "Where is the cat?"},
    )


def test_the_evaluation_form_is_read_with_its_extra_fields(tmp_path):
    record = {
        "problem": "What is said?",
        "options": ["A. yes", "B. no"],
        "data_type": "video",
        "problem_type": "Multiple Choice",
        "path": "./clips/a.mp4",
        "solution": "<answer>B</answer>",
        "resolution": {"width": 10, "height": 20},
    }
    (sample,) = read_samples(write(tmp_path / "eval.json", record), Path("/media"))
    assert (sample.id, sample.problem_type, sample.media, sample.truth) == (
        "eval-1",
        "multiple choice",
        (Path("/media/clips/a.mp4"),),
        "B",
    )
    assert sample.options == ("A. yes", "B. no")
    assert (sample.resolution, sample.extra) == ((10, 20), {})


def test_a_video_image_record_has_the_video_first_and_is_a_video(tmp_path):
    record = {
        "problem": "Same?",
        "data_type": "video-image",
        "problem_type": "open-ended",
        "path": "a.mp4",
        "additional_path": "b.png",
    }
    (sample,) = read_samples(write(tmp_path / "eval.jsonl", record), Path("/m"))
    assert (sample.data_type, sample.media, sample.truth) == ("video", (Path("/m/a.mp4"), Path("/m/b.png")), "")


def test_the_sft_form_is_read_with_response_and_truth(tmp_path):
    response = "<think>Two.</think><answer>2</answer>"
    turns = [{"role": "user", "content": "<video>How many?"}, {"role": "assistant", "content": response}]
    (sample,) = read_samples(write(tmp_path / "sft.json", {"messages": turns, "videos": ["a.mp4"]}))
    assert (sample.problem, sample.problem_type, sample.data_type) == ("How many?", "open-ended", "video")
    assert (sample.response, sample.truth, sample.media) == (response, "2", (tmp_path / "a.mp4",))


def test_a_response_under_test_is_never_the_truth(tmp_path):
    record = {**RL, "answer": "", "response": '<think></think><answer>{"boxes": [9, 9, 99, 99]}</answer>'}
    (sample,) = read_samples(write(tmp_path / "rl.jsonl", record))
    assert sample.truth == ""


def test_placeholders_set_the_order_of_the_media_and_those_among_the_words_stay_words(tmp_path):
    record = {
        **RL,
        "problem": "Is <image> in <video>\n or in <image>?",
        "images": ["a.png", "b.png"],
        "videos": ["c.mp4"],
    }
    record |= {"problem_type": "ocr", "data_type": "video-image", "answer": "x"}
    (sample,) = read_samples(write(tmp_path / "rl.jsonl", record))
    assert sample.media == tuple(tmp_path / name for name in ("a.png", "c.mp4", "b.png"))
    assert sample.problem == "Is <image> in <video>\n or in <image>?"


@pytest.mark.parametrize(
    ("problem", "media", "read"),
    [
        ("<image>\nWhere?", {"images": ["a.png"]}, "Where?"),
        ("<image> <video>Where?", {"images": ["a.png"], "videos": ["b.mp4"]}, "Where?"),
        ("Where?\n<image>", {"images": ["a.png"]}, "Where?"),
        ("First:\n<image>\nSecond:\n<image>\nSame?", {"images": ["a.png", "b.png"]}, "First:\nSecond:\nSame?"),
        ("What does the tag <image> do?", {"images": ["a.png"]}, "What does the tag <image> do?"),
        ("What does the tag <image> do?", {"path": "a.png"}, "What does the tag <image> do?"),
        ("What do <image> and <video> do?", {"path": "a.png"}, "What do <image> and <video> do?"),
        ("<image>What do <image> and <video> do?", {"images": ["a.png"]}, "What do <image> and <video> do?"),
        ("<image>\nWhat is it?\n<image>", {"path": "a.png"}, "What is it?\n<image>"),
        ("  <video>When?", {"videos": ["a.mp4"]}, "When?"),
    ],
)
def test_a_tag_in_a_question_is_a_place_at_its_start_or_on_a_line_of_its_own(tmp_path, problem, media, read):
    record = {
        "problem": problem,
        "problem_type": "ocr",
        "data_type": "video" if "videos" in media else "image",
        **media,
    }
    (sample,) = read_samples(write(tmp_path / "f.jsonl", record))
    assert sample.problem == read
    assert len(sample.media) == sum(len(value) if isinstance(value, list) else 1 for value in media.values())


def test_absolute_paths_and_paths_upwards_are_kept(tmp_path):
    (first, second) = read_samples(
        write(tmp_path / "rl.jsonl", {**RL, "images": ["/x/a.png"]}, {**RL, "images": ["../.b/a.png"]})
    )
    assert (first.media, second.media) == ((Path("/x/a.png"),), (tmp_path / "../.b/a.png",))


def test_numbers_as_reference_answers_are_read(tmp_path):
    (sample,) = read_samples(
        write(
            tmp_path / "n.jsonl", {"problem": "?", "data_type": "image", "problem_type": "numerical", "solution": 2.5}
        )
    )
    assert sample.truth == "2.5"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"problem": None}, "'problem' is missing"),
        ({"problem": 3}, "'problem' must be a text, got 3"),
        ({"problem": "<image><image>?"}, "'problem' has 2 times <image>, but there are 1 images"),
        ({"problem": "<video>?"}, "'problem' has 0 times <image>, but there are 1 images"),
        ({"problem_type": "poetry"}, "no task 'poetry'. There are: multiple choice, "),
        ({"problem_type": None}, "'problem_type' is missing"),
        ({"problem_type": "tracking"}, "'tracking' is asked about video, not about 'image'"),
        ({"data_type": "audio"}, "'data_type' must be image, video or video-image, got 'audio'"),
        ({"images": "a.jpg"}, r"'images' must be a list of paths, got 'a.jpg'"),
        ({"images": [1]}, r"'images' must be a list of paths, got \[1\]"),
        ({"images": ["https://a.org/b.jpg"]}, r"'images' must name files, got 'https://a.org/b.jpg'; save it"),
        ({"images": ["data:image/png;base64,AAAA"]}, r"'images' must name files, got 'data:image"),
        ({"problem": "<image>What \ud83d?"}, r"'problem' has half of a character \(a lone surrogate\), '\\ud83d'"),
        ({"response": "\udc00"}, r"'response' has half of a character"),
        ({"answer": "<answer>1</answer><answer>2</answer>"}, r"'answer' must be one answer, got several"),
        ({"problem_type": "math", "answer": "$$"}, r"'answer' is not an answer to 'math': the answer is empty"),
        (
            {"problem_type": "ocr", "answer": "\u200b"},
            r"'answer' is not an answer to 'ocr': expected a transcription, got nothing",
        ),
        ({"path": "b.jpg"}, "'path' cannot be combined with 'images' or 'videos'"),
        ({"options": "A"}, "'options' must be a list of texts, got 'A'"),
        (
            {"answer": '<answer>{"boxes": [NaN]}</answer>'},
            "'answer' is not an answer to 'spatial grounding': 'boxes' must be .* finite numbers, got NaN",
        ),
        ({"answer": True}, "'answer' must be a text such as .* got True"),
        ({"problem_id": [1]}, r"'problem_id' must be a whole number or a text, got \[1\]"),
        ({"response": 1}, "'response' must be a text, got 1"),
        ({"problem": "<image>\n"}, "the question is empty"),
        ({"problemtype": "ocr", "problem_type": None}, "there is no field 'problemtype'; did you mean 'problem_type'"),
        ({"task": "OCR", "problem_type": None}, "there is no field 'task'; did you mean 'problem_type'"),
        ({"image": ["a.png"], "images": None, "problem": "?"}, "there is no field 'image'; did you mean 'images'"),
        ({"Answers": "<answer>1</answer>", "answer": None}, "there is no field 'Answers'; did you mean 'answer'"),
        ({"question": "Which?", "problem": None}, "there is no field 'question'; did you mean 'problem'"),
        ({"reponse": "x"}, "there is no field 'reponse'; did you mean 'response'"),
        (
            {"data_type": "image", "images": None, "videos": ["a.mp4"], "problem": "?"},
            "'data_type' is image, but 'videos' names 'a.mp4'",
        ),
        (
            {
                "data_type": "video",
                "images": ["1.jpg", "2.jpg"],
                "problem": "?",
                "problem_type": "tracking",
                "answer": "",
            },
            "'data_type' is video, but there are only pictures, the first '1.jpg'",
        ),
        ({"problem_type": "multiple choice", "answer": "A"}, "'options' is missing for a multiple choice question"),
        (
            {"problem_type": "multiple choice", "answer": "A", "options": ["A. x", "(a) y"]},
            "'options' must have each letter once, got A twice",
        ),
        (
            {"problem_type": "multiple choice", "answer": "A", "options": ["A. x", "B. "]},
            "'options' must be texts that are not empty",
        ),
        (
            {"problem_type": "multiple choice", "answer": "C", "options": ["A. x", "B. y"]},
            "'answer' is not an answer .* letters A, B, got C",
        ),
        (
            {"answer": '{"boxes": [0.1, 0.2, 0.5, 0.6]}'},
            r"'answer' has boxes with coordinates from 0 to 1, .*multiply them by 1000",
        ),
        ({"answer": '{"boxes": [0, 0, 1, 1]}'}, r"'answer' has boxes with coordinates from 0 to 1"),
        (
            {"answer": '{"boxes": [100, 200, 1280, 600]}'},
            "'answer' is not an answer .* got 1280; coordinates are thousandths of the frame, 0 to",
        ),
        ({"answer": '{"boxes": [500, 200, 100, 600]}'}, ".*must have x1 < x2"),
        ({"answer": '{"boxes": [1, 2, 3]}'}, ".*must be four thousandths"),
    ],
)
def test_a_bad_record_names_file_row_and_field(tmp_path, change, message):
    path = write(tmp_path / "bad.jsonl", RL, {**RL, **change})
    with pytest.raises(DataError, match=rf"bad\.jsonl, row 2: {message}"):
        list(read_samples(path))


def test_fields_that_nothing_reads_are_kept_unless_they_look_like_one_that_is_missing(tmp_path):
    extra = {
        "resolution": "large",
        "image": "x",
        "video_id": "y",
        "task": "ocr",
        "solution_id": 3,
        "metadata": {},
    }
    (sample,) = read_samples(write(tmp_path / "f.jsonl", {**RL, **extra}))
    assert sample.extra == {"problem_reserved_text": "Where is the cat?", **extra}


@pytest.mark.parametrize("data_type", ["image", "video"])
def test_masks_survive_a_round_trip_and_nothing_of_them_is_left_over(tmp_path, data_type):
    rle = {"size": [2, 2], "counts": "22"}
    frames = {PICTURE: (rle, rle)} if data_type == "image" else {"0": (rle,), "5": (), "6": (rle, rle)}
    masks = Masks(frames, 1.0 if data_type == "image" else 6.0)
    media = (tmp_path / ("a.png" if data_type == "image" else "a.mp4"),)
    sample = Sample("7", "Where?", "segmentation", data_type, media, masks=masks, resolution=(2, 2))
    write_samples(tmp_path / "f.jsonl", [sample])
    assert list(read_samples(tmp_path / "f.jsonl")) == [sample]


def test_a_multiple_choice_question_may_list_its_options_itself(tmp_path):
    record = {**RL, "problem": "<image>Which?\nA. cat\n(B) dog", "problem_type": "multiple choice", "answer": "B"}
    assert next(read_samples(write(tmp_path / "f.jsonl", record))).options == ()


@pytest.mark.parametrize(
    ("task", "answer"),
    [
        ("tracking", {"boxes": {"1": [0.1, 0.1, 0.2, 0.2], "2": [0.1, 0.1, 0.9, 1]}}),
        ("spatial-temporal grounding", {"time": [0, 2], "boxes": {"1": [0.1, 0.1, 0.2, 0.2]}}),
        (
            "segmentation",
            {
                "time": 1,
                "boxes": [0.1, 0.1, 0.2, 0.2],
                "positive_points": [[0.1, 0.1]] * 3,
                "negative_points": [[0.5, 0.5]] * 3,
            },
        ),
    ],
)
def test_boxes_from_0_to_1_are_found_in_every_task(tmp_path, task, answer):
    record = {
        "problem": "?",
        "videos": ["a.mp4"],
        "data_type": "video",
        "problem_type": task,
        "answer": json.dumps(answer),
    }
    assert "has boxes with coordinates from 0 to 1" in error_of(write(tmp_path / "f.jsonl", record))


@pytest.mark.parametrize("roles", [["user"], ["assistant", "user"], ["user", "assistant", "user"]])
def test_messages_must_take_turns(tmp_path, roles):
    turns = [{"role": role, "content": "x"} for role in roles]
    assert "'messages' must alternate between user and assistant" in error_of(
        write(tmp_path / "sft.json", {"messages": turns})
    )


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"problem": ', "f.jsonl, row 1: not JSON: Expecting value, got the end, character 13"),
        (b'// mine\n{"a": 1}', "row 1: not JSON: Expecting value, got '// mine', character 1"),
        (
            b'{"data": [{"a": 1}]}',
            "row 1: is an object with a list in it; a file of records must contain only the list in 'data'",
        ),
        (b'{"a": NaN}', "row 1: not JSON: 'NaN' is not a finite number"),
        (b'{"a": 1e999}', "row 1: not JSON: '1e999' is not a finite number"),
        (b"\n[1]", "row 1: expected an object, got 1"),
        (b'\n"a"', "row 2: expected an object"),
        (b'{"a": "\xff"}', "row 1: not UTF-8: byte 7 is 0xff; save the file as UTF-8"),
        (b"[" * 100_000, "not JSON"),
        (b'{"a": ' + b"9" * 5000 + b"}", "row 1: not JSON"),
    ],
)
def test_a_file_that_is_not_json_is_named(tmp_path, content, message):
    path = tmp_path / "f.jsonl"
    path.write_bytes(content)
    assert message in error_of(path)


def test_a_missing_file_and_a_folder_are_named(tmp_path):
    assert "none.jsonl: cannot be read: No such file" in error_of(tmp_path / "none.jsonl")
    assert error_of(tmp_path).endswith(
        "name the file of records in it (of some folders, `onethinker data convert` makes one)"
    )
    (tmp_path / "samples.jsonl").touch()
    assert error_of(tmp_path).endswith(f"name the file of records in it, such as {tmp_path / 'samples.jsonl'}")


def test_blank_lines_and_a_byte_order_mark_are_skipped_and_rows_stay_line_numbers(tmp_path):
    path = tmp_path / "f.jsonl"
    path.write_bytes(b"\xef\xbb\xbf" + b'{"a": 1}\n\n{"a": 2}\n')
    assert list(read_records(path)) == [(1, {"a": 1}), (3, {"a": 2})]


@pytest.mark.parametrize("name", ["samples.jsonl", "samples.json"])
def test_samples_survive_a_round_trip(tmp_path, name):
    samples = (
        Sample(
            "7",
            "Where?",
            "spatial grounding",
            "image",
            (tmp_path / "m/a.png",),
            '{"boxes": [1, 2, 3, 4]}',
            extra={"fps": 2},
        ),
        Sample(
            "x-1",
            "Says? 字",
            "ocr",
            "video",
            (Path("/far/c.mp4"), tmp_path / "b.png"),
            "STOP",
            (),
            "<think></think><answer>x</answer>",
            "mine",
        ),
        Sample("007", "Which?", "multiple choice", "image", (), "A", ("A. cat", "B. dog")),
    )
    write_samples(tmp_path / name, samples)
    assert tuple(read_samples(tmp_path / name)) == samples
    assert [record["problem_type"] for _, record in read_records(tmp_path / name)] == [
        "spatial grounding",
        "OCR",
        "multiple choice",
    ]


def test_a_clip_in_memory_is_refused_and_the_old_file_stays(tmp_path):
    clip = Clip("image", np.zeros((1, 8, 8, 3), np.uint8), (0.0,), (0,), 8, 8, 0.0, "drawn")
    path = tmp_path / "samples.jsonl"
    path.write_text("old")
    with pytest.raises(DataError, match="'drawn' is not a file"):
        write_samples(path, [Sample("1", "?", "numerical", "image", (clip,), "2")])
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_texts_that_utf8_cannot_hold_are_escaped(tmp_path):
    write_records(tmp_path / "f.jsonl", [{"a": "\ud800"}, {"a": "é\u2028"}])
    assert [record for _, record in read_records(tmp_path / "f.jsonl")] == [{"a": "\ud800"}, {"a": "é\u2028"}]


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match=r"file/out\.jsonl: cannot be written"):
        write_records(tmp_path / "file" / "out.jsonl", [])


PNG = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"
OTHER_FILES = {
    "a PNG picture": PNG,
    "a JPEG picture": b"\xff\xd8\xff\xe0\0\x10JFIF",
    "a WebP picture": b"RIFF\x24\0\0\0WEBPVP8 ",
    "an MP4 video or a HEIF picture": b"\0\0\0\x20ftypisom",
    "a Matroska or WebM video": b"\x1aE\xdf\xa3\x01\0",
    "a PDF document": b"%PDF-1.7\n1 0 obj",
    "a zip archive": b"PK\x03\x04\x14\0",
    "packed by gzip": gzip.compress(b"{}"),
    "a tar archive": b"a.jsonl".ljust(257, b"\0") + b"ustar",
    "text in UTF-16": '{"problem": "Which?"}'.encode("utf-16"),
    "text in UTF-16, save": '{"problem": "Which?"}'.encode("utf-16-le"),
    "text in UTF-32": "{}".encode("utf-32"),
    "no text": b"\x80\x04\x95\0\0\0",
    "XML or HTML": b"\n<!doctype html>\n<p>",
    "one JSON object over several lines": b'{\n "images": [],\n "annotations": []\n}\n',
}


@pytest.mark.parametrize(("said", "content"), OTHER_FILES.items(), ids=OTHER_FILES)
def test_a_file_that_is_no_file_of_records_is_called_what_it_is_and_not_each_of_its_lines(tmp_path, said, content):
    (tmp_path / "f.jsonl").write_bytes(content)
    with pytest.raises(DataError, match=rf"f\.jsonl: is {said}"):
        list(read_records(tmp_path / "f.jsonl", bad=lambda row, error: None))


def test_a_table_of_text_is_called_so_and_records_in_a_file_of_that_name_are_read(tmp_path):
    file = tmp_path / "f.csv"
    file.write_text("image,question\na.png,Which?\n")
    with pytest.raises(DataError, match=r"f\.csv: is a table of text"):
        list(read_records(file))
    file.write_text('{"a": 1}\n')
    assert list(read_records(file)) == [(1, {"a": 1})]


@pytest.mark.parametrize("content", ["", "\n \n", "[]", " [ \n ] ", "\ufeff"])
def test_a_file_without_a_record_is_an_error(tmp_path, content):
    (tmp_path / "f.jsonl").write_text(content)
    with pytest.raises(DataError, match=r"f\.jsonl: contains no records"):
        list(read_records(tmp_path / "f.jsonl"))


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ('[{"a": 1}, {"b": [1, 2, "]"]}]', [{"a": 1}, {"b": [1, 2, "]"]}]),
        ('\ufeff[{"a": "é"},\n{"a": 2}]\n\n', [{"a": "é"}, {"a": 2}]),
        (
            json.dumps([{"text": "猫" * 70_000}, {"a": 1}] * 3, ensure_ascii=False),
            [{"text": "猫" * 70_000}, {"a": 1}] * 3,
        ),
    ],
    ids=["two", "byte order mark", "longer than what is read at once"],
)
def test_a_list_is_read_value_by_value(tmp_path, content, expected):
    (tmp_path / "f.json").write_text(content)
    assert [record for _, record in read_records(tmp_path / "f.json")] == expected


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ('[{"a": 1}', "expected ',' or ']', got the end of the file, line 1"),
        ('[{"a": 1}\n{"a": 2}]', "expected ',' or ']', got '{', line 2"),
        ('[{"a": 1},\n{"a": \n', "not JSON: Expecting value, got the end, line 3"),
        ('[{"a": 1}]\n[2]', r"'\[' after the end of the list, line 2"),
        ('[{"a": 1},\n\n{"a": NaN}]', "'NaN' is not a finite number, line 3"),
        ('[{"a": 1},\n{"a":\n,}]', r"not JSON: Expecting value, got ',}\]', line 3"),
        ('[{"a": 1},]', r"not JSON: Expecting value, got '\]', line 1"),
    ],
    ids=["cut short", "no comma", "cut in a value", "two lists", "NaN", "comma in a value", "comma at the end"],
)
def test_a_broken_list_says_what_and_where(tmp_path, content, said):
    (tmp_path / "f.json").write_text(content)
    with pytest.raises(DataError, match=said):
        list(read_records(tmp_path / "f.json"))


def test_rows_before_the_broken_one_of_a_list_have_been_read(tmp_path):
    (tmp_path / "f.json").write_text('[{"a": 1}, {"a": 2}, {"a": }]')
    rows = []
    with pytest.raises(DataError):
        rows.extend(record for _, record in read_records(tmp_path / "f.json"))
    reader = read_records(tmp_path / "f.json")
    assert [next(reader)[1], next(reader)[1]] == [{"a": 1}, {"a": 2}]


@pytest.mark.parametrize("name", ["out.json", "out.jsonl"])
def test_records_are_written_as_they_come_and_nothing_stays_of_a_failure(tmp_path, name):
    def failing():
        yield {"a": 1}
        raise DataError("row 2")

    write_records(tmp_path / name, iter([{"a": 1}, {"a": 2}]))
    with pytest.raises(DataError, match="row 2"):
        write_records(tmp_path / name, failing())
    assert [record for _, record in read_records(tmp_path / name)] == [{"a": 1}, {"a": 2}]
    assert [path.name for path in tmp_path.iterdir()] == [name]
    write_records(tmp_path / name, [])
    assert (tmp_path / name).read_text().split() == (["[", "]"] if name == "out.json" else [])
