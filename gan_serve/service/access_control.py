"""Access to the service: allowed names in the ``Host`` header, and API keys."""

from __future__ import annotations

import hmac
import math
import time
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError
from starlette.types import Scope

from gan_serve.errors import ServiceError, TooManyRequests, Unauthorized
from gan_serve.service.request_error import RequestError
from gan_serve.service.settings import Settings, is_loopback

LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "[::1]"})
OPEN = ("/", "/docs", "/livez", "/readyz")  # these need no key; nor do the paths under WEB
WEB = "/web/"
UNNAMED = "default"  # the name of GAN_SERVE_API_KEY in the log and the metrics


class HostCheck:
    """Refuses requests whose ``Host`` header is not an allowed name.

    If the operator has set neither names nor keys, a connection to loopback must use one of the loopback names.
    Otherwise a web page could call this server from its visitor's browser, by DNS rebinding.
    """

    def __init__(self, settings: Settings) -> None:
        self._names = frozenset(name.lower() for name in settings.hosts)
        self._open = bool(settings.api_key.get_secret_value() or settings.api_keys)

    def check(self, scope: Scope) -> None:
        """Raise ``RequestError`` if the ``Host`` header is missing, repeated, or not an allowed name."""
        given = [value for name, value in scope["headers"] if name == b"host"]
        if len(given) > 1 or (not given and scope["http_version"] != "1.0"):
            raise RequestError(400, "invalid_host", "A request needs exactly one Host header.")
        names = self._names or self._names_of_loopback(scope)
        if names and "*" not in names and (not given or _name(given[0]) not in names):
            raise RequestError(
                400,
                "invalid_host",
                "The Host header names a host that this server does not serve.",
                "The server's operator can add it to GAN_SERVE_HOSTS.",
            )

    def _names_of_loopback(self, scope: Scope) -> frozenset[str]:
        server = scope.get("server")
        return LOOPBACK_NAMES if server and not self._open and is_loopback(server[0]) else frozenset()


class _KeyTable(BaseModel):
    model_config = ConfigDict(extra="forbid")

    key: Annotated[str, Field(min_length=8, pattern=r"^[!-~]+$")]
    requests_per_minute: Annotated[float, Field(gt=0)] | None = None


@dataclass
class Key:
    """An API key with its name. ``rate``: requests per second in this worker; up to a minute's worth accumulates."""

    name: str
    secret: bytes
    rate: float = math.inf
    _tokens: float = math.inf
    _filled: float = field(default_factory=time.monotonic)

    def take(self) -> None:
        """Count a request; raise ``TooManyRequests`` if the key has reached its rate limit."""
        if self.rate == math.inf:
            return
        now = time.monotonic()
        self._tokens = min(self._tokens + (now - self._filled) * self.rate, max(1.0, 60 * self.rate))
        self._filled = now
        if self._tokens < 1:
            raise TooManyRequests(f"The key {self.name} has reached its rate limit.", "Send fewer requests per minute.")
        self._tokens -= 1


class Keys:
    """The API keys, if there are any."""

    def __init__(self, settings: Settings) -> None:
        self._keys = read_keys(settings)

    def check(self, path: str, authorization: bytes) -> str:
        """Return the name of the key that a request carries; empty if none is needed.

        Raises:
            Unauthorized: ``path`` needs a key, and the header has no valid one. TooManyRequests: the key has reached
            its rate limit.
        """
        if not self._keys or path in OPEN or path.startswith(WEB):
            return ""
        kind, _, secret = authorization.partition(b" ")
        found = None
        for key in self._keys:  # compare all: the time must not reveal which one matched
            if hmac.compare_digest(secret.strip(), key.secret) and kind.lower() == b"bearer":
                found = key
        if found is None:
            raise Unauthorized("This server requires an API key.", "Send the header Authorization: Bearer KEY.")
        found.take()
        return found.name


def read_keys(settings: Settings) -> list[Key]:
    """Return the API keys that the settings name.

    Raises:
        ServiceError: the file of keys cannot be read or is not valid.
    """
    keys = []
    if secret := settings.api_key.get_secret_value():
        keys.append(Key(UNNAMED, secret.encode()))
    if settings.api_keys:
        example = 'For each key, write [name], key = "..." and optionally requests_per_minute = 600.'
        try:
            tables = tomllib.loads(Path(settings.api_keys).read_text())
            named = TypeAdapter(dict[str, _KeyTable]).validate_python(tables)
        except OSError as error:
            raise ServiceError(f"The keys in {settings.api_keys} cannot be read: {error.strerror}.", example) from error
        except (ValidationError, ValueError):  # not chained: its text may hold a key
            raise ServiceError(f"{settings.api_keys} is not a valid file of API keys.", example) from None
        for name, table in named.items():
            rate = (table.requests_per_minute or math.inf) / 60 / settings.processes
            keys.append(Key(name, table.key.encode(), rate, max(1.0, 60 * rate)))
    return keys


def _name(host: bytes) -> str:
    """Return the name in a ``Host`` header, without its port."""
    text = host.decode("latin-1").strip().lower()
    if text.startswith("["):
        return text.partition("]")[0] + "]"
    return text.partition(":")[0].rstrip(".")
