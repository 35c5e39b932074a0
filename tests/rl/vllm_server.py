"""A server that speaks vLLM's routes for rollouts, in a thread: answers are scripted, and their log-probabilities are
those of a real tiny model under the weights that it was sent.
"""

import base64
import io
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from onethinker.core.frames import Clip
from onethinker.core.request import Request
from onethinker.families.folder import load_adapters
from onethinker.inference.encode import encode_requests
from onethinker.inference.loading import load_local
from onethinker.training.adapters import choose_trained
from onethinker.training.packing.attention import use_packed_attention
from onethinker.training.packing.row import PrefixGroup, pack, split_prompts
from onethinker.training.scoring import score

LOADING = threading.Lock()
"""transformers loads one model at a time."""


@dataclass
class VllmServer:
    """What the server has and was asked; it may forget weights, and `dies_at` is the prompt over which it is gone. It
    thinks longer about every fourth prompt if it is `thorough`, and rounds weights to `dtype`, which it tells.
    """

    folder: str
    recipe: Any = None
    forgets: bool = False
    dies_at: int = 0
    thorough: bool = False
    dtype: str = "float32"
    tells_dtype: bool = True
    address: str = ""
    version: str = "default"
    adapters: list[str] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    bodies: list[dict[str, Any]] = field(default_factory=list)
    lock: Any = field(default_factory=threading.Lock)
    http: Any = None

    def __post_init__(self) -> None:
        self.load(self.folder)

    def load(self, folder: str) -> None:
        with LOADING:
            engine = load_local(folder, device="cpu", dtype="float32")
        for weight in engine.model.parameters():
            weight.data = weight.data.to(getattr(torch, self.dtype)).float()
        use_packed_attention(engine.model)
        self.model, self.processor = engine.model, engine.processor

    def load_adapters(self, folder: str) -> None:
        self.load(self.folder)
        choose_trained(self.model, self.recipe)
        load_adapters(Path(folder), self.model)

    def reply(self, path: str, body: dict[str, Any]) -> tuple[int, Any]:
        self.paths.append(path)
        if path == "/v1/models":
            return 200, {"data": [{"id": name} for name in ("served", *self.adapters)]}
        if path == "/weight_info":
            return 200, {"weight_version": self.version}
        if path == "/server_info" and self.tells_dtype:
            return 200, {"vllm_config": {"model_config": {"dtype": f"torch.{self.dtype}"}}}
        if path == "/update_weight_version":
            self.version = body["new_version"]
        if path == "/collective_rpc" and not self.forgets:
            assert body["method"] == "reload_weights"
            self.load(body["kwargs"]["weights_path"])
        if path == "/v1/load_lora_adapter":
            self.load_adapters(body["lora_path"])
            self.adapters.append(body["lora_name"])
        if path == "/v1/unload_lora_adapter":
            self.adapters.remove(body["lora_name"])
        if path != "/v1/chat/completions":
            return 200, {"results": [None]}
        if body["model"] not in ("served", *self.adapters):
            return 404, {"error": {"message": f"The model {body['model']} does not exist."}}
        return 200, self.answers(body)

    def answers(self, body: dict[str, Any]) -> dict[str, Any]:
        """Answers A and B in turn, with their log-probabilities under the weights that the server has."""
        self.bodies.append(body)
        *media, text = body["messages"][-1]["content"]
        request = Request(text["text"], tuple(picture(part["image_url"]["url"]) for part in media))
        (prompt,) = split_prompts(encode_requests(self.processor, [request]), [request], self.model)
        choices = []
        for index in range(body["n"]):
            thought = "I see. " * 16 if self.thorough and body["seed"] // body["n"] % 4 == 0 else "I see."
            said = f"<think>{thought}</think><answer>{'AB'[index % 2]}</answer>"
            ids = torch.tensor([*self.processor.tokenizer(said).input_ids, self.processor.tokenizer.eos_token_id])
            with torch.no_grad():
                logps, _ = score(self.model, pack([PrefixGroup(prompt, (ids,))]), temperature=body["temperature"])
            choices.append(
                {
                    "index": index,
                    "token_ids": ids.tolist(),
                    "logprobs": {"content": [{"logprob": logp} for logp in logps.tolist()]},
                    "finish_reason": "stop",
                }
            )
        return {"model": body["model"], "prompt_token_ids": prompt.input_ids.tolist(), "choices": choices[::-1]}


def picture(url: str) -> Clip:
    pixels = np.asarray(Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))).convert("RGB"))
    height, width, _ = pixels.shape
    return Clip("image", pixels[None], (0.0,), (0,), width, height, 0.0, "picture")


@contextmanager
def vllm_server(folder: str, *, port: int = 0, **changes: Any) -> Iterator[VllmServer]:
    server = VllmServer(folder, **changes)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.answer({})

        def do_POST(self) -> None:
            self.answer(json.loads(self.rfile.read(int(self.headers["Content-Length"] or 0)) or "{}"))

        def answer(self, body: dict[str, Any]) -> None:
            with server.lock:
                if server.dies_at and "messages" in body and len(server.bodies) + 1 >= server.dies_at:
                    server.http.server_close()  # nothing listens there any more, and this request has no reply
                    return
                status, said = server.reply(self.path.partition("?")[0], body)
            content = json.dumps(said).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server.http = http = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    server.address = f"http://127.0.0.1:{http.server_port}/v1"
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        http.shutdown()
        thread.join()
        http.server_close()
