"""The most GPU memory that a step needs."""

import torch

from onethinker.training.parallel.collectives import Collectives


def peak_gib(processes: Collectives) -> float | None:
    """Return the GiB that torch held at most since this was last asked, on the GPU that held most; None on a CPU.

    All processes take part.
    """
    if processes.device.type != "cuda":
        return None
    most = torch.cuda.max_memory_allocated(processes.device) / 2**30
    torch.cuda.reset_peak_memory_stats(processes.device)
    return max(processes.gather([most]))
