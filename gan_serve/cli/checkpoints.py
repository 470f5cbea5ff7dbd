"""``gan-serve models``, ``info``, ``directions``, ``pull``, ``push``, ``export-triton`` and ``export-web``."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from gan_serve.atomic_files import write_atomically
from gan_serve.cli.options import PRECISION_HELP, OutputPath, as_label
from gan_serve.errors import CannotWrite, CheckpointError, HubUnreachable, InvalidCheckpoint
from gan_serve.terminal import echo

DIRECTION_STEPS = range(-4, 5)


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def models(as_json: bool) -> None:
    """List the checkpoints in the package."""
    from gan_serve.checkpoint.bundled import list_models
    from gan_serve.checkpoint.files import read_any_config
    from gan_serve.cli.describe import facts_of, table_of_models
    from gan_serve.hub.resolve import resolve

    configs = []
    for name in (*list_models(), *list_models("translate")):
        try:
            configs.append(read_any_config(resolve(name)))
        except CheckpointError as error:  # the others are still listed
            echo(f"{name}  {error.message}", err=True)
    if as_json:
        echo(json.dumps([facts_of(config) for config in configs], indent=2))
        return
    for line in table_of_models(configs):
        echo(line)


@click.command()
@click.argument("model")
@click.option("--all", "everything", is_flag=True, help="Print the whole config, all metrics and all files.")
@click.option("--json", "as_json", is_flag=True, help="Print all of it as JSON.")
def info(model: str, everything: bool, as_json: bool) -> None:
    """Show size, speed here, licence and quality of a model.

    MODEL is a name of `gan-serve models`, a directory, or org/name on the Hugging Face Hub.
    """
    from gan_serve.checkpoint.config import METRICS_FILE, REPORT_FILES
    from gan_serve.checkpoint.files import read_any_config, read_json
    from gan_serve.cli.describe import summary
    from gan_serve.hub.resolve import resolve

    try:
        directory = resolve(model, files=lambda config: set(REPORT_FILES) & set(config.files))
    except (CannotWrite, HubUnreachable, InvalidCheckpoint):
        directory = resolve(model)  # the config alone
    config = read_any_config(directory)
    if not (everything or as_json):
        has_metrics = METRICS_FILE in config.files and os.path.lexists(directory / METRICS_FILE)
        metrics = read_json(directory, config, METRICS_FILE) if has_metrics else {}
        if not isinstance(metrics, dict):
            raise InvalidCheckpoint(
                f"{directory / METRICS_FILE} does not map names to numbers.", "Export the checkpoint again."
            )
        for line in summary(config, directory, metrics, model):
            echo(line)
        return
    reports = [name for name in sorted(set(REPORT_FILES) & set(config.files)) if os.path.lexists(directory / name)]
    facts = config.model_dump(exclude={"golden_sample", "files"}, mode="json") | {
        "directory": str(directory),
        **{name.removesuffix(".json"): read_json(directory, config, name) for name in reports},
        "files": {name: file.model_dump() for name, file in config.files.items()},
    }
    if as_json:
        echo(json.dumps(facts, indent=2))
        return
    lines = list(_flat(facts))
    width = max(len(key) for key, _ in lines)
    for key, value in lines:
        line = "\\n".join(str(value).splitlines())
        echo(f"{key:<{width}}  {line}")


@click.command()
@click.argument("model")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, with the vectors, instead of the list.")
@click.option("--seed", type=int, default=0, show_default=True, help="With --out: the seed of the picture.")
@click.option("--label", help="With --out or --sheet: a class name or index; default: that of the seed.")
@click.option("--out", type=OutputPath(), help="A PNG: a row for each direction, with the offsets from -4 to 4.")
@click.option("--sheet", type=OutputPath(), help="A folder for a PNG of each direction: a row for each of --seeds.")
@click.option("--seeds", default="0-3", show_default=True, help="With --sheet: the seeds of its rows.")
def directions(
    model: str, as_json: bool, seed: int, label: str | None, out: Path | None, sheet: Path | None, seeds: str
) -> None:
    """List the directions in the latent space of MODEL.

    The list has the number of each direction and its change: how much images differ between the offsets -2 and 2, in
    grey levels of 255. `gan-serve generate --offsets` moves along the directions; an offset of 1 is one standard
    deviation of the latents. With --out or --sheet, pictures show the directions instead. For a film of one:
    `gan-serve interpolate MODEL --seeds 7 --direction 0 --out walk.gif`.
    """
    import numpy as np

    from gan_serve.generator import Generator

    generator = Generator.from_pretrained(model)
    space = generator.latent_space
    if not space.directions:
        raise InvalidCheckpoint(
            f"{generator.name} has no directions.", "Export it again with this version of gan-serve."
        )
    if as_json:
        echo(space.model_dump_json(indent=2))
    elif not out and not sheet:
        for number, direction in enumerate(space.directions):
            echo(f"{number}  {direction.change:.1f} grey levels")
        echo(f"{space.method}; truncation from {space.truncation_floor:g}")
    chosen = None if label is None else as_label(label, generator.labels)
    if sheet:
        for number in range(len(space.directions)):
            content = generator.sample_direction(number, seeds, label=chosen).grid_png()
            echo(write_atomically(sheet / f"direction-{number}.png", content))
    if out:
        offsets = np.kron(np.eye(len(space.directions)), np.reshape(DIRECTION_STEPS, (-1, 1)))  # a row for each image
        samples = generator.sample(seeds=[seed] * len(offsets), offsets=offsets, label=chosen)
        echo(write_atomically(out, samples.grid_png(len(DIRECTION_STEPS))))


@click.command()
@click.argument("model")
@click.option("--revision", help="A branch, tag or commit; or use org/name@revision.")
@click.option("--out", type=OutputPath(), help="Also copy the model into this new directory.")
def pull(model: str, revision: str | None, out: Path | None) -> None:
    """Download a model from the Hugging Face Hub.

    Every file of MODEL (org/name) is written to the Hub's cache and verified. A private or gated model needs a token:
    HF_TOKEN, or hf auth login. The directory is printed. Files in the cache are not downloaded again, and work without
    a network.
    """
    from gan_serve.atomic_files import check_new_directory
    from gan_serve.checkpoint.files import copy_checkpoint
    from gan_serve.hub.file_sets import every_file
    from gan_serve.hub.resolve import resolve

    if out:
        check_new_directory(out)  # before the download
    directory = resolve(model, revision=revision, files=every_file)
    echo(copy_checkpoint(directory, out) if out else directory)


@click.command()
@click.argument("directory")
@click.argument("repository", metavar="ORG/NAME")
@click.option("--private", is_flag=True, help="Make the repository private, if it does not exist yet.")
@click.option("--revision", help="The branch to commit to; main if not given.")
@click.option("--message", help="The commit message; one with the model's name if not given.")
def push(directory: str, repository: str, private: bool, revision: str | None, message: str | None) -> None:
    """Publish a checkpoint on the Hugging Face Hub.

    The files in DIRECTORY become one commit. Every file and golden sample is verified before anything is sent. This
    needs a token with write access: HF_TOKEN, or hf auth login. The address of the commit is printed.
    """
    from gan_serve.hub import push as hub_push
    from gan_serve.hub.resolve import find_local

    source = find_local(directory) or Path(directory)
    echo(hub_push.push(source, repository, private=private, revision=revision, message=message))


@click.command("export-triton")
@click.argument("model")
@click.option(
    "--out",
    type=OutputPath(),
    required=True,
    help="The Triton model repository; created if it does not exist.",
)
@click.option("--name", help="The name of the model in Triton; the name of the checkpoint if not given.")
@click.option("--precision", default="fp32", show_default=True, help=PRECISION_HELP)
@click.option(
    "--max-batch-size", type=int, default=64, show_default=True, help="The largest number of images in a batch."
)
@click.option("--instances", type=int, default=1, show_default=True, help="Copies of the model that run in parallel.")
def export_triton(model: str, out: Path, name: str | None, precision: str, max_batch_size: int, instances: int) -> None:
    """Write a model for NVIDIA Triton Inference Server.

    MODEL is a name of `gan-serve models`, a directory, or org/name on the Hugging Face Hub.
    """
    from gan_serve import triton

    echo(
        triton.export_triton(
            model, out, name=name, precision=precision, max_batch_size=max_batch_size, instances=instances
        )
    )


@click.command("export-web")
@click.argument("models", nargs=-1, required=True, metavar="MODEL...")
@click.option("--out", type=OutputPath(), required=True, help="A new directory for the site.")
@click.option(
    "--single-file",
    is_flag=True,
    help="Write everything into one index.html, which a browser also opens without a server.",
)
@click.option(
    "--runtime",
    type=click.Path(path_type=Path),
    help="A node_modules folder with onnxruntime-web and gifenc; without it, `npm pack` fetches them.",
)
def export_web(models: tuple[str, ...], out: Path, single_file: bool, runtime: Path | None) -> None:
    """Write the page as a site that samples in the browser.

    MODEL is a name of `gan-serve models`, a directory, or org/name on the Hugging Face Hub. The page opens on the
    first generator. It needs onnxruntime-web and gifenc, which npm fetches. The path of the page is printed.
    """
    from gan_serve.service.static_site import export_web as export

    echo(export(models, out, single_file=single_file, runtime=runtime) / "index.html")


def _flat(facts: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in facts.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", ", ".join(map(str, value)) if isinstance(value, list) else value
