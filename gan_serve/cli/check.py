"""``gan-serve verify`` and ``doctor``."""

from __future__ import annotations

import json
import platform
import sys
from importlib.metadata import version
from pathlib import Path

import click

from gan_serve._version import __version__
from gan_serve.errors import GanServeError
from gan_serve.terminal import echo


@click.command()
@click.argument("image", type=click.Path(path_type=Path))
@click.option("--model", help="The checkpoint, if it is not in the package.")
def verify(image: Path, model: str | None) -> None:
    """Sample a PNG again from its receipt and compare."""
    from gan_serve.verify import verify_image

    verification = verify_image(image, model)
    receipt = verification.receipt
    off = verification.max_difference
    how = f"off by at most {off} grey level(s), which rounding explains" if off else "bit-equal"
    echo(f"{image}: verified, {how}")
    if verification.other_runtime:
        echo(verification.other_runtime)
    echo(f"{receipt.model} {receipt.digest[:19]}... {json.dumps(receipt.as_dict())}")


@click.command()
def doctor() -> None:
    """Check versions, devices and the checkpoints.

    Each checkpoint in the package must reproduce its golden sample.
    """
    import onnxruntime

    from gan_serve.checkpoint.bundled import list_models
    from gan_serve.generator import Generator

    echo(f"gan-serve {__version__}, Python {platform.python_version()}, {platform.platform()}")
    for package in ("numpy", "pillow", "bentoml", "huggingface-hub", "pydantic"):
        echo(f"{package} {version(package)}")
    echo(f"onnxruntime {onnxruntime.__version__}")
    failures = 0
    for name in list_models():
        for device in ("cpu", "cuda"):
            try:
                Generator.from_pretrained(name, device=device)
                echo(f"ok    {name} on {device}: digest and golden sample match")
            except GanServeError as error:
                needed = device == "cpu"
                failures += needed
                echo(f"{'FAIL' if needed else 'no':<5} {name} on {device}: {error.message} {error.hint}")
    if not list_models():
        failures += 1
        echo("FAIL  the package has no checkpoint; install it again.")
    if failures:
        sys.exit(1)
