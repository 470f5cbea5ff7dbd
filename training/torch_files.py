"""Read files of ``torch.save`` and safetensors of others: tensors and plain values, within the size of the file."""

from __future__ import annotations

import re
import warnings
import zipfile
from typing import IO, Any

import torch
from torch import Tensor

MAX_ENTRIES = 10_000  # tensors, each of which is an entry of the zip that torch.save writes
ALLOCATES = b"\nbytearray\n"  # weights_only allows it, and it takes the memory that an argument of it names


class NoTensors(ValueError):
    """A file has other content than tensors and plain values; ``found`` names a Python object in it, if that is why."""

    def __init__(self, message: str, found: str = "") -> None:
        super().__init__(message)
        self.found = found


def load_torch_file(file: IO[bytes]) -> Any:
    """Return the value in a file of ``torch.save``, with its tensors on the CPU. Nothing in it is run.

    Raises:
        NoTensors: it has other objects, is TorchScript, unpacks to more than its size, or is damaged.
    """
    if file.read(2) == b"PK":
        file.seek(0)
        pickles = _pickles(file)
    else:
        file.seek(0)
        pickles = [file.read()]
    if any(ALLOCATES in each for each in pickles):
        raise NoTensors("it has the Python object bytearray", "bytearray")
    file.seek(0)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # damaged files raise nearly anything
        found = re.search(r"(?:GLOBAL|class|global) `?([\w.]+\.\w+)", str(error))
        raise NoTensors("it is damaged, or no file of torch.save", found[1] if found else "") from error


def load_safetensors(content: bytes) -> dict[str, Tensor]:
    """Return the tensors of a safetensors file.

    Raises:
        NoTensors: it is damaged, or has more than ``MAX_ENTRIES`` tensors.
    """
    from safetensors import SafetensorError  # training itself does not need the package
    from safetensors.torch import load

    header = content[8 : 8 + int.from_bytes(content[:8], "little")]
    if header.count(b"{") > MAX_ENTRIES + 2:  # of the header itself, of its metadata, and of each tensor
        raise NoTensors(f"it has more than {MAX_ENTRIES:,} tensors")
    try:
        return load(content)
    except SafetensorError as error:
        raise NoTensors(f"it is no safetensors file: {error}") from error


def _pickles(file: IO[bytes]) -> list[bytes]:
    """Return the pickles in a zip that is as torch.save writes it."""
    try:
        with zipfile.ZipFile(file) as archive:
            entries = archive.infolist()
            if any("/code/" in entry.filename for entry in entries):
                raise NoTensors("it is TorchScript, which is code")
            stored = all(entry.compress_type == zipfile.ZIP_STORED for entry in entries)
            size = file.seek(0, 2)
            if not stored or len(entries) > MAX_ENTRIES or sum(entry.file_size for entry in entries) > size:
                raise NoTensors("it unpacks to more than its own size, as no file of torch.save does")
            return [archive.read(entry) for entry in entries if entry.filename.lower().endswith(".pkl")]
    except NoTensors:
        raise
    except (zipfile.BadZipFile, ValueError, OSError, RuntimeError, EOFError, OverflowError) as error:
        raise NoTensors("it is a damaged zip file") from error
