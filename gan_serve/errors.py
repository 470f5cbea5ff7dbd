"""The errors of gan-serve.

    GanServeError
    ├── InvalidRequest            422  the request is invalid
    │   ├── InvalidSeeds
    │   ├── InvalidTruncation
    │   ├── InvalidLatents
    │   ├── InvalidOption
    │   ├── InvalidImage
    │   ├── TooManyImages
    │   └── UnknownLabel
    ├── UnknownModel              404  no checkpoint has that name
    ├── CheckpointError           503  a checkpoint cannot be used
    │   ├── InvalidCheckpoint
    │   ├── DigestMismatch
    │   ├── GoldenSampleMismatch
    │   └── FormatTooNew
    ├── HubError                  502  the Hugging Face Hub refuses a request, or its response is invalid
    │   ├── RepositoryNotFound    404  no such repository, or it is not visible to this token
    │   ├── RevisionNotFound      404  the repository has no such branch, tag or commit
    │   ├── AccessDenied          403  a private or gated repository, or a token without access
    │   └── HubUnreachable        503  no response in time, and nothing in the cache
    ├── DeviceUnavailable         503  the requested device cannot be used
    ├── ReceiptError              422  an image does not match its receipt, or has none
    ├── CannotWrite               500  a file could not be written
    ├── ServiceError              500  the HTTP service could not start
    ├── ServerError               500  any other error of a server
    │   ├── Unauthorized          401  the API key is missing or wrong
    │   ├── BodyTooLarge          413  the request body is larger than the server's limit
    │   ├── TooManyRequests       429  the server's queue is full, or the API key has reached its rate limit
    │   ├── ServerNotReady        503  the server is starting, shutting down, or out of memory for the model
    │   ├── RequestTimeout        504  the request took longer than the server's limit
    │   └── ServerUnreachable     503  no response, or not from a gan-serve server
    ├── ExportRefused             422  an exported network differs from the trained one
    ├── ImportRefused             422  a generator that was trained elsewhere cannot be imported
    ├── DataError                 422  training images cannot be used
    └── RunError                  422  a training run cannot be started, resumed or exported

Each has a ``code`` for programs, an HTTP ``status``, a ``message`` (what is wrong) and a ``hint`` (what is right).
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Self

from gan_serve.terminal import escape

MAX_TEXT = 2000  # characters of a message and of a hint


class GanServeError(Exception):
    """Base of all errors of gan-serve.

    Args:
        message: what is wrong.
        hint: what would be right; may be empty.

    ``str(error)``, and so a traceback, shows both.

    >>> raise InvalidOption("There is no method 'slurp'.", "Did you mean 'slerp'?")
    Traceback (most recent call last):
        ...
    gan_serve.errors.InvalidOption: There is no method 'slurp'. Did you mean 'slerp'?
    """

    code = "error"
    status = 500

    def __init__(self, message: str, hint: str = "") -> None:
        # Both may quote names and texts of other people's files, which must not control or flood a terminal.
        self.message, self.hint = (
            escape(text if len(text) <= MAX_TEXT else f"{text[:MAX_TEXT]}...") for text in (message, hint)
        )
        super().__init__(f"{self.message} {self.hint}" if hint else self.message)

    def __reduce__(self) -> tuple[type[GanServeError], tuple[str, str], dict[str, object]]:
        return type(self), (self.message, self.hint), self.__dict__


class InvalidRequest(GanServeError):
    """The request is invalid; sending it again will not help."""

    code = "invalid_request"
    status = 422


class InvalidSeeds(InvalidRequest):
    """Seeds are missing, too many, given in two ways, or not whole numbers from 0 to 2**32-1."""

    code = "invalid_seeds"


class InvalidTruncation(InvalidRequest):
    """Truncation is not a number from 0 to 1."""

    code = "invalid_truncation"


class InvalidLatents(InvalidRequest):
    """Latents are not finite float32 [N, z_dim]."""

    code = "invalid_latents"


class InvalidOption(InvalidRequest):
    """The value of an option is unknown or out of range."""

    code = "invalid_option"

    @classmethod
    def unknown(cls, kind: str, value: object, choices: Iterable[str]) -> Self:
        """Return the error for a ``value`` that is not among ``choices``; it lists them and names the nearest."""
        names = list(choices)
        hint = nearest(value, names) if isinstance(value, str) else ""
        return cls(f"There is no {kind} {shorten(value)}; choose from: {', '.join(names)}.", hint)


class InvalidImage(InvalidRequest):
    """A picture is damaged, animated, too large, of an unknown format, or of another size than required."""

    code = "invalid_image"


class TooManyImages(InvalidRequest):
    """The request is for more images or frames than one request may have."""

    code = "too_many_images"


class UnknownLabel(InvalidRequest):
    """The model does not have this label."""

    code = "unknown_label"


class UnknownModel(GanServeError):
    """No checkpoint in the package, no directory and no repository has this name."""

    code = "unknown_model"
    status = 404


class CheckpointError(GanServeError):
    """A checkpoint cannot be used."""

    code = "checkpoint_error"
    status = 503


class InvalidCheckpoint(CheckpointError):
    """A file of the checkpoint is missing or cannot be read."""

    code = "invalid_checkpoint"


class DigestMismatch(CheckpointError):
    """The digest of a file is not the one in config.json."""

    code = "digest_mismatch"


class GoldenSampleMismatch(CheckpointError):
    """The network does not compute the golden sample of its checkpoint."""

    code = "golden_sample_mismatch"


class FormatTooNew(CheckpointError):
    """The checkpoint was written by a later gan-serve."""

    code = "format_too_new"


class HubError(GanServeError):
    """A request to the Hugging Face Hub failed."""

    code = "hub_error"
    status = 502


class RepositoryNotFound(HubError):
    """The Hub has no such repository, or it is not visible to this token; the Hub does not say which."""

    code = "repository_not_found"
    status = 404


class RevisionNotFound(HubError):
    """The repository has no such branch, tag or commit."""

    code = "revision_not_found"
    status = 404


class AccessDenied(HubError):
    """The repository is private or gated, or the token is not accepted."""

    code = "access_denied"
    status = 403


class HubUnreachable(HubError):
    """The Hub does not respond, and the files are not in the cache."""

    code = "hub_unreachable"
    status = 503


class DeviceUnavailable(GanServeError):
    """The requested device cannot be used. There is no fallback to another one."""

    code = "device_unavailable"
    status = 503


class ReceiptError(GanServeError):
    """An image has no receipt, or is not the image that its receipt describes."""

    code = "receipt_mismatch"
    status = 422


class CannotWrite(GanServeError):
    """A file could not be written; no incomplete file is left under its name."""

    code = "cannot_write"
    status = 500


class ServiceError(GanServeError):
    """The HTTP service could not start."""

    code = "service_error"


class ServerError(GanServeError):
    """A server refused a request or failed.

    ``retry_after``: the seconds of the header Retry-After, or None.
    """

    code = "internal_error"
    retry_after: float | None = None


class Unauthorized(ServerError):
    """The API key is missing or wrong."""

    code = "unauthorized"
    status = 401


class BodyTooLarge(ServerError):
    """The request body is larger than the server's limit."""

    code = "body_too_large"
    status = 413


class TooManyRequests(ServerError):
    """The server's queue is full, or the API key has reached its rate limit; the same request may succeed later."""

    code = "too_many_requests"
    status = 429


class ServerNotReady(ServerError):
    """The server is starting, shutting down, or out of memory for the model; the same request may succeed later."""

    code = "not_ready"
    status = 503


class RequestTimeout(ServerError):
    """The request took longer than the server's limit."""

    code = "timeout"
    status = 504


class ServerUnreachable(ServerError):
    """There is no response from the address, or not from a gan-serve server."""

    code = "server_unreachable"
    status = 503


class ExportRefused(GanServeError):
    """The exported network is invalid, or its output differs from that of torch."""

    code = "export_refused"
    status = 422


class ImportRefused(GanServeError):
    """A file has no generator that can be imported: it is damaged, not recognised, or may not be read."""

    code = "import_refused"
    status = 422


class DataError(GanServeError):
    """Training images are missing, damaged or not usable."""

    code = "invalid_data"
    status = 422


class RunError(GanServeError):
    """A training run cannot be started, resumed or exported as asked."""

    code = "invalid_run"
    status = 422


def error_class(code: str) -> type[GanServeError]:
    """Return the error class with this ``code``; ``ServerError`` for an unknown one, as from a later version.

    >>> error_class("unknown_label").__name__
    'UnknownLabel'
    """
    return _BY_CODE.get(code, ServerError)


_BY_CODE = {
    kind.code: kind for kind in list(globals().values()) if isinstance(kind, type) and issubclass(kind, GanServeError)
}


def nearest(wrong: object, valid: Iterable[str]) -> str:
    """Return the sentence that names the valid choices nearest to ``wrong``; empty if none is similar.

    Names that begin with ``wrong`` and a hyphen come first; of these, a name that begins with another is left out.

    >>> nearest("fashion-dcgam", ["fashion-dcgan", "mnist-cgan"])
    "Did you mean 'fashion-dcgan'?"
    >>> nearest("dcgan", ["cgan", "dcgan-28", "dcgan-64", "dcgan-64-upsample"])
    "Did you mean 'dcgan-28' or 'dcgan-64'?"
    """
    by_folded_name = {name.casefold(): name for name in valid}
    asked = str(wrong).casefold()
    longer = [name for name in by_folded_name if name.startswith(f"{asked}-")]
    longer = [name for name in longer if not any(name.startswith(f"{other}-") for other in longer)]
    matches = longer[:3] or difflib.get_close_matches(asked, by_folded_name, n=1, cutoff=0.5)
    return f"Did you mean {' or '.join(repr(by_folded_name[name]) for name in matches)}?" if matches else ""


def shorten(value: object) -> str:
    """Return a value as text for an error message, at most 40 characters.

    Unlike ``reprlib.repr``, it accepts ints of more than 4300 digits, which Python does not convert to text.
    """
    if isinstance(value, int) and value.bit_length() > 128:
        return f"a number of {value.bit_length()} bits"
    try:
        text = repr(value)
    except ValueError:  # there is such an int in a list
        text = f"a {type(value).__name__}"
    return text if len(text) <= 40 else text[:37] + "..."
