"""Find the file of a generator: a path, a folder, or a repository on the Hugging Face Hub."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from gan_serve.checkpoint.config import CONFIG_FILE
from gan_serve.errors import ImportRefused, InvalidCheckpoint, InvalidOption, shorten
from gan_serve.hub import LIBRARY
from gan_serve.hub.error_messages import translate_errors
from gan_serve.hub.repository import TIMEOUT, HubRepository, endpoint
from gan_serve.regular_files import read_regular

MAX_BYTES = 2**31  # of a source file: a generator of half a billion parameters
SUFFIXES = (".onnx", ".pth", ".pt", ".ckpt", ".bin", ".safetensors", ".keras", ".h5", ".hdf5")
FORMATS = "an ONNX file, a state dict of PyTorch (.pth, .bin, .safetensors), or a Keras model (.keras, .h5)"
OTHERS = re.compile(r"(net_?d|disc\w*|critic|optim\w*|scheduler|training_args)([_.\W]|$)", re.IGNORECASE)


class Source(NamedTuple):
    """The content of a file, its short name, and where it comes from in words."""

    content: bytes
    name: str
    place: str


def read_source(source: str, file: str | None = None) -> Source:
    """Read the file of a generator.

    Args:
        source: a file, a folder, or ``org/name`` (``org/name@revision``) on the Hub.
        file: the file of a folder or repository; needed only if it has several that could be meant.

    Raises:
        ImportRefused: there is no such file, or it is too large. InvalidOption: several could be meant.
        HubError: the repository cannot be read.
    """
    if os.path.isdir(source):
        name = _choose(sorted(os.listdir(source)), source, file)
        return Source(_read(Path(source, name)), name, str(Path(source, name)))
    if os.path.lexists(source):
        if file is not None:
            raise InvalidOption(f"{source} is a file itself.", "Leave out --file.")
        return Source(_read(Path(source)), Path(source).name, Path(source).name)
    repository = HubRepository.parse(source)
    if repository is None:
        raise ImportRefused(f"There is no file {shorten(source)}.", f"Give {FORMATS}, or org/name on the Hub.")
    return _read_from_hub(repository, file)


def _read(path: Path) -> bytes:
    try:
        return read_regular(path, MAX_BYTES)
    except OSError as error:
        raise ImportRefused(f"{path} cannot be read: {error.strerror or error}.", f"Give {FORMATS}.") from error


def _read_from_hub(repository: HubRepository, file: str | None) -> Source:
    from huggingface_hub import HfApi

    repository.check_token()
    with translate_errors(repository.repo, repository.revision, file=file or "its files"):
        api = HfApi(endpoint=endpoint(), token=repository.token, **LIBRARY)
        info = api.model_info(repository.repo, revision=repository.revision, timeout=TIMEOUT)
    pinned = replace(repository, revision=str(info.sha))
    name = _choose([each.rfilename for each in info.siblings or ()], str(repository), file)
    try:
        content = _read(pinned.file(name, limit=MAX_BYTES))
    except InvalidCheckpoint as error:  # it is too large
        raise ImportRefused(error.message, "Choose another file with --file.") from error
    return Source(content, name, f"{pinned.repo}@{pinned.revision}/{name}")


def _choose(names: Sequence[str], place: str, file: str | None) -> str:
    """Return the file that is meant, by its name."""
    candidates = [name for name in names if name.lower().endswith(SUFFIXES) and not OTHERS.search(Path(name).name)]
    shown = f"It has {', '.join(candidates[:8])}." if candidates else f"Give {FORMATS}."
    if file is not None:
        if file not in names:
            raise ImportRefused(f"{place} has no file {shorten(file)}.", shown)
        return file
    if {CONFIG_FILE, "generator.onnx"} <= set(names):
        raise ImportRefused(f"{place} is a checkpoint of gan-serve already.", f"gan-serve generate {place}")
    if "model.safetensors" in candidates:  # the Hub's conversion of pytorch_model.bin
        candidates = [name for name in candidates if name != "pytorch_model.bin"]
    if not candidates:
        raise ImportRefused(f"{place} has no file of a generator.", f"Give {FORMATS}.")
    if len(candidates) > 1:
        raise InvalidOption(f"{place} has several files: {', '.join(candidates[:8])}.", "Choose one with --file.")
    return candidates[0]
