"""What a config file of accelerate lets processes share, read without accelerate, whose import takes seconds."""

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from onethinker.core.errors import ConfigError
from onethinker.core.nearest import no_such
from onethinker.training.config import BUILT_IN

ALIASES = {
    "fsdp": ("fsdp2",),
    "offload": ("fsdp2_offload",),
    "full shard": ("fsdp2_full",),
    **dict.fromkeys(("hybrid", "hybrid shard", "hsdp"), ("fsdp2_hybrid",)),
    **dict.fromkeys(("zero3", "deepspeed zero3"), ("fsdp2_full", "fsdp2_offload")),
    **dict.fromkeys(("zero2", "zero", "deepspeed"), ("deepspeed_zero2",)),
}
"""What others call the configs that come with OneThinker; words are apart by a space."""

HYBRID = "HYBRID_SHARD"
"""What `fsdp_sharding_strategy` says where each node has a copy of its own, which its processes share."""


@dataclass(frozen=True)
class Sharding:
    """What processes share: by "fsdp2" weights, gradients and moments of the language model, by "zero2" gradients and
    moments of all that is trained.

    `full`: in a step one layer is gathered after the other, not all of them. `offload`: each process has its share in
    the computer's memory, not on its GPU. `copies`: in so many nodes each has all of it, shared by its own processes;
    None where it is not known yet how many nodes there are, 1 where all processes share one.
    """

    kind: Literal["fsdp2", "zero2"]
    full: bool = False
    offload: bool = False
    copies: int | None = 1

    def in_nodes(self, nodes: int, processes: int) -> "Sharding":
        """Return the same for nodes of so many processes each.

        Raises: ConfigError: a node has a copy of its own, and only one process to share it.
        """
        if self.copies is not None:
            return self
        if processes == 1:
            raise ConfigError(
                f"fsdp_sharding_strategy: {HYBRID} shards weights over the processes of a node, and each node has only"
                " one: raise --processes, or choose another config"
            )
        return replace(self, copies=nodes)

    def sharers(self, processes: int) -> int:
        """Return how many of all processes share a layer."""
        return processes // (self.copies or 1)


def find_accelerate_config(name: str) -> Path:
    """Return the file of a config that comes with OneThinker, such as "fsdp2", or the file of that name. Raises:
    ConfigError.
    """
    path = BUILT_IN / f"{name}.yaml"
    if path.is_file():
        return path
    if not Path(name).is_file():
        there = sorted(file.stem for file in BUILT_IN.glob("*.yaml"))
        raise ConfigError(f"--accelerate-config: {no_such('config', name, there, aliases=ALIASES)}")
    return Path(name)


def read_sharding(accelerate_config: Path) -> Sharding | None:
    """Return what a config file of accelerate, YAML or JSON, lets processes share."""
    text = accelerate_config.read_text(errors="replace")
    kind = _setting(text, "distributed_type")
    if kind == "fsdp":
        # What a file does not say of it, accelerate takes to be true.
        full = _setting(text, "fsdp_reshard_after_forward") not in ("false", "no", "off")
        offload = _setting(text, "fsdp_offload_params") in ("true", "yes", "on")
        return Sharding("fsdp2", full, offload, None if is_hybrid(_setting(text, "fsdp_sharding_strategy")) else 1)
    return Sharding("zero2") if kind == "deepspeed" else None


def is_hybrid(strategy: str | None) -> bool:
    """Tell whether each node has a copy of its own, by `fsdp_sharding_strategy` as a name or accelerate's number of it.

    Raises: ConfigError: it is a hybrid that FSDP2 does not have.
    """
    name = (strategy or "").upper()
    if name in ("HYBRID_SHARD_ZERO2", "5"):
        raise ConfigError(
            f"fsdp_sharding_strategy: {strategy} does not exist in FSDP2; set {HYBRID} and fsdp_reshard_after_forward:"
            " false"
        )
    return name in (HYBRID, "4")


def _setting(text: str, name: str) -> str | None:
    """Return the value of a setting, in small letters, wherever it stands.

    >>> _setting('{"fsdp_config": {"fsdp_offload_params": true}}', "fsdp_offload_params")
    'true'
    """
    found = re.search(rf"""^[^#\n]*\b{name}["']?\s*:\s*["']?(\w+)""", text, re.MULTILINE)
    return found[1].lower() if found else None
