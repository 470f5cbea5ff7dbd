"""Sample in parts, write the images, and report what was written and the command that makes it again."""

from __future__ import annotations

import os
import shlex
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np
from click.core import ParameterSource

from gan_serve.atomic_files import write_atomically
from gan_serve.errors import InvalidOption
from gan_serve.progress import PART, Meter
from gan_serve.terminal import echo

if TYPE_CHECKING:
    from gan_serve.generator import Generator
    from gan_serve.sampling.request import SamplingRequest
    from gan_serve.sampling.result import Samples

STDOUT = Path("-")


def choose_format(out: Path | None, out_dir: Path | None) -> str:
    """Return the format of the output from its suffix; ``png`` for a folder and for ``-``.

    Raises:
        InvalidOption: there is not exactly one of ``out`` and ``out_dir``, or no format has the suffix.
    """
    from gan_serve.sampling.formats import FORMATS

    if (out is None) == (out_dir is None):
        raise InvalidOption("Give either --out or --out-dir.", "For example: --out grid.png")
    if out is None or out == STDOUT:
        return "png"
    format = out.suffix.lower().removeprefix(".")
    if format not in FORMATS:
        raise InvalidOption(
            f"{out} does not have the suffix of a supported format.", f"Use one of: .{', .'.join(FORMATS)}."
        )
    return format


def sample_parts(generator: Generator, request: SamplingRequest) -> Iterator[Samples]:
    """Sample a request in parts; if there are several, with a progress bar on a terminal."""
    with Meter(len(request) > PART and sys.stderr.isatty(), len(request)) as meter:
        for part in request.parts(PART):
            yield part.samples(generator.run(part))
            meter.add(len(part))


def write_and_report(generator: Generator, request: SamplingRequest, format: str) -> None:
    """Sample a request, write what the options of the current command ask for, and report it on standard error."""
    options = click.get_current_context().params
    out: Path = options["out"] or options["out_dir"]
    start = time.perf_counter()
    if options["out"]:
        samples = write_file(generator, request, format, options)
    else:
        samples = write_folder(generator, request, out, scale=options["scale"])
    report(samples, repeat_words(request), out, time.perf_counter() - start)


def write_file(generator: Generator, request: SamplingRequest, format: str, options: Mapping[str, Any]) -> Samples:
    """Sample a request and write it as one file; ``options`` are those of the command."""
    pixels = np.concatenate([part.pixels for part in sample_parts(generator, request)])
    samples = request.samples(pixels)
    content = _encode(samples, format, options)
    if options["out"] == STDOUT:
        sys.stdout.buffer.write(content)
        sys.stdout.buffer.flush()
    else:
        echo(write_atomically(options["out"], content))
    return samples


def write_folder(generator: Generator, request: SamplingRequest, out_dir: Path, *, scale: int = 1) -> Samples:
    """Sample a request and write a PNG for each image as soon as its part is sampled.

    Ctrl-C ends it and leaves the images that are written; their number is printed.
    """
    from gan_serve.sampling.formats import image_names

    # The names follow from seeds and labels alone.
    names = image_names(request.samples(np.zeros((len(request), 1, 1, 1), np.uint8)))
    parts, done = [], 0
    try:
        for part in sample_parts(generator, request):
            for index in range(len(part)):
                write_atomically(out_dir / names[done], part.png(index, scale))
                done += 1
            parts.append(part.pixels)
    except KeyboardInterrupt:
        echo(f"\nStopped: {done:,} of {len(request):,} images are in {out_dir}.", err=True)
        raise
    echo(out_dir)
    return request.samples(np.concatenate(parts))


def _encode(samples: Samples, format: str, options: Mapping[str, Any]) -> bytes:
    """Return samples as the bytes of a file; with ``names``, as a picture that has no receipt."""
    if options.get("names"):
        from gan_serve.images.captions import enlarge_small, with_row_names
        from gan_serve.images.png import encode_png

        sheet = enlarge_small(samples.sheet()[0], samples.pixels.shape[2])
        return encode_png(with_row_names(sheet, list(dict.fromkeys(samples.labels or []))))
    from gan_serve.sampling.formats import encode

    return encode(samples, format, **{name: options[name] for name in ("columns", "fps", "scale") if name in options})


def report(samples: Samples, words: list[str], where: Path, seconds: float) -> None:
    """Print to standard error how many images were sampled, how long it took, and the command that makes them again.

    On a terminal a preview comes first.
    """
    if sys.stderr.isatty() and os.environ.get("TERM") != "dumb" and "NO_COLOR" not in os.environ:
        from gan_serve.images.preview import terminal_preview

        print(terminal_preview(samples.pixels), file=sys.stderr)
    images = "1 image" if len(samples) == 1 else f"{len(samples):,} images"
    to = "standard output" if where == STDOUT else where
    echo(f"{images} of {samples.model} in {seconds:.1f} s: {to}", err=True)
    echo(f"Again: {shlex.join(words)}", err=True)


def repeat_words(request: SamplingRequest) -> list[str]:
    """Return the words of the current command, with the seeds of ``request`` in place of --seed, --seeds and -n."""
    from gan_serve.sampling.seeds import format_seeds

    context = click.get_current_context()
    words = ["gan-serve", str(context.info_name), context.params["model"]]
    replaced = set()
    if "n" in context.params and request.seeds:
        replaced = {"seed", "seeds", "n"}
        words += ["--seeds", format_seeds(request.seeds[: request.columns] if request.by_label else request.seeds)]
    for option in context.command.params:
        source, value = context.get_parameter_source(str(option.name)), context.params[str(option.name)]
        if isinstance(option, click.Option) and source is not ParameterSource.DEFAULT and option.name not in replaced:
            for each in value if option.multiple else [value]:
                words += [max(option.opts, key=len)] if option.is_flag else [max(option.opts, key=len), str(each)]
    return words
