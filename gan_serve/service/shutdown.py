"""A graceful end: after SIGTERM ``/readyz`` is red, so that no new clients are sent here; those who come are served.

Then nobody can connect any more, and those who are connected have a moment for the request that is on its way. Only
then the server does what it does on SIGTERM: it closes the connections that ask nothing and finishes its requests.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import signal
import socket
import struct
import sys
import tempfile
import threading
from collections.abc import Iterable
from pathlib import Path
from types import FrameType

import psutil

from gan_serve.service import request_log as logs
from gan_serve.service.middleware import Gate

WORKER = "_bentoml_impl.worker.service"  # what BentoML runs as a worker
SIBLINGS = 0.2  # seconds in which all workers of a server get the same signal
PARENT_SECONDS = 2.0  # between looks at whether the parent is there
LAST_WORDS = 0.5  # seconds from the last connection to the end

# Classic BPF: drop (0) what has the flag SYN, in byte 13 of a TCP header; pass all of the rest.
_NO_SYN = ((0x30, 0, 0, 13), (0x45, 0, 1, 0x02), (0x06, 0, 0, 0), (0x06, 0, 0, 0xFFFFFFFF))
_SO_ATTACH_FILTER, _SO_DETACH_FILTER = 26, 27

gates: list[Gate] = []


def on_sigterm(seconds: float) -> None:
    """Put ``seconds`` of draining before what this process does on SIGTERM so far; called in its event loop."""
    if threading.current_thread() is not threading.main_thread():  # only there signals can be handled
        return
    loop = asyncio.get_running_loop()
    before = signal.getsignal(signal.SIGTERM)
    if not callable(before):  # no server that would wait for its requests
        return

    def stop(number: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGTERM, before)  # who asks twice is in a hurry
        for gate in gates:
            gate.draining = True
        logs.service.info("Draining for %g seconds.", seconds)
        with contextlib.suppress(OSError):  # the parent is gone, and its folder
            _mark(os.getpid()).touch()
        loop.call_soon_threadsafe(loop.call_later, max(seconds, SIBLINGS), close, number)

    def close(number: int) -> None:
        if not _all_drain():  # somebody ended this worker alone: the socket belongs to the others too
            before(number, None)
            return
        for listening in _listening(before):
            _take_no_more(listening)
        loop.call_later(LAST_WORDS, end, number)

    def end(number: int) -> None:
        for listening in _listening(before):
            # Not only closed: BentoML's main process has it too, and would have clients wait in vain until it ends.
            with contextlib.suppress(OSError), listening:  # another worker was first
                listening.shutdown(socket.SHUT_RD)
        before(number, None)

    def begin() -> None:
        if not (sockets := [*_listening(before)]):  # not listening yet
            loop.call_later(SIBLINGS, begin)
        for listening in sockets:
            with contextlib.suppress(OSError), listening:  # there is no filter
                listening.setsockopt(socket.SOL_SOCKET, _SO_DETACH_FILTER, 0)  # of a worker that was ended alone

    _mark(os.getpid()).unlink(missing_ok=True)
    signal.signal(signal.SIGTERM, stop)
    begin()


def end_with_the_parent() -> None:
    """Do what SIGTERM does once the process that started this one is gone: it would keep the port for nobody."""
    if sys.platform == "win32" or threading.current_thread() is not threading.main_thread():
        return
    loop, parent = asyncio.get_running_loop(), os.getppid()

    def look() -> None:
        if os.getppid() == parent:
            loop.call_later(PARENT_SECONDS, look)
        else:
            logs.service.warning("The process that started this worker is gone.")
            os.kill(os.getpid(), signal.SIGTERM)

    look()


def _mark(process: int) -> Path:
    """The file that tells the other workers that this one drains."""
    return Path(os.environ.get("PROMETHEUS_MULTIPROC_DIR") or tempfile.gettempdir()) / f"draining-{process}"


def _all_drain() -> bool:
    """Whether all workers of this server were told to end; where there is one alone, that cannot be told apart."""
    try:
        children = psutil.Process(os.getppid()).children()
    except psutil.Error:  # it is gone
        return True
    return all(_mark(child.pid).exists() for child in children if _is_worker(child))


def _is_worker(process: psutil.Process) -> bool:
    try:
        return WORKER in process.cmdline()  # empty of one that has ended
    except psutil.Error:
        return False


def _listening(handler: object) -> Iterable[socket.socket]:
    """The listening sockets of uvicorn, whose signal handler this is; of another server, none."""
    for server in getattr(getattr(handler, "__self__", None), "servers", ()):
        for listening in server.sockets:
            yield socket.socket(fileno=os.dup(listening.fileno()))


def _take_no_more(listening: socket.socket) -> None:
    """Let nobody begin to connect; who has, waits to be accepted, and a closed socket would throw them out.

    Only Linux can do that; elsewhere a connection that is made in the very last moment is lost.
    """
    if sys.platform == "linux":
        program = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *line) for line in _NO_SYN))
        with contextlib.suppress(OSError), listening:
            listening.setsockopt(
                socket.SOL_SOCKET, _SO_ATTACH_FILTER, struct.pack("HP", len(_NO_SYN), ctypes.addressof(program))
            )
