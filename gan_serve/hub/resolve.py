"""Find the directory of a checkpoint by the name that a user gives.

The name is one of the package, a directory, or a repository on the Hub, ``org/name`` or ``org/name@revision``; they are
tried in this order.
"""

from __future__ import annotations

import functools
import os
from dataclasses import replace
from pathlib import Path

from gan_serve.checkpoint.bundled import BUNDLED, is_in_package, left_out, list_models, not_in_package
from gan_serve.checkpoint.config import CONFIG_FILE, PRECISION_FILES
from gan_serve.errors import InvalidOption, UnknownModel, nearest, shorten
from gan_serve.hub.file_sets import FileSet, config_only, network_files
from gan_serve.hub.repository import HubRepository
from gan_serve.sampling.device import AUTO, check_device


def find_local(model: str | Path) -> Path | None:
    """Return the directory of a checkpoint in the package or at this path; None if there is neither."""
    if not isinstance(model, str | Path) or not str(model) or "\0" in str(model):
        raise InvalidOption(
            f"A model is a name, a directory or org/name, not {shorten(model)}.",
            f"The package has: {', '.join(list_models())}.",
        )
    if is_in_package(str(model)):
        return BUNDLED / str(model)
    return Path(model) if os.path.isdir(model) else None  # Path.is_dir raises for names that are too long


def resolve(model: str | Path, *, revision: str | None = None, files: FileSet = config_only) -> Path:
    """Return the directory of a checkpoint; ``locate`` explains arguments and errors."""
    return locate(model, revision=revision, files=files)[0]


def locate(
    model: str | Path, *, revision: str | None = None, token: str | None = None, files: FileSet = config_only
) -> tuple[Path, HubRepository | None]:
    """Return the directory of a checkpoint and, if it is from the Hub, its repository at the commit that was used.

    Args:
        model: a name of ``list_models()``, a directory, ``org/name`` or ``org/name@revision``.
        revision: a branch, tag or commit of a repository; its main branch if None.
        token: for a private or gated repository; HF_TOKEN or that of ``hf auth login`` if None.
        files: the files that are needed beside ``config.json``; of a repository, only these are downloaded.

    Raises:
        UnknownModel: there is no such name, directory or repository; the hint names the nearest one.
        InvalidOption: a revision was given with a name or directory.
        RepositoryNotFound, RevisionNotFound, AccessDenied, HubUnreachable, HubError, InvalidCheckpoint, DigestMismatch,
        FormatTooNew, CannotWrite: the repository cannot be used.
    """
    local = find_local(model)
    if local is not None:
        if revision is not None:
            raise InvalidOption(f"{model} is a local checkpoint and has no revisions.", "Leave the revision out.")
        return local, None
    repository = HubRepository.parse(model, revision, token)
    if repository is not None:
        directory = repository.fetch(files)
        return directory, replace(repository, revision=directory.name)
    if str(model) in left_out():
        raise not_in_package(str(model))
    names = list_models()
    shown = str(model) if len(str(model)) < 100 else f"{str(model)[:100]}..."
    raise UnknownModel(
        f"There is no model {shown!r}: neither a checkpoint in the package nor a directory has this name.",
        nearest(model, [*names, *left_out()])
        or f"The package has: {', '.join(names)}. Write org/name for a model on the Hub.",
    )


def locate_once(model: str | Path, device: str, precision: str) -> tuple[Path, int]:
    """Return the directory of a checkpoint with the network for ``device``, and the time at which its config changed.

    Together they identify what a process has loaded. The commit of a branch is looked up once per process.

    Raises:
        InvalidOption: unknown device or precision. Others: see ``locate``.
    """
    check_device(device)
    if not isinstance(precision, str):
        raise InvalidOption.unknown("precision", precision, [*PRECISION_FILES, AUTO])
    local = find_local(model)
    directory = local or _fetch(model, device, precision)
    if local is None and not (directory / CONFIG_FILE).exists():  # the cache was emptied
        _fetch.cache_clear()
        directory = _fetch(model, device, precision)
    config = directory / CONFIG_FILE
    return directory.resolve(), config.stat().st_mtime_ns if config.exists() else 0


@functools.lru_cache(maxsize=64)
def _fetch(model: str | Path, device: str, precision: str) -> Path:
    return resolve(model, files=network_files(precision, device))
