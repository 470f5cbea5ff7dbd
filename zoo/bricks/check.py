"""Compare 100 images rendered on this machine with reference.png; they may differ by at most 2 grey levels.

python zoo/bricks/check.py            compare, if make.py reports another digest than the pinned one
python zoo/bricks/check.py --write    write reference.png, after an intended change of the pixels
"""

from __future__ import annotations

import sys
from pathlib import Path

import click
import numpy as np
from PIL import Image

from gan_serve.images.grid import cut_grid, grid
from gan_serve.images.pixels import to_pil

try:
    import scene
except ModuleNotFoundError as error:
    sys.exit(f"{error.name} is not installed: pip install -r zoo/bricks/requirements.txt")

REFERENCE = Path(__file__).with_name("reference.png")
CHECKED = range(0, 45_700, 457)  # 100 images of both splits; 457 is not a multiple of 2 or 3, so that all kinds occur
COLUMNS = 10
TOLERANCE = 2  # grey levels


@click.command()
@click.option("--write", is_flag=True, help="Write reference.png instead of comparing with it.")
def main(write: bool) -> None:
    """Render 100 fixed images of the data set bricks and compare them with reference.png."""
    images = np.stack([scene.render(index) for index in CHECKED])
    if write:
        to_pil(grid(images, COLUMNS)).save(REFERENCE, optimize=True)
        return
    beyond, greatest = compare(images, cut_grid(np.asarray(Image.open(REFERENCE)), len(CHECKED), COLUMNS))
    for index in beyond:
        click.echo(f"image {index} is more than {TOLERANCE} grey levels off")
    click.echo(
        f"{len(CHECKED) - len(beyond)} of {len(CHECKED)} images are within {TOLERANCE} grey levels of ", nl=False
    )
    click.echo(f"{REFERENCE.name}; the greatest difference is {greatest}.")
    sys.exit(1 if beyond else 0)


def compare(images: np.ndarray, expected: np.ndarray) -> tuple[list[int], int]:
    """Return the indices of the images beyond the tolerance, and the greatest difference in grey levels."""
    worst = np.abs(images.astype(int) - expected).max(axis=(1, 2, 3))
    return [index for index, value in zip(CHECKED, worst, strict=True) if value > TOLERANCE], int(worst.max())


if __name__ == "__main__":
    main()
