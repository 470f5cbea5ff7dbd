"""The memory that a run takes."""

from __future__ import annotations

import torch


def memory_in_use(device: torch.device) -> int:
    """Return the peak memory of the run on the GPU, or the current memory of this process on the CPU, in bytes."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    try:
        import psutil
    except ImportError:  # psutil is optional for training
        return 0
    return int(psutil.Process().memory_info().rss)
