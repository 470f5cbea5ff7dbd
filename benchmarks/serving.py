"""Compare gan-serve's HTTP service with TorchServe, LitServe, FastAPI and BentoML's batching.

``make bench-serve`` writes serving.md.

All servers run at once and take turns under the same load generator on the same cores, with the same checkpoint; on a
shared machine, only the ratios within a round are meaningful. The upper limit is the bare loop: as many processes as
cores that sample and encode without a server.

    python benchmarks/serving.py                                                   everything; writes the report
    python benchmarks/serving.py --only gan-serve,bare --rounds 2 --seconds 4      a part; nothing is written
    python benchmarks/serving.py --only gan-serve,bare --loads fp32-8,int8-8 --starts 0

If PYTHONPATH has another gan_serve, that one is measured.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import io
import json
import os
import statistics
import subprocess
import time
from dataclasses import asdict
from pathlib import Path

import numpy as np
from PIL import Image
from serving_peers.report import Memory, Start, memory_table, speed_tables, start_table, targets_table
from serving_peers.servers import GAN_SERVE, PEERS_BIN, ROOT, WAYS, WORK, Server, start, wait_until_ready
from serving_peers.turns import (
    BARE,
    CORES,
    DISTURBED,
    LOADS,
    BareLoop,
    Load,
    Turns,
    all_turns,
    pause_those_that_spin,
    processor_time,
    stolen_share,
    warm_up,
)
from timing import describe_cpu

from gan_serve import Generator
from gan_serve.checkpoint.files import read_config

MODEL = ROOT / "gan_serve" / "checkpoints" / "faces-wgan-gp"  # a DCGAN, 64x64x3
ROUNDS = 5
SECONDS = 5  # of a turn
WARM_UP = 3  # seconds
IDLE = 0.02  # of a core; a server that uses more without requests is stopped between its turns
CHECKED_SEED = 7


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", help=f"some of {', '.join([BARE, *WAYS])}, separated by commas")
    parser.add_argument("--loads", help=f"some of {', '.join(load.name for load in LOADS)}")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--seconds", type=int, default=SECONDS, help="of a turn")
    parser.add_argument("--tries", type=int, default=4, help="of a turn that other processes disturb")
    parser.add_argument("--starts", type=int, default=ROUNDS, help="cold starts of gan-serve in each precision")
    parser.add_argument("--model", type=Path, default=MODEL, help="a checkpoint in fp32 and int8, without classes")
    options = parser.parse_args()

    load_average, before = os.getloadavg()[0], processor_time()
    names = chosen(parser, options.only, [BARE, *WAYS])
    wanted = chosen(parser, options.loads, [load.name for load in LOADS])
    loads = [load for load in LOADS if load.name in wanted]
    checkpoint = options.model.resolve()
    model = read_config(checkpoint).name
    starts = cold_starts(checkpoint, loads, options.starts) if GAN_SERVE in names else {}
    servers: list[Server] = []
    skipped: dict[str, str] = {}
    bare = BareLoop(checkpoint) if BARE in names else None
    try:
        for name, precision in to_start(names, loads):
            try:
                servers.append(start(name, precision, checkpoint))
                check(servers[-1], checkpoint, model)
            except (RuntimeError, OSError, subprocess.CalledProcessError) as error:
                if name == GAN_SERVE:
                    raise
                if servers and (servers[-1].name, servers[-1].precision) == (name, precision):
                    servers.pop().stop()
                skipped[f"{name} ({precision})"] = str(error)
        warm_up(servers, model, WARM_UP)
        pause_those_that_spin(servers, IDLE)
        turns = all_turns(model, servers, bare, loads, options.rounds, options.seconds, options.tries)
        sizes = {server.precision: memory(server) for server in servers if server.name == GAN_SERVE}
    finally:
        for server in servers:
            server.stop()
        if bare:
            bare.stop()

    machine = f"Load average before it began: {load_average:.1f}; {on_the_side(turns, stolen_share(before))}"
    lines = introduction(options, checkpoint, servers, machine)
    lines += [f"- Skipped: {name}: {reason}" for name, reason in skipped.items()]
    lines += targets_table(turns, starts, sizes) + speed_tables(turns, loads)
    lines += start_table(starts) + memory_table(sizes)
    text = "\n".join(lines) + "\n"
    (WORK / "serving.json").write_text(json.dumps(raw(turns), indent=1))
    if not (options.only or options.loads):
        Path(__file__).with_suffix(".md").write_text(text)
    print(text)


def chosen(parser: argparse.ArgumentParser, text: str | None, there: list[str]) -> list[str]:
    """Return the names that an option selects, in their usual order; all of them if it is not given."""
    wanted = [part.strip().lower() for part in text.split(",")] if text else [name.lower() for name in there]
    if unknown := set(wanted) - {name.lower() for name in there}:
        parser.error(f"there is no {', '.join(sorted(unknown))}; choose from: {', '.join(there)}")
    return [name for name in there if name.lower() in wanted]


def to_start(names: list[str], loads: list[Load]) -> list[tuple[str, str]]:
    """Return the servers that the loads need, by name and precision."""
    return [
        (name, precision)
        for name in names
        if name != BARE
        for precision in dict.fromkeys(load.precision for load in loads if load.peers or name == GAN_SERVE)
        if precision in WAYS[name].precisions
    ]


def check(server: Server, checkpoint: Path, model: str) -> None:
    """Wait for a server, and compare its image of a seed with the local one.

    Raises:
        RuntimeError: it does not respond, or sends another image.
    """
    body = server.way.body(model) % CHECKED_SEED
    wait_until_ready(server, body)
    image = Image.open(io.BytesIO(server.way.png(server.ask(body))))
    local = Generator.from_pretrained(checkpoint, device="cpu", precision=server.precision)
    [expected] = local.generate(seed=CHECKED_SEED, output="numpy")
    difference = np.abs(np.asarray(image, np.int16).reshape(expected.shape) - expected).max()
    if image.format != "PNG" or difference > 1:
        raise RuntimeError(
            f"{server.name} returns another image for seed {CHECKED_SEED}, by up to {difference} grey levels."
        )


def cold_starts(checkpoint: Path, loads: list[Load], times: int) -> dict[str, Start]:
    """Return the medians over so many starts, by precision."""
    starts = {}
    for precision in dict.fromkeys(load.precision for load in loads) if times else ():
        measured = [cold_start(checkpoint, precision) for _ in range(times)]
        starts[precision] = Start(*(statistics.median(seconds) for seconds in zip(*measured, strict=True)))
    return starts


def cold_start(checkpoint: Path, precision: str) -> Start:
    body = WAYS[GAN_SERVE].body(read_config(checkpoint).name) % CHECKED_SEED
    began = time.perf_counter()
    server = start(GAN_SERVE, precision, checkpoint)
    try:
        wait_until_ready(server, None, "/readyz", every=0.02)
        ready, cpu = time.perf_counter() - began, server.cpu_seconds()
        server.ask(body)
        return Start(ready, time.perf_counter() - began, cpu)
    finally:
        server.stop()


def memory(server: Server) -> list[Memory]:
    """Return the memory of each process of a server."""
    sizes = []
    for process in server.processes():
        draws = any("onnxruntime" in mapping.path for mapping in process.memory_maps())
        size = process.memory_full_info()
        sizes.append(Memory(draws, size.rss, size.pss, size.uss))
    return sizes


def introduction(options: argparse.Namespace, checkpoint: Path, servers: list[Server], machine: str) -> list[str]:
    config = read_config(checkpoint)
    packages = ("onnxruntime-gpu", "onnxruntime", "bentoml", "numpy")
    versions = [f"{package} {version}" for package in packages if (version := version_of(package))]
    peers = [
        f"{package} {version}"
        for package in ("torchserve", "torch", "litserve", "fastapi", "uvicorn", "onnxruntime")
        if (version := version_of_peer(package))
    ]
    side = config.img_resolution
    ways = {server.name: server.way.description for server in servers}
    spinning = [f"{server.name} ({server.precision})" for server in servers if server.spins]
    return [
        "# Serving",
        "",
        f"Written by `make bench-serve` (`python benchmarks/serving.py`): {describe_cpu()}, {CORES} cores, "
        f"{', '.join(versions)}; the peers' environment: {', '.join(peers) or 'not installed'}. {machine}",
        "",
        f"All use {config.name} ({config.architecture.family}, {side}x{side}x{config.img_channels}). All servers run "
        f"at once and take turns, {options.rounds} rounds of {options.seconds} s each, under wrk: one thread, "
        "keep-alive connections, another seed in each request. wrk shares the cores. Results are medians over the "
        "rounds, and ratios are medians of the ratios. A turn in which other processes took more than "
        f"{DISTURBED:g} of a core was taken again, up to {options.tries} times; the quietest counts. Before that, the "
        f"image of each server for seed {CHECKED_SEED} was compared with the local one. On a machine that "
        "other work keeps busy, the kernel gives a server more of "
        "the cores the more of its threads wait for them, so that images/s compare unlike shares; the CPU time an "
        "image does not depend on them.",
        "",
        f"The bare loop is {CORES} processes that draw one image after the other from seeds and encode it, receipt and "
        "all, as the service does: no HTTP, no wrk. A server that batches may exceed it: a batch costs less than its "
        "images one by one, as the row with batches of 8 shows. Peers write no receipt. FastAPI, LitServe and BentoML "
        "run gan-serve's ONNX file in sessions of one thread and encode with gan-serve's `encode_png`, so that what "
        "differs is the framework; TorchServe runs eager torch and encodes with Pillow, as one would.",
        "",
        *(f"- {name}: {description}." for name, description in ways.items()),
        *([f"- Stopped between their turns, since they spin when idle: {', '.join(spinning)}."] if spinning else []),
    ]


def on_the_side(turns: Turns, stolen: float) -> str:
    """Return a sentence on the other load of the machine."""
    others = statistics.median(turn.others for own in turns.values() for turn in own)
    return f"while it ran, other processes took {others:.2f} cores and the host {stolen:.1%} of the time."


def version_of(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return ""


def version_of_peer(package: str) -> str:
    """Return the version of a package in the peers' environment, if it exists."""
    found = list(PEERS_BIN.parent.glob(f"lib/python*/site-packages/{package}-*.dist-info"))
    return found[0].name.removesuffix(".dist-info").partition("-")[2] if found else ""


def raw(turns: Turns) -> dict[str, list[dict[str, float]]]:
    return {f"{load} {name}": [asdict(turn) for turn in own] for (load, name), own in turns.items()}


if __name__ == "__main__":
    main()
