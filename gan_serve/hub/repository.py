"""A repository on the Hugging Face Hub: download its files to the cache and verify them.

By hand, with the measurements in benchmarks/hub.md:

- Files are downloaded by ``hf_hub_download``. ``snapshot_download`` does not end when a server is silent, whatever its
  timeouts, gives up when a connection is reset, and needs a list of all files, which some mirrors do not have.
- Digests are compared, with those of ``config.json`` and of the Hub (cache.py): the client accepts a wrong byte.
- A request with a timeout goes before each download: the client repeats its own for minutes.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Self

from gan_serve.checkpoint.config import CONFIG_FILE, PRECISION_FILES, AnyConfig
from gan_serve.checkpoint.files import MAX_CONFIG_BYTES, read_any_config, read_verified
from gan_serve.errors import (
    AccessDenied,
    CannotWrite,
    DigestMismatch,
    FormatTooNew,
    HubUnreachable,
    InvalidCheckpoint,
    InvalidOption,
    RevisionNotFound,
    shorten,
)
from gan_serve.hub import LIBRARY
from gan_serve.hub.cache import cached_commit, matches_digest, record_commit, remove
from gan_serve.hub.error_messages import LOGIN, translate_errors
from gan_serve.hub.file_sets import FileSet

if TYPE_CHECKING:
    from huggingface_hub import HfFileMetadata

logger = logging.getLogger(__name__)

TIMEOUT = 5.0  # seconds for the first response of the Hub
TRIES = 3  # for a download whose connection breaks
BROKEN_CONNECTION = ("ReadError", "RemoteProtocolError")  # of httpx or httpx2; timeouts are not repeated
REFUSED = "It is not used, and was removed from the cache. Use another revision, or inform its publisher."
MAIN = "main"
ADDRESS = re.compile(r"(?P<repo>[A-Za-z0-9][\w.-]*/[\w.-]+)(@(?P<revision>.+))?", re.ASCII)
REVISION = re.compile(r"(?!.*(\.\.|//))\w[\w./+#-]*", re.ASCII)
COMMIT = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True)
class HubRepository:
    """A repository on the Hub at a revision: a branch, a tag or a commit."""

    repo: str
    revision: str = MAIN
    token: str | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if not isinstance(self.revision, str) or not isinstance(self.token, str | None):
            raise InvalidOption("revision and token must be text.", "Leave out the one that is not needed.")
        if not REVISION.fullmatch(self.revision):
            raise RevisionNotFound(
                f"{shorten(self.revision)} is not a valid revision.", "Give a branch, a tag or a commit."
            )

    @classmethod
    def parse(cls, model: str | Path, revision: str | None = None, token: str | None = None) -> Self | None:
        """Return the repository that ``model`` names; None if it does not have the form ``org/name``."""
        match = ADDRESS.fullmatch(model) if isinstance(model, str) else None
        if match is None:
            return None
        if match["revision"] and revision not in (None, match["revision"]):
            raise InvalidOption(f"{model} and {revision!r} name two revisions.", "Give one of them.")
        if not isinstance(token, str | None):
            raise InvalidOption("token must be text.", LOGIN)
        return cls(match["repo"], match["revision"] or (MAIN if revision is None else revision), token or None)

    @property
    def is_pinned(self) -> bool:
        """True if the revision is a commit, which never changes."""
        return COMMIT.fullmatch(self.revision) is not None

    def __str__(self) -> str:
        return f"{self.repo}@{self.revision[:12] if self.is_pinned else self.revision}"

    def fetch(self, files: FileSet) -> Path:
        """Return the directory in the cache that has ``config.json`` and ``files``; see ``locate`` for the errors.

        A commit that is in the cache needs no request. A branch or tag needs one; if the Hub cannot be reached, or the
        cache cannot be written, the commit in the cache is used, with a warning.
        """
        from huggingface_hub import constants

        with self._translate_errors():
            if self.is_pinned and (directory := self._cached(files)):
                return directory
            try:
                commit = replace(self, revision=self._commit())
            except HubUnreachable as error:
                if not (directory := self._cached(files)):
                    raise
                if not constants.HF_HUB_OFFLINE:
                    logger.warning("%s Commit %s of the cache is used.", error.message, directory.name[:12])
                return directory
            directory = commit._cached(files)
            if directory is None:
                try:
                    directory = commit._download(files)
                except CannotWrite as error:
                    if self.is_pinned or not (directory := self._cached(files)):
                        raise
                    logger.warning(
                        "%s Commit %s of the cache is used, although %s is at %s. Ask for %s@%s to avoid this warning.",
                        *(error.message, directory.name[:12], self, commit.revision[:12], self.repo, directory.name),
                    )
                    return directory
            if not self.is_pinned:
                self._record_commit(directory, files)
            return directory

    def file(self, name: str, *, again: bool = False, limit: int = MAX_CONFIG_BYTES) -> Path:
        """Return the path of a file in the cache; it is downloaded if it is not there, or ``again``.

        Raises:
            InvalidCheckpoint: it has more than ``limit`` bytes, as the Hub announces them; nothing is downloaded.
        """
        import tenacity
        from huggingface_hub import hf_hub_download, try_to_load_from_cache
        from huggingface_hub.errors import HfHubHTTPError

        self.check_token()
        with self._translate_errors(name):
            if again or not isinstance(try_to_load_from_cache(self.repo, name, revision=self.revision), str):
                # The client would wait minutes for a silent server: check first that there is a response.
                with contextlib.suppress(HfHubHTTPError):
                    size = self._request_metadata(name).size
                    if size is not None and size > limit:
                        raise InvalidCheckpoint(
                            f"{name} of {self} on the Hub has {size:,} bytes; at most {limit:,} are expected.",
                            "Choose another repository or revision.",
                        )
            # The client itself resumes after some kinds of broken connections, but not after all.
            retrying = tenacity.Retrying(
                stop=tenacity.stop_after_attempt(TRIES), retry=tenacity.retry_if_exception(_is_broken_off), reraise=True
            )
            path = retrying(
                hf_hub_download,
                self.repo,
                name,
                revision=self.revision,
                token=self.token,
                endpoint=endpoint(),
                etag_timeout=TIMEOUT,
                **LIBRARY,
                force_download=again,
            )
            return Path(path)

    def check_token(self) -> None:
        """Raise ``AccessDenied`` for a token that cannot be sent; the error of the client would show it."""
        from huggingface_hub import get_token

        token = self.token or get_token()
        if token and not re.fullmatch("[!-~]+", token):
            raise AccessDenied("The token contains invalid characters.", LOGIN)

    def _commit(self) -> str:
        """Return the commit of the revision on the Hub; this also checks the access."""
        self.check_token()
        with self._translate_errors():
            commit = self._request_metadata(CONFIG_FILE).commit_hash
        if commit is None or not COMMIT.fullmatch(commit):
            raise HubUnreachable(
                f"{endpoint() or 'The server'} is not a Hub: its response has no commit of {self}.",
                "Check the network, proxies and HF_ENDPOINT.",
            )
        return commit

    def _request_metadata(self, name: str) -> HfFileMetadata:
        """Request the metadata of a file: its commit and its size, if the response has them."""
        from huggingface_hub import get_hf_file_metadata, hf_hub_url

        url = hf_hub_url(self.repo, name, revision=self.revision, endpoint=endpoint())
        return get_hf_file_metadata(url, token=self.token, timeout=TIMEOUT, endpoint=endpoint(), **LIBRARY)

    def _cached(self, files: FileSet) -> Path | None:
        """Return the directory in the cache if it has all ``files`` with the right digests."""
        directory = cached_commit(self.repo, self.revision)
        if directory is not None:
            try:
                config = self._config(directory)
                for name in files(config):
                    read_verified(directory, config, name)
            except (InvalidCheckpoint, DigestMismatch):
                return None
        return directory

    def _record_commit(self, directory: Path, files: FileSet) -> None:
        """Record the commit of the branch in the cache, unless only an older commit in the cache has its network."""
        known, networks = cached_commit(self.repo, self.revision), set(PRECISION_FILES.values())
        if known == directory or (known and not networks & set(files(self._config(directory)))):
            return
        record_commit(directory, self.revision)

    def _download(self, files: FileSet) -> Path:
        """Download the missing files. One with a wrong digest is downloaded once more, then removed with an error."""
        directory = self.file(CONFIG_FILE).parent
        try:
            return self._complete(directory, files)
        except (InvalidCheckpoint, DigestMismatch):
            self.file(CONFIG_FILE, again=True)  # the config itself may be damaged
            return self._complete(directory, files)

    def _complete(self, directory: Path, files: FileSet) -> Path:
        config = self._config(directory)
        for name in files(config):
            if name not in config.files:
                raise InvalidCheckpoint(
                    f"{self} on the Hub has no {name}: its {CONFIG_FILE} does not list it.",
                    "Choose another repository or revision.",
                )
            self.file(name, limit=config.files[name].size)
            try:
                read_verified(directory, config, name)
            except DigestMismatch as error:
                remove(directory / name)
                raise DigestMismatch(
                    f"{name} of {self} on the Hub is not the file that its {CONFIG_FILE} describes.",
                    REFUSED,
                ) from error
        return directory

    def _config(self, directory: Path) -> AnyConfig:
        """Return the config. Errors name the repository instead of a path in the cache."""
        if matches_digest(directory / CONFIG_FILE) is False:
            remove(directory / CONFIG_FILE)
            raise DigestMismatch(f"{CONFIG_FILE} of {self} is not the file that the Hub announced.", REFUSED)
        try:
            return read_any_config(directory)
        except (InvalidCheckpoint, FormatTooNew) as error:
            message = error.message.replace(str(directory / CONFIG_FILE), f"{CONFIG_FILE} of {self}")
            hint = error.hint if isinstance(error, FormatTooNew) else "Choose another repository or revision."
            raise type(error)(message, hint) from error

    def _translate_errors(self, file: str = CONFIG_FILE) -> contextlib.AbstractContextManager[None]:
        return translate_errors(self.repo, self.revision, file=file)


def _is_broken_off(error: BaseException) -> bool:
    """Return True for a connection that broke, or that ended before Content-Length, which is a bare OSError."""
    return type(error).__name__ in BROKEN_CONNECTION or (type(error) is OSError and error.errno is None)


def endpoint() -> str | None:
    """Return the value of HF_ENDPOINT, if set. The client reads it only once, when it is imported."""
    return os.environ.get("HF_ENDPOINT", "").rstrip("/") or None
