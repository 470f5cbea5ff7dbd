"""Test whether a person can tell sampled images from real ones.

``write_sheets`` shuffles and numbers 32 of each, and writes sheets and a key; ``count_answers`` counts the correct
answers of a person. Guessing gives half of them.
"""

from __future__ import annotations

import json
from math import comb
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from zoo_entries import Entry

from gan_serve import Generator
from gan_serve.atomic_files import check_new_directory, directory_atomically
from gan_serve.checkpoint.config import PRECISION_FILES
from gan_serve.errors import InvalidOption
from gan_serve.images.pixels import to_pil
from gan_serve.sampling.seeds import parse_seeds
from gan_serve.training.data.load import load_images
from gan_serve.training.data.splits import HOLDOUT

OF_EACH = 32
FIRST_SEED = 1000  # no page shows the seeds from this one on
PER_SHEET, COLUMNS = 16, 4
CELL, HEAD = 192, 22  # pixels of an image and of its number on a sheet
KEY_FILE = "key.json"


def write_sheets(checkpoint: Path, entry: Entry, out: Path, *, data: str, seed: int = 0) -> list[Path]:
    """Write ``sheet-1.png``, ... and ``key.json`` into ``out``, a new folder; return their paths.

    The real images are chosen at random from the split that training did not see. A conditional generator samples
    images with the same labels, so that the classes give no hint.

    Args:
        checkpoint: the directory of the checkpoint. entry: its table in ``zoo.toml``, for labels and holdout.
        data: see ``load_images``.
        seed: seed for the choice of real images and the order. The sampled images have the seeds from 1000 + 32
            ``seed`` on.

    Raises:
        InvalidOption: fewer than 32 real images. CannotWrite: ``out`` exists and is not empty.
    """
    check_new_directory(out)
    generator = Generator.from_pretrained(checkpoint, device="cpu")
    holdout = float(entry.set.get("holdout", 0.0))
    real = load_images(
        data, split=HOLDOUT if holdout else "test", resolution=generator.img_resolution,
        channels=generator.img_channels, labels=entry.labels, holdout=holdout,
    )  # fmt: skip
    if len(real) < OF_EACH:
        raise InvalidOption(
            f"{real.name} has only {len(real)} images that training did not see.", f"Give {OF_EACH} or more."
        )
    random = np.random.RandomState(seed)
    chosen = random.permutation(len(real))[:OF_EACH]
    seeds = list(range(FIRST_SEED + OF_EACH * seed, FIRST_SEED + OF_EACH * (seed + 1)))
    label = None
    if generator.c_dim and real.labels is not None:
        label = [real.class_names[number] for number in real.labels[chosen]]
    sampled = generator.generate(seeds=seeds, label=label, output="numpy")
    images = np.concatenate([real.images[chosen], sampled])
    order = random.permutation(len(images))
    key = {
        "model": checkpoint.name,
        "digest": f"sha256:{generator.config.files[PRECISION_FILES['fp32']].sha256}",
        "data": real.name,
        "seeds": seeds,
        "real": [number for number, row in enumerate(order, start=1) if row < OF_EACH],
    }
    with directory_atomically(out) as directory:
        for start in range(0, len(order), PER_SHEET):
            rows = order[start : start + PER_SHEET]
            sheet = _sheet([to_pil(images[row]) for row in rows], first=start + 1)
            sheet.save(directory / f"sheet-{start // PER_SHEET + 1}.png")
        (directory / KEY_FILE).write_text(json.dumps(key, indent=2) + "\n")
    return [*sorted(out.glob("sheet-*.png")), out / KEY_FILE]


def count_answers(out: Path, answers: str) -> str:
    """Return the number of correct answers, as a sentence for the terminal.

    Args:
        out: the folder that ``write_sheets`` wrote. answers: the numbers of the images that look real, such as
            ``1,4,7-9``; all others count as sampled ones.

    Raises:
        InvalidOption: there is no key, or an answer is not the number of an image.
    """
    try:
        key: dict[str, Any] = json.loads((out / KEY_FILE).read_text())
    except OSError as error:
        raise InvalidOption(f"There is no {KEY_FILE} in {out}.", "Write the sheets first, without --real.") from error
    real, total = set(key["real"]), 2 * OF_EACH
    answered = set(parse_seeds(answers)) if answers.strip() else set()
    if wrong := sorted(number for number in answered if not 1 <= number <= total):
        raise InvalidOption(f"There is no image {wrong[0]}.", f"The images are numbered from 1 to {total}.")
    right = len(real & answered) + (total - len(real | answered))
    by_chance = sum(comb(total, k) for k in range(right, total + 1)) / 2**total
    return (
        f"{key['model']}: {right} of {total} right, {right / total:.0%} ({len(real & answered)} of {OF_EACH} real ones "
        f"found, {len(answered - real)} of {OF_EACH} sampled ones taken for real). Guessing gives as many or more with "
        f"probability {by_chance:.2g}. For docs/zoo.toml: by_eye.blind = {right / total:.3g}"
    )


def _sheet(images: list[Image.Image], first: int) -> Image.Image:
    rows = -(-len(images) // COLUMNS)
    sheet = Image.new("RGB", (COLUMNS * (CELL + 8) + 8, rows * (CELL + HEAD + 8) + 8), "white")
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(size=HEAD - 4)
    for place, image in enumerate(images):
        row, column = divmod(place, COLUMNS)
        left, top = 8 + column * (CELL + 8), 8 + row * (CELL + HEAD + 8)
        pen.text((left, top), str(first + place), fill="black", font=font)
        sheet.paste(image.convert("RGB").resize((CELL, CELL), Image.Resampling.NEAREST), (left, top + HEAD))
    return sheet
