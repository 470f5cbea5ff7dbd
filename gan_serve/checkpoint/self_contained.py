"""Check that an ONNX file is self-contained: it reads no other file and uses only operators of an allow-list.

ONNX Runtime does not check this: given the content of a file, it may look for external data in the current folder, and
operators such as EPContext of com.microsoft name files. The package ``onnx`` is not a dependency of the runtime, so the
protobuf messages are parsed here: their tags and lengths only, not their tensors.
"""

from __future__ import annotations

from gan_serve.checkpoint.operators import OPERATORS
from gan_serve.checkpoint.protobuf import read_fields
from gan_serve.errors import InvalidCheckpoint, shorten

STANDARD_DOMAINS = (b"", b"ai.onnx")
MAX_FIELDS = 250_000  # takes less than a second; the networks of this package have some thousand

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
_NODE_OPERATOR, _NODE_DOMAIN, _EXTERNAL_DATA, _DATA_LOCATION = 4, 7, 13, 14
# Parts that could hold a second network: local functions (which may have the name of an operator), graphs of control
# flow, and training.
_INNER = {("model", 20), ("model", 25), ("attribute", 6), ("attribute", 11)}


def check_self_contained(model: bytes) -> None:
    """Raise ``InvalidCheckpoint`` for an ONNX file that reads other files or uses operators that are not allowed.

    Raises:
        InvalidCheckpoint: it does, or it is not an ONNX file.
    """
    if model[4:8] == b"ORTM":  # ONNX Runtime would load its own format
        raise InvalidCheckpoint("The network is in ONNX Runtime's own format, not ONNX.", "Export it again.")
    try:
        _check(memoryview(model))
    except (ValueError, IndexError) as error:
        raise InvalidCheckpoint(
            "ONNX Runtime cannot load the network: it is not an ONNX file.", "Download the checkpoint again."
        ) from error


def _check(model: memoryview) -> None:
    waiting, seen, not_allowed = [("model", model)], 0, ""
    while waiting:
        kind, message = waiting.pop()
        for number, value in read_fields(message):
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
            if kind == "node" and number == _NODE_OPERATOR and bytes(value).decode() not in OPERATORS:
                not_allowed = f"the operator {shorten(bytes(value).decode())}"
            if (kind, number) in _INNER:
                not_allowed = not_allowed or "functions, control flow or training"
            if number in _INSIDE[kind]:
                waiting.append((_INSIDE[kind][number], value))
    if not_allowed:
        raise InvalidCheckpoint(
            f"The network uses {not_allowed}, which gan-serve does not run.",
            "Export it with standard layers; docs/checkpoints.md lists the operators.",
        )
