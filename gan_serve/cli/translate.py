"""``gan-serve translate``."""

from __future__ import annotations

from pathlib import Path

import click

from gan_serve.atomic_files import check_folder, write_atomically
from gan_serve.cli.options import OutputPath, fit_option, model_options
from gan_serve.errors import InvalidOption
from gan_serve.terminal import echo


@click.command()
@click.argument("model")
@click.argument("images", metavar="IN...", nargs=-1, required=True, type=click.Path(path_type=Path))
@fit_option
@click.option(
    "--out",
    type=OutputPath(),
    help="A file for all images: .png (a sheet, inputs above outputs), .gif, .webp, .npz, .json, .zip.",
)
@click.option("--out-dir", type=OutputPath(), help="A folder for a PNG of each output, with the name of its input.")
@model_options
def translate(
    model: str,
    images: tuple[Path, ...],
    fit: str,
    out: Path | None,
    out_dir: Path | None,
    precision: str,
    device: str,
) -> None:
    """Translate images with a model.

    MODEL is a name of `gan-serve models`, a directory, or org/name on the Hugging Face Hub: one that enlarges images,
    colours outlines or changes a style.
    """
    from gan_serve.translation.result import encode_translations
    from gan_serve.translation.translator import Translator

    if (out is None) == (out_dir is None):
        raise InvalidOption("Give one of --out and --out-dir.", "For example --out-dir translated")
    names = [f"{path.stem}.png" for path in images]
    if out_dir is not None:
        if len(set(names)) < len(names):
            double = next(name for name in names if names.count(name) > 1)
            raise InvalidOption(f"Two of the images would be written to {out_dir / double}.", "Give them other names.")
        check_folder(out_dir)
    format = out.suffix.removeprefix(".").lower() if out is not None else "png"
    translator = Translator.from_pretrained(model, device=device, precision=precision)
    result = translator.translations(list(images), fit=fit)
    if out is not None:
        write_atomically(out, encode_translations(result, format))
        echo(f"Written: {out}")
        return
    assert out_dir is not None
    for index, name in enumerate(names):
        write_atomically(out_dir / name, result.png(index))
    echo(f"Written: {len(names)} images to {out_dir}")
