"""The cache of huggingface_hub: the commit of a revision, which is used without a network, and damaged files.

The cache of a repository has ``blobs/<digest>`` and ``snapshots/<commit>/<name>``, a link to a blob, or a file where
the system has no links. ``refs/<branch or tag>`` has the commit of the last download.
"""

from __future__ import annotations

import contextlib
import hashlib
from pathlib import Path

from gan_serve.atomic_files import write_atomically
from gan_serve.checkpoint.config import CONFIG_FILE
from gan_serve.errors import CannotWrite


def cached_commit(repo: str, revision: str) -> Path | None:
    """Return the directory of the commit that the cache has for a revision, if ``config.json`` is there."""
    from huggingface_hub import try_to_load_from_cache

    config_file = try_to_load_from_cache(repo, CONFIG_FILE, revision=revision)
    return Path(config_file).parent if isinstance(config_file, str) else None


def record_commit(directory: Path, revision: str) -> None:
    """Record the directory of a commit as that of a branch or tag, if the cache can be written."""
    with contextlib.suppress(CannotWrite):
        write_atomically(directory.parents[1] / "refs" / revision, directory.name)


def matches_digest(file: Path) -> bool | None:
    """Return True if the content of a cached file has the digest that the Hub announced, which is the name of its blob.

    None if this is unknown: the blob has another name, or the file does not exist.
    """
    try:
        blob = file.resolve()
        content = blob.read_bytes()
    except (OSError, RuntimeError):  # RuntimeError: circular links before Python 3.13
        return None
    if len(blob.name) == 64:
        return hashlib.sha256(content).hexdigest() == blob.name
    if len(blob.name) == 40:  # the digest of git; some mirrors send plain SHA-1
        candidates = (b"blob %d\0" % len(content) + content, content)
        return blob.name in {hashlib.sha1(data, usedforsecurity=False).hexdigest() for data in candidates}
    return None


def remove(file: Path) -> None:
    """Remove a file of a snapshot, and its blob if that is damaged; other commits may share an undamaged blob."""
    with contextlib.suppress(OSError, RuntimeError):
        blob, good = file.resolve(), matches_digest(file)
        file.unlink()
        # A link may point to a file outside the cache, which must stay.
        if not good and blob.parent == (file.parents[2] / "blobs").resolve():
            blob.unlink(missing_ok=True)
