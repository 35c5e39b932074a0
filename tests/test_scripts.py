import importlib.util
import sys
from pathlib import Path

import torch

SCRIPTS = Path(__file__).parents[1] / "scripts"


def test_the_vision_tower_is_taught_and_an_interrupted_lesson_ends_with_the_same_weights(tmp_path, monkeypatch):
    spec = importlib.util.spec_from_file_location("teach_sight", SCRIPTS / "teach_sight.py")
    script = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "teach_sight", script)
    spec.loader.exec_module(script)
    engine = script.load_local("untrained-things")
    untaught = engine.model.model.visual.state_dict()["merger.linear_fc2.weight"].clone()
    batches = [script.draw_batch(step, 2, engine.processor) for step in range(3)]
    at_once = script.Lesson.open(engine.model, engine.processor, 2e-3, tmp_path / "at_once.pt")
    for batch in batches:
        at_once.update(batch, 3)
    for begun in (batches[:2], batches[2:]):
        engine = script.load_local("untrained-things")
        resumed = script.Lesson.open(engine.model, engine.processor, 2e-3, tmp_path / "resumed.pt")
        for batch in begun:
            resumed.update(batch, 3)
        resumed.save()
    assert at_once.step == resumed.step == 3
    once, twice = at_once.teacher.state_dict(), resumed.teacher.state_dict()
    assert [name for name in once if not torch.equal(once[name], twice[name])] == []
    assert not torch.equal(once["visual.merger.linear_fc2.weight"], untaught)
