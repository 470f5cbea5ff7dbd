"""Compare the images per second of a checkpoint with PyTorch, torch.compile and OpenVINO.

``make bench-inference`` writes inference.md.

All methods take turns in one process, with one thread each and the trained weights of the checkpoint; on a shared
machine, only the ratios are meaningful. Every method maps latents in memory to pixels uint8 [N, H, W, C].

    python benchmarks/inference.py                     every bundled checkpoint
    python benchmarks/inference.py NAME DIRECTORY ...  these checkpoints
    python benchmarks/inference.py --quick             check that it runs; nothing is written
"""

from __future__ import annotations

import argparse
import copy
import importlib.metadata
import os
import statistics
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from inference_cuda import cuda_tables, has_cuda
from onnx import TensorProto, helper
from safetensors.torch import load_file
from subpixel_forms import forms_table
from timing import describe_cpu, interleaved, median_ratio, taking_turns
from torch.utils.flop_counter import FlopCounterMode

import gan_serve
from gan_serve import Generator
from gan_serve.checkpoint.config import PRECISION_FILES, WEIGHTS_FILE
from gan_serve.checkpoint.files import read_config, read_verified
from gan_serve.errors import GanServeError
from gan_serve.exports.quantize import LOW_PSNR, MEAN_PSNR, psnr
from gan_serve.exports.to_onnx import PixelGenerator, serialize, torch_export
from gan_serve.sampling.latents import latents_from_seeds
from gan_serve.sampling.session import network_inputs, open_session
from gan_serve.training.networks import build_generator

ROUNDS = 9
BATCHES = (1, 8, 64, 256)
SHARE_AT = 64  # the batch size for the share of the GEMM limit
SEEDS = 256  # number of seeds to measure the quality of int8
GEMM = 1024  # rows and columns of the matrix product that is the limit of the machine
EAGER = "PyTorch eager"
OPTIONAL = ("torch.compile", "OpenVINO")  # these need a C++ compiler and a package that is in no extra

Draw = Callable[[], Any]


@dataclass
class Checkpoint:
    """A checkpoint in each precision, and the same weights in torch."""

    generators: dict[str, Generator]
    network: PixelGenerator

    @classmethod
    def load(cls, model: str) -> Checkpoint:
        fp32 = Generator.from_pretrained(model, device="cpu")
        generators = {"fp32": fp32}
        if PRECISION_FILES["int8"] in fp32.config.files:
            generators["int8"] = Generator.from_pretrained(model, device="cpu", precision="int8")
        architecture = fp32.config.architecture
        network = build_generator(architecture.family, **architecture.arguments)
        network.load_state_dict(load_file(fp32.directory / WEIGHTS_FILE))
        return cls(generators, PixelGenerator(network).eval().requires_grad_(False))

    @property
    def fp32(self) -> Generator:
        return self.generators["fp32"]

    def draw(self, precision: str, n: int) -> np.ndarray:
        """Sample the seeds 0 to n-1 with the session of a precision, as ``Generator.sample`` does."""
        return self.session_call(precision, n)()

    def session_call(self, precision: str, n: int) -> Draw:
        session, (latents, labels) = self.generators[precision]._session, self._seeds(n)
        return lambda: session.run(latents, labels)

    def inputs(self, n: int) -> dict[str, np.ndarray]:
        """Return the inputs of a network for the seeds 0 to n-1, by name."""
        return network_inputs(*self._seeds(n), 1.0, self.fp32.config.truncation_space)

    def tensors(self, n: int) -> dict[str, torch.Tensor]:
        return {name: torch.from_numpy(values) for name, values in self.inputs(n).items()}

    def flop(self) -> int:
        """Return the floating-point operations for an image, two for each multiplication of torch's layers."""
        with FlopCounterMode(display=False) as counter:
            self.network(**self.tensors(1))
        return int(counter.get_total_flops())

    def _seeds(self, n: int) -> tuple[np.ndarray, np.ndarray | None]:
        labels = np.arange(n) % self.fp32.c_dim if self.fp32.c_dim else None
        return latents_from_seeds(range(n), self.fp32.z_dim), labels


# Report


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoints", nargs="*", help="names or directories; every bundled checkpoint if none")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="turns of each method at each batch size")
    parser.add_argument("--quick", action="store_true", help="two rounds of small batches; nothing is written")
    options = parser.parse_args()

    torch.set_num_threads(1)
    rounds, batches = (2, BATCHES[:2]) if options.quick else (options.rounds, BATCHES)
    models = options.checkpoints or gan_serve.list_models()
    try:
        checkpoints = {Path(model).name: Checkpoint.load(model) for model in models}
    except GanServeError as error:
        parser.error(str(error))
    lines = introduction(list(checkpoints), rounds)
    for name, checkpoint in checkpoints.items():
        lines += speed_table(name, checkpoint, batches, rounds)
    lines += fidelity_table(checkpoints) + start_table(checkpoints, rounds) + forms_table(rounds)
    if has_cuda():
        for name, checkpoint in checkpoints.items():
            lines += cuda_tables(name, checkpoint, rounds)
    text = "\n".join(lines) + "\n"
    if not options.quick:
        Path(__file__).with_suffix(".md").write_text(text)
    print(text)


def introduction(names: list[str], rounds: int) -> list[str]:
    packages = ("onnxruntime-gpu", "onnxruntime", "torch", "openvino", "numpy")
    versions = [f"{package} {version}" for package in packages if (version := _version(package))]
    return [
        "# Inference",
        "",
        f"Written by `make bench-inference` (`python benchmarks/inference.py {' '.join(names)}`): {describe_cpu()}, "
        f"one thread, {', '.join(versions)}. Load average before it began: {os.getloadavg()[0]:.1f}.",
        "",
        f"All methods take turns in one process, {rounds} rounds; ratios are medians over the rounds. All take latents "
        "from memory and give uint8 [N, H, W, C]. gan-serve runs its exported files as `Generator` does; the default "
        "export is what torch writes, run by the same ONNX Runtime; OpenVINO and torch.compile have the batch size "
        f"fixed. The GEMM limit is ONNX Runtime's own fp32 product of {GEMM}x{GEMM} matrices, measured in the same "
        "rounds; what the shares count is torch's network, so that a form with less work, or int8, may exceed 100 %.",
    ]


def speed_table(name: str, checkpoint: Checkpoint, batches: tuple[int, ...], rounds: int) -> list[str]:
    flop, gemm, ways = checkpoint.flop(), gemm_call(), ways_to_draw(checkpoint)
    share_at = SHARE_AT if SHARE_AT in batches else batches[-1]
    unavailable: dict[str, str] = {}
    images_per_s, limits, shares = [], [], {}
    ratios: dict[str, list[float]] = {way: [] for way in ways}
    for batch in batches:
        torch._dynamo.reset()  # its cache belongs to the code, not to the network; when it is full, torch runs eagerly
        calls: dict[str, Draw] = {}
        for way, prepare in ways.items():
            if way in unavailable:
                continue
            try:
                call = prepare(batch)
                call()
                calls[way] = call
            except Exception as error:  # a missing compiler or package can raise any error
                if not way.startswith(OPTIONAL):
                    raise
                unavailable[way] = f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"
        product, *measured = taking_turns(gemm, *calls.values(), repeats=max(1, 64 // batch), rounds=rounds)
        seconds = dict(zip(calls, measured, strict=True))
        images_per_s.append(batch / statistics.median(seconds[EAGER]))
        limits.append(2 * GEMM**3 / statistics.median(product) / 1e9)
        for way, own in seconds.items():
            ratios[way].append(median_ratio(own, seconds[EAGER]))
            if batch == share_at:
                shares[way] = flop * batch / (2 * GEMM**3) * median_ratio(own, product)
    size = "x".join(map(str, checkpoint.draw("fp32", 1).shape[1:]))
    rows = [
        _row(way, *(f"{ratio:.2f}" for ratio in ratios[way]), f"{shares[way]:.0%}")
        if way not in unavailable
        else _row(f"{way}: not available ({unavailable[way]})", *[""] * (len(batches) + 1))
        for way in ways
    ]
    return [
        "",
        f"## {name}",
        "",
        f"{size}, {checkpoint.fp32.config.architecture.family}, {flop / 1e6:.0f} MFLOP an image; GEMM limit "
        f"{statistics.median(limits):.0f} GFLOP/s.",
        "",
        _row("ratio to PyTorch eager at batch", *batches, f"of the GEMM limit at {share_at}"),
        "|---|" + "---|" * (len(batches) + 1),
        *rows,
        _row("PyTorch eager, images/s", *(f"{speed:.0f}" for speed in images_per_s), ""),
    ]


def fidelity_table(checkpoints: dict[str, Checkpoint]) -> list[str]:
    rows = []
    for name, checkpoint in checkpoints.items():
        fp32 = checkpoint.draw("fp32", SEEDS)
        with torch.inference_mode():
            parts = [checkpoint.network(**part).numpy() for part in _split(checkpoint.tensors(SEEDS), 64)]
        difference = np.abs(np.concatenate(parts).astype(np.int16) - fp32).max()
        size = checkpoint.fp32.config.files[PRECISION_FILES["fp32"]].size
        cells = ["no int8 file", "", f"{size / 1e6:.2f}", "", ""]
        if "int8" in checkpoint.generators:
            decibels = psnr(checkpoint.draw("int8", SEEDS), fp32)
            small = checkpoint.fp32.config.files[PRECISION_FILES["int8"]].size
            cells = [f"{decibels.mean():.1f}", f"{decibels.min():.1f}", cells[2], f"{small / 1e6:.2f}"]
            cells.append(f"{small / size:.2f}")
        rows.append(_row(name, difference, *cells))
    return [
        "",
        "## Fidelity and size",
        "",
        f"Over seeds 0 to {SEEDS - 1}. The gate of int8 is {MEAN_PSNR:g} dB in the mean and {LOW_PSNR:g} dB at the "
        "first percentile.",
        "",
        "| | fp32 against torch, most grey levels | int8 PSNR, dB | least | fp32 file, MB | int8 file, MB | ratio |",
        "|---|---|---|---|---|---|---|",
        *rows,
    ]


def start_table(checkpoints: dict[str, Checkpoint], rounds: int) -> list[str]:
    """Return the table of load times in this process, with ONNX Runtime imported and files in the page cache."""
    rows = []
    for name, checkpoint in checkpoints.items():
        for precision, generator in checkpoint.generators.items():
            directory, config = generator.directory, generator.config
            file = PRECISION_FILES[precision]
            model = read_verified(directory, config, file)
            session = generator._session
            whole, *parts = interleaved(
                lambda d=directory, p=precision: Generator.from_pretrained(d, device="cpu", precision=p),
                lambda d=directory, f=file: read_verified(d, read_config(d), f),
                lambda m=model: open_session(m, "cpu"),
                session._check_golden_sample,
                rounds=rounds,
            )
            rows.append(_row(f"{name}, {precision}", *(f"{1e3 * x:.1f}" for x in parts), f"**{1e3 * whole:.1f}**"))
    return [
        "",
        "## Session start",
        "",
        "ms, with ONNX Runtime imported (import and first image of a new process: [sampling.md](sampling.md)).",
        "",
        "| | config, file, digests | ONNX Runtime's session | golden sample | `Generator.from_pretrained` |",
        "|---|---|---|---|---|",
        *rows,
    ]


# Measurements


def ways_to_draw(checkpoint: Checkpoint) -> dict[str, Callable[[int], Draw]]:
    """Return the methods by name: functions from a batch size to a call that samples so many images."""
    eager = checkpoint.network
    channels_last = copy.deepcopy(eager).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    compiled = torch.compile(copy.deepcopy(eager), dynamic=False)
    plain = serialize(torch_export(eager.generator), optional_inputs=eager.optional_inputs())  # not rewritten
    default, _ = open_session(plain, "cpu")

    def default_call(n: int) -> Draw:
        inputs = checkpoint.inputs(n)
        return lambda: default.run(["img"], inputs)

    def autocast(**inputs: torch.Tensor) -> torch.Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            return eager(**inputs)

    ways: dict[str, Callable[[int], Draw]] = {
        EAGER: lambda n: torch_call(eager, checkpoint.tensors(n)),
        "torch channels_last": lambda n: torch_call(channels_last, checkpoint.tensors(n)),
        "torch.compile": lambda n: torch_call(compiled, checkpoint.tensors(n)),
        "torch bf16 autocast": lambda n: torch_call(autocast, checkpoint.tensors(n)),
        "ONNX Runtime, default export": default_call,
    }
    for precision in checkpoint.generators:
        ways[f"**gan-serve {precision}**"] = lambda n, precision=precision: checkpoint.session_call(precision, n)
    for hint in ("f32", "bf16"):
        ways[f"OpenVINO {hint}, gan-serve's fp32 file"] = lambda n, hint=hint: openvino_call(checkpoint, n, hint)
    return ways


def torch_call(network: Callable[..., torch.Tensor], inputs: dict[str, torch.Tensor]) -> Draw:
    def call() -> np.ndarray:
        with torch.inference_mode():
            return network(**inputs).numpy()

    return call


def openvino_call(checkpoint: Checkpoint, n: int, precision: str) -> Draw:
    """Return a call of the exported file in OpenVINO with a fixed batch size and one thread, in ``f32``, ``bf16``."""
    import openvino  # in no extra: `make bench-inference` installs it

    inputs = checkpoint.inputs(n)
    core = openvino.Core()
    model = core.read_model(checkpoint.fp32.directory / PRECISION_FILES["fp32"])
    model.reshape({name: list(values.shape) for name, values in inputs.items()})
    settings = {
        "INFERENCE_PRECISION_HINT": precision,
        "INFERENCE_NUM_THREADS": 1,
        "NUM_STREAMS": 1,
        "ENABLE_CPU_PINNING": False,
    }
    request = core.compile_model(model, "CPU", settings).create_infer_request()
    return lambda: request.infer(inputs)


def gemm_call() -> Draw:
    """Return a call of ONNX Runtime's product of an input and a constant, as in a layer."""
    weight, x = np.random.RandomState(0).standard_normal((2, GEMM, GEMM)).astype(np.float32)
    sides = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [GEMM, GEMM]) for name in ("x", "y")]
    node = helper.make_node("MatMul", ["x", "weight"], ["y"])
    graph = helper.make_graph([node], "gemm", sides[:1], sides[1:], [onnx.numpy_helper.from_array(weight, "weight")])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    session, _ = open_session(model.SerializeToString(), "cpu")
    return lambda: session.run(["y"], {"x": x})


def _split(inputs: dict[str, torch.Tensor], size: int) -> list[dict[str, torch.Tensor]]:
    parts = zip(*(values.split(size) for values in inputs.values()), strict=True)
    return [dict(zip(inputs, part, strict=True)) for part in parts]


def _row(*cells: object) -> str:
    return "| " + " | ".join(map(str, cells)) + " |"


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


if __name__ == "__main__":
    main()
