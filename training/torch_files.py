"""Read files of ``torch.save`` and safetensors of others: tensors and plain values, within the size of the file."""

from __future__ import annotations

import io
import pickletools
import re
import warnings
from collections.abc import Iterable
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
    is_zip = file.read(2) == b"PK"
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
    except SafetensorError as error:
        raise NoTensors(f"it is no safetensors file: {error}") from error


def _pickles(file: IO[bytes]) -> Iterable[bytes]:
    """Yield the pickles in a zip that is as torch.save writes it.

    The reader is that of ``torch.load``: another one might find other entries in a zip that is made for it.
    """
    size = file.seek(0, 2)
    file.seek(0)  # the zip begins where the reader finds the file
    reader = torch._C.PyTorchFileReader(file)
    names = reader.get_all_records()
    if any(name.startswith("code/") for name in names):
        raise NoTensors("it is TorchScript, which is code")
    if len(names) > MAX_ENTRIES or sum(map(reader.get_record_size, names)) > size:
        raise NoTensors("it unpacks to more than its own size, as no file of torch.save does")
    return [reader.get_record(name) for name in names if name.lower().endswith(".pkl")]


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
        if name in ("REDUCE", "BUILD") and (before[2] in GETS or one_stored):
            raise NoTensors("it copies one value many times")
        if name not in PUTS:
            before = [*before[1:], name]
