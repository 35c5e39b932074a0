"""What is wrong with a command line is said before torch is imported, which takes seconds."""

import fcntl
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from PIL import Image

from onethinker.cli import main
from onethinker.data.validate import SHORT_BYTES

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
RECORD = {
    "problem": "<image>Which?",
    "answer": "<answer>A</answer>",
    "response": "<think>x</think><answer>A</answer>",
    "options": ["A. red", "B. blue"],
    "images": ["picture.png"],
    "problem_type": "multiple choice",
    "data_type": "image",
}


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """A folder with a picture, data good and bad, models that are none, and runs of other recipes."""
    place = tmp_path_factory.mktemp("place")
    Image.new("RGB", (64, 64), (200, 30, 30)).save(place / "picture.png")
    (place / "words.txt").write_text("no picture")
    lines = {
        "good": [RECORD],
        "no_truth": [RECORD, {**RECORD, "answer": ""}],
        "no_response": [{name: value for name, value in RECORD.items() if name != "response"}],
        "no_media": [{**RECORD, "images": ["nosuch.png"]}],
        "misspelt": [{**RECORD, "problem_type": "spacial grounding"}],
        # Far longer than what is read whole: the first and the last are looked at.
        "long": (
            [{**RECORD, "padding": "x" * 1000}] * (2 * SHORT_BYTES // 1000)
            + [{**RECORD, "problem_type": "reading tea leaves"}]
        ),
    }
    for name, records in lines.items():
        (place / f"{name}.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    (place / "broken.jsonl").write_text('{"problem": ')
    for name, files in {
        "empty": {},
        "no_weights": {"config.json": "{}"},
        "no_shard": {
            "config.json": "{}",
            "model.safetensors.index.json": json.dumps({"weight_map": {"a": "model-00001-of-00002.safetensors"}}),
        },
        "no_base": {"adapter_config.json": json.dumps({"base_model_name_or_path": "/nosuch/base"})},
        "bad_settings": {"onethinker.json": '{"wordng": {}}', "config.json": "{}"},
    }.items():
        (place / name).mkdir()
        for file, text in files.items():
            (place / name / file).write_text(text)
    other = place / "other_run"
    (other / "checkpoints" / "step-00000002").mkdir(parents=True)
    (other / "recipe.json").write_text(json.dumps({"steps": 5}))
    (place / "wording.toml").write_text('template = "{qestion}"')
    (place / "wrong_task.toml").write_text('[instructions]\n"trackin" = "Follow it."')
    (place / "wrong_key.toml").write_text('tempalte = "{question}"')
    (place / "wrong_evaluation.toml").write_text("[asking]\nmax_new_token = 5")
    return place


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


TINY_EVALUATION = ("evaluate", "--model", "tiny", "--output", "scores")
TRAIN = ("--output", "run", "--set")


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (("sft", "nosuch"), "no recipe 'nosuch'. There are: rl_2b_lora_24gb"),
        (("sft", "tiny_sft"), "--output FOLDER is needed"),
        (("sft", "tiny_sft", *TRAIN, "stepz=3"), "stepz"),
        (("rl", "tiny_rl", *TRAIN, "rollout.group_size=1"), "rollout.group_size"),
        (("sft", "tiny_sft", *TRAIN, "steps"), "name=value"),
        (("sft", "tiny_sft", *TRAIN, "model=nosuch"), "nosuch: no such folder"),
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
        (("rl", "tiny_rl", *TRAIN, "model=tiny", 'data.files=["no_truth.jsonl"]'), "no_truth.jsonl, row 2"),
        (("sft", "tiny_sft", *TRAIN, 'data.problem_types=["trackin"]'), "'trackin'"),
        (("sft", "tiny_sft", *TRAIN, 'data.weights={"trackin"=2}'), "'trackin'"),
        (("sft", "tiny_sft", "--dry-run", "--set", 'data.files=["broken.jsonl"]'), "broken.jsonl, row 1"),
        (("sft", "tiny_sft", "--dry-run", "--config", "nosuch.json"), "nosuch.json"),
        (("sft", "tiny_sft", "--processes", "0", "--output", "run"), "--processes must be at least 1"),
        (("sft", "tiny_sft", "--processes", "8", *TRAIN, "batch_size=4"), "a batch of 4 cannot be shared by 8"),
        (("sft", "tiny_sft", "--processes", "2", "--accelerate-config", "fsdp3", "--output", "run"), "fsdp3"),
        (("sft", "tiny_sft", "--output", "words.txt/run"), "words.txt is a file"),
        (("sft", "tiny_sft", "--output", "other_run"), "a run of another recipe"),
        (("sft", "tiny_sft", *TRAIN, 'log.trackers=["wandb"]'), "pip install 'onethinker[wandb]'"),
        (("sft", "tiny_sft", *TRAIN, "lora.four_bit=true"), "four_bit"),
        (("evaluate",), "--model"),
        (("evaluate", "--model", "nosuch", "--output", "scores", "--synthetic", "3"), "nosuch: no such folder"),
        (("evaluate", "--model", "tiny", "--output", "scores", "--data", "nosuch.jsonl"), "nosuch.jsonl"),
        (("evaluate", "--model", "tiny", "--output", "scores", "--data", "broken.jsonl"), "broken.jsonl, row 1"),
        (("evaluate", "--model", "tiny", "--output", "scores", "--benchmark", "nosuch"), "nosuch"),
        (("evaluate", "--model", "tiny", "--output", "words.txt/scores", "--synthetic", "3"), "words.txt is a file"),
        (
            (
                "evaluate",
                "--model",
                "tiny",
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
            ("evaluate", "--model", "tiny", "--output", "scores", "--synthetic", "3", "--settings", "empty"),
            "onethinker.json",
        ),
        (
            ("evaluate", "--model", "tiny", "--output", "scores", "--synthetic", "3", "--max-new-tokens", "0"),
            "max_new_tokens",
        ),
        (
            ("evaluate", "--model", "tiny", "--output", "scores", "--synthetic", "12", "--segmenter", "nosuch"),
            "nosuch: no such folder",
        ),
        (("ask", "nosuch.png", "What?", "--model", "tiny"), "nosuch.png: there is no such file"),
        (("ask", "words.txt", "What?", "--model", "tiny"), "words.txt: cannot be read"),
        (("ask", "picture.png", "What?", "--model", "nosuch"), "nosuch: no such folder"),
        (("ask", "picture.png", "What?", "--model", "tiny", "--task", "gess"), "gess"),
        (("ask", "picture.png", "What?", "--model", "tiny", "--box", "600", "0", "500", "9"), "box must be"),
        (("ask", "picture.png", "What?", "--model", "tiny", "--draw", "out.mp4"), "out.mp4: a picture is written as"),
        (("ask", "picture.png", "What?", "--model", "tiny", "--draw", "nosuch/out.png"), "nosuch"),
        (("ask", "picture.png", "What?", "--model", "tiny", "--prompt-template", "wording.toml"), "qestion"),
        (("ask", "picture.png", "What?", "--model", "tiny", "--settings", "empty"), "onethinker.json"),
        (("ask", "picture.png", "What?", "--model", "tiny", "--temperature", "-1"), "temperature"),
        (("ask", "picture.png", "What?", "--model", "tiny", "--temperature", "nan"), "temperature"),
        (("ask", "missing.png", "What?", "--model", "tiny", "--seed", "-1"), "seed must be 0 or more, got -1"),
        (("segment", "missing.png", "the dog", "--model", "tiny", "--seed", "-1"), "seed must be 0 or more"),
        ((*TINY_EVALUATION, "--synthetic", "3", "--seed", "-1"), "seed must be 0 or more"),
        ((*TINY_EVALUATION, "--synthetic", "3", "--synthetic-seed", "-1"), "--synthetic-seed must be 0 or more"),
        ((*TINY_EVALUATION, "--synthetic", "3", "--temperature", "inf"), "temperature must be 0 or more and finite"),
        (("ask", "picture.png", "What?", "--model", "tiny", "--top-p", "0"), "top_p"),
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
        (("report", "empty"), "empty: expected a run"),
        (("export", "empty", "--output", "exported"), "empty: expected the folder"),
        (("export", "no_weights", "--output", "exported"), "no weights"),
        (("export", "no_weights", "--output", "empty"), "exists already"),
        (("watch", "empty"), "recipe.json"),
        (("data", "synthetic", "--output", "words.txt/scenes"), "words.txt is a file"),
        (("data", "synthetic", "--output", "scenes", "--num-samples", "0"), "at least 1"),
        (("quickstart", "--set-sft", "stepz=3"), "stepz"),
        (("quickstart", "--processes", "0"), "--processes"),
        (("quickstart", "--output", "words.txt/out"), "words.txt"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_what_is_wrong_is_said_at_once(place, words, named):
    before = sorted(place.iterdir())
    assert named in said_at_once(place, *words)
    assert sorted(place.iterdir()) == before


CUT = ("segment", "picture.png", "--box", "1", "2", "30", "40")
ASK = ("ask", "picture.png", "What?", "--model", "tiny")
MANY = ("ask", "picture.png", "picture.png", "What?", "--model", "tiny", "--each")
GRADE = ("grade", "--input", "good.jsonl")
TARGETS: dict[str, tuple[tuple[str, ...], str, str]] = {
    "segment --draw": (CUT, "drawn.png", "file"),
    "segment --masks, a file": (CUT, "masks.json", "file"),
    "segment --masks, a folder": (CUT, "masks", "folder"),
    "ask --draw": (ASK, "drawn.png", "file"),
    "ask --draw, of many": (MANY, "drawn", "folder"),
    "inspect --sheet": (("inspect", "picture.png"), "sheet.png", "file"),
    "quickstart --output": (("quickstart",), "all", "folder"),
    "sft --output": (("sft", "tiny_sft"), "run", "folder"),
    "rl --output": (("rl", "tiny_rl", "--set", "model=tiny"), "run", "folder"),
    "evaluate --output": (("evaluate", "--model", "tiny", "--synthetic", "3"), "scores", "folder"),
    "export --output": (("export", "no_weights"), "exported", "folder"),
    "grade --output": (GRADE, "graded.jsonl", "file"),
    "report --output": (("report", "empty"), "page.html", "file"),
    "report --export": (("report", "empty"), "tables", "folder"),
    "data synthetic --output": (("data", "synthetic", "--num-samples", "3"), "scenes", "folder"),
    "data check --fix": (("data", "check", "good.jsonl"), "fixed.jsonl", "file"),
}
"""Where commands write: by the flag, the rest of a command line, a name that fits, and what is written there."""
LOCKED = "where nothing may be changed"
FAULTS = {
    "inside a file": "words.txt/{name}",
    "of the other kind": "there/{name}",
    LOCKED: "locked/{name}",
}
SUFFIXES = {
    "segment --draw": "drawn.gif",
    "segment --masks, a file": "masks.mp4",
    "ask --draw": "drawn.gif",
    "ask --draw, of many": "drawn.png",
    "inspect --sheet": "sheet.bmp",
    "grade --output": "graded.csv",
    "report --output": "page.pdf",
}


def target_line(case: str, value: str) -> tuple[str, ...]:
    """Return a command line that writes there."""
    return (*TARGETS[case][0], flag_of(case), value)


def flag_of(case: str) -> str:
    return next(word.rstrip(",") for word in case.split() if word.startswith("--"))


@pytest.fixture(scope="module")
def said_of_targets(place) -> dict[tuple[str, ...], list]:
    """What each command says of a place that it cannot write to."""
    folder = place / "targets"
    (folder / "there").mkdir(parents=True)
    (folder / "locked").mkdir(mode=0o500)
    for name in ("picture.png", "words.txt", "good.jsonl", "empty", "no_weights"):
        (folder / name).symlink_to(place / name)
    for _, name, kind in TARGETS.values():
        other = folder / "there" / name
        other.touch() if kind == "folder" else other.mkdir(exist_ok=True)
    rows = [
        target_line(case, FAULTS[fault].format(name=TARGETS[case][1]))
        for case in TARGETS
        for fault in FAULTS
        if fault != LOCKED or os.getuid()
    ]
    return told(folder, [*rows, *(target_line(case, name) for case, name in SUFFIXES.items())])


def check_told(said: list, case: str, value: str) -> None:
    code, text, heavy = said
    assert (code, heavy) == (1, []), text
    assert f"{flag_of(case)} {value}: " in text


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("case", TARGETS)
def test_a_place_that_cannot_be_written_is_named_at_once_with_its_flag(said_of_targets, case, fault):
    if fault == LOCKED and not os.getuid():
        pytest.skip("root may change everything")
    value = FAULTS[fault].format(name=TARGETS[case][1])
    check_told(said_of_targets[target_line(case, value)], case, value)


@pytest.mark.parametrize("case", SUFFIXES)
def test_a_suffix_that_is_not_written_is_named_at_once_with_its_flag(said_of_targets, case):
    check_told(said_of_targets[target_line(case, SUFFIXES[case])], case, SUFFIXES[case])


MISSPELT = [
    (("ask", "picture.png", "?", "--model", "tiny", "--task", "spacial grounding"), "'spatial grounding'"),
    (("ask", "picture.png", "?", "--model", "tiny", "--task", "spatial_grounding"), "'spatial grounding'"),
    (("ask", "picture.png", "?", "--model", "tiny", "--task", "grounding"), "'spatial grounding'? There are"),
    (("ask", "picture.png", "?", "--model", "tiny", "--task", "detection"), "'spatial grounding'"),
    (("ask", "picture.png", "?", "--model", "tiny", "--task", "VQA"), "'multiple choice' or 'open-ended'"),
    (("ask", "picture.png", "?", "--model", "tiny", "--task", "segmentatoin"), "'segmentation'"),
    (("ask", "picture.png", "?", "--model", "tinny"), "'tiny'"),
    (("ask", "pictur.png", "?", "--model", "tiny"), "'picture.png'"),
    (("ask", "picture.png", "?", "--model", "tiny", "--prompt-template", "wrong_key.toml"), "'template'"),
    (("ask", "picture.png", "?", "--model", "tiny", "--prompt-template", "wrong_task.toml"), "'tracking'"),
    (("sft", "tiny_stf"), "'tiny_sft'"),
    (("sft", "tiny-sft.toml"), "'tiny_sft'"),
    (("rl", "rl8b"), "'rl_8b'"),
    (("sft", "tiny_sft", *TRAIN, "stepz=3"), "'steps'"),
    (("sft", "tiny_sft", *TRAIN, "learning_rate=1e-4"), "'optimizer.learning_rate'"),
    (("sft", "tiny_sft", *TRAIN, "lr=1e-4"), "'optimizer.learning_rate'"),
    (("sft", "tiny_sft", *TRAIN, "optimiser.learning_rate=1e-4"), "'optimizer'"),
    (("sft", "tiny_sft", *TRAIN, "optimizer.warmup_step=5"), "'optimizer.warmup_steps'"),
    (("sft", "tiny_sft", *TRAIN, "dtype=bfloat61"), "'bfloat16'"),
    (("sft", "tiny_sft", *TRAIN, "data.world=thingz"), "'things'"),
    (("sft", "tiny_sft", *TRAIN, 'log.trackers=["tensorbord"]'), "'tensorboard'"),
    (("sft", "tiny_sft", *TRAIN, 'data.problem_types=["trackin"]'), "'tracking'"),
    (("sft", "tiny_sft", *TRAIN, 'data.problem_types=["tracking/vidoe"]'), "'video'"),
    (("sft", "tiny_sft", *TRAIN, 'data.weights={"mcq"=2}'), "'multiple choice'"),
    (("sft", "tiny_sft", *TRAIN, 'data.files=["misspelt.jsonl"]'), "'spatial grounding'"),
    (("rl", "tiny_rl", *TRAIN, "group_size=4"), "'rollout.group_size'"),
    (("rl", "tiny_rl", *TRAIN, "kl=0.1"), "'loss.kl_coefficient'"),
    (("rl", "tiny_rl", *TRAIN, "advantage.algorithm=ema_grop"), "'ema_grpo'"),
    (("rl", "tiny_rl", *TRAIN, "rewards=papper"), "'paper'"),
    (("rl", "tiny_rl", *TRAIN, 'grading.reward_model={kind="juge"}'), "'judge'"),
    (("quickstart", "--set-rl", "stepz=3"), "'steps'"),
    (
        ("sft", "tiny_sft", "--processes", "2", "--accelerate-config", "deepspeed-zero2", "--output", "run"),
        "'deepspeed_zero2'",
    ),
    ((*TINY_EVALUATION, "--benchmark", "mathvsta"), "'mathvista'"),
    ((*TINY_EVALUATION, "--benchmark", "papr"), "'paper'"),
    ((*TINY_EVALUATION, "--synthetic", "12", "--segmenter", "grabcutt"), "'grabcut'"),
    ((*TINY_EVALUATION, "--synthetic", "12", "--segmenter", "sam2"), "'facebook/sam2.1-hiera-large'"),
    (("evaluate", "--config", "wrong_evaluation.toml"), "'asking.max_new_tokens'"),
    (("data", "synthetic", "--output", "scenes", "--world", "things", "--split", "val"), "'validation'"),
]
RUN_ALL = """
import io, json, sys
from contextlib import redirect_stderr
from onethinker.cli import main
for words in json.load(sys.stdin):
    with redirect_stderr(io.StringIO()) as said:
        try:
            main(words)
        except SystemExit as left:
            heavy = [name for name in ("torch", "transformers", "accelerate") if name in sys.modules]
            print(json.dumps([left.code, said.getvalue().replace("\\n", " "), heavy]))
"""


def told(place: Path, rows: Sequence[tuple[str, ...]]) -> dict[tuple[str, ...], list]:
    """Return the exit code of each command line, what it says, and the heavy modules imported; one process says all."""
    done = subprocess.run(
        [sys.executable, "-c", RUN_ALL], input=json.dumps(rows), capture_output=True, text=True, cwd=place, check=False
    )
    lines = [line for line in done.stdout.splitlines() if line.startswith("[")]
    assert len(lines) == len(rows), done.stderr
    return {words: json.loads(line) for words, line in zip(rows, lines, strict=True)}


@pytest.fixture(scope="module")
def said_of_misspelt(place) -> dict[tuple[str, ...], list]:
    """What each command line says, its exit code, and the heavy modules that it has imported; one process says all."""
    return told(place, [words for words, _ in MISSPELT])


@pytest.mark.parametrize(("words", "offered"), MISSPELT, ids=[" ".join(words) for words, _ in MISSPELT])
def test_the_nearest_right_name_is_offered_for_a_misspelt_one(said_of_misspelt, words, offered):
    code, said, heavy = said_of_misspelt[words]
    assert (code, heavy) == (1, [])
    assert f"did you mean {offered}" in said


WRONG_USAGE = [
    ("evalute", "no command 'evalute'; did you mean 'evaluate'?"),
    ("data synthtic --output x", "no command 'synthtic'; did you mean 'synthetic'?"),
    ("data synthetic --output x --world shapez", "no --world 'shapez'; did you mean 'shapes'?"),
    ("data synthetic --output x --num-sample 3", "no option '--num-sample'; did you mean '--num-samples'?"),
    ("ask picture.png ? --model tiny --temprature 3", "no option '--temprature'; did you mean '--temperature'?"),
    ("ask picture.png ? --model tiny --reading=lenint", "no --reading 'lenint'; did you mean 'lenient'?"),
    ("ask picture.png ? --modle tiny", "no option '--modle'; did you mean '--model'?"),
    ("segment picture.png --box 1 2 30 40 --segmentor x", "no option '--segmentor'; did you mean '--segmenter'?"),
    ("inspect picture.png --budget.max-frame 3", "did you mean '--budget.max-frames'?"),
    ("tasks --jsn", "no option '--jsn'; did you mean '--json'?"),
    ("grade --inptu a", "no option '--inptu'; did you mean '--input'?"),
    ("sft tiny_sft --outptu x", "no option '--outptu'; did you mean '--output'?"),
    ("rl tiny_rl --dry_rnu", "no option '--dry_rnu'; did you mean '--dry-run'?"),
    ("watch x --jsn", "no option '--jsn'"),
    ("evaluate --model tiny --synthtic 3", "no option '--synthtic'; did you mean '--synthetic'?"),
    ("evaluate --model tiny --synthetic 3 --mode gredy", "no --mode 'gredy'; did you mean 'greedy'?"),
    ("report x --outpt y", "no option '--outpt'; did you mean '--output'?"),
    ("export x --ouput y", "no option '--ouput'; did you mean '--output'?"),
    ("quickstart --procesess 2", "no option '--procesess'; did you mean '--processes'?"),
    ("doctor --jsn", "no option '--jsn'; did you mean '--json'?"),
]


@pytest.mark.parametrize(("line", "said"), WRONG_USAGE, ids=[line for line, _ in WRONG_USAGE])
def test_a_misspelt_word_of_the_command_line_is_wrong_usage_and_told_in_a_line(place, line, said, monkeypatch, capsys):
    monkeypatch.chdir(place)
    with pytest.raises(SystemExit) as left:
        main(line.split())
    told = capsys.readouterr().err.strip()
    assert left.value.code == 2
    assert said in told
    assert len(told.splitlines()) == 1


def test_what_else_does_not_fit_is_told_as_before(capsys):
    with pytest.raises(SystemExit) as left:
        main(["ask", "picture.png", "?"])
    assert left.value.code == 2
    assert "--model" in capsys.readouterr().err


def test_a_folder_that_another_process_trains_into_is_refused_at_once(place):
    folder = place / "held"
    folder.mkdir()
    with (folder / "lock").open("w") as file:
        file.write("4711\n")
        file.flush()
        fcntl.lockf(file, fcntl.LOCK_EX)
        assert "process 4711 is training into this folder" in said_at_once(place, "sft", "tiny_sft", "--output", "held")
