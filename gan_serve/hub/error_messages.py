"""Translate the errors of huggingface_hub into those of gan_serve."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from gan_serve.errors import (
    AccessDenied,
    CannotWrite,
    GanServeError,
    HubError,
    HubUnreachable,
    InvalidCheckpoint,
    RepositoryNotFound,
    RevisionNotFound,
    UnknownModel,
)
from gan_serve.terminal import escape

PROXIES = "Check HF_ENDPOINT and your proxies."
LOGIN = "Use a token with access: set HF_TOKEN, or run hf auth login."


@contextlib.contextmanager
def translate_errors(repo: str, revision: str, *, file: str | None = None) -> Iterator[None]:
    """Raise an error of ``gan_serve.errors`` in place of one of huggingface_hub.

    Args:
        repo, revision: the repository of the request.
        file: the file that is downloaded; None for a push.
    """
    # HTTPError is that of httpx or httpx2, depending on the version.
    from huggingface_hub.errors import BadRequestError, HTTPError  # type: ignore[attr-defined]

    try:
        yield
    except (HTTPError, OSError, ValueError, RuntimeError) as error:
        # The client wraps the errors of retries and uploads in ValueError or RuntimeError; the cause has the reason.
        # A refused card (400) is the exception: there the cause says less.
        cause = error.__cause__ if type(error) in (ValueError, RuntimeError) else None
        wrapped = isinstance(cause, HTTPError | OSError) and not isinstance(cause, BadRequestError)
        raise _translate(cause if wrapped else error, repo, revision, file) from error
    except (LookupError, TypeError, AttributeError) as error:
        raise HubError(f"The response for {repo} is invalid; the server may not be a Hub.", PROXIES) from error


def _translate(error: Any, repo: str, revision: str, file: str | None) -> GanServeError:
    from huggingface_hub import errors as hf

    status = error.response.status_code if isinstance(error, hf.HfHubHTTPError) else None
    has_token = status is not None and "authorization" in error.response.request.headers
    if isinstance(error, hf.GatedRepoError):
        return AccessDenied(f"{repo} on the Hub is gated.", f"Request access on its page. {LOGIN}")
    if isinstance(error, hf.RevisionNotFoundError):
        return RevisionNotFound(f"{repo} on the Hub has no revision {revision}.", "Look at its branches and tags.")
    if isinstance(error, hf.RepositoryNotFoundError) and not file:  # the Hub's error for a token without write access
        return AccessDenied(f"The Hub does not let this token write to {repo}.", LOGIN)
    if isinstance(error, hf.RepositoryNotFoundError):
        visible = "visible to this token" if has_token else "visible without a token"
        return RepositoryNotFound(
            f"There is no directory {repo}, and no model {repo} on the Hub that is {visible}.",
            f"Check the name. If it is private: {LOGIN[0].lower()}{LOGIN[1:]}",
        )
    if isinstance(error, hf.HfHubHTTPError) and isinstance(error, hf.EntryNotFoundError):
        return InvalidCheckpoint(
            f"{repo} on the Hub is not a gan-serve checkpoint: at {revision[:12]} it has no {file}.",
            "Choose another repository or revision; gan-serve push publishes checkpoints.",
        )
    if status == 401:
        what = "does not accept the token" if has_token else "requires a token"
        return AccessDenied(f"The Hub {what} for {repo}.", LOGIN)
    if status == 403:
        return AccessDenied(f"The Hub does not let this token {'read' if file else 'write to'} {repo}.", LOGIN)
    if status == 412 and not file:
        return HubError(f"Somebody else pushed to {repo} at the same time; nothing was changed.", "Push again.")
    if status is not None and status < 500 and status not in (408, 429):
        return HubError(f"The Hub refuses {repo}: {_first_line(error)}", PROXIES)
    if isinstance(error, hf.HFValidationError):
        return UnknownModel(f"{repo} is not a valid name of a model on the Hub.", "Write org/name.")
    if isinstance(error, OSError) and error.errno is not None and not isinstance(error, ConnectionError):
        return CannotWrite(
            f"Cannot write {error.filename or 'the cache of the Hub'}: {error.strerror}.",
            "Check the free space and the permissions of the folder; HF_HOME names another.",
        )
    if isinstance(error, hf.OfflineModeIsEnabled) and not file:
        return HubUnreachable(f"Nothing is sent to {repo}: HF_HUB_OFFLINE is set.", "Unset it.")
    if isinstance(error, hf.OfflineModeIsEnabled):
        return HubUnreachable(
            f"{repo}@{revision[:12]} is not complete in the cache, and HF_HUB_OFFLINE is set.",
            "Unset it, or run gan-serve pull where there is a network.",
        )
    if isinstance(error, ValueError) and not isinstance(error, OSError):
        return HubError(f"The Hub refuses the request for {repo}: {escape(' '.join(str(error).split()))}")
    reason = f"it responded with status {status}." if status else _first_line(error)
    return HubUnreachable(
        f"The Hub cannot be reached for {repo}@{revision[:12]}: {reason}",
        "It is not complete in the cache. Check the network and HF_ENDPOINT, or download it elsewhere."
        if file
        else "Check the network and HF_ENDPOINT.",
    )


def _first_line(error: BaseException) -> str:
    """Return the first sentence of an error, or its type. The client does not print tokens."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = escape(lines[0].split(". ")[0]) if lines else type(error).__name__  # a server may have sent it
    return text if text.endswith(".") else f"{text}."
