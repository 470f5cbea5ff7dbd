"""Read the state dicts of a PyTorch file or of safetensors. Python objects other than tensors are never made."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from gan_serve.errors import ImportRefused
from gan_serve.training.torch_files import NoTensors, load_safetensors, load_torch_file

MAX_DEPTH = 4  # of dictionaries around a state dict, as in {"models": {"generator": {...}}}
IN_PYTHON = "In Python, gan_serve.exports.export_module takes the module itself (docs/import.md)."

StateDict = dict[str, Tensor]


def read_safetensors(content: bytes, name: str) -> dict[str, StateDict]:
    """Return the tensors of a safetensors file as one state dict, under an empty key.

    Raises:
        ImportRefused: it is damaged.
    """
    try:
        return {"": _checked(load_safetensors(content), content, name)}
    except NoTensors as error:
        raise ImportRefused(f"{name} is not read: {error}.", "Download it again.") from error


def read_torch_file(content: bytes, name: str) -> dict[str, StateDict]:
    """Return the state dicts of a file of ``torch.save`` by their key, such as ``models.generator``.

    The key is empty if the file is one state dict.

    Raises:
        ImportRefused: it is damaged, compressed, TorchScript, or has other objects than tensors.
    """
    try:
        loaded = load_torch_file(io.BytesIO(content))
    except NoTensors as error:
        if "TorchScript" in str(error):
            raise ImportRefused(
                f"{name} is not read: {error}.", "Export it to ONNX (torch.onnx.export) and import that file."
            ) from error
        why = f"it has the Python object {error.found}, and only tensors are loaded" if error.found else error
        raise ImportRefused(
            f"{name} is not read: {why}.", f"Save the state dict: torch.save(netG.state_dict(), ...). {IN_PYTHON}"
        ) from error
    found_dicts = {key: _checked(weights, content, name) for key, weights in _state_dicts(loaded)}
    if not found_dicts:
        raise ImportRefused(
            f"{name} has no state dict, but a {type(loaded).__name__}.", "Save torch.save(netG.state_dict(), ...)."
        )
    return found_dicts


def _state_dicts(
    value: Any, key: str = "", depth: int = 0, seen: set[int] | None = None
) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield the dictionaries of tensors in a value, with their keys; each once, though it may be there many times."""
    seen = set() if seen is None else seen
    if not isinstance(value, Mapping) or depth > MAX_DEPTH or id(value) in seen:
        return
    seen.add(id(value))
    if any(isinstance(each, Tensor) for each in value.values()):
        yield key, value
        return
    for name, each in value.items():
        if isinstance(name, str):
            yield from _state_dicts(each, f"{key}.{name}" if key else name, depth + 1, seen)


def _checked(weights: Mapping[Any, Any], content: bytes, name: str) -> StateDict:
    """Return the tensors of a state dict as float32; counters of batches, which are not used, are left out.

    Raises:
        ImportRefused: one is sparse, quantised, complex, or claims more numbers than the file has bytes for.
    """
    tensors: StateDict = {}
    total = 0
    for key, tensor in weights.items():
        if not isinstance(tensor, Tensor) or not isinstance(key, str) or not tensor.is_floating_point():
            continue
        total += tensor.numel() * tensor.element_size()
        if tensor.layout != torch.strided or tensor.is_quantized or tensor.device.type != "cpu" or total > len(content):
            raise ImportRefused(
                f"{name} has a tensor {key[:60]!r} of another kind or size than the file can hold.",
                "Save dense tensors: torch.save(netG.state_dict(), ...).",
            )
        tensors[key] = tensor.detach().float().contiguous()
    return tensors
