"""Read the fields of protobuf messages. ``onnx`` and ``protobuf`` are not dependencies of the runtime."""

from __future__ import annotations

from collections.abc import Iterator

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5  # wire types of protobuf; groups, which ONNX does not use, are refused


def read_fields(message: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """Yield the fields of a message: the number of each, and its bytes or its value if it is a varint.

    Raises:
        ValueError, IndexError: it is not a protobuf message.
    """
    for number, _, value in read_typed_fields(message):
        yield number, value


def read_typed_fields(message: memoryview) -> Iterator[tuple[int, int, int | memoryview]]:
    """Yield the number, the wire type and the value of each field; see ``read_fields``."""
    at = 0
    while at < len(message):
        tag, at = read_varint(message, at)
        number, wire_type = tag >> 3, tag & 7
        if not 0 < number < 2**29:
            raise ValueError("a field has an invalid number")
        if wire_type == VARINT:
            value, at = read_varint(message, at)
            yield number, wire_type, value
            continue
        if wire_type == BYTES:
            length, at = read_varint(message, at)
        elif wire_type in (FIXED64, FIXED32):
            length = 8 if wire_type == FIXED64 else 4
        else:
            raise ValueError("a field has an unknown wire type")
        if length > len(message) - at:
            raise ValueError("a field is longer than its message")
        yield number, wire_type, message[at : at + length]
        at += length


def read_varint(message: memoryview, at: int) -> tuple[int, int]:
    """Return a varint (seven bits a byte, lowest first) and the position after it."""
    number = 0
    for shift in range(0, 70, 7):
        byte = message[at]
        at += 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            return number, at
    raise ValueError("a number is too long")


def read_ints(value: int | memoryview) -> list[int]:
    """Return the int64 values of a repeated field, packed or not."""
    if isinstance(value, int):
        return [_signed(value)]
    values, at = [], 0
    while at < len(value):
        number, at = read_varint(value, at)
        values.append(_signed(number))
    return values


def _signed(number: int) -> int:
    number &= 2**64 - 1
    return number - 2**64 if number >= 2**63 else number
