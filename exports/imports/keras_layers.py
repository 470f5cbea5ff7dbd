"""Layers of Keras as torch modules. Maps [N, H, W, C] of Keras are [N, C, H, W] here; shapes are Keras's, without N."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from gan_serve.errors import ImportRefused
from gan_serve.exports.graph import Array
from gan_serve.exports.imports.keras_file import KerasLayer

Shape = tuple[int, ...]
Built = tuple[nn.Module, Shape]  # a layer and the shape of its output
MAX_SIDE = 4096
MAX_ELEMENTS = 2**26  # of an activation

ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "linear": nn.Identity,
    "relu": nn.ReLU,
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
    "leaky_relu": lambda: nn.LeakyReLU(0.2),
    "elu": nn.ELU,
    "selu": nn.SELU,
    "softplus": nn.Softplus,
    "silu": nn.SiLU,
    "swish": nn.SiLU,
}


def build_layer(layer: KerasLayer, shapes: list[Shape]) -> Built:
    """Return a layer as a module, and the shape of its output.

    Args:
        layer: with its weights. shapes: of its inputs.

    Raises:
        ImportRefused: the layer, or a setting of it, is not read.
    """
    build = BUILDERS.get(layer.kind)
    if build is None:
        raise ImportRefused(
            f"The layer {layer.name} is a {layer.kind}, which is not read.",
            f"Layers that are read: {', '.join(BUILDERS)}. Export the model to ONNX, and import that file.",
        )
    try:
        module, shape = build(layer, shapes)
        if min(shape, default=1) < 1 or max(shape, default=1) > MAX_ELEMENTS or math.prod(shape) > MAX_ELEMENTS:
            raise ValueError(f"its output has the shape {shape}")
        if len(shape) == 3 and max(shape[:2]) > MAX_SIDE:
            raise ValueError(f"its output has the shape {shape}")
    except (KeyError, ValueError, TypeError, IndexError, RuntimeError, AttributeError) as error:
        reason = f"it has no {error}" if isinstance(error, KeyError) else " ".join(str(error).split())[:200]
        raise ImportRefused(
            f"The {layer.kind} {layer.name} cannot be read: {reason}.",
            "Export the model to ONNX, and import that file.",
        ) from error
    if layer.kind in WITH_ACTIVATION:
        module = nn.Sequential(module, activation(layer.config.get("activation")))
    return module, shape


def activation(name: Any) -> nn.Module:
    """Return an activation by the name that a config has.

    Raises:
        ImportRefused: there is none of this name, or it is the user's own.
    """
    if isinstance(name, Mapping):  # an activation as an object: its class in snake case
        name = str(name.get("config") if isinstance(name.get("config"), str) else name.get("class_name"))
    if name is not None and name not in ACTIVATIONS:
        raise ImportRefused(
            f"There is no activation {str(name)[:60]!r}; those that are read are {', '.join(ACTIVATIONS)}.",
            "Export the model to ONNX, and import that file.",
        )
    return ACTIVATIONS[name or "linear"]()


class _Reshape(nn.Module):
    """Reshape in the order of Keras, in which channels come last."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape

    def forward(self, x: Tensor) -> Tensor:
        """Return x with another shape: [N, F], [N, T, F], or [N, C, H, W] for (H, W, C)."""
        x = x.permute(0, 2, 3, 1) if x.ndim == 4 else x
        x = x.reshape(-1, *self.shape)
        return x.permute(0, 3, 1, 2) if x.ndim == 4 else x


class _PReLU(nn.Module):
    """max(x, 0) + alpha min(x, 0), with an alpha that is broadcast."""

    def __init__(self, alpha: Tensor) -> None:
        super().__init__()
        self.register_buffer("alpha", alpha)
        self.alpha: Tensor

    def forward(self, x: Tensor) -> Tensor:
        """Return the activation of x."""
        return torch.relu(x) - self.alpha * torch.relu(-x)


class _Combine(nn.Module):
    """Concatenate along the last axis of Keras, add, or multiply."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind

    def forward(self, *x: Tensor) -> Tensor:
        """Return the combination of the inputs."""
        if self.kind == "Concatenate":
            return torch.cat(x, dim=1 if x[0].ndim == 4 else -1)
        combined = x[0]
        for each in x[1:]:
            combined = combined + each if self.kind == "Add" else combined * each
        return combined


def _tensor(array: Array) -> Tensor:
    return torch.from_numpy(array.copy())


def _filled(module: nn.Module, weight: Tensor, bias: Array | None) -> nn.Module:
    """Give a layer its weight and bias; both of these shapes."""
    state = {"weight": weight.contiguous()} | ({} if bias is None else {"bias": _tensor(bias)})
    module.load_state_dict(state)
    return module


def _kernel_and_bias(layer: KerasLayer, rank: int) -> tuple[Tensor, Array | None]:
    use_bias = layer.config.get("use_bias", True)
    if len(layer.weights) != 1 + use_bias or layer.weights[0].ndim != rank:
        raise ValueError(f"its weights have the shapes {[each.shape for each in layer.weights]}")
    return _tensor(layer.weights[0]), layer.weights[1] if use_bias else None


def _pair(value: Any) -> tuple[int, int]:
    values = (value, value) if isinstance(value, int) else tuple(value)
    if len(values) != 2 or not all(isinstance(each, int) and each > 0 for each in values):
        raise ValueError(f"{value!r} is not two positive numbers")
    return values


def _check_convolution(config: Mapping[str, Any], shape: Shape) -> None:
    if config.get("data_format", "channels_last") not in ("channels_last", None) or len(shape) != 3:
        raise ValueError("channels must come last")
    if config.get("padding") not in ("same", "valid"):
        raise ValueError(f"there is no padding {config.get('padding')!r}")


def _dense(layer: KerasLayer, shapes: list[Shape]) -> Built:
    kernel, bias = _kernel_and_bias(layer, 2)
    [shape] = shapes
    if len(shape) == 3:
        raise ValueError("its input is a map")
    module = nn.Linear(kernel.shape[0], kernel.shape[1], bias=bias is not None)
    return _filled(module, kernel.T, bias), (*shape[:-1], kernel.shape[1])


def _conv(layer: KerasLayer, shapes: list[Shape]) -> Built:
    config, ((height, width, channels),) = layer.config, shapes
    _check_convolution(config, shapes[0])
    kernel, bias = _kernel_and_bias(layer, 4)
    stride, dilation = _pair(config.get("strides", 1)), _pair(config.get("dilation_rate", 1))
    groups, sides, pads = int(config.get("groups", 1)), [], []
    for side, size, step, spread in zip((height, width), kernel.shape[:2], stride, dilation, strict=True):
        reach = (size - 1) * spread + 1
        out = -(-side // step) if config["padding"] == "same" else (side - reach) // step + 1
        total = max((out - 1) * step + reach - side, 0) if config["padding"] == "same" else 0
        sides.append(out)
        pads.append((total // 2, total - total // 2))  # an odd row of zeros lies below and on the right
    (top, bottom), (left, right) = pads
    symmetric = top == bottom and left == right
    module: nn.Module = nn.Conv2d(
        channels,
        kernel.shape[3],
        (kernel.shape[0], kernel.shape[1]),
        stride,
        (top, left) if symmetric else 0,
        dilation,
        groups,
        bias is not None,
    )
    module = _filled(module, kernel.permute(3, 2, 0, 1), bias)
    if not symmetric:
        module = nn.Sequential(nn.ZeroPad2d((left, right, top, bottom)), module)
    return module, (*sides, kernel.shape[3])


def _conv_transpose(layer: KerasLayer, shapes: list[Shape]) -> Built:
    """Return a transposed convolution as TensorFlow and JAX compute it: the gradient of the convolution.

    With "same" padding, k - s rows are cropped, an odd one below and on the right. Torch crops both sides alike, so a
    row of zeros above and on the left of the kernel makes up for it.
    """
    config, ((height, width, channels),) = layer.config, shapes
    _check_convolution(config, shapes[0])
    if config.get("output_padding") is not None or _pair(config.get("dilation_rate", 1)) != (1, 1):
        raise ValueError("it has an output padding or dilation")
    kernel, bias = _kernel_and_bias(layer, 4)  # [H, W, out, in]
    stride, padding, extra, odd, sides = _pair(config.get("strides", 1)), [], [], [], []
    for side, size, step in zip((height, width), kernel.shape[:2], stride, strict=True):
        cropped = max(size - step, 0) if config["padding"] == "same" else 0
        odd.append(cropped % 2)
        padding.append((cropped + 1) // 2)
        extra.append(max(step - size, 0))
        sides.append(side * step + max(size - step, 0) - cropped)
    kernel = nn.functional.pad(kernel.permute(3, 2, 0, 1), (odd[1], 0, odd[0], 0))
    module = nn.ConvTranspose2d(
        channels,
        kernel.shape[1],
        (kernel.shape[2], kernel.shape[3]),
        stride,
        (padding[0], padding[1]),
        (extra[0], extra[1]),
        bias=bias is not None,
    )
    return _filled(module, kernel, bias), (*sides, kernel.shape[1])


def _batch_norm(layer: KerasLayer, shapes: list[Shape]) -> Built:
    config, [shape] = layer.config, shapes
    axis = config.get("axis", -1)
    axis = axis[0] if isinstance(axis, list) else axis
    if axis not in (-1, len(shape)) or len(shape) == 2:
        raise ValueError("its axis is not the last one")
    channels, weights = shape[-1], list(layer.weights)
    kind = nn.BatchNorm2d if len(shape) == 3 else nn.BatchNorm1d
    module = kind(channels, eps=float(config.get("epsilon", 1e-3)))
    state = module.state_dict()
    parts = ["weight"] * bool(config.get("scale", True)) + ["bias"] * bool(config.get("center", True))
    for part, values in zip([*parts, "running_mean", "running_var"], weights, strict=True):
        state[part] = _tensor(values)
    module.load_state_dict(state)
    return module, shape


def _relu(layer: KerasLayer, shapes: list[Shape]) -> Built:
    config = layer.config
    most, slope = config.get("max_value"), config.get("negative_slope") or 0.0
    if config.get("threshold") or (most is not None and (most != 6 or slope)):
        raise ValueError("it has a threshold or a largest value other than 6")
    if most is not None:
        return nn.ReLU6(), shapes[0]
    return nn.LeakyReLU(float(slope)) if slope else nn.ReLU(), shapes[0]


def _leaky_relu(layer: KerasLayer, shapes: list[Shape]) -> Built:
    slope = layer.config.get("negative_slope", layer.config.get("alpha", 0.3))
    return nn.LeakyReLU(float(slope)), shapes[0]


def _prelu(layer: KerasLayer, shapes: list[Shape]) -> Built:
    [values], [shape] = layer.weights, shapes
    if len(values.shape) != len(shape) or any(
        own not in (1, side) for own, side in zip(values.shape, shape, strict=True)
    ):
        raise ValueError(f"its weights have the shape {values.shape}")
    alpha = _tensor(values)
    return _PReLU(alpha.permute(2, 0, 1) if alpha.ndim == 3 else alpha), shape


def _reshape(layer: KerasLayer, shapes: list[Shape]) -> Built:
    total, wanted = math.prod(shapes[0]), [int(side) for side in layer.config["target_shape"]]
    if wanted.count(-1) == 1:
        wanted[wanted.index(-1)] = total // max(-math.prod(wanted), 1)
    if math.prod(wanted) != total or len(wanted) not in (1, 2, 3):
        raise ValueError(f"{shapes[0]} cannot become {tuple(wanted)}")
    return _Reshape(tuple(wanted)), tuple(wanted)


def _flatten(layer: KerasLayer, shapes: list[Shape]) -> Built:
    shape = (math.prod(shapes[0]),)
    return _Reshape(shape), shape


def _upsampling(layer: KerasLayer, shapes: list[Shape]) -> Built:
    (height, width, channels), size = shapes[0], _pair(layer.config.get("size", 2))
    mode = layer.config.get("interpolation", "nearest")
    if mode not in ("nearest", "bilinear"):
        raise ValueError(f"its interpolation is {mode!r}")
    if layer.config.get("data_format") not in ("channels_last", None):
        raise ValueError("channels must come last")
    module = nn.Upsample(scale_factor=(float(size[0]), float(size[1])), mode=mode)
    return module, (height * size[0], width * size[1], channels)


def _embedding(layer: KerasLayer, shapes: list[Shape]) -> Built:
    [table] = layer.weights
    return _filled(nn.Embedding(*table.shape), _tensor(table), None), (*shapes[0], table.shape[1])


def _combine(layer: KerasLayer, shapes: list[Shape]) -> Built:
    first, last = shapes[0], [shape[-1] for shape in shapes]
    if layer.kind == "Concatenate":
        if layer.config.get("axis", -1) not in (-1, len(first)) or len({shape[:-1] for shape in shapes}) != 1:
            raise ValueError(f"it joins {shapes} along the axis {layer.config.get('axis')}")
        return _Combine(layer.kind), (*first[:-1], sum(last))
    if len(set(shapes)) != 1:
        raise ValueError(f"its inputs have the shapes {shapes}")
    return _Combine(layer.kind), first


BUILDERS: dict[str, Callable[[KerasLayer, list[Shape]], Built]] = {
    "Dense": _dense,
    "Conv2D": _conv,
    "Conv2DTranspose": _conv_transpose,
    "UpSampling2D": _upsampling,
    "BatchNormalization": _batch_norm,
    "LeakyReLU": _leaky_relu,
    "ReLU": _relu,
    "PReLU": _prelu,
    "Reshape": _reshape,
    "Flatten": _flatten,
    "Activation": lambda layer, shapes: (nn.Identity(), shapes[0]),
    "Dropout": lambda layer, shapes: (nn.Identity(), shapes[0]),
    "Embedding": _embedding,
    "Concatenate": _combine,
    "Add": _combine,
    "Multiply": _combine,
}
WITH_ACTIVATION = ("Dense", "Conv2D", "Conv2DTranspose", "Activation")
