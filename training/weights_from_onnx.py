"""Read the weights of a generator from the ONNX file of its checkpoint.

The wheel has no ``generator.safetensors``, and an exported file has other layers than the network: BatchNorm is folded
into the layer before it, weights of an equalised learning rate are multiplied by their scale, and transposed
convolutions are rewritten (``exports/rewrite.py``). The weighted layers of both run in the same order, so each layer of
the network takes the first weight of the file that fits its shape.

The statistics of a folded BatchNorm are not in the file. It gets those of 10,000 latents, and the scale and shift that
leave the images as they are.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import torch
from onnx import NodeProto, helper, numpy_helper
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from gan_serve.errors import InvalidCheckpoint
from gan_serve.sampling.latents import latents_from_seeds
from gan_serve.training.networks.stylegan import SynthesisNetwork
from gan_serve.training.networks.subpixel import NEAREST_TAPS, PHASES, phase_taps

Array = npt.NDArray[Any]
Layer = nn.Linear | nn.Conv2d | nn.ConvTranspose2d

LATENTS = 10_000  # for the statistics of BatchNorm
BATCH = 200
WEIGHTED = ("Gemm", "Conv", "ConvTranspose")
MEAN = "mean_of_"  # the beginning of the names of constants that compute means (exports/to_onnx.py)
SAME_IN_ALL = ("num_batches_tracked", "noise_")  # parts of the names of buffers that no training changes


def load_weights_from_onnx(model: bytes, generator: nn.Module) -> None:
    """Load the weights of an exported generator into a new network of the same architecture.

    Args:
        model: the content of ``generator.onnx``.
        generator: on the CPU; it is left in eval mode.

    Raises:
        InvalidCheckpoint: the file has other layers than the network, or the network has weights that cannot be read
            back, such as those with spectral normalisation.
    """
    file = _File(model)
    names = {module: name for name, module in generator.named_modules()}
    expected = generator.state_dict()
    state = {name: value for name, value in expected.items() if any(part in name for part in SAME_IN_ALL)}
    biases: dict[nn.Module, Tensor] = {}
    folded: dict[_BatchNorm, Tensor] = {}  # with the bias of the layer before it
    for module, before in _in_order(generator):
        name = names[module]
        if not isinstance(module, _BatchNorm):
            weight, bias = file.layer(module, name)
            state[f"{name}.weight"] = weight / getattr(module, "scale", 1.0)
            biases[module] = bias / getattr(module, "bias_scale", 1.0)
        elif (values := file.norm(module, before)) is not None:
            state |= {f"{name}.{part}": value for part, value in values.items()}
        elif before is not None:
            of_channel = biases[before].reshape(module.num_features, -1)  # a dense layer has columns of each channel
            folded[module] = of_channel[:, 0]
            biases[before] = (of_channel - of_channel[:, :1]).flatten()
            state |= {f"{name}.{part}": value for part, value in module.state_dict().items()}
        else:
            raise _unreadable(f"{name} is neither in the file nor behind a layer")
    for module, bias in biases.items():
        if getattr(module, "bias", None) is not None:
            state[f"{names[module]}.bias"] = bias
        elif bias.any():
            raise _unreadable(f"the layer of {names[module]} has a bias in the file")
    for name, module in generator.named_modules():
        if isinstance(module, SynthesisNetwork):
            state |= {f"{name}.{part}": value for part, value in file.styles(module).items()}
    missing = sorted(expected.keys() - state.keys(), key=lambda name: (name.endswith("_extra_state"), name))
    state |= {name: file.constant(name) for name in missing}
    try:
        generator.load_state_dict(state)
    except RuntimeError as error:
        raise _unreadable(str(error).replace("\n", " ")) from error
    _set_statistics(generator, folded)


class _File:
    """The weights of an ONNX file in the order of execution; each is read once."""

    def __init__(self, model: bytes) -> None:
        graph = onnx.load_model_from_string(model).graph
        self._constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
        self._nodes = list(graph.node)
        self._norms = [node for node in self._nodes if node.op_type == "BatchNormalization"]
        self._of_layer: dict[nn.Module, NodeProto] = {}
        self._weighted: list[NodeProto] = []
        seen: set[tuple[str, bytes]] = set()
        for node in self._nodes:
            weight = self._constants.get(node.input[1]) if node.op_type in WEIGHTED else None
            if weight is None or node.input[1].startswith(MEAN):
                continue
            # A network with style mixing maps two latents with the same weights.
            if (node.op_type, weight.tobytes()) not in seen:
                self._weighted.append(node)
            seen.add((node.op_type, weight.tobytes()))

    def layer(self, layer: Layer, name: str) -> tuple[Tensor, Tensor]:
        """Return weight and bias of the first unread nodes that fit a layer; a missing bias is 0."""
        for place in range(len(self._weighted)):
            nodes = self._weighted[place : place + len(PHASES)]
            weight, used = self._fitting(layer, nodes)
            if weight is None:
                continue
            del self._weighted[place : place + used]
            self._of_layer[layer] = nodes[0]
            outputs = layer.out_features if isinstance(layer, nn.Linear) else layer.out_channels
            bias = self._constants[nodes[0].input[2]] if len(nodes[0].input) > 2 else np.zeros(outputs, np.float32)
            bias = bias[:outputs]  # one for each phase, all equal
            return _tensor(self._channels_first(nodes[0], weight)), _tensor(self._channels_first(nodes[0], bias))
        raise _unreadable(f"no weight in the file fits {name}")

    def norm(self, norm: _BatchNorm, before: Layer | None) -> dict[str, Tensor] | None:
        """Return the values of a BatchNorm by their names; None if it is folded into the layer ``before`` it."""
        nodes = self._norms
        if before is not None:
            behind = self._behind(self._of_layer[before])
            nodes = [node for node in self._norms if node.input[0] in behind]
        for node in nodes:
            values = [self._constants[name] for name in node.input[1:]]
            if len(values[0]) == norm.num_features:
                self._norms.remove(node)
                parts = ("weight", "bias", "running_mean", "running_var")
                return {part: _tensor(value) for part, value in zip(parts, values, strict=True)}
        return None

    def styles(self, synthesis: SynthesisNetwork) -> dict[str, Tensor]:
        """Return noise strength and bias of each styled layer; the file has ``strength * noise + bias``."""
        maps = [
            self._constants[name]
            for node in self._nodes
            if node.op_type == "Add"
            for name in node.input
            if name in self._constants and self._constants[name].ndim == 4
        ]
        state = {}
        for i, total in enumerate(maps[: synthesis.num_layers]):
            values = total[0].reshape(total.shape[1], -1).astype(np.float64)  # [C, H·W]
            noise = synthesis.get_buffer(f"noise_{i}").numpy().astype(np.float64).ravel()
            spread = noise - noise.mean()
            strength = values @ spread / (spread @ spread)
            bias = values.mean(axis=1) - strength * noise.mean()
            for part, value in (("noise_strength", strength), ("bias", bias)):
                state[f"layers.{i}.{part}"] = _tensor(value.astype(np.float32)).reshape(1, -1, 1, 1)
        return state

    def constant(self, name: str) -> Tensor:
        """Return a value that belongs to no layer, such as a mean latent, by its name in the network."""
        if f"generator.{name}" not in self._constants:
            raise _unreadable(f"{name} is not in the file")
        return _tensor(self._constants[f"generator.{name}"])

    def _fitting(self, layer: Layer, nodes: list[NodeProto]) -> tuple[Array | None, int]:
        """Return the weight of a layer from the first of ``nodes``, or from the first four, and how many it needed."""
        weight, op_type = self._constants[nodes[0].input[1]], nodes[0].op_type
        shape = tuple(layer.weight.shape)
        if isinstance(layer, nn.Linear):
            return (weight, 1) if op_type == "Gemm" and weight.shape == shape else (None, 0)
        if isinstance(layer, nn.Conv2d):
            if op_type == "Conv" and weight.shape == shape:
                return weight, 1
            if shape[2:] != (3, 3):
                return None, 0
            kernel, used = self._transposed((shape[1], shape[0], 4, 4), 2, 1, nodes)
            if kernel is None:
                return None, 0
            inverse = np.linalg.pinv(NEAREST_TAPS.astype(np.float64))
            return np.einsum("ak,bl,iokl->oiab", inverse, inverse, kernel).astype(np.float32), used
        return self._transposed(shape, layer.stride[0], int(layer.padding[0]), nodes)

    def _transposed(
        self, shape: tuple[int, ...], stride: int, padding: int, nodes: list[NodeProto]
    ) -> tuple[Array | None, int]:
        """Return the kernel [in, out, size, size] of a transposed convolution; see ``_fitting``."""
        weight, (into, out, size, _) = self._constants[nodes[0].input[1]], shape
        if nodes[0].op_type == "ConvTranspose":
            return (weight, 1) if weight.shape == shape else (None, 0)
        if nodes[0].op_type != "Conv":
            return None, 0
        if stride == 1:
            fits = weight.shape == (out, into, size, size)
            return (weight[:, :, ::-1, ::-1].transpose(1, 0, 2, 3), 1) if fits else (None, 0)
        taps = [phase_taps(size, stride, padding, phase) for phase in (0, 1)]
        expected = [(out, into, len(taps[row]), len(taps[column])) for row, column in PHASES]
        if weight.shape == (len(PHASES) * out, *expected[0][1:]):  # all phases in one convolution, in reverse
            parts, used = np.split(weight, len(PHASES))[::-1], 1
        else:
            parts, used = [self._constants[node.input[1]] for node in nodes], len(PHASES)
        if [part.shape for part in parts] != expected:
            return None, 0
        kernel = np.zeros(shape, np.float32)
        for (row, column), part in zip(PHASES, parts, strict=True):
            kernel[:, :, np.array(taps[row])[:, None], np.array(taps[column])] = part.transpose(1, 0, 2, 3)
        return kernel, used

    def _channels_first(self, node: NodeProto, values: Array) -> Array:
        """Reorder the outputs of a dense layer, [H, W, C] in the file if a Transpose follows, to [C, H, W]."""
        shape = None
        while node.op_type in ("Gemm", "Relu", "LeakyRelu", "Reshape"):
            if node.op_type == "Reshape":
                shape = self._constants.get(node.input[1])
            users = self._users(node)
            if len(users) != 1:
                return values
            node = users[0]
        if shape is None or len(shape) != 4 or node.op_type != "Transpose":
            return values
        perm = next(helper.get_attribute_value(held) for held in node.attribute if held.name == "perm")
        if list(perm) != [0, 3, 1, 2]:
            return values
        _, height, width, channels = shape
        by_pixel = values.reshape(height, width, channels, *values.shape[1:])
        return np.moveaxis(by_pixel, 2, 0).reshape(values.shape)

    def _behind(self, node: NodeProto) -> set[str]:
        """Return the names of the output of a node, also after it is reshaped."""
        found = set(node.output)
        for user in self._users(node):
            if user.op_type in ("Reshape", "Transpose"):
                found |= self._behind(user)
        return found

    def _users(self, node: NodeProto) -> list[NodeProto]:
        return [user for user in self._nodes if set(node.output) & set(user.input)]


@torch.no_grad()
def _in_order(generator: nn.Module) -> list[tuple[Any, Layer | None]]:
    """Return the weighted layers and BatchNorms of a generator in the order of execution.

    With each BatchNorm comes the layer whose output it normalises, if there is no other operation between them.
    """
    order: list[tuple[Any, Layer | None]] = []
    outputs: dict[int, tuple[Layer, Tensor]] = {}  # by address; the tensor is kept, so that no other gets the address

    def record(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        if isinstance(module, _BatchNorm):
            order.append((module, outputs.get(inputs[0].data_ptr(), (None, None))[0]))
        else:
            outputs[output.data_ptr()] = (module, output)  # type: ignore[assignment]
            order.append((module, None))

    hooks = [
        module.register_forward_hook(record)
        for module in generator.modules()
        if isinstance(module, _BatchNorm | nn.Linear | nn.Conv2d | nn.ConvTranspose2d)
    ]
    generator.eval()
    z, c = torch.ones(2, int(generator.z_dim)), torch.zeros(2, dtype=torch.int64)  # type: ignore[arg-type]
    try:
        generator(z, c if generator.c_dim else None)
    finally:
        for hook in hooks:
            hook.remove()
    return order


@torch.no_grad()
def _set_statistics(generator: nn.Module, shifts: dict[_BatchNorm, Tensor]) -> None:
    """Set the statistics of folded BatchNorms to those of their inputs, so that each still adds its shift alone.

    Args:
        shifts: what each BatchNorm adds to its input.
    """
    sums: dict[_BatchNorm, Tensor] = {}

    def add(norm: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        x = inputs[0].double().transpose(0, 1).flatten(1)  # [F, N·H·W]
        found = torch.stack([torch.full_like(x[:, 0], x.shape[1]), x.sum(1), x.square().sum(1)])
        sums[norm] = sums[norm] + found if norm in sums else found  # type: ignore[index]

    for norm, shift in shifts.items():
        _scale_and_shift(norm, torch.zeros_like(shift), torch.ones_like(shift), shift)
    hooks = [norm.register_forward_pre_hook(add) for norm in shifts]
    z = torch.from_numpy(latents_from_seeds(range(LATENTS), generator.z_dim))  # type: ignore[arg-type]
    c_dim = int(generator.c_dim)  # type: ignore[arg-type]
    for place in range(0, LATENTS if shifts else 0, BATCH):
        part = z[place : place + BATCH]
        generator(part, torch.arange(place, place + len(part)) % c_dim if c_dim else None)
    for hook in hooks:
        hook.remove()
    for norm, shift in shifts.items():
        n, total, squares = sums[norm]
        mean = total / n
        variance = (squares - total * mean) / (n - 1)
        _scale_and_shift(norm, mean, variance.clamp(min=0), shift)


def _scale_and_shift(norm: _BatchNorm, mean: Tensor, variance: Tensor, shift: Tensor) -> None:
    """Set statistics, and the scale and shift with which the norm gives x + ``shift``."""
    for held, value in (
        (norm.running_mean, mean),
        (norm.running_var, variance),
        (norm.weight, (variance.double() + norm.eps).sqrt()),
        (norm.bias, shift.double() + mean.double()),
    ):
        if held is None:
            raise _unreadable("a BatchNorm has no scale or no statistics")
        held.copy_(value)


def _tensor(values: Array) -> Tensor:
    return torch.from_numpy(np.array(values, np.float32, order="C"))


def _unreadable(problem: str) -> InvalidCheckpoint:
    return InvalidCheckpoint(
        f"The weights cannot be read from generator.onnx: {problem}.",
        "Use the directory of a checkpoint that has generator.safetensors.",
    )
