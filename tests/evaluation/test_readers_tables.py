import base64
import csv
import io
import json
from pathlib import Path

import pytest
from PIL import Image

from onethinker.core.errors import DataError
from onethinker.evaluation.benchmarks.readers.table_rows import read_rows
from onethinker.evaluation.benchmarks.readers.tables import Form, circle_of, read_table
from onethinker.evaluation.parts import check_samples
from onethinker.media.budget import MediaBudget
from onethinker.media.reading import read_clip

BUDGET = MediaBudget()


def picture(colour: str) -> str:
    file = io.BytesIO()
    Image.new("RGB", (64, 64), colour).save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()


def table(path: Path, rows: list[dict[str, object]]) -> Path:
    """Write a table as pandas does for VLMEvalKit: tabs, quotes only where needed, nothing for a missing value."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, columns, delimiter="\t", restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    return path


def pixel(sample, number=0) -> list[int]:
    return read_clip(sample.media[number], BUDGET).frames[0, 0, 0].tolist()


def test_a_row_is_a_question_with_its_options_and_picture(tmp_path):
    row = {
        "index": 7,
        "image": picture("red"),
        "question": "What colour?",
        "A": "red",
        "B": "blue",
        "answer": "A",
        "category": "colour",
    }
    [sample] = read_table(table(tmp_path / "MMStar.tsv", [row]), Form())
    assert (sample.id, sample.problem, sample.options, sample.truth) == (
        "7",
        "What colour?",
        ("A. red", "B. blue"),
        "A",
    )
    assert (sample.problem_type, sample.data_type, sample.source) == ("multiple choice", "image", "MMStar")
    assert sample.extra == {"category": "colour"}
    assert pixel(sample) == [255, 0, 0]


def test_pictures_of_other_rows_and_several_pictures_are_found(tmp_path):
    rows = [
        {"index": 1, "image": picture("red"), "question": 'a "b"\tc\nd', "A": "x", "B": "y", "answer": "A"},
        {
            "index": 2,
            "image": str([picture("lime"), picture("blue")]),
            "question": "e",
            "A": "x",
            "B": "y",
            "answer": "B",
        },
        {"index": 1000001, "image": "1", "question": "f", "A": "y", "B": "x", "answer": "B"},
    ]
    first, second, third = read_table(table(tmp_path / "t.tsv", rows), Form())
    assert first.problem == 'a "b"\tc\nd'
    assert [pixel(second, number) for number in (0, 1)] == [[0, 255, 0], [0, 0, 255]]
    assert pixel(third) == [255, 0, 0]
    assert circle_of(third.id) == circle_of(first.id)


def test_hints_lists_of_choices_and_numbers_are_read_as_in_mathvista(tmp_path):
    rows = [
        {
            "index": 1,
            "image": picture("red"),
            "question": "Which?",
            "hint": "Look.",
            "choices": "['1 m', '2 m']",
            "answer": "2 m",
            "answer_option": "B",
            "question_type": "multi_choice",
        },
        {
            "index": 2,
            "image": picture("red"),
            "question": "How many?",
            "choices": "[]",
            "answer": "4",
            "question_type": "free_form",
        },
    ]
    choice, number = read_table(table(tmp_path / "t.tsv", rows), Form())
    assert (choice.problem, choice.options, choice.truth) == ("Look.\nWhich?", ("A. 1 m", "B. 2 m"), "B")
    assert (number.problem_type, number.truth, number.options) == ("math", "4", ())


def test_choices_inside_the_question_are_choices_as_in_mathverse(tmp_path):
    row = {
        "index": 1,
        "image": picture("red"),
        "question": "x?\nChoices:\nA:1\nB:2",
        "answer": "B",
        "question_type": "multi-choice",
    }
    [sample] = read_table(table(tmp_path / "t.tsv", [row]), Form())
    assert (sample.problem_type, sample.truth) == ("multiple choice", "B")


def test_videos_lie_where_their_benchmarks_put_them(tmp_path):
    holmes = {
        "index": 0,
        "video": "v1",
        "video_path": "./video/v1.mp4",
        "candidates": "['A. a', 'B. b']",
        "question": "q",
        "answer": "B",
    }
    long = {
        "index": 0,
        "video_path": "./videos/v2.mp4",
        "candidates": "['a', 'b']",
        "question": "q",
        "correct_choice": 1,
    }
    caption = {"index": 0, "video": "v3.mp4", "caption": "A teacher writes a sum."}
    form = Form(free_form="open-ended", question="Describe.", video_folder="youtube_videos")
    samples = [
        *read_table(table(tmp_path / "holmes.tsv", [holmes]), Form()),
        *read_table(table(tmp_path / "long.tsv", [long]), Form()),
        *read_table(table(tmp_path / "caption.tsv", [caption]), form),
    ]
    assert [sample.media for sample in samples] == [
        (tmp_path / "video/v1.mp4",),
        (tmp_path / "videos/v2.mp4",),
        (tmp_path / "youtube_videos/v3.mp4",),
    ]
    assert [(sample.truth, sample.options) for sample in samples] == [
        ("B", ("A. a", "B. b")),
        ("B", ("A. a", "B. b")),
        ("A teacher writes a sum.", ()),
    ]
    assert (samples[2].problem, samples[2].problem_type, samples[2].data_type) == ("Describe.", "open-ended", "video")


def test_only_the_rows_of_the_benchmark_are_kept_and_their_pictures_may_be_in_others(tmp_path):
    common = {"question": "q", "A": "x", "B": "y", "answer": "A"}
    rows = [
        {"index": 1, "image": picture("red"), "split": "dev", **common},
        {"index": 2, "image": "1", "split": "validation", **common},
    ]
    path = table(tmp_path / "t.tsv", rows)
    [sample] = read_table(path, Form(only=("split", "validation")))
    assert (sample.id, pixel(sample)) == ("2", [255, 0, 0])
    with pytest.raises(
        DataError, match=r"no row of the benchmark.*'split' is \['dev', 'validation'\], expected 'test'"
    ):
        list(read_table(path, Form(only=("split", "test"))))


GOOD = {"index": 1, "image": "aGk=" * 30, "question": "q", "A": "x", "B": "y", "answer": "A"}


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"question": ""}, "'question' is missing"),
        ({"answer": ""}, "'answer'"),
        ({"answer": "D"}, "one of the letters A, B"),
        ({"index": ""}, "'index'"),
        ({"image": "99"}, "refers to the row with index '99'"),
        ({"image": "[1, 2"}, "'image'"),
        ({"A": "", "B": "", "candidates": "a, b"}, "'candidates' must be a list"),
        ({"correct_choice": "2"}, "'correct_choice' must be the number of an option"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_a_bad_row_is_named_with_its_column(tmp_path, change, complaint):
    path = table(tmp_path / "t.tsv", [GOOD, {**GOOD, "index": 2, **change}])
    with pytest.raises(DataError, match=rf"t\.tsv, row 2: .*{complaint}"):
        list(read_table(path, Form()))


def test_a_row_with_too_few_fields_bytes_of_no_text_and_a_missing_file_are_named(tmp_path):
    (tmp_path / "short.tsv").write_text("index\tquestion\n1\tq\n2\n")
    with pytest.raises(DataError, match=r"short\.tsv, row 2: expected 2 columns"):
        list(read_rows(tmp_path / "short.tsv"))
    (tmp_path / "bytes.tsv").write_bytes(b"index\tquestion\n1\t\xff\xfe\n")
    with pytest.raises(DataError, match=r"bytes\.tsv, row 1: not UTF-8"):
        list(read_rows(tmp_path / "bytes.tsv"))
    with pytest.raises(DataError, match="absent"):
        list(read_rows(tmp_path / "absent.tsv"))


def test_large_tables_are_read_row_by_row(tmp_path):
    path = tmp_path / "large.tsv"
    field = "QUJD" * 500_000
    with path.open("w") as file:
        file.write("index\timage\tquestion\tA\tB\tanswer\n")
        file.writelines(f"{number}\t{field}\tq\tx\ty\tA\n" for number in range(30))
    import tracemalloc

    tracemalloc.start()
    samples = list(read_table(path, Form()))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(samples) == 30
    assert path.stat().st_size > 60_000_000
    assert peak < 30_000_000  # one row of 2 MB in a few forms, not 60 MB
    assert samples[29].media[0].read() == base64.b64decode(field)


def test_samples_of_tables_can_be_evaluated_and_filed(tmp_path):
    from onethinker.evaluation.results import result_key

    samples = list(read_table(table(tmp_path / "t.tsv", [GOOD, {**GOOD, "index": 2}]), Form()))
    check_samples(samples)
    assert len({result_key(sample, {}) for sample in samples}) == 2
    json.dumps([sample.extra for sample in samples])


@pytest.mark.parametrize(
    ("fields", "options"),
    [
        ({"A": "inf", "B": "nan", "C": "0", "answer": "A"}, ("A. inf", "B. nan", "C. 0")),
        ({"A": "inf", "B": "0", "C": "nan", "answer": "C"}, ("A. inf", "B. 0", "C. nan")),
        ({"A": "inf", "B": "0", "C": "nan", "D": "", "answer": "A"}, ("A. inf", "B. 0", "C. nan")),
        ({"A": "yes", "B": "no", "C": "nan", "D": "nan", "hint": "nan", "answer": "A"}, ("A. yes", "B. no")),
        ({"A": "yes", "B": "no", "C": "", "D": "", "answer": "A"}, ("A. yes", "B. no")),
    ],
    ids=["before another", "the answer", "beside empty ones", "as pandas writes nothing", "nothing"],
)
def test_nan_is_an_option_where_it_is_meant(tmp_path, fields, options):
    [sample] = read_table(
        table(tmp_path / "t.tsv", [{"index": 1, "image": picture("red"), "question": "1 / 0?", **fields}]), Form()
    )
    assert sample.options == options
    assert sample.problem == "1 / 0?"


def test_rows_that_cannot_be_used_are_handed_over_and_the_others_are_read(tmp_path):
    rows = [GOOD, {**GOOD, "index": 2, "answer": "Z"}, {**GOOD, "index": 3}]
    path = table(tmp_path / "t.tsv", rows)
    path.write_text(path.read_text() + "4\tonly two\n")
    bad: list[DataError] = []
    assert [sample.id for sample in read_table(path, Form(), bad.append)] == [str(GOOD["index"]), "3"]
    assert len(bad) == 2
    assert "row 2" in str(bad[0])
    assert "row 4: expected" in str(bad[1])


def test_a_row_may_name_the_picture_of_a_later_row_and_one_without_a_picture_is_no_question(tmp_path):
    # VLMEvalKit, image_base.py: the map from index to picture is made of the whole table, after rows whose "image" is
    # empty were dropped (skip_noimg).
    rows = [
        {**GOOD, "index": 1, "image": "3"},
        {**GOOD, "index": 2, "image": ""},
        {**GOOD, "index": 3, "image": picture("lime")},
        {**GOOD, "index": 4, "image": "2"},
        {**GOOD, "index": 5, "image": "nan"},
    ]
    bad: list[DataError] = []
    samples = list(read_table(table(tmp_path / "t.tsv", rows), Form(), bad.append))
    assert [sample.id for sample in samples] == ["1", "3"]
    assert pixel(samples[0]) == [0, 255, 0]
    assert [str(error).split(": ", 1)[1] for error in bad] == [
        "column 'image' refers to the row with index '2', but no row with a picture has it"
    ]


def test_a_caption_that_is_empty_is_named_and_the_others_are_asked_about(tmp_path):
    # MMSci_DEV_Captioning_image_only.tsv: VLMEvalKit, image_vqa.py reads image_id, abstract and caption, and knows
    # rows whose caption is empty.
    row = {"index": 0, "image": picture("red"), "question": "Describe it.", "image_id": "a_1", "caption": "Cells."}
    bad: list[DataError] = []
    path = table(tmp_path / "t.tsv", [row, {**row, "index": 1, "image_id": "a_2", "caption": ""}])
    [sample] = read_table(path, Form(free_form="open-ended"), bad.append)
    assert (sample.truth, sample.extra["image_id"]) == ("Cells.", "a_1")
    assert "row 2: column 'answer' or 'caption' is missing or empty" in str(bad[0])


@pytest.mark.parametrize(
    ("stored", "answers"),
    [
        ("['24/7', '3.429']", ("24/7", "3.429")),  # validation_Math_15
        ("['24/7', '3.429', '3.43]", ("24/7", "3.429", "3.43")),  # the same, a quote missing in some copies
        ("['$MgS$', 'MgS']", ("$MgS$", "MgS")),  # validation_Chemistry_30
        ("['Tampa', 'Florida']", ("Tampa", "Florida")),  # validation_Geography_4
        ('["Tampa", "Florida, USA"]', ("Tampa", "Florida, USA")),
        ("[0, 5)", ("[0, 5)",)),  # an interval
        ("7,243,000", ("7,243,000",)),
        ("Transplant", ("Transplant",)),
    ],
)
def test_right_answers_of_mmmu_are_read_however_they_are_stored(tmp_path, stored, answers):
    choice = {"index": 1, "image": picture("red"), "split": "validation", "question": "q", "A": "x", "B": "y"}
    rows = [{**choice, "answer": "B"}, {**choice, "index": 2, "A": "", "B": "", "answer": stored}]
    form = Form(only=("split", "validation"), any_answer=True)
    first, second = read_table(table(tmp_path / "MMMU_DEV_VAL.tsv", rows), form)
    assert (first.truth, first.answers) == ("B", ())
    assert (second.truth, second.answers, second.problem_type) == (answers[0], answers, "math")
    check_samples([first, second])


PAIRS = [{"question": "Which theorem?", "answer": "Pythagoras'"}, {"question": "How long is c?", "answer": "5"}]


@pytest.mark.parametrize("stored", [repr(PAIRS), json.dumps(PAIRS)], ids=["as Python writes it", "as JSON"])
def test_a_lecture_has_the_questions_that_its_description_is_asked_about(tmp_path, stored):
    # VLMEvalKit, video_mmlu.py: ast.literal_eval(row["question"]), a list of {"question", "answer"}.
    row = {"index": 0, "video": "a.mp4", "discipline": "Math", "question": stored}
    form = Form(free_form="open-ended", question="Describe.", video_folder="youtube_videos", asks_about_captions=True)
    rows = [row, {**row, "index": 1, "caption": "A proof."}, {**row, "index": 2, "question": "What is it?"}]
    bad: list[DataError] = []
    first, second = read_table(table(tmp_path / "Video_MMLU_CAP.tsv", rows), form, bad.append)
    assert first.questions == (("Which theorem?", "Pythagoras'"), ("How long is c?", "5"))
    assert (first.problem, first.truth) == ("Describe.", "Which theorem? Pythagoras'\nHow long is c? 5")
    assert second.truth == "A proof."
    assert "row 3: column 'question' must be a list of questions with answers" in str(bad[0])


def test_captioning_questions_of_mmt_bench_know_their_sub_task(tmp_path):
    row = {**GOOD, "l2-category": "visual_captioning", "category": "writing_poetry_from_image"}
    rows = [row, {**row, "index": 2, "category": ""}, {**row, "index": 3, "l2-category": "ocr"}]
    bad: list[DataError] = []
    form = Form(only=("l2-category", "visual_captioning"), group="category")
    [sample] = read_table(table(tmp_path / "t.tsv", rows), form, bad.append)
    assert sample.group == "writing_poetry_from_image"
    assert "row 2: column 'category' is missing or empty" in str(bad[0])
