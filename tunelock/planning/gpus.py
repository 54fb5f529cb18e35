"""GPUs to plan for: memory, arithmetic and list prices of one day, each with who asks it and when."""

from typing import NamedTuple

# What a GPU reaches of its peak is `utilisation` of the method.
CPU_UTILISATION = 0.5  # of the measured rate of products; the default job reached 0.45 in bfloat16, 0.6 in float32


class _Gpu(NamedTuple):
    """Memory in GB, dense bfloat16 TFLOP/s (data sheets of NVIDIA), dollars an hour of one, and who asks for them.

    A GB counts as 1e9 bytes. The cards have 2^30, and the difference is about what CUDA and fragments take.
    """

    memory: int
    tflops: float
    price: float
    source: str


GPUS = {
    "t4": _Gpu(15, 65, 0.53, "AWS g4dn.xlarge, 2025-11"),  # float16: it has no bfloat16; 1 GB goes to ECC
    "rtx-3090": _Gpu(24, 71, 0.22, "RunPod community, 2026-03"),
    "rtx-4090": _Gpu(24, 165, 0.34, "RunPod community, 2026-03"),
    "a10g": _Gpu(24, 70, 1.01, "AWS g5.xlarge, 2025-11"),
    "l4": _Gpu(24, 121, 0.98, "AWS g6.2xlarge, 2026-08"),
    "a100-40gb": _Gpu(40, 312, 1.99, "Lambda, 2026-11"),
    "a100-80gb": _Gpu(80, 312, 1.79, "RunPod secure, 2026-11"),
    "h100": _Gpu(80, 989, 3.99, "RunPod secure, SXM, 2026-11"),
    "h200": _Gpu(141, 989, 4.59, "RunPod, 2026-10"),
}
