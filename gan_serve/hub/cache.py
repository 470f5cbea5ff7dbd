"""What the client of the Hub keeps in its cache: content under its digest, and links to it under the files' names.

A repository there has ``blobs/<digest>`` and ``snapshots/<commit>/<name>``, which is a link to a blob, or a file where
the system has no links.
"""

from __future__ import annotations

import contextlib
import hashlib
from pathlib import Path


def matches_digest(file: Path) -> bool | None:
    """Whether a file of the cache is what the Hub announced: the digest that its blob has as a name.

    None where that cannot be told: the blob has another name, or the file is not there.
    """
    try:
        blob = file.resolve()
        content = blob.read_bytes()
    except (OSError, RuntimeError):  # the latter, before Python 3.13, for links in a circle
        return None
    if len(blob.name) == 64:
        return hashlib.sha256(content).hexdigest() == blob.name
    if len(blob.name) == 40:  # git's, of the Hub; some mirrors give the plain one
        told = (b"blob %d\0" % len(content) + content, content)
        return blob.name in {hashlib.sha1(data, usedforsecurity=False).hexdigest() for data in told}
    return None


def remove(file: Path) -> None:
    """Remove a file of a snapshot, and its blob where that is damaged: other commits may share one that is whole."""
    with contextlib.suppress(OSError, RuntimeError):
        blob, good = file.resolve(), matches_digest(file)
        file.unlink()
        if not good and blob.parent == (file.parents[2] / "blobs").resolve():  # never what a link elsewhere points to
            blob.unlink(missing_ok=True)
