"""Truth is what is seen: checked against pictures painted with and without a thing, and against the scene itself."""

import json
import re
from collections import Counter
from dataclasses import replace
from itertools import combinations

import cv2
import numpy as np
import pytest
from pycocotools import mask as coco

from onethinker.core.geometry import Box, Span
from onethinker.core.sample import PICTURE
from onethinker.data.synthetic import KINDS
from onethinker.data.synthetic.painting import FPS
from onethinker.data.synthetic.questions import Question, corner_name
from onethinker.data.synthetic.world.asking import ORDINALS, relation_of
from onethinker.data.synthetic.world.charts import add_aloud
from onethinker.data.synthetic.world.picture_positions import CORNERS
from onethinker.data.synthetic.world.rendering import Shot, render
from onethinker.data.synthetic.world.samples import ask_about_things
from onethinker.data.synthetic.world.scene import Look
from onethinker.data.synthetic.world.things import SEEN, UNSEEN_STYLES
from onethinker.data.synthetic.world.writing import DARK_INKS, LIGHT_INKS
from onethinker.tasks import find_task, grade_response, max_reward

INKS = {value: name for name, value in (DARK_INKS | LIGHT_INKS).items()}
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


def test_a_thing_is_found_among_others_by_what_is_noted():
    found = Counter()
    for question in asked("spatial grounding", "image", 300):
        shot = shot_of(question)
        boxes = [Box(*shot.box(n)) for n in range(len(shot.scene.things))]  # type: ignore[misc]
        points = [f"{int((box.x1 + box.x2) / 200)} {int((box.y1 + box.y2) / 200)}" for box in boxes]
        n = boxes.index(Box(*json.loads(question.answer)["boxes"]))
        *listed, last = question.reasoning.rstrip(".").split(". ")
        assert last.endswith(f" {points[n]}")
        things = list(zip(points, shot.scene.things, strict=True))
        if anchor := re.match(r"the (\D+) (\d \d)\. the \D+ (left of|right of|above|below) it", question.reasoning):
            (k,) = (k for k, thing in enumerate(shot.scene.things) if thing.kind.name == anchor[1])
            assert points[k] == anchor[2]
            assert anchor[3] in question.problem.lower()
            found["side"] += 1
        for side, notes in re.findall(r"(?:from the (\w+): )?((?:\d \d .+?)+)(?:\. |$)", ". ".join(listed)):
            noted = re.findall(r"(\d) (\d)(?: (\d\d))? ([a-z ]+?)(?: (\d))?(?:, |$)", notes)
            for x, y, size, name, _ in noted:
                k = next(k for k, (p, t) in enumerate(things) if p == f"{x} {y}" and name in (t.name, t.kind.name))
                width, height = boxes[k].x2 - boxes[k].x1, boxes[k].y2 - boxes[k].y1
                assert size in ("", f"{int((width * height) ** 0.5 / 10):02d}")
            if side:
                along = [int(note[side in ("top", "bottom")]) for note in noted]
                assert along == sorted(along, reverse=side in ("right", "bottom"))
                numbers = [int(number) for *_, number in noted if number]
                assert numbers == list(range(1, len(numbers) + 1))
                assert noted[-1][4] == str(len(numbers))
                # Nothing is left out before the one that is asked for.
                axis, sign = (0 if side in ("left", "right") else 1), (-1 if side in ("right", "bottom") else 1)
                before = [p for p in points if sign * int(p[2 * axis]) < sign * int(points[n][2 * axis])]
                assert set(before) <= {f"{x} {y}" for x, y, *_ in noted}
                alike = sum(thing.kind == shot.scene.things[n].kind for thing in shot.scene.things)
                assert len(numbers) <= alike
                assert shot.scene.things[n].kind.name == noted[-1][3]
                assert f"{ORDINALS[len(numbers) - 1]} " in question.problem.lower()
            elif noted[0][2]:
                areas = [int(note[2]) for note in noted if note[3] == shot.scene.things[n].kind.name]
                assert len(noted) == len(things)
                most = max if "biggest" in question.problem.lower() else min
                assert noted[[f"{x} {y}" for x, y, *_ in noted].index(points[n])][2] == f"{most(areas):02d}"
            else:
                kind = shot.scene.things[n].kind
                assert len(noted) == sum(thing.kind == kind for thing in shot.scene.things)
            found["order" if side else "size" if noted[0][2] else "color"] += 1
    assert min(found["order"], found["color"], found["side"]) > 10
    assert found["size"] > 2


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
    plurals = {kind.plural for kind in SEEN}
    counted, none = 0, 0
    for question in asked("numerical", "image", 400):
        things = shot_of(question).scene.things
        names = Counter(thing.kind.plural for thing in things) + Counter(
            thing.plural for thing in things if thing.color
        )
        match = re.fullmatch(
            r"how many ((?:\w+ )?\w+) (?:are there|do you see|can you see|are shown)\??",
            question.problem,
            re.IGNORECASE,
        )
        if match and (match[1] in names or match[1] in plurals):
            assert question.answer == str(names[match[1]]), question.problem
            counted += 1
            none += match[1] not in names
    assert counted > 10
    assert none > 0


def test_what_is_noted_while_counting_is_what_the_scene_has():
    found, colored = Counter(), set()
    for question in asked("numerical", "image", 400):
        things = shot_of(question).scene.things
        if question.way not in ("count_kind", "count_color", "count_all", "count_not", "count_difference"):
            continue
        listed, _, concluded = question.reasoning.partition(". ")
        notes = re.findall(r"(\d \d) ([a-z ]+?)(?: (\d))?(?:, |$)", listed.rstrip("."))
        assert [point for point, *_ in notes] == sorted(point for point, *_ in notes)
        names = Counter(name for _, name, _ in notes)
        assert names in (Counter(thing.kind.name for thing in things), Counter(thing.name for thing in things))
        problem = question.problem.lower()
        plurals = {t.kind.name: t.kind.plural for t in things} | {t.name: t.plural for t in things if t.color}
        if question.way == "count_difference":
            match = re.fullmatch(r"(\D+) (\d), (\D+) (\d)\. (\d)-(\d)=(\d)\.", concluded)
            assert match
            assert (match[2], match[4], match[7]) == (match[5], match[6], question.answer)
            assert int(match[5]) - int(match[6]) == int(match[7])
            for name, count in ((match[1], names[match[1]]), (match[3], names[match[3]])):
                assert [number for _, noted, number in notes if noted == name] == [str(k + 1) for k in range(count)]
            assert (names[match[1]], names[match[3]]) == (int(match[2]), int(match[4]))
        else:
            assert concluded == ""
            numbers = [int(number) for *_, number in notes if number]
            assert numbers == list(range(1, int(question.answer) + 1))
            if question.way != "count_all":
                # Those with a number, or in "not" those without, have one name, which the question has.
                is_not = question.way == "count_not"
                named = {name for _, name, number in notes if bool(number) != is_not}
                assert not named & {name for _, name, number in notes if bool(number) == is_not}
                assert len(named) == 1 or (named == set() and question.answer == "0")
                assert all(re.search(rf"\b{plurals[name]}\b", problem) for name in named)
        found[question.way] += 1
        colored.add((question.way, question.answer))
    assert len(found) == 5
    assert min(found.values()) > 3
    assert len({answer for way, answer in colored if way == "count_color"}) > 1


def test_what_is_counted_on_one_side_of_a_thing_is_on_that_side():
    found = Counter()
    for question in asked("numerical", "image", 800):
        side = re.search(r"left of|right of|above|below", question.problem)
        if side and (noted := re.fullmatch(r"the \D+ (\d) (\d)\. (.+)\.", question.reasoning)):
            axis, sign = {"left of": (0, -1), "right of": (0, 1), "above": (1, -1), "below": (1, 1)}[side[0]]
            number = 0
            for *point, verdict in re.findall(r"(\d) (\d) [a-z ]+ (\d|no)(?:, |$)", noted[3]):
                beyond = sign * (int(point[axis]) - int(noted[1 + axis]))
                number += beyond > 0
                assert verdict == (str(number) if beyond > 0 else "no"), question.reasoning
                found[verdict == "no"] += 1
            assert str(number) == question.answer
    assert min(found[True], found[False]) > 5


def test_a_share_is_counted_around_the_disc_that_is_painted():
    found = 0
    for question in asked("regression", "image", 60):
        shot = shot_of(question)
        if not shot.scene.sectors:
            continue
        notes = [note.split() for note in question.reasoning.rstrip(".").split(", ")]
        asked_for = next(color for _, color, *total in notes if total)
        assert asked_for in question.problem.lower()
        assert [int(note[0]) for note in notes] == list(range(1, 21))
        totals = [int(note[2]) for note in notes if note[1] == asked_for]
        assert totals == list(range(5, int(question.answer) + 1, 5))
        # The pixel in each direction has the colour that is noted, unless an edge is near.
        (frame,) = shot.clip.frames
        (x, y), reach = shot.scene.sectors[0].center, 0.7 * shot.scene.sectors[0].radius
        seen: dict[str, list[np.ndarray]] = {}
        for k, (_, color, *_) in enumerate(notes):
            turn = np.deg2rad(18 * k)
            row, column = int((y - reach * np.cos(turn)) * len(frame)), int((x + reach * np.sin(turn)) * len(frame))
            if np.ptp(frame[row - 2 : row + 3, column - 2 : column + 3].astype(int), axis=(0, 1)).max() < 60:
                seen.setdefault(color, []).append(frame[row, column].astype(int))
        spread = max(float(np.ptp(pixels, axis=0).max()) for pixels in seen.values())
        middles = [np.median(pixels, axis=0) for pixels in seen.values()]
        apart = min(float(np.abs(one - other).max()) for one, other in combinations(middles, 2))
        assert spread < apart
        found += 1
    assert found > 5


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


def test_what_is_more_and_what_is_biggest_is_concluded_from_what_is_noted():
    found = Counter()
    for question in asked("multiple choice", "image", 400):
        shot, texts = shot_of(question), [option.split(". ", 1)[1] for option in question.options]
        right = texts["ABCD".index(question.answer)]
        listed, _, concluded = question.reasoning.partition("\n")[0].partition(". ")
        if question.way == "ask_more":
            names = Counter(thing.kind.name for thing in shot.scene.things)
            plurals = {thing.kind.name: thing.kind.plural for thing in shot.scene.things}
            match = re.fullmatch(r"(\D+) (\d), (\D+) (\d)\. so \D+\.", concluded)
            assert match
            counts = (int(match[2]), int(match[4]))
            assert counts == (names[match[1]], names[match[3]])
            order = [plurals[match[1]], plurals[match[3]]]
            assert right == ("as many" if counts[0] == counts[1] else order[counts[1] > counts[0]])
        elif question.way == "ask_size":
            boxes = {thing.kind.name: shot.box(n) for n, thing in enumerate(shot.scene.things)}
            sides = {name: int(((b.x2 - b.x1) * (b.y2 - b.y1)) ** 0.5 / 10) for name, b in boxes.items() if b}
            noted = re.findall(r"\d \d (\d\d) ([a-z ]+)(?:, |$)", listed)
            assert {name: int(side) for side, name in noted} == sides
            match = re.fullmatch(r"the (biggest|smallest) (\d\d) (\D+)\.", concluded)
            assert match
            most = max if match[1] == "biggest" else min
            assert match[3] == right == most(sides, key=sides.__getitem__)
            assert int(match[2]) == sides[right]
        else:
            continue
        found[question.way] += 1
    assert found["ask_more"] > 3
    assert found["ask_size"] > 0


def test_a_claim_is_repeated_beside_what_is_seen():
    answers = Counter()
    for question in asked("multiple choice", "image", 300):
        match = re.match(r"the (\D+) \d \d\. the (\D+) \d \d\. (.+) it\? it is (.+) it\. so", question.reasoning)
        if match is None:
            continue
        shot = shot_of(question)
        names = [thing.kind.name for thing in shot.scene.things]
        one, other = (shot.box(names.index(name)) for name in match.groups()[:2])
        assert one
        assert other
        assert relation_of(one, other) == match[4]
        assert match[3] in question.problem
        texts = [option.split(". ", 1)[1] for option in question.options]
        answer = texts["ABCD".index(question.answer)]
        assert answer == ("yes" if match[3] == match[4] else "no")
        answers[answer] += 1
    assert min(answers["yes"], answers["no"]) > 3


def test_sums_come_out():
    for question in asked("math", "image", 200) + asked("math", "video", 60):
        noted, writings = question.reasoning.partition(". ")[0], shot_of(question).scene.writings
        if shot_of(question).clip.kind == "video":
            shown = [(str(w.visible.start), w.lines[0]) for w in writings if w.visible]
            assert re.findall(r"(\d\.\d) \d \d (\d)(?:, |$)", noted) == shown
        elif not shot_of(question).scene.things:
            read = re.findall(r"\d \d (\S)(?:, |$)", noted)
            assert "".join(read) == writings[0].lines[0].rstrip("=?")
        steps = re.findall(r"(\d+)([-+x])(\d+)=(\d+)", question.reasoning)
        for a, sign, b, result in steps:
            assert {"+": int(a) + int(b), "-": int(a) - int(b), "x": int(a) * int(b)}[sign] == int(result)
        assert steps[-1][3] == question.answer
    assert add_aloud([9, 8, 7]) == "9+8=17. 17+7=24."


def test_the_text_asked_for_is_the_text_that_is_written():
    for question in asked("OCR", "image", 120) + asked("OCR", "video", 60):
        lines = [line for writing in shot_of(question).scene.writings for line in writing.lines]
        assert question.answer == " ".join(lines) or question.answer in lines


def test_a_text_is_spelled_where_its_letters_stand():
    letters, bare, colors = 0, 0, set[str]()
    for question in asked("OCR", "image", 80) + asked("OCR", "video", 20):
        shot, answer = shot_of(question), question.answer.split()
        *before, spelled = re.split(r": |\. the \w+ ", question.reasoning.rstrip("."))
        writings = shot.scene.writings
        if question.way == "read_color":
            noted = re.findall(r"(\d) (\d) ([a-z]+)(?:, |$)", before[0])
            inks = [INKS[writing.ink] for writing in writings]
            assert noted == [
                (*(str(int(10 * x)) for x in w.center), ink) for w, ink in zip(writings, inks, strict=True)
            ]
            (color,) = (ink for w, ink in zip(writings, inks, strict=True) if w.lines[0] == question.answer)
            assert f". the {color} " in question.reasoning
            assert color in question.problem.lower()
            colors.add(color)
        starts = [str(writing.visible.start) for writing in writings if writing.visible]
        if question.way == "read_turn":
            assert before[0] == ", ".join(f"{k} at {start}" for k, start in enumerate(starts, 1))
            (n,) = (n for n, writing in enumerate(writings) if writing.lines[0] == question.answer)
            assert re.search(rf"\. the ({ORDINALS[n]}|last) {starts[n]} ", question.reasoning)
            assert ORDINALS[n] in question.problem.lower() or n == len(writings) - 1
        elif question.way == "read_all":
            assert re.findall(r"(\d\.\d) \d \d", spelled) == starts
        spelled = re.sub(r"\b\d\.\d ", "", spelled)
        notes = re.findall(r"(\d) (\d) (\w)(?: (\w+))?(?:, |$)", spelled)
        words, word = [], ""
        for *_, letter, ending in notes:
            word += letter
            if ending:
                assert ending == word
                words.append(word)
                word = ""
            letters += 1
        writing, *others = writings
        if shot.clip.kind == "image" and not (others or writing.board or writing.angle):
            columns = np.flatnonzero((shot.owners[0] == 255).any(0)) * 10 / len(shot.owners[0])
            xs = [int(x) for x, *_ in notes]
            assert 0 <= min(xs) + 1 - columns[0] < 2.5
            assert 0 <= columns[-1] - max(xs) < 2.5
            bare += 1
        assert words == answer
    assert letters > 300
    assert bare > 5
    assert len(colors) > 3


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


@pytest.mark.parametrize(("kind", "every"), [("spatial-temporal grounding", 0.5), ("tracking", 1.0)])
def test_where_a_thing_is_noted_time_by_time_is_where_its_boxes_are(kind, every):
    found = Counter()
    for question in asked(kind, "video", 40):
        shot, boxes = shot_of(question), json.loads(question.answer)["boxes"]
        first = 1 if kind == "tracking" else 0
        notes = dict(re.findall(r"(\d\.\d) (\d \d|no)(?:, |\.)", question.reasoning))
        assert [float(time_s) for time_s in notes] == [every * k for k in range(len(notes))]
        for key, box in boxes.items():
            x1, y1, x2, y2 = box
            assert notes[f"{int(key) - first}.0"] == f"{(x1 + x2) // 200} {(y1 + y2) // 200}"
        for time_s, note in notes.items():
            there = any(
                box and note == f"{int((box.x1 + box.x2) / 200)} {int((box.y1 + box.y2) / 200)}"
                for box in (shot.box(n, round(float(time_s) * FPS)) for n in range(len(shot.scene.things)))
            )
            assert there or note == "no"
            found[note == "no"] += 1
    assert found[False] > 60
    assert (found[True] > 20) == (kind != "tracking")


def test_times_are_half_seconds_and_those_of_what_happens():
    kinds = Counter()
    for question in asked("temporal grounding", "video", 200):
        shot = shot_of(question)
        start, end = json.loads(question.answer)["time"]
        assert start < end <= shot.clip.duration_s
        assert (2 * start) % 1 == (2 * end) % 1 == 0
        names = [thing.kind.name for thing in shot.scene.things]
        if shot.scene.wall:
            there = (shot.owners == 1).any((1, 2))
            assert [k / FPS for k in np.flatnonzero(~there)[[0, -1]]] == [start, end]
            check_watched(question.reasoning, there)
            kinds["hidden"] += 1
        elif shot.scene.writings:
            there = (shot.owners == 255).any((1, 2))
            assert [k / FPS for k in np.flatnonzero(there)[[0, -1]]] == [start, end]
            check_watched(question.reasoning, there)
            kinds["text"] += 1
        elif match := re.fullmatch(r"(\D+) (0\.0 yes.*?no)\. (\D+) (.*)\.", question.reasoning):
            there = [(shot.owners == names.index(name) + 1).any((1, 2)) for name in (match[1], match[3])]
            assert [np.flatnonzero(frames)[-1] / FPS for frames in there] == [start, end]
            check_watched(match[2], there[0])
            check_watched(match[4], there[1])
            kinds["after"] += 1
        elif match := re.fullmatch(r"the (\D+) .* (moves|turns|grows|shrinks).*\.", question.reasoning):
            number = names.index(match[1])
            changes = [
                bool((a != b).any())
                for a, b in zip(shot.owners == number + 1, (shot.owners == number + 1)[1:], strict=False)
            ]
            frames = np.flatnonzero(changes)
            # A slow move of less than half a pixel a frame may show a frame late.
            assert abs(frames[0] / FPS - start) <= 0.5
            assert abs((frames[-1] + 1) / FPS - end) <= 0.5
            kinds["acts"] += 1
        else:
            (number,) = (n for n, name in enumerate(names) if name in question.problem.lower())
            there = (shot.owners == number + 1).any((1, 2))
            assert [k / FPS for k in np.flatnonzero(there)[[0, -1]]] == [start, end]
            check_watched(question.reasoning, there)
            kinds["visit"] += 1
    assert min(kinds[name] for name in ("hidden", "text", "after", "acts", "visit")) > 10


def check_watched(notes: str, there: np.ndarray) -> None:
    """Check half seconds noted as no, or as yes or a place, one after the other, by the frames in which something is
    there.
    """
    watched = re.findall(r"(\d+\.\d) (yes|no|\d \d)", notes)
    assert len(watched) == notes.count(",") + 1
    assert np.ptp([float(time_s) for time_s, _ in watched]) == (len(watched) - 1) / 2
    assert [seen != "no" for _, seen in watched] == [there[round(float(time_s) * FPS)] for time_s, _ in watched]


def test_where_things_begin_and_end_is_noted_in_tenths_of_the_frame():
    found = Counter()
    for kind in ("multiple choice", "numerical", "open-ended", "temporal grounding"):
        for question in asked(kind, "video", 60):
            shot = shot_of(question)
            for note in re.finditer(r"0\.0 (\d \d(?: \d\d)?) to (\d\.\d) (\d \d(?: \d\d)?)", question.reasoning):
                before, behind = question.reasoning[: note.start() - 1], question.reasoning[note.end() + 1 :]
                (n,) = (
                    k
                    for k, thing in enumerate(shot.scene.things)
                    for name in {thing.name, thing.kind.name}
                    if re.search(rf"(^|the |\. |, ){name}$", before) or re.match(rf"{name}(,|\.| moves| does)", behind)
                )
                assert float(note[2]) == shot.clip.duration_s - 0.5
                for time_s, noted in ((0.0, note[1]), (float(note[2]), note[3])):
                    box = shot.box(n, round(time_s * FPS))
                    assert box is not None
                    x, y, *size = (int(number) for number in noted.split())
                    assert (x, y) == (int((box.x1 + box.x2) / 200), int((box.y1 + box.y2) / 200))
                    side = ((box.x2 - box.x1) * (box.y2 - box.y1)) ** 0.5
                    assert size in ([], [int(side / 10)])
                found[kind] += 1
    assert all(found[kind] > 5 for kind in ("multiple choice", "numerical", "open-ended", "temporal grounding"))


def test_a_thing_that_acts_is_followed_half_second_by_half_second():
    found = Counter()
    for kind in ("temporal grounding", "regression"):
        for question in asked(kind, "video", 120):
            match = re.match(
                r"the (\D+) \d.* (moves|grows|shrinks|turns) ?\w*\. (0\.0 .+?)\.(?: it|$)", question.reasoning
            )
            if match is None:
                continue
            shot = shot_of(question)
            n = [thing.kind.name for thing in shot.scene.things].index(match[1])
            act = shot.scene.things[n].act
            assert act
            notes = [note.split() for note in match[3].split(", ")]
            for time_s, *noted, verdict in notes:
                box = shot.box(n, round(float(time_s) * FPS))
                assert box is not None
                point = [int((box.x1 + box.x2) / 200), int((box.y1 + box.y2) / 200)]
                side = [int(((box.x2 - box.x1) * (box.y2 - box.y1)) ** 0.5 / 10)]
                seen = {"moves": point, "turns": []}.get(match[2], side)
                assert list(map(int, noted)) == seen
                assert verdict == ("yes" if act.span.start <= float(time_s) < act.span.end else "no")
            assert float(notes[-1][0]) == min(act.span.end + 0.5, shot.clip.duration_s - 0.5)
            found[kind, match[2]] += 1
    acts = {act for kind, act in found if kind == "temporal grounding"}
    assert acts == {"moves", "grows", "shrinks", "turns"}
    assert found["regression", "moves"] > 5


def test_a_parade_is_noted_half_second_by_half_second_with_numbers():
    found = Counter()
    for kind in ("multiple choice", "numerical", "open-ended"):
        for question in asked(kind, "video", 60):
            shot = shot_of(question)
            notes = re.findall(r"(\d\.\d) (\d) ([a-z ]+)[,.]", question.reasoning)
            if question.way not in ("ask_order", "ask_neighbor", "count_appear", "describe_parade"):
                continue
            assert len(notes) == 2 * shot.clip.duration_s
            names: list[str] = []
            for half, (time_s, number, name) in enumerate(notes):
                assert float(time_s) == half / 2
                (shown,) = set(np.unique(shot.owners[round(float(time_s) * FPS)])) - {0}
                thing = shot.scene.things[shown - 1]
                assert name in (thing.name, thing.kind.name)
                names += [] if names[-1:] == [name] else [name]
                assert int(number) == len(names)
            concluded = re.findall(r"(\d) ([a-z ]+)[,.]", question.reasoning.partition(". ")[2])
            assert all(names[int(number) - 1] == name for number, name in concluded)
            if kind == "multiple choice":
                right = question.options["ABCD".index(question.answer)].split(". ", 1)[1]
                assert concluded[-1][1] == right
                assert len(concluded) == (2 if question.way == "ask_neighbor" else 1)
            else:
                assert concluded == []
            found[kind] += 1
    assert min(found[kind] for kind in ("multiple choice", "numerical", "open-ended")) > 5


def test_what_a_thing_repeats_is_counted_in_the_middle_of_each_time():
    counts = Counter()
    for question in asked("numerical", "video", 160):
        shot = shot_of(question)
        act = shot.scene.things[0].act
        if act is None or act.verb not in ("jumps", "bows"):
            continue
        notes = [note.rstrip(".").split() for note in question.reasoning.split(", ")]
        boxes = [box for box in (shot.box(0, round(float(s) * FPS)) for s, *_ in notes) if box]
        counted = [k for k, note in enumerate(notes) if note[-1] != "no"]
        assert [notes[k][-1] for k in counted] == [str(n) for n in range(1, int(question.answer) + 1)]
        if act.verb == "jumps":
            middles = [(box.y1 + box.y2) / 2 for box in boxes]
            assert [int(note[2]) for note in notes] == [int(y / 100) for y in middles]
            assert all(middles[k] < min(middles[k - 1], middles[k + 1]) for k in counted)
        else:
            # Bowed, a thing covers other pixels than in the first frame; at rest it covers the same ones.
            upright = shot.mask(0, 0)
            changed = [(shot.mask(0, round(float(s) * FPS)) != upright).sum() for s, *_ in notes]
            rest = [pixels for k, pixels in enumerate(changed) if k not in counted]
            assert min(changed[k] for k in counted) > max(rest)
        counts[act.verb, question.answer] += 1
    assert len(counts) >= 6


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
        way = r"(\D+) .* goes (\d) \1, (\D+) .* goes (\d) \3\. the (faster|slower) goes (\d) ([a-z ]+)\."
        if match := re.match(way, question.reasoning):
            shot = shot_of(question)
            names = [thing.kind.name for thing in shot.scene.things]
            ways = {}
            for name, noted in ((match[1], match[2]), (match[3], match[4])):
                first, last = (shot.box(names.index(name), frame) for frame in (0, len(shot.owners) - 2))
                assert first
                assert last
                ways[name] = abs(first.x1 - last.x1) + abs(first.y1 - last.y1)
                assert abs(ways[name] / 100 - int(noted)) < 1.4
            slow, fast = sorted(ways, key=ways.__getitem__)
            assert ways[fast] > 1.4 * ways[slow]
            right = question.options["AB".index(question.answer)].split(". ", 1)[1]
            assert right == match[7] == (fast if match[5] == "faster" else slow)
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
