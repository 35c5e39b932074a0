"""A server of chat completions that answers as a script says, on this machine."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np

from onethinker.core.frames import Clip
from onethinker.inference.openai import RemoteEngine

Answer = tuple[int, dict[str, str], Any]


@dataclass
class Seen:
    """What the server was asked, and how many requests it worked on at the same time."""

    bodies: list[dict[str, Any]] = field(default_factory=list)
    keys: list[str | None] = field(default_factory=list)
    at_s: list[float] = field(default_factory=list)
    now: int = 0
    most: int = 0


def completion(text: Any, finish_reason: str = "stop", **message: Any) -> Answer:
    choice = {"message": {"role": "assistant", "content": text, **message}, "finish_reason": finish_reason}
    return 200, {}, {"choices": [choice], "usage": {"prompt_tokens": 7, "completion_tokens": 3}}


def echo(body: dict[str, Any], number: int) -> Answer:
    return completion(body["messages"][-1]["content"][-1]["text"])


@contextmanager
def server(script: Callable[[dict[str, Any], int], Answer]) -> Iterator[tuple[RemoteEngine, Seen]]:
    """Serve `script(body, number of requests before)` and yield an engine for it with short pauses, and what was
    seen.
    """
    seen, lock = Seen(), threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.reply(*script({}, 0))

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            with lock:
                number = len(seen.bodies)
                seen.bodies.append(body)
                seen.keys.append(self.headers.get("Authorization"))
                seen.at_s.append(time.monotonic())
                seen.now += 1
                seen.most = max(seen.most, seen.now)
            answer = script(body, number)
            with lock:
                seen.now -= 1
            self.reply(*answer)

        def reply(self, status: int, headers: dict[str, str], body: Any) -> None:
            data = body if isinstance(body, bytes) else json.dumps(body).encode()
            self.send_response(status)
            for name, value in {"Content-Length": str(len(data)), **headers}.items():
                if value:
                    self.send_header(name, value)
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    class Server(ThreadingHTTPServer):
        request_queue_size = 128

    http = Server(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        address = f"http://127.0.0.1:{http.server_port}/v1"
        with RemoteEngine(address, "untrained", max_tries=3, first_wait_s=0.01) as engine:
            yield engine, seen
    finally:
        http.shutdown()
        thread.join()
        http.server_close()


def picture(height: int = 32, width: int = 64) -> Clip:
    frames = np.random.default_rng(0).integers(0, 256, (1, height, width, 3), dtype=np.uint8)
    return Clip("image", frames, (0.0,), (0,), width, height, 0.0, "picture")
