import json

import numpy as np
import pytest
from PIL import Image

from onethinker import Clip, MediaBudget, SamplingParams, Thinker
from onethinker.core.errors import AnswerError, ConfigError, DataError, MediaError
from onethinker.inference.loading import load_engine
from onethinker.inference.scripted import ScriptedEngine
from onethinker.tasks.tracking import with_first_box

BOX = '<think>The cat sits left.</think><answer>{"boxes": [100, 200, 300, 400]}</answer>'
TRACK = '<think>It moves.</think><answer>{"boxes": {"1": [100, 200, 300, 400], "2": [150, 200, 350, 400]}}</answer>'


def ask(text, source, question="Where is the cat?", **how):
    return Thinker(ScriptedEngine([text])).ask(source, question, **how)


@pytest.fixture
def photo(tmp_path):
    path = tmp_path / "photo.png"
    Image.fromarray(np.full((480, 640, 3), 90, np.uint8)).save(path)
    return path


@pytest.fixture
def moving():
    frames = np.zeros((4, 96, 128, 3), np.uint8)
    return Clip("video", frames, (0.0, 0.5, 1.0, 1.5), (0, 1, 2, 3), 1280, 960, 2.0, "moving")


def test_a_picture_and_a_sentence_give_a_typed_answer(photo):
    thought = ask(BOX, photo, task="spatial grounding")
    assert thought.thinking == "The cat sits left."
    assert thought.problems == ()
    assert tuple(thought.to_supervision().xyxy[0]) == pytest.approx((64, 96, 192, 192))
    assert json.loads(thought.to_json())["text"] == BOX


def test_task_names_are_read_in_any_case(photo):
    assert ask(BOX, photo, task="Spatial Grounding").answer is not None


def test_a_question_without_a_task_has_the_guessed_one(photo, moving):
    assert ask(BOX, photo).task == "spatial grounding"
    assert ask(TRACK, moving, "The cat.", box=(100, 200, 300, 400)).task == "tracking"
    assert ask("<think>a</think><answer>A</answer>", photo, options=["left", "right"]).task == "multiple choice"


def test_a_track_becomes_one_detection_a_second_in_source_pixels(moving):
    detections = ask(TRACK, moving, "Track the cat.", task="tracking", box=(100, 200, 300, 400)).to_supervision()
    assert detections.xyxy.tolist() == [[128, 192, 384, 384], [192, 192, 448, 384]]
    assert detections.tracker_id.tolist() == [1, 1]
    assert detections.data["time_s"].tolist() == [0.0, 1.0]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("I cannot see a cat.", "think"),
        ('<think>a</think><answer>{"boxes": [1, 2]}</answer>', "box"),
        ('<think>a</think><answer>{"boxes": [NaN, 2, 3, 4]}</answer>', "NaN"),
    ],
    ids=["no blocks", "half a box", "not a number"],
)
def test_an_unusable_answer_comes_back_with_its_text_and_the_reason(photo, text, reason):
    thought = ask(text, photo, task="spatial grounding")
    assert thought.answer is None
    assert thought.text == text
    assert reason in "; ".join(thought.problems)
    with pytest.raises(AnswerError, match="nothing to draw"):
        thought.save(photo.with_name("drawn.png"))
    with pytest.raises(AnswerError):
        thought.to_supervision()
    assert not photo.with_name("drawn.png").exists()


def test_words_have_no_boxes(photo):
    with pytest.raises(AnswerError, match="without boxes"):
        ask("<think>a</think><answer>a cat</answer>", photo, "What is it?").to_supervision()


def test_drawing_shows_the_whole_picture_however_little_the_model_sees(photo):
    engine = ScriptedEngine([BOX], budget=MediaBudget(image_max_pixels=64 * 64))
    thought = Thinker(engine).ask(photo, "Where is the cat?", task="spatial grounding")
    thought.save(photo.with_name("drawn.png"))
    assert thought.clip.width * thought.clip.height <= 64 * 64
    with Image.open(photo.with_name("drawn.png")) as drawn:
        assert drawn.size == (640, 480)
        assert np.asarray(drawn.convert("RGB")).std() > 0


def test_a_track_is_drawn_into_a_video(moving, tmp_path):
    import av

    ask(TRACK, moving, "Track the cat.", task="tracking").save(tmp_path / "tracked.mp4")
    with av.open(str(tmp_path / "tracked.mp4")) as video:
        assert len(list(video.decode(video=0))) == 4


def test_the_box_of_a_tracked_target_stands_in_the_question():
    assert with_first_box("Track the car", (1, 2, 3, 4.5)) == "Track the car at [1,2,3,4.5]."


@pytest.mark.parametrize("box", [(1, 2, 3), (300, 0, 100, 10), (0, 0, 1001, 10), (0, 0, float("nan"), 10)], ids=str)
def test_a_box_that_is_none_is_refused(moving, box):
    with pytest.raises(ConfigError, match="thousandths"):
        ask(TRACK, moving, "Track the cat.", task="tracking", box=box)


def test_errors_name_the_task_and_the_file(photo, tmp_path):
    with pytest.raises(DataError, match="juggling"):
        ask(BOX, photo, task="juggling")
    with pytest.raises(MediaError, match=r"absent\.png"):
        ask(BOX, tmp_path / "absent.png")


def test_timing_adds_up(photo):
    timing = ask(BOX, photo, task="spatial grounding").timing
    assert timing.decode_s > 0
    assert min(timing.prompt_s, timing.answer_s) >= 0


@pytest.mark.parametrize(
    "engine", [lambda: ScriptedEngine([BOX]), lambda: load_engine("untrained")], ids=["scripted", "untrained"]
)
def test_a_stream_is_the_text_in_pieces_and_then_what_ask_returns(photo, engine):
    with Thinker(engine(), SamplingParams(max_new_tokens=24)) as thinker:
        *pieces, thought = thinker.stream(photo, "Where is the cat?", task="spatial grounding")
        asked = thinker.ask(photo, "Where is the cat?", task="spatial grounding")
    assert "".join(pieces) == thought.text == asked.text
    assert (thought.answer, thought.problems) == (asked.answer, asked.problems)


def test_a_stream_names_what_cannot_be_asked_before_it_is_read(tmp_path):
    thinker = Thinker(ScriptedEngine([BOX]))
    with pytest.raises(MediaError, match=r"absent\.png"):
        thinker.stream(tmp_path / "absent.png", "Where is the cat?")
