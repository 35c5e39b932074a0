"""A family says what its models count places in; questions, truths and answers are converted both ways without a
flag.
"""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from onethinker.core.errors import ConfigError
from onethinker.core.request import Request, SamplingParams
from onethinker.core.sample import Sample
from onethinker.data.formats.released import write_samples
from onethinker.evaluation.results import Result
from onethinker.evaluation.stages import answer, score
from onethinker.families.folder import ModelSettings, read_settings, save_model
from onethinker.families.tiny import TINY_BUDGET, TINY_TEMPLATE
from onethinker.inference.encode import build_request
from onethinker.inference.loading import load_engine
from onethinker.inference.scripted import ScriptedEngine
from onethinker.inference.thinker import Thinker
from onethinker.media.budget import MediaBudget
from onethinker.media.sizing import fit_size
from onethinker.media.writing import write_video
from onethinker.report.gallery import _answer
from onethinker.rewards.config import GradingSettings
from onethinker.rewards.grader import Grader, answer_group
from onethinker.rl.loop import train_rl
from onethinker.serving.answering import Answered
from onethinker.serving.replies import reply_of
from onethinker.tasks import Grade, Reader, all_tasks, find_task, grade_response, task_of
from onethinker.tasks.pixels import response_from_px, response_to_px, sample_to_px
from onethinker.tasks.reading import read_response
from onethinker.tasks.template import PromptTemplate
from onethinker.training.config import RlRecipe, SftRecipe
from onethinker.training.sft import train_sft
from tests.families.test_exact import qwen2_5_vl

GROUNDING = find_task("spatial grounding", "image")
ODD_SIZES = [(641, 479), (333, 211), (97, 1003), (1920, 1079)]


@pytest.mark.parametrize("size", ODD_SIZES)
def test_places_come_back_within_half_a_pixel_of_the_resized_picture(size: tuple[int, int]) -> None:
    width, height = fit_size(*size, min_pixels=56 * 56, max_pixels=504 * 504, side_px=28)
    assert (width, height) != size
    draws = np.random.default_rng(0).integers(0, 1001, (200, 2, 2))
    for corners in draws:
        (x1, y1), (x2, y2) = np.sort(corners, 0).tolist()
        if x1 == x2 or y1 == y2:
            continue
        said = f'<think>[1, 2, 3, 4]</think><answer>{{"boxes": [{x1}, {y1}, {x2}, {y2}]}}</answer>'
        written = response_to_px(said, GROUNDING, (width, height))
        assert written.startswith("<think>[1, 2, 3, 4]</think>")
        sides = json.loads(written[written.index("{") : written.index("}") + 1])["boxes"]
        assert all(type(side) is int for side in sides)
        assert 0 <= sides[0] < sides[2] <= width
        assert 0 <= sides[1] < sides[3] <= height
        back = response_from_px(written, GROUNDING, (width, height))
        found = GROUNDING.parse(back[back.index("{") : back.index("}") + 1])
        # A box narrower than a pixel is one wide; thousandths that were pixels have three decimals.
        most_x, most_y = (
            500 / side if far - near > 1000 / side else 1000 / side
            for side, near, far in ((width, x1, x2), (height, y1, y2))
        )
        assert abs(found.x1 - x1) <= most_x + 5e-4
        assert abs(found.x2 - x2) <= most_x + 5e-4
        assert abs(found.y1 - y1) <= most_y + 5e-4
        assert abs(found.y2 - y2) <= most_y + 5e-4


@pytest.mark.parametrize("task", [task for task in all_tasks() if task.places], ids=lambda task: task.key)
def test_every_task_with_places_is_worded_and_converted_in_pixels(task: Any) -> None:
    assert task.instructions.endswith(task.units)
    words = task.wording((504, 280))
    assert "thousandths" in task.wording()
    assert "thousandths" not in words
    assert "504 pixels wide and 280 high" in words
    there = response_to_px(f"<think></think><answer>{task.example}</answer>", task, (1000, 2000))
    inside = there[there.index("<answer>") + 8 : -9]
    assert inside != task.example
    assert task.in_thousandths(inside, (1000, 2000)) != inside
    assert task.parse(task.in_thousandths(inside, (1000, 2000))) == task.parse(task.example)


def test_tasks_without_places_and_other_numbers_stay_as_they_are() -> None:
    sample = Sample(
        "a", "What follows [1, 2, 3, 4]?", "numerical", "image", (), response="<think></think><answer>5</answer>"
    )
    assert sample_to_px(sample, (504, 280)) is sample
    box = Sample("b", "Where is it at [100, 200, 300, 400]? Not [1,2].", "spatial grounding", "image", ())
    assert sample_to_px(box, (504, 280)).problem == "Where is it at [50,56,151,112]? Not [1,2]."


def test_a_broken_answer_in_pixels_is_read_as_broken() -> None:
    huge = '{"boxes": [1, 2, 1e308, 4]}'
    for text in (
        huge,
        "",
        "[",
        '{"boxes": "no"}',
        '{"boxes": [1, NaN, 3, 4]}',
        '{"boxes": {"1": [1]}}',
        "[1, 2, 3, 4]",
    ):
        assert GROUNDING.in_thousandths(text, None) == text
        said = f"<think></think><answer>{text}</answer>"
        response_from_px(said, GROUNDING, (504, 280))
        response_to_px(said, GROUNDING, (504, 280))
        grade = grade_response(said, GROUNDING.example, task=GROUNDING, reader=Reader(frame_px=(504, 280)))
        assert grade.format == 0


def test_a_response_that_is_no_strict_json_is_taught_and_kept_as_it_was_said() -> None:
    twice = '<think></think><answer>{"boxes": {"1": [50, 56, 151, 112], "2": [1, 2, 3, 4], "2": [1, 2, 3, 4]}}</answer>'
    task = find_task("tracking", "video")
    assert response_to_px(twice, task, (504, 280)) == twice
    assert response_from_px(twice, task, (504, 280)) == twice
    read = read_response(twice, task, (), Reader(frame_px=(504, 280)))
    assert read.answer.boxes == {0: (99.206, 200.0, 299.603, 400.0)}


def test_a_question_is_asked_and_read_in_pixels_of_what_is_shown_until_a_setting_says_otherwise() -> None:
    asked: list[Request] = []

    def reply(request: Request) -> str:
        asked.append(request)
        return '<think></think><answer>{"boxes": {"1": [126, 70, 252, 140]}}</answer>'

    budget = MediaBudget(token_side_px=28, frame_max_pixels=504 * 280, frame_min_pixels=504 * 280)
    engine = ScriptedEngine(reply, PromptTemplate(), budget, coordinates="pixels")
    frames = np.zeros((4, 270, 486, 3), np.uint8)
    thinker = Thinker(engine, reading="strict")
    thought = thinker.ask(frames, "Track the car.", task="tracking", box=(250, 250, 500, 500), fps=2)
    assert (thought.clip.width, thought.clip.height) == thought.frame_px == (504, 280)
    assert thought.boxes == {0.0: (250, 250, 500, 500)}
    assert thought.problems == ()
    assert "Track the car at [126,70,252,140]." in asked[0].text
    assert "504 pixels wide and 280 high" in asked[0].text
    assert reply_of(Answered(thought, None, 0.0), guessed=False)["frame_px"] == (504, 280)
    assert thinker.ask(thought, "And now?", task="tracking").turns[0].question == "Track the car at [126,70,252,140]."
    other = Thinker(engine, coordinates="thousandths")
    assert dict(other.ask(frames, "Track the car.", task="tracking", fps=2).boxes) == {0.0: (126, 70, 252, 140)}
    assert "thousandths" in asked[-1].text


@pytest.mark.parametrize("workers", [0, 1])
def test_rewards_read_pixels_strictly(workers: int) -> None:
    sample = Sample("a", "Where?", "spatial grounding", "image", (), truth='{"boxes": [125, 250, 500, 1000]}')
    texts = [f'<think></think><answer>{{"boxes": {sides}}}</answer>' for sides in ([63, 70, 252, 280], [1, 2, 3, 4])]
    with Grader(GradingSettings(workers=workers), "paper") as grader:
        right, wrong = grader.submit(sample, texts, frame_px=(504, 280)).result()
    assert (right.accuracy, right.format) == (1, 1)
    assert wrong.accuracy < 0.1


def test_a_reward_of_ones_own_and_the_report_see_thousandths() -> None:
    sample = Sample("a", "Where?", "spatial grounding", "image", (), truth='{"boxes": [125, 250, 500, 1000]}')
    text = '<think>63</think><answer>{"boxes": [63, 70, 252, 280]}</answer>'
    grade = Grade(1.0, 1.0, 1.0, 1.0)
    seen = '{"boxes": [125.0, 250.0, 500.0, 1000.0]}'
    group = answer_group(sample, (text,), (grade,), tokens=(9,), truncated=(False,), max_tokens=9, frame_px=(504, 280))
    assert group.responses == (f"<think>63</think><answer>{seen}</answer>",)
    result = Result("k", "a", "spatial grounding", sample.problem, sample.truth, text, grade, frame_px=(504, 280))
    assert _answer(0, "run", result, None).answer == seen
    assert _answer(0, "run", replace(result, frame_px=None), None).answer == '{"boxes": [63, 70, 252, 280]}'


@pytest.fixture(scope="module")
def records(tmp_path_factory: Any) -> list[Sample]:
    """A picture and a clip of odd sizes, whose boxes are whole pixels of what a Qwen2.5-VL is shown of them."""
    folder = tmp_path_factory.mktemp("records")
    Image.fromarray(np.full((95, 111, 3), 90, np.uint8)).save(folder / "picture.png")
    write_video(folder / "clip.mp4", np.full((6, 62, 94, 3), 160, np.uint8), fps=2)
    box, track = '{"boxes": [250, 0, 750, 1000]}', '{"boxes": {"1": [0, 250, 500, 750], "2": [0, 500, 500, 1000]}}'
    said = "<think></think><answer>{}</answer>"
    return [
        Sample("p", "Where?", "spatial grounding", "image", (folder / "picture.png",), box, response=said.format(box)),
        Sample("v", "Track it.", "tracking", "video", (folder / "clip.mp4",), track, response=said.format(track)),
    ]


@pytest.fixture(scope="module")
def trained(records: list[Sample], tmp_path_factory: Any) -> Path:
    """A tiny random Qwen2.5-VL that has learned the two records by heart."""
    folder = tmp_path_factory.mktemp("qwen")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model, processor = qwen2_5_vl()
    model.generation_config.eos_token_id = processor.tokenizer.eos_token_id
    save_model(
        folder / "base", model, processor, settings=ModelSettings(prompt_template=TINY_TEMPLATE, budget=TINY_BUDGET)
    )
    write_samples(folder / "records.json", records)
    recipe = SftRecipe.model_validate(
        {
            "model": str(folder / "base"),
            "steps": 60,
            "batch_size": 2,
            "save_every": 60,
            "max_row_tokens": 1024,
            "data": {"files": [str(folder / "records.json")]},
            "optimizer": {"learning_rate": 0.01, "warmup_steps": 2},
        }
    )
    return train_sft(recipe, folder / "run")


def test_a_qwen2_5_vl_learns_pixels_of_the_resized_frames_and_is_graded_right(
    records: list[Sample], trained: Path, tmp_path: Path
) -> None:
    assert read_settings(trained).coordinates == "pixels"
    with load_engine(str(trained)) as engine:
        assert engine.coordinates == "pixels"
        answer(engine, records, output=tmp_path / "out", sampling=SamplingParams(max_new_tokens=80))
        results = score(records, output=tmp_path / "out", coordinates="pixels")
        shown = [build_request(sample, TINY_TEMPLATE, engine.budget).media[0] for sample in records]
    for sample, result, clip in zip(records, results, shown, strict=True):
        assert (clip.width, clip.height) != (clip.source_width, clip.source_height)
        assert result.frame_px == (clip.width, clip.height)
        assert result.response == response_to_px(sample.response or "", task_of(sample), (clip.width, clip.height))
        assert result.response != sample.response
        assert (result.grade.accuracy, result.grade.format) == (1.0, 1.0)


@pytest.mark.parametrize(("coordinates", "all_answers"), [(None, "all_right"), ("thousandths", "all_wrong")])
def test_rl_rewards_pixels_where_the_model_writes_them(
    trained: Path, tmp_path: Path, coordinates: str | None, all_answers: str
) -> None:
    rollout = {"generation_batch_size": 2, "group_size": 2, "max_new_tokens": 80, "temperature": 0.05}
    thresholds = {"min_accuracy": 0.5, "max_accuracy": 0.9, "max_refills": 0}
    recipe = RlRecipe.model_validate(
        {
            "model": str(trained),
            "steps": 1,
            "max_row_tokens": 1024,
            "coordinates": coordinates,
            "data": {"files": [str(trained.parent.parent / "records.json")]},
            "rollout": {**rollout, **thresholds},
        }
    )
    # Groups that are all right or all wrong are not learned from, and the first step says which they were.
    with pytest.raises(ConfigError, match=f"spatial grounding: 1 {all_answers}; tracking: 1 {all_answers}"):
        train_rl(recipe, tmp_path / "run")
