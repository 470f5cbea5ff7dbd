"""A repository on the Hugging Face Hub: fetch its files into the cache, verified."""

from __future__ import annotations

import contextlib
import logging
import os
import re
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Self

from gan_serve.atomic_files import write_atomically
from gan_serve.checkpoint.config import CONFIG_FILE, PRECISION_FILES, CheckpointConfig
from gan_serve.checkpoint.files import read_config, read_verified
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
from gan_serve.hub.cache import matches_digest, remove
from gan_serve.hub.error_messages import LOGIN, translate_errors
from gan_serve.hub.file_sets import FileSet

logger = logging.getLogger(__name__)

TIMEOUT = 5.0  # seconds for the Hub's first answer
TRIES = 3  # for a download that breaks off
BROKEN_OFF = ("ReadError", "RemoteProtocolError")  # of httpx, or httpx2; silence and what never began are final
REFUSED = "It is not used, nor kept in the cache. Take another revision, or tell who published it."
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
            raise InvalidOption("A revision and a token are text.", "Leave out what is not needed.")
        if not REVISION.fullmatch(self.revision):
            raise RevisionNotFound(
                f"{shorten(self.revision)} is no name of a revision.", "Give a branch, a tag or a commit."
            )

    @classmethod
    def parse(cls, model: str | Path, revision: str | None = None, token: str | None = None) -> Self | None:
        """The repository that ``model`` names; None where it is written in another way."""
        match = ADDRESS.fullmatch(model) if isinstance(model, str) else None
        if match is None:
            return None
        if match["revision"] and revision not in (None, match["revision"]):
            raise InvalidOption(f"{model} and {revision!r} name two revisions.", "Give one of them.")
        if not isinstance(token, str | None):
            raise InvalidOption("A token is text.", LOGIN)
        return cls(match["repo"], match["revision"] or (MAIN if revision is None else revision), token or None)

    @property
    def is_pinned(self) -> bool:
        """Whether the revision is a commit, which never changes."""
        return COMMIT.fullmatch(self.revision) is not None

    def __str__(self) -> str:
        return f"{self.repo}@{self.revision[:12] if self.is_pinned else self.revision}"

    def fetch(self, files: FileSet) -> Path:
        """The directory in the cache that holds ``config.json`` and what is wanted beside it; see ``resolve``.

        A commit that is in the cache causes no request. For a branch or tag the Hub is asked once; where it does not
        answer, what the cache has of it is taken.
        """
        from huggingface_hub import constants

        with self._told():
            if self.is_pinned and (directory := self._cached(files)):
                return directory
            try:
                commit = replace(self, revision=self._commit())
            except HubUnreachable as error:
                if not (directory := self._cached(files)):
                    raise
                if not constants.HF_HUB_OFFLINE:
                    logger.warning("%s Commit %s is taken.", error.message, directory.name[:12])
                return directory
            directory = commit._cached(files) or commit._download(files)
            if not self.is_pinned:
                self._note(directory, files)
            return directory

    def file(self, name: str, *, again: bool = False) -> Path:
        """One file of the repository, in the cache; downloaded where it is not there, or ``again``."""
        from huggingface_hub import hf_hub_download, try_to_load_from_cache
        from huggingface_hub.errors import HfHubHTTPError, HTTPError  # type: ignore[attr-defined]

        def download() -> Path:
            path = hf_hub_download(
                self.repo,
                name,
                revision=self.revision,
                token=self.token,
                endpoint=endpoint(),
                etag_timeout=TIMEOUT,
                force_download=again,
            )
            return Path(path)

        self.check_token()
        with self._told(name):
            if again or not isinstance(try_to_load_from_cache(self.repo, name, revision=self.revision), str):
                # The client listens to silence for minutes; so any answer will do here, but there must be one.
                with contextlib.suppress(HfHubHTTPError):
                    self._ask(name)
            for _ in range(TRIES - 1):
                try:
                    return download()
                except (HTTPError, OSError) as error:
                    # After some ways of breaking off the client goes on by itself, but not after all.
                    short = type(error) is OSError and error.errno is None  # fewer bytes than were announced
                    if not short and type(error).__name__ not in BROKEN_OFF:
                        raise
            return download()

    def check_token(self) -> None:
        """Refuse a token that cannot be sent: the client's error would show it."""
        from huggingface_hub import get_token

        token = self.token or get_token()
        if token and not re.fullmatch("[!-~]+", token):
            raise AccessDenied("The token holds characters that no token has.", LOGIN)

    def _commit(self) -> str:
        """Ask the Hub which commit the revision is, and whether we may read it."""
        self.check_token()
        with self._told():
            commit = self._ask(CONFIG_FILE)
        if commit is None or not COMMIT.fullmatch(commit):
            raise HubUnreachable(
                f"{endpoint() or 'What answers'} is no Hub: it names no commit of {self}.",
                "Check the network, proxies and HF_ENDPOINT.",
            )
        return commit

    def _ask(self, name: str) -> str | None:
        """Ask the Hub about a file; the commit, if it tells one."""
        from huggingface_hub import get_hf_file_metadata, hf_hub_url

        url = hf_hub_url(self.repo, name, revision=self.revision, endpoint=endpoint())
        return get_hf_file_metadata(url, token=self.token, timeout=TIMEOUT, endpoint=endpoint()).commit_hash

    def _cached(self, files: FileSet) -> Path | None:
        """The directory in the cache, if it has all that is wanted and each file is as its digest says."""
        directory = self._in_cache()
        if directory is not None:
            try:
                config = self._config(directory)
                for name in files(config):
                    read_verified(directory, config, name)
            except (InvalidCheckpoint, DigestMismatch):
                return None
        return directory

    def _in_cache(self) -> Path | None:
        """The directory in the cache where it has at least ``config.json``."""
        from huggingface_hub import try_to_load_from_cache

        config_file = try_to_load_from_cache(self.repo, CONFIG_FILE, revision=self.revision)
        return Path(config_file).parent if isinstance(config_file, str) else None

    def _note(self, directory: Path, files: FileSet) -> None:
        """Let the cache know which commit the branch is at, unless it knows one and this one cannot draw."""
        known, networks = self._in_cache(), set(PRECISION_FILES.values())
        if known == directory or (known and not networks & set(files(self._config(directory)))):
            return
        with contextlib.suppress(CannotWrite):  # a cache that can only be read serves all the same
            write_atomically(directory.parents[1] / "refs" / self.revision, directory.name)

    def _download(self, files: FileSet) -> Path:
        """Fetch what the cache lacks. What does not fit its digest is fetched once more, then refused and removed."""
        directory = self.file(CONFIG_FILE).parent
        try:
            return self._complete(directory, files)
        except (InvalidCheckpoint, DigestMismatch):
            self.file(CONFIG_FILE, again=True)  # it may be the one that is damaged
            return self._complete(directory, files)

    def _complete(self, directory: Path, files: FileSet) -> Path:
        config = self._config(directory)
        for name in files(config):
            if name not in config.files:
                raise InvalidCheckpoint(
                    f"{self} on the Hub has no {name}: its {CONFIG_FILE} does not list it.",
                    "Choose another repository or revision.",
                )
            self.file(name)
            try:
                read_verified(directory, config, name)
            except DigestMismatch as error:
                remove(directory / name)
                raise DigestMismatch(
                    f"{name} of {self} on the Hub is not the file that its {CONFIG_FILE} describes.",
                    REFUSED,
                ) from error
        return directory

    def _config(self, directory: Path) -> CheckpointConfig:
        """The config; errors name the repository in place of a path in the cache."""
        if matches_digest(directory / CONFIG_FILE) is False:
            remove(directory / CONFIG_FILE)
            raise DigestMismatch(f"{CONFIG_FILE} of {self} is not the file that the Hub announced.", REFUSED)
        try:
            return read_config(directory)
        except (InvalidCheckpoint, FormatTooNew) as error:
            message = error.message.replace(str(directory / CONFIG_FILE), f"{CONFIG_FILE} of {self}")
            hint = error.hint if isinstance(error, FormatTooNew) else "Choose another repository or revision."
            raise type(error)(message, hint) from error

    def _told(self, file: str = CONFIG_FILE) -> contextlib.AbstractContextManager[None]:
        return translate_errors(self.repo, self.revision, file=file)


def endpoint() -> str | None:
    """The Hub's address where HF_ENDPOINT names one; read when it is needed, as the client reads it once."""
    return os.environ.get("HF_ENDPOINT", "").rstrip("/") or None
