"""``gan-serve generate``, ``condition``, ``interpolate`` and ``mix``."""

from __future__ import annotations

from pathlib import Path

import click

from gan_serve.cli.options import OutputPath, as_label, sampling_options, scale_option, seed_options
from gan_serve.cli.output import choose_format, write_and_report
from gan_serve.errors import InvalidOption


@click.command()
@click.argument("model")
@seed_options
@click.option(
    "--label", "labels", multiple=True, help="A class name or index; given once for all images, or once for each image."
)
@click.option("--offsets", help="How far to move along each of `gan-serve directions`, such as 1.5,-2.")
@click.option("--columns", type=int, help="Images in a row of the grid.")
@click.option(
    "--out",
    type=OutputPath(),
    help="A file: .png or .jpg (a grid), .npz, .zip, .json, .gif, .webp; - for standard output.",
)
@click.option("--out-dir", type=OutputPath(), help="A folder for one PNG per image.")
@scale_option
@sampling_options
def generate(
    model: str,
    seeds: str | None,
    seed: int | None,
    n: int | None,
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
    chosen = [as_label(label, generator.labels) for label in labels]
    label = None if not chosen else chosen[0] if len(chosen) == 1 else chosen
    moves = None if offsets is None else _numbers(offsets)
    request = generator.sample_request(n, seed=seed, seeds=seeds, offsets=moves, label=label, truncation=truncation)
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
@click.option(
    "--out",
    type=OutputPath(),
    help="A file: .png or .jpg (a sheet), .npz, .zip, .json, .gif, .webp; - for standard output.",
)
@click.option(
    "--out-dir",
    type=OutputPath(),
    help="A folder for one PNG per image, in one folder per label.",
)
@scale_option
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
    chosen = [as_label(label, generator.labels) for label in labels] or None
    request = generator.condition_request(n, seed=seed, seeds=seeds, labels=chosen, truncation=truncation)
    write_and_report(generator, request, format)


@click.command()
@click.argument("model")
@click.option("--seeds", required=True, help='Two or more key seeds, such as "0,5,9".')
@click.option("--steps", type=int, default=16, show_default=True, help="Frames from one key seed to the next.")
@click.option("--method", default="slerp", show_default=True, help="slerp or lerp.")
@click.option("--loop", is_flag=True, help="Return to the first key seed.")
@click.option("--label", help="A class name or index for the whole walk.")
@click.option("--fps", type=float, default=12.0, show_default=True, help="Frames per second.")
@click.option("--columns", type=int, help="Frames in a row of a PNG; all if not given.")
@click.option(
    "--out", type=OutputPath(), required=True, help="A file: .gif, .webp, .png or .jpg (a strip), .npz, .zip, .json."
)
@scale_option
@sampling_options
def interpolate(
    model: str,
    seeds: str,
    steps: int,
    method: str,
    loop: bool,
    label: str | None,
    fps: float,
    columns: int | None,
    out: Path,
    scale: int,
    truncation: float,
    precision: str,
    device: str,
) -> None:
    """Sample a walk between seeds.

    MODEL is a name of `gan-serve models`, a directory, or org/name on the Hugging Face Hub.
    """
    from gan_serve.generator import Generator
    from gan_serve.sampling.walks import make_walk

    format = choose_format(out, None)
    generator = Generator.from_pretrained(model, device=device, precision=precision)
    walk = make_walk(seeds, steps=steps, method=method, loop=loop)
    chosen = None if label is None else as_label(label, generator.labels)
    request = generator.walk_request(walk, label=chosen, truncation=truncation)
    write_and_report(generator, request, format)


@click.command()
@click.argument("model")
@click.option("--coarse", required=True, help='Seeds of the first layers, such as "0-3": a row for each.')
@click.option("--fine", required=True, help='Seeds of the other layers, such as "4-7": a column for each.')
@click.option("--crossover", type=int, default=4, show_default=True, help="The first layer that follows a fine seed.")
@click.option("--label", help="A class name or index for all images.")
@click.option("--columns", type=int, help="Images in a row of the sheet; one for each fine seed if not given.")
@click.option(
    "--out",
    type=OutputPath(),
    help="A file: .png or .jpg (a sheet), .npz, .zip, .json, .gif, .webp; - for standard output.",
)
@click.option("--out-dir", type=OutputPath(), help="A folder for one PNG per image.")
@scale_option
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


def _numbers(text: str) -> list[float]:
    try:
        return [float(part) for part in text.split(",")]
    except ValueError as error:
        raise InvalidOption(f"--offsets must be numbers such as 1.5,-2, not {text!r}.") from error
