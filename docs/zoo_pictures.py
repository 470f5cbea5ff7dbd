"""The pictures of the zoo's page: grids, classes, walks, truncation in w, style mixing."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from PIL import Image

from gan_serve import Generator
from gan_serve.atomic_files import write_atomically
from gan_serve.checkpoint.config import SAMPLES_FILE
from gan_serve.exports.report import NEIGHBOURS_PICTURE
from gan_serve.images.animation import encode_animation
from gan_serve.images.captions import SMALL, enlarge_small, with_row_names
from gan_serve.images.grid import grid
from gan_serve.images.pixels import UInt8Array, to_pil

COLOURS = 128  # in an RGB picture on the page, to keep it small; the checkpoint has the exact one
WALK_SEEDS, WALK_STEPS = (0, 1, 2), 5
SHEET_SEEDS, SHEET_LABELS = range(10), 16
PSIS = (1.0, 0.7, 0.5, 0.3, 0.0)
CARD_SEEDS, CARD_STEPS, CARD_FPS, CARD_SIDE = range(8), 8, 12, 84  # the card of a model; its animation is that wide
MIXED_ROWS, MIXED_COLUMNS = range(6), range(10, 18)


def make_pictures(name: str, directory: Path, folder: Path) -> dict[str, str]:
    """Write the pictures of a checkpoint to ``folder`` as ``name-kind.png``; return their captions by kind."""
    generator = Generator.from_pretrained(directory, device="cpu")
    small = generator.img_resolution <= SMALL  # shown twice as large
    seeds = range(64 if small else 32)  # fewer of the larger images, for the same file size
    by_class = "; seed s takes class s mod " + str(generator.c_dim) if generator.c_dim else ""
    captions = {"grid": f"Seeds 0 to {seeds[-1]}, not selected, truncation 1{by_class}."}
    sheets = {"grid": grid(generator.generate(seeds=list(seeds), output="numpy"), 8)}
    if generator.c_dim:
        labels = generator.class_names[:SHEET_LABELS]
        drawn = generator.condition(seeds=list(SHEET_SEEDS), labels=list(labels), output="numpy")
        sheets["classes"] = grid(np.concatenate(list(drawn.values())), len(SHEET_SEEDS))
        captions["classes"] = (
            f"A column for each of the seeds {SHEET_SEEDS[0]} to {SHEET_SEEDS[-1]}, with the same latent in all of its "
            f"images; a row for each label: {', '.join(labels)}."
        )
    walk = generator.interpolate(
        list(WALK_SEEDS), steps=WALK_STEPS, label=0 if generator.c_dim else None, output="numpy"
    )
    sheets["walk"] = grid(walk, len(walk))
    of_class = f", class {generator.class_names[0]}" if generator.c_dim else ""
    captions["walk"] = (
        f"A walk (slerp) through the seeds {', '.join(map(str, WALK_SEEDS))}, {WALK_STEPS} steps from one to the "
        f"next{of_class}."
    )
    if generator.config.truncation_space == "w":
        rows = [generator.generate(seeds=list(SHEET_SEEDS), truncation=psi, output="numpy") for psi in PSIS]
        sheets["psi"] = grid(np.concatenate(rows), len(SHEET_SEEDS))
        captions["psi"] = (
            "Truncation in w: a column for each seed, and from top to bottom psi "
            f"{', '.join(f'{psi:g}' for psi in PSIS)}. At 0, all images are that of the mean w."
        )
        sheets["mixing"] = style_mixing(generator)
        captions["mixing"] = (
            "Style mixing: an image has the coarse styles of the image at the left of its row, and the fine styles "
            "(from 16x16 pixels on) of the image at the top of its column."
        )
    sheets["strip"] = grid(generator.generate(seeds=list(CARD_SEEDS), output="numpy"), len(CARD_SEEDS))
    captions["strip"] = f"Eight images of {name}: seeds {CARD_SEEDS[0]} to {CARD_SEEDS[-1]}"
    moving = generator.interpolate(
        list(WALK_SEEDS), steps=CARD_STEPS, loop=True, label=0 if generator.c_dim else None, output="numpy"
    )
    scale = max(1, CARD_SIDE // generator.img_resolution)
    write_atomically(folder / f"{name}-walk.webp", encode_animation(moving, "webp", fps=CARD_FPS, scale=scale))
    captions["moving"] = f"A walk of {name} through seeds {', '.join(map(str, WALK_SEEDS))}"
    for kind, sheet in sheets.items():
        shown = enlarge_small(sheet, generator.img_resolution)
        if kind == "classes":
            shown = with_row_names(shown, generator.class_names[:SHEET_LABELS])
        write_atomically(folder / f"{name}-{kind}.png", small_png(to_pil(shown)))
    if (directory / NEIGHBOURS_PICTURE).is_file():
        with Image.open(directory / NEIGHBOURS_PICTURE) as picture:
            write_atomically(folder / f"{name}-neighbours.png", small_png(picture, 2 if small else 1))
        captions["neighbours"] = (
            "The generated images that are most like a training image, each above that training image; at the "
            "beginning one of each class."
        )
    return captions


def show_translations(name: str, directory: Path, folder: Path) -> dict[str, str]:
    """Write the samples of a translator to ``folder`` as ``name-samples.png``; return their caption by kind."""
    with Image.open(directory / SAMPLES_FILE) as picture:
        write_atomically(folder / f"{name}-samples.png", small_png(picture))
    return {"samples": f"Inputs of {name}, each above its output, and above its target where there is one"}


def style_mixing(generator: Generator) -> UInt8Array:
    """Return mixed styles (Karras et al. 2019, figure 3): coarse seeds at the left, fine seeds at the top."""
    rows, columns = list(MIXED_ROWS), list(MIXED_COLUMNS)
    top, left = (generator.generate(seeds=seeds, output="numpy") for seeds in (columns, rows))
    mixed = generator.mix(rows, columns, output="numpy").reshape(len(rows), len(columns), *top.shape[1:])
    body = np.concatenate([left[:, None], mixed], axis=1).reshape(-1, *top.shape[1:])
    return grid(np.concatenate([np.full_like(top[:1], 255), top, body]), len(columns) + 1)


def small_png(image: Image.Image, scale: int = 1) -> bytes:
    """Return a small PNG, enlarged ``scale`` times by repeating pixels; RGB is reduced to ``COLOURS`` colours."""
    shown = image.convert("L" if image.mode == "L" else "RGB")
    if shown.mode == "RGB":
        shown = shown.quantize(COLOURS, dither=Image.Dither.FLOYDSTEINBERG)
    shown = shown.resize((image.width * scale, image.height * scale), Image.Resampling.NEAREST)
    out = io.BytesIO()
    shown.save(out, "png", optimize=True)
    return out.getvalue()
