"""Run one process of the bare loop, which samples and encodes as the service does, but without a server.

It reads a line ``PRECISION IMAGES FORMAT SECONDS`` from standard input, samples so many images at a time for so long,
and writes a line ``IMAGES SECONDS CPU_SECONDS`` with the number of encoded images. FORMAT is ``each`` (a PNG for each
image), ``png`` (a grid), ``npz``, or ``load`` (only load the session).

    python bare_loop.py CHECKPOINT
"""

from __future__ import annotations

import sys
import time

from gan_serve import Generator
from gan_serve.sampling.formats import encode
from gan_serve.sampling.result import Samples


def main(directory: str) -> None:
    generators: dict[str, Generator] = {}
    seed = 0
    for line in sys.stdin:
        precision, images, format, seconds = line.split()
        if precision not in generators:
            generators[precision] = Generator.from_pretrained(directory, device="cpu", precision=precision)
        if format == "load":
            print(0, 1, 0, flush=True)
            continue
        n, end = int(images), float(seconds)
        started, cpu, drawn = time.perf_counter(), time.process_time(), 0
        while (taken := time.perf_counter() - started) < end:
            encode_as(format, generators[precision].sample(n, seed=seed))
            seed += n
            drawn += n
        print(drawn, taken, time.process_time() - cpu, flush=True)


def encode_as(format: str, samples: Samples) -> None:
    if format == "each":
        for index in range(len(samples)):
            samples.png(index)
    else:
        encode(samples, format)


if __name__ == "__main__":
    main(sys.argv[1])
