"""Check that cnn-general ranks worse images of photographs as worse: ``python benchmarks/general_features.py``.

The photographs are crops of scikit-learn's two sample images, which no extractor of ours has seen. Each series goes
from real crops to worse images, and the kernel distance to other real crops must grow with each step. The last series
trains a small generator for some minutes. The figures go to benchmarks/general_features.md.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter
from sklearn.datasets import load_sample_images

from gan_serve.exports.samplers import run_sampler
from gan_serve.training.config import make_config
from gan_serve.training.data.load import load_images
from gan_serve.training.evaluation.extractor_registry import find_extractor
from gan_serve.training.evaluation.features import GENERAL
from gan_serve.training.evaluation.metrics import kernel_distance, manifold_metrics
from gan_serve.training.loop import train
from gan_serve.training.snapshots import snapshots

SIZE, N = 32, 500
CROP = 96  # pixels of a photograph that become one image
SETTINGS = {"resolution": SIZE, "channels": 3, "width": 0.25, "batch_size": 32, "threads": 1, "device": "cpu"}
TICKS = {"kimg_per_tick": 3, "keep_snapshots": 99, "ticks_per_evaluation": 0, "z_dim": 64}


def crops(photo: int, n: int, seed: int) -> np.ndarray:
    """Return n random crops of a photograph, uint8 [N, SIZE, SIZE, 3]."""
    random = np.random.default_rng(seed)
    picture = Image.fromarray(load_sample_images().images[photo])
    places = random.integers(0, (picture.width - CROP, picture.height - CROP), (n, 2))
    parts = (picture.crop((x, y, x + CROP, y + CROP)).resize((SIZE, SIZE), Image.Resampling.LANCZOS) for x, y in places)
    return np.array([np.asarray(part) for part in parts], np.uint8).reshape(n, SIZE, SIZE, 3)


def both(n: int, seed: int, share: float = 0.5) -> np.ndarray:
    """Return crops of both photographs; ``share`` of them of the first."""
    first = round(n * share)
    return np.concatenate([crops(0, first, seed), crops(1, n - first, seed + 1)])


def blurred(images: np.ndarray, radius: float) -> np.ndarray:
    return np.stack([np.asarray(Image.fromarray(each).filter(ImageFilter.GaussianBlur(radius))) for each in images])


def noisy(images: np.ndarray, deviation: float) -> np.ndarray:
    noise = np.random.default_rng(9).normal(0, deviation, images.shape)
    return (images + noise).round().clip(0, 255).astype(np.uint8)


def of_snapshots(kimg: float) -> list[tuple[str, np.ndarray]]:
    """Train a small generator and return images of an early, a middle and the last snapshot, the last one first."""
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder, "photos.npz")
        np.savez(data, images=both(2000, seed=20))
        config = make_config("dcgan-28", SETTINGS | TICKS | {"data": str(data), "kimg": kimg})
        train(config, Path(folder, "run"), quiet=True)
        paths = snapshots(Path(folder, "run"))
        chosen = [paths[-1], paths[len(paths) // 3], paths[0]]
        return [(path.stem, run_sampler(Path(folder, "run"), str(path)).sample(range(N), None, 1.0)) for path in chosen]


def of_folder(folder: Path) -> tuple[np.ndarray, dict[str, list[tuple[str, np.ndarray]]]]:
    """Return N images of a folder of photographs, and the series of N others; its dark ones are the missing class."""
    images = load_images(folder, resolution=SIZE, channels=3).images
    images = images[np.random.default_rng(0).permutation(len(images))]
    real, others, rest = images[:N], images[N : 2 * N], images[N:]
    bright = rest[rest.mean((1, 2, 3)) >= np.median(rest.mean((1, 2, 3)))]
    missing = [(f"{share:.0%} bright", bright_share(others, bright, share)) for share in (0.5, 0.65, 0.8, 0.9, 1)]
    return real, {"blur": blurs(others), "noise": noises(others), "missing class": missing}


def bright_share(images: np.ndarray, bright: np.ndarray, share: float) -> np.ndarray:
    """Return N images, of which at least ``share`` are bright ones and the others as they come."""
    count = round((share - 0.5) * 2 * N)  # half of those that come are bright already
    return np.concatenate([images[: N - count], bright[:count]])


def blurs(images: np.ndarray) -> list[tuple[str, np.ndarray]]:
    return [(f"radius {radius:g}", blurred(images, radius)) for radius in (0, 0.5, 1, 2, 4)]


def noises(images: np.ndarray) -> list[tuple[str, np.ndarray]]:
    return [(f"deviation {deviation}", noisy(images, deviation)) for deviation in (0, 8, 16, 32, 64)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--features", default=GENERAL)
    parser.add_argument("--kimg", type=float, default=18, help="length of the training; 0 leaves it out")
    parser.add_argument(
        "--photos", type=Path, help="a folder of photographs in place of scikit-learn's; not trained on"
    )
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".md"))
    arguments = parser.parse_args()
    extractor = find_extractor(arguments.features)
    features: Callable[[np.ndarray], np.ndarray] = lambda images: extractor(images).features  # noqa: E731
    if arguments.photos:
        pixels, series = of_folder(arguments.photos)
        source, option = f"photographs of {arguments.photos.name}/", f" --photos {arguments.photos.name}/"
    else:
        pixels, others, source, option = both(N, seed=0), both(N, seed=10), "crops of two photographs", ""
        missing = [(f"{share:.0%} of one photo", both(N, 10, share)) for share in (0.5, 0.65, 0.8, 0.9, 1)]
        series = {"blur": blurs(others), "noise": noises(others), "missing class": missing}
        if arguments.kimg:
            series["snapshots"] = of_snapshots(arguments.kimg)
    real = features(pixels)
    lines = [
        f"# {extractor.name} on photographs",
        "",
        f"`python benchmarks/general_features.py{option}`: {N} images of 32x32 beside {N} real {source}. The",
        "kernel distance must grow from row to row.",
        "",
        "| series | images | kernel distance | coverage | in order |",
        "|---|---|---|---|---|",
    ]
    for name, steps in series.items():
        before = -np.inf
        for step, images in steps:
            found = features(images)
            distance, coverage = kernel_distance(real, found), manifold_metrics(real, found).coverage
            lines.append(
                f"| {name} | {step} | {distance:.5f} | {coverage:.3f} | {'yes' if distance > before else 'NO'} |"
            )
            before = distance
    text = "\n".join(lines) + "\n"
    arguments.out.write_text(text)
    print(text)


if __name__ == "__main__":
    main()
