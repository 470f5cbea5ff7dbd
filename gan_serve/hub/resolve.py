"""From what a user calls a model to the directory that holds it.

A model is a name in the package, a directory, or a repository on the Hub: ``org/name`` or ``org/name@revision``. They
are tried in that order. What is fetched from the Hub lies in the cache that all tools of Hugging Face share: only the
files that are needed, each checked against its digest whenever it is taken from there.
"""

from __future__ import annotations

import logging
import os
from dataclasses import replace
from pathlib import Path

from gan_serve.checkpoint.bundled import BUNDLED, LEFT_OUT, list_models, not_in_package
from gan_serve.errors import (
    InvalidOption,
    UnknownModel,
    nearest,
)
from gan_serve.hub.file_sets import FileSet, config_only
from gan_serve.hub.repository import (
    HubRepository,
)

logger = logging.getLogger(__name__)


def find_local(model: str | Path) -> Path | None:
    """The directory of a checkpoint in the package or at that path; None where there is neither."""
    if not isinstance(model, str | Path) or not str(model) or "\0" in str(model):
        raise InvalidOption(f"A model is a name, a directory or org/name, not {model!r}.", f"Try {list_models()}.")
    if str(model) in list_models():
        return BUNDLED / str(model)
    return Path(model) if os.path.isdir(model) else None  # Path.is_dir raises where a name is too long


def resolve(
    model: str | Path, *, revision: str | None = None, token: str | None = None, files: FileSet = config_only
) -> Path:
    """The directory of a checkpoint, by its name in the package, its path, or its repository on the Hub: ``locate``."""
    return locate(model, revision=revision, token=token, files=files)[0]


def locate(
    model: str | Path, *, revision: str | None = None, token: str | None = None, files: FileSet = config_only
) -> tuple[Path, HubRepository | None]:
    """The directory of a checkpoint and, if it came from the Hub, its repository at the commit that was taken.

    Args:
        model: a name of ``list_models()``, a directory, ``org/name`` or ``org/name@revision``.
        revision: a branch, tag or commit of a repository; its main branch if None.
        token: for a private or gated repository; HF_TOKEN or that of ``hf auth login`` if None.
        files: what is needed beside ``config.json``; of a repository, only that is fetched.

    Raises:
        UnknownModel: it is none of them; the nearest name is in the hint.
        InvalidOption: a revision of what is no repository.
        RepositoryNotFound, RevisionNotFound, AccessDenied, HubUnreachable, HubError, InvalidCheckpoint, DigestMismatch,
        FormatTooNew, CannotWrite: the repository cannot be used.
    """
    local = find_local(model)
    if local is not None:
        if revision is not None:
            raise InvalidOption(f"{model} lies here and has no revisions.", "Only a repository on the Hub has.")
        return local, None
    repository = HubRepository.parse(model, revision, token)
    if repository is not None:
        directory = repository.fetch(files)
        return directory, replace(repository, revision=directory.name)
    if str(model) in LEFT_OUT:
        raise not_in_package(str(model))
    names = list_models()
    shown = str(model) if len(str(model)) < 100 else f"{str(model)[:100]}..."
    raise UnknownModel(
        f"There is no model {shown!r}: no checkpoint in the package has that name, and no directory is there.",
        nearest(model, [*names, *LEFT_OUT])
        or f"The package has: {', '.join(names)}. A model on the Hub is written org/name.",
    )
