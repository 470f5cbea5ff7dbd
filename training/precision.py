"""Number formats of a run: bfloat16 for the networks if it is faster, full float32 for penalties."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch


def use_tf32(device: torch.device) -> None:
    """Allow TF32 for float32 matrices and convolutions on CUDA, and let cuDNN choose the fastest convolutions."""
    if device.type == "cuda":
        torch.set_float32_matmul_precision("high")
        torch.backends.cudnn.benchmark = True


def bf16_pays(device: torch.device) -> bool:
    """Return True if the processor multiplies matrices in bfloat16 faster than in float32.

    For a CPU: if it has AMX, or AVX-512 with bfloat16 products (1.35 to 1.7 times the images/s on an AMD EPYC).
    """
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    found = torch.cpu.get_capabilities()
    return bool(found.get("amx_bf16", False) or found.get("avx512_bf16", False))


@contextlib.contextmanager
def without_tf32(device: torch.device) -> Iterator[None]:
    """Compute in full float32 on CUDA, since the second derivatives of penalties are small; no effect elsewhere.

    The backward pass must run inside the block too, because TF32 is chosen when a product is computed.
    """
    if device.type != "cuda":
        yield
        return
    matrices, convolutions = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    torch.set_float32_matmul_precision("highest")
    torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(matrices)
        torch.backends.cudnn.allow_tf32 = convolutions
