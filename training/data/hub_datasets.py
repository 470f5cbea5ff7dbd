"""Download data sets of the Hugging Face Hub by their address, ``hf://datasets/org/name[@revision][/path]``."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import HfApi, snapshot_download
from huggingface_hub.errors import (  # type: ignore[attr-defined]
    GatedRepoError,
    HFValidationError,
    HTTPError,  # httpx's or httpx2's, by the version of the Hub's client
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from gan_serve.errors import DataError
from gan_serve.hub import LIBRARY

TIMEOUT = 10  # seconds for the Hub's first response, and for each file's
FORM = "Write hf://datasets/org/name, hf://datasets/org/name@revision, or either with /path/in/it."
# Branches with a slash in their name: the Hub's own conversions and pull requests.
ADDRESS = re.compile(
    r"hf://datasets/(?P<repo>[^/@\s]+/[^/@\s]+)(@(?P<revision>refs/(convert|pr)/[^/]+|[^/]+))?(/(?P<path>.+?))?/?"
)


@dataclass(frozen=True)
class HubData:
    """A downloaded data set.

    root: the snapshot's folder; path: the file or folder in it.
    repo, revision: where it came from; revision is a commit. license: as its card states it, else ``other``.
    """

    root: Path
    path: Path
    repo: str
    revision: str
    license: str


def fetch(address: str, *, endpoint: str | None = None, cache_dir: Path | None = None) -> HubData:
    """Download what ``address`` names into the Hub's cache; files that are there already are not fetched again.

    Args:
        address: ``hf://datasets/org/name[@revision][/path]``.
        endpoint: the Hub's address; ``$HF_ENDPOINT`` or the public Hub if None.
        cache_dir: where snapshots are kept; the Hub client's own cache if None.

    Raises:
        DataError: another form of address, no such data set, revision or path, or the Hub cannot be reached and the
            cache does not have it.
    """
    match = ADDRESS.fullmatch(address)
    if not match:
        raise DataError(f"{address} is not the address of a data set on the Hub.", FORM)
    repo, path = match["repo"], match["path"]
    endpoint = endpoint or os.environ.get("HF_ENDPOINT") or None
    patterns = [path, f"{path}/*"] if path else None

    def snapshot(revision: str, local: bool) -> Path:
        folder = snapshot_download(
            repo,
            repo_type="dataset",
            revision=revision,
            cache_dir=cache_dir,
            allow_patterns=patterns,
            local_files_only=local,
            endpoint=endpoint,
            etag_timeout=TIMEOUT,
            **LIBRARY,
        )
        return Path(folder)

    revision, license = match["revision"] or "main", "other"
    try:
        try:
            # One request before all others: snapshot_download alone would try for 23 seconds.
            info = HfApi(endpoint=endpoint, **LIBRARY).dataset_info(repo, revision=revision, timeout=TIMEOUT)
            revision, license = info.sha or revision, _license(info.card_data)
            root = snapshot(revision, local=False)
        except (RepositoryNotFoundError, RevisionNotFoundError, HFValidationError):
            raise
        except (HTTPError, OSError) as error:
            root = _cached(lambda: snapshot(revision, local=True), repo, error)
    except GatedRepoError as error:
        raise DataError(f"The data set {repo} is gated.", "Accept its terms on the Hub and set HF_TOKEN.") from error
    except RepositoryNotFoundError as error:
        raise DataError(
            f"The Hub has no data set {repo} that can be seen with this token.", f"{FORM} Private ones need HF_TOKEN."
        ) from error
    except RevisionNotFoundError as error:
        raise DataError(f"The data set {repo} has no revision {match['revision']}.", FORM) from error
    except HFValidationError as error:
        raise DataError(f"{repo} is not the name of a data set: {error}.", FORM) from error
    found = root / path if path else root
    if not found.exists():
        raise DataError(f"The data set {repo} has no {path or 'files'}.", "Look at its files on the Hub.")
    return HubData(root, found, repo, root.name, license)


def _cached(snapshot: Callable[[], Path], repo: str, reason: Exception) -> Path:
    """Return an earlier download, where the Hub cannot be reached."""
    try:
        return snapshot()
    except LocalEntryNotFoundError:
        raise DataError(
            f"The data set {repo} is not in the cache, and the Hub cannot be reached: {reason}.",
            "Check the network and HF_ENDPOINT, or download it elsewhere and pass the folder.",
        ) from reason


def _license(card: object) -> str:
    """Return the licence of a data set's card; ``other`` without one."""
    license = getattr(card, "license", None)
    return license if isinstance(license, str) and re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9.+-]*", license) else "other"
