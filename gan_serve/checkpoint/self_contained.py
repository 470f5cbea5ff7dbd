"""Check that an ONNX file is self-contained: it reads no other file and uses only the operators of ONNX.

ONNX Runtime does not check this: given the content of a file, it may look for external data in the current folder, and
operators such as EPContext of com.microsoft name files. The package ``onnx`` is not a dependency of the runtime, so the
protobuf messages are parsed here: their tags and lengths only, not their tensors.
"""

from __future__ import annotations

from collections.abc import Iterator

from gan_serve.errors import InvalidCheckpoint

STANDARD_DOMAINS = (b"", b"ai.onnx")
MAX_FIELDS = 1_000_000  # takes a second or two; the networks of this package have some thousand

# For each message of onnx.proto3, the fields to look into, by their numbers.
_INSIDE: dict[str, dict[int, str]] = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "graph": {1: "node", 5: "tensor", 15: "sparse tensor"},
    "function": {7: "node", 11: "attribute"},
    "node": {5: "attribute"},
    "attribute": {
        5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse tensor", 23: "sparse tensor",
    },
    "sparse tensor": {1: "tensor", 2: "tensor"},
    "tensor": {},
}  # fmt: skip
_NODE_DOMAIN, _EXTERNAL_DATA, _DATA_LOCATION = 7, 13, 14
_VARINT, _64_BIT, _BYTES, _32_BIT = 0, 1, 2, 5  # wire types of protobuf; groups, which ONNX does not use, are refused


def check_self_contained(model: bytes) -> None:
    """Raise ``InvalidCheckpoint`` for an ONNX file that reads other files or needs operators of another domain.

    Raises:
        InvalidCheckpoint: it does, or it is not an ONNX file.
    """
    if model[4:8] == b"ORTM":  # ONNX Runtime would load its own format
        raise InvalidCheckpoint("The network is in ONNX Runtime's own format, not ONNX.", "Export it again.")
    try:
        _check(memoryview(model))
    except (ValueError, IndexError) as error:
        raise InvalidCheckpoint(
            "ONNX Runtime cannot load the network: it is no ONNX file.", "Download the checkpoint again."
        ) from error


def _check(model: memoryview) -> None:
    waiting, seen = [("model", model)], 0
    while waiting:
        kind, message = waiting.pop()
        for number, value in _fields(message):
            seen += 1
            if seen > MAX_FIELDS:
                raise InvalidCheckpoint("The network has too many parts to be checked.", "Export it again.")
            if kind == "tensor" and (number == _EXTERNAL_DATA or (number == _DATA_LOCATION and value != 0)):
                raise InvalidCheckpoint(
                    "The network keeps tensors in other files (external data).", "Export it as one file."
                )
            if isinstance(value, int):
                continue
            if kind == "node" and number == _NODE_DOMAIN and bytes(value) not in STANDARD_DOMAINS:
                domain = bytes(value[:60]).decode(errors="replace")
                raise InvalidCheckpoint(
                    f"The network needs operators of the domain {domain!r}; only those of ONNX itself are run.",
                    "Export it again with standard operators.",
                )
            if number in _INSIDE[kind]:
                waiting.append((_INSIDE[kind][number], value))


def _fields(message: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """Yield the fields of a message: the number of each, and its bytes or its value if it is a varint."""
    at = 0
    while at < len(message):
        tag, at = _varint(message, at)
        number, wire_type = tag >> 3, tag & 7
        if not 0 < number < 2**29:
            raise ValueError("a field has an invalid number")
        if wire_type == _VARINT:
            value, at = _varint(message, at)
            yield number, value
            continue
        if wire_type == _BYTES:
            length, at = _varint(message, at)
        elif wire_type in (_64_BIT, _32_BIT):
            length = 8 if wire_type == _64_BIT else 4
        else:
            raise ValueError("a field has an unknown wire type")
        if length > len(message) - at:
            raise ValueError("a field is longer than its message")
        yield number, message[at : at + length]
        at += length


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    """Return a varint (seven bits a byte, lowest first) and the position after it."""
    number = 0
    for shift in range(0, 70, 7):
        byte = message[at]
        at += 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            return number, at
    raise ValueError("a number is too long")
