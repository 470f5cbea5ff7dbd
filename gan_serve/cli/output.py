"""Sample in parts, write the images, and report what was written and the command that makes it again."""

from __future__ import annotations

import io
import os
import shlex
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gan_serve.atomic_files import write_atomically
from gan_serve.errors import InvalidOption
from gan_serve.progress import PART, Meter
from gan_serve.terminal import echo

if TYPE_CHECKING:
    from gan_serve.generator import Generator
    from gan_serve.sampling.request import SamplingRequest
    from gan_serve.sampling.result import Samples

JPEG = ("jpg", "jpeg")
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
    if format not in (*FORMATS, *JPEG):
        raise InvalidOption(
            f"{out} does not have the suffix of a supported format.", f"Use one of: .{', .'.join([*FORMATS, 'jpg'])}."
        )
    return format


def sample_parts(generator: Generator, request: SamplingRequest) -> Iterator[Samples]:
    """Sample a request in parts; if there are several, with a progress bar on a terminal."""
    with Meter(len(request) > PART and sys.stderr.isatty(), len(request)) as meter:
        for part in request.parts(PART):
            yield part.samples(generator.run(part))
            meter.add(len(part))


def write_file(
    generator: Generator, request: SamplingRequest, out: Path, format: str, *, scale: int = 1, **options: Any
) -> Samples:
    """Sample a request and write it as one file; see ``encode_samples`` for the options."""
    pixels = np.concatenate([part.pixels for part in sample_parts(generator, request)])
    samples = request.samples(pixels)
    content = encode_samples(samples, format, scale=scale, **options)
    if out == STDOUT:
        sys.stdout.buffer.write(content)
        sys.stdout.buffer.flush()
    else:
        echo(write_atomically(out, content))
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


def encode_samples(samples: Samples, format: str, *, scale: int = 1, names: bool = False, **options: Any) -> bytes:
    """Return samples as the bytes of a file.

    Args:
        format: one of ``FORMATS``, ``jpg`` or ``jpeg``.
        scale: how many times each pixel is repeated in both directions, 1 to 64.
        names: enlarge a small sheet, and write the class beside each row. Such a picture has no receipt.
        options: ``columns`` and ``fps``, as for ``encode``.

    Raises:
        InvalidOption: the scale is out of range, or the format is not a picture. Others: see ``check_encoding``.
    """
    from gan_serve.images.png import encode_png
    from gan_serve.sampling.formats import check_encoding, encode

    if names:
        from gan_serve.images.captions import enlarge_small, with_row_names

        sheet = enlarge_small(samples.sheet()[0], samples.pixels.shape[2])
        return encode_png(with_row_names(sheet, list(dict.fromkeys(samples.labels or []))))
    if format not in JPEG:
        return encode(samples, format, scale=scale, **options)
    from gan_serve.images.pixels import enlarge, to_pil

    check_encoding(len(samples), "png", scale=scale, **options)
    pixels = samples.pixels[0] if len(samples) == 1 else samples.sheet(options.get("columns"))[0]
    file = io.BytesIO()
    to_pil(enlarge(pixels, scale)).save(file, "JPEG", quality=95, subsampling=0)
    return file.getvalue()


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


def repeat_words(command: str, model: str, samples: Samples, **options: object) -> list[str]:
    """Return the words of the command that samples the same images; options that are None are left out."""
    from gan_serve.sampling.seeds import format_seeds

    words = ["gan-serve", command, model]
    if samples.seeds and "coarse" not in options:
        per_label = len(samples) // len(dict.fromkeys(samples.labels or [""])) if samples.by_label else len(samples)
        words += ["--seeds", format_seeds(samples.seeds[:per_label])]
    for name, value in options.items():
        for each in value if isinstance(value, tuple) else (value,):
            if each is not None and each is not False:
                words += [f"--{name.replace('_', '-')}"] + ([] if each is True else [str(each)])
    return words


def now() -> float:
    """Return the seconds of a monotonic clock."""
    return time.perf_counter()
