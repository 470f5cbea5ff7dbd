"""Every error that gan-serve raises on purpose.

    GanServeError
    ├── InvalidRequest            422  what was asked for makes no sense
    │   ├── InvalidSeeds
    │   ├── InvalidTruncation
    │   ├── InvalidLatents
    │   ├── InvalidOption
    │   ├── TooManyImages
    │   └── UnknownLabel
    ├── UnknownModel              404  no checkpoint has that name
    ├── CheckpointError           503  a checkpoint cannot be trusted or read
    │   ├── InvalidCheckpoint
    │   ├── DigestMismatch
    │   ├── GoldenSampleMismatch
    │   └── FormatTooNew
    ├── HubError                  502  the Hugging Face Hub refuses, or answers what is not understood
    │   ├── RepositoryNotFound    404  it has no such repository, or shows none to this token
    │   ├── RevisionNotFound      404  the repository has no such branch, tag or commit
    │   ├── AccessDenied          403  the repository is private or gated, or the token is not accepted
    │   └── HubUnreachable        503  no answer in time, and nothing in the cache
    ├── DeviceUnavailable         503  the device asked for is not there
    ├── ReceiptError              422  an image does not match its receipt, or has none
    ├── CannotWrite               500  a file could not be written
    ├── ServiceError              500  the HTTP service could not start
    ├── ServerError               500  a server answers with what no other error here means
    │   ├── Unauthorized          401  it wants another key, or one at all
    │   ├── BodyTooLarge          413  the request is larger than it reads
    │   ├── TooManyRequests       429  as many requests wait as it keeps waiting
    │   ├── ServerNotReady        503  it starts, drains or has no memory left for the model
    │   ├── RequestTimeout        504  drawing took longer than it allows
    │   └── ServerUnreachable     503  no answer at all, or not that of a gan-serve server
    ├── ExportRefused             422  an export would not be what was trained
    ├── DataError                 422  training images cannot be used
    └── RunError                  422  a training run cannot start, go on or be exported

Each carries a ``code`` for programs, an HTTP ``status``, and a ``hint``: what to do about it.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Self


class GanServeError(Exception):
    """Base of all errors. ``str(error)`` says what was wrong; ``error.hint`` what would be right (may be empty)."""

    code = "error"
    status = 500

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __reduce__(self) -> tuple[type[GanServeError], tuple[str, str], dict[str, object]]:
        return type(self), (self.message, self.hint), self.__dict__


class InvalidRequest(GanServeError):
    """The request itself is at fault; sending it again will not help."""

    code = "invalid_request"
    status = 422


class InvalidSeeds(InvalidRequest):
    """Seeds are not whole numbers from 0 to 2**32-1, too many, none, or given twice."""

    code = "invalid_seeds"


class InvalidTruncation(InvalidRequest):
    """Truncation is not a number from 0 to 1."""

    code = "invalid_truncation"


class InvalidLatents(InvalidRequest):
    """Latents are not finite float32 [N, z_dim]."""

    code = "invalid_latents"


class InvalidOption(InvalidRequest):
    """An option has a value that does not exist or is out of range."""

    code = "invalid_option"

    @classmethod
    def unknown(cls, kind: str, value: object, choices: Iterable[str]) -> Self:
        """The error for a ``value`` that is none of the ``choices``: it lists them and names the nearest."""
        names = list(choices)
        shown = repr(value) if len(repr(value)) <= 60 else f"{repr(value)[:57]}..."
        return cls(f"There is no {kind} {shown}; there are: {', '.join(names)}.", nearest(value, names))


class TooManyImages(InvalidRequest):
    """More images or frames than a server draws for one request."""

    code = "too_many_images"


class UnknownLabel(InvalidRequest):
    """A label that the model does not have."""

    code = "unknown_label"


class UnknownModel(GanServeError):
    """No checkpoint in the package, no directory and no repository can have this name."""

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
    """A file is not the one that config.json describes."""

    code = "digest_mismatch"


class GoldenSampleMismatch(CheckpointError):
    """The model does not draw the sample that it was published with."""

    code = "golden_sample_mismatch"


class FormatTooNew(CheckpointError):
    """The checkpoint was written by a later gan-serve."""

    code = "format_too_new"


class HubError(GanServeError):
    """Something between here and the Hugging Face Hub does not work."""

    code = "hub_error"
    status = 502


class RepositoryNotFound(HubError):
    """The Hub has no such repository, or shows none to this token: it answers alike, so as not to tell."""

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
    """The Hub does not answer, and what is asked for is not in the cache."""

    code = "hub_unreachable"
    status = 503


class DeviceUnavailable(GanServeError):
    """The device asked for cannot be used; nothing falls back to another in silence."""

    code = "device_unavailable"
    status = 503


class ReceiptError(GanServeError):
    """An image has no receipt, or is not the image that its receipt describes."""

    code = "receipt_mismatch"
    status = 422


class CannotWrite(GanServeError):
    """A file could not be written; nothing half-written is left under its name."""

    code = "cannot_write"
    status = 500


class ServiceError(GanServeError):
    """The HTTP service could not start."""

    code = "service_error"


class ServerError(GanServeError):
    """A server refuses, or cannot answer.

    ``retry_after``: seconds after which it expects to take the same request, where it says so.
    """

    code = "internal_error"
    retry_after: float | None = None


class Unauthorized(ServerError):
    """The server wants a key, and got none or another."""

    code = "unauthorized"
    status = 401


class BodyTooLarge(ServerError):
    """The body is larger than the server reads."""

    code = "body_too_large"
    status = 413


class TooManyRequests(ServerError):
    """As many requests wait as the server keeps waiting; the same one may succeed later."""

    code = "too_many_requests"
    status = 429


class ServerNotReady(ServerError):
    """The server starts, drains, or has no memory left for the model; the same request may succeed later."""

    code = "not_ready"
    status = 503


class RequestTimeout(ServerError):
    """The request took longer than the server allows."""

    code = "timeout"
    status = 504


class ServerUnreachable(ServerError):
    """Nobody answers at the address, or it is no gan-serve server."""

    code = "server_unreachable"
    status = 503


class ExportRefused(GanServeError):
    """The exported network is not valid, or does not draw what torch draws."""

    code = "export_refused"
    status = 422


class DataError(GanServeError):
    """Training images are missing, broken or of no use."""

    code = "invalid_data"
    status = 422


class RunError(GanServeError):
    """A training run cannot be started, resumed or exported as asked."""

    code = "invalid_run"
    status = 422


def error_class(code: str) -> type[GanServeError]:
    """The class of the errors with that ``code``; ``ServerError`` where it is none of ours, as of a later version.

    >>> error_class("unknown_label").__name__
    'UnknownLabel'
    """
    return _BY_CODE.get(code, ServerError)


_BY_CODE = {
    kind.code: kind for kind in list(globals().values()) if isinstance(kind, type) and issubclass(kind, GanServeError)
}


def nearest(wrong: object, valid: Iterable[str]) -> str:
    """Name the valid choice that is most like ``wrong``, as a sentence for a hint; empty if none comes near.

    >>> nearest("fashion-dcgam", ["fashion-dcgan", "mnist-cgan"])
    "Did you mean 'fashion-dcgan'?"
    """
    by_folded_name = {name.casefold(): name for name in valid}
    matches = difflib.get_close_matches(str(wrong).casefold(), by_folded_name, n=1, cutoff=0.5)
    return f"Did you mean {by_folded_name[matches[0]]!r}?" if matches else ""
