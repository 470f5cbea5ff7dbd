"""Measure sampling: start-up, latents, the network compared with PyTorch, PNG. ``make bench`` writes sampling.md.

Comparisons run in one process, interleaved, with one thread each. Results are medians over the rounds; on a shared
machine, only the ratios are meaningful.
"""

from __future__ import annotations

import dataclasses
import io
import platform
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from PIL import Image
from safetensors.torch import load_file
from sklearn.datasets import load_sample_images
from timing import ROUNDS, interleaved

from gan_serve import Generator
from gan_serve.checkpoint.config import WEIGHTS_FILE
from gan_serve.images.pixels import to_pil
from gan_serve.images.png import encode_png
from gan_serve.sampling.latents import latents_from_seeds
from gan_serve.training.networks import build_generator

NAME = "fashion-dcgan"
BATCHES = (1, 8, 64)


def main() -> None:
    torch.set_num_threads(1)
    lines = [
        "# Sampling",
        "",
        f"Written by `make bench` (benchmarks/sampling.py) with {NAME}; {platform.processor() or platform.machine()}, "
        f"one thread, ONNX Runtime {onnxruntime.__version__}, torch {torch.__version__}, NumPy {np.__version__}. "
        f"Medians of {ROUNDS} interleaved rounds.",
        "",
        "| | time |",
        "|---|---|",
        f"| `import gan_serve` in a new process, without the start of Python | {import_time():.2f} s |",
        f"| new process to first image saved | {first_image_time():.2f} s |",
        "",
        "| images/s at batch | " + " | ".join(map(str, BATCHES)) + " |",
        "|---|" + "---|" * len(BATCHES),
        *network_rows(),
        "",
        "| a latent of 100 | µs |",
        "|---|---|",
        *latent_rows(),
        "",
        "PNG: gan-serve's encoder compared with Pillow at `compress_level=1`, without text; then with the receipt. "
        "Gray images are sampled from the checkpoint, RGB images are crops of two photographs.",
        "",
        "| an image | gan-serve µs | Pillow µs | ratio | gan-serve bytes | Pillow bytes | with its receipt µs |",
        "|---|---|---|---|---|---|---|",
        *png_rows(),
    ]
    text = "\n".join(lines) + "\n"
    (Path(__file__).parent / "sampling.md").write_text(text)
    print(text)


def import_time() -> float:
    empty, full = interleaved(lambda: _python("pass"), lambda: _python("import gan_serve"))
    return full - empty


def first_image_time() -> float:
    code = f"import gan_serve, os; gan_serve.generate({NAME!r}, seed=1)[0].save(os.devnull, 'PNG')"
    [seconds] = interleaved(lambda: _python(code))
    return seconds


def network_rows() -> list[str]:
    generator = Generator.from_pretrained(NAME, device="cpu")
    config = generator.config
    eager = build_generator(config.architecture.family, **config.architecture.arguments).eval()
    eager.load_state_dict(load_file(generator.directory / WEIGHTS_FILE))

    def torch_pixels(latents: torch.Tensor) -> np.ndarray:
        with torch.inference_mode():
            images = eager(latents).permute(0, 2, 3, 1)
            return ((images + 1) * 127.5).round().clamp(0, 255).to(torch.uint8).numpy()

    ours, theirs = [], []
    for batch in BATCHES:
        latents = latents_from_seeds(range(batch), generator.z_dim)
        tensor = torch.from_numpy(latents)
        repeats = max(1, 64 // batch)
        a, b = interleaved(
            lambda z=latents: generator._session.run(z),
            lambda z=tensor: torch_pixels(z),
            repeats=repeats,
        )
        ours.append(batch / a)
        theirs.append(batch / b)
    ratios = [x / y for x, y in zip(ours, theirs, strict=True)]
    return [
        "| gan-serve (ONNX Runtime) | " + " | ".join(f"{x:.0f}" for x in ours) + " |",
        "| PyTorch eager | " + " | ".join(f"{x:.0f}" for x in theirs) + " |",
        "| ratio | " + " | ".join(f"**{x:.2f}**" for x in ratios) + " |",
    ]


def latent_rows() -> list[str]:
    seeds = range(1000)

    def anew() -> None:
        for seed in seeds:
            np.random.RandomState(seed).standard_normal(100).astype(np.float32)

    reseeded, new = interleaved(lambda: latents_from_seeds(seeds, 100), anew)
    return [
        f"| one `RandomState`, reseeded (ours) | {reseeded * 1e3:.1f} |",
        f"| a new `RandomState` a seed | {new * 1e3:.1f} |",
        f"| ratio | **{new / reseeded:.1f}** |",
    ]


def png_rows() -> list[str]:
    drawn = Generator.from_pretrained(NAME, device="cpu").sample(64, seed=0)
    rows = []
    for samples in (drawn, dataclasses.replace(drawn, pixels=photographs())):
        pixels = samples.pixels
        ours, theirs, whole = interleaved(
            lambda pixels=pixels: [encode_png(image) for image in pixels],
            lambda pixels=pixels: [pillow_png(image) for image in pixels],
            lambda samples=samples: [samples.png(index) for index in range(len(samples))],
        )
        sizes = [sum(len(encode(image)) for image in pixels) / len(pixels) for encode in (encode_png, pillow_png)]
        row = [
            "x".join(map(str, pixels.shape[1:])),
            *(f"{seconds / len(pixels) * 1e6:.0f}" for seconds in (ours, theirs)),
            f"**{theirs / ours:.1f}**",
            *(f"{size:.0f}" for size in sizes),
            f"{whole / len(pixels) * 1e6:.0f}",
        ]
        rows.append("| " + " | ".join(row) + " |")
    return rows


def photographs() -> np.ndarray:
    """Return uint8 [64, 64, 64, 3], crops of scikit-learn's photographs of a temple and a flower at half their size."""
    pieces = []
    for photograph in load_sample_images().images:
        half = np.asarray(Image.fromarray(photograph).reduce(2))
        rows, columns = half.shape[0] // 64, half.shape[1] // 64
        cut = half[: rows * 64, : columns * 64].reshape(rows, 64, columns, 64, 3).swapaxes(1, 2)
        pieces.append(cut.reshape(-1, 64, 64, 3))
    return np.resize(np.concatenate(pieces), (64, 64, 64, 3))


def pillow_png(pixels: np.ndarray) -> bytes:
    out = io.BytesIO()
    to_pil(pixels).save(out, "PNG", compress_level=1)
    return out.getvalue()


def _python(code: str) -> None:
    subprocess.run([sys.executable, "-c", code], check=True)


if __name__ == "__main__":
    main()
