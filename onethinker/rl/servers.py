"""Servers of vLLM that a run starts itself on its machine (`rollout.vllm`), waits for, and ends when it ends."""

import logging
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import torch

from onethinker.core.errors import ConfigError, EngineError
from onethinker.families.built_in import folder_of
from onethinker.families.hub import at_hand
from onethinker.processes import keeper
from onethinker.storage.folders import SERVERS_FOLDER
from onethinker.training.config import RlRecipe
from onethinker.training.preflight import check_servers, launched_nodes
from onethinker.training.rl_settings import VllmSettings
from onethinker.training.session import TrainingSession

LORA_RANKS = (8, 16, 32, 64, 128, 256, 320, 512)
"""What vLLM takes as --max-lora-rank."""
OURS = (
    "RANK",
    "LOCAL_RANK",
    "GROUP_RANK",
    "WORLD_SIZE",
    "LOCAL_WORLD_SIZE",
    "MASTER_ADDR",
    "MASTER_PORT",
    "TORCHELASTIC_USE_AGENT_STORE",
)
"""Variables by which the processes of a run meet; a server must not meet them."""
SAY_EVERY_S = 15.0
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class StartedServers:
    """The servers of a run; in all processes but the main one only their addresses."""

    addresses: tuple[str, ...]
    logs: tuple[Path, ...] = ()
    keepers: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @classmethod
    def start(cls, session: TrainingSession, settings: VllmSettings, *, patience_s: float) -> "StartedServers":
        """Return servers that answer; all processes call it.

        Raises: ConfigError: they cannot be started so. EngineError: one ends, or does not answer for so long.
        """
        ports = range(settings.port, settings.port + settings.servers)
        addresses = tuple(f"http://127.0.0.1:{port}/v1" for port in ports)
        if not session.collectives.is_main:
            session.collectives.wait()
            return cls(addresses)
        recipe = session.recipe
        assert isinstance(recipe, RlRecipe)
        _check(recipe, settings)
        gpus = _gpus(settings)
        folder = session.folder.path / SERVERS_FOLDER
        folder.mkdir(exist_ok=True)
        servers = cls(addresses, tuple(folder / f"server-{index + 1}.log" for index in range(settings.servers)))
        try:
            for port, log, own in zip(ports, servers.logs, gpus, strict=True):
                servers.keepers.append(_start(command_of(recipe, settings, port), log, own))
            servers._wait(patience_s)
        except BaseException:
            servers.close()
            raise
        session.collectives.wait()
        return servers

    def close(self) -> None:
        """End the servers, and all processes that they have started."""
        for process in self.keepers:
            process.terminate()
        for process in self.keepers:
            with suppress(subprocess.TimeoutExpired):
                process.wait(2 * keeper.END_SECONDS)

    def check_alive(self) -> None:
        """Raise EngineError where all servers that this process has started have ended."""
        if self.keepers and all(process.poll() is not None for process in self.keepers):
            raise EngineError(
                f"rollout.vllm: all {len(self.keepers)} servers have ended; {self.logs[-1]} ends"
                f" with\n{keeper.last_words(self.logs[-1])}\nRun the same command again to resume from the last"
                " checkpoint"
            )

    def _wait(self, patience_s: float) -> None:
        """Return when all answer, and say now and then how long that takes."""
        began_s = said_s = time.monotonic()
        left = dict(zip(self.addresses, zip(self.keepers, self.logs, strict=True), strict=True))
        while left:
            now_s = time.monotonic()
            for address, (process, log) in tuple(left.items()):
                if process.poll() is not None:
                    raise EngineError(
                        f"rollout.vllm: the server at {address} exited with code {process.returncode}; {log} ends"
                        f" with\n{keeper.last_words(log)}"
                    )
                if _answers(address):
                    del left[address]
            if left and now_s - began_s > patience_s:
                raise EngineError(
                    f"rollout.vllm: {', '.join(left)} did not answer in {patience_s:.0f} s"
                    f" (rollout.patience_s): see {self.logs[0].parent}"
                )
            if left and now_s - said_s >= SAY_EVERY_S:
                said_s = now_s
                _log.warning(
                    "%d of %d servers of vLLM answer after %.0f s; logs: %s",
                    len(self.addresses) - len(left),
                    len(self.addresses),
                    now_s - began_s,
                    self.logs[0].parent,
                )
            time.sleep(0.2)


def command_of(recipe: RlRecipe, settings: VllmSettings, port: int) -> list[str]:
    """Return the command that serves the model of a recipe as RL wants it; `arguments` come last and so win."""
    folder = folder_of(at_hand(recipe.model))
    model = str(folder.resolve()) if folder.is_dir() else recipe.model
    dtype = "float32" if recipe.dtype == "float32" else "bfloat16"
    command = [*settings.command, "serve", model, "--host", "127.0.0.1", "--port", str(port), "--dtype", dtype]
    command += ["--max-model-len", str(recipe.max_row_tokens), "--trust-request-mm-kwargs"]
    if recipe.rollout.temperature != 1:
        command += ["--logprobs-mode", "processed_logprobs"]
    if settings.gpus_per_server > 1:
        command += ["--tensor-parallel-size", str(settings.gpus_per_server)]
    if recipe.lora is not None:
        rank = next((rank for rank in LORA_RANKS if rank >= recipe.lora.rank), LORA_RANKS[-1])
        command += ["--enable-lora", "--max-lora-rank", str(rank)]
    return [*command, *settings.arguments]


def _check(recipe: RlRecipe, settings: VllmSettings) -> None:
    """Raise ConfigError where there is no such program or model, a port is taken, or the run has several nodes."""
    program = settings.command[0]
    if shutil.which(program) is None:
        raise ConfigError(
            f"rollout.vllm.command: there is no program {program!r}. Install vLLM in an environment of its own, and"
            ' give its path: command = ["/path/to/vllm-env/bin/vllm"]'
        )
    check_servers(recipe, nodes=launched_nodes())
    for port in range(settings.port, settings.port + settings.servers):
        with socket.socket() as tried:
            tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                tried.bind(("127.0.0.1", port))
            except OSError as error:
                raise ConfigError(f"rollout.vllm.port: port {port} cannot be used: {error}; set another one") from error


def _gpus(settings: VllmSettings) -> list[str]:
    """Return the CUDA_VISIBLE_DEVICES of each server: the GPUs after those that the run trains on.

    Raises: ConfigError: there are not as many.
    """
    each, trained = settings.gpus_per_server, int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    if not each:
        return [""] * settings.servers
    everyone = ",".join(str(index) for index in range(torch.cuda.device_count()))
    visible = [gpu for gpu in os.environ.get("CUDA_VISIBLE_DEVICES", everyone).split(",") if gpu]
    free = visible[trained:]
    if len(free) < each * settings.servers:
        raise ConfigError(
            f"rollout.vllm: {settings.servers} servers of {each} GPUs each need {each * settings.servers} GPUs, but"
            f" besides the {trained} for training there are only {len(free)}; lower servers or gpus_per_server (0 runs"
            " vLLM on the CPU)"
        )
    return [",".join(free[first : first + each]) for first in range(0, each * settings.servers, each)]


def _start(command: Sequence[str], log: Path, gpus: str) -> subprocess.Popen[bytes]:
    """Return the keeper of a server, whose output goes to the end of a log."""
    with log.open("ab") as file:
        file.write(f"\n$ {' '.join(command)}\n".encode())
    return keeper.start(command, log, environment=_environment(gpus))


def _environment(gpus: str) -> Mapping[str, str]:
    kept = {name: value for name, value in os.environ.items() if name not in OURS}
    return {
        **kept,
        "CUDA_VISIBLE_DEVICES": gpus,
        "VLLM_SERVER_DEV_MODE": "1",
        "VLLM_ALLOW_RUNTIME_LORA_UPDATING": "1",
    }


def _answers(address: str) -> bool:
    try:
        return httpx.get(f"{address.removesuffix('/v1')}/health", timeout=5).is_success
    except httpx.RequestError:
        return False
