"""Recognise the inputs and the output of a generator in an ONNX file."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

import onnx
from onnx import TensorProto, ValueInfoProto

from gan_serve.checkpoint.network_cost import GIGABYTE, MAX_BATCH_BYTES, network_cost
from gan_serve.errors import ImportRefused, InvalidOption
from gan_serve.exports.imports.options import ImportOptions

FLOATS = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE)
INTEGERS = (TensorProto.INT64, TensorProto.INT32)
OF_LABELS = re.compile(r"label|class|cond|one_?hot|attr|^[cy]$", re.IGNORECASE)
IN_PYTHON = "Or wrap the network in torch and use gan_serve.exports.export_module (docs/import.md)."

Labels = Literal["index", "onehot"]
MAX_CLASSES = 65536  # as the config of a checkpoint allows
Layout = Literal["nchw", "nhwc"]


@dataclass(frozen=True)
class Input:
    """An input of the file: its name, the type of its numbers, and the sides of its shape, 0 where they are free."""

    name: str
    kind: int
    sides: tuple[int, ...]

    def at(self, n: int) -> tuple[int, ...]:
        """Return its shape for n images."""
        return (n, *self.sides[1:])


@dataclass(frozen=True)
class Signature:
    """The inputs and the output of a generator.

    Attributes:
        z: latents [N, D] or [N, D, 1, 1]. c: labels, int [N] or [N, 1], or one-hot [N, K]; None without classes.
        labels: the form of the labels. class_names: of each label.
        batch: the number of images that the file computes at once; 0 if it is free.
        output: the name of the images. output_kind: the type of their numbers.
        image_shape: (H, W, C). layout: the order of their axes.
    """

    z: Input
    c: Input | None
    labels: Labels | None
    class_names: tuple[str, ...]
    batch: int
    output: str
    output_kind: int
    image_shape: tuple[int, int, int]
    layout: Layout

    @property
    def z_dim(self) -> int:
        """Numbers in a latent."""
        return self.z.sides[1]


def recognise(model: onnx.ModelProto, content: bytes, name: str, options: ImportOptions) -> Signature:
    """Return the signature of a file.

    Args:
        model: the file, whose inputs are no initializers. content: its bytes. name: its name, for errors.
        options: what is stated about it.

    Raises:
        ImportRefused: an input or the output is not recognised. InvalidOption: an option does not fit the file.
        InvalidCheckpoint: it uses other operators than checkpoints may, or its shapes do not fit together.
    """
    inputs = [_input(value, name) for value in model.graph.input]
    z, c = _roles(inputs, name, options)
    labels, class_names = _classes(model, c, name, options)
    fixed = {each.sides[0] for each in inputs} - {0}
    if len(fixed) > 1:
        raise ImportRefused(f"The inputs of {name} have batches of {fixed}.", f"Export it with one. {IN_PYTHON}")
    batch = max(fixed, default=0)
    shapes = {each.name: each.at(batch or 2) for each in inputs}
    cost = network_cost(content, shapes, *(value.name for value in model.graph.output))
    if cost.peak > MAX_BATCH_BYTES:
        raise ImportRefused(
            f"{name} takes {cost.peak / GIGABYTE:,.0f} GB for {batch or 2} images; at most "
            f"{MAX_BATCH_BYTES // GIGABYTE} GB are allowed.",
            "Export it with a smaller batch, and the images as its only output.",
        )
    found = cost.outputs
    images = {output: shape for output, shape in found.items() if len(shape) == 4 and shape[0] == (batch or 2)}
    if len(images) != 1:
        shown = ", ".join(f"{output} {list(shape)}" for output, shape in found.items())
        raise ImportRefused(
            f"{name} does not give images [N, C, H, W] or [N, H, W, C]: its outputs are {shown}.",
            f"Export it with the images as its only output. {IN_PYTHON}",
        )
    [(output, shape)] = images.items()
    image_shape, layout = _image(shape, name, options)
    kind = next(value.type.tensor_type.elem_type for value in model.graph.output if value.name == output)
    if kind not in (*FLOATS, TensorProto.UINT8):
        raise ImportRefused(f"The images of {name} are of type {_type(kind)}.", "They must be float or uint8.")
    return Signature(z, c, labels, class_names, batch, output, kind, image_shape, layout)


def _input(value: ValueInfoProto, name: str) -> Input:
    tensor = value.type.tensor_type
    if tensor.elem_type not in (*FLOATS, *INTEGERS):
        raise ImportRefused(
            f"The input {value.name} of {name} is of type {_type(tensor.elem_type)}.",
            "Latents must be float, labels int64, int32 or one-hot.",
        )
    return Input(value.name, tensor.elem_type, tuple(dim.dim_value for dim in tensor.shape.dim))


def _type(kind: int) -> str:
    return TensorProto.DataType.Name(kind).lower() if kind in TensorProto.DataType.values() else str(kind)


def _roles(inputs: list[Input], name: str, options: ImportOptions) -> tuple[Input, Input | None]:
    """Return the inputs for latents and for labels, by the options, the types, and the names."""
    by_name = {each.name: each for each in inputs}
    for stated in (options.z_input, options.c_input):
        if stated is not None and stated not in by_name:
            raise InvalidOption.unknown(f"input in {name}", stated, by_name)
    rest = [each for each in inputs if each.name not in (options.z_input, options.c_input)]
    z = by_name[options.z_input] if options.z_input else None
    c = by_name[options.c_input] if options.c_input else None
    if c is None:
        candidates = [each for each in rest if each.kind in INTEGERS]
        floats = [each for each in rest if each.kind in FLOATS]
        if not candidates and len(floats) + (z is not None) > 1:
            candidates = floats if z else [each for each in floats if OF_LABELS.search(each.name)]
        c = candidates[0] if len(candidates) == 1 else None
        rest = [each for each in rest if each is not c]
    if z is None and len(rest) == 1:
        z, rest = rest[0], []
    if z is None or rest:
        shown = ", ".join(f"{each.name} {list(each.sides)}" for each in inputs)
        raise ImportRefused(
            f"The inputs of {name} are not recognised as latents and labels: {shown or 'there are none'}.",
            f"Name them with --z-input and --c-input. {IN_PYTHON}",
        )
    if z.kind not in FLOATS or len(z.sides) not in (2, 4) or z.sides[2:] not in ((), (1, 1)) or not z.sides[1]:
        raise ImportRefused(
            f"The latents {z.name} of {name} have the shape {list(z.sides)}.",
            f"They must be float [N, D] or [N, D, 1, 1], with D stated. {IN_PYTHON}",
        )
    return z, c


def _classes(
    model: onnx.ModelProto, c: Input | None, name: str, options: ImportOptions
) -> tuple[Labels | None, tuple[str, ...]]:
    """Return the form of the labels and the names of the classes."""
    stated = options.class_names
    if c is None:
        if stated:
            raise InvalidOption(f"{name} has no input for labels, but there are class names.", "Leave out --classes.")
        return None, ()
    onehot = len(c.sides) == 2 and c.sides[1] != 1
    if len(c.sides) not in (1, 2) or options.labels == ("index" if onehot else "onehot"):
        raise ImportRefused(
            f"The labels {c.name} of {name} have the shape {list(c.sides)}.",
            f"They must be an index [N] or [N, 1], or one-hot [N, K]. {IN_PYTHON}",
        )
    count = c.sides[1] if onehot else _rows(model, c.name)
    if count > MAX_CLASSES:
        raise ImportRefused(f"{name} has {count:,} classes; at most {MAX_CLASSES:,} are read.", "Use another file.")
    if not count and not stated:
        raise InvalidOption(
            f"{name} does not say how many classes its labels {c.name} have.", "Give --classes, as names or a number."
        )
    if stated and count and len(stated) != count:
        raise InvalidOption(f"{name} has {count} classes, but {len(stated)} names were given.", "Name each of them.")
    return "onehot" if onehot else "index", stated or tuple(map(str, range(count)))


def _rows(model: onnx.ModelProto, name: str) -> int:
    """Return the rows of the table that an input of labels chooses from; 0 if there is no such table."""
    sizes = {tensor.name: tensor.dims[0] for tensor in model.graph.initializer if len(tensor.dims) == 2}
    for node in model.graph.node:
        if node.op_type == "Gather" and node.input[1] == name and node.input[0] in sizes:
            return int(sizes[node.input[0]])
    return 0


def _image(shape: tuple[int, ...], name: str, options: ImportOptions) -> tuple[tuple[int, int, int], Layout]:
    """Return the shape of an image, (H, W, C), and the order of its axes."""
    sizes: dict[Layout, tuple[int, int, int]] = {
        "nchw": (shape[2], shape[3], shape[1]),
        "nhwc": (shape[1], shape[2], shape[3]),
    }
    for layout, size in sizes.items():
        if options.layout in (None, layout) and size[0] == size[1] and size[2] in (1, 3):
            return size, layout
    raise ImportRefused(
        f"The images of {name} have the shape {['N', *shape[1:]]}.".replace("'", ""),
        f"They must be square, with 1 or 3 channels. {IN_PYTHON}",
    )
