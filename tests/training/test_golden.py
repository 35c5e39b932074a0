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

from onethinker.data.formats.records import write_records
from onethinker.rl.advantages import ema_grpo
from onethinker.rl.groups import Group
from onethinker.rl.sampler import Rollout
from onethinker.rl.update import update_policy
from onethinker.tasks import grade_response, task_of
from onethinker.training.config import RlRecipe, SftRecipe
from onethinker.training.opening import open_session
from onethinker.training.packing.row import PrefixGroup, pack
from onethinker.training.reference import open_reference
from onethinker.training.scoring import score
from onethinker.training.sft import train_sft
from onethinker.training.state.run_folder import RunFolder

GOLDEN = Path(__file__).with_name("golden.json")
NUMBERS = {"sft": ("loss", "grad_norm"), "rl": ("loss", "kl", "entropy", "clip_fraction", "grad_norm")}
# Processors round differently and the steps after the first feel it; a wrong weight, mean or mask is seen in the first
# two digits.
TOLERANCE = {"rel": 1e-3, "abs": 1e-5}


def train_both(folder: Path) -> dict[str, list[dict[str, Any]]]:
    """Return numbers of each step of both stages, from the same start: five steps of SFT, two of RL on answers that are
    given.

    Nothing is sampled, because one token that falls the other way on another processor would change everything after
    it.
    """
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
    train_sft(
        SftRecipe(steps=5, batch_size=8, max_row_tokens=256, data=data, optimizer={"learning_rate": 1e-3}),
        folder / "sft",
    )
    recipe = RlRecipe(
        steps=2,
        max_row_tokens=256,
        data=data,
        rollout={"generation_batch_size": 4, "group_size": 4, "max_new_tokens": 128},
        optimizer={"learning_rate": 1e-4},
        loss={"updates_per_batch": 2, "kl_coefficient": 0.1},
    )
    steps = {"sft": RunFolder(folder / "sft").rows(), "rl": update_on_given_answers(recipe, folder / "rl")}
    return {
        stage: [
            {name: float(f"{row[name]:.5g}") for name in names} | {"tasks": sorted(row.get("tasks", {}))}
            for row in steps[stage]
        ]
        for stage, names in NUMBERS.items()
    }


def update_on_given_answers(recipe: RlRecipe, folder: Path) -> list[dict[str, Any]]:
    """Return what each step measures that learns from the same four groups: some right, some wrong, one without the
    right form.
    """
    run = open_session(recipe, folder)
    texts = (
        "<think>x</think><answer>A</answer>",
        "<think>it is</think><answer>B</answer>",
        "A",
        "<think></think><answer>A B</answer>",
    )
    groups: dict[int, Group] = {}
    for number in range(4):
        sample, request = run.data.read(number)
        (prompt,) = run.data.prompts([request])
        task = task_of(sample)
        answers = [run.data.answer_ids(text) for text in texts]
        with torch.no_grad():
            logps = [score(run.model, pack([PrefixGroup(prompt, (ids,))]))[0] for ids in answers]
        rollouts = tuple(Rollout(ids, own, truncated=False) for ids, own in zip(answers, logps, strict=True))
        grades = tuple(grade_response(text, sample.truth, task=task, options=sample.options) for text in texts)
        groups[number] = Group(number, task.key, sample, prompt, rollouts, texts, grades)
    rewards_PG = torch.tensor(
        [[grade.reward for grade in group.grades] for group in groups.values()], dtype=torch.float64
    )
    advantages_PG, ema = ema_grpo(rewards_PG, [group.task for group in groups.values()], {})
    advantages = dict(zip(groups, advantages_PG.float(), strict=True))
    reference, steps = open_reference(run, temperature=recipe.rollout.temperature), []
    for step in range(recipe.steps):
        updated = update_policy(run, recipe, reference, groups, advantages, step)
        measured = {name: updated.mean(name) for name in ("kl", "entropy", "clip_fraction")}
        steps.append({"loss": updated.loss, "grad_norm": updated.grad_norm, "tasks": ema, **measured})
    return steps


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
