"""``gan-serve generate``, ``condition``, ``interpolate`` and ``mix``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from gan_serve.atomic_files import write_atomically
from gan_serve.cli.options import OutputPath, as_label, sampling_options, seed_options
from gan_serve.errors import InvalidOption
from gan_serve.terminal import echo


@click.command()
@click.argument("model")
@seed_options
@click.option(
    "--label", "labels", multiple=True, help="A class name or index; given once for all images, or once for each image."
)
@click.option("--offsets", help="Numbers such as 1.5,-2 that move every image along `gan-serve directions`.")
@click.option("--columns", type=int, help="Images in a row of the grid.")
@click.option(
    "--scale", type=int, default=1, show_default=True, help="Enlarges a PNG, a GIF or a WebP by a whole number."
)
@click.option("--out", type=OutputPath(), help="A file: .png (a grid), .npz, .zip, .json, .gif, .webp.")
@click.option("--out-dir", type=OutputPath(), help="A folder; it gets one PNG for each image.")
@sampling_options
def generate(
    model: str,
    seeds: str | None,
    seed: int | None,
    n: int | None,
    labels: tuple[str, ...],
    offsets: str | None,
    columns: int | None,
    scale: int,
    out: Path | None,
    out_dir: Path | None,
    truncation: float,
    precision: str,
    device: str,
) -> None:
    """Sample images from a model.

    MODEL is a name of `gan-serve models`, a directory, or org/name on the Hugging Face Hub.
    """
    from gan_serve.generator import Generator

    format = _choose_format(out, out_dir)
    generator = Generator.from_pretrained(model, device=device, precision=precision)
    chosen = [as_label(label, generator.labels) for label in labels]
    label = None if not chosen else chosen[0] if len(chosen) == 1 else chosen
    moves = None if offsets is None else _numbers(offsets)
    samples = generator.sample(n, seed=seed, seeds=seeds, offsets=moves, label=label, truncation=truncation)
    _write_file_or_folder(out, out_dir, samples, format, columns=columns, scale=scale)
    if seeds is None and seed is None:
        _print_seeds(samples.seeds)


@click.command()
@click.argument("model")
@seed_options
@click.option(
    "--label",
    "labels",
    multiple=True,
    help="A class name or index; may be given several times. All classes if not given.",
)
@click.option("--columns", type=int, help="Images in a row of the sheet; a row for each label if not given.")
@click.option("--names", is_flag=True, help="Enlarge small images, and write the class beside each row; no receipt.")
@click.option("--out", type=OutputPath(), help="A file: .png (a sheet), .npz, .zip, .json, .gif, .webp.")
@click.option(
    "--out-dir",
    type=OutputPath(),
    help="A folder; it gets a folder for each label with one PNG for each image.",
)
@sampling_options
def condition(
    model: str,
    seeds: str | None,
    seed: int | None,
    n: int | None,
    labels: tuple[str, ...],
    columns: int | None,
    names: bool,
    out: Path | None,
    out_dir: Path | None,
    truncation: float,
    precision: str,
    device: str,
) -> None:
    """Sample the same latents under each label.

    MODEL is a name of `gan-serve models`, a directory, or org/name on the Hugging Face Hub.

    A PNG is a sheet: a row for each label, a column for each latent.
    """
    from gan_serve.generator import Generator

    format = _choose_format(out, out_dir)
    if names and (out is None or format != "png" or columns is not None):
        raise InvalidOption("--names is for a sheet with a row for each label.", "Give --out FILE.png, no --columns.")
    generator = Generator.from_pretrained(model, device=device, precision=precision)
    chosen = [as_label(label, generator.labels) for label in labels] or None
    samples = generator.sample_condition(n, seed=seed, seeds=seeds, labels=chosen, truncation=truncation)
    if names and out:
        _write_with_names(out, samples)
    else:
        _write_file_or_folder(out, out_dir, samples, format, columns=columns)
    if seeds is None and seed is None:
        _print_seeds(samples.seeds[: samples.columns] if samples.seeds else None)


@click.command()
@click.argument("model")
@click.option("--seeds", required=True, help='Two or more key seeds, such as "0,5,9".')
@click.option("--steps", type=int, default=16, show_default=True, help="Frames from one key seed to the next.")
@click.option("--method", default="slerp", show_default=True, help="slerp or lerp.")
@click.option("--loop", is_flag=True, help="Return to the first key seed.")
@click.option("--label", help="A class name or index for the whole walk.")
@click.option("--fps", type=float, default=12.0, show_default=True, help="Frames a second.")
@click.option(
    "--scale", type=int, default=1, show_default=True, help="Enlarges a PNG, a GIF or a WebP by a whole number."
)
@click.option("--columns", type=int, help="Frames in a row of a PNG; all if not given.")
@click.option("--out", type=OutputPath(), required=True, help="A file: .gif, .webp, .png (a strip), .npz, .zip, .json.")
@sampling_options
def interpolate(
    model: str,
    seeds: str,
    steps: int,
    method: str,
    loop: bool,
    label: str | None,
    fps: float,
    scale: int,
    columns: int | None,
    out: Path,
    truncation: float,
    precision: str,
    device: str,
) -> None:
    """Sample a walk between seeds.

    MODEL is a name of `gan-serve models`, a directory, or org/name on the Hugging Face Hub.
    """
    from gan_serve.generator import Generator

    format = _format(out)
    generator = Generator.from_pretrained(model, device=device, precision=precision)
    samples = generator.sample_walk(
        seeds,
        steps=steps,
        method=method,
        loop=loop,
        label=None if label is None else as_label(label, generator.labels),
        truncation=truncation,
    )
    _write(out, samples, format, columns=columns, fps=fps, scale=scale)


@click.command()
@click.argument("model")
@click.option("--coarse", required=True, help='Seeds of the first layers, such as "0-3": a row for each.')
@click.option("--fine", required=True, help='Seeds of the other layers, such as "4-7": a column for each.')
@click.option("--crossover", type=int, default=4, show_default=True, help="The first layer that follows a fine seed.")
@click.option("--label", help="A class name or index for all images.")
@click.option("--columns", type=int, help="Images in a row of the sheet; one for each fine seed if not given.")
@click.option("--out", type=OutputPath(), help="A file: .png (a sheet), .npz, .zip, .json, .gif, .webp.")
@click.option("--out-dir", type=OutputPath(), help="A folder; it gets one PNG for each image.")
@sampling_options
def mix(
    model: str,
    coarse: str,
    fine: str,
    crossover: int,
    label: str | None,
    columns: int | None,
    out: Path | None,
    out_dir: Path | None,
    truncation: float,
    precision: str,
    device: str,
) -> None:
    """Mix the styles of seeds with MODEL (a name, a directory, or org/name on the Hub), which needs a w space.

    A PNG is a sheet: a row for each coarse seed, a column for each fine seed.
    """
    from gan_serve.generator import Generator

    format = _choose_format(out, out_dir)
    generator = Generator.from_pretrained(model, device=device, precision=precision)
    samples = generator.sample_mix(
        coarse,
        fine,
        crossover=crossover,
        label=None if label is None else as_label(label, generator.labels),
        truncation=truncation,
    )
    _write_file_or_folder(out, out_dir, samples, format, columns=columns)


def _numbers(text: str) -> list[float]:
    try:
        return [float(part) for part in text.split(",")]
    except ValueError as error:
        raise InvalidOption(f"--offsets must be numbers such as 1.5,-2, not {text!r}.") from error


def _format(out: Path) -> str:
    from gan_serve.sampling.formats import FORMATS

    format = out.suffix.lower().removeprefix(".")
    if format not in FORMATS:
        raise InvalidOption(
            f"{out} does not have the suffix of a supported format.", f"Use one of: .{', .'.join(FORMATS)}."
        )
    return format


def _choose_format(out: Path | None, out_dir: Path | None) -> str:
    if (out is None) == (out_dir is None):
        raise InvalidOption("Give either --out or --out-dir.", "For example: --out grid.png")
    return _format(out) if out else "png"


def _write_file_or_folder(
    out: Path | None, out_dir: Path | None, samples: Any, format: str, *, columns: int | None, scale: int = 1
) -> None:
    """Write one file, or a folder of them."""
    from gan_serve.sampling.formats import image_names

    if out:
        _write(out, samples, format, columns=columns, scale=scale)
    elif out_dir:
        for index, name in enumerate(image_names(samples)):
            write_atomically(out_dir / name, samples.png(index, scale))
        echo(out_dir)


def _write_with_names(out: Path, samples: Any) -> None:
    """Write a sheet with class names, which is another picture than the one that a receipt could describe."""
    from gan_serve.images.captions import enlarge_small, with_row_names
    from gan_serve.images.png import encode_png

    sheet = enlarge_small(samples.sheet()[0], samples.pixels.shape[2])
    echo(write_atomically(out, encode_png(with_row_names(sheet, list(dict.fromkeys(samples.labels))))))


def _print_seeds(seeds: list[int] | None) -> None:
    from gan_serve.sampling.seeds import format_seeds

    echo(f"random seeds: {format_seeds(seeds or [])}", err=True)


def _write(out: Path, samples: Any, format: str, **options: Any) -> None:
    from gan_serve.sampling.formats import encode

    echo(write_atomically(out, encode(samples, format, **options)))
