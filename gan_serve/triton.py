"""Export a checkpoint for NVIDIA Triton Inference Server: config.pbtxt and the network, for its ONNX Runtime backend.

The tensors are those of the network (see ``gan_serve.checkpoint.config``), for a batch of up to ``max_batch_size``
images: z float32 [N, z_dim]; c int64 [N, 1] where the model is conditional; psi float32 [N, 1] where its truncation
space is w; img uint8 [N, H, W, C]. Those of a translator are x uint8 [N, H, W, C] and img; if it takes any size, width
and height are -1, and are equal for the images of a batch.

Triton has no seeds, no labels by name, no truncation in z and no receipts.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

from gan_serve.atomic_files import directory_atomically
from gan_serve.checkpoint.config import PRECISION_FILES, TranslatorConfig
from gan_serve.checkpoint.files import read_any_config, read_verified
from gan_serve.errors import InvalidOption
from gan_serve.generator import Generator
from gan_serve.hub.resolve import resolve
from gan_serve.sampling.request import RequestBuilder
from gan_serve.translation.translator import Translator

VERSION = "1"
MAX_BATCH_SIZE = 64
_NAME = re.compile(r"[\w-][\w.-]*", re.ASCII)  # it is also part of Triton's URLs


def export_triton(
    model: str | Path,
    repository: str | Path,
    *,
    name: str | None = None,
    precision: str = "fp32",
    max_batch_size: int = MAX_BATCH_SIZE,
    instances: int = 1,
) -> Path:
    """Write a checkpoint into a Triton model repository, as the new folder ``name``, completely or not at all.

    Args:
        model, precision: as for ``Generator.from_pretrained``; the golden sample is verified first.
        repository: a folder for models, which may contain others.
        name: the model's name in Triton; the checkpoint's if None.
        max_batch_size: images in a batch, of one request or of several; 1 or more.
        instances: copies of the model that run in parallel, on each GPU if there are any; 1 or more.

    Returns:
        The new folder.

    Raises:
        CannotWrite: the repository has a model of this name, or writing fails. InvalidOption: an invalid name, or a
        number below 1. Others: as for ``Generator.from_pretrained``.
    """
    for option, value in {"max_batch_size": max_batch_size, "instances": instances}.items():
        if not 1 <= value < 2**31:
            raise InvalidOption(
                f"{option} must be at least 1, not {value}.", "The defaults are 64 images and 1 instance."
            )
    translates = isinstance(read_any_config(resolve(model)), TranslatorConfig)
    kind = Translator if translates else Generator
    loaded: Generator | Translator = kind.from_pretrained(model, precision=precision)
    name = loaded.name if name is None else name
    if not _NAME.fullmatch(name):
        raise InvalidOption(
            f"Triton does not allow the model name {name!r}.", "Give a name of letters, digits, dots and hyphens."
        )
    network = read_verified(loaded.directory, loaded.config, PRECISION_FILES[loaded.precision])
    with directory_atomically(Path(repository) / name) as directory:
        (directory / "config.pbtxt").write_text(triton_config(loaded, name, max_batch_size, instances))
        (directory / VERSION).mkdir()
        (directory / VERSION / "model.onnx").write_bytes(network)
    return Path(repository) / name


def triton_config(checkpoint: RequestBuilder | Translator, name: str, max_batch_size: int, instances: int) -> str:
    """Return the text of config.pbtxt, which follows Triton's model_config.proto.

    Triton requires a dimension after that of the batch: c and psi are [N, 1] for clients, and ``reshape`` makes them
    [N] for the network.
    """
    side, channels = checkpoint.img_resolution, checkpoint.img_channels
    class_names: tuple[str, ...] = ()
    if isinstance(checkpoint, Translator):
        side = -1 if checkpoint.any_size else side
        shape = [-1 if checkpoint.any_size else checkpoint.in_resolution] * 2
        inputs = [_tensor("x", "TYPE_UINT8", [*shape, checkpoint.in_channels])]
    else:
        class_names = checkpoint.class_names
        inputs = [_tensor("z", "TYPE_FP32", [checkpoint.z_dim])]
        if checkpoint.c_dim:
            inputs.append(_tensor("c", "TYPE_INT64", [1], scalar=True))
        if checkpoint.config.truncation_space == "w":
            inputs.append(_tensor("psi", "TYPE_FP32", [1], scalar=True))
    # Parameters that the backend does not use are visible to clients in the model configuration.
    facts = {
        "gan_serve_model": checkpoint.name,
        "gan_serve_digest": checkpoint.digest,
        "precision": checkpoint.precision,
        "license": checkpoint.config.license,
        "class_names": json.dumps(class_names),
    }
    parameters = {"intra_op_thread_count": "1", **facts}  # several instances are faster than several threads
    return "\n".join(
        [
            f"name: {_quote(name)}",
            'backend: "onnxruntime"',
            f"max_batch_size: {max_batch_size}",
            f"input [{', '.join(inputs)}]",
            f"output [{_tensor('img', 'TYPE_UINT8', [side, side, channels])}]",
            "dynamic_batching {}",  # requests in the queue form a batch; none waits for others
            f"instance_group [{{ count: {instances} }}]",  # on the GPUs if there are any, otherwise on the CPU
            # TF32 has 10 bits of precision, too few for the bound of fp32.
            'optimization { execution_accelerators { gpu_execution_accelerator [{ name: "cuda"'
            ' parameters { key: "use_tf32" value: "0" } }] } }',
            *(
                f"parameters {{ key: {_quote(key)} value {{ string_value: {_quote(value)} }} }}"
                for key, value in parameters.items()
            ),
            "",
        ]
    )


def _tensor(name: str, data_type: str, dims: list[int], *, scalar: bool = False) -> str:
    reshape = " reshape { shape: [] }" if scalar else ""
    return f"{{ name: {_quote(name)} data_type: {data_type} dims: {dims}{reshape} }}"


def _quote(text: str) -> str:
    """Return a string in protobuf's text format; bytes that are not printable ASCII become octal escapes."""
    escaped = {ord('"'): '\\"', ord("\\"): "\\\\"}
    parts = (escaped.get(byte) or (chr(byte) if 32 <= byte < 127 else f"\\{byte:03o}") for byte in text.encode())
    return f'"{"".join(parts)}"'
