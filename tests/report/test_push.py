"""`onethinker push` against a local stand-in of the hub's routes, in processes of its own as a user starts it."""

import base64
import hashlib
import json
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.models import save_tiny


class Hub:
    """What was asked of the hub, what it holds, and whether the repository is there and private."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, str]] = []
        self.created: list[dict] = []
        self.files: dict[str, bytes] = {}
        self.private: bool | None = None
        self.refuses = False

    def answer(self, method: str, path: str, body: bytes) -> tuple[int, dict]:
        if self.refuses:
            return 403, {"error": "you may not write here"}
        if path == "/api/models/lab/thinker" and method == "GET":
            return (404, {}) if self.private is None else (200, {"id": "lab/thinker", "private": self.private})
        if path == "/api/repos/create":
            self.created.append(json.loads(body))
            self.private = self.created[-1]["visibility"] == "private"
            return 200, {"url": f"{self.url}/lab/thinker", "name": "lab/thinker"}
        if path == "/api/models/lab/thinker/revision/v1":
            siblings = [{"rfilename": name} for name in self.files]
            return 200, {"id": "lab/thinker", "sha": "1" * 40, "siblings": siblings, "private": True}
        if "/revision/" in path:
            return 404, {"error": "Invalid rev id", "code": "RevisionNotFound"}
        if "/preupload/" in path:
            files = json.loads(body)["files"]
            return 200, {"files": [{"path": f["path"], "uploadMode": "regular", "shouldIgnore": False} for f in files]}
        if "/commit/" in path:
            for line in map(json.loads, body.splitlines()):
                if line["key"] == "file":
                    self.files[line["value"]["path"]] = base64.b64decode(line["value"]["content"])
            return 200, {"success": True, "commitUrl": f"{self.url}/lab/thinker/commit/1", "commitOid": "1" * 40}
        return 200, {}


@pytest.fixture
def hub():
    state = Hub()

    class Routes(BaseHTTPRequestHandler):
        def _serve(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            path = self.path.partition("?")[0]
            state.asked.append((self.command, path, self.headers.get("Authorization", "")))
            kept = state.files.get(path.removeprefix(f"/lab/thinker/resolve/{'1' * 40}/"))
            status, said = (200, {}) if kept is not None else state.answer(self.command, path, body)
            content = json.dumps(said).encode() if kept is None else kept
            self.send_response(status)
            if status == 404:
                self.send_header("X-Error-Code", said.get("code", "RepoNotFound"))
            if kept is not None:
                self.send_header("ETag", hashlib.sha1(kept).hexdigest())
                self.send_header("X-Repo-Commit", "1" * 40)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content)

        do_GET = do_POST = do_HEAD = _serve

        def log_message(self, *args) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Routes)
    state.url = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield state
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("push") / "model"
    save_tiny(folder, seed=2)
    (folder / "secret.txt").write_text("not part of a model")
    return folder


def push(hub, model, *words: str, token: str = "hf_local", home: Path) -> subprocess.CompletedProcess:
    environment = {**os.environ, "HF_ENDPOINT": hub.url, "HF_HOME": str(home), "HF_HUB_DISABLE_XET": "1"}
    environment = {name: value for name, value in environment.items() if name not in ("HF_TOKEN", "HF_HUB_OFFLINE")}
    environment |= {"HF_TOKEN": token} if token else {}
    command = [sys.executable, "-m", "onethinker", "push", str(model), "lab/thinker", "--license", "apache-2.0", *words]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def test_a_model_goes_to_a_private_repository_with_a_card_a_license_and_nothing_else(hub, model, tmp_path):
    done = push(hub, model, home=tmp_path)
    assert done.returncode == 0, done.stderr
    assert [created["visibility"] for created in hub.created] == ["private"]
    lines = done.stdout.splitlines()
    assert lines[0].startswith(f"lab/thinker (private): {len(hub.files)} files, ")
    assert {line.split()[-1]: int(line.split()[0].replace(",", "")) for line in lines[1:-1]} == {
        name: len(content) for name, content in hub.files.items()
    }
    assert "secret.txt" not in hub.files
    assert {"model.safetensors", "config.json", "README.md", "onethinker.json", "tokenizer.json"} <= set(hub.files)
    card = hub.files["README.md"].decode()
    assert "license: apache-2.0\n" in card.split("---")[1]
    assert "# thinker" in card
    assert lines[-1] == f"{hub.url}/lab/thinker/commit/1"
    assert {token for _, path, token in hub.asked if "/commit/" in path or "create" in path} == {"Bearer hf_local"}


def test_a_dry_run_names_the_same_files_and_asks_the_hub_nothing(hub, model, tmp_path):
    done = push(hub, model, "--dry-run", home=tmp_path, token="")
    assert done.returncode == 0, done.stderr
    assert "model.safetensors" in done.stdout
    assert hub.asked == []


@pytest.mark.parametrize(
    ("state", "words", "token", "said"),
    [
        ({"private": False}, (), "hf_local", "lab/thinker is public"),
        ({"refuses": True}, (), "hf_local", "refuses"),
        ({}, (), "", "hf auth login"),
    ],
    ids=["public", "refused", "nobody"],
)
def test_what_may_not_be_is_said_in_one_line_before_anything_is_sent(hub, model, tmp_path, state, words, token, said):
    vars(hub).update(state)
    done = push(hub, model, *words, token=token, home=tmp_path)
    assert done.returncode == 1
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert hub.files == {}
    assert hub.created == []


def test_public_is_said_explicitly(hub, model, tmp_path):
    done = push(hub, model, "--public", home=tmp_path)
    assert done.returncode == 0, done.stderr
    assert [created["visibility"] for created in hub.created] == ["public"]
    assert "(public: everyone may read it)" in done.stdout


def test_a_run_begins_with_a_revision_of_the_hub(hub, model, tmp_path):
    save_tiny(tmp_path / "exported", seed=2)
    hub.files = {path.name: path.read_bytes() for path in (tmp_path / "exported").iterdir()}

    def plan(revision: str) -> subprocess.CompletedProcess:
        words = ["sft", "tiny_sft", "--dry-run", "--set", f"model=lab/thinker@{revision}", "steps=1"]
        environment = {
            **os.environ,
            "HF_ENDPOINT": hub.url,
            "HF_HOME": str(tmp_path / "home"),
            "HF_HUB_DISABLE_XET": "1",
        }
        return subprocess.run(
            [sys.executable, "-m", "onethinker", *words], env=environment, capture_output=True, text=True, check=False
        )

    done = plan("v1")
    assert done.returncode == 0, done.stderr
    assert "model        lab/thinker@v1" in done.stdout
    assert "parameters" in done.stdout
    assert "longest" in done.stdout
    wrong = plan("v2")
    assert wrong.returncode == 1
    assert "no branch, tag or commit 'v2'" in wrong.stderr
