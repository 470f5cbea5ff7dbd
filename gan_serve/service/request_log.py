"""The log of the service on standard error: a line for each request and each event, as JSON or as text.

Lines of requests are buffered for up to ``WRITE_SECONDS``: a record and a write for each of a thousand requests per
second cost a fifth of a worker's CPU time (benchmarks/serving_busy.md). Any other line, and the end of the process,
writes the buffered lines first; only a worker that is killed (SIGKILL) loses them.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import datetime
import json
import logging
import logging.config
import sys
import time
from typing import Any

from gan_serve.service.settings import Settings
from gan_serve.terminal import escape

WRITE_SECONDS = 0.1
ACCESS = "gan_serve.access"  # the logger's name in the lines of requests

service = logging.getLogger("gan_serve")
_off = False
_handler: _Handler | None = None


def log_request(fields: dict[str, Any]) -> None:
    """Log a request; called in the event loop, after ``configure``."""
    if not _off and _handler is not None:
        _handler.add(fields)


def logs_requests() -> bool:
    """Return True if requests are logged."""
    return not _off


def configure(settings: Settings) -> None:
    """Set up logging for this process, warnings and the lines of libraries included."""
    form = "_Json" if uses_json(settings) else "_Text"
    logging.config.dictConfig(
        {
            "version": 1,
            "disable_existing_loggers": False,
            "formatters": {"line": {"()": f"{__name__}.{form}"}},
            "handlers": {"stderr": {"()": _Handler, "formatter": "line"}},
            "root": {"handlers": ["stderr"], "level": "WARNING"},
            "loggers": {
                "gan_serve": {"level": "WARNING" if _is_watched(settings) else "INFO"},
                # It warns of single requests, which http_limits logs with their client and id.
                "uvicorn": {"level": "ERROR", "handlers": [], "propagate": True},
            },
        }
    )
    logging.captureWarnings(True)
    global _off, _handler
    _off = settings.log == "off"
    _handler = next(each for each in logging.getLogger().handlers if isinstance(each, _Handler))


def uses_json(settings: Settings) -> bool:
    """Return True if each line is a JSON object."""
    return settings.log == "json" or (settings.log in ("auto", "off") and not sys.stderr.isatty())


def _is_watched(settings: Settings) -> bool:
    """Return True where a person reads along: ``gan-serve serve`` itself says when all models are ready."""
    return settings.log == "auto" and sys.stderr.isatty()


class _Handler(logging.StreamHandler[Any]):
    """Writes to standard error; lines of requests are buffered."""

    def __init__(self) -> None:
        super().__init__()
        self._waiting: collections.deque[tuple[float, dict[str, Any]]] = collections.deque()  # safe between threads

    def add(self, fields: dict[str, Any]) -> None:
        """Buffer the line of a request."""
        if not self._waiting:
            asyncio.get_running_loop().call_later(WRITE_SECONDS, self.flush)
        self._waiting.append((time.time(), fields))

    def emit(self, record: logging.LogRecord) -> None:
        """Write a line at once, after those of earlier requests."""
        self.flush()
        super().emit(record)

    def flush(self) -> None:
        """Write the buffered lines. ``logging`` calls this at the end of the process as well."""
        lines = []
        while self._waiting:
            try:
                lines.append(self._line(*self._waiting.popleft()))
            except IndexError:  # another thread was first
                break
        try:
            with self.lock or contextlib.nullcontext():
                if lines:
                    self.stream.write("".join(lines))
                self.stream.flush()
        except (OSError, ValueError):  # handled as for any other line, see logging.Handler.handleError
            if lines:
                self.handleError(logging.makeLogRecord({"msg": "The log cannot be written."}))

    def _line(self, when: float, fields: dict[str, Any]) -> str:
        if isinstance(self.formatter, _Json):
            return _json(when, "INFO", ACCESS, "request", fields) + self.terminator
        values = {"levelname": "INFO", "name": ACCESS, "msg": "request", "created": when, "fields": fields}
        return self.format(logging.makeLogRecord(values)) + self.terminator


class _Json(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        fields = _fields(record)
        if record.exc_info:
            fields = {**fields, "exception": self.formatException(record.exc_info)}
        return _json(record.created, record.levelname, record.name, record.getMessage(), fields)


class _Text(logging.Formatter):
    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(message)s")

    def format(self, record: logging.LogRecord) -> str:
        fields = " ".join(f"{name}={json.dumps(value)}" for name, value in _fields(record).items())
        return f"{escape(super().format(record))} {fields}".rstrip()


def _json(when: float, level: str, logger: str, message: str, fields: dict[str, Any]) -> str:
    moment = datetime.datetime.fromtimestamp(when, datetime.UTC).isoformat(timespec="milliseconds")
    return json.dumps({"time": moment, "level": level, "logger": logger, "message": message, **fields})


def _fields(record: logging.LogRecord) -> dict[str, Any]:
    fields: dict[str, Any] = getattr(record, "fields", {})
    return fields
