import re
import shutil

import torch

from onethinker.inference.loading import load_local
from onethinker.training.sight.things import draw_batch, open_lesson, teach_sight


def test_the_vision_tower_is_taught_and_an_interrupted_lesson_ends_with_the_same_weights(tmp_path):
    engine = load_local("untrained-things")
    untaught = engine.model.model.visual.state_dict()["merger.linear_fc2.weight"].clone()
    batches = [draw_batch(step, 2, engine.processor) for step in range(3)]
    at_once = open_lesson(engine.model, engine.processor, tmp_path / "at_once.pt")
    for batch in batches:
        at_once.update(batch, 3)
    for begun in (batches[:2], batches[2:]):
        engine = load_local("untrained-things")
        resumed = open_lesson(engine.model, engine.processor, tmp_path / "resumed.pt")
        for batch in begun:
            resumed.update(batch, 3)
        resumed.save()
    assert at_once.step == resumed.step == 3
    once, twice = at_once.teacher.state_dict(), resumed.teacher.state_dict()
    assert [name for name in once if not torch.equal(once[name], twice[name])] == []
    assert not torch.equal(once["visual.merger.linear_fc2.weight"], untaught)


def test_it_leaves_a_model_folder_and_reports_its_progress(tmp_path):
    heard = []
    folder = teach_sight(tmp_path, steps=2, batch_size=2, on_progress=lambda *done: heard.append(done))
    assert [(done, of) for done, of, _ in heard] == [(0, 2), (1, 2), (2, 2)]
    assert re.fullmatch(r"vision tower, loss \d+\.\d\d, named right [01]\.\d\d", heard[-1][2])
    assert load_local(str(folder)).budget.image_max_pixels == 128 * 128


def test_stopped_between_its_last_step_and_its_model_it_leaves_the_same_model(tmp_path):
    weights = teach_sight(tmp_path, steps=2, batch_size=2) / "model.safetensors"
    at_once = weights.read_bytes()
    shutil.rmtree(weights.parent)
    teach_sight(tmp_path, steps=2, batch_size=2)
    assert weights.read_bytes() == at_once
