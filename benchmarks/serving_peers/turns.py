"""Define loads, and run a server or the bare loop under a load for a while."""

from __future__ import annotations

import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from serving_peers.servers import GAN_SERVE, HERE, Server

BARE = "bare"
CORES = os.cpu_count() or 1
SEEDS_OF_A_TURN = 1_000_000  # no seed is repeated, so that caches have no effect
DISTURBED = 0.1  # of a core: a turn in which other processes took more is taken again
WRONG = ("refused", "connect", "read", "write", "timeout")  # as post.lua counts them


@dataclass(frozen=True)
class Load:
    """The requests of a load, and the number of concurrent connections."""

    name: str
    precision: str
    connections: int
    images: int = 1
    format: str = "png"
    peers: bool = False  # the peers take part

    @property
    def bare(self) -> str:
        """The task of the bare loop: images at a time, and their format."""
        return f"{self.images} {'each' if self.images == 1 else self.format}"

    def body(self, server: Server, model: str) -> str:
        """Return the JSON body of a request, with %d for the seed."""
        body = server.way.body(model)
        return body if self.images == 1 else body[:-1] + f', "n": {self.images}, "format": "{self.format}"}}'


LOADS = (
    Load("fp32-1", "fp32", 1),
    Load("fp32-8", "fp32", 8, peers=True),
    Load("fp32-32", "fp32", 32, peers=True),
    Load("int8-8", "int8", 8, peers=True),
    Load("int8-32", "int8", 32, peers=True),
    Load("fp32-64png", "fp32", 4, images=64),
    Load("fp32-64npz", "fp32", 4, images=64, format="npz"),
    Load("int8-64png", "int8", 4, images=64),
    Load("int8-64npz", "int8", 4, images=64, format="npz"),
)
BATCHES_OF_8 = "8 each"  # task of the bare loop that shows the effect of batching


@dataclass(frozen=True)
class Turn:
    """The result of a server under a load in a round.

    p50, p99, most: latencies in ms. wrong: failed requests: responses other than 2xx, broken connections and timeouts.
        cpu_ms: CPU time of an image. wrk,
    others: cores that the load generator and other processes used.
    """

    images_per_s: float
    cpu_ms: float
    others: float
    p50: float = 0.0
    p99: float = 0.0
    most: float = 0.0
    wrong: int = 0
    wrk: float = 0.0


Turns = dict[tuple[str, str], list[Turn]]  # by the names of load and server, one a round


class BareLoop:
    """As many processes as cores, each with its own session of one thread."""

    def __init__(self, checkpoint: Path) -> None:
        command = [sys.executable, str(HERE / "bare_loop.py"), str(checkpoint)]
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        self._processes = [
            subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment)
            for _ in range(CORES)
        ]

    def take_turn(self, precision: str, what: str, seconds: int) -> Turn:
        """Run all processes together; ``what`` is ``IMAGES FORMAT`` of ``bare_loop.py``."""
        self._tell(f"{precision} 1 load 0")
        busy = busy_seconds()
        answers = self._tell(f"{precision} {what} {seconds}")
        busy = busy_seconds() - busy
        cpu, drawn = sum(cpu for *_, cpu in answers), sum(drawn for drawn, *_ in answers)
        return Turn(
            images_per_s=sum(drawn / taken for drawn, taken, _ in answers),
            cpu_ms=1e3 * cpu / drawn,
            others=max(0.0, busy - cpu) / seconds,
        )

    def stop(self) -> None:
        for process in self._processes:
            process.communicate()  # it ends with its input

    def _tell(self, line: str) -> list[list[float]]:
        for process in self._processes:
            assert process.stdin
            process.stdin.write(line + "\n")
            process.stdin.flush()
        answers = [process.stdout.readline() for process in self._processes if process.stdout]
        return [[float(number) for number in answer.split()] for answer in answers]


def take_turn(server: Server, load: Load, model: str, seconds: int, first_seed: int) -> Turn:
    """Put a load on a server for so many seconds."""
    command = [
        "wrk", "--threads", "1", "--connections", str(load.connections), "--duration", f"{seconds}s",
        "--timeout", "10s", "--script", str(HERE / "post.lua"), server.url + server.way.path,
        "--", load.body(server, model), str(first_seed), str(load.images),
    ]  # fmt: skip
    with server.awake():
        before = server.cpu_seconds(), _seconds_of_children(), busy_seconds()
        output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        after = server.cpu_seconds(), _seconds_of_children(), busy_seconds()
    cpu, wrk, busy = (now - then for now, then in zip(after, before, strict=True))
    counted = json.loads(output.strip().splitlines()[-1])
    images = (counted["answers"] - counted["refused"]) * load.images
    return Turn(
        images_per_s=images / counted["seconds"],
        cpu_ms=1e3 * cpu / max(1, images),
        others=max(0.0, busy - cpu - wrk) / counted["seconds"],
        wrk=wrk / counted["seconds"],
        wrong=sum(counted[kind] for kind in WRONG),
        **{key: counted[key] for key in ("p50", "p99", "most")},
    )


def all_turns(
    model: str, servers: list[Server], bare: BareLoop | None, loads: list[Load], rounds: int, seconds: int, tries: int
) -> Turns:
    """Run every server under each of its loads, one after the other, in so many rounds; see ``undisturbed``."""
    turns: Turns = {}
    first_seed = 0
    for number in range(rounds):
        for load in loads:
            takes: dict[str, Callable[[], Turn]] = {}
            if bare:
                takes[BARE] = lambda load=load: bare.take_turn(load.precision, load.bare, seconds)
                if load.images == 1 and load.connections == 8:
                    takes["bare, batches of 8"] = lambda load=load: bare.take_turn(
                        load.precision, BATCHES_OF_8, seconds
                    )
            for server in servers:
                if server.precision == load.precision and (load.peers or server.name == GAN_SERVE):
                    takes[server.name] = lambda server=server, load=load, seed=first_seed: take_turn(
                        server, load, model, seconds, seed
                    )
                    first_seed += SEEDS_OF_A_TURN
            for name, take in takes.items():
                turns.setdefault((load.name, name), []).append(turn := undisturbed(take, tries))
                print(
                    f"{number + 1}: {load.name} {name}: {turn.images_per_s:.0f} images/s, {turn.cpu_ms:.2f} ms, "
                    f"others {turn.others:.2f} cores",
                    file=sys.stderr,
                )
    return turns


def undisturbed(take: Callable[[], Turn], tries: int) -> Turn:
    """Return a turn in which other processes took at most ``DISTURBED`` of a core, or the best of several."""
    turns = [take()]
    while turns[-1].others > DISTURBED and len(turns) < tries:
        turns.append(take())
    return min(turns, key=lambda turn: turn.others)


def warm_up(servers: list[Server], model: str, seconds: int) -> None:
    """Warm up Java's compiler and adaptive batching."""
    for server in servers:
        take_turn(server, Load("", server.precision, 8), model, seconds, first_seed=2**31)


def pause_those_that_spin(servers: list[Server], most: float) -> None:
    """Stop, between their turns, the servers that use more than ``most`` of a core without requests."""
    before = [server.cpu_seconds() for server in servers]
    time.sleep(2)
    for server, seconds in zip(servers, before, strict=True):
        if (server.cpu_seconds() - seconds) / 2 > most:
            server.pause()


def ratio(
    turns: Turns, load: str, ours: str, theirs: str, theirs_load: str = "", field: str = "images_per_s"
) -> float | None:
    """Return the ratio of a field, the median over the rounds; None if one of the two has no turns."""
    mine, other = turns.get((load, ours)), turns.get((theirs_load or load, theirs))
    if not mine or not other:
        return None
    pairs = ((getattr(a, field), getattr(b, field)) for a, b in zip(mine, other, strict=True))
    return statistics.median(a / max(b, 1e-9) for a, b in pairs)


def median(turns: Iterable[Turn], field: str) -> float:
    """Return the median of a field over the rounds."""
    return statistics.median(getattr(turn, field) for turn in turns)


def busy_seconds() -> float:
    """Return the CPU time of the whole machine so far, as Linux counts it."""
    user, nice, system, _idle, _iowait, irq, softirq, *_ = processor_time()
    return (user + nice + system + irq + softirq) / os.sysconf("SC_CLK_TCK")


def stolen_share(before: list[int]) -> float:
    """Return the share of stolen CPU time since ``before``."""
    passed = [now - then for now, then in zip(processor_time(), before, strict=True)]
    return passed[7] / max(1, sum(passed[:8]))


def processor_time() -> list[int]:
    """Return the first line of /proc/stat: user, nice, system, idle, iowait, irq, softirq, steal, ..."""
    return [int(number) for number in Path("/proc/stat").read_text().splitlines()[0].split()[1:]]


def _seconds_of_children() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime
