"""Write a folder of photographs to train on: ``python benchmarks/photo_crops.py WALLPAPERS photos``.

2,000 crops of 64 to 200 pixels, JPEG and PNG, of scikit-learn's two sample images and of all pictures under the folder
WALLPAPERS: for example Debian's packages mate-backgrounds, gnome-backgrounds and plasma-workspace-wallpapers, unpacked
with ``apt-get download`` and ``dpkg -x``.
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Iterator
from pathlib import Path

from PIL import Image
from sklearn.datasets import load_sample_images

LARGEST = 1400  # pixels; larger pictures are made smaller first, so that crops show more than a colour
SMALLEST = 600  # pixels; smaller pictures are icons
SIDES = (64, 200)


def pictures(folder: Path) -> Iterator[Image.Image]:
    """Yield the sample images, and the pictures under a folder."""
    yield from map(Image.fromarray, load_sample_images().images)
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() not in (".jpg", ".jpeg", ".png") or "icons" in path.parts:
            continue
        picture = Image.open(path)
        if min(picture.size) >= SMALLEST:
            rgb = picture.convert("RGB")
            rgb.thumbnail((LARGEST, LARGEST))
            yield rgb


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("wallpapers", type=Path)
    parser.add_argument("out", type=Path, help="a new folder")
    parser.add_argument("--n", type=int, default=2000)
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True)
    Image.MAX_IMAGE_PIXELS = None  # wallpapers of the system
    sources, places = list(pictures(arguments.wallpapers)), random.Random(0)
    for number in range(arguments.n):
        source = sources[number % len(sources)]
        width, height = places.randint(*SIDES), places.randint(*SIDES)
        left, top = places.randint(0, source.width - width), places.randint(0, source.height - height)
        crop = source.crop((left, top, left + width, top + height))
        crop.save(arguments.out / f"IMG_{number:04d}.{'jpg' if number % 4 else 'png'}", quality=88)
    print(f"{arguments.n} crops of {len(sources)} pictures: {arguments.out}")


if __name__ == "__main__":
    main()
