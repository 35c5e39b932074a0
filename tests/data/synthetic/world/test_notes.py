"""The lessons in words and in notes: what is told is what the picture has, and every note follows from it."""

import re
from collections import Counter

import pytest

from onethinker.core.frames import Clip
from onethinker.core.sample import Sample
from onethinker.data.synthetic import KINDS, make_sample
from onethinker.data.synthetic.painting import FPS
from onethinker.data.synthetic.world.notes import tell
from onethinker.data.synthetic.world.rendering import Shot
from onethinker.data.synthetic.world.samples import ask_about_things

TOLD = ("open-ended", "multiple choice", "numerical", "OCR")


def samples(world: str, problem_type: str, count: int, data_type: str = "image") -> list[Sample]:
    return [
        make_sample(6, index, problem_type=problem_type, data_type=data_type, world=world)  # type: ignore[arg-type]
        for index in range(count)
    ]


def notes_of(sample: Sample) -> list[str]:
    return (sample.response or "").split("</think>")[0].removeprefix("<think>").rstrip(".").split(", ")


def facts_of(sample: Sample) -> dict[str, tuple[str, str]]:
    """What a question is told: the points of things, by name, whose colours are left out."""
    told = re.findall(
        r"(\d) (\d) (?:(?:red|orange|yellow|green|blue|purple) )?([a-z][a-z ]+)", sample.problem.split(". ")[0]
    )
    return {name: (x, y) for x, y, name in told}


@pytest.mark.parametrize("problem_type", TOLD)
def test_a_lesson_in_words_has_no_medium_and_begins_with_what_the_picture_has(problem_type):
    for index, sample in enumerate(samples("told", problem_type, 20)):
        asked = ask_about_things(6, index, kind=(problem_type, "image"), split="train", world="told")
        assert isinstance(asked.painting, Shot)
        assert sample.media == ()
        assert sample.problem == f"{tell(asked.painting)} {asked.problem}"
        assert (sample.response, sample.truth) == (asked.response, asked.answer)
        words = Counter(re.findall("[a-z]+", tell(asked.painting)))
        assert words >= Counter(thing.kind.name.split()[-1] for thing in asked.painting.scene.things)


def test_places_that_are_told_are_noted_and_no_others():
    seen = Counter()
    for sample in samples("told", "open-ended", 120):
        facts, asked = facts_of(sample), sample.problem.partition(". where? ")[2].rstrip(".").split(", ")
        if ". where? " in sample.problem:
            assert [re.sub(r" (no|\d \d)$", "", note) for note in notes_of(sample)] == asked
            for note, name in zip(notes_of(sample), asked, strict=True):
                assert note == f"{name} {' '.join(facts[name]) if name in facts else 'no'}"
                seen[name in facts] += 1
    assert min(seen[True], seen[False]) > 10


@pytest.mark.parametrize("world", ["told", "notes"])
def test_a_row_is_noted_from_its_side_and_its_names_are_those_of_the_picture(world):
    rows = 0
    for index, sample in enumerate(samples(world, "open-ended", 120)):
        if match := re.search(r"from the (left|right|top|bottom)\?$", sample.problem):
            asked = ask_about_things(6, index, kind=("open-ended", "image"), split="train", world=world)
            axis = 0 if match[1] in ("left", "right") else 1
            notes = [re.findall(r"^(\d) at (\d) (\d) (.+)$", note)[0] for note in notes_of(sample)]
            assert [int(note[0]) for note in notes] == list(range(1, len(notes) + 1))
            passed = [int(note[1 + axis]) for note in notes]
            assert passed == sorted(passed, reverse=match[1] in ("right", "bottom"))
            assert isinstance(asked.painting, Shot)
            assert Counter(name for *_, name in notes) == Counter(
                thing.kind.name for thing in asked.painting.scene.things
            )
            rows += 1
    assert rows > 10


@pytest.mark.parametrize("world", ["told", "notes"])
def test_names_are_noted_at_the_points_that_are_asked_about(world):
    named = 0
    for sample in samples(world, "open-ended", 120):
        if " what? " in f" {sample.problem}":
            points = sample.problem.partition("what? ")[2].rstrip(".").split(", ")
            assert [note[:3] for note in notes_of(sample)] == points
            if world == "told":
                assert all(note in sample.problem for note in notes_of(sample))
            named += 1
    assert named > 10


def test_an_option_is_found_by_its_name():
    for sample in samples("notes", "multiple choice", 30):
        name = sample.problem.rstrip("?")
        assert f"{sample.truth}. {name}" in sample.options
        assert (sample.response or "").startswith(f"<think>so {name}.\nA. ")
        assert f"\n{sample.truth}. {name} yes</think>" in (sample.response or "")


def test_what_cannot_be_told_is_shown():
    """Other problem types of this world, and clips, are as in the world of things."""
    for index, (problem_type, data_type) in enumerate(KINDS):
        sample = make_sample(6, index, problem_type=problem_type, data_type=data_type, world="told")
        assert bool(sample.media) == (data_type == "video" or problem_type not in TOLD)


def test_notes_are_about_a_picture():
    for sample in samples("notes", "open-ended", 5):
        (clip,) = sample.media
        assert isinstance(clip, Clip)


def test_notes_about_a_clip_say_what_is_there_at_the_moments_asked_for():
    named, found, empty = 0, 0, 0
    for index, sample in enumerate(samples("notes", "open-ended", 80, "video")):
        shot = ask_about_things(6, index, kind=("open-ended", "video"), split="train", world="notes").painting
        assert isinstance(shot, Shot)
        (clip,) = sample.media
        assert isinstance(clip, Clip)
        assert sample.truth == f"{notes_of(sample)[-1]}."
        asked = re.fullmatch(r"(what|where)\? (\D*)([\d., ]+)\.", sample.problem)
        if asked is None:
            continue
        assert [note.split()[0] for note in notes_of(sample)] == asked[3].split(", ")
        for note in notes_of(sample):
            time_s, _, noted = note.partition(" ")
            frame = round(float(time_s) * FPS)
            boxes = {thing.kind.name: shot.box(n, frame) for n, thing in enumerate(shot.scene.things)}
            seen = {name: box for name, box in boxes.items() if box}
            if asked[1] == "what":
                assert noted == " ".join(sorted(seen, key=lambda name: seen[name].x1 + seen[name].x2)) or (
                    noted == "no" and not seen
                )
                named += 1
            elif noted == "no":
                assert asked[2].strip() not in seen
                empty += 1
            else:
                box = seen[asked[2].strip()]
                assert noted == f"{int((box.x1 + box.x2) / 200)} {int((box.y1 + box.y2) / 200)}"
                found += 1
    assert min(named, found, empty) > 10
