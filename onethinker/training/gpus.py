"""GPUs by name, as their maker's data sheets describe them, for plans of runs on machines that are not at hand.

The sheets themselves were out of reach: each figure was checked on 2026-11-29 against the copy of one that is named
above it, in TFLOP/s, bfloat16 first.
"""

from dataclasses import dataclass

from onethinker.core.errors import ConfigError
from onethinker.core.nearest import no_such


@dataclass(frozen=True)
class Gpu:
    """Memory in bytes (a data sheet's GB are 10^9), dense products a second without sparsity in bfloat16 and float32,
    bytes a second from memory, where that stands, and bytes a second to the other GPUs of its node, in one direction.
    """

    name: str
    memory: float
    bf16_flops: float
    fp32_flops: float
    bandwidth: float
    source: str
    link: float


# Half of what data sheets give for both directions together: NVLink of 600, 900 and 1,800 GB/s per GPU from A100, H100
# and B200 on: factryze.ai/scale-atlas/interconnect/nvlink-bandwidth-math; the others have PCIe 4.0, 32 GB/s:
# alpha-one-index.github.io/ai-infra-index/specs/networking-interconnects.html
PCIE = 32e9


GPUS = {
    gpu.name: gpu
    for gpu in (
        # 1,979 TFLOP/s with sparsity, 67, 3,350 GB/s: archive-lib.hpctech.co.jp/gpuproduct/nvidia-h100.html
        Gpu("h100", 80e9, 989.5e12, 67e12, 3.35e12, "NVIDIA H100 data sheet, SXM", 450e9),
        # An H100 whose NVLink has 400 GB/s: www.philisun.com/technical-analysis (H800 and H100)
        Gpu("h800", 80e9, 989.5e12, 67e12, 3.35e12, "NVIDIA H100 data sheet, SXM, and what of it an H800 has", 200e9),
        # The compute of an H100, 141 GB, 4.8 TB/s: itkb.uw.cz/2026/06/nvidia-h200-vs-b300-precisions-cores.html
        Gpu("h200", 141e9, 989.5e12, 67e12, 4.8e12, "NVIDIA H200 data sheet, SXM", 450e9),
        # 2,250 and 80 at 1,000 W: glennklockwood.com/garden/processors/B200; 180 GB, 7.7 TB/s:
        # hpc-ai.com/blog/B200-Practical-Considerations-for-AI-Teams
        Gpu("b200", 180e9, 2250e12, 80e12, 7.7e12, "NVIDIA Blackwell data sheet, HGX B200", 900e9),
        # 312, 19.5, 2,039 and 1,555 GB/s: glennklockwood.com/garden/processors/A100
        Gpu("a100", 80e9, 312e12, 19.5e12, 2.039e12, "NVIDIA A100 data sheet, SXM 80 GB", 300e9),
        Gpu("a100-40", 40e9, 312e12, 19.5e12, 1.555e12, "NVIDIA A100 data sheet, SXM 40 GB", 300e9),
        # 362.05 (733 with sparsity), 91.6, 864 GB/s: www.mullet.se/product.html?product_id=355414
        Gpu("l40s", 48e9, 362.05e12, 91.6e12, 864e9, "NVIDIA L40S data sheet", PCIE),
        # 242 with sparsity, 30.3: github.com/kentjliu/acml-project1; 24 GB, 300 GB/s:
        # grokipedia.com/page/NVIDIA_L4_vs_L40S
        Gpu("l4", 24e9, 121e12, 30.3e12, 300e9, "NVIDIA L4 data sheet", PCIE),
        # 125, 31.2: lightning/fabric/utilities/throughput.py; 24 GB, 600 GB/s:
        # www.baseten.co/blog/nvidia-a10-vs-a10g-for-ml-model-inference
        Gpu("a10", 24e9, 125e12, 31.2e12, 600e9, "NVIDIA A10 data sheet", PCIE),
        # 165.15, 82.58, 1,008 GB/s: waredb.com/processor/nvidia-geforce-rtx-4090
        Gpu(
            "rtx4090",
            24e9,
            165.2e12,
            82.6e12,
            1008e9,
            "NVIDIA Ada architecture white paper, float32 accumulation",
            PCIE,
        ),
    )
}
"""The GPUs by name."""
ALIASES = {"a100-80": ("a100",), "4090": ("rtx4090",), "hopper": ("h100", "h200", "h800"), "blackwell": ("b200",)}


def find_gpu(name: str) -> Gpu:
    """Return the GPU of a name. Raises: ConfigError: there is none, with those that there are."""
    gpu = GPUS.get(name.lower().replace(" ", "").removeprefix("nvidia"))
    if gpu is None:
        raise ConfigError(f"--gpu: {no_such('GPU', name, GPUS, aliases=ALIASES)}")
    return gpu
