"""How a client reaches its server: the connection, what is tried again and when, and failures in words."""

from __future__ import annotations

import contextlib
import math
import os
import random
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from gan_serve._version import __version__
from gan_serve.client.responses import Damaged
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
    import tenacity

API_KEY = "GAN_SERVE_API_KEY"
KEPT_CONNECTIONS = 32
CONNECT_TIMEOUT = 10.0  # seconds
LONGEST_WAIT = 30.0  # seconds before another try; a server that asks for more is not asked again
_ADDRESS_HINT = 'For example "http://localhost:3000".'


def connection(address: str, api_key: str | None, timeout: float | None) -> dict[str, Any]:
    """What an httpx client is made with, the sync one or the async one.

    Raises:
        InvalidOption: an address, key or timeout that cannot be one.
    """
    import httpx

    url = _url(address)
    return {
        "base_url": url,
        "verify": url.scheme == "https",  # to read the certificates, which http never uses, takes 30 ms and more
        "headers": {"User-Agent": f"gan-serve/{__version__}"} | _authorization(api_key),
        "timeout": httpx.Timeout(_seconds(timeout), connect=_seconds(timeout, CONNECT_TIMEOUT)),
        # No bound: each walk that is streamed holds a connection, for as long as its reader takes.
        "limits": httpx.Limits(max_connections=None, max_keepalive_connections=KEPT_CONNECTIONS),
    }


def trying(retries: int) -> dict[str, Any]:
    """What tenacity's ``Retrying`` or ``AsyncRetrying`` is made with.

    Raises:
        InvalidOption: ``retries`` is not a whole number from 0 to 100.
    """
    import tenacity

    if isinstance(retries, bool) or not isinstance(retries, int) or not 0 <= retries <= 100:
        raise InvalidOption(f"retries must be a whole number from 0 to 100, not {shorten(retries)}.", "3 is good.")
    return {
        "stop": tenacity.stop_after_attempt(retries + 1),
        "wait": _wait,
        "retry": tenacity.retry_if_exception(may_pass),
        "reraise": True,
    }


def may_pass(error: BaseException) -> bool:
    """Whether the same request may succeed a moment later. Every request of ours may be repeated without harm."""
    import httpx

    if isinstance(error, TooManyRequests | ServerNotReady):
        return error.retry_after is None or error.retry_after <= LONGEST_WAIT
    if isinstance(error, httpx.TimeoutException):  # a server that draws for too long would do so again
        return isinstance(error, httpx.ConnectTimeout)
    if isinstance(error, httpx.UnsupportedProtocol | httpx.LocalProtocolError):
        return False
    return isinstance(error, httpx.RequestError | Damaged)


@contextlib.contextmanager
def in_words(address: str) -> Iterator[None]:
    """Turn what fails between here and the server at ``address`` into our errors."""
    import httpx

    try:
        yield
    except Damaged as error:
        raise ServerError(f"An answer from {address} is damaged: {error}.", "Ask again.") from error
    except httpx.DecodingError as error:
        raise ServerError(f"An answer from {address} is damaged: {error}.", "Ask again.") from error
    except httpx.ConnectTimeout as error:
        raise ServerUnreachable(f"{address} does not answer.", _where(address)) from error
    except httpx.TimeoutException as error:
        raise RequestTimeout(
            f"{address} gave no sign of life for as long as the client waits.",
            "Ask for fewer images at a time, or give the client a longer timeout.",
        ) from error
    except httpx.ConnectError as error:
        raise ServerUnreachable(f"{address} cannot be reached: {error}.", _where(address)) from error
    except httpx.RequestError as error:
        raise ServerUnreachable(f"The connection to {address} broke: {error}.", "Try again.") from error


def _where(address: str) -> str:
    local = "localhost" in address or "127.0.0.1" in address
    return "Start a server there with `gan-serve serve`." if local else "Check the address, and that the server runs."


def _wait(state: tenacity.RetryCallState) -> float:
    """Seconds until the next try: what the server asks for, or up to 0.4, 0.8, 1.6, ... at random."""
    error = state.outcome.exception() if state.outcome else None
    asked = error.retry_after if isinstance(error, ServerError) else None
    # At random, so that clients that were refused together do not come back together.
    return (asked or 0.0) + random.uniform(0, min(0.2 * 2.0 ** (1 if asked else state.attempt_number), LONGEST_WAIT))


def _url(address: str) -> Any:
    import httpx

    try:
        url = httpx.URL(address)
    except (httpx.InvalidURL, TypeError) as error:
        raise InvalidOption(f"{shorten(address)} is no address: {error}.", _ADDRESS_HINT) from None
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
        raise InvalidOption(f"timeout must be seconds above 0, not {shorten(timeout)}.", "None waits for ever.")
    return min(timeout, most)
