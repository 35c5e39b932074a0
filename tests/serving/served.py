"""Servers for tests: the real program on a port of its own, around any engine."""

import base64
import io
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import numpy as np
import uvicorn
from PIL import Image

from onethinker.core.request import Request, SamplingParams
from onethinker.inference.engine import Completion, Engine
from onethinker.inference.scripted import ScriptedEngine, example_answer
from onethinker.inference.thinker import Thinker
from onethinker.media.budget import MediaBudget
from onethinker.media.writing import write_video
from onethinker.serving.answering import Answering
from onethinker.serving.app import make_app
from onethinker.serving.guards import Access
from onethinker.serving.limits import Limits
from onethinker.serving.uploads import Sources
from onethinker.serving.web import bind
from onethinker.tasks.template import PromptTemplate


@dataclass
class Served:
    """A server that runs, and what it is made of."""

    address: str
    answering: Answering
    folder: Path

    def client(self, **settings) -> httpx.Client:
        return httpx.Client(base_url=self.address, timeout=60, trust_env=False, **settings)

    def uploads(self) -> list[Path]:
        return list(self.folder.iterdir())


@contextmanager
def serving(
    engine: Engine,
    folder: Path,
    *,
    second: Engine | None = None,
    sampling: SamplingParams | None = None,
    access: Access | None = None,
    limits: Limits | None = None,
    **sources,
) -> Iterator[Served]:
    limits = limits or Limits()
    folder.mkdir(exist_ok=True)
    answering = Answering(Thinker(engine, sampling or SamplingParams()), folder, segmenter="grabcut", limits=limits)
    listening = bind("127.0.0.1", 0)
    beside = () if second is None else (answering.beside(Thinker(second)),)
    app = make_app([answering, *beside], Sources(limits=limits, **sources), access or Access())
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    while not server.started:
        time.sleep(0.01)
    try:
        yield Served(f"http://127.0.0.1:{listening.getsockname()[1]}", answering, folder)
    finally:
        server.should_exit = True
        thread.join()
        engine.close()


def scripted(answer=example_answer) -> ScriptedEngine:
    return ScriptedEngine(answer, PromptTemplate(), MediaBudget(), max_in_flight=4)


@dataclass(frozen=True)
class Patient(Engine):
    """Says a text piece by piece, and its end only when it may; notes who gave up."""

    pieces: tuple[str, ...] = ("<think>Two", " balls.</think>", "<answer>2</answer>")
    may: threading.Event = field(default_factory=threading.Event)
    began: threading.Event = field(default_factory=threading.Event)
    gave_up: threading.Event = field(default_factory=threading.Event)
    prompt_template: PromptTemplate = field(default_factory=PromptTemplate)
    budget: MediaBudget = field(default_factory=MediaBudget)
    name: str = "patient"
    max_in_flight: int = 1

    def submit(self, request: Request, params: SamplingParams) -> Future[Completion]:
        future: Future[Completion] = Future()
        future.set_running_or_notify_cancel()
        self.began.set()
        threading.Thread(target=self._say, args=(request, future)).start()
        return future

    def _say(self, request: Request, future: Future[Completion]) -> None:
        for piece in self.pieces[:-1]:
            request.on_text(piece)
        while not self.may.wait(0.02):
            if request.is_unwanted():
                self.gave_up.set()
                break
        request.on_text(self.pieces[-1])
        future.set_result(Completion("".join(self.pieces), 7, 3, "stop", 0.1))


def png(side: int = 64) -> bytes:
    pixels = np.full((side, side, 3), 240, np.uint8)
    pixels[side // 4 : side // 2, side // 4 : side // 2] = 200, 30, 30
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def mp4(folder: Path) -> bytes:
    frames = np.full((8, 64, 64, 3), 90, np.uint8)
    write_video(folder / "made.mp4", frames, fps=4)
    return (folder / "made.mp4").read_bytes()


def data_url(content: bytes, kind: str = "image/png") -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def events(text: str) -> list[tuple[str, str]]:
    """The name and data of each event of a stream."""
    blocks = [block for block in text.split("\n\n") if block.startswith("event: ")]
    return [tuple(line.partition(": ")[2] for line in block.split("\n")) for block in blocks]
