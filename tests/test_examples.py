"""The package of examples/my_lab, installed as a user would: its task and its reward on every stage."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
RUN = """
import json, sys
from onethinker.commands.dispatch import dispatch
for words in json.loads(sys.argv[1]):
    assert dispatch(words) == 0, words
"""


RECIPE = """
model = "untrained"
steps = 1
[grading.rewards.short_thinking]
weight = 0.5
settings = { tokens = 8 }
"""


def write_samples(folder: Path) -> Path:
    records = []
    for index, (x, y) in enumerate(((16, 16), (48, 48), (16, 48), (48, 16))):
        picture = Image.new("RGB", (64, 64), (240, 240, 240))
        picture.paste((200, 30, 30), (x - 6, y - 6, x + 6, y + 6))
        picture.save(folder / f"{index}.png")
        point = json.dumps({"point": [x * 1000 // 64, y * 1000 // 64]})
        record = {"problem": "<image>Point at the red square.", "problem_type": "pointing", "data_type": "image"}
        record |= {"images": [f"{index}.png"], "answer": f"<answer>{point}</answer>", "problem_id": f"p{index}"}
        records.append({**record, "response": f"<think>There.</think><answer>{point}</answer>", "tokens": 12})
    (folder / "points.jsonl").write_text("".join(f"{json.dumps(record)}\n" for record in records))
    return folder / "points.jsonl"


def test_the_example_package_works_on_every_stage(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "examples/my_lab", tmp_path / "source")
    site = tmp_path / "site"
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*pip, "--target", str(site), str(tmp_path / "source")], check=True, capture_output=True)
    file = write_samples(tmp_path)
    small = ["max_row_tokens=512", f"data.files=[{json.dumps(str(file))}]"]
    rl = ["rollout.generation_batch_size=2", "rollout.group_size=2", "rollout.max_new_tokens=12", "grading.workers=1"]
    rl += ["rollout.min_accuracy=-1.0", "rollout.max_accuracy=2.0", "loss.kl_coefficient=0", "steps=1"]
    rl += ["log.rollouts_mb=1"]
    (tmp_path / "rl.toml").write_text(RECIPE)
    run, scores = str(tmp_path / "sft"), str(tmp_path / "scores")
    asked = ["--model", f"{run}/model", "--data", str(file), "--max-new-tokens", "12", "--output", scores]
    by_recipe = ["--recipe", str(tmp_path / "rl.toml")]
    wrong = file.with_name("pairs.jsonl")
    pairs = [{**json.loads(line), "rejected": "<answer>no</answer>"} for line in file.read_text().splitlines()]
    wrong.write_text("".join(f"{json.dumps(pair)}\n" for pair in pairs))
    dpo = ["model=" + f"{run}/model", "steps=1", "batch_size=2", "max_row_tokens=512", f'data.files=["{wrong}"]']
    commands = [
        ["tasks"],
        ["data", "check", str(file)],
        ["grade", "--input", str(file), "--output", str(tmp_path / "graded.jsonl"), *by_recipe],
        ["sft", "tiny_sft", "--output", run, "--set", "steps=2", "batch_size=4", *small],
        ["rl", str(tmp_path / "rl.toml"), "--output", str(tmp_path / "rl"), "--set", f"model={run}/model", *small, *rl],
        ["dpo", "tiny_dpo", "--output", str(tmp_path / "dpo"), "--set", *dpo],
        ["evaluate", *asked, *by_recipe],
        ["rollouts", str(tmp_path / "rl"), "--rates", str(tmp_path / "rated.jsonl")],
        ["report", str(tmp_path / "rl"), scores, "--output", str(tmp_path / "page.html")],
    ]
    path = os.pathsep.join(filter(None, [str(site), os.environ.get("PYTHONPATH")]))
    done = subprocess.run(
        [sys.executable, "-c", RUN, json.dumps(commands)],
        env={**os.environ, "PYTHONPATH": path},
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert "pointing" in done.stdout
    grades = [json.loads(line)["grade"] for line in (tmp_path / "graded.jsonl").read_text().splitlines()]
    # Responses of 12 tokens: the task's 2 and half of 2 - 12/8.
    assert [(grade["accuracy"], grade["reward"]) for grade in grades] == [(1.0, 2.25)] * 4
    (row,) = [json.loads(line) for line in (tmp_path / "rl/journal.jsonl").read_text().splitlines()]
    terms = row["tasks"]["pointing"]["rewards"]
    # Answers of 12 tokens are worth 2 - 12/8 each; none is longer.
    assert 0.5 <= terms["short_thinking"] <= 1
    assert row["tasks"]["pointing"]["reward"] == terms["task"] + 0.5 * terms["short_thinking"]
    results = [json.loads(line) for line in (tmp_path / "scores/results.jsonl").read_text().splitlines()]
    assert {result["task"] for result in results} == {"pointing"}
    for metrics in (result["grade"]["metrics"] for result in results):
        assert 0.5 <= metrics["short_thinking (reward)"] <= 1
    rated = [json.loads(line) for line in (tmp_path / "rated.jsonl").read_text().splitlines()]
    assert {record["problem_type"] for record in rated} == {"pointing"}
    assert "short_thinking" in (tmp_path / "page.html").read_text()
    assert "hit@50" in (tmp_path / "scores/report.html").read_text()
