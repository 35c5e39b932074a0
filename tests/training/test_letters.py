import numpy as np
import pytest
import torch
from torch.nn import functional

from onethinker.data.synthetic.world import pages
from onethinker.data.synthetic.world.backgrounds import draw_background
from onethinker.data.synthetic.world.characters import characters
from onethinker.data.synthetic.world.picture_scenes import draw_few
from onethinker.data.synthetic.world.rendering import render
from onethinker.data.synthetic.world.scene import Scene, World, Writing
from onethinker.inference.loading import load_local
from onethinker.media.sizing import image_size
from onethinker.training.sight import letters
from onethinker.training.sight.lesson import Lesson
from onethinker.training.sight.letter_labels import THINGS, WRITTEN, labels
from onethinker.training.sight.letter_pictures import draw_batch, draw_things
from onethinker.training.sight.letters import Teacher, teach_letters

INK = (22, 22, 26)


@pytest.fixture(scope="module")
def engine():
    return load_local("tiny", device="cpu", dtype="float32")


def page(*writings: Writing) -> Scene:
    return Scene(draw_background(np.random.default_rng(0), calm=True), writings=writings)


def line(text: str, y: float, height: float = 0.2, angle: float = 0.0) -> Writing:
    return Writing((text,), 2, INK, None, (0.5, y), height, angle)


@pytest.mark.parametrize("angle", [0.0, 90.0])
def test_characters_stand_where_their_ink_is(angle):
    writing = line("stop 17", 0.5, angle=angle)
    side = 192
    frame = render(page(writing), "page", side).owners[0] == 255
    placed = characters(writing, side)
    assert "".join(character.text for character in placed) == "stop17"
    assert [character.word for character in placed] == [0, 0, 0, 0, 1, 1]
    covered = np.zeros_like(frame)
    for x1, y1, x2, y2 in (np.array(character.box) * side for character in placed):
        part = np.s_[int(y1) : int(np.ceil(y2)), int(x1) : int(np.ceil(x2))]
        assert frame[part].any()
        covered[part] = True
    assert (frame & ~covered).sum() <= 0.02 * frame.sum()


def test_tokens_that_writing_covers_are_labelled_with_it_and_with_its_characters():
    shot = render(page(line("stop", 0.25, 0.2), line("17", 0.75, 0.2)), "page", 192)
    found = labels(shot, 6)
    names = found.names.reshape(6, 6)
    assert set(names[1].tolist()) == set(names[4].tolist()) == {0, WRITTEN}
    assert not names[[0, 5]].any()
    halves = found.halves.reshape(2, 6, 6)
    read = ["".join(dict.fromkeys(f" {pages.CHARACTERS}"[n] for n in halves[:, row].T.flatten())) for row in (1, 4)]
    assert [text.replace(" ", "") for text in read] == ["stop", "17"]
    x, y, width, height = found.boxes.reshape(6, 6, 4)[4, 2]
    assert (abs(x) < 0.02, 0.2 < y < 0.3, 0.1 < width + 0.25 < 0.5, 0.15 < height + 0.25 < 0.3) == (True,) * 4


def test_things_are_labelled_as_they_are_seen_at_every_size():
    scene = draw_few(np.random.default_rng(4), World())
    coarse, fine = (labels(render(scene, "few", side), 6).names for side in (128, 192))
    shown = {THINGS[n - 1] for n in coarse if n}
    assert shown == {thing.kind.name for thing in scene.things}
    assert (coarse != fine).mean() < 0.1


def test_an_interrupted_lesson_ends_with_the_same_weights_and_only_the_tower_has_learned(tmp_path, engine, monkeypatch):
    monkeypatch.setattr(letters, "LOOKS", 12)
    at_once = teach_letters("tiny", tmp_path / "at_once", steps=3, batch_size=4)
    resumed = load_local("tiny", device="cpu", dtype="float32")
    lesson = Lesson.of(
        Teacher(resumed.model, resumed.processor),
        tmp_path / "resumed" / "teacher.pt",
        learning_rate=letters.LEARNING_RATE,
        min_lr_ratio=letters.MIN_LR_RATIO,
    )
    for step in range(2):
        lesson.update(draw_batch(step, 4, resumed.processor), 3)
    lesson.save()
    heard = []
    folder = teach_letters(
        "tiny", tmp_path / "resumed", steps=3, batch_size=4, on_progress=lambda *done: heard.append(done)
    )
    assert [done for done, _, _ in heard] == [2, 3]
    assert (folder / "model.safetensors").read_bytes() == (at_once / "model.safetensors").read_bytes()
    taught = load_local(str(folder), device="cpu", dtype="float32")
    sizes = [image_size(width, height, taught.budget) for width, height in ((128, 128), (100, 80), (640, 480))]
    assert sizes == [(192, 192), (192, 160), (192, 160)]
    assert taught.budget.frame_max_pixels == 192 * 192
    before, after = engine.model.state_dict(), taught.model.state_dict()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed
    assert all(name.startswith("model.visual.") and "patch_embed" not in name for name in changed)


def test_tokens_of_things_are_as_long_as_before_when_the_lesson_ends(tmp_path, engine, monkeypatch):
    monkeypatch.setattr(letters, "LOOKS", 12)
    taught = load_local(str(teach_letters("tiny", tmp_path, steps=2, batch_size=4)), device="cpu", dtype="float32")
    pixels, grids, _ = draw_things(50, engine.processor, size=16)
    with torch.no_grad():
        was, now = (
            e.model.model.visual(pixels, grid_thw=grids, return_dict=True).pooler_output for e in (engine, taught)
        )
    assert now.norm(dim=1).mean() == pytest.approx(float(was.norm(dim=1).mean()), rel=0.1)
    assert functional.cosine_similarity(was, now).mean() > 0.5
