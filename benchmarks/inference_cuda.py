"""Compare a checkpoint on a GPU, through ONNX Runtime's CUDA provider with IO binding, with torch on the same device.

Not yet run on a GPU. Check the first results carefully, then remove this note.
"""

from __future__ import annotations

import copy
import statistics
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import onnxruntime
import torch
from timing import median_ratio, taking_turns

from gan_serve.checkpoint.config import PRECISION_FILES
from gan_serve.checkpoint.files import read_verified
from gan_serve.errors import DeviceUnavailable
from gan_serve.sampling.session import open_session

if TYPE_CHECKING:
    from inference import Checkpoint

BATCHES = (1, 8, 64, 256, 1024, 4096)

Call = Callable[[], torch.Tensor]


def has_cuda() -> bool:
    """Return True if torch has a GPU here. ONNX Runtime shows whether it has one when it opens a session."""
    return torch.cuda.is_available()


def cuda_tables(name: str, checkpoint: Checkpoint, rounds: int) -> list[str]:
    """Return the tables. Latents and pixels stay on the GPU, calls are synchronous; TF32 has the defaults of both."""
    try:
        ways = _ways(checkpoint)
    except DeviceUnavailable as error:
        return ["", f"## {name} on CUDA", "", f"torch has a GPU here, ONNX Runtime has none: {error}"]
    images_per_s: dict[str, list[float]] = {way: [] for way in ways}
    ratios: dict[str, list[float]] = {way: [] for way in ways}
    for batch in BATCHES:
        torch._dynamo.reset()  # its cache has few entries; when it is full, torch runs eagerly
        inputs = {name: tensor.cuda() for name, tensor in checkpoint.tensors(batch).items()}
        calls = [prepare(inputs) for prepare in ways.values()]
        for call in calls:
            for _ in range(3):  # compiling, choosing algorithms, recording CUDA graphs
                call()
        seconds = taking_turns(*calls, repeats=max(1, 256 // batch), rounds=rounds)
        for way, own in zip(ways, seconds, strict=True):
            images_per_s[way].append(batch / statistics.median(own))
            ratios[way].append(median_ratio(own, seconds[0]))
    rows = []
    for way in ways:
        cells = [f"{speed:.0f} ({ratio:.2f})" for speed, ratio in zip(images_per_s[way], ratios[way], strict=True)]
        rows.append("| " + " | ".join([way, *cells]) + " |")
    return [
        "",
        f"## {name} on CUDA",
        "",
        f"{torch.cuda.get_device_name()}, onnxruntime {onnxruntime.__version__} with IO binding; latents and pixels "
        "stay on the GPU. images/s, and the ratio to PyTorch eager.",
        "",
        "| batch | " + " | ".join(map(str, BATCHES)) + " |",
        "|---|" + "---|" * len(BATCHES),
        *rows,
        "",
        f"gan-serve fp32, the same seeds alone and in a batch of 64: {_batch_difference(checkpoint)} grey levels apart "
        "at most.",
    ]


def _ways(checkpoint: Checkpoint) -> dict[str, Callable[[dict[str, torch.Tensor]], Call]]:
    eager = copy.deepcopy(checkpoint.network).cuda()
    compiled = torch.compile(copy.deepcopy(eager), dynamic=False, mode="reduce-overhead")
    ways: dict[str, Callable[[dict[str, torch.Tensor]], Call]] = {
        "PyTorch eager": lambda inputs: _torch_call(eager, inputs, half=False),
        "PyTorch eager, fp16 autocast": lambda inputs: _torch_call(eager, inputs, half=True),
        "torch.compile": lambda inputs: _torch_call(compiled, inputs, half=False),
        "torch.compile, fp16 autocast": lambda inputs: _torch_call(compiled, inputs, half=True),
    }
    for precision in ("fp32", "fp16"):
        if (session := _session(checkpoint, precision)) is not None:
            ways[f"**gan-serve {precision}**"] = lambda inputs, s=session: _bound_call(checkpoint, s, inputs)
    return ways


def _session(checkpoint: Checkpoint, precision: str) -> onnxruntime.InferenceSession | None:
    generator, file = checkpoint.fp32, PRECISION_FILES[precision]
    if file not in generator.config.files:
        return None
    return open_session(read_verified(generator.directory, generator.config, file), "cuda")[0]


def _torch_call(network: Callable[..., torch.Tensor], inputs: dict[str, torch.Tensor], *, half: bool) -> Call:
    def call() -> torch.Tensor:
        with torch.inference_mode(), torch.autocast("cuda", torch.float16, enabled=half):
            pixels = network(**inputs)
        torch.cuda.synchronize()
        return pixels

    return call


def _bound_call(checkpoint: Checkpoint, session: Any, inputs: dict[str, torch.Tensor]) -> Call:
    """Return a call that reads and writes torch's memory on the GPU; ONNX Runtime waits for its end by itself."""
    config, n = checkpoint.fp32.config, len(inputs["z"])
    pixels = torch.empty((n, config.img_resolution, config.img_resolution, config.img_channels), dtype=torch.uint8)
    pixels = pixels.cuda()
    binding = session.io_binding()
    for name, tensor in inputs.items():
        kind = np.int64 if tensor.dtype == torch.int64 else np.float32
        binding.bind_input(name, "cuda", 0, kind, tuple(tensor.shape), tensor.data_ptr())
    binding.bind_output("img", "cuda", 0, np.uint8, tuple(pixels.shape), pixels.data_ptr())

    def call() -> torch.Tensor:
        session.run_with_iobinding(binding)
        return pixels

    torch.cuda.synchronize()  # the inputs must exist before another stream reads them
    return call


def _batch_difference(checkpoint: Checkpoint) -> int:
    session = _session(checkpoint, "fp32")
    inputs = {name: tensor.cuda() for name, tensor in checkpoint.tensors(64).items()}
    whole = _bound_call(checkpoint, session, inputs)()
    each = [{name: tensor[i : i + 1] for name, tensor in inputs.items()} for i in range(64)]
    alone = torch.cat([_bound_call(checkpoint, session, one)() for one in each])
    return int((whole.short() - alone.short()).abs().max())
