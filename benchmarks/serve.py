"""Requests a second and time to the first token through `onethinker serve`, beside the same model asked otherwise.

    python benchmarks/serve.py MODEL_DIR --clients 8 --requests 64
    python benchmarks/serve.py MODEL_DIR --peer transformers          # beside `transformers serve MODEL_DIR`
    python benchmarks/serve.py MODEL_DIR --behind http://127.0.0.1:8899/v1   # our door in front of vLLM
    python benchmarks/serve.py MODEL_DIR --behind … --behind-pid PID          # and what the process of vLLM takes

MODEL_DIR is a folder as training writes it, such as onethinker/families/weights, or, where no server is behind,
`untrained`, whose answers never end earlier than they must. Without --behind the model is also asked directly, by
`Thinker.ask_many` in a process of its own; with it the server behind is asked directly. Every server gets the same
requests of OpenAI's API: a picture of 448 pixels as PNG, the same words, greedy, streamed, --max-tokens at most.
Prints one JSON object; rounds alternate between the servers, and medians of them are given. Processor seconds a request
are those of the server and its children, and of the process behind and its children: what else runs on the machine
counts little there.
"""

import base64
import json
import os
import re
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import httpx
from measuring import parser_of

from onethinker.data.synthetic import make_sample
from onethinker.media.writing import save_clip

QUESTION = "How many circles are there?"
READY_S = 900
WITH_TEXT = re.compile(r'"(?:reasoning_)?content": ?"[^"]')
TICKS_S = os.sysconf("SC_CLK_TCK")
DIRECT = """
import sys, time
from onethinker import SamplingParams, Thinker
model, picture, requests, clients, tokens, question = sys.argv[1:]
with Thinker.load(model, batch_size=int(clients), sampling=SamplingParams(int(tokens))) as thinker:
    ask = lambda count: list(thinker.ask_many([(picture, question)] * count, task="numerical"))
    ask(int(clients))
    started, began = time.perf_counter(), time.process_time()
    ask(int(requests))
    print(int(requests) / (time.perf_counter() - started), (time.process_time() - began) / int(requests))
"""


def main() -> None:
    """Measure what the command line asks for."""
    parser = parser_of(__doc__)
    parser.add_argument("model")
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--requests", type=int, default=64)
    parser.add_argument("--max-tokens", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--peer", choices=("transformers",))
    parser.add_argument("--behind", help="address of a server that serves MODEL_DIR, such as http://127.0.0.1:8899/v1")
    parser.add_argument("--behind-pid", type=int, help="process of that server, on this machine")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        picture = Path(name) / "scene.png"
        save_clip(make_sample(0, 6, data_type="image", side_px=448).media[0], picture)
        model = saved_tiny(Path(name) / "tiny") if asked.model == "untrained" else asked.model
        print(json.dumps({**vars(asked), **measured(asked, model, picture)}, indent=2))


def measured(asked: Any, model: str, picture: Path) -> dict[str, Any]:
    """Return requests a second of each way, and the median seconds to the first token of those over HTTP."""
    commands = {"ours": [sys.executable, "-m", "onethinker", "serve", "--model", asked.behind or model, "--port"]}
    commands["ours"][4:4] = ["--settings", model] if asked.behind else []
    if asked.peer:
        commands["transformers"] = [str(Path(sys.executable).with_name("transformers")), "serve", model, "--port"]
    found: dict[str, list[Round]] = {}

    def note(name: str, measured: Round) -> None:
        print(name, measured, file=sys.stderr, flush=True)
        found.setdefault(name, []).append(measured)

    with ExitStack() as running:
        servers = {name: running.enter_context(server(command)) for name, command in commands.items()}
        for address, process in servers.values():
            wait_for(address, process)
        for _ in range(asked.rounds):
            for name, (address, process) in servers.items():
                note(name, asked_over_http(f"{address}/v1", asked, picture, process.pid))
            if asked.behind:
                note("behind", asked_over_http(asked.behind, asked, picture, None))
            else:
                note("direct", asked_directly(asked, model, picture))
    told = {
        name: {figure: median(getattr(each, figure) for each in rounds) for figure in Round._fields}
        for name, rounds in found.items()
    }
    ours = told["ours"]["requests_s"]
    return {**told, **{f"ours_to_{name}": ours / told[name]["requests_s"] for name in told if name != "ours"}}


class Round(NamedTuple):
    """What was measured once; None is what cannot be."""

    requests_s: float
    first_token_s: float | None
    processor_s: float | None
    """A request, of the server that was asked."""
    behind_s: float | None
    """A request, of the server behind."""


def median(values: Iterable[float | None]) -> float | None:
    """Return the median of what could be measured."""
    measured = [value for value in values if value is not None]
    return statistics.median(measured) if measured else None


def asked_directly(asked: Any, model: str, picture: Path) -> Round:
    """Return what the engine alone does."""
    words = [model, str(picture), str(asked.requests), str(asked.clients), str(asked.max_tokens), QUESTION]
    told = subprocess.run([sys.executable, "-c", DIRECT, *words], check=True, capture_output=True, text=True).stdout
    requests_s, processor_s = map(float, told.split())
    return Round(requests_s, None, processor_s, None)


def processor_s(pid: int) -> float:
    """Return the processor seconds of a process and those that it started."""
    parents = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            fields = stat.read_text().rpartition(")")[2].split()
            parents[int(stat.parent.name)] = int(fields[1]), (int(fields[11]) + int(fields[12])) / TICKS_S
    family = {pid}
    while more := {each for each, (parent, _) in parents.items() if parent in family} - family:
        family |= more
    return sum(parents[each][1] for each in family if each in parents)


def asked_over_http(address: str, asked: Any, picture: Path, pid: int | None) -> Round:
    """Return what a server does, after a round that is not counted."""
    url = f"data:image/png;base64,{base64.b64encode(picture.read_bytes()).decode()}"
    parts = [{"type": "image_url", "image_url": {"url": url}}, {"type": "text", "text": QUESTION}]
    body = {"messages": [{"role": "user", "content": parts}], "max_tokens": asked.max_tokens, "temperature": 0}
    with httpx.Client(timeout=600, trust_env=False) as client, ThreadPoolExecutor(asked.clients) as clients:
        name = client.get(f"{address}/models").json()["data"][0]["id"]
        body |= {"model": name, "stream": True}
        list(clients.map(lambda _: first_token_s(client, address, body), range(asked.clients)))
        pids = pid, asked.behind_pid
        started, began = time.perf_counter(), [processor_s(each) if each else 0.0 for each in pids]
        first = list(clients.map(lambda _: first_token_s(client, address, body), range(asked.requests)))
        taken = time.perf_counter() - started
        busy = [
            (processor_s(each) - before) / asked.requests if each else None
            for each, before in zip(pids, began, strict=True)
        ]
    return Round(asked.requests / taken, median(first), *busy)


def first_token_s(client: httpx.Client, address: str, body: dict[str, Any]) -> float | None:
    """Ask, read to the end, and return the seconds to the first piece of text, None where none came."""
    started, first = time.perf_counter(), None
    with client.stream("POST", f"{address}/chat/completions", json=body) as reply:
        if reply.status_code != 200:
            raise SystemExit(f"{address}: {reply.status_code} {reply.read().decode()[:500]}")
        for line in reply.iter_lines():
            if first is None and WITH_TEXT.search(line):
                first = time.perf_counter() - started
    return first


@contextmanager
def server(command: list[str]) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """Yield the address and the process of a server that is started for the block."""
    port = free_port()
    with subprocess.Popen([*command, str(port)], stdout=subprocess.DEVNULL) as process:
        try:
            yield f"http://127.0.0.1:{port}", process
        finally:
            process.kill()


def wait_for(address: str, process: subprocess.Popen[bytes]) -> None:
    """Wait until a server listens, or end the program."""
    deadline = time.monotonic() + READY_S
    while True:
        try:
            httpx.get(f"{address}/health", trust_env=False).raise_for_status()
            return
        except httpx.HTTPError:
            if time.monotonic() > deadline or process.poll() is not None:
                raise SystemExit(f"{process.args} does not listen") from None
            time.sleep(0.2)


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return listening.getsockname()[1]


def saved_tiny(folder: Path) -> str:
    """Write the untrained tiny model, as every server can load it."""
    from onethinker.inference.loading import load_engine
    from onethinker.inference.local import LocalEngine

    engine = load_engine("untrained")
    assert isinstance(engine, LocalEngine)
    engine.model.save_pretrained(folder)
    engine.processor.save_pretrained(folder)
    engine.close()
    return str(folder)


if __name__ == "__main__":
    main()
