"""What the benchmarks share: timing side by side, and what the machine is."""

from __future__ import annotations

import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path

ROUNDS = 15
UNITS = ("avx2", "avx512f", "avx512_vnni", "avx_vnni", "avx512_bf16", "amx_bf16", "amx_int8")  # that speed depends on


def interleaved(*functions: Callable[[], object], repeats: int = 1, rounds: int = ROUNDS) -> list[float]:
    """The median seconds of one call of each function, all of them taking turns."""
    return [statistics.median(times) for times in taking_turns(*functions, repeats=repeats, rounds=rounds)]


def taking_turns(*functions: Callable[[], object], repeats: int = 1, rounds: int = ROUNDS) -> list[list[float]]:
    """Seconds of one call of each function in each round, the mean of ``repeats``."""
    seconds: list[list[float]] = [[] for _ in functions]
    for _ in range(rounds):
        for times, function in zip(seconds, functions, strict=True):
            started = time.perf_counter()
            for _ in range(repeats):
                function()
            times.append((time.perf_counter() - started) / repeats)
    return seconds


def median_ratio(seconds: list[float], reference: list[float]) -> float:
    """How many times as fast as the reference, the median of the rounds: what slows a whole round does not count."""
    return statistics.median(theirs / ours for ours, theirs in zip(seconds, reference, strict=True))


def describe_cpu() -> str:
    """The processor and those of its units that matter here, as far as the system tells."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    facts = {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    flags = [unit for unit in UNITS if unit in facts.get("flags", "").split()]
    return f"{facts.get('model name', platform.machine())} ({', '.join(flags) or 'no vector units that we look for'})"
