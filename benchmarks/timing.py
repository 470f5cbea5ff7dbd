"""Shared code of the benchmarks: interleaved timing, and a description of the machine."""

from __future__ import annotations

import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path

ROUNDS = 15
# Vector units that affect the speed.
UNITS = ("avx2", "avx512f", "avx512_vnni", "avx_vnni", "avx512_bf16", "amx_bf16", "amx_int8")


def interleaved(*functions: Callable[[], object], repeats: int = 1, rounds: int = ROUNDS) -> list[float]:
    """Return the median seconds of a call of each function, interleaved."""
    return [statistics.median(times) for times in taking_turns(*functions, repeats=repeats, rounds=rounds)]


def taking_turns(*functions: Callable[[], object], repeats: int = 1, rounds: int = ROUNDS) -> list[list[float]]:
    """Return the seconds of a call of each function in each round, as means of ``repeats`` calls."""
    seconds: list[list[float]] = [[] for _ in functions]
    for _ in range(rounds):
        for times, function in zip(seconds, functions, strict=True):
            started = time.perf_counter()
            for _ in range(repeats):
                function()
            times.append((time.perf_counter() - started) / repeats)
    return seconds


def median_ratio(seconds: list[float], reference: list[float]) -> float:
    """Return the speed relative to the reference, the median over the rounds, so that slow rounds have no effect."""
    return statistics.median(theirs / ours for ours, theirs in zip(seconds, reference, strict=True))


def describe_cpu() -> str:
    """Return the name of the processor and its vector units, if the system has them."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    facts = {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    flags = [unit for unit in UNITS if unit in facts.get("flags", "").split()]
    return f"{facts.get('model name', platform.machine())} ({', '.join(flags) or 'none of the known vector units'})"
