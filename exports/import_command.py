"""The command ``gan-serve import``. Torch is imported only when it runs."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import click

from gan_serve.cli import needs_extra
from gan_serve.cli.options import precisions_option
from gan_serve.terminal import echo


@click.command("import")
@click.argument("source")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="A new directory for the checkpoint.")
@click.option("--license", required=True, help="SPDX name of the licence of the weights, such as mit; `other` if none.")
@click.option("--name", help="The checkpoint's name; default: that of the directory.")
@click.option("--credit", default="", help="Whose weights they are, and their terms, for the card.")
@click.option("--note", default="", help="A remark for the card.")
@click.option("--file", help="The file to import, if SOURCE is a folder or repository with several.")
@click.option("--key", help="PyTorch: the state dict of a file that has several, such as netG.")
@click.option("--classes", help="The classes of a network with labels: names, separated by commas, or their number.")
@click.option(
    "--latents",
    type=click.Choice(["normal", "uniform"]),
    default="normal",
    show_default=True,
    help="The latents that it was trained with; uniform is from -1 to 1.",
)
@click.option(
    "--activation",
    type=click.Choice(["relu", "leaky"]),
    default="relu",
    show_default=True,
    help="PyTorch: the activation between layers, which a state dict does not have.",
)
@click.option("--z-input", help="ONNX: the input for latents, if it is not recognised.")
@click.option("--c-input", help="ONNX: the input for labels, if it is not recognised.")
@click.option(
    "--labels",
    type=click.Choice(["index", "onehot"]),
    help="The form of the labels: their index, or one-hot; recognised if not given.",
)
@click.option(
    "--layout",
    type=click.Choice(["nchw", "nhwc"]),
    help="ONNX: the order of the axes of the images; recognised if not given.",
)
@click.option(
    "--range",
    "pixel_range",
    type=click.Choice(["tanh", "unit", "bytes"]),
    help="The values of the images: tanh, -1 to 1; unit, 0 to 1; bytes, 0 to 255; recognised if not given.",
)
@precisions_option
def import_command(
    source: str, out: Path, license: str, name: str | None, credit: str, note: str, precisions: Any, **stated: Any
) -> None:
    """Turn a generator of others into a checkpoint.

    SOURCE is an ONNX file, a state dict of PyTorch (.pth, .bin, .safetensors) or a Keras model (.keras, .h5): a path,
    or org/name on the Hugging Face Hub. Nothing of it is unpickled or run as code. docs/import.md has an example of
    each.
    """
    with needs_extra("train"):
        from gan_serve.exports.imports.import_generator import import_generator
        from gan_serve.exports.imports.options import ImportOptions

    class_names = _class_names(stated.pop("classes"))
    imported = import_generator(
        source,
        out,
        license=license,
        name=name,
        credit=credit,
        note=note,
        options=ImportOptions(class_names=class_names, **stated),
        precisions=precisions,
    )
    for sentence in imported.origin.taken:
        echo(sentence)
    echo(f"Checkpoint: {out}")
    echo(f"Next: {shlex.join(['gan-serve', 'generate', str(out), '--seeds', '0-63', '--out', 'grid.png'])}")


def _class_names(classes: str | None) -> tuple[str, ...]:
    """Return the names of classes from a list, or from a number n: 0 to n-1."""
    if classes is None:
        return ()
    if classes.isascii() and classes.isdigit() and int(classes[:9]) <= 65536:
        return tuple(map(str, range(int(classes[:9]))))
    return tuple(each.strip() for each in classes.split(","))
