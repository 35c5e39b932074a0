"""Losses of the first steps of SFT and RL to four digits: what a change that should change nothing must leave as it is.

`python tests/training/test_golden.py` writes golden.json anew; a commit that changes it does nothing else and says why.
"""

import json
import tempfile
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from onethinker.data.formats import write_records
from onethinker.training.checkpoint import RunFolder
from onethinker.training.config import RlRecipe, SftRecipe
from onethinker.training.rl import train_rl
from onethinker.training.sft import train_sft

GOLDEN = Path(__file__).with_name("golden.json")
NUMBERS = {"sft": ("loss", "grad_norm"), "rl": ("loss", "kl", "entropy", "grad_norm")}
# Processors round differently and the steps after the first feel it; a wrong weight, mean or mask is seen in the first two digits.
TOLERANCE = {"rel": 1e-3, "abs": 1e-5}


def train_both(folder: Path) -> dict[str, list[dict[str, Any]]]:
    """Return numbers of each step of both stages; RL starts from the model of an SFT that answers A or B by chance."""
    for name, color in (("red", (200, 30, 30)), ("blue", (30, 30, 200))):
        Image.new("RGB", (96, 64), color).save(folder / f"{name}.png")
    kinds = [{"problem_type": "multiple choice", "options": ["A. red", "B. blue"]}, {"problem_type": "OCR"}]
    records = [
        {
            "problem": "<image>Which one?",
            "answer": "<answer>A</answer>",
            "images": [f"{'red' if number % 4 < 2 else 'blue'}.png"],
            "data_type": "image",
            "response": f"<think>I see{' it' * (number % 3)}.</think><answer>{'AB'[number // 2 % 2]}</answer>",
            **kinds[number % 2],
        }
        for number in range(8)
    ]
    write_records(folder / "records.jsonl", records)
    data = {"files": [folder / "records.jsonl"]}
    sft = SftRecipe(steps=20, batch_size=8, max_row_tokens=256, save_every=20, data=data, optimizer={"learning_rate": 3e-3})
    model = train_sft(sft, folder / "sft")
    rollout = {"prompts_per_step": 4, "answers_per_prompt": 4, "max_new_tokens": 16, "max_refills": 1}
    rl = RlRecipe(
        model=str(model),
        steps=3,
        save_every=3,
        max_row_tokens=256,
        data=data,
        rollout=rollout,
        optimizer={"learning_rate": 1e-4},
        loss={"updates_per_batch": 2},
    )
    train_rl(rl, folder / "rl")
    return {
        stage: [
            {name: float(f"{row[name]:.5g}") for name in names} | {"tasks": sorted(row.get("tasks", {}))}
            for row in RunFolder(folder / stage).rows()[:5]
        ]
        for stage, names in NUMBERS.items()
    }


def test_losses_are_what_they_were(tmp_path):
    expected = json.loads(GOLDEN.read_text())
    found = train_both(tmp_path)
    for stage, names in NUMBERS.items():
        assert len(found[stage]) == len(expected[stage])
        for name in names:
            steps = [[row[name] for row in rows[stage]] for rows in (found, expected)]
            assert steps[0] == pytest.approx(steps[1], **TOLERANCE), f"{stage} {name}"
    assert [row["tasks"] for row in found["rl"]] == [row["tasks"] for row in expected["rl"]]


if __name__ == "__main__":
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        GOLDEN.write_text(json.dumps(train_both(Path(folder)), indent=2) + "\n")
