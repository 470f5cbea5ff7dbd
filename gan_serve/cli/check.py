"""``gan-serve verify`` and ``doctor``."""

from __future__ import annotations

import json
import platform
import sys
from importlib.metadata import version
from pathlib import Path

import click

from gan_serve._version import __version__
from gan_serve.errors import DeviceUnavailable, GanServeError
from gan_serve.terminal import echo


@click.command()
@click.argument("images", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="IMAGE...")
@click.option("--model", help="The checkpoint, if it is not in the package.")
@click.option(
    "--input",
    "inputs",
    multiple=True,
    type=click.Path(path_type=Path),
    help="Of a translated image, the picture that it was made from; of a sheet, one for each, in their order.",
)
@click.option("--receipt", "with_receipt", is_flag=True, help="Also print the receipt of each image as JSON.")
def verify(images: tuple[Path, ...], model: str | None, inputs: tuple[Path, ...], with_receipt: bool) -> None:
    """Make PNGs again from their receipts and compare.

    The exit code is 0 if all are verified, else 1.
    """
    from gan_serve.verify import describe_receipt, verify_image

    failures = 0
    for image in images:
        try:
            verification = verify_image(image, model, inputs)
        except GanServeError as error:
            if len(images) == 1:
                raise
            failures += 1
            echo(f"{image}: FAILED, {error.message}", err=True)
            continue
        receipt, off = verification.receipt, verification.max_difference
        how = f"within {off} grey level(s), as rounding allows" if off else "bit-equal"
        echo(f"{image}: verified, {how}, {describe_receipt(receipt)} of {receipt.model}")
        if verification.other_runtime:
            echo(verification.other_runtime)
        if with_receipt:
            echo(f"{receipt.model} {receipt.digest[:19]}... {json.dumps(receipt.as_dict())}")
    if len(images) > 1:
        echo(f"{len(images) - failures} of {len(images)} images verified")
    if failures:
        sys.exit(1)


@click.command()
def doctor() -> None:
    """Check versions, devices and the checkpoints.

    Each checkpoint in the package must reproduce its golden sample.
    """
    import onnxruntime

    from gan_serve.checkpoint.bundled import list_models
    from gan_serve.generator import Generator

    packages = ("numpy", "pillow", "bentoml", "huggingface-hub", "pydantic")
    echo(f"gan-serve {__version__}, Python {platform.python_version()}, {platform.platform()}")
    echo(", ".join([f"onnxruntime {onnxruntime.__version__}", *(f"{name} {version(name)}" for name in packages)]))
    names = list_models()
    devices = ["cpu"]
    if names:
        try:
            Generator.from_pretrained(names[0], device="cuda")
            devices.append("cuda")
        except DeviceUnavailable as error:
            hint = error.hint.removesuffix(' Or use device="cpu".')
            echo(f"No GPU is used, models run on the CPU. {error.message} {hint}")
        except GanServeError:
            pass  # a damaged checkpoint is reported below
    failures = 0
    for device in devices:
        verified = 0
        for name in names:
            try:
                Generator.from_pretrained(name, device=device)
                verified += 1
            except GanServeError as error:
                failures += 1
                echo(f"FAIL  {name} on {device}: {error.message} {error.hint}")
        echo(f"{verified} of {len(names)} models verified on {device}: digests and golden samples match")
    if not names:
        failures += 1
        echo("FAIL  the package has no checkpoint; install it again.")
    if failures:
        sys.exit(1)
