"""Read files of ``torch.save`` and safetensors of others: tensors and plain values, within the size of the file."""

from __future__ import annotations

import io
import pickletools
import re
import warnings
import zipfile
from typing import IO, Any

import torch
from torch import Tensor

MAX_ENTRIES = 10_000  # tensors, each of which is an entry of the zip that torch.save writes
MAX_PARTS = 2_000_000  # opcodes of a pickle: a state dict of MAX_ENTRIES tensors has a quarter of it
# The Python objects of state dicts. ``weights_only`` allows more, some of which take the memory that an argument names
# (bytearray, torch.FloatTensor) or copy an argument as often as they are called (set, _codecs.encode).
OBJECTS = re.compile(
    r"collections OrderedDict|torch\._utils _rebuild_(tensor|tensor_v2|parameter)|torch (\w+Storage|Size|device)"
    r"|torch.storage UntypedStorage|torch (bfloat|float|int|uint|complex)\d+|torch bool"
)
PUTS = frozenset({"BINPUT", "LONG_BINPUT", "PUT", "MEMOIZE"})
GETS = frozenset({"BINGET", "LONG_BINGET", "GET"})
END_64 = 56 + 20 + 22  # bytes of the three records that end a zip64
LEGACY_PICKLES = 5  # in a file of an old version: a number, the protocol, the system, the value, the keys of storages


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
    is_zip = file.read(4) == b"PK\3\4"  # as torch decides
    file.seek(0)
    try:
        if is_zip:
            for content in _pickles(file):
                _check_pickle(io.BytesIO(content))
        else:
            for _ in range(LEGACY_PICKLES):
                _check_pickle(file)
    except NoTensors:
        raise
    except Exception as error:  # damaged files raise nearly anything
        raise NoTensors("it is a damaged zip file" if is_zip else "it is damaged, or no file of torch.save") from error
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
    except (SafetensorError, LookupError, TypeError, ValueError, RuntimeError) as error:  # such as an unknown dtype
        raise NoTensors(f"it is no safetensors file: {error}") from error


def _pickles(file: IO[bytes]) -> list[bytes]:
    """Return the pickles in a zip that is as torch.save writes it."""
    size = file.seek(0, 2)
    file.seek(max(0, size - END_64))
    end = file.read()
    with zipfile.ZipFile(file) as archive:
        entries = archive.infolist()
        if archive.start_dir != _directory(end, size):
            raise NoTensors("it is a damaged zip file")
        if any("/code/" in entry.filename for entry in entries):
            raise NoTensors("it is TorchScript, which is code")
        stored = all(entry.compress_type == zipfile.ZIP_STORED for entry in entries)
        if not stored or len(entries) > MAX_ENTRIES or sum(entry.file_size for entry in entries) > size:
            raise NoTensors("it unpacks to more than its own size, as no file of torch.save does")
        return [archive.read(entry) for entry in entries if entry.filename.lower().endswith(".pkl")]


def _directory(end: bytes, size: int) -> int:
    """Return where a zip of ``size`` bytes says that its directory begins, as torch reads it; -1 if it is not plain.

    Python's zipfile looks for the directory right before ``end``. A zip may have one there and another where it says.
    """
    if end[-22:-18] != b"PK\5\6":  # the end of a directory, without a comment
        return -1
    if end[-42:-38] != b"PK\6\7":  # the place of the end of a zip64
        return int.from_bytes(end[-6:-2], "little")
    is_before = end[:4] == b"PK\6\6" and int.from_bytes(end[-34:-26], "little") == size - END_64
    return int.from_bytes(end[48:56], "little") if is_before else -1


def _check_pickle(file: IO[bytes]) -> None:
    """Read a pickle without running it; raise ``NoTensors`` for objects that no state dict has, or copies of values.

    A value that is stored once can be the argument of many calls, each of which copies it. Tensors share their storage.
    """
    before = ["", "", ""]  # the last three opcodes
    for count, (opcode, argument, _) in enumerate(pickletools.genops(file)):
        name = opcode.name
        if count > MAX_PARTS or name == "EMPTY_SET":
            raise NoTensors(f"it has sets, or more than {MAX_PARTS:,} values")
        if name == "GLOBAL" and not OBJECTS.fullmatch(str(argument)):
            found = re.sub(r"^(__builtin__|builtins)\.", "", str(argument).replace(" ", "."))
            raise NoTensors(f"it has the Python object {found[:100]}", found[:100])
        one_stored = (before[2] == "TUPLE1" or (before[2] == "TUPLE" and before[0] == "MARK")) and before[1] in GETS
        if name in ("REDUCE", "NEWOBJ", "BUILD") and (before[2] in GETS or one_stored):
            raise NoTensors("it copies one value many times")
        if name not in PUTS:
            before = [*before[1:], name]
