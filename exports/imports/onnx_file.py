"""Import a generator from an ONNX file: recognised, wrapped to our signature, and compared with the original file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
import torch
from onnx import TensorProto

from gan_serve.checkpoint.config import TruncationSpace
from gan_serve.checkpoint.network_cost import NetworkBounds
from gan_serve.checkpoint.self_contained import check_self_contained
from gan_serve.errors import ImportRefused, InvalidCheckpoint
from gan_serve.exports.graph import Array
from gan_serve.exports.imports.onnx_signature import Input, Signature, recognise
from gan_serve.exports.imports.onnx_wrap import SCALES, without_default_inputs, wrapped
from gan_serve.exports.imports.options import PIXEL_RANGES, ImportOptions
from gan_serve.images.pixels import UInt8Array
from gan_serve.sampling.latents import latents_from_seeds
from gan_serve.sampling.session import BATCH_SIZE, first_line, open_session
from gan_serve.training.networks.layers import latents_as

MEASURED = 64  # images from which the range of their values is recognised
TOLERANCE = 0.01
MOVES = ("Transpose", "Reshape", "Identity", "Cast", "Squeeze", "Unsqueeze")
ENDS = {"Tanh": "tanh", "Sigmoid": "unit"}


@dataclass
class OriginalFile:
    """The original file, run by ONNX Runtime: a ``Reference``."""

    session: Any
    signature: Signature
    latents: str
    batch: int
    pixel_range: str = "bytes"
    truncation_space: TruncationSpace = "z"
    origin: str = "the original ONNX file"

    @property
    def z_dim(self) -> int:
        """Numbers in a latent."""
        return self.signature.z_dim

    @property
    def c_dim(self) -> int:
        """Number of classes."""
        return len(self.signature.class_names)

    def optional_inputs(self) -> dict[str, Array]:
        """Return no inputs: a file of others has none that a caller may leave out."""
        return {}

    def images(self, inputs: Mapping[str, Any]) -> UInt8Array:
        """Return the images of z and c as pixels, uint8 [N, H, W, C]."""
        images = self.outputs(inputs)
        if images.dtype != np.uint8:
            shift, scale = SCALES.get(self.pixel_range, (0.0, 1.0))
            images = (images.astype(np.float32) + np.float32(shift)) * np.float32(scale)
            images = images.round().clip(0, 255).astype(np.uint8)
        return images.transpose(0, 2, 3, 1) if self.signature.layout == "nchw" else images

    def outputs(self, inputs: Mapping[str, Any]) -> Array:
        """Return the images of z and c as the file computes them."""
        size = self.batch
        n, parts = len(inputs["z"]), []
        for start in range(0, n, size):
            part = self._fed({name: values[start : start + size] for name, values in inputs.items()})
            missing = size - min(size, n - start) if self.signature.batch else 0
            part = {name: np.concatenate([values, values[:1].repeat(missing, 0)]) for name, values in part.items()}
            try:
                [images] = self.session.run([self.signature.output], part)
            except Exception as error:  # the exceptions of ONNX Runtime have no public base class
                raise ImportRefused(
                    f"The original file cannot be run: {first_line(error)}.", "Export it again."
                ) from error
            parts.append(images[: size - missing])
        return np.concatenate(parts)

    def _fed(self, inputs: Mapping[str, Any]) -> dict[str, Array]:
        """Return the inputs of the file."""
        z, c = self.signature.z, self.signature.c
        latents = latents_as(self.latents, torch.from_numpy(inputs["z"])).numpy()
        fed = {z.name: _as(latents.reshape(len(latents), *z.sides[1:]), z)}
        if c is not None:
            labels = inputs["c"]
            if self.signature.labels == "onehot":
                labels = labels[:, None] == np.arange(self.c_dim)
            fed[c.name] = _as(labels.reshape(len(labels), *c.sides[1:]), c)
        return fed


def _as(values: Array, wanted: Input) -> Array:
    return values.astype(onnx.helper.tensor_dtype_to_np_dtype(wanted.kind))


def read_onnx(
    content: bytes, name: str, options: ImportOptions
) -> tuple[onnx.ModelProto, OriginalFile, tuple[str, ...]]:
    """Return a generator with our signature, the original to compare it with, and what was taken of it, in sentences.

    Args:
        content: the file. name: its name, for errors. options: what the file does not say.

    Raises:
        ImportRefused, InvalidOption: it is damaged, or a part is not recognised. InvalidCheckpoint: it reads other
        files, has other operators than checkpoints may, or takes more memory or work.
    """
    try:
        check_self_contained(content)
    except InvalidCheckpoint as error:
        raise InvalidCheckpoint(f"{name} is not read. {error.message}", error.hint) from error
    try:
        model = onnx.load_from_string(content)
        if not model.graph.node:
            raise ValueError("it has no node")
    except Exception as error:  # that of protobuf, which is no dependency of ours
        raise ImportRefused(f"{name} is no ONNX file of a generator, or it is damaged.", "Export it again.") from error
    without_default_inputs(model)
    signature = recognise(model, content, name, options)
    example = {"z": (1, signature.z_dim)} | ({"c": (1,)} if signature.c else {})
    guess = options.pixel_range or _range_of_end(model, signature)
    plain = wrapped(model, signature, guess or "tanh", options.latents, name)
    bounds = NetworkBounds(plain.SerializeToString(), example)  # before it is run
    if (batch := bounds.largest_batch(signature.image_shape, BATCH_SIZE["cpu"])) < BATCH_SIZE["cpu"]:
        raise ImportRefused(
            f"{name} takes too much memory to be compared with its checkpoint, in batches of {BATCH_SIZE['cpu']}.",
            "At most 2 GB are allowed.",
        )
    _keep_output(model, signature.output)
    session, _ = open_session(model.SerializeToString(), "cpu")
    original = OriginalFile(session, signature, options.latents, signature.batch or batch)
    original.pixel_range = guess or _measured_range(original, name)
    if original.pixel_range != (guess or "tanh"):
        plain = wrapped(model, signature, original.pixel_range, options.latents, name)
    return plain, original, _taken(signature, original, options)


def _keep_output(model: onnx.ModelProto, output: str) -> None:
    """Remove the other outputs of a file: each would stay in memory to the end of a batch."""
    kept = [value for value in model.graph.output if value.name == output]
    del model.graph.output[:]
    model.graph.output.extend(kept)


def _range_of_end(model: onnx.ModelProto, signature: Signature) -> str | None:
    """Return the range of the images by the last operator of the file; None if it does not limit them."""
    if signature.output_kind == TensorProto.UINT8:
        return "bytes"
    makers = {output: node for node in model.graph.node for output in node.output}
    node = makers.get(signature.output)
    for _ in range(len(makers)):  # not while: a damaged file may have a circle
        if node is None or node.op_type not in MOVES:
            break
        node = makers.get(node.input[0])
    return ENDS.get(node.op_type) if node is not None else None


def _measured_range(original: OriginalFile, name: str) -> str:
    """Return the range of the images by their values for some seeds."""
    inputs: dict[str, Any] = {"z": latents_from_seeds(range(MEASURED), original.z_dim)}
    if original.c_dim:
        inputs["c"] = np.arange(MEASURED) % original.c_dim
    images = original.outputs(inputs)
    low, high = float(images.min()), float(images.max())
    if -1 - TOLERANCE <= low < -TOLERANCE and high <= 1 + TOLERANCE:
        return "tanh"
    if low >= -TOLERANCE and high <= 1 + TOLERANCE:
        return "unit"
    if low >= -1 and 2 < high <= 256:
        return "bytes"
    raise ImportRefused(
        f"The images of {name} have values from {low:.3g} to {high:.3g}.",
        "State their range with --range: tanh (-1 to 1), unit (0 to 1) or bytes (0 to 255).",
    )


def _taken(signature: Signature, original: OriginalFile, options: ImportOptions) -> tuple[str, ...]:
    values = PIXEL_RANGES[original.pixel_range]
    sentences = [
        options.about_latents(_shown(signature.z)),
        f"Images: output `{signature.output}`, {signature.layout.upper()}, values from {values}.",
    ]
    if signature.c is not None:
        onehot = signature.labels == "onehot"
        sentences.append(options.about_labels(_shown(signature.c), original.c_dim, onehot=onehot))
    if signature.batch:
        sentences.append(f"The original computes batches of {signature.batch}; the checkpoint takes any number.")
    return tuple(sentences)


def _shown(value: Input) -> str:
    """Return an input in words: its name and its shape."""
    return f"`{value.name}` [{', '.join(map(str, ('N', *value.sides[1:])))}]"
