"""`onethinker push` against a local stand-in of the hub's routes, in processes of its own as a user starts it."""

import base64
import hashlib
import json
import os
import shutil
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from onethinker.core.errors import ConfigError
from onethinker.training.config import SftRecipe
from onethinker.training.sft import train_sft
from onethinker.training.state.checkpoint import Checkpoints
from onethinker.training.state.resuming import fetch_run
from tests.models import save_tiny


class Hub:
    """What was asked of the hub, what it holds, and whether the repository is there and private."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, str]] = []
        self.created: list[dict] = []
        self.files: dict[str, bytes] = {}
        self.private: bool | None = None
        self.refuses = False

    def listed(self, path: str) -> dict | list | None:
        if path == "/api/models/lab/thinker/revision/v1":
            siblings = [{"rfilename": name} for name in self.files]
            return {"id": "lab/thinker", "sha": "1" * 40, "siblings": siblings, "private": True}
        if path not in (f"/api/models/lab/thinker/tree/{'1' * 40}", "/api/models/lab/thinker/tree/main"):
            return None
        kind = {"type": "file", "oid": "2" * 40}
        return [{**kind, "path": name, "size": len(content)} for name, content in self.files.items()]

    def commit(self, body: bytes) -> None:
        for line in map(json.loads, body.splitlines()):
            if line["key"] == "deletedFile":
                del self.files[line["value"]["path"]]
            if line["key"] == "file":
                self.files[line["value"]["path"]] = base64.b64decode(line["value"]["content"])

    def answer(self, method: str, path: str, body: bytes) -> tuple[int, dict | list]:
        if self.refuses:
            return 403, {"error": "you may not write here"}
        if path == "/api/models/lab/thinker" and method == "GET":
            return (404, {}) if self.private is None else (200, {"id": "lab/thinker", "private": self.private})
        if path == "/api/repos/create":
            self.created.append(json.loads(body))
            self.private = self.created[-1]["visibility"] == "private"
            return 200, {"url": f"{self.url}/lab/thinker", "name": "lab/thinker"}
        if listed := self.listed(path):
            return 200, listed
        if "/revision/" in path:
            return 404, {"error": "Invalid rev id", "code": "RevisionNotFound"}
        if "/preupload/" in path:
            files = json.loads(body)["files"]
            return 200, {"files": [{"path": f["path"], "uploadMode": "regular", "shouldIgnore": False} for f in files]}
        if "/commit/" in path:
            self.commit(body)
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
        ({"refuses": True}, (), "hf_local", "refused the request"),
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


def test_a_hub_that_is_not_there_is_said_in_one_line(hub, model, tmp_path):
    hub.url = "http://127.0.0.1:9"
    done = push(hub, model, home=tmp_path)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith(
        "error: lab/thinker: the hub at http://127.0.0.1:9 cannot be reached"
    )
    assert "Traceback" not in done.stderr


def test_public_is_said_explicitly(hub, model, tmp_path):
    done = push(hub, model, "--public", home=tmp_path)
    assert done.returncode == 0, done.stderr
    assert [created["visibility"] for created in hub.created] == ["public"]
    assert "(public: everyone may read it)" in done.stdout


def sft(hub, home: Path, *words: str, cwd: Path | None = None) -> subprocess.CompletedProcess:
    environment = {**os.environ, "HF_ENDPOINT": hub.url, "HF_HOME": str(home), "HF_HUB_DISABLE_XET": "1"}
    command = [sys.executable, "-m", "onethinker", "sft", "tiny_sft", *words]
    return subprocess.run(command, env=environment, cwd=cwd, capture_output=True, text=True, check=False)


class StopRunError(Exception):
    """Raised by a watcher to stop a run between two steps."""


def test_a_run_goes_on_from_a_revision_of_the_hub_as_if_it_had_never_stopped(hub, tmp_path):
    settings = ["steps=4", "save_every=2", "batch_size=2", "max_row_tokens=1024", "optimizer.warmup_steps=1"]
    whole = train_sft(SftRecipe.load("tiny_sft", settings), tmp_path / "whole")

    def stop(row):
        if row["step"] == 3:
            raise StopRunError

    with pytest.raises(StopRunError):
        train_sft(SftRecipe.load("tiny_sft", settings), tmp_path / "stopped", on_step=stop)
    hub.files = {"run/checkpoints/step-00000009/manifest.json": b"of another run", "notes.txt": b"mine"}
    refused = push(hub, tmp_path / "stopped", "--resumable", home=tmp_path / "home")
    assert f"process {os.getpid()} is already training in this folder; wait until it ends" in refused.stderr
    assert hub.created == []
    run = tmp_path / "moved"
    shutil.copytree(tmp_path / "stopped", run)
    (run / "checkpoints").rename(tmp_path / "large")
    (run / "checkpoints").symlink_to(tmp_path / "large")
    Checkpoints(run).name_best(2)
    done = push(hub, run, "--resumable", home=tmp_path / "home")
    assert done.returncode == 0, done.stderr
    assert "notes.txt" in hub.files
    assert not any("step-00000009" in name for name in hub.files)
    of_the_run = {name for name in hub.files if name.startswith("run/")}
    assert {"run/recipe.json", "run/journal.jsonl", "run/checkpoints/step-00000002/manifest.json"} <= of_the_run
    assert not any("lock" in name for name in of_the_run)
    for place in ("again.partial/run", "again/.fetched-killed.partial/run"):
        (tmp_path / place / "checkpoints/step-00000003").mkdir(parents=True)
    words = ["--output", ".", "--resume-from", "lab/thinker@v1", "--set", *settings]
    done = sft(hub, tmp_path / "other_home", *words, cwd=tmp_path / "again")
    assert done.returncode == 0, done.stderr
    weights = (tmp_path / "again/model/model.safetensors").read_bytes()
    assert weights == (whole / "model.safetensors").read_bytes()
    starts = [json.loads(line) for line in (tmp_path / "again/starts.jsonl").read_text().splitlines()]
    assert [start["step"] for start in starts] == [0, 2]
    assert not list((tmp_path / "again").glob(".*"))
    assert (tmp_path / "again.partial/run/checkpoints/step-00000003").is_dir()


@pytest.mark.parametrize(
    ("source", "files", "said"),
    [
        (
            "lab/thinker@v1",
            {"config.json": b"{}"},
            "has no run to resume; upload one with `onethinker push --resumable`",
        ),
        ("lab/thinker@v2", {}, "no branch, tag or commit 'v2'"),
        ("thinker", {}, "expected a run on the hub, OWNER/NAME or OWNER/NAME@REVISION"),
    ],
    ids=["no run", "no revision", "no name"],
)
def test_what_no_run_can_go_on_from_is_said_and_leaves_nothing(hub, tmp_path, source, files, said):
    hub.files = files
    done = sft(hub, tmp_path / "home", "--output", str(tmp_path / "again"), "--resume-from", source)
    assert done.returncode == 1
    assert said in done.stderr
    assert not list(tmp_path.glob("again*"))
    (tmp_path / "again").mkdir()
    done = sft(hub, tmp_path / "home", "--output", str(tmp_path / "again"), "--resume-from", source)
    assert said in done.stderr
    assert not list((tmp_path / "again").iterdir())


def test_a_folder_that_holds_something_else_is_not_filled(hub, tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(ConfigError, match="is not empty and has no checkpoint"):
        fetch_run("lab/thinker", tmp_path)
    assert hub.asked == []


def test_a_run_begins_with_a_revision_of_the_hub(hub, model, tmp_path):
    save_tiny(tmp_path / "exported", seed=2)
    hub.files = {path.name: path.read_bytes() for path in (tmp_path / "exported").iterdir()}

    def plan(revision: str) -> subprocess.CompletedProcess:
        words = ["--dry-run", "--set", f"model=lab/thinker@{revision}", "steps=1"]
        return sft(hub, tmp_path / "home", *words)

    done = plan("v1")
    assert done.returncode == 0, done.stderr
    assert "model        lab/thinker@v1" in done.stdout
    assert "parameters" in done.stdout
    assert "longest" in done.stdout
    wrong = plan("v2")
    assert wrong.returncode == 1
    assert "no branch, tag or commit 'v2'" in wrong.stderr
