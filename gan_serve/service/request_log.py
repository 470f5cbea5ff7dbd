"""The service's log: a line for each request and for what happens between them, JSON or text, on standard error."""

from __future__ import annotations

import datetime
import json
import logging
from typing import Any

from gan_serve.service.settings import Settings

service = logging.getLogger("gan_serve")
access = logging.getLogger("gan_serve.access")


def configure(settings: Settings) -> None:
    """Set up what ``settings.log`` says."""
    handler = logging.StreamHandler()
    handler.setFormatter(_Json() if settings.log == "json" else _Text("%(asctime)s %(levelname)s %(message)s"))
    service.handlers = [handler]
    service.setLevel(logging.INFO)
    service.propagate = False
    access.disabled = settings.log == "off"


class _Json(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        time = datetime.datetime.fromtimestamp(record.created, datetime.UTC)
        line: dict[str, Any] = {
            "time": time.isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            **_facts(record),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line)


class _Text(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        facts = " ".join(f"{name}={json.dumps(value)}" for name, value in _facts(record).items())
        return f"{super().format(record)} {facts}".rstrip()


def _facts(record: logging.LogRecord) -> dict[str, Any]:
    facts: dict[str, Any] = getattr(record, "facts", {})
    return facts
