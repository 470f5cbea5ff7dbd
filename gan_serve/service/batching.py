"""Dynamic batching: requests that wait for the same model go through its network together, in a few threads.

An idle sampling thread gets its share of the waiting images at once. So batches grow with the load, and no request
waits for a batch to fill. A large request is sampled in pieces and returns to the end of the queue after each, so that
it does not delay small ones. benchmarks/serving.md compares this with BentoML's own batching.

Only the event loop touches the queue, so that it needs no lock: threads that wait for each other's locks cost more CPU
time than the network of a small generator (benchmarks/serving_busy.md).
"""

from __future__ import annotations

import asyncio
import logging
import math
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue
from typing import Any, NamedTuple, Protocol, TypeVar
from weakref import WeakKeyDictionary

import numpy as np
import numpy.typing as npt

from gan_serve.errors import TooManyRequests
from gan_serve.images.cancellation import NotWanted, while_wanted
from gan_serve.sampling.session import BATCH_SIZE
from gan_serve.service import metrics
from gan_serve.service.tracing import Stages

logger = logging.getLogger(__name__)

Result = TypeVar("Result")
PACE_WEIGHT = 0.3  # of the latest batch in the average of seconds per image
ENCODED_AT_ONCE = 16  # a sampling thread encodes up to this many images itself; more would delay other requests


class Wanted(Protocol):
    """A request for images from a network."""

    def __len__(self) -> int: ...

    def part(self, start: int, stop: int) -> Any:
        """Return the request for some of the images."""
        ...

    def samples(self, pixels: Any) -> Any:
        """Return the images with what they were made from, to be encoded."""
        ...


class Network(Protocol):
    """A generator or a translator."""

    @property
    def name(self) -> str:
        """The name of the checkpoint."""
        ...

    @property
    def device(self) -> str:
        """The device that it runs on."""
        ...

    def run(self, *requests: Any) -> Any:
        """Return the images of requests, an array of N."""
        ...


class Job:
    """The images of one request: waiting, being sampled, sampled."""

    def __init__(
        self,
        generator: Network,
        wanted: Wanted,
        encode: Callable[[Any], object],
        format: str,
        stages: Stages | None = None,
    ) -> None:
        self.generator = generator
        self.wanted = wanted
        self.encode = encode
        self.format = format
        self.stages = {} if stages is None else stages
        self.loop = asyncio.get_running_loop()
        self.future: asyncio.Future[Any] = self.loop.create_future()
        self.submitted = time.perf_counter()
        self.images = len(wanted)
        self.started = 0  # images that sampling threads have taken
        self.to_sample = self.images  # images that are not sampled yet
        self.pixels: npt.NDArray[Any] | None = None

    @property
    def over(self) -> bool:
        """True if no client waits for the images any more."""
        return self.future.done()


Outcome = tuple[Job, object, Exception | None]


class Piece(NamedTuple):
    """Some images of a job, sampled in one batch with pieces of other jobs."""

    job: Job
    start: int
    stop: int

    @property
    def wanted(self) -> Wanted:
        """The request for these images alone."""
        job = self.job
        part: Wanted = job.wanted if self.stop - self.start == job.images else job.wanted.part(self.start, self.stop)
        return part


class Batcher:
    """The queue of a process and the threads that sample from it."""

    def __init__(
        self,
        *,
        threads: int,
        max_queue: int,
        max_queued_images: int,
        max_queued_bytes: int = 2**62,
        max_wait: float = math.inf,
        max_seconds: float = math.inf,
    ) -> None:
        self.threads = threads
        self.max_wait = max_wait  # seconds that a request may be expected to wait for others
        self.max_seconds = max_seconds  # of one batch in the network
        self.max_queue = max_queue
        self.max_queued_images = max_queued_images
        self.max_queued_bytes = max_queued_bytes
        self._jobs: deque[Job] = deque()
        self._idle = threads
        self._dispatches = False  # ``_dispatch`` is about to run
        self._batches: SimpleQueue[list[Piece] | None] = SimpleQueue()  # one for each thread that is not idle
        self._pieces = threading.Lock()  # two threads may have pieces of one job
        self._requests = 0  # waiting or being sampled
        self._images = 0
        self._bytes = 0  # of responses, from the queue until they are sent
        self._untaken = 0  # images that no thread has taken
        self._pace: WeakKeyDictionary[Network, float] = WeakKeyDictionary()  # seconds of an image, recently
        self._sampling: dict[int, float] = {}  # when each thread that is in a network entered it
        self._encoders = ThreadPoolExecutor(max(1, threads // 2), "encode")  # starts a thread when it has work
        self._samplers = [
            threading.Thread(target=self._work, name=f"sample-{number}", daemon=True) for number in range(threads)
        ]

    @property
    def overdue(self) -> bool:
        """True if a batch has been in a network for more than ``max_seconds``: its thread may never return."""
        now = time.monotonic()
        return any(now - since > self.max_seconds for since in list(self._sampling.values()))

    def reserve(self, images: int, size: int) -> Callable[[], None]:
        """Reserve room in the queue for a request for ``images`` images, whose response has about ``size`` bytes.

        Returns:
            A function to call once the response is sent or has failed.

        Raises:
            TooManyRequests: the queue has no room. A request that alone exceeds a limit is accepted if no other waits.
        """
        self.check_room(images)
        if self._bytes and self._bytes + size > self.max_queued_bytes:
            raise _full()
        self._bytes += size
        released = False

        def release() -> None:
            nonlocal released
            if not released:
                released = True
                self._bytes -= size

        return release

    def check_room(self, images: int) -> None:
        """Raise ``TooManyRequests`` if the queue has no room for so many images, or they would wait too long."""
        if self._requests >= self.max_queue or (self._images and self._images + images > self.max_queued_images):
            raise _full()
        if (wait := self.expected_wait(images)) > self.max_wait:
            raise _full(wait - self.max_wait)

    def expected_wait(self, images: int) -> float:
        """Return the seconds that a request for ``images`` images is expected to wait for those in the queue.

        Requests take turns, so that a small one waits for a part of each large one only.
        """
        if not self._untaken:
            return 0.0
        seconds = 0.0
        for job in self._jobs:
            turn = BATCH_SIZE[job.generator.device]
            before = min(job.images - job.started, turn * math.ceil(images / turn))
            seconds += before * self._pace.get(job.generator, 0.0)
        return seconds / self.threads

    def submit(
        self,
        generator: Network,
        wanted: Wanted,
        encode: Callable[[Any], Result],
        *,
        format: str,
        stages: Stages | None = None,
    ) -> asyncio.Future[Result]:
        """Sample a request in batches with others that wait for the same model, and encode its images in a thread.

        A request whose future is cancelled (a timeout, a client that disconnected) leaves the queue.
        """
        if not self._samplers[0].is_alive():  # not earlier: an app may be created without serving anything
            for thread in self._samplers:
                thread.start()
        job = Job(generator, wanted, encode, format, stages)
        job.future.add_done_callback(lambda _: self._count(-1, -job.images))
        self._count(1, job.images)
        self._jobs.append(job)
        self._untaken += job.images
        if self._idle and not self._dispatches:
            self._dispatches = True
            job.loop.call_soon(self._dispatch)  # with the other requests that arrived at the same time
        return job.future

    def _count(self, requests: int, images: int) -> None:
        self._requests += requests
        self._images += images
        metrics.queued_requests.inc(requests)

    def close(self) -> None:
        """Stop the threads; requests that still wait are not sampled."""
        self._idle = 0
        for _ in self._samplers:
            self._batches.put(None)
        self._encoders.shutdown(wait=False)

    def _dispatch(self) -> None:
        """Give each idle thread a batch."""
        self._dispatches = False
        while self._idle and (batch := self._take()):
            self._idle -= 1
            self._batches.put(batch)

    def _work(self) -> None:
        while batch := self._batches.get():
            try:
                outcomes = self._sample(batch)
            except Exception as error:  # a thread that ended would never be replaced
                logger.exception("An error occurred in a sampling thread.")
                outcomes = [(piece.job, None, error) for piece in batch]
            loop = batch[0].job.loop
            if not loop.is_closed():
                loop.call_soon_threadsafe(self._sampled, outcomes)

    def _sampled(self, outcomes: list[Outcome]) -> None:
        _settle(outcomes)
        self._idle += 1
        self._dispatch()

    def _take(self) -> list[Piece]:
        """Return the next batch: a thread's share of the images that wait for one model, at most ``BATCH_SIZE``."""
        batch: list[Piece] = []
        others: list[Job] = []  # for other models: they keep their place in the queue
        unfinished: list[Job] = []  # sampled in part: they go to the end of the queue
        room = 1
        while self._jobs and room:
            job = self._jobs.popleft()
            left = job.images - job.started
            if job.over:
                self._untaken -= left
            elif batch and job.generator is not batch[0].job.generator:
                others.append(job)
            else:
                if not batch:
                    room = min(BATCH_SIZE[job.generator.device], math.ceil(self._untaken / self.threads))
                taken = min(room, left)
                batch.append(Piece(job, job.started, job.started + taken))
                job.started += taken
                self._untaken -= taken
                room -= taken
                if taken < left:
                    unfinished.append(job)
        self._jobs.extendleft(reversed(others))
        self._jobs.extend(unfinished)
        return batch

    def _sample(self, batch: list[Piece]) -> list[Outcome]:
        generator = batch[0].job.generator
        started = time.perf_counter()
        for piece in batch:
            if piece.start == 0:
                metrics.queue_seconds.observe(started - piece.job.submitted)
                piece.job.stages["queue"] = (piece.job.submitted, started)
        thread = threading.get_ident()
        self._sampling[thread] = time.monotonic()
        try:
            pixels = generator.run(*(piece.wanted for piece in batch))
        except Exception as error:
            if len(batch) > 1:  # retry them one by one: the error of one must not fail the others
                return [outcome for piece in batch for outcome in self._sample([piece])]
            logger.exception("A batch could not be sampled.")
            return [(batch[0].job, None, error)]
        finally:
            self._sampling.pop(thread, None)
        ended = time.perf_counter()
        metrics.inference_seconds.labels(generator.name).observe(ended - started)
        pace = (ended - started) / len(pixels)
        before = self._pace.get(generator, pace)
        self._pace[generator] = before + PACE_WEIGHT * (pace - before)
        for piece in batch:
            piece.job.stages["inference"] = (piece.job.stages.get("inference", (started,))[0], ended)
        metrics.batch_images.labels(generator.name).observe(len(pixels))
        offset, small = 0, []
        for job, start, stop in batch:
            end = offset + stop - start
            if self._keep(job, start, pixels[offset:end]):
                if job.images > ENCODED_AT_ONCE:
                    self._encoders.submit(_encode_apart, job)
                else:
                    small.append(job)
            offset = end
        return _encode(small)

    def _keep(self, job: Job, start: int, pixels: npt.NDArray[Any]) -> bool:
        """Keep the pixels of a job from the image ``start`` on; return True if they are the last."""
        if len(pixels) == job.images:
            job.pixels = pixels
            return True
        with self._pieces:
            if job.pixels is None:
                job.pixels = np.empty((job.images, *pixels.shape[1:]), pixels.dtype)
            job.pixels[start : start + len(pixels)] = pixels
            job.to_sample -= len(pixels)
            return not job.to_sample


def _encode_apart(job: Job) -> None:
    """Encode a large job in a thread of its own."""
    outcomes = _encode([job])
    if not job.loop.is_closed():
        job.loop.call_soon_threadsafe(_settle, outcomes)


def _encode(jobs: list[Job]) -> list[Outcome]:
    """Return the encoded images of jobs. They are passed on together.

    After each, the event loop and this thread would wait for each other: only one of them runs Python at a time.
    """
    outcomes: list[Outcome] = []
    with while_wanted(lambda: not job.over):  # the job of that moment
        for job in jobs:
            if job.over:
                continue
            started = time.perf_counter()
            try:
                outcomes.append((job, job.encode(job.wanted.samples(job.pixels)), None))
            except NotWanted:
                continue
            except Exception as error:
                outcomes.append((job, None, error))
                continue
            ended = time.perf_counter()
            metrics.encoding_seconds.labels(job.format).observe(ended - started)
            job.stages["encoding"] = (started, ended)
            metrics.images.labels(job.generator.name, job.format).inc(job.images)
    return outcomes


def _settle(outcomes: list[Outcome]) -> None:
    """Pass results and errors to those that wait for them; called in the event loop."""
    for job, result, error in outcomes:
        if job.over:
            continue
        if error is not None:
            job.future.set_exception(error)
        else:
            job.future.set_result(result)


def _full(seconds: float = 0.0) -> TooManyRequests:
    error = TooManyRequests("The server's queue is full.", "Try again soon.")
    error.retry_after = max(1, math.ceil(seconds))
    return error
