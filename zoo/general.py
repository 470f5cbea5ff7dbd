"""Gather the images of the feature extractor cnn-general: ``python zoo/general.py general.npz --emoji DIR``.

Images of several kinds that may be shipped, 32x32 RGB, each with its own classes: garments, avatars (of ``make
avatars``), scikit-learn's 8x8 digits, and emoji by category. DIR is the npm package emoji-datasource-twitter (pictures
CC BY 4.0, Twitter and other contributors), as ``npm pack`` and ``tar -xzf`` write it. Then::

    python -m gan_serve.exports.feature_extractor --data general.npz --holdout 0.1 --epochs 5 --out cnn-general
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits

from gan_serve.training.data.image_set import ImageSet, fit
from gan_serve.training.data.load import load_images

SIZE, CHANNELS = 32, 3
NAMED = ("fashion-mnist", "avatars")
SMALL_CATEGORY = "Component"  # five pictures of skin tones


def gather(emoji: Path, each: int) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Return images uint8 [N, 32, 32, 3], labels int64 [N] and class names."""
    sets = [
        load_images(name, resolution=SIZE, channels=CHANNELS, split="test" if name == "avatars" else "train")
        for name in NAMED
    ]
    digits = load_digits()
    pixels = (digits.images * (255 / 16)).round().astype(np.uint8)[..., None]
    sets.append(ImageSet("digits", pixels, digits.target.astype(np.int64), tuple(map(str, range(10)))))
    sets.append(read_emoji(emoji))
    images, labels, names = [], [], []
    for data in sets:
        rows = np.random.default_rng(0).permutation(len(data))[:each]
        fitted = fit(ImageSet(data.name, data.images[rows]), SIZE, CHANNELS).images
        images.append(fitted)
        labels.append(data.labels[rows] + len(names))
        names += [f"{data.name}: {name}" for name in data.class_names]
    return np.concatenate(images), np.concatenate(labels), names


def read_emoji(folder: Path) -> ImageSet:
    """Return the pictures on white, with their categories as classes."""
    entries = json.loads((folder / "emoji.json").read_text())
    entries = [entry for entry in entries if entry["has_img_twitter"] and entry["category"] != SMALL_CATEGORY]
    names = sorted({entry["category"] for entry in entries})
    images = []
    for entry in entries:
        with Image.open(folder / "img" / "twitter" / "64" / entry["image"]) as picture:
            white = Image.new("RGBA", picture.size, "white")
            images.append(np.asarray(Image.alpha_composite(white, picture.convert("RGBA")).convert("RGB")))
    labels = np.array([names.index(entry["category"]) for entry in entries], np.int64)
    return ImageSet("emoji", np.stack(images), labels, tuple(names))


def main() -> None:
    """Write the file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--emoji", type=Path, required=True, help="the unpacked npm package")
    parser.add_argument("--each", type=int, default=3000, help="images of each kind at most")
    arguments = parser.parse_args()
    images, labels, names = gather(arguments.emoji, arguments.each)
    np.savez(arguments.out, images=images, labels=labels, class_names=np.array(names))
    print(f"{len(images):,} images of {len(names)} classes: {arguments.out}")


if __name__ == "__main__":
    main()
