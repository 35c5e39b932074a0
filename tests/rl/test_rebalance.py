"""Groups are shared between processes again once they are sampled: all arrive whole, and all processes have as much."""

import json
import random
import subprocess
import sys
from pathlib import Path

from onethinker.training.packing.row import split_group


def test_groups_move_whole_and_every_process_has_as_many_tokens(tmp_path):
    processes, draw = 3, random.Random(5)
    groups = [
        # Those that process 0 has sampled are ten times as long as the others.
        {"prompt": 40, "answers": [draw.randint(10, 90) * (1 if index % processes else 10) for _ in range(4)]}
        for index in range(12)
    ]
    tokens = [each["prompt"] + sum(each["answers"]) for each in groups]
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    worker = [str(Path(__file__).with_name("rebalanced.py")), json.dumps(groups), str(tmp_path)]
    done = subprocess.run(
        [*launcher, *worker],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
        timeout=250,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    reports = [json.loads((tmp_path / f"{process}.json").read_text()) for process in range(processes)]
    assert sum(tokens[::processes]) / sum(tokens) * processes > 1.6
    assert max(report["tokens"] for report in reports) / sum(tokens) * processes < 1.05
    found = [name for report in reports for name in report["groups"]]
    assert sorted(found) == sorted(f"sample {index}" for index in range(12))
    for report in reports:
        assert report["groups"].items() <= report["expected"].items()


def test_a_group_that_is_longer_than_the_share_of_a_process_is_cut():
    assert split_group(100, [300, 300, 300, 300], max_tokens=4096, share=700) == [range(2), range(2, 4)]
    assert split_group(100, [300, 300, 300, 300], max_tokens=4096, share=1300) == [range(4)]


def test_no_part_is_shorter_than_the_prompt_that_it_reads_again():
    assert split_group(600, [300, 300, 300, 300], max_tokens=4096, share=700) == [range(2), range(2, 4)]


def test_a_part_is_never_longer_than_a_row():
    assert split_group(600, [300, 300, 300], max_tokens=1000, share=5000) == [range(1), range(1, 2), range(2, 3)]
