"""What a converter of another library is asked for, and how its program is run by the Python that has the library."""

import shutil
import subprocess
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from onethinker.core.errors import ConfigError, EngineError
from onethinker.core.request import Request, SamplingParams
from onethinker.processes import keeper

if TYPE_CHECKING:
    from onethinker.inference.local import LocalEngine

Say = Callable[[str], None]
SAY_EVERY_S = 15.0


class Converter(ABC):
    """A library that has models in a form of its own, and a converter of folders of transformers."""

    kinds: ClassVar[tuple[Literal["image", "video"], ...]]
    """What a converted model can be asked about."""

    @abstractmethod
    def check(self) -> None:
        """Do nothing where the programs that are needed are there. Raises: ConfigError: one is not."""

    @abstractmethod
    def convert(self, original: Path, made: Path, say: Say) -> None:
        """Convert a folder of transformers into files in `made`.

        Raises: EngineError: the converter does not know the family, or fails.
        """

    @abstractmethod
    def answers(
        self, made: Path, engine: "LocalEngine", requests: Sequence[Request], params: SamplingParams, say: Say
    ) -> list[str]:
        """Return the answers of the converted model; `engine` is the original. Raises: EngineError."""


def run_program(python: str, name: str, arguments: Sequence[object], *, say: Say, what: str) -> list[str]:
    """Return the lines that one of the programs beside this file has reported, run by another Python.

    A program gets the path of its report as first argument. It imports nothing of ours: the other environment need not
    have it.

    Raises: EngineError: it failed; the text has the end of what it said.
    """
    program = Path(__file__).with_name(name).read_text("utf-8")
    with tempfile.TemporaryDirectory() as place:
        report, log = Path(place) / "report", Path(place) / "log"
        # By its text and from an empty folder: no module beside it can hide one of the library.
        command = [whole_path(python) or python, "-c", program, str(report), *map(str, arguments)]
        process = keeper.start(command, log, folder=place)
        try:
            wait_for(process, say, what)
        finally:
            process.terminate()
            with suppress(subprocess.TimeoutExpired):
                process.wait(2 * keeper.END_SECONDS)
        if process.returncode or not report.is_file():
            raise EngineError(
                f"{what} exited with code {process.returncode}; its output ends with\n{keeper.last_words(log)}"
            )
        return report.read_text("utf-8").splitlines()


def whole_path(program: str) -> str | None:
    """Return the path by which a program is found from every folder; None where there is none."""
    found = shutil.which(program)
    return None if found is None else str(Path(found).absolute())


def wait_for(process: subprocess.Popen[bytes], say: Say, what: str) -> None:
    """Return when a process has ended, and say now and then how long that takes."""
    began_s = time.monotonic()
    say(what)
    while True:
        with suppress(subprocess.TimeoutExpired):
            process.wait(SAY_EVERY_S)
            return
        say(f"{what}: {time.monotonic() - began_s:.0f} s")


def refuse_unknown(report: Sequence[str], *, converter: str) -> None:
    """Do nothing where a converter has reported that it is done.

    Raises: EngineError: it does not know the family, or the tokenizer, of the model.
    """
    if report[0] == "unknown":
        raise EngineError(f"{converter} does not support {report[1]}")


def check_python(python: str, modules: Sequence[str], *, setup: str = "", hint: str) -> None:
    """Do nothing where a Python has these modules. Raises: ConfigError: it does not run, or lacks one."""
    code = f"{setup}\nimport importlib.util as u\nprint(*[m for m in {list(modules)!r} if u.find_spec(m) is None])"
    command = [whole_path(python) or python, "-c", code]
    with tempfile.TemporaryDirectory() as place:  # as `run_program` does: modules of the current folder do not count
        try:
            done = subprocess.run(command, cwd=place, capture_output=True, text=True, timeout=120, check=True)
        except (OSError, subprocess.SubprocessError) as error:
            raise ConfigError(f"--python {python}: this Python cannot be run: {error}") from error
    if missing := done.stdout.split():
        raise ConfigError(f"--python {python}: {missing[0]} is not installed there: {hint}")
