"""What servers of vLLM hold when they sample for a run, and what they are sent, by estimate.

Sizes are bytes.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from onethinker.families.base import Part, Widths
from onethinker.training.adapters import Count
from onethinker.training.batch import Batch
from onethinker.training.config import Recipe, RlRecipe
from onethinker.training.gpus import Gpu
from onethinker.training.memory import gigabytes
from onethinker.training.optimizer import ADAPTER_BYTES
from onethinker.training.rl_settings import RolloutSettings


@dataclass(frozen=True)
class ServerMemory:
    """What one server holds, on all its GPUs together, and what it is sent after each step."""

    gpus: int
    """Of each server; 0: on the CPU, or nobody knows."""
    weights: float
    prompts: float
    """Prompts that it answers at once."""
    group: float
    """Keys, values and states of a prompt with all its answers, each as long as it can be."""
    answer: float
    """And of a prompt with one answer."""
    update: float
    update_formula: str

    def lines(self) -> list[str]:
        """Return it as text, a line each."""
        on = f"over {self.gpus} GPUs" if self.gpus > 1 else "in all"
        cache = f"{self.prompts:,.4g} prompts with their answers x {gigabytes(self.group)}"
        return [
            f"  a server   {gigabytes(self.weights)} of weights {on}",
            f"             {gigabytes(self.prompts * self.group)} of keys and values: {cache}",
            f"  an update  {gigabytes(self.update)} of weights after each step: {self.update_formula}",
        ]

    def fits(self, gpu: Gpu) -> bool:
        """Tell whether its GPUs hold the weights and one answer; where they do, more answers may wait."""
        return not self.gpus or self.weights + self.answer <= self.gpus * gpu.memory

    def fitting_lines(self, gpu: Gpu) -> list[str]:
        """Return whether it fits on its GPUs, nothing where it has none that are known."""
        if not self.gpus:
            return []
        needed, there = self.weights + self.prompts * self.group, self.gpus * gpu.memory
        of = f"{gigabytes(needed)} of the {gigabytes(there)} of {self.gpus} x {gpu.name}"
        if not self.fits(gpu):
            least = gigabytes(self.weights + self.answer)
            return [f"too much     a server needs {least} for weights and one answer, and has only {gigabytes(there)}"]
        if needed > there:
            at_once = (there - self.weights) / self.group
            return [f"servers fit  with {at_once:,.3g} of {self.prompts:,.4g} prompts at once; the others wait ({of})"]
        return [f"servers fit  {of}, less what vLLM keeps free (--gpu-memory-utilization)"]


def share_of_server(rollout: RolloutSettings, batch: Batch) -> tuple[float, float]:
    """Return how many prompts of a step a server answers, and how many at once."""
    prompts = batch.prompts / rollout.servers
    asked = rollout.decode_batch_size * batch.processes / rollout.servers
    return prompts, prompts if rollout.lag else min(asked, prompts)


def server_memory(recipe: Recipe, counts: Mapping[Part, Count], widths: Widths, batch: Batch) -> ServerMemory | None:
    """Return what a server holds, None where the model in training samples."""
    if not isinstance(recipe, RlRecipe) or recipe.rollout.engine != "vllm":
        return None
    used, total = 4 if recipe.dtype == "float32" else 2, sum(count.total for count in counts.values())
    adapters = sum(count.adapters for count in counts.values())
    keys, states = 2 * widths.attention_layers * widths.keys * used, widths.recurrent_layers * widths.state * 4
    parameters, each = (adapters, ADAPTER_BYTES) if recipe.lora else (total, used)
    return ServerMemory(
        gpus=recipe.rollout.vllm.gpus_per_server if recipe.rollout.vllm else 0,
        weights=total * used,
        prompts=share_of_server(recipe.rollout, batch)[1],
        group=batch.group_tokens * keys + batch.answers * states,
        answer=(batch.prompt_tokens + batch.answer_tokens) * keys + states,
        update=parameters * each,
        update_formula=f"{parameters:,} parameters x {each} bytes",
    )
