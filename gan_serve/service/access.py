"""Who may call the service: names in the header Host, and the API key."""

from __future__ import annotations

import hmac

from starlette.types import Scope

from gan_serve.service.error_responses import RequestError
from gan_serve.service.settings import Settings, is_loopback

LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "[::1]"})
OPEN = ("/", "/livez", "/readyz")  # without a key; also what lies under WEB
WEB = "/web/"


class HostCheck:
    """Refuses requests for another host.

    Where the operator has set no names, no key is needed, and the connection is to loopback, the names are those of
    loopback: by DNS rebinding a page elsewhere could let its visitor's browser call this server.
    """

    def __init__(self, settings: Settings) -> None:
        self._names = frozenset(name.lower() for name in settings.hosts)
        self._open = bool(settings.api_key.get_secret_value())

    def check(self, scope: Scope) -> None:
        """Raise ``RequestError`` where the header Host is missing, given twice, or another than the names."""
        given = [value for name, value in scope["headers"] if name == b"host"]
        if len(given) > 1 or (not given and scope["http_version"] != "1.0"):
            raise RequestError(400, "invalid_host", "A request needs exactly one header Host.")
        names = self._names or self._names_of_loopback(scope)
        if names and "*" not in names and (not given or _name(given[0]) not in names):
            raise RequestError(
                400,
                "invalid_host",
                "This server does not answer for the host that the request names.",
                "Its operator can add the name to GAN_SERVE_HOSTS.",
            )

    def _names_of_loopback(self, scope: Scope) -> frozenset[str]:
        server = scope.get("server")
        return LOOPBACK_NAMES if server and not self._open and is_loopback(server[0]) else frozenset()


class Keys:
    """The API key, if there is one."""

    def __init__(self, settings: Settings) -> None:
        self._key = settings.api_key.get_secret_value().encode()

    def allow(self, path: str, authorization: bytes) -> bool:
        """Return True where ``path`` needs no key, or the header has the right one."""
        if not self._key or path in OPEN or path.startswith(WEB):
            return True
        kind, _, key = authorization.partition(b" ")
        return kind.lower() == b"bearer" and hmac.compare_digest(key.strip(), self._key)


def _name(host: bytes) -> str:
    """Return the name in a header Host, without its port."""
    text = host.decode("latin-1").strip().lower()
    if text.startswith("["):
        return text.partition("]")[0] + "]"
    return text.partition(":")[0].rstrip(".")
