"""The road of a step of RL, as docs/architecture.md tells it, held against a step under a profiler."""

import re
import sys
from pathlib import Path

import onethinker
from onethinker.rl.loop import train_rl
from onethinker.training.config import RlRecipe

PACKAGE = Path(onethinker.__file__).parent
LOOKED_UP = {
    f"training/{name}.py"
    for name in ("parallel/collectives", "optimizer", "lengths", "adapters", "reference", "routing")
}


def road_of_a_step() -> list[str]:
    """Return the files that docs/architecture.md lists, in their order."""
    text = (PACKAGE.parent / "docs/architecture.md").read_text()
    paragraph = text.partition("A step of RL crosses")[2].partition("`tests/rl/test_road.py`")[0]
    return re.findall(r"`(\w+(?:/\w+)+\.py)`", paragraph)


def test_a_step_of_rl_crosses_the_files_that_the_architecture_lists_and_no_other(tmp_path, taught):
    recipe = RlRecipe(
        model=taught.model,
        steps=3,
        max_row_tokens=512,
        data={"files": [taught.questions]},
        rollout={"generation_batch_size": 2, "group_size": 2, "max_new_tokens": 32},
        grading={"workers": 0},
        loss={"kl_coefficient": 0.1},
    )
    entered: set[str] = set()
    done: list[int] = []

    def note(frame, event, _):
        # From the record of the first step to that of the second.
        path = frame.f_code.co_filename
        if done == [1] and event == "call" and path.startswith(f"{PACKAGE}/"):
            entered.add(path.removeprefix(f"{PACKAGE}/"))

    sys.setprofile(note)
    try:
        train_rl(recipe, tmp_path / "run", on_step=lambda row: done.append(row["step"]))
    finally:
        sys.setprofile(None)
    road = road_of_a_step()
    assert len(road) == len(set(road)) <= 15
    assert set(road) - entered == set()
    rest = {path for path in entered if re.match(r"(rl|training)/(?!metrics/|state/)", path)} - LOOKED_UP
    assert rest - set(road) == set()
