"""What processes send each other in a step, and how long that takes: a model of it, for machines that are not at hand.

A collective is a gathering of all shares in every process, or its opposite, the sum of what all have, in shares; both
move the same bytes, and the sum in every process is both. It takes as long as the slower of two: each GPU receives all
but its own share from the others of its node, and each node all but its own share from other nodes.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from onethinker.families.base import Part
from onethinker.training.adapters import Count
from onethinker.training.batch import Batch
from onethinker.training.config import Recipe, RlRecipe
from onethinker.training.gpus import Gpu
from onethinker.training.optimizer import ADAPTER_BYTES, BYTES
from onethinker.training.sharding import Sharding

EXCHANGE = 0.7
"""Assumed: the share of what links can send that collectives reach."""


@dataclass(frozen=True)
class Network:
    """Nodes with so many GPUs each, and the bytes a second that a node sends to the others, in one direction."""

    nodes: int
    gpus_per_node: int
    node_bandwidth: float = 0.0

    def seconds(self, size: float, gpu: Gpu) -> float:
        """Return how long a collective of so many bytes takes, all shares together."""
        gpus = self.nodes * self.gpus_per_node
        inside = size * (gpus - 1) / gpus / gpu.link if self.gpus_per_node > 1 else 0.0
        across = size * (self.nodes - 1) / self.nodes / self.node_bandwidth if self.nodes > 1 else 0.0
        return max(inside, across) / EXCHANGE


@dataclass(frozen=True)
class Exchange:
    """Bytes of the collectives of a step: those that run beside the update, those before or after it."""

    beside: float
    alone: float
    formula: str
    own_beside: float = 0.0
    """Bytes that stay inside each node in hybrid sharding, beside the update."""
    own_alone: float = 0.0
    """And before or after it."""

    def seconds(self, network: Network, gpu: Gpu) -> tuple[float, float]:
        """Return how long the collectives beside the update take, and the others."""
        beside, alone = (network.seconds(size, gpu) for size in (self.beside, self.alone))
        own = Network(1, network.gpus_per_node)
        return beside + own.seconds(self.own_beside, gpu), alone + own.seconds(self.own_alone, gpu)


def exchange_of(
    recipe: Recipe, counts: Mapping[Part, Count], batch: Batch, sharding: Sharding | None, *, used: int
) -> Exchange:
    """Return what the processes of a run send each other in a step; `used` are the bytes of a weight in a product."""
    stored, sharded = BYTES[recipe.weights_dtype], sharding is not None and sharding.kind == "fsdp2"
    learned = {part: count.trained * stored + count.adapters * ADAPTER_BYTES for part, count in counts.items()}
    whole = sum(size for part, size in learned.items() if not (sharded and part == "language"))
    after = 2 * whole * batch.updates
    if not sharded or sharding is None:
        return Exchange(0.0, after, f"gradients summed in all processes: {batch.updates} x 2 x {_gb(whole)}")
    weights, summed = counts["language"].total * used, counts["language"].trained * 4.0
    rows, gathered = batch.rows * batch.updates, 2 if sharding.full else 1
    beside = rows * (gathered * weights + summed)
    formula = f"{rows} rows x ({gathered} x {_gb(weights)} gathered + {_gb(summed)} of gradients)"
    before = 0.0
    if isinstance(recipe, RlRecipe):
        asked = rows if recipe.has_reference and recipe.lora is None else 0
        served = recipe.rollout.engine == "vllm"
        # What servers answered is scored row by row, as by a reference.
        sampled = rows if served and sharding.full else 1
        before = weights * (sampled + asked)
        formula += f" + {sampled + asked} x {_gb(weights)} for {'scoring' if served else 'rollout'} and reference"
        if served and recipe.lora is None:
            written = counts["language"].total * stored
            before += written
            formula += f" + {_gb(written)} for servers"
    if sharding.copies == 1:
        return Exchange(beside, before + after, formula)
    between = 2 * summed * batch.updates
    formula += f" inside each node; {_gb(between + after)} of gradients between all"
    return Exchange(between, after, formula, beside, before)


def _gb(size: float) -> str:
    return f"{size / 1e9:,.3g} GB"
