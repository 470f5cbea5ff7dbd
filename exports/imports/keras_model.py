"""Build the torch module of a Keras generator: z, and labels, to images float32 [N, C, R, R] in [-1, 1]."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from gan_serve.errors import ImportRefused, InvalidOption
from gan_serve.exports.imports.keras_file import KerasLayer
from gan_serve.exports.imports.keras_layers import Shape, build_layer
from gan_serve.exports.imports.options import PIXEL_RANGES, ImportOptions

OF_LABELS = re.compile(r"label|class|cond|one_?hot", re.IGNORECASE)
MAX_NUMBERS = 2**24  # in all layers: 1 GB for the batches in which it is compared with its checkpoint
ENDS = {nn.Tanh: "tanh", nn.Sigmoid: "unit"}
RANGES = {"tanh": (1.0, 0.0), "unit": (2.0, -1.0), "bytes": (1 / 127.5, -1.0)}  # scale and shift to [-1, 1]


class KerasGenerator(NamedTuple):
    """A generator, its latent, its classes, and what was taken of the file, in sentences."""

    module: nn.Module
    z_dim: int
    class_names: tuple[str, ...]
    taken: tuple[str, ...]


class _Network(nn.Module):
    """The layers of a model, computed in the order of their inputs."""

    def __init__(self, layers: dict[str, nn.Module], inputs: dict[str, tuple[str, ...]], roles: _Roles) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers.values())
        self.names, self.inputs, self.roles = list(layers), inputs, roles
        self.scale, self.shift = RANGES[roles.pixel_range]

    def forward(self, z: Tensor, c: Tensor | None = None) -> Tensor:
        """Return the images of latents [N, z_dim] and labels int64 [N]."""
        values = {self.roles.z: z.reshape(-1, *self.roles.z_shape)}
        if self.roles.c and c is not None:
            onehot = (c[:, None] == torch.arange(self.roles.classes)).float() if self.roles.onehot else c
            values[self.roles.c] = onehot.reshape(-1, *self.roles.c_shape)
        for name, layer in zip(self.names, self.layers, strict=True):
            values[name] = layer(*(values[each] for each in self.inputs[name]))
        images: Tensor = values[self.names[-1]]
        return images if self.scale == 1 else images * self.scale + self.shift


class _Roles(NamedTuple):
    """The layers for latents and labels (empty without classes), their shapes, and the range of the images."""

    z: str
    z_shape: Shape
    c: str
    c_shape: Shape
    onehot: bool
    classes: int
    pixel_range: str


def build_keras_generator(layers: Sequence[KerasLayer], name: str, options: ImportOptions) -> KerasGenerator:
    """Return the generator of a Keras model.

    Args:
        layers: those of ``read_keras``. name: of the file, for errors. options: what it does not say.

    Raises:
        ImportRefused: a layer, an input or the images are not recognised. InvalidOption: an option does not fit.
    """
    shapes = {layer.name: _input_shape(layer, name) for layer in layers if layer.kind == "InputLayer"}
    computed = {layer.name: layer for layer in layers if layer.kind != "InputLayer"}
    inputs, modules, ready, elements = dict(shapes), {}, dict(computed), 0
    while ready:  # the config of a functional model may list a layer before its inputs
        layer = next((each for each in ready.values() if each.inputs and set(each.inputs) <= shapes.keys()), None)
        if layer is None:
            raise ImportRefused(f"The layers of {name} do not follow from its inputs.", "Export the model to ONNX.")
        modules[layer.name], shapes[layer.name] = build_layer(layer, [shapes[each] for each in layer.inputs])
        del ready[layer.name]
        elements += math.prod(shapes[layer.name])
        if elements > MAX_NUMBERS:
            raise ImportRefused(
                f"{name} computes more than {MAX_NUMBERS:,} numbers for an image.", "Use a smaller one."
            )
    used = {each for layer in computed.values() for each in layer.inputs}
    outputs = [layer for layer in computed if layer not in used]
    if len(outputs) != 1:
        raise ImportRefused(f"{name} has {len(outputs)} outputs, not one.", "Give the generator alone.")
    modules[outputs[0]] = modules.pop(outputs[0])  # the output is computed last
    height, width, channels = (*shapes[outputs[0]], 0, 0, 0)[:3]
    if len(shapes[outputs[0]]) != 3 or height != width or channels not in (1, 3):
        raise ImportRefused(
            f"{name} gives outputs of the shape {shapes[outputs[0]]}, no square images with 1 or 3 channels.",
            "Give the generator, not the discriminator or both.",
        )
    roles = _roles(inputs, computed, name, options)
    roles = roles._replace(pixel_range=options.pixel_range or _range_of(modules, computed, outputs[0], name))
    class_names = options.class_names or tuple(map(str, range(roles.classes)))
    network = _Network(modules, {layer.name: layer.inputs for layer in computed.values()}, roles)
    return KerasGenerator(network.eval(), _size(roles.z_shape), class_names, _taken(roles, options))


def _input_shape(layer: KerasLayer, name: str) -> Shape:
    shape = layer.config.get("batch_shape") or layer.config.get("batch_input_shape")
    if not isinstance(shape, list) or not all(isinstance(side, int) and 0 < side < 2**16 for side in shape[1:]):
        raise ImportRefused(f"The input {layer.name} of {name} has the shape {shape}.", "Give it a fixed shape.")
    return tuple(shape[1:])


def _size(shape: Shape) -> int:
    return max(shape, default=1)


def _roles(inputs: dict[str, Shape], layers: dict[str, KerasLayer], name: str, options: ImportOptions) -> _Roles:
    """Return the inputs for latents and labels: by the options, by an Embedding behind one, or by their names."""
    tables = {
        layer.inputs[0]: layer.weights[0].shape[0]
        for layer in layers.values()
        if layer.kind == "Embedding" and layer.inputs[0] in inputs
    }
    for stated in (options.z_input, options.c_input):
        if stated is not None and stated not in inputs:
            raise InvalidOption.unknown(f"input in {name}", stated, inputs)
    rest = [each for each in inputs if each not in (options.z_input, options.c_input)]
    c = options.c_input
    if c is None and len(inputs) == 2:
        found = [each for each in rest if each in tables] or [each for each in rest if OF_LABELS.search(each)]
        c = found[0] if len(found) == 1 else (rest[0] if options.z_input else None)
    rest = [each for each in rest if each != c]
    z = options.z_input or (rest[0] if len(rest) == 1 else None)
    shown = ", ".join(f"{each} {shape}" for each, shape in inputs.items())
    if z is None or {z, c} - {None} != set(inputs) or sum(side > 1 for side in inputs[z]) > 1:
        raise ImportRefused(
            f"The inputs of {name} are not recognised as latents and labels: {shown or 'there are none'}.",
            "Name them with --z-input and --c-input.",
        )
    named = len(options.class_names)
    if c is None:
        if named:
            raise InvalidOption(f"{name} has no input for labels, but there are class names.", "Leave out --classes.")
        return _Roles(z, inputs[z], "", (), False, 0, "tanh")
    onehot = c not in tables and options.labels != "index" and _size(inputs[c]) > 1
    classes = tables.get(c, _size(inputs[c]) if onehot else named)
    if not classes or (named and named != classes):
        raise InvalidOption(
            f"{name} has {classes or 'an unknown number of'} classes, but {named} were named.", "Give --classes."
        )
    return _Roles(z, inputs[z], c, inputs[c], onehot, classes, "tanh")


def _range_of(modules: dict[str, nn.Module], layers: dict[str, KerasLayer], output: str, name: str) -> str:
    """Return the range of the images by the last activation."""
    name_of = output
    while layers[name_of].kind in ("Reshape", "Dropout") and layers[name_of].inputs[0] in layers:
        name_of = layers[name_of].inputs[0]
    module: Any = modules[name_of]
    last = module[-1] if isinstance(module, nn.Sequential) else module
    if type(last) not in ENDS:
        raise ImportRefused(
            f"The images of {name} end with {layers[name_of].kind} {name_of}, whose range is not limited.",
            "State it with --range: tanh (-1 to 1), unit (0 to 1) or bytes (0 to 255).",
        )
    return ENDS[type(last)]


def _taken(roles: _Roles, options: ImportOptions) -> tuple[str, ...]:
    sentences = [
        options.about_latents(f"`{roles.z}` {list(roles.z_shape)}"),
        f"Images: values from {PIXEL_RANGES[roles.pixel_range]}.",
        "Transposed convolutions as TensorFlow and JAX compute them.",
    ]
    if roles.c:
        sentences.append(options.about_labels(f"`{roles.c}`", roles.classes, onehot=roles.onehot))
    return tuple(sentences)
