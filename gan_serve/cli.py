"""The command line: ``gan-serve generate | condition | interpolate | models | info | verify | pull | push |
export-triton | doctor | serve``.

``gan-serve train``, ``recipes`` and ``export`` are registered by the packages that hold them (entry points of the group
``gan_serve.commands``), so that this one never imports torch.
"""

from __future__ import annotations

import contextlib
import json
import platform
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import entry_points, version
from pathlib import Path
from typing import Any, TypeVar

import click

from gan_serve._version import __version__
from gan_serve.atomic_files import write_atomically
from gan_serve.errors import GanServeError, InvalidOption

Command = TypeVar("Command", bound=Callable[..., Any])


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="gan-serve")
def cli() -> None:
    """Small image generators: draw, serve, train, export."""


def main() -> None:
    """Run the command line. An error is one clear message and exit code 1; a stack trace means a bug."""
    for command in entry_points(group="gan_serve.commands"):
        command.load()(cli)
    try:
        cli()
    except GanServeError as error:
        click.echo(f"Error: {error.message}" + (f"\n{error.hint}" if error.hint else ""), err=True)
        sys.exit(1)


@contextlib.contextmanager
def needs_extra(extra: str) -> Iterator[None]:
    """Say which extra to install where an import fails for want of it."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise InvalidOption(
            f"This command needs {error.name}, which is not installed.", f'pip install "gan-serve[{extra}]"'
        ) from error


def _model_options(command: Command) -> Command:
    command = click.option("--device", default="auto", show_default=True, help="auto, cpu or cuda.")(command)
    return click.option("--precision", default="fp32", show_default=True, help="fp32, int8, fp16 or auto.")(command)


def _drawing_options(command: Command) -> Command:
    command = click.option("--truncation", type=float, default=1.0, show_default=True, help="From 0 to 1.")(command)
    return _model_options(command)


def _seed_options(command: Command) -> Command:
    command = click.option("-n", "--n", type=int, help="How many; with no seed, one is drawn at random.")(command)
    command = click.option("--seed", type=int, help="The first of --n seeds.")(command)
    return click.option("--seeds", help='Seeds, such as 7 or "0-15,99".')(command)


@cli.command()
@click.argument("model")
@_seed_options
@click.option("--label", "labels", multiple=True, help="A class name or index; once for all images, or once for each.")
@click.option("--columns", type=int, help="Images in a row of the grid.")
@click.option("--out", type=click.Path(path_type=Path), help="A file: .png (a grid), .npz, .zip, .json, .gif, .webp.")
@click.option("--out-dir", type=click.Path(path_type=Path), help="A folder: one PNG an image.")
@_drawing_options
def generate(
    model: str,
    seeds: str | None,
    seed: int | None,
    n: int | None,
    labels: tuple[str, ...],
    columns: int | None,
    out: Path | None,
    out_dir: Path | None,
    truncation: float,
    precision: str,
    device: str,
) -> None:
    """Draw images with MODEL (a name, a directory, or org/name on the Hub)."""
    from gan_serve.generator import Generator

    format = _format_of_either(out, out_dir)
    generator = Generator.from_pretrained(model, device=device, precision=precision)
    chosen = [_label(label, generator.labels) for label in labels]
    label = None if not chosen else chosen[0] if len(chosen) == 1 else chosen
    samples = generator.sample(n, seed=seed, seeds=seeds, label=label, truncation=truncation)
    _write_either(out, out_dir, samples, format, columns=columns)
    if seeds is None and seed is None:
        _tell_seeds(samples.seeds)


@cli.command()
@click.argument("model")
@_seed_options
@click.option("--label", "labels", multiple=True, help="A class name or index; may be given often. All if not given.")
@click.option("--columns", type=int, help="Images in a row of the sheet, if not a row for each label.")
@click.option("--out", type=click.Path(path_type=Path), help="A file: .png (a sheet), .npz, .zip, .json, .gif, .webp.")
@click.option("--out-dir", type=click.Path(path_type=Path), help="A folder: one folder a label, one PNG an image.")
@_drawing_options
def condition(
    model: str,
    seeds: str | None,
    seed: int | None,
    n: int | None,
    labels: tuple[str, ...],
    columns: int | None,
    out: Path | None,
    out_dir: Path | None,
    truncation: float,
    precision: str,
    device: str,
) -> None:
    """Draw the same latents under each label with MODEL (a name, a directory, or org/name on the Hub).

    A PNG is a sheet: a row for each label, a column for each latent.
    """
    from gan_serve.generator import Generator

    format = _format_of_either(out, out_dir)
    generator = Generator.from_pretrained(model, device=device, precision=precision)
    chosen = [_label(label, generator.labels) for label in labels] or None
    samples = generator.sample_condition(n, seed=seed, seeds=seeds, labels=chosen, truncation=truncation)
    _write_either(out, out_dir, samples, format, columns=columns)
    if seeds is None and seed is None:
        _tell_seeds(samples.seeds[: samples.columns] if samples.seeds else None)


@cli.command()
@click.argument("model")
@click.option("--seeds", required=True, help='Two or more key seeds, such as "0,5,9".')
@click.option("--steps", type=int, default=16, show_default=True, help="Frames from one key to the next.")
@click.option("--method", default="slerp", show_default=True, help="slerp or lerp.")
@click.option("--loop", is_flag=True, help="Return to the first key.")
@click.option("--label", help="A class name or index for the whole walk.")
@click.option("--fps", type=float, default=12.0, show_default=True, help="Frames a second.")
@click.option("--columns", type=int, help="Frames in a row, where the file is a PNG; all if not given.")
@click.option(
    "--out", type=click.Path(path_type=Path), required=True, help="A file: .gif, .webp, .png (a strip), .npz, .zip."
)
@_drawing_options
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
    truncation: float,
    precision: str,
    device: str,
) -> None:
    """Draw a walk between seeds with MODEL (a name, a directory, or org/name on the Hub)."""
    from gan_serve.generator import Generator

    format = _format(out)
    generator = Generator.from_pretrained(model, device=device, precision=precision)
    samples = generator.sample_walk(
        seeds,
        steps=steps,
        method=method,
        loop=loop,
        label=None if label is None else _label(label, generator.labels),
        truncation=truncation,
    )
    _write(out, samples, format, columns=columns, fps=fps)


@cli.command()
def models() -> None:
    """List the checkpoints in the package."""
    from gan_serve.checkpoint.config import describe, read_config
    from gan_serve.hub.resolve import list_models, resolve

    for name in list_models():
        config = read_config(resolve(name))
        click.echo(f"{name}  {describe(config)}, licence {config.license}")


@cli.command()
@click.argument("model")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def info(model: str, as_json: bool) -> None:
    """Tell what MODEL is, what it takes, and how good it was measured to be."""
    from gan_serve.checkpoint.config import FIGURES, read_config, read_json
    from gan_serve.hub.resolve import resolve

    directory = resolve(model, files=lambda config: set(FIGURES) & set(config.files))
    config = read_config(directory)
    facts = config.model_dump(exclude={"golden_sample", "files"}, mode="json") | {
        "directory": str(directory),
        **{
            name.removesuffix(".json"): read_json(directory, config, name)
            for name in sorted(set(FIGURES) & set(config.files))
        },
        "files": {name: file.model_dump() for name, file in config.files.items()},
    }
    if as_json:
        click.echo(json.dumps(facts, indent=2))
        return
    lines = list(_flat(facts))
    width = max(len(key) for key, _ in lines)
    for key, value in lines:
        text = f"{key:<{width}}  {value}"
        click.echo(text if text.isprintable() else repr(text)[1:-1])  # what others wrote cannot steer the terminal


@cli.command()
@click.argument("image", type=click.Path(path_type=Path))
@click.option("--model", help="Where the checkpoint lies, if not in the package.")
def verify(image: Path, model: str | None) -> None:
    """Make a PNG again from its receipt and compare."""
    from gan_serve.images.verify import verify_image

    verification = verify_image(image, model)
    receipt = verification.receipt
    off = verification.max_difference
    how = f"off by at most {off} grey level(s), as another machine rounds" if off else "bit-equal"
    click.echo(f"{image}: verified, {how}")
    click.echo(f"{receipt.model} {receipt.digest[:19]}... {receipt.as_json()}")


@cli.command()
@click.argument("model")
@click.option("--revision", help="A branch, tag or commit; org/name@revision says the same.")
@click.option("--out", type=click.Path(path_type=Path), help="Also copy it into this new directory.")
def pull(model: str, revision: str | None, out: Path | None) -> None:
    """Fetch every file of MODEL (org/name on the Hugging Face Hub) into the Hub's cache, verified.

    A private or gated one needs a token: HF_TOKEN, or hf auth login. Its directory is printed; what is in the cache is
    not fetched again, and works without a network.
    """
    from gan_serve.atomic_files import check_new_directory
    from gan_serve.checkpoint.config import copy_checkpoint
    from gan_serve.hub.resolve import every_file, resolve

    if out:
        check_new_directory(out)  # before anything is fetched
    directory = resolve(model, revision=revision, files=every_file)
    click.echo(copy_checkpoint(directory, out) if out else directory)


@cli.command()
@click.argument("directory")
@click.argument("repository", metavar="ORG/NAME")
@click.option("--private", is_flag=True, help="Make it private.")
@click.option("--revision", help="A branch; main if not given.")
@click.option("--message", help="What the commit says.")
def push(directory: str, repository: str, private: bool, revision: str | None, message: str | None) -> None:
    """Publish the checkpoint in DIRECTORY on the Hugging Face Hub, in one commit.

    Every file is verified and the golden sample drawn before anything is sent. It needs a token that may write:
    HF_TOKEN, or hf auth login. The commit's address is printed.
    """
    from gan_serve.hub import push as hub_push
    from gan_serve.hub.resolve import find_local

    source = find_local(directory) or Path(directory)
    click.echo(hub_push.push(source, repository, private=private, revision=revision, message=message))


@cli.command("export-triton")
@click.argument("model")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="A Triton model repository, or a new one.")
@click.option("--name", help="What Triton calls the model; the checkpoint's name if not given.")
@click.option("--precision", default="fp32", show_default=True, help="fp32, int8, fp16 or auto.")
@click.option("--max-batch-size", type=int, default=64, show_default=True, help="Images at a time.")
@click.option("--instances", type=int, default=1, show_default=True, help="Copies that draw side by side.")
def triton(model: str, out: Path, name: str | None, precision: str, max_batch_size: int, instances: int) -> None:
    """Write MODEL (a name, a directory, or org/name on the Hub) for NVIDIA Triton Inference Server."""
    from gan_serve.checkpoint.triton import export_triton

    click.echo(
        export_triton(model, out, name=name, precision=precision, max_batch_size=max_batch_size, instances=instances)
    )


@cli.command()
def doctor() -> None:
    """Check this installation: versions, devices, and every checkpoint's golden sample."""
    import onnxruntime

    from gan_serve.generator import Generator
    from gan_serve.hub.resolve import list_models

    click.echo(f"gan-serve {__version__}, Python {platform.python_version()}, {platform.platform()}")
    for package in ("numpy", "pillow", "bentoml", "huggingface-hub", "pydantic"):
        click.echo(f"{package} {version(package)}")
    click.echo(f"onnxruntime {onnxruntime.__version__}")
    failures = 0
    for name in list_models():
        for device in ("cpu", "cuda"):
            try:
                Generator.from_pretrained(name, device=device)
                click.echo(f"ok    {name} on {device}: digest and golden sample match")
            except GanServeError as error:
                needed = device == "cpu"
                failures += needed
                click.echo(f"{'FAIL' if needed else 'no':<5} {name} on {device}: {error.message} {error.hint}")
    if not list_models():
        failures += 1
        click.echo("FAIL  the package holds no checkpoint; install it again.")
    if failures:
        sys.exit(1)


@cli.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on; 0.0.0.0 for all.")
@click.option("--port", type=click.IntRange(1, 65535), default=3000, show_default=True)
@click.option(
    "--model",
    "models",
    multiple=True,
    help="A name, a directory or org/name on the Hub; may be given often. All names if not given.",
)
@click.option("--workers", type=click.IntRange(1), help="Processes; one a core, up to 8, if not given.")
@click.option("--lazy", is_flag=True, help="Load a model at its first request.")
@click.option("--memory", type=click.IntRange(0), help="Megabytes for the models of a worker; no bound if not given.")
@click.option("--precision", help="fp32 if not given, int8, fp16 or auto.")
@click.option("--device", help="auto if not given, cpu or cuda.")
def serve(
    host: str,
    port: int,
    models: tuple[str, ...],
    workers: int | None,
    lazy: bool,
    memory: int | None,
    precision: str | None,
    device: str | None,
) -> None:
    """Serve models over HTTP, with a page to explore them.

    Environment variables set what is not given, and limits, a key and the rest: GAN_SERVE_PRECISION, GAN_SERVE_API_KEY,
    GAN_SERVE_MAX_IMAGES and others, see docs/serving.md.
    """
    from gan_serve.service.server import serve as run

    run(
        host=host,
        port=port,
        models=models,
        precision=precision,
        device=device,
        workers=workers,
        lazy=lazy or None,
        memory=memory,
    )


@cli.command()
@click.option("--port", type=click.IntRange(1, 65535), default=3000, show_default=True, help="Where it listens.")
def reload(port: int) -> None:
    """Let a running server load its models and keys anew, without dropping a request."""
    from gan_serve.service.reload import reload as run

    click.echo(f"Process {run(port)} replaces its workers.")


def _label(text: str, labels: tuple[str, ...]) -> str | int:
    """A label as typed: a class name before an index, since classes may be called by numbers."""
    return int(text) if text.isdecimal() and text not in labels else text


def _format(out: Path) -> str:
    from gan_serve.sampling.result import FORMATS

    format = out.suffix.lower().removeprefix(".")
    if format not in FORMATS:
        raise InvalidOption(
            f"{out} does not end in a format that can be written.", f"Use one of: .{', .'.join(FORMATS)}."
        )
    return format


def _format_of_either(out: Path | None, out_dir: Path | None) -> str:
    if (out is None) == (out_dir is None):
        raise InvalidOption("Give either --out or --out-dir.", "For example: --out grid.png")
    return _format(out) if out else "png"


def _write_either(out: Path | None, out_dir: Path | None, samples: Any, format: str, *, columns: int | None) -> None:
    """Write one file, or a folder of them."""
    from gan_serve.sampling.result import image_names

    if out:
        _write(out, samples, format, columns=columns)
    elif out_dir:
        for index, name in enumerate(image_names(samples)):
            write_atomically(out_dir / name, samples.png(index))
        click.echo(out_dir)


def _tell_seeds(seeds: list[int] | None) -> None:
    from gan_serve.sampling.latents import seeds_as_text

    click.echo(f"seeds drawn: {seeds_as_text(seeds or [])}", err=True)


def _write(out: Path, samples: Any, format: str, **options: Any) -> None:
    from gan_serve.sampling.result import encode

    click.echo(write_atomically(out, encode(samples, format, **options)))


def _flat(facts: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in facts.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", ", ".join(map(str, value)) if isinstance(value, list) else value


if __name__ == "__main__":
    main()
