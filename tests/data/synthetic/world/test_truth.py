"""Truth is what is seen: checked against pictures painted with and without a thing, and against the scene itself."""

import json
import re
from collections import Counter
from dataclasses import replace

import cv2
import numpy as np
import pytest
from pycocotools import mask as coco

from onethinker.core.geometry import Box, Span
from onethinker.core.sample import PICTURE
from onethinker.data.synthetic import KINDS
from onethinker.data.synthetic.painting import FPS
from onethinker.data.synthetic.questions import Question, corner_name
from onethinker.data.synthetic.world.charts import add_aloud
from onethinker.data.synthetic.world.picture_positions import CORNERS
from onethinker.data.synthetic.world.rendering import Shot, render
from onethinker.data.synthetic.world.samples import ask_about_things
from onethinker.data.synthetic.world.scene import Look
from onethinker.data.synthetic.world.things import UNSEEN_STYLES
from onethinker.tasks import find_task, grade_response, max_reward

EACH_KIND = pytest.mark.parametrize("kind", KINDS, ids="/".join)


def asked(problem_type: str, data_type: str, count: int, *, world: str = "things", seed: int = 4) -> list[Question]:
    return [ask_about_things(seed, n, kind=(problem_type, data_type), split="train", world=world) for n in range(count)]


def shot_of(question: Question) -> Shot:
    assert isinstance(question.painting, Shot)
    return question.painting


@EACH_KIND
@pytest.mark.parametrize("reward_scheme", ["paper", "release"])
def test_truth_graded_against_itself_is_the_maximum(kind, reward_scheme):
    task = find_task(*kind)
    for question in asked(*kind, 40):
        grade = grade_response(
            question.response, question.answer, task=task, options=question.options, reward_scheme=reward_scheme
        )
        assert (grade.problems, grade.format) == ({}, 1.0), question.response
        assert grade.reward == pytest.approx(max_reward(task, reward_scheme))


@pytest.mark.parametrize(
    "kind", [("spatial grounding", "image"), ("segmentation", "image"), ("tracking", "video")], ids="/".join
)
def test_a_mask_is_where_the_picture_changes_when_the_thing_is_taken_out(kind):
    for question in asked(*kind, 30):
        scene = replace(shot_of(question).scene, look=Look())
        whole = render(scene, "whole")
        for number, thing in enumerate(scene.things):
            hidden = replace(
                scene, things=tuple(replace(t, visible=Span(-2, -1)) if t is thing else t for t in scene.things)
            )
            without = render(hidden, "without")
            change = np.abs(whole.clip.frames.astype(int) - without.clip.frames).max(-1)
            for frame in range(0, len(change), 5):
                mask = whole.mask(number, frame)
                near = cv2.dilate(mask.astype(np.uint8), np.ones((3, 3), np.uint8)).astype(bool)
                # What a pixel's lesser half is covered by may change it, but not by more than half.
                assert change[frame][~mask].max(initial=0) <= 128, thing.name
                assert (change[frame][~near] > 64).sum() <= 0.02 * mask.sum() + 2, thing.name
                before_ground = mask & (without.owners[frame] == 0)  # look-alikes may have the same colour
                assert (change[frame][before_ground] == 0).sum() <= 0.1 * mask.sum() + 2, thing.name


def test_boxes_hold_exactly_the_mask():
    for question in asked("spatial grounding", "image", 60):
        shot = shot_of(question)
        boxes = []
        for number in range(len(shot.scene.things)):
            rows, columns = np.nonzero(shot.owners[0] == number + 1)
            edges = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
            boxes.append([round(1000 * int(edge) / shot.clip.width) for edge in edges])
        assert json.loads(question.answer)["boxes"] in boxes


@pytest.mark.parametrize("data_type", ["image", "video"])
def test_points_of_a_segmentation_lie_on_the_thing_and_beside_it(data_type):
    for question in asked("segmentation", data_type, 80):
        answer, clip = json.loads(question.answer), question.painting.clip
        key = PICTURE if data_type == "image" else str(round(answer["time"] * FPS))
        mask = coco.decode(*question.masks.frames[key]).astype(bool)
        rows, columns = np.nonzero(mask)
        extent = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
        assert answer["boxes"] == [round(1000 * int(edge) / clip.width) for edge in extent]
        for name, inside in (("positive_points", True), ("negative_points", False)):
            assert len(answer[name]) == 3
            for x, y in answer[name]:
                assert mask[int(y * clip.height / 1000), int(x * clip.width / 1000)] == inside


def test_every_thing_in_a_picture_is_seen_well():
    for problem_type in ("multiple choice", "numerical", "spatial grounding"):
        for question in asked(problem_type, "image", 40):
            shot = shot_of(question)
            assert all(shot.seen_fraction(index) >= 0.55 for index in range(len(shot.scene.things)))


def test_no_name_in_a_picture_could_be_said_of_another_thing():
    for question in asked("multiple choice", "image", 120):
        kin = {thing.kind.name: thing.kind.kin for thing in shot_of(question).scene.things}
        assert len(set(kin.values())) == len(kin)


def test_things_are_counted_right():
    counted = 0
    for question in asked("numerical", "image", 200):
        things = shot_of(question).scene.things
        names = Counter(thing.kind.plural for thing in things) + Counter(
            thing.plural for thing in things if thing.color
        )
        match = re.fullmatch(
            r"how many ((?:\w+ )?\w+) (?:are there|do you see|can you see|are shown)\??",
            question.problem,
            re.IGNORECASE,
        )
        if match and match[1] in names:
            assert question.answer == str(names[match[1]]), question.problem
            counted += 1
        elif "total" not in question.problem and question.reasoning.startswith("i see no"):
            assert question.answer == "0"
    assert counted > 5


def test_differences_and_remainders_are_those_of_the_scene():
    found = Counter()
    for question in asked("numerical", "image", 300):
        things = shot_of(question).scene.things
        if match := re.fullmatch(r"([^:]+): .+\. ([^:]+): .+\. (\d)-(\d)=(\d)\.", question.reasoning):
            counts = Counter(thing.kind.plural for thing in things)
            many, few, difference = map(int, match.groups()[2:])
            assert (counts[match[1]], counts[match[2]], str(difference)) == (many, few, question.answer)
            assert many - few == difference
            found["differences"] += 1
        elif question.reasoning[0].isdecimal():
            notes = re.findall(r"(\d) ([a-z ]+?)( \d)?(?=, |\.)", question.reasoning)
            middles = [int(note[0]) for note in notes]
            assert middles == sorted(middles)
            assert Counter(note[1] for note in notes) == Counter(thing.kind.name for thing in things)
            assert [int(note[2]) for note in notes if note[2]] == list(range(1, int(question.answer) + 1))
            found["remainders"] += 1
    assert min(found["differences"], found["remainders"]) > 5


def test_a_letter_is_that_of_the_only_right_option():
    for data_type in ("image", "video"):
        for question in asked("multiple choice", data_type, 120):
            texts = [option.split(". ", 1)[1] for option in question.options]
            assert len(set(texts)) == len(texts)
            assert 2 <= len(texts) <= 4
            read = [line for line in question.reasoning.splitlines() if line.startswith(question.options)]
            assert [line[0] for line in read] == list("ABCD"[: "ABCD".index(question.answer) + 1])
            marks = [line.removeprefix(option).strip() for line, option in zip(read, question.options, strict=False)]
            if {"yes", "no"} <= set(marks) and set(texts) != {"yes", "no"}:
                assert marks == ["no"] * (len(marks) - 1) + ["yes"]
            if (said := re.search(r" so ([^.]+)\.\n", question.reasoning)) is not None:
                assert said[1] == texts["ABCD".index(question.answer)]


def test_what_is_said_to_be_there_or_not_there_is_so():
    found = Counter()
    for question in asked("multiple choice", "image", 400):
        shot = shot_of(question)
        corners = {thing.kind.name: corner_name(shot.box(n)) for n, thing in enumerate(shot.scene.things)}  # type: ignore[arg-type]
        texts = [option.split(". ", 1)[1] for option in question.options]
        right = texts["ABCD".index(question.answer)]
        if set(texts) == {"yes", "no"} and (
            match := re.match(r"([a-z ]+) (no|[a-z]+ [a-z]+)\. so ", question.reasoning)
        ):
            assert corners.get(match[1], "no") == match[2]
            assert right == ("no" if match[2] == "no" else "yes")
            found["exists"] += 1
        elif question.reasoning.startswith("A. ") and len(texts) > 1:
            notes = [line.split(". ", 1)[1] for line in question.reasoning.splitlines()]
            assert all(
                note in (f"{text} {corners.get(text, 'no')}", "none of these yes")
                for note, text in zip(notes, texts, strict=False)
            )
            if right == "none of these":
                assert not set(corners) & set(texts)
                found["none"] += 1
            elif notes[-1].endswith(" no"):
                assert right not in corners
                assert set(texts) - {right} <= set(corners)
                found["absent"] += 1
            else:
                assert [text for text in texts if text in corners] == [right]
                found["present"] += 1
    assert min(found[name] for name in ("none", "exists", "absent", "present")) > 3


def test_sums_come_out():
    for question in asked("math", "image", 200) + asked("math", "video", 60):
        steps = re.findall(r"(\d+)([-+x])(\d+)=(\d+)", question.reasoning)
        for a, sign, b, result in steps:
            assert {"+": int(a) + int(b), "-": int(a) - int(b), "x": int(a) * int(b)}[sign] == int(result)
        assert steps[-1][3] == question.answer
    assert add_aloud([9, 8, 7]) == "9+8=17. 17+7=24."


def test_the_text_asked_for_is_the_text_that_is_written():
    for question in asked("OCR", "image", 120) + asked("OCR", "video", 60):
        lines = [line for writing in shot_of(question).scene.writings for line in writing.lines]
        assert question.answer == " ".join(lines) or question.answer in lines


def test_signs_lie_within_the_frame_and_letters_are_large_enough_to_read():
    for question in asked("OCR", "image", 150):
        shot = shot_of(question)
        inked = shot.owners[0] == 255
        outermost = inked[[0, -1]].sum() + inked[:, [0, -1]].sum()
        assert outermost == 0, question.answer
        assert min(writing.height for writing in shot.scene.writings) * shot.clip.height >= 10


def test_things_are_visible_in_exactly_the_frames_of_the_answer():
    for question in asked("spatial-temporal grounding", "video", 60):
        shot, answer = shot_of(question), json.loads(question.answer)
        start, end = answer["time"]
        assert list(answer["boxes"]) == [str(second) for second in range(20) if start <= second <= end]
        boxes = answer["boxes"].items()
        numbers = range(len(shot.scene.things))
        (number,) = (n for n in numbers if all(shot.box(n, int(second) * FPS) == Box(*box) for second, box in boxes))
        frames = np.flatnonzero((shot.owners == number + 1).any((1, 2)))
        assert [k / FPS for k in frames] == list(np.arange(start, end + 0.1, 1 / FPS))


def test_times_are_half_seconds_and_those_of_what_happens():
    kinds = Counter()
    for question in asked("temporal grounding", "video", 200):
        shot = shot_of(question)
        start, end = json.loads(question.answer)["time"]
        assert start < end <= shot.clip.duration_s
        assert (2 * start) % 1 == (2 * end) % 1 == 0
        if shot.scene.wall:
            gone = [not (frame == 1).any() for frame in shot.owners]
            assert [k / FPS for k in np.flatnonzero(gone)[[0, -1]]] == [start, end]
            kinds["hidden"] += 1
        elif question.reasoning.startswith("the text"):
            changed = [bool((frame == 255).any()) for frame in shot.owners]
            assert [k / FPS for k in np.flatnonzero(changed)[[0, -1]]] == [start, end]
            kinds["text"] += 1
        elif match := re.fullmatch(r"the (.+) leaves at (.+?)\. the (.+) goes at (.+)\.", question.reasoning):
            names = [thing.kind.name for thing in shot.scene.things]
            last = [
                np.flatnonzero((shot.owners == names.index(name) + 1).any((1, 2)))[-1] / FPS
                for name in (match[1], match[3])
            ]
            assert last == [start, end]
            kinds["after"] += 1
        elif match := re.fullmatch(r"the (.+) (moves|turns|grows|shrinks).*\.", question.reasoning):
            number = [thing.kind.name for thing in shot.scene.things].index(match[1])
            changes = [
                bool((a != b).any())
                for a, b in zip(shot.owners == number + 1, (shot.owners == number + 1)[1:], strict=False)
            ]
            frames = np.flatnonzero(changes)
            # A slow move of less than half a pixel a frame may show a frame late.
            assert abs(frames[0] / FPS - start) <= 0.5
            assert abs((frames[-1] + 1) / FPS - end) <= 0.5
            kinds["acts"] += 1
    assert min(kinds[name] for name in ("hidden", "text", "after", "acts")) > 10


def test_tracking_key_k_is_the_box_at_k_minus_1_seconds_of_one_thing():
    alike = 0
    for question in asked("tracking", "video", 60):
        shot, boxes = shot_of(question), json.loads(question.answer)["boxes"]
        assert list(boxes) == [str(key) for key in range(1, int(shot.clip.duration_s) + 1)]
        numbers = [
            n
            for n in range(len(shot.scene.things))
            if all(shot.box(n, (int(k) - 1) * FPS) == Box(*box) for k, box in boxes.items())
        ]
        (number,) = numbers
        assert json.dumps(boxes["1"], separators=(",", ":")) in question.problem
        alike += sum(thing.name == shot.scene.things[number].name for thing in shot.scene.things) > 1
    assert alike > 15


def test_the_faster_of_two_things_goes_further_in_the_same_time():
    found = 0
    for question in asked("multiple choice", "video", 150):
        if match := re.match(r"(.+) goes (\d), (.+) goes (\d)\. the (faster|slower) (\d)\.", question.reasoning):
            shot = shot_of(question)
            names = [thing.kind.name for thing in shot.scene.things]
            ways = {}
            for name, noted in ((match[1], match[2]), (match[3], match[4])):
                first, last = (shot.box(names.index(name), frame) for frame in (0, len(shot.owners) - 1))
                assert first
                assert last
                ways[name] = abs(first.x1 - last.x1) + abs(first.y1 - last.y1)
                assert abs(ways[name] / 100 - int(noted)) < 1.4
            slow, fast = sorted(ways, key=ways.__getitem__)
            assert ways[fast] > 1.4 * ways[slow]
            right = question.options["AB".index(question.answer)].split(". ", 1)[1]
            assert right == (fast if match[5] == "faster" else slow)
            assert match[5] in question.problem.lower()
            found += 1
    assert found > 10


@pytest.mark.parametrize("world", ["where", "few"])
def test_first_lessons_tell_in_two_words_where_the_one_thing_of_its_name_is(world):
    told = [question for question in asked("open-ended", "image", 40, world=world) if question.answer in CORNERS]
    assert len(told) == 40 if world == "where" else 5 < len(told) < 40
    for question in told:
        things = shot_of(question).scene.things
        (n,) = [n for n, a in enumerate(things) if question.reasoning == f"the {a.kind.name} {question.answer}."]
        assert things[n].kind.name in question.problem.lower()
        box = shot_of(question).box(n)
        assert box is not None
        down, right = (box.y1 + box.y2) / 2 > 500, (box.x1 + box.x2) / 2 > 500
        assert question.answer == f"{('top', 'bottom')[down]} {('left', 'right')[right]}"


@pytest.mark.parametrize("world", ["unseen-styles", "unseen-things", "long-clips"])
@pytest.mark.parametrize(
    "kind", [("multiple choice", "image"), ("numerical", "image"), ("tracking", "video"), ("segmentation", "video")]
)
def test_the_worlds_for_tests_show_what_training_does_not(world, kind):
    for question in asked(*kind, 15, world=world):
        scene = shot_of(question).scene
        if world == "unseen-styles":
            assert {thing.style for thing in scene.things} <= set(UNSEEN_STYLES)
        elif world == "unseen-things":
            assert all(thing.kind.is_unseen for thing in scene.things)
        elif kind[1] == "video":
            assert 8 <= scene.duration_s <= 12
