"""The command line: quick, and clear about what it wants, what went wrong and whose fault it was."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from functools import cache, partial
from importlib import import_module
from inspect import signature
from itertools import pairwise
from pathlib import Path

import pytest

from onethinker.commands.dispatch import EXAMPLES, module_of, read_docstring

ONETHINKER = [sys.executable, "-m", "onethinker"]


def onethinker(*arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*ONETHINKER, *arguments], capture_output=True, text=True, cwd=cwd, check=False, timeout=300)


@cache
def help_of(name: str) -> str:
    """What `--help` of a command shows on a screen of 80 columns; "" is the list of commands."""
    words = [*ONETHINKER, *name.split(), "--help"]
    environment = {**os.environ, "COLUMNS": "80"}
    return subprocess.run(words, capture_output=True, text=True, env=environment, check=True, timeout=300).stdout


HEAVY = ("torch", "transformers", "scipy", "cv2", "supervision", "av", "matplotlib", "accelerate", "peft")
"""What takes longer to import than all else together; without it help stays under half a second on an idle machine of
today.
"""


def imported_for(*arguments: str) -> set[str]:
    """The modules that a command line has imported when it leaves with 0."""
    code = (
        "import sys\nfrom onethinker.cli import main\n"
        "try:\n    main(sys.argv[1:])\nexcept SystemExit as left:\n    assert not left.code, left.code\n"
        "print('\\n', *sys.modules)"
    )
    run = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True, timeout=300
    )
    return set(run.stdout.splitlines()[-1].split())


def test_the_list_of_commands_imports_no_command_and_nothing_that_takes_time() -> None:
    found = imported_for("--help")
    assert found & {*HEAVY, "numpy", "pydantic", "tyro", "rich"} == set()
    assert found & {f"onethinker.commands.{name}" for name in EXAMPLES} == set()


@pytest.mark.parametrize("name", EXAMPLES)
def test_help_of_a_command_imports_nothing_heavy(name: str) -> None:
    assert imported_for(name, "--help") & set(HEAVY) == set()


def test_help_names_every_command_with_a_sentence() -> None:
    shown = " ".join(help_of("").split())
    for name in EXAMPLES:
        summary = read_docstring(name).splitlines()[0]
        assert summary.endswith(".")
        assert f"{name} " in shown
        assert summary in shown


@pytest.mark.parametrize("name", EXAMPLES)
def test_help_of_a_command_shows_its_sentence_its_options_and_a_line_to_copy(name: str) -> None:
    shown = " ".join(help_of(name).split())
    assert " ".join(read_docstring(name).split("\nArgs:")[0].split()) in shown
    assert f"Example: {EXAMPLES[name]}" in shown
    assert "--help" in shown


@pytest.mark.parametrize("name", EXAMPLES)
def test_every_option_of_a_command_is_described_in_a_sentence(name: str) -> None:
    boxes = help_of(name).partition("╭─")[2]
    for option in re.findall(r"(?<=│ )[-A-Z]\S+.*?(?=\n│ [-A-Z─]|\n╰)", boxes, re.DOTALL):
        sentence = re.sub(r"\((default|required).*?\)", "", option.replace("│", " "), flags=re.DOTALL)
        assert re.search(r"[a-z]\S*\s.*[.;:]|show this help", sentence, re.DOTALL), option


@pytest.mark.parametrize("name", [name for name in EXAMPLES if name.startswith("data ")])
def test_every_command_about_data_can_speak_to_programs(name):
    command = getattr(import_module(f"onethinker.commands.{module_of(name)}"), module_of(name))
    assert signature(command).parameters["json"].default is False


@pytest.mark.parametrize("name", ["", *EXAMPLES])
def test_no_line_of_help_is_longer_than_the_screen_is_wide(name: str) -> None:
    assert [line for line in help_of(name).splitlines() if len(line) > 80 and not line.startswith("usage: ")] == []


@pytest.mark.parametrize("name", EXAMPLES)
def test_no_line_of_an_options_help_ends_before_the_screen_does(name: str) -> None:
    lines = [line for line in help_of(name).splitlines() if line.startswith("│ ")]
    for line, following in pairwise(lines):
        if line.startswith("│    ") and following.startswith("│    "):
            assert len(line.rstrip(" │")) + 1 + len(following.strip("│ ").split()[0]) > 78, line


def test_a_command_that_does_not_exist_is_wrong_usage_and_the_nearest_one_is_named() -> None:
    wrong = onethinker("evalute")
    assert wrong.returncode == 2
    assert wrong.stdout == ""
    assert "did you mean 'evaluate'?" in wrong.stderr


@pytest.mark.parametrize(
    "arguments", [(), ("segment",), ("inspect", "clip.mp4", "--jsn"), ("inspect", "clip.mp4", "--budget.fps", "fast")]
)
def test_wrong_usage_leaves_with_two_and_speaks_on_stderr(arguments: tuple[str, ...]) -> None:
    wrong = onethinker(*arguments)
    assert wrong.returncode == 2
    assert wrong.stdout == ""
    assert wrong.stderr.startswith(("usage: onethinker", "error: ")) or "onethinker" in wrong.stderr


def test_an_error_of_ours_leaves_with_one_and_names_the_file_without_a_traceback(tmp_path: Path) -> None:
    wrong = onethinker("inspect", "missing.mp4", cwd=tmp_path)
    assert wrong.returncode == 1
    assert wrong.stdout == ""
    assert wrong.stderr.startswith("error: ")
    assert "missing.mp4" in wrong.stderr
    assert "Traceback" not in wrong.stderr


def test_the_version_is_that_of_the_installed_package() -> None:
    from importlib.metadata import version

    assert onethinker("--version").stdout.strip() == version("onethinker")


@pytest.mark.parametrize("words", ["--help", "models", "tasks"])
def test_a_reader_that_leaves_early_is_no_error_to_speak_of(words: str) -> None:
    read_end, write_end = os.pipe()
    os.close(read_end)
    finished = subprocess.run([*ONETHINKER, words], stdout=write_end, stderr=subprocess.PIPE, check=False)
    os.close(write_end)
    assert finished.returncode == 141
    assert finished.stderr == b""


@pytest.mark.timeout(60)
def test_ctrl_c_leaves_with_130_without_a_traceback_and_nothing_half_written(tmp_path: Path) -> None:
    command = [*ONETHINKER, "data", "synthetic", "--output", str(tmp_path / "scenes"), "--num-samples", "1000000"]
    # A background shell, such as CI's, has its children ignore Ctrl-C; a terminal's do not.
    listen = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=listen
    ) as running:
        while running.poll() is None and not any(tmp_path.rglob("*.png")):
            time.sleep(0.05)
        running.send_signal(signal.SIGINT)
        said = running.communicate(timeout=60)[1]
    assert running.returncode == 130
    assert "error: interrupted" in said
    assert "Traceback" not in said
    assert list(tmp_path.iterdir()) == []


def test_doctor_finds_nothing_wrong_here_and_says_so_in_json() -> None:
    found = onethinker("doctor", "--json")
    report = json.loads(found.stdout)
    assert [check for check in report["checks"] if not check["ok"]] == []
    assert report["ok"] is True
    said = {check["name"]: check["detail"] for check in report["checks"]}
    assert re.search(
        r"\d+ cores, \S+.*; float32 [\d.]+ GFLOP/s a core, bfloat16 [\d.e+]+ \((native|emulated)", said["processor"]
    )
    assert re.search(r"^about .+ without a GPU; [\d.]+ s a step of tiny_sight", said["quickstart"])
    assert "upload_bytes 512 MiB" in said["serve"]
    assert found.returncode == 0


def test_doctor_names_a_check_that_fails() -> None:
    from onethinker.commands.doctor import run_check

    check = run_check("decoder", lambda: str(1 // 0))
    assert not check.ok
    assert check.detail == "ZeroDivisionError: integer division or modulo by zero"
