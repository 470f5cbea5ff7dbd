"""Measure a translator on pairs, beside simple ways to do the same; without pairs, by the style and the way back."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from PIL import Image

from gan_serve.images.pixels import UInt8Array, from_pil, to_pil
from gan_serve.training.evaluation.extractor_registry import find_extractor
from gan_serve.training.evaluation.feature_maps import FeatureMaps
from gan_serve.training.evaluation.pixel_metrics import mean_gradient, random_sample
from gan_serve.training.translation.measure import compare
from gan_serve.training.translation.pairs import PairedImages

MOST = 1000  # inputs that are translated
Translate = Callable[[UInt8Array], UInt8Array]
RESAMPLED = {"nearest": Image.Resampling.NEAREST, "bicubic": Image.Resampling.BICUBIC}


def measure_pairs(translate: Translate, data: PairedImages, features: str, split: str) -> dict[str, float]:
    """Return PSNR, SSIM and perceptual distance of the outputs, by names such as ``psnr_1000_test``.

    With them those of inputs that are resized to the targets' size by repeating pixels (``nearest``) and bicubically,
    and the sharpness of all, ``mean_gradient``, relative to the targets'.

    Args:
        translate: uint8 [N, h, w, C] -> uint8 [N, H, W, C]. data: pairs. features: of the perceptual distance.
        split: of the data, for the names.
    """
    rows = random_sample(len(data.inputs), MOST)
    inputs, targets = data.inputs.images[rows], data.targets.images[rows]
    maps = FeatureMaps(features)
    results = {"": translate(inputs)}
    if inputs.shape[3] == targets.shape[3]:
        results |= {f"_{name}": resized(inputs, targets.shape[1], filter) for name, filter in RESAMPLED.items()}
    metrics: dict[str, float] = {}
    real = mean_gradient(targets)
    for suffix, images in results.items():
        found = compare(images, targets, maps) | {"sharpness": round(mean_gradient(images) / max(real, 1e-9), 4)}
        for name, value in found.items():
            named = f"{name}-{maps.name}" if name == "perceptual" else name
            metrics[f"{named}_{len(rows)}_{split}{suffix}"] = value
    return metrics


def measure_sets(
    translate: Translate, back: Translate | None, data: PairedImages, features: str, split: str, target: str | None
) -> dict[str, float]:
    """Return the share of outputs that the extractor takes for the target's label, and the error after there and back.

    The error is the mean absolute difference in grey levels. The share is measured where the extractor knows the label.

    Args:
        translate, back: uint8 [N, H, W, C] -> uint8 [N, H, W, C]; ``back`` is None where it is not known.
        data: the two sets. features: an extractor. split: of the data. target: the label of the targets.
    """
    inputs = data.inputs.images[random_sample(len(data.inputs), MOST)]
    targets = data.targets.images[random_sample(len(data.targets), MOST)]
    outputs = translate(inputs)
    metrics: dict[str, float] = {}
    extractor = find_extractor(features)
    if target in extractor.class_names:
        label = extractor.class_names.index(target)
        for suffix, images in (("", outputs), ("_inputs", inputs), ("_targets", targets)):
            share = float((extractor(images).logits.argmax(1) == label).mean())
            metrics[f"style-{extractor.name}_{len(images)}_{split}{suffix}"] = round(share, 4)
    if back is not None:
        error = float(np.abs(back(outputs).astype(np.int16) - inputs).mean())
        metrics[f"cycle_{len(inputs)}_{split}"] = round(error, 3)
    metrics[f"moved_{len(inputs)}_{split}"] = round(float(np.abs(outputs.astype(np.int16) - inputs).mean()), 3)
    return metrics


def resized(images: UInt8Array, side: int, filter: Image.Resampling) -> UInt8Array:
    """Return images uint8 [N, H, W, C] resized to ``side`` with one of Pillow's filters."""
    return np.stack([from_pil(to_pil(image).resize((side, side), filter)) for image in images])
