"""A server that scores answers as a judge or as POLAR does, as a script says, and what asks it."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from onethinker.core.sample import Sample
from onethinker.rewards.config import GradingSettings, RewardModelSettings
from onethinker.rewards.grader import Grader

Answer = tuple[int, Any]
KEY = "s3cret-key"


@dataclass
class Seen:
    """What the server was asked, the trial before every grader left out."""

    paths: list[str] = field(default_factory=list)
    bodies: list[dict[str, Any]] = field(default_factory=list)
    keys: list[str | None] = field(default_factory=list)


def verdict(text: str, reason: str = "stop") -> Answer:
    return 200, {"choices": [{"message": {"role": "assistant", "content": text}, "finish_reason": reason}]}


def asked_of_judge(body: dict[str, Any]) -> dict[str, str]:
    return json.loads(body["messages"][1]["content"])


def share_of_words(body: dict[str, Any], number: int = 0) -> Answer:
    """Score an answer by the share of the reference's letters that it has."""
    asked = asked_of_judge(body)
    letters = set(asked["reference"].lower())
    return verdict(json.dumps({"score": len(letters & set(asked["answer"].lower())) / len(letters)}))


@contextmanager
def server(
    script: Callable[[dict[str, Any], int], Answer], kind: str = "judge"
) -> Iterator[tuple[RewardModelSettings, Seen]]:
    """Serve `script(body, number of requests before)`; the trial of a new grader is answered well and not counted."""
    seen, lock = Seen(), threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            if "What colour is the ball?" in json.dumps(body):
                self.reply(*(verdict('{"score": 1}') if kind == "judge" else rewards([1.0, -1.0])))
                return
            with lock:
                number = len(seen.bodies)
                seen.paths.append(self.path)
                seen.bodies.append(body)
                seen.keys.append(self.headers.get("Authorization"))
            self.reply(*script(body, number))

        def reply(self, status: int, body: Any) -> None:
            data = body if isinstance(body, bytes) else json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    class Server(ThreadingHTTPServer):
        request_queue_size = 128
        daemon_threads = True

        def handle_error(self, request: Any, client_address: Any) -> None:
            """A client that has given up is no failure of the server."""

    http = Server(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    address = f"http://127.0.0.1:{http.server_port}" + ("/v1" if kind == "judge" else "")
    try:
        yield (
            RewardModelSettings(
                kind=kind, address=address, model="tester", max_tries=3, first_wait_s=0.01, timeout_s=5
            ),
            seen,
        )
    finally:
        http.shutdown()
        thread.join()
        http.server_close()


def rewards(scores: list[Any]) -> Answer:
    return 200, {"data": [{"index": place, "data": score} for place, score in enumerate(scores)]}


def caption(truth: str = "A red ball.") -> Sample:
    return Sample("caption", "What is it?", "open-ended", "image", (), truth=truth)


def says(answer: str) -> str:
    return f"<think>so</think><answer>{answer}</answer>"


def graded(settings: RewardModelSettings, *responses: str, sample: Sample | None = None) -> Any:
    with Grader(GradingSettings(workers=0, reward_model=settings), "paper") as grader:
        return grader.submit(sample or caption(), responses).result()
