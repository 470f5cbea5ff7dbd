"""Make a running server reload all its models."""

from __future__ import annotations

import os
import signal

import psutil

from gan_serve.errors import ServiceError

_WORKER = "multiprocessing.spawn"  # in the command line of a worker of gan-serve serve


def reload(port: int) -> int:
    """Send SIGUSR1 to the ``gan-serve serve`` that listens on ``port``, and return its process id.

    The server replaces its workers one by one: a new worker loads its models before the old one ends, so that no
    request is dropped.

    Raises:
        ServiceError: no such server runs here, or this user may not signal it.
    """
    try:
        for connection in psutil.net_connections("tcp"):
            if connection.status == psutil.CONN_LISTEN and connection.laddr.port == port and connection.pid:
                process = psutil.Process(connection.pid)
                # All processes of a server share the socket, and any of them may be named here.
                for candidate in (process, process.parent()):
                    if candidate is not None and _has_workers(candidate):
                        number = int(candidate.pid)
                        os.kill(number, signal.SIGUSR1)
                        return number
    except (psutil.Error, PermissionError):
        pass
    raise ServiceError(
        f"No gan-serve server of this user listens on port {port}.", "Give its port with --port, or send it SIGUSR1."
    )


def _has_workers(process: psutil.Process) -> bool:
    return any(_WORKER in part for child in process.children() for part in child.cmdline())
