"""Make the tables of serving.md."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import NamedTuple

from serving_peers.servers import GAN_SERVE
from serving_peers.turns import BARE, Load, Turns, median, ratio


class Start(NamedTuple):
    """Seconds from the command to the first 200 of /readyz and to the first image; processor time until ready."""

    ready: float
    image: float
    cpu: float


class Memory(NamedTuple):
    """Bytes of one process; a worker is one that holds ONNX Runtime."""

    is_worker: bool
    rss: int
    pss: int
    uss: int


@dataclass(frozen=True)
class Target:
    """A target for images/s, as a multiple of those of ``theirs`` (under ``theirs_load`` if that is another load)."""

    what: str
    load: str
    theirs: str
    at_least: float
    theirs_load: str = ""


TARGETS = (
    Target("fp32, concurrency 8, of the bare loop", "fp32-8", BARE, 0.8),
    Target("fp32, concurrency 32, of the bare loop", "fp32-32", BARE, 0.8),
    Target("int8, concurrency 8, of the bare loop", "int8-8", BARE, 0.8),
    Target("int8, concurrency 32, of the bare loop", "int8-32", BARE, 0.8),
    Target("fp32, 64 images a request (a grid), of the bare loop", "fp32-64png", BARE, 0.9),
    Target("fp32, 64 images a request (npz), of the bare loop", "fp32-64npz", BARE, 0.9),
    Target("int8, 64 images a request (a grid), of the bare loop", "int8-64png", BARE, 0.9),
    Target("int8, 64 images a request (npz), of the bare loop", "int8-64npz", BARE, 0.9),
    Target("fp32, concurrency 8, of TorchServe", "fp32-8", "TorchServe", 1.8),
    Target("fp32, concurrency 32, of TorchServe", "fp32-32", "TorchServe", 1.8),
    Target("int8, concurrency 8, of TorchServe in fp32", "int8-8", "TorchServe", 3.0, "fp32-8"),
    Target("int8, concurrency 32, of TorchServe in fp32", "int8-32", "TorchServe", 3.0, "fp32-32"),
    Target("fp32, concurrency 8, of LitServe", "fp32-8", "LitServe", 1.1),
    Target("fp32, concurrency 32, of LitServe", "fp32-32", "LitServe", 1.1),
    Target("fp32, concurrency 8, of FastAPI", "fp32-8", "FastAPI", 1.0),
    Target("fp32, concurrency 32, of FastAPI", "fp32-32", "FastAPI", 1.0),
    Target("int8, concurrency 8, of FastAPI", "int8-8", "FastAPI", 1.0),
    Target("int8, concurrency 32, of FastAPI", "int8-32", "FastAPI", 1.0),
)
MAX_TAIL = 4.0  # p99 over p50 at concurrency 8
MAX_START = 3.0  # seconds
MAX_MEMORY = 300.0  # MB of a worker


def targets_table(turns: Turns, starts: dict[str, Start], sizes: dict[str, list[Memory]]) -> list[str]:
    """Return the table of the targets that were measured."""
    rows = []
    for target in TARGETS:
        measured = ratio(turns, target.load, GAN_SERVE, target.theirs, target.theirs_load)
        if measured is not None:
            met = measured >= target.at_least
            rows.append(_target(f"images/s, {target.what}", f"{measured:.2f}", f"at least {target.at_least:g}", met))
            if target.theirs == "FastAPI":
                cpu = ratio(turns, target.load, GAN_SERVE, target.theirs, field="cpu_ms") or 0.0
                rows.append(_target(f"CPU time an image, {target.what}", f"{cpu:.2f}", "at most 1", cpu <= 1))
    for load in ("fp32-8", "int8-8"):
        if own := turns.get((load, GAN_SERVE)):
            tail = statistics.median(turn.p99 / turn.p50 for turn in own)
            what = f"{load.partition('-')[0]}, concurrency 8, p99 over p50"
            rows.append(_target(what, f"{tail:.1f}", f"below {MAX_TAIL:g}", tail < MAX_TAIL))
    if own := [turn for (_, name), some in turns.items() if name == GAN_SERVE for turn in some]:
        wrong = sum(turn.wrong for turn in own)
        rows.append(_target("failed requests in all turns", wrong, "0", not wrong))
    for precision, start in starts.items():
        met = start.ready <= MAX_START
        rows.append(_target(f"{precision}, s from the command to ready", f"{start.ready:.1f}", f"{MAX_START:g}", met))
    for precision, processes in sizes.items():
        largest = max((size.rss for size in processes if size.is_worker), default=0) / 1e6
        what = f"{precision}, MB of a worker (RSS)"
        rows.append(_target(what, f"{largest:.0f}", f"at most {MAX_MEMORY:g}", largest <= MAX_MEMORY))
    return ["", "## Targets", "", "| gan-serve | measured | target | |", "|---|---|---|---|", *rows]


def speed_tables(turns: Turns, loads: list[Load]) -> list[str]:
    """Return a table for each load."""
    lines = ["", "## Images a second"]
    for load in loads:
        asked = "one PNG" if load.images == 1 else f"{load.images} images ({load.format})"
        lines += [
            "",
            f"### {load.precision}, {load.connections} connection{'s'[: load.connections - 1]}, {asked} a request",
            "",
            "| | images/s | least to most | to the bare loop | gan-serve to it | CPU ms an image "
            "| gan-serve's CPU to its | p50 ms | p99 ms | most ms | failed |",
            "|---|---|---|---|---|---|---|---|---|---|---|",
            *(_speed_row(turns, load.name, name) for of_load, name in turns if of_load == load.name),
        ]
    return lines


def _speed_row(turns: Turns, load: str, name: str) -> str:
    own = turns[load, name]
    speeds = sorted(turn.images_per_s for turn in own)
    to_bare, to_it = ratio(turns, load, name, BARE), ratio(turns, load, GAN_SERVE, name)
    cpu = ratio(turns, load, GAN_SERVE, name, field="cpu_ms")
    latencies = [""] * 4
    if not name.startswith(BARE):
        latencies = [f"{median(own, field):.1f}" for field in ("p50", "p99", "most")]
        latencies.append(str(sum(turn.wrong for turn in own)))
    return _row(
        f"**{name}**" if name == GAN_SERVE else name,
        f"{statistics.median(speeds):.0f}",
        f"{speeds[0]:.0f} to {speeds[-1]:.0f}",
        *("" if value is None else f"{value:.2f}" for value in (to_bare, to_it)),
        f"{median(own, 'cpu_ms'):.2f}",
        "" if cpu is None else f"{cpu:.2f}",
        *latencies,
    )


def start_table(starts: dict[str, Start]) -> list[str]:
    rows = [_row(precision, *(f"{seconds:.2f}" for seconds in start)) for precision, start in starts.items()]
    return [
        "",
        "## Start of gan-serve",
        "",
        "s from the command on, a new process each time, medians; the files are in the page cache.",
        "",
        "| | /readyz says 200 | first image | processor time until ready |",
        "|---|---|---|---|",
        *rows,
    ]


def memory_table(sizes: dict[str, list[Memory]]) -> list[str]:
    rows = [
        _row(precision, "worker" if size.is_worker else "supervisor", *(f"{bytes / 1e6:.0f}" for bytes in size[1:]))
        for precision, processes in sizes.items()
        for size in processes
    ]
    return [
        "",
        "## Memory of gan-serve",
        "",
        "MB of each process after all loads; workers share what RSS counts in each of them and PSS divides.",
        "",
        "| | | RSS | PSS | USS |",
        "|---|---|---|---|---|",
        *rows,
    ]


def _target(what: str, measured: object, bound: str, met: bool) -> str:
    return _row(what, f"**{measured}**", bound, "met" if met else "**missed**")


def _row(*cells: object) -> str:
    return "| " + " | ".join(map(str, cells)) + " |"
