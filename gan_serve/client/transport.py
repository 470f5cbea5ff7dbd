"""The connection of a client to its server: settings, retries, and errors of the network."""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
import random
import weakref
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from gan_serve._version import __version__
from gan_serve.client.exchanges import Limits
from gan_serve.client.requests import Call
from gan_serve.client.responses import DamagedResponse
from gan_serve.errors import (
    InvalidOption,
    RequestTimeout,
    ServerError,
    ServerNotReady,
    ServerUnreachable,
    TooManyRequests,
    shorten,
)

if TYPE_CHECKING:
    import httpx
    import tenacity

API_KEY = "GAN_SERVE_API_KEY"
TIMEOUT = 75.0  # seconds; a server gives up after 60 by default, and its error says more than ours
CONNECT_TIMEOUT = 10.0  # seconds
MAX_WAIT = 30.0  # seconds before a retry; if a server asks for more, there is none
KEPT_CONNECTIONS = 32
MAX_REQUESTS = 32  # at a time, of one client: half of the default length of a server's queue
THREAD_SIZE = 2**16  # bytes of a response from which on the async client reads it in a thread
_ADDRESS_HINT = 'For example "http://localhost:3000".'


class ClientSettings:
    """The settings of the connection and of retries, shared by the sync and the async client."""

    def __init__(self, address: str, *, api_key: str | None, timeout: float | None, retries: int) -> None:
        self._connection = _connection(address, api_key, timeout)
        self._retries = _retry_options(retries)
        self._limits = Limits()
        self.address = str(self._connection["base_url"].copy_with(userinfo=b"")).rstrip("/")

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.address!r})"

    def _open_http(self) -> httpx.Client:
        import httpx

        http = httpx.Client(**self._connection)
        weakref.finalize(self, http.close)  # for a client that is never closed
        return http

    def _open_async_http(self) -> httpx.AsyncClient:
        import httpx

        return httpx.AsyncClient(**self._connection)

    @staticmethod
    def _read(call: Call, response: httpx.Response) -> Any:
        return call.read(response)

    @staticmethod
    async def _async_read(call: Call, response: httpx.Response) -> Any:
        if len(response.content) < THREAD_SIZE:
            return call.read(response)
        return await asyncio.to_thread(call.read, response)  # a large response would block the event loop


def is_transient(error: BaseException) -> bool:
    """Return True if the same request may succeed later. All requests of a client are safe to repeat."""
    import httpx

    if isinstance(error, TooManyRequests | ServerNotReady):
        return error.retry_after is None or error.retry_after <= MAX_WAIT
    if isinstance(error, httpx.TimeoutException):  # a request that takes too long would do so again
        return isinstance(error, httpx.ConnectTimeout)
    if isinstance(error, httpx.UnsupportedProtocol | httpx.LocalProtocolError):
        return False
    return isinstance(error, httpx.RequestError | DamagedResponse)


@contextlib.contextmanager
def translate_errors(address: str) -> Iterator[None]:
    """Raise errors of gan-serve in place of those of the connection to ``address``."""
    import httpx

    try:
        yield
    except (DamagedResponse, httpx.DecodingError) as error:
        raise ServerError(f"A response from {address} is damaged: {error}.", "Try again.") from error
    except httpx.ConnectTimeout as error:
        raise ServerUnreachable(f"{address} does not respond.", _connect_hint(address)) from error
    except httpx.TimeoutException as error:
        raise RequestTimeout(
            f"{address} sent nothing before the timeout of the client.",
            "Ask for fewer images at a time, or give the client a longer timeout.",
        ) from error
    except httpx.ConnectError as error:
        raise ServerUnreachable(f"{address} cannot be reached: {error}.", _connect_hint(address)) from error
    except httpx.RequestError as error:
        raise ServerUnreachable(f"The connection to {address} broke: {error}.", "Try again.") from error


def _connection(address: str, api_key: str | None, timeout: float | None) -> dict[str, Any]:
    """Return the arguments of an httpx client, sync or async.

    Raises:
        InvalidOption: an invalid address, key or timeout.
    """
    import httpx

    url = _url(address)
    return {
        "base_url": url,
        "verify": url.scheme == "https",  # reading the certificates, which http does not use, takes 30 ms or more
        "headers": {"User-Agent": f"gan-serve/{__version__}"} | _authorization(api_key),
        "timeout": httpx.Timeout(_seconds(timeout), connect=_seconds(timeout, CONNECT_TIMEOUT)),
        # Without a limit: each streamed walk keeps a connection until its reader has finished.
        "limits": httpx.Limits(max_connections=None, max_keepalive_connections=KEPT_CONNECTIONS),
    }


def _retry_options(retries: int) -> dict[str, Any]:
    """Return the arguments of tenacity's ``Retrying`` or ``AsyncRetrying``.

    Raises:
        InvalidOption: ``retries`` is not a whole number from 0 to 100.
    """
    import tenacity

    if isinstance(retries, bool) or not isinstance(retries, int) or not 0 <= retries <= 100:
        raise InvalidOption(
            f"retries must be a whole number from 0 to 100, not {shorten(retries)}.", "The default is 3."
        )
    return {
        "stop": tenacity.stop_after_attempt(retries + 1),
        "wait": _wait,
        "retry": tenacity.retry_if_exception(is_transient),
        "reraise": True,
    }


def _connect_hint(address: str) -> str:
    local = "localhost" in address or "127.0.0.1" in address
    return "Start a server there with `gan-serve serve`." if local else "Check the address, and that the server runs."


def _wait(state: tenacity.RetryCallState) -> float:
    """Return the seconds until the next attempt: Retry-After, or a random time of up to 0.4, 0.8, 1.6, ... seconds."""
    error = state.outcome.exception() if state.outcome else None
    asked = error.retry_after if isinstance(error, ServerError) else None
    # Random, so that clients that were refused together do not return together.
    return (asked or 0.0) + random.uniform(0, min(0.2 * 2.0 ** (1 if asked else state.attempt_number), MAX_WAIT))


def _url(address: str) -> Any:
    import httpx

    try:
        url = httpx.URL(address)
    except (httpx.InvalidURL, TypeError) as error:
        raise InvalidOption(f"{shorten(address)} is not an address: {error}.", _ADDRESS_HINT) from None
    if url.scheme not in ("http", "https") or not url.host or url.query or url.fragment:
        raise InvalidOption(f"{shorten(address)} is not the address of a server.", _ADDRESS_HINT)
    return url


def _authorization(api_key: str | None) -> dict[str, str]:
    key = os.environ.get(API_KEY, "") if api_key is None else api_key
    if not isinstance(key, str) or not (key.isascii() and key.isprintable()) or key != key.strip():
        raise InvalidOption("The API key is not printable ASCII.", f"Look for a line break in it, or in {API_KEY}.")
    return {"Authorization": f"Bearer {key}"} if key else {}


def _seconds(timeout: float | None, most: float = math.inf) -> float | None:
    if timeout is None:
        return None
    if isinstance(timeout, bool) or not isinstance(timeout, int | float) or not 0 < timeout < math.inf:
        raise InvalidOption(f"timeout must be seconds above 0, not {shorten(timeout)}.", "None means no limit.")
    return min(timeout, most)
