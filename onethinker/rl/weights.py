"""The weights of a step for servers of vLLM: written where they read them, and each server told, over HTTP.

The routes are vLLM's own. For whole weights: /pause, /collective_rpc with `reload_weights`, /update_weight_version,
/weight_info and /resume, which it has with VLLM_SERVER_DEV_MODE=1. For adapters: /v1/load_lora_adapter, with
VLLM_ALLOW_RUNTIME_LORA_UPDATING=1 and --enable-lora.
"""

import asyncio
import hashlib
import json
import logging
import secrets
import shutil
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import httpx
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers.utils import SAFE_WEIGHTS_INDEX_NAME

from onethinker.core.errors import EngineError
from onethinker.families.base import head_of
from onethinker.families.folder import save_model
from onethinker.inference.endpoint import GoneError
from onethinker.storage.strict_json import to_json
from onethinker.training.session import TrainingSession

SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 (not a temporary file: servers read it under this name)
"""Where weights lie for servers on this machine."""
TIED_HEAD_FILE = "tied_head.safetensors"
LOOK_AGAIN_S = 0.2
"""Between looks at a server that reads weights for another process."""
_log = logging.getLogger(__name__)


class Route(Protocol):
    """How a server is given weights that lie in a folder."""

    def model_name(self, served: str, version: str) -> str:
        """Return which model is asked for a version of the model that is served."""

    def has(self, address: str, version: str) -> bool:
        """Return whether the server has this version. Raises: GoneError, EngineError."""

    def load(self, address: str, version: str, folder: Path) -> None:
        """Let the server have it. Raises: GoneError, EngineError."""

    def drop(self, address: str, version: str) -> None:
        """Let the server forget an earlier version, where it keeps several. Raises: GoneError, EngineError."""

    def dtype(self, address: str) -> torch.dtype | None:
        """Return what the server would round weights to, None where it says nothing of that or weights are not to be
        rounded. Raises: GoneError.
        """


@dataclass(frozen=True)
class WholeWeights:
    """The server reads all weights anew, between two requests, and says their version when it is asked."""

    timeout_s: float

    def model_name(self, served: str, version: str) -> str:
        """Return the name of the model that is served."""
        return served

    def has(self, address: str, version: str) -> bool:
        """Return whether its weights are of this version."""
        return bool(self._version(address) == version)

    def load(self, address: str, version: str, folder: Path) -> None:
        """Wait until the server has answered what it was asked, drop its caches and let it read the folder; where
        another process of the run has it read already, wait for that.
        """
        # Weights that are read half have no version that anybody asks for.
        reading = f"{version}, not read yet"
        if self._version_after(address, reading) == version:
            return
        self._call("POST", address, "/pause?mode=wait")
        try:
            if self._version_after(address, reading) == version:
                return
            self._call("POST", address, "/update_weight_version", {"new_version": reading})
            reload = {"method": "reload_weights", "kwargs": {"weights_path": str(folder)}}
            self._call("POST", address, "/collective_rpc", reload)
            self._call("POST", address, "/update_weight_version", {"new_version": version})
        finally:
            self._call("POST", address, "/resume")

    def drop(self, address: str, version: str) -> None:
        """Do nothing: there is one version."""

    def dtype(self, address: str) -> torch.dtype | None:
        """Return the dtype that the server computes in, as /server_info has it."""
        try:
            said = self._call("GET", address, "/server_info?config_format=json")["vllm_config"]["model_config"]["dtype"]
        except GoneError:
            raise
        except (EngineError, KeyError, TypeError):
            return None
        found = getattr(torch, str(said).removeprefix("torch."), None)
        return found if isinstance(found, torch.dtype) else None

    def _version(self, address: str) -> Any:
        return self._call("GET", address, "/weight_info").get("weight_version")

    def _version_after(self, address: str, reading: str) -> Any:
        """Return the version once it is another than this one, or after the longest that a server may take."""
        until = time.monotonic() + self.timeout_s
        while (version := self._version(address)) == reading and time.monotonic() < until:
            time.sleep(LOOK_AGAIN_S)
        return version

    def _call(self, method: str, address: str, path: str, body: Any = None) -> dict[str, Any]:
        why = "start vLLM with VLLM_SERVER_DEV_MODE=1, which enables the routes that change weights"
        return call(method, address.removesuffix("/v1") + path, body, timeout_s=self.timeout_s, unknown=why)


@dataclass(frozen=True)
class Adapters:
    """The server loads each version's adapters under a name of their own, which requests and answers carry."""

    timeout_s: float

    def model_name(self, served: str, version: str) -> str:
        """Return the name of the version's adapters."""
        return version

    def has(self, address: str, version: str) -> bool:
        """Return whether the server lists the adapters."""
        listed = self._call("GET", address, "/models").get("data") or []
        return any(isinstance(model, dict) and model.get("id") == version for model in listed)

    def load(self, address: str, version: str, folder: Path) -> None:
        """Let the server load the adapters."""
        self._call("POST", address, "/load_lora_adapter", {"lora_name": version, "lora_path": str(folder)})

    def drop(self, address: str, version: str) -> None:
        """Let the server forget the adapters."""
        self._call("POST", address, "/unload_lora_adapter", {"lora_name": version})

    def dtype(self, address: str) -> torch.dtype | None:
        """Return None: adapters are small, and written as they are trained."""
        return None

    def _call(self, method: str, address: str, path: str, body: Any = None) -> dict[str, Any]:
        why = "start vLLM with --enable-lora and VLLM_ALLOW_RUNTIME_LORA_UPDATING=1, which allow loading adapters"
        return call(method, address + path, body, timeout_s=self.timeout_s, unknown=why)


def add_tied_head(folder: Path, model: nn.Module, state: Mapping[str, Tensor] | None) -> None:
    """Write a head that is tied to the embeddings beside the other weights, under its own name.

    Such a head stands in no model folder, so `reload_weights` reads nothing for it; on the CPU vLLM 0.32 multiplies by
    a packed copy of the head, which then stays the old one. `state` are the weights where the model does not hold all.
    """
    head, table = head_of(model), model.get_input_embeddings()  # type: ignore[operator]
    if head is None or head.weight is not table.weight:
        return
    names = {id(module): name for name, module in model.named_modules()}
    weight = state[f"{names[id(table)]}.weight"] if state is not None else table.weight.detach()
    name = f"{names[id(head)]}.weight"
    save_file({name: weight.contiguous().cpu()}, folder / TIED_HEAD_FILE, metadata={"format": "pt"})
    index = folder / SAFE_WEIGHTS_INDEX_NAME
    if index.exists():
        listed = json.loads(index.read_text("utf-8"))
        listed["weight_map"][name] = TIED_HEAD_FILE
        index.write_text(to_json(listed))


def call(method: str, url: str, body: Any = None, *, timeout_s: float, unknown: str) -> dict[str, Any]:
    """Return what a server says on one of its own routes, {} where that is no JSON object.

    `unknown` is what to do where it has no such route. Raises: GoneError: it does not answer, or fails. EngineError: it
    refuses.
    """
    try:
        reply = httpx.request(method, url, json=body, timeout=httpx.Timeout(timeout_s, connect=10))
    except httpx.RequestError as error:
        raise GoneError(f"{url}: {type(error).__name__} {error}".strip()) from error
    if reply.status_code == 404:
        raise EngineError(f"{url}: the server has no such route or model: {unknown} (it said: {reply.text[:300]})")
    if reply.status_code >= 500:
        raise GoneError(f"{url}: status {reply.status_code}: {reply.text[:500]}")
    if not reply.is_success:
        raise EngineError(f"{url}: status {reply.status_code}: {reply.text[:500]}")
    try:
        said = reply.json()
    except ValueError:
        return {}
    return said if isinstance(said, dict) else {}


@dataclass
class ServedWeights:
    """The weights of the last step in a folder, and which servers have them.

    Versions are of this start of the run alone: a server that was restarted, or that another run uses, has another one.
    """

    session: TrainingSession
    route: Route
    folder: Path
    token: str
    version: str = ""
    step: int = 0
    """Steps after which the version was written."""
    _told: dict[str, str] = field(default_factory=dict)
    _dtypes: dict[str, torch.dtype | None] = field(default_factory=dict)
    """What each server rounds weights to, as it has said."""
    _locks: dict[str, asyncio.Lock] = field(default_factory=dict)

    @classmethod
    def open(cls, session: TrainingSession, *, folder: str | None, timeout_s: float) -> "ServedWeights":
        """Return the weights of a session, not written yet; what an earlier start has left is removed."""
        name = f"onethinker-{hashlib.sha256(str(session.folder.path.resolve()).encode()).hexdigest()[:12]}"
        place = Path(folder) if folder else SHARED_MEMORY if SHARED_MEMORY.is_dir() else session.folder.path
        route = Adapters(timeout_s) if session.recipe.lora is not None else WholeWeights(timeout_s)
        token = session.collectives.from_main(secrets.token_hex(4))
        weights = cls(session, route, place / name, token)
        weights.remove()
        return weights

    def write(self, step: int, addresses: Sequence[str]) -> None:
        """Write the weights after so many steps for these servers, in place of those before; all processes take part.

        Raises: EngineError: they cannot be written there.
        """
        session = self.session
        main = session.collectives.is_main
        dtype = session.collectives.from_main(self._dtype(addresses) if main else None)
        state = session.backend.weights(keep=main, dtype=dtype)
        self.version, self.step = f"onethinker-{self.token}-{step}", step
        if main:
            self.remove()
            settings = session.checkpoint_settings()
            try:
                folder = self.folder / self.version
                save_model(folder, session.model, session.processor, settings=settings, state=state)
                if session.recipe.lora is None:
                    add_tied_head(folder, session.model, state)
            except OSError as error:
                raise EngineError(
                    f"{self.folder}: the weights for the servers cannot be written: {error}. Set rollout.weights_folder"
                    " to a folder with enough space"
                ) from error
        session.collectives.wait()

    async def tell(self, address: str) -> None:
        """Let a server have the version, if it has another. Raises: GoneError, EngineError."""
        async with self._locks.setdefault(address, asyncio.Lock()):
            before = self._told.get(address)
            if before == self.version:
                return
            await asyncio.to_thread(self._load, address, before)
            self._told[address] = self.version

    async def has(self, address: str) -> bool:
        """Return whether a server has the version still. Raises: GoneError, EngineError."""
        return await asyncio.to_thread(self.route.has, address, self.version)

    def forget(self, address: str) -> None:
        """Take it that a server may have any weights: it died, or has another version."""
        self._told.pop(address, None)

    async def tell_all(self, addresses: Sequence[str]) -> None:
        """Let all servers have the version; one that does not take it is told again before it is asked next."""
        told = await asyncio.gather(*map(self.tell, addresses), return_exceptions=True)
        for address, outcome in zip(addresses, told, strict=True):
            if isinstance(outcome, GoneError):
                self.forget(address)
                _log.warning("%s has missed the weights %s; they are sent again: %s", address, self.version, outcome)
            elif isinstance(outcome, BaseException):
                raise outcome

    def remove(self) -> None:
        """Remove what is written."""
        if self.session.collectives.is_main:
            shutil.rmtree(self.folder, ignore_errors=True)

    def _dtype(self, addresses: Sequence[str]) -> torch.dtype | None:
        """Return the dtype of fewer bytes that all servers round these weights to, None for that of the weights: where
        they differ, or one has not said it yet.
        """
        stored: torch.dtype = getattr(torch, self.session.recipe.weights_dtype)
        for address in addresses:
            if address not in self._dtypes:
                with suppress(GoneError):  # it is asked again before the next step
                    self._dtypes[address] = self.route.dtype(address)
        common, *others = {self._dtypes.get(address) for address in addresses}
        return None if common is None or others or common.itemsize >= stored.itemsize else common

    def _load(self, address: str, before: str | None) -> None:
        if not self.route.has(address, self.version):
            self.route.load(address, self.version, self.folder / self.version)
        if before is not None:
            try:
                self.route.drop(address, before)
            except EngineError as error:
                _log.info("%s keeps %s: %s", address, before, error)
