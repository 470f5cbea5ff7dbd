"""``gan-serve generate``, ``condition``, ``interpolate`` and ``mix``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gan_serve.cli.options import (
    OutputPath,
    as_label,
    latents_option,
    output_options,
    sampling_options,
    scale_option,
    seed_options,
)
from gan_serve.cli.output import choose_format, write_and_report
from gan_serve.errors import InvalidOption

if TYPE_CHECKING:
    from gan_serve.generator import Generator
    from gan_serve.sampling.labels import Labels


@click.command()
@click.argument("model")
@seed_options
@latents_option
@click.option(
    "--label", "labels", multiple=True, help="A class name or index; given once for all images, or once for each image."
)
@click.option(
    "--offsets",
    help="How far to move along the first of `gan-serve directions`, the second, ..., such as 1.5,-2; 1 is a standard "
    "deviation of the latents.",
)
@click.option("--columns", type=int, help="Images in a row of the grid; chosen for a nearly square grid if not given.")
@output_options("a grid")
@sampling_options
def generate(
    model: str,
    seeds: str | None,
    seed: int | None,
    n: int | None,
    file: Path | None,
    labels: tuple[str, ...],
    offsets: str | None,
    columns: int | None,
    out: Path | None,
    out_dir: Path | None,
    scale: int,
    truncation: float,
    precision: str,
    device: str,
) -> None:
    """Sample images from a model.

    MODEL is a name of `gan-serve models`, a directory, or org/name on the Hugging Face Hub.
    """
    from gan_serve.generator import Generator

    format = choose_format(out, out_dir)
    generator = Generator.from_pretrained(model, device=device, precision=precision)
    label = _labels(generator, labels)
    moves = None if offsets is None else _numbers(offsets)
    keys: Any = seeds
    if file is not None:
        keys, label = _keys_of_file(generator, file, seeds, label)
    request = generator.sample_request(n, seed=seed, seeds=keys, offsets=moves, label=label, truncation=truncation)
    write_and_report(generator, request, format)


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
@output_options("a sheet", "A folder for a PNG of each image, in a folder for each label.")
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
    scale: int,
    truncation: float,
    precision: str,
    device: str,
) -> None:
    """Sample the same latents under each label.

    MODEL is a name of `gan-serve models`, a directory, or org/name on the Hugging Face Hub.

    A PNG is a sheet: a row for each label, a column for each latent.
    """
    from gan_serve.generator import Generator

    format = choose_format(out, out_dir)
    if names and (out is None or format != "png" or columns is not None or scale != 1):
        raise InvalidOption(
            "--names is for a sheet with a row for each label.", "Give --out FILE.png, no --columns and no --scale."
        )
    generator = Generator.from_pretrained(model, device=device, precision=precision)
    chosen = _labels(generator, labels)
    request = generator.condition_request(n, seed=seed, seeds=seeds, labels=chosen, truncation=truncation)
    write_and_report(generator, request, format)


@click.command()
@click.argument("model")
@click.option(
    "--seeds", help='The keys, two or more seeds that the walk passes through, such as "0,5,9"; with --latents also @0.'
)
@latents_option
@click.option("--direction", type=int, help="Walk along this direction of `gan-serve directions`, through one key.")
@click.option(
    "--reach",
    type=float,
    default=4.0,
    show_default=True,
    help="With --direction: how far to both sides, in standard deviations of the latents, up to 20.",
)
@click.option("--steps", type=int, default=16, show_default=True, help="Frames from one key to the next.")
@click.option(
    "--method",
    default="slerp",
    show_default=True,
    help="The path between two keys: slerp (an arc, which keeps the length of latents) or lerp (a line).",
)
@click.option("--loop", is_flag=True, help="Return to the first key.")
@click.option(
    "--label",
    "labels",
    multiple=True,
    help="A class name or index; given once for the whole walk, or once for each key: a frame has that of the nearer.",
)
@click.option(
    "--fps", type=float, default=12.0, show_default=True, help="Frames per second of .gif, .webp, .mp4, .webm."
)
@click.option("--columns", type=int, help="Frames in a row of a picture; all if not given.")
@click.option(
    "--out",
    type=OutputPath(),
    required=True,
    help="A file: .gif, .webp, .mp4 or .webm (a film), .png or .jpg (a strip), .npz, .json, .zip (all PNGs).",
)
@scale_option
@sampling_options
def interpolate(
    model: str,
    seeds: str | None,
    file: Path | None,
    direction: int | None,
    reach: float,
    steps: int,
    method: str,
    loop: bool,
    labels: tuple[str, ...],
    fps: float,
    columns: int | None,
    out: Path,
    scale: int,
    truncation: float,
    precision: str,
    device: str,
) -> None:
    """Sample a walk between seeds, or latents.

    The frames lie on the path from each key to the next; a key is a seed or a latent.

    MODEL is a name of `gan-serve models`, a directory, or org/name on the Hugging Face Hub.
    """
    from gan_serve.generator import Generator
    from gan_serve.sampling.seeds import parse_seeds
    from gan_serve.sampling.walks import make_walk

    format = choose_format(out, None)
    generator = Generator.from_pretrained(model, device=device, precision=precision)
    chosen = _labels(generator, labels)
    if file is not None:
        keys, chosen = _keys_of_file(generator, file, seeds, chosen, walk=True)
    elif seeds is None:
        raise InvalidOption("A walk needs --seeds or --latents.", 'For example --seeds "0,5,9".')
    else:
        keys = parse_seeds(seeds)
    if direction is not None:
        if len(keys) != 1:
            raise InvalidOption(f"A walk along a direction has one key, not {len(keys)}.", "For example --seeds 7.")
        [key] = keys
        if chosen is None and generator.c_dim and isinstance(key, int):
            chosen = key % generator.c_dim  # that of the seed, as in other walks
        keys, method = list(generator.direction_keys(direction, key, reach)), "lerp"  # between them it is straight
    walk = make_walk(keys, steps=steps, method=method, loop=loop)
    request = generator.walk_request(walk, label=chosen, truncation=truncation)
    write_and_report(generator, request, format)


@click.command()
@click.argument("model")
@click.option("--coarse", required=True, help='Seeds of the first layers, such as "0-3": a row for each.')
@click.option("--fine", required=True, help='Seeds of the other layers, such as "4-7": a column for each.')
@click.option(
    "--crossover",
    type=int,
    default=4,
    show_default=True,
    help="The first layer that takes its style from a fine seed; 0: all do.",
)
@click.option("--label", help="A class name or index for all images.")
@click.option("--columns", type=int, help="Images in a row of the sheet; one for each fine seed if not given.")
@output_options("a sheet")
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
    scale: int,
    truncation: float,
    precision: str,
    device: str,
) -> None:
    """Mix the styles of two sets of seeds.

    Coarse layers follow one set, fine layers the other.

    MODEL is a name of `gan-serve models`, a directory, or org/name on the Hugging Face Hub. Its network needs a w
    space, as StyleGAN has it.

    A PNG is a sheet: a row for each coarse seed, a column for each fine seed.
    """
    from gan_serve.generator import Generator

    format = choose_format(out, out_dir)
    generator = Generator.from_pretrained(model, device=device, precision=precision)
    chosen = None if label is None else as_label(label, generator.labels)
    request = generator.mix_request(coarse, fine, crossover=crossover, label=chosen, truncation=truncation)
    write_and_report(generator, request, format)


def _labels(generator: Generator, texts: Sequence[str]) -> Labels | None:
    """Return the labels of a repeated option: None if it was not given, a single label, or a list."""
    labels = [as_label(text, generator.labels) for text in texts]
    return labels[0] if len(labels) == 1 else labels or None


def _keys_of_file(
    generator: Generator, file: Path, seeds: str | None, label: Labels | None, walk: bool = False
) -> tuple[list[Any], Labels | None]:
    """Return seeds and latents of a file, and their labels: those given, else those of the file.

    A walk gets a label only if all latents have the same.
    """
    from gan_serve.cli.latents_file import mixed_keys, only_label, read_latents
    from gan_serve.sampling.seeds_and_latents import numbers_of_keys

    keys, found = mixed_keys(seeds, read_latents(file, generator.config))
    if label is not None or not generator.c_dim:
        return keys, label
    if walk:
        return keys, only_label(found)
    return keys, [name or number % generator.c_dim for name, number in zip(found, numbers_of_keys(keys), strict=True)]


def _numbers(text: str) -> list[float]:
    try:
        return [float(part) for part in text.split(",")]
    except ValueError as error:
        raise InvalidOption(f"--offsets must be numbers such as 1.5,-2, not {text!r}.") from error
