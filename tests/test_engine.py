"""Batching: waiting requests are sampled together, none fails with another or waits for a large one."""

from __future__ import annotations

import asyncio
import dataclasses
import threading
import time
from collections.abc import Awaitable, Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from gan_serve import Generator
from gan_serve.errors import TooManyRequests
from gan_serve.images.pixels import UInt8Array
from gan_serve.sampling.request import SamplingRequest
from gan_serve.sampling.result import Samples
from gan_serve.service.batching import Batcher

Pixels = npt.NDArray[np.uint8]


class Watched:
    """A generator that waits for leave before it draws, and tells how many images each run had."""

    def __init__(self, generator: Generator) -> None:
        self.generator = generator
        self.name, self.device = generator.name, generator.device
        self.leave = threading.Event()
        self.runs: list[int] = []

    def run(self, *plans: SamplingRequest) -> UInt8Array:
        self.leave.wait(20)
        self.runs.append(sum(map(len, plans)))
        return self.generator.run(*plans)


@dataclasses.dataclass(frozen=True, eq=False)
class Broken(SamplingRequest):
    """A plan that cannot be drawn."""

    def inputs(self) -> dict[str, Any]:
        raise ArithmeticError("broken")


def _pixels(samples: Samples) -> Pixels:
    return samples.pixels


def _run(act: Callable[[Batcher], Awaitable[None]], **options: int) -> None:
    async def main() -> None:
        batcher = Batcher(**{"threads": 1, "max_queue": 100, "max_queued_images": 1000} | options)
        try:
            async with asyncio.timeout(60):
                await act(batcher)
        finally:
            batcher.close()

    asyncio.run(main())


def test_what_waits_is_drawn_in_one_run_and_each_gets_its_own(generator: Generator) -> None:
    watched: Any = Watched(generator)

    async def act(batcher: Batcher) -> None:
        plans = [generator.sample_request(seed=seed, truncation=1 - seed / 20) for seed in range(9)]
        drawings = [batcher.submit(watched, plans[0], _pixels, format="png")]
        await asyncio.sleep(0.2)  # the thread has the first, and waits
        drawings += [batcher.submit(watched, plan, _pixels, format="png") for plan in plans[1:]]
        await asyncio.sleep(0.2)
        watched.leave.set()
        for plan, drawn in zip(plans, await asyncio.gather(*drawings), strict=True):
            np.testing.assert_array_equal(drawn, generator.run(plan))

    _run(act)
    assert watched.runs == [1, 8]


def test_one_that_cannot_be_drawn_fails_alone(generator: Generator) -> None:
    watched: Any = Watched(generator)

    async def act(batcher: Batcher) -> None:
        plans = [generator.sample_request(seed=seed) for seed in range(5)]
        plans[2] = Broken(**{field.name: getattr(plans[2], field.name) for field in dataclasses.fields(plans[2])})
        drawings = [batcher.submit(watched, plan, _pixels, format="png") for plan in plans]
        await asyncio.sleep(0.2)
        watched.leave.set()
        outcomes = await asyncio.gather(*drawings, return_exceptions=True)
        assert [type(outcome) for outcome in outcomes].count(ArithmeticError) == 1
        for number in (0, 1, 3, 4):
            np.testing.assert_array_equal(outcomes[number], generator.run(plans[number]))

    _run(act)


def test_a_large_one_that_fails_is_not_drawn_to_its_end(generator: Generator) -> None:
    class Failing(Watched):
        def run(self, *plans: SamplingRequest) -> UInt8Array:
            self.runs.append(sum(map(len, plans)))
            raise MemoryError

    failing: Any = Failing(generator)

    async def act(batcher: Batcher) -> None:
        with pytest.raises(MemoryError):
            await batcher.submit(failing, generator.sample_request(n=200, seed=0), _pixels, format="png")

    _run(act)
    assert failing.runs == [16]


def test_one_that_cannot_be_encoded_fails_alone(generator: Generator) -> None:
    def encode(samples: Samples) -> Pixels:
        assert samples.seeds != [1], "no"
        return samples.pixels

    async def act(batcher: Batcher) -> None:
        drawings = [
            batcher.submit(generator, generator.sample_request(seed=seed), encode, format="png") for seed in range(3)
        ]
        outcomes = await asyncio.gather(*drawings, return_exceptions=True)
        assert [isinstance(outcome, AssertionError) for outcome in outcomes] == [False, True, False]

    _run(act)


def test_a_request_that_would_wait_too_long_is_refused(generator: Generator) -> None:
    class Slow(Watched):
        def run(self, *plans: SamplingRequest) -> UInt8Array:
            time.sleep(0.05 * sum(map(len, plans)))
            return super().run(*plans)

    slow: Any = Slow(generator)
    slow.leave.set()

    async def act(batcher: Batcher) -> None:
        await batcher.submit(slow, generator.sample_request(n=4, seed=0), _pixels, format="png")
        assert batcher.expected_wait(100) == 0.0
        slow.leave.clear()
        large = [batcher.submit(slow, generator.sample_request(n=80, seed=0), _pixels, format="png") for _ in range(2)]
        await asyncio.sleep(0.2)  # the thread has 16 images of the first
        assert batcher.expected_wait(1) == pytest.approx(2 * 16 * 0.05, rel=0.3)  # one turn of each
        assert batcher.expected_wait(1000) == pytest.approx((64 + 80) * 0.05, rel=0.3)
        batcher.check_room(1)
        with pytest.raises(TooManyRequests) as refused:
            batcher.check_room(100)
        assert 3 <= (refused.value.retry_after or 0) <= 7
        slow.leave.set()
        for each in large:
            each.cancel()

    _run(act, max_wait=3)


@pytest.mark.parametrize("threads", [1, 3])
def test_a_large_request_is_drawn_in_pieces_and_small_ones_go_between(generator: Generator, threads: int) -> None:
    done = []

    async def act(batcher: Batcher) -> None:
        async def draw(n: int) -> None:
            plan = generator.sample_request(n=n, seed=0)
            drawn = await batcher.submit(generator, plan, _pixels, format="png")
            done.append(n)
            np.testing.assert_array_equal(drawn, generator.run(plan))

        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(draw(400))
            await asyncio.sleep(0.02)
            for n in (1, 2, 20):
                tasks.create_task(draw(n))

    _run(act, threads=threads)
    assert done[-1] == 400


def test_who_leaves_is_not_drawn(generator: Generator) -> None:
    watched: Any = Watched(generator)

    async def act(batcher: Batcher) -> None:
        first = batcher.submit(watched, generator.sample_request(seed=0), _pixels, format="png")
        await asyncio.sleep(0.2)
        left = batcher.submit(watched, generator.sample_request(n=50, seed=0), _pixels, format="png")
        await asyncio.sleep(0.1)
        left.cancel()
        watched.leave.set()
        await first
        await batcher.submit(watched, generator.sample_request(n=3, seed=0), _pixels, format="png")

    _run(act)
    assert watched.runs == [1, 3]


def test_a_full_queue_admits_nobody_until_there_is_room(generator: Generator) -> None:
    watched: Any = Watched(generator)

    async def act(batcher: Batcher) -> None:
        batcher.check_room(5000)  # what alone exceeds the bound may come when nothing waits
        waiting = [
            batcher.submit(watched, generator.sample_request(n=n, seed=0), _pixels, format="png") for n in (1, 90)
        ]
        await asyncio.sleep(0.1)
        batcher.check_room(9)
        with pytest.raises(TooManyRequests):
            batcher.check_room(10)
        waiting.append(batcher.submit(watched, generator.sample_request(seed=0), _pixels, format="png"))
        await asyncio.sleep(0.1)
        with pytest.raises(TooManyRequests):
            batcher.check_room(1)
        watched.leave.set()
        await asyncio.gather(*waiting)
        batcher.check_room(100)

    _run(act, max_queue=3, max_queued_images=100)
