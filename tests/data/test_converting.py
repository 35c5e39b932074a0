import errno
import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from onethinker.core.errors import DataError, StorageError
from onethinker.core.geometry import Box
from onethinker.core.request import Turn
from onethinker.core.sample import PICTURE, Masks, Sample
from onethinker.core.sources import VideoPart
from onethinker.data.converting import Source, convert_file
from onethinker.data.formats.registry import FORMS, find_form, form_of
from onethinker.data.formats.released import read_samples, write_samples
from onethinker.data.media_store import MediaStore

BOX = '{"boxes": [0, 250, 500, 1000]}'
SAMPLES = {
    "a box to the frame's edge": Sample(
        "7",
        "Where is the cat?",
        "spatial grounding",
        "image",
        (Path("a.png"),),
        truth=BOX,
        response=f"<think>Low, on the left: [0, 250].</think><answer>{BOX}</answer>",
        source="RefCOCO",
        resolution=(64, 48),
        license="CC BY 4.0",
    ),
    "several images, options, unicode": Sample(
        "früh-✓-7",
        "「どちら」が大きい?\nZwei Zeilen. \\frac{1}{2} </answer",
        "multiple choice",
        "image",
        (Path("ä b/1.png"), Path("a.png"), Path("a.png")),
        truth="B",
        options=("A. 猫 🐈", 'B. "dog"\\n'),
        response="<think>犬</think><answer>B</answer>",
    ),
    "an image that stands among the words": Sample(
        "n",
        "Is <image> larger than <image>?",
        "open-ended",
        "image",
        (Path("a.png"), Path("ä b/1.png")),
        truth="no",
        response="<think>-</think><answer>no</answer>",
    ),
    "a first box and a part of a video": Sample(
        "t",
        "Track the car at [537,403,768,703].",
        "tracking",
        "video",
        (VideoPart(Path("clip.mp4"), 3.5, 9.25),),
        truth='{"boxes": {"1": [537, 403, 768, 703], "2": [0, 0, 1000, 1000]}}',
        response='<think>-</think><answer>{"boxes": {"1": [537, 403, 768, 703]}}</answer>',
        first_box=Box(537, 403, 768, 703),
    ),
    "masks of a video": Sample(
        "m",
        "Cut out the car.",
        "segmentation",
        "video",
        (Path("clip.mp4"),),
        truth='{"time": 1, "boxes": [0, 0, 500, 500], "positive_points": [[1, 1], [2, 2], [3, 3]],'
        ' "negative_points": [[900, 1], [900, 2], [900, 3]]}',
        response="<think>-</think><answer>-</answer>",
        masks=Masks({"0": ({"size": [2, 2], "counts": [1, 3]},), "1": ()}, fps=2.0),
        resolution=(64, 48),
    ),
    "no media": Sample(
        "8", "2 + 2?", "numerical", "image", (), truth="4", response="<think>-</think><answer>4</answer>"
    ),
    "a conversation": Sample(
        "c",
        "And <image> of what?",
        "open-ended",
        "video",
        (Path("a.png"), Path("clip.mp4")),
        response="A ball.",
        system="You look at shapes.",
        earlier=(Turn("What is it?", "A circle.", learn=True), Turn("Sure?", "Yes.", learn=True)),
        shown=(1, 0, 1),
    ),
    "an answer that is not learned": Sample(
        "l",
        "And this?",
        "open-ended",
        "image",
        (Path("a.png"),),
        response="A ball.",
        earlier=(Turn("What is it?", "A circle.", learn=False),),
        shown=(0, 1),
    ),
    "a picture before a video": Sample(
        "v",
        "Is this in the video?",
        "open-ended",
        "video",
        (Path("a.png"), Path("clip.mp4")),
        truth="yes",
        response="<think>-</think><answer>yes</answer>",
    ),
}
REFUSED = {
    ("evaluation", "a conversation"): "lost: earlier turns",
    ("verl", "a conversation"): "lost: earlier turns",
    ("verl", "an answer that is not learned"): "lost: earlier turns",
    ("rl", "a conversation"): "lost: earlier turns",
    ("easyr1", "a conversation"): "lost: earlier turns",
    ("easyr1", "an answer that is not learned"): "lost: earlier turns",
    ("easyr1", "a picture before a video"): "would lose clip.mp4",
    ("sft", "a conversation"): "lost: a.png",
    ("evaluation", "an answer that is not learned"): "lost: earlier turns",
    ("rl", "an answer that is not learned"): "lost: earlier turns",
    ("sft", "an answer that is not learned"): "lost: this mark",
    ("llamafactory", "an answer that is not learned"): "lost: this mark",
    ("trl", "an answer that is not learned"): "lost: this mark",
    ("evaluation", "several images, options, unicode"): "lost: a.png, a.png",
    ("evaluation", "an image that stands among the words"): "lost: ä b/1.png",
    ("evaluation", "a picture before a video"): "lost: that the picture comes first",
    ("evaluation", "no media"): "no picture and no video",
    ("rl", "a picture before a video"): "would lose clip.mp4",
    **{
        (form, "a first box and a part of a video"): "this form only has whole videos"
        for form in ("sft", "rl", "evaluation", "swift", "llamafactory", "trl", "verl", "easyr1")
    },
    ("rl", "no media"): "fails on questions without media",
    ("sft", "a picture before a video"): "lost: a.png",
}


@pytest.fixture
def folder(tmp_path):
    for name in ("a.png", "ä b/1.png"):
        path = tmp_path / "data" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (64, 48)).save(path)
    (tmp_path / "data" / "clip.mp4").touch()
    return tmp_path


def _below(folder, medium):
    return replace(medium, path=folder / medium.path) if isinstance(medium, VideoPart) else folder / medium


def write_own(folder, *samples) -> Path:
    path = folder / "data" / "own.jsonl"
    absolute = [replace(one, media=tuple(_below(folder / "data", medium) for medium in one.media)) for one in samples]
    write_samples(path, absolute)
    return path


@pytest.mark.parametrize("name", SAMPLES)
@pytest.mark.parametrize("to", [form.name for form in FORMS if form.write])
@pytest.mark.parametrize("suffix", [".json", ".parquet"])
def test_a_sample_comes_back_from_every_form_as_it_was_or_its_loss_is_named(folder, to, name, suffix):
    if suffix == ".parquet":
        pytest.importorskip("pyarrow")
    source = write_own(folder, SAMPLES[name])
    there, back = folder / "there" / f"in{suffix}", folder / "back" / "out.jsonl"
    done = convert_file(Source(source), there, find_form(to))
    if lost := REFUSED.get((to, name)):
        assert lost in done.lost[0][1].replace(f"{folder / 'data'}/", "")
        assert not there.exists()
        return
    assert done.lost == []
    (form,) = convert_file(Source(there), back, find_form("own")).forms
    assert form == to or {form, to} <= {"sft", "swift", "own"}, "without boxes and marks these are one form"
    assert list(read_samples(back)) == list(read_samples(source))


@pytest.mark.parametrize("to", ["sft", "rl", "evaluation"])
def test_what_is_written_in_the_releases_forms_is_read_by_every_command(folder, to):
    source = write_own(folder, SAMPLES["a box to the frame's edge"])
    convert_file(Source(source), folder / "new.json", find_form(to))
    (read,) = read_samples(folder / "new.json")
    (sample,) = read_samples(source)
    assert replace(read, extra={}) == replace(sample, extra={})


@pytest.mark.parametrize("to", ["rl", "evaluation"])
def test_a_first_box_stands_in_the_question_once_for_loaders_that_read_nothing_else(folder, to):
    track = SAMPLES["a first box and a part of a video"]
    source = write_own(folder, replace(track, problem="Track the car.", media=(Path("clip.mp4"),)))
    convert_file(Source(source), folder / "1.json", find_form(to))
    convert_file(Source(folder / "1.json"), folder / "own.jsonl", find_form("own"))
    convert_file(Source(folder / "own.jsonl"), folder / "2.json", find_form(to))
    [first], [again] = (json.loads((folder / name).read_text()) for name in ("1.json", "2.json"))
    assert first["problem"].removeprefix("<video>").strip() == "Track the car at [537,403,768,703]."
    assert again == first


def test_media_are_relative_beneath_the_new_file_and_absolute_elsewhere(folder):
    source = write_own(folder, SAMPLES["a box to the frame's edge"])
    for output, path in ((folder / "up.jsonl", "data/a.png"), (folder / "x" / "o.jsonl", str(folder / "data/a.png"))):
        convert_file(Source(source), output, find_form("own"))
        assert json.loads(output.read_text())["images"] == [path]


def test_ms_swift_has_boxes_and_points_in_pixels_and_the_whole_prompt(folder):
    segmentation = Sample(
        "s",
        "Cut out the cat.",
        "segmentation",
        "image",
        (Path("a.png"),),
        response='<think>At [1, 2].</think><answer>{"boxes": [0,250,500,1000], "positive_points":'
        ' [[500, 500], [250, 250], [0, 0]], "negative_points": [[1000, 1000], [1, 1], [2, 2]]}</answer>',
        masks=Masks({PICTURE: ({"size": [48, 64], "counts": [0, 3072]},)}),
    )
    source = write_own(folder, segmentation)
    convert_file(Source(source), folder / "swift.jsonl", find_form("swift"))
    record = json.loads((folder / "swift.jsonl").read_text())
    assert record["objects"]["bbox"][:2] == [[0, 12, 32, 48], [32, 24]]
    user, assistant = (turn["content"] for turn in record["messages"])
    assert user.startswith("<image>\nCut out the cat.")
    assert "<answer>" in user, "the instructions are part of the prompt"
    assert assistant.startswith('<think>At [1, 2].</think><answer>{"boxes": <bbox>, "positive_points": [<bbox>, <bbox>')
    convert_file(Source(folder / "swift.jsonl"), folder / "back.jsonl", find_form("own"))
    back = json.loads((folder / "back.jsonl").read_text())["response"]
    assert back == segmentation.response.replace("[0,250,500,1000]", "[0, 250, 500, 1000]")


FOREIGN = {
    "swift, pixels of the second picture": (
        {
            "messages": [
                {"role": "user", "content": "<image><image>Find the <ref-object>."},
                {"role": "assistant", "content": "<bbox> and <bbox>"},
            ],
            "images": ["a.png", {"path": "wide.png", "bytes": None}],
            "objects": {"ref": ["sheep"], "bbox": [[16, 12, 64, 48], [16, 12]], "image_id": [0, 1]},
        },
        "swift",
        {"problem": "<image><image>\nFind the sheep.", "response": "[250, 250, 1000, 1000] and [125, 250]"},
    ),
    "swift, norm1": (
        {
            "messages": [{"role": "user", "content": "What is at <bbox>?"}],
            "images": [],
            "objects": {"ref": [], "bbox": [[0, 0.25, 0.5, 1]], "bbox_type": "norm1"},
            "solution": "<answer>a cat</answer>",
        },
        "swift",
        {"problem": "What is at [0, 250, 500, 1000]?", "answer": "<answer>a cat</answer>"},
    ),
    "llamafactory": (
        {
            "conversations": [
                {"from": "human", "value": "<video>What happens?"},
                {"from": "gpt", "value": "<think>-</think><answer>It rains.</answer>"},
            ],
            "videos": ["clip.mp4"],
            "system": "",
        },
        "llamafactory",
        {"problem": "<video>\nWhat happens?", "answer": "<answer>It rains.</answer>", "data_type": "video"},
    ),
    "llava": (
        {
            "id": "000001",
            "image": "a.png",
            "conversations": [
                {"from": "human", "value": "<image>\nWhat is this?"},
                {"from": "gpt", "value": "A picture."},
            ],
        },
        "llamafactory",
        {
            "problem_id": "000001",
            "problem": "<image>\nWhat is this?",
            "response": "A picture.",
            "images": ["data/a.png"],
        },
    ),
    "openai, files in the parts": (
        {
            "messages": [
                {
                    "role": "user",
                    "content": [
                        {"type": "image_url", "image_url": {"url": "a.png"}},
                        {"type": "text", "text": "What?"},
                    ],
                },
                {"role": "assistant", "content": "A picture."},
            ]
        },
        "trl",
        {"problem": "<image>\nWhat?", "response": "A picture.", "images": ["data/a.png"]},
    ),
    "trl, one picture and texts": (
        {
            "messages": [
                {"role": "user", "content": [{"type": "text", "text": "Which? "}, {"type": "image", "text": None}]},
                {"role": "assistant", "content": [{"type": "text", "text": "This."}]},
            ],
            "image": "a.png",
        },
        "trl",
        {"problem": "<image>\nWhich? <image>", "response": "This.", "images": ["data/a.png"]},
    ),
    "trl, files in the parts": (
        {
            "prompt": [
                {"role": "user", "content": [{"type": "video", "video": "clip.mp4"}, {"type": "text", "text": "?"}]}
            ]
        },
        "trl",
        {"problem": "<video>\n?", "videos": ["data/clip.mp4"]},
    ),
}


@pytest.mark.parametrize("name", FOREIGN)
def test_files_of_other_programs_are_read(folder, name):
    record, form, expected = FOREIGN[name]
    Image.new("RGB", (128, 48)).save(folder / "data" / "wide.png")
    (folder / "data" / "foreign.jsonl").write_text(json.dumps(record) + "\n")
    done = convert_file(Source(folder / "data" / "foreign.jsonl"), folder / "own.jsonl", find_form("own"))
    assert done.lost == []
    assert done.forms == {form: 1}
    own = json.loads((folder / "own.jsonl").read_text())
    assert {key: own[key] for key in expected} == expected


UNCONVERTED = {name: row for name, (row, _, _) in FOREIGN.items()} | {"coco": {"images": [], "annotations": []}}


@pytest.mark.parametrize("row", UNCONVERTED.values(), ids=UNCONVERTED)
def test_a_row_of_another_program_that_has_not_been_converted_says_what_to_do(folder, row):
    (folder / "foreign.jsonl").write_text(json.dumps(row) + "\n")
    with pytest.raises(DataError, match=r"foreign\.jsonl, row 1: is a row in another form, .*onethinker data convert"):
        list(read_samples(folder / "foreign.jsonl"))


ADDED = {
    "objects": ["cat"],
    "objects of no ms-swift": {"count": 2},
    "annotations": [{"by": "me"}],
    "conversations": ["of 3 May"],
    "prompt": [{"role": "user", "content": "An earlier one."}],
}


@pytest.mark.parametrize("question", [{}, {"problem": "What is it?"}], ids=["turns alone", "with problem"])
@pytest.mark.parametrize("turns", [["user", "assistant"], ["system", "user", "assistant"]], ids=["two", "three"])
@pytest.mark.parametrize("name", ADDED)
def test_a_field_of_a_common_name_does_not_make_our_turns_those_of_another_program(folder, name, turns, question):
    added = {name.split()[0]: ADDED[name]}
    messages = [{"role": role, "content": f"{role}."} for role in turns]
    path = folder / "data" / "mine.jsonl"
    path.write_text(json.dumps({"messages": messages, "images": ["a.png"], **question, **added}) + "\n")
    (sample,) = read_samples(path)
    assert sample.response == "assistant."
    assert sample.extra == added
    assert convert_file(Source(path), folder / "own.jsonl", find_form("own")).lost == []
    assert json.loads((folder / "own.jsonl").read_text()).items() >= added.items()


USER, ASSISTANT = {"role": "user", "content": "Where? <bbox>"}, {"role": "assistant", "content": "There."}
LOST = {
    "a call of a tool": ({"messages": [USER, {"role": "tool_call", "content": "{}"}]}, "this one would be lost"),
    "tools of LLaMA-Factory": ({"conversations": [{"from": "human", "value": "?"}], "tools": "[]"}, "'tools' has no"),
    "two questions in a row": ({"messages": [USER, USER, ASSISTANT]}, "alternate between user and assistant"),
    "more marks than boxes": ({"messages": [USER], "objects": {"ref": [], "bbox": []}}, "the turns have more <bbox>"),
    "more boxes than marks": (
        {"messages": [USER], "objects": {"bbox": [[0, 0], [1, 1]], "bbox_type": "norm1"}},
        "1 boxes more",
    ),
    "a box outside": (
        {"messages": [USER], "images": ["a.png"], "objects": {"bbox": [[0, 0, 65, 48]]}},
        "outside its 64 x 48 frame",
    ),
    "a box of no picture": (
        {"messages": [USER], "images": ["a.png"], "objects": {"bbox": [[0, 0]], "image_id": [1]}},
        "belongs to picture 1, but there are 1",
    ),
    "a picture that is gone": (
        {"messages": [USER], "images": ["gone.png"], "objects": {"bbox": [[0, 0]]}},
        "converting pixels needs the size",
    ),
    "an audio part": ({"prompt": [{"role": "user", "content": [{"type": "audio"}]}]}, "must be a text, an image"),
    "a part that names no file": (
        {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": ""}}]}, ASSISTANT]},
        'a part of "image_url" must name a file',
    ),
    "no form": ({"question": "?", "label": 1}, "match no known form"),
    "no record": ([1], "expected an object"),
}


@pytest.mark.parametrize("name", LOST)
def test_a_row_that_cannot_be_converted_is_named_and_nothing_is_written_unless_it_is_left_out(folder, name):
    record, said = LOST[name]
    own = write_own(folder, SAMPLES["no media"])
    own.write_text(f"{own.read_text()}{json.dumps(record)}\n")
    done = convert_file(Source(own), folder / "new.jsonl", find_form("own"))
    assert [row for row, _ in done.lost] == [2]
    assert said in done.lost[0][1]
    assert not (folder / "new.jsonl").exists()
    assert list(folder.glob("*")) == [folder / "data"], "nothing half-written stays"
    assert convert_file(Source(own), folder / "new.jsonl", find_form("own"), leave_out=True).written == 1
    assert len((folder / "new.jsonl").read_text().splitlines()) == 1


@pytest.mark.parametrize("to", ["sft", "llamafactory"])
@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"response": None}, "there is no response, but"),
        ({"problem": "What does the tag <image> mean?"}, "this form would read as a medium"),
        ({"response": "<answer><video></answer>"}, "this form would read as a medium"),
        ({"extra": {"messages": 1, "conversations": 1}}, "would be lost"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_what_a_trainer_would_misread_is_refused(folder, to, change, said):
    sample = replace(SAMPLES["no media"], **change)
    if "extra" in change:
        sample = replace(sample, extra={"messages" if to == "sft" else "conversations": 1})
    from onethinker.core.errors import DataError

    with pytest.raises(DataError, match=said):
        find_form(to).write(sample, folder)


def test_the_whole_prompt_has_the_options_and_ms_swifts_marks_are_refused(folder):
    from onethinker.core.errors import DataError

    record = find_form("llamafactory").write(SAMPLES["several images, options, unicode"], Path())
    assert "Options:\nA. 猫 🐈" in record["conversations"][0]["value"]
    with pytest.raises(DataError, match="ms-swift would replace"):
        find_form("swift").write(replace(SAMPLES["no media"], problem="What is <bbox>?"), Path())


def test_every_row_has_its_own_form():
    assert [form_of(record).name for record in ({"problem": "?"}, {"problem": "?", "path": "a.png"})] == [
        "own",
        "evaluation",
    ]


def test_a_disk_that_fills_up_leaves_no_half_copies(tmp_path, monkeypatch):
    (tmp_path / "a.mp4").write_bytes(b"12345")

    def fills_up(_, new):
        new.write(b"12")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(shutil, "copyfileobj", fills_up)
    with pytest.raises(StorageError, match="No space left"):
        MediaStore(tmp_path / "media", copies=True).keep(tmp_path / "a.mp4")
    assert list((tmp_path / "media").iterdir()) == []
