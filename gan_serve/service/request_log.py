"""The log of the service on standard error: a line for each request and each event, as JSON or as text."""

from __future__ import annotations

import datetime
import json
import logging
import logging.config
import sys
from typing import Any

from gan_serve.service.settings import Settings
from gan_serve.terminal import escape

service = logging.getLogger("gan_serve")
access = logging.getLogger("gan_serve.access")


def configure(settings: Settings) -> None:
    """Set up logging for this process, warnings and the lines of libraries included."""
    form = "_Json" if uses_json(settings) else "_Text"
    logging.config.dictConfig(
        {
            "version": 1,
            "disable_existing_loggers": False,
            "formatters": {"line": {"()": f"{__name__}.{form}"}},
            "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line"}},
            "root": {"handlers": ["stderr"], "level": "WARNING"},
            "loggers": {
                "gan_serve": {"level": "INFO"},
                # Its warnings are of single requests, which http_limits logs with their client and id.
                "uvicorn": {"level": "ERROR", "handlers": [], "propagate": True},
            },
        }
    )
    logging.captureWarnings(True)
    access.disabled = settings.log == "off"


def uses_json(settings: Settings) -> bool:
    """Return True where each line is a JSON object."""
    return settings.log == "json" or (settings.log in ("auto", "off") and not sys.stderr.isatty())


class _Json(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        time = datetime.datetime.fromtimestamp(record.created, datetime.UTC)
        line: dict[str, Any] = {
            "time": time.isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            **_fields(record),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line)


class _Text(logging.Formatter):
    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(message)s")

    def format(self, record: logging.LogRecord) -> str:
        fields = " ".join(f"{name}={json.dumps(value)}" for name, value in _fields(record).items())
        return f"{escape(super().format(record))} {fields}".rstrip()


def _fields(record: logging.LogRecord) -> dict[str, Any]:
    fields: dict[str, Any] = getattr(record, "fields", {})
    return fields
