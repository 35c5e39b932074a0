"""Plans fit a terminal of 80 columns, and say there what they say in a file."""

import json
from pathlib import Path

import pytest
from PIL import Image

from onethinker.commands.dispatch import dispatch

CONFIG_8B = str(Path(__file__).parents[1] / "training/configs/qwen3_vl_8b.json")
SERVERS = 'rollout.endpoints=["http://gpu-node-1.cluster.local:8000/v1","http://gpu-node-2.cluster.local:8000/v1"]'
NODES = ["--nodes", "4", "--processes", "8", "--gpu", "h800", "--network", "3200", "--config", CONFIG_8B]
PLANS = {
    "sft": ["sft", "tiny_sft"],
    "dpo": ["dpo", "tiny_dpo", "--set", "model=tiny"],
    "fleet": ["rl", "tiny_rl", "--gpu", "h100", "--set", "model=tiny", "rollout.engine=vllm", SERVERS],
    "nodes": ["rl", "rl_8b", *NODES, "--accelerate-config", "fsdp2_hybrid", "--set", "data.files=[]"],
    "nodes of sft": ["sft", "sft_8b", *NODES, "--accelerate-config", "fsdp2_offload", "--set", "data.files=[]"],
    "without a config": ["rl", "rl_8b", "--set", "data.files=[]", "model=runs/nothing"],
}


def said(line: list[str], columns: str | None, monkeypatch, capsys) -> str:
    if columns is None:
        monkeypatch.delenv("COLUMNS", raising=False)
    else:
        monkeypatch.setenv("COLUMNS", columns)
    capsys.readouterr()
    assert dispatch([line[0], line[1], "--dry-run", *line[2:]]) == 0
    return capsys.readouterr().out


@pytest.mark.parametrize("line", PLANS.values(), ids=PLANS)
def test_a_plan_on_80_columns_has_the_words_of_the_whole_plan(line, monkeypatch, capsys):
    monkeypatch.setattr("onethinker.training.preflight.is_here", lambda address: True)
    whole, narrow = (said(line, columns, monkeypatch, capsys) for columns in (None, "80"))
    assert max(map(len, whole.splitlines())) > 80
    assert max(map(len, narrow.splitlines())) <= 80
    assert narrow.split() == whole.split()


def test_the_map_of_verl_fits_80_columns_and_its_command_can_be_copied(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (64, 64), "red").save("a.png")
    record = {
        "problem": "How many?",
        "problem_type": "numerical",
        "data_type": "image",
        "solution": "3",
        "path": "a.png",
    }
    Path("samples.jsonl").write_text(json.dumps(record) + "\n")
    line = ["rl", "rl_8b", "--engine", "verl", "--nodes", "4", "--processes", "8"]
    line += ["--set", 'data.files=["samples.jsonl"]', "model=tiny", "--verl-set", "a.b=4"]
    whole, narrow = (said(line, columns, monkeypatch, capsys) for columns in (None, "80"))
    folder = str(Path(__file__).parents[2])
    assert max(len(each) for each in narrow.splitlines() if folder not in each) <= 80
    assert {*narrow.split()} - {"\\"} == {*whole.split()}
    command = narrow[narrow.index("command") :]
    assert command.replace("\\\n", " ").split() == whole[whole.index("command") :].split()
