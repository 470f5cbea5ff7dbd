"""The command ``gan-serve project``. Torch is imported only when it runs."""

from __future__ import annotations

import shlex
import sys
import time
from pathlib import Path

import click

from gan_serve.atomic_files import write_atomically
from gan_serve.cli import needs_extra
from gan_serve.cli.options import OutputPath, as_label, fit_option
from gan_serve.terminal import echo


@click.command()
@click.argument("model")
@click.argument("images", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="IMAGE...")
@click.option(
    "--out",
    type=OutputPath(),
    required=True,
    help="A file .npz for what is found: latents, labels, and the PSNR of each, in dB.",
)
@click.option(
    "--sheet", type=OutputPath(), help="A PNG of the search: each picture, and images from the start to the end."
)
@click.option(
    "--label",
    "labels",
    multiple=True,
    help="A class name or index; given once for all pictures, or once for each. All classes are tried if not given.",
)
@fit_option
@click.option(
    "--features",
    help="The extractor that compares images beside their pixels: a name, a folder, none; default: the model's own.",
)
@click.option(
    "--starts",
    type=int,
    default=8,
    show_default=True,
    help="Random latents to start from, 1 to 64; the best end is kept.",
)
@click.option("--steps", type=click.IntRange(1, 10_000), default=40, show_default=True, help="Steps of each start.")
@click.option("--seed", type=int, default=0, show_default=True, help="The seed of the first of these latents.")
@click.option("--quiet", is_flag=True, help="Show no progress bar.")
def project(
    model: str,
    images: tuple[Path, ...],
    out: Path,
    sheet: Path | None,
    labels: tuple[str, ...],
    fit: str,
    features: str | None,
    starts: int,
    steps: int,
    seed: int,
    quiet: bool,
) -> None:
    """Find the latents of pictures.

    The images of these latents are the nearest to each IMAGE (PNG, JPEG, WebP, GIF, BMP) that the search found in
    MODEL, which is a name of `gan-serve models`, a directory, or org/name on the Hugging Face Hub. `generate` and
    `interpolate` take the file with --latents. docs/project.md shows what to expect.
    """
    with needs_extra("train"):
        from gan_serve.checkpoint.files import read_config
        from gan_serve.hub.resolve import resolve
        from gan_serve.images.png import encode_png
        from gan_serve.training.projection.known import known_psnr
        from gan_serve.training.projection.project import project as run
        from gan_serve.training.projection.search import Search
        from gan_serve.training.projection.sheet import sheet as make_sheet

    class_names = read_config(resolve(model)).class_names if labels else ()
    chosen = [as_label(label, class_names) for label in labels]
    start = time.perf_counter()
    found = run(
        model,
        images,
        label=None if not chosen else chosen[0] if len(chosen) == 1 else chosen,
        fit=fit,
        features=features,
        starts=starts,
        seed=seed,
        search=Search(steps=steps),
        progress=not quiet and sys.stderr.isatty(),
    )
    seconds = time.perf_counter() - start
    for note in found.notes:
        echo(f"{note[0].upper()}{note[1:]}.", err=True)
    for place, image in enumerate(images):
        label = f", label {found.labels[place]}" if found.labels else ""
        echo(f"{image}: PSNR {found.psnr[place]:.1f} dB{label}")
    if known := known_psnr(found.digest):
        real = f", held-out images of {known.data} {known.real:.1f} dB" if known.real is not None else ""
        echo(f"In comparison (medians): images of the model {known.generated:.1f} dB{real}")
    if sheet:
        echo(write_atomically(sheet, encode_png(make_sheet(found))))
    echo(write_atomically(out, found.npz()))
    echo(f"{len(found)} {'picture' if len(found) == 1 else 'pictures'} in {seconds:.1f} s", err=True)
    echo(f"Next: {shlex.join(['gan-serve', 'generate', model, '--latents', str(out), '--out', 'found.png'])}", err=True)
