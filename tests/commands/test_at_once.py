"""What is wrong with a command line is said before torch is imported, which takes seconds."""

import fcntl
import subprocess
import sys
from pathlib import Path

import pytest

from tests.commands.command_lines import TINY_EVALUATION, TRAIN

RUN = """
import sys
from onethinker.cli import main
try:
    main(sys.argv[1:])
except SystemExit as left:
    names = ("torch", "transformers", "accelerate", "scipy", "matplotlib", "supervision")
    heavy = [name for name in names if name in sys.modules]
    print(f"LEFT {left.code} {heavy}")
"""


def said_at_once(place: Path, *words: str) -> str:
    """Return what a command says that leaves with an error of ours and has imported nothing heavy; `words` are taken in
    the folder.
    """
    done = subprocess.run(
        [sys.executable, "-c", RUN, *words], capture_output=True, text=True, cwd=place, check=False, timeout=120
    )
    assert done.stdout.splitlines()[-1] == "LEFT 1 []", done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done.stderr.replace("\n", " ")


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (("sft", "nosuch"), "no recipe 'nosuch'. There are: erring_rl, erring_sft"),
        (
            ("sft", "tiny_sft.toml"),
            "no such file; the recipe that comes with OneThinker is named 'tiny_sft', without .toml",
        ),
        (("sft", "/no/thing.toml"), "/no/thing.toml: no such file"),
        (("sft", "tiny_sft"), "--output FOLDER is needed"),
        (("sft", "tiny_sft", *TRAIN, "stepz=3"), "stepz"),
        (("rl", "tiny_rl", *TRAIN, "rollout.group_size=1"), "rollout.group_size"),
        (("sft", "tiny_sft", *TRAIN, "steps"), "name=value"),
        (("sft", "tiny_sft", *TRAIN, "model=nosuch"), "nosuch: no such folder"),
        (("sft", "tiny_sft", *TRAIN, "model=nosuch"), "choose another with --set model=…"),
        (("rl", "rl_8b", "--dry-run"), "data/onethinker_rl_train.json: no such file. --set 'data.files="),
        (("rl", "tiny_rl", *TRAIN, "model=empty"), "no config.json"),
        (("rl", "tiny_rl", "--processes", "2", *TRAIN, "model=empty"), "no config.json"),
        (("sft", "tiny_sft", *TRAIN, "model=no_weights"), "no weights"),
        (("sft", "tiny_sft", *TRAIN, "model=no_shard"), "model-00001-of-00002.safetensors"),
        (("sft", "tiny_sft", *TRAIN, "model=no_base"), "/nosuch/base"),
        (("sft", "tiny_sft", *TRAIN, "model=bad_settings"), "onethinker.json"),
        (("sft", "tiny_sft", *TRAIN, 'data.files=["nosuch.jsonl"]'), "nosuch.jsonl"),
        (("sft", "tiny_sft", *TRAIN, 'data.files=["broken.jsonl"]'), "broken.jsonl, row 1"),
        (("sft", "tiny_sft", *TRAIN, 'data.files=["no_response.jsonl"]'), "no_response.jsonl, row 1"),
        (("sft", "tiny_sft", *TRAIN, 'data.files=["no_media.jsonl"]'), "nosuch.png"),
        (("sft", "tiny_sft", *TRAIN, 'data.files=["empty"]'), "empty"),
        (("sft", "tiny_sft", *TRAIN, 'data.files=["long.jsonl"]'), "long.jsonl, the last row: "),
        (("rl", "tiny_rl", *TRAIN, "model=untrained", 'data.files=["no_truth.jsonl"]'), "no_truth.jsonl, row 2"),
        (("sft", "tiny_sft", *TRAIN, 'data.problem_types=["trackin"]'), "'trackin'"),
        (("sft", "tiny_sft", *TRAIN, 'data.weights={"trackin"=2}'), "'trackin'"),
        (("sft", "tiny_sft", "--dry-run", "--set", 'data.files=["broken.jsonl"]'), "broken.jsonl, row 1"),
        (("sft", "tiny_sft", "--dry-run", "--config", "nosuch.json"), "nosuch.json"),
        (("sft", "tiny_sft", "--processes", "0", "--output", "run"), "--processes must be at least 1"),
        (
            ("sft", "tiny_sft", "--processes", "8", *TRAIN, "batch_size=4"),
            "a batch of 4 is smaller than the 8 processes",
        ),
        (("sft", "tiny_sft", "--processes", "2", "--accelerate-config", "fsdp3", "--output", "run"), "fsdp3"),
        (("sft", "tiny_sft", "--output", "words.txt/run"), "words.txt is a file"),
        (("sft", "tiny_sft", "--output", "other_run"), "a run with other settings"),
        (("sft", "tiny_sft", *TRAIN, 'log.trackers=["wandb"]'), "pip install 'onethinker[wandb]'"),
        (("sft", "tiny_sft", *TRAIN, "lora.four_bit=true"), "four_bit"),
        (("evaluate",), "--output"),
        (("evaluate", "--model", "nosuch", "--output", "scores", "--synthetic", "3"), "nosuch: no such folder"),
        (("evaluate", "--model", "untrained", "--output", "scores", "--data", "nosuch.jsonl"), "nosuch.jsonl"),
        (("evaluate", "--model", "untrained", "--output", "scores", "--data", "broken.jsonl"), "broken.jsonl, row 1"),
        (("evaluate", "--model", "untrained", "--output", "scores", "--benchmark", "nosuch"), "nosuch"),
        (
            ("evaluate", "--model", "untrained", "--output", "words.txt/scores", "--synthetic", "3"),
            "words.txt is a file",
        ),
        (
            (
                "evaluate",
                "--model",
                "untrained",
                "--output",
                "scores",
                "--synthetic",
                "3",
                "--prompt-template",
                "wording.toml",
            ),
            "qestion",
        ),
        (
            ("evaluate", "--model", "untrained", "--output", "scores", "--synthetic", "3", "--settings", "empty"),
            "onethinker.json",
        ),
        (
            ("evaluate", "--model", "untrained", "--output", "scores", "--synthetic", "3", "--max-new-tokens", "0"),
            "max_new_tokens",
        ),
        (
            ("evaluate", "--model", "untrained", "--output", "scores", "--synthetic", "12", "--segmenter", "nosuch"),
            "nosuch: no such folder",
        ),
        (("ask", "nosuch.png", "What?", "--model", "untrained"), "nosuch.png: there is no such file"),
        (("ask", "words.txt", "What?", "--model", "untrained"), "words.txt: cannot be read"),
        (("ask", "picture.png", "What?", "--model", "nosuch"), "nosuch: no such folder"),
        (("ask", "picture.png", "What?", "--model", "untrained", "--task", "gess"), "gess"),
        (("ask", "picture.png", "What?", "--model", "untrained", "--box", "600", "0", "500", "9"), "box must be"),
        (
            ("ask", "picture.png", "What?", "--model", "untrained", "--draw", "out.mp4"),
            "out.mp4: a picture can be written as",
        ),
        (("ask", "picture.png", "What?", "--model", "untrained", "--draw", "nosuch/out.png"), "nosuch"),
        (("ask", "picture.png", "What?", "--model", "untrained", "--prompt-template", "wording.toml"), "qestion"),
        (("ask", "picture.png", "What?", "--model", "untrained", "--settings", "empty"), "onethinker.json"),
        (("ask", "picture.png", "What?", "--model", "untrained", "--temperature", "-1"), "temperature"),
        (("ask", "picture.png", "What?", "--model", "untrained", "--temperature", "nan"), "temperature"),
        (("ask", "missing.png", "What?", "--model", "untrained", "--seed", "-1"), "seed must be 0 or more, got -1"),
        (("segment", "missing.png", "the dog", "--model", "untrained", "--seed", "-1"), "seed must be 0 or more"),
        ((*TINY_EVALUATION, "--synthetic", "3", "--seed", "-1"), "seed must be 0 or more"),
        ((*TINY_EVALUATION, "--synthetic", "3", "--synthetic-seed", "-1"), "--synthetic-seed must be 0 or more"),
        ((*TINY_EVALUATION, "--synthetic", "3", "--temperature", "inf"), "temperature must be 0 or more and finite"),
        (("ask", "picture.png", "What?", "--model", "untrained", "--top-p", "0"), "top_p"),
        (("segment", "nosuch.png", "--box", "1", "2", "30", "40"), "nosuch.png: there is no such file"),
        (("segment", "picture.png", "--box", "30", "2", "1", "40"), "box must be"),
        (("segment", "picture.png", "--box", "1", "2", "30", "40", "--draw", "cut.mp4"), "cut.mp4"),
        (("segment", "picture.png", "--box", "1", "2", "30", "40", "--segmenter", "empty"), "no config.json"),
        (("segment", "picture.png", "it", "--model", "nosuch"), "nosuch: no such folder"),
        (("segment", "picture.png", "--box", "1", "2", "30", "40", "--time", "3"), "--time"),
        (("inspect", "nosuch.mp4"), "nosuch.mp4: there is no such file"),
        (("inspect", "picture.png", "--sheet", "nosuch/sheet.png"), "nosuch"),
        (("grade", "--input", "nosuch.jsonl", "--output", "graded.jsonl"), "nosuch.jsonl"),
        (("grade", "--input", "good.jsonl", "--output", "words.txt/graded.jsonl"), "words.txt is a file"),
        (("report", "empty"), "empty: not a run"),
        (("export", "empty", "--output", "exported"), "empty: expected the folder"),
        (("export", "no_weights", "--output", "exported"), "no weights"),
        (("export", "no_weights", "--output", "empty"), "exists already"),
        (("watch", "empty"), "recipe.json"),
        (("data", "synthetic", "--output", "words.txt/scenes"), "words.txt is a file"),
        (("data", "synthetic", "--output", "scenes", "--num-samples", "0"), "at least 1"),
        (("quickstart", "--from-nothing", "--set-sft", "stepz=3"), "stepz"),
        (("quickstart", "--set-sft", "steps=3"), "--from-nothing"),
        (("quickstart", "--processes", "0"), "--processes"),
        (("quickstart", "--output", "words.txt/out"), "words.txt"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_what_is_wrong_is_said_at_once(place, words, named):
    before = sorted(place.iterdir())
    assert named in said_at_once(place, *words)
    assert sorted(place.iterdir()) == before


def test_a_folder_that_another_process_trains_into_is_refused_at_once(place):
    folder = place / "held"
    folder.mkdir()
    with (folder / "lock").open("w") as file:
        file.write("4711\n")
        file.flush()
        fcntl.lockf(file, fcntl.LOCK_EX)
        assert "process 4711 is already training in this folder" in said_at_once(
            place, "sft", "tiny_sft", "--output", "held"
        )
