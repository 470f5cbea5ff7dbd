"""Export a generator as one self-contained ONNX file: from latents and labels to pixels, for any number of images.

z          float32 [N, z_dim]
c          int64 [N], the class of each image; for a conditional generator
psi        float32 [N], truncation towards the mean w; for a generator with a w space
img        uint8 [N, H, W, C]

A generator with a w space has more inputs. Each has a default in the file, so that a caller may leave it out:

z_mix      float32 [N, z_dim], a second latent for style mixing
crossover  int64 [N], the first layer that takes its style from z_mix; by default the number of layers, so none does
w_offset   float32 [N, w_dim], added to every style after truncation; by default 0
"""

from __future__ import annotations

import contextlib
import copy
import io
import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast

import numpy as np
import onnx
import torch
from onnx import helper, numpy_helper
from torch import Tensor, nn
from torch.nn.utils import parametrize

from gan_serve.checkpoint.config import TruncationSpace
from gan_serve.errors import ExportRefused
from gan_serve.exports.graph import Array, Graph, attribute
from gan_serve.exports.rewrite import optimize
from gan_serve.images.pixels import UInt8Array
from gan_serve.training.networks import to_pixels

OPSET = 18  # the lowest that torch exports without a conversion and that has all the operators
IR_VERSION = 8  # the one that ONNX released together with opset 18
PIECE = 16  # images that torch computes at once where they are compared


class PixelGenerator(nn.Module):
    """A generator whose images are converted from [-1, 1] to pixels: the computation of the ONNX file.

    Args:
        generator: a module with ``z_dim``, ``c_dim`` and ``truncation_space`` (see ``training/networks``), and with
            ``w_dim`` and ``num_layers`` if that space is ``w``.
    """

    def __init__(self, generator: nn.Module) -> None:
        super().__init__()
        self.generator = generator
        self.z_dim = cast(int, generator.z_dim)
        self.c_dim = cast(int, generator.c_dim)
        self.truncation_space = cast(TruncationSpace, generator.truncation_space)
        self.origin = "torch"

    def forward(
        self,
        z: Tensor,
        c: Tensor | None = None,
        psi: Tensor | None = None,
        z_mix: Tensor | None = None,
        crossover: Tensor | None = None,
        w_offset: Tensor | None = None,
    ) -> Tensor:
        """Return images uint8 [N, H, W, C], rounded to the nearest grey level.

        Args:
            z: float32 [N, z_dim].
            c: int64 [N], for a conditional generator.
            psi, z_mix, crossover, w_offset: for a generator with a w space; see the head of this module.
        """
        if self.truncation_space != "w":
            return to_pixels(self.generator(z, c))
        return to_pixels(self.generator(z, c, psi, z_mix=z_mix, crossover=crossover, w_offset=w_offset))

    @torch.no_grad()
    def images(self, inputs: Mapping[str, Any]) -> UInt8Array:
        """Return the images of inputs: arrays [N, ...] by name -> uint8 [N, H, W, C]."""
        arrays = {name: torch.from_numpy(values) for name, values in inputs.items()}
        n = len(next(iter(arrays.values())))
        pieces = [
            self(**{name: values[at : at + PIECE] for name, values in arrays.items()}).numpy()
            for at in range(0, n, PIECE)
        ]
        return np.concatenate(pieces)

    def optional_inputs(self) -> dict[str, Array]:
        """Return the default of each input that a caller may leave out, for one image: arrays [1, ...] by name."""
        if self.truncation_space != "w":
            return {}
        w_dim, num_layers = cast(int, self.generator.w_dim), cast(int, self.generator.num_layers)
        return {
            "z_mix": np.ones((1, self.z_dim), np.float32),  # not zeros, which would give NaN if z is normalised
            "crossover": np.array([num_layers], np.int64),
            "w_offset": np.zeros((1, w_dim), np.float32),
        }

    def example(self, n: int = 2) -> dict[str, Tensor]:
        """Return inputs for n images, by name. An export needs two or more, since one image would fix N to 1."""
        inputs = {"z": torch.zeros(n, self.z_dim)}
        if self.c_dim:
            inputs["c"] = torch.zeros(n, dtype=torch.int64)
        if self.truncation_space == "w":
            inputs["psi"] = torch.ones(n)
        defaults = {name: torch.from_numpy(np.repeat(value, n, 0)) for name, value in self.optional_inputs().items()}
        return inputs | defaults


def to_onnx(generator: nn.Module, metadata: Mapping[str, str] | None = None) -> bytes:
    """Export a generator in eval mode, on the CPU, rewritten for ONNX Runtime's CPU kernels (see ``optimize``).

    The same weights and metadata give the same bytes.

    Args:
        generator: see ``PixelGenerator``.
        metadata: the ``metadata_props`` of the file.

    Raises:
        ExportRefused: see ``serialize``.
    """
    model = torch_export(generator)
    optimize(model)
    return serialize(model, metadata, PixelGenerator(generator).optional_inputs())


def torch_export(generator: nn.Module) -> onnx.ModelProto:
    """Return the model as torch exports it, without torch's metadata and defaults, with sums in a fixed order.

    Every input is required. ``serialize`` adds the defaults after all passes, which treat initializers as constants.
    """
    network = PixelGenerator(without_parametrizations(generator)).eval()
    example, n = network.example(), torch.export.Dim("N")
    return export_graph(network, example, {name: {0: n} for name in example})


def export_graph(
    network: nn.Module, example: Mapping[str, Tensor], dynamic: Mapping[str, Mapping[int, Any]]
) -> onnx.ModelProto:
    """Return a network in eval mode as torch exports it, without torch's metadata, with sums in a fixed order.

    Args:
        network: its output becomes ``img``.
        example: its inputs by name, for two images or more.
        dynamic: the dimensions of each input that stay open, by their axis, each a ``torch.export.Dim``.
    """
    model = plain_export(network, example, dynamic, ["img"])
    graph = Graph(model)
    fix_order_of_sums(graph)
    graph.write(model)
    return model


def plain_export(
    network: nn.Module,
    example: Mapping[str, Tensor],
    dynamic: Mapping[str, Mapping[int, Any]],
    outputs: Sequence[str],
) -> onnx.ModelProto:
    """Return a network in eval mode as torch exports it, without torch's metadata; see ``export_graph``."""
    with quiet_export():
        program = torch.onnx.export(
            network,
            kwargs=dict(example),
            dynamo=True,
            external_data=False,
            input_names=list(example),
            output_names=list(outputs),
            dynamic_shapes={name: dict(axes) for name, axes in dynamic.items()},
            opset_version=OPSET,
            verbose=False,
        )
    model = cast("torch.onnx.ONNXProgram", program).model_proto
    model.ir_version = IR_VERSION
    strip_metadata(model)
    return model


def without_parametrizations(generator: nn.Module) -> nn.Module:
    """Return a generator in eval mode with its parametrizations applied to its weights.

    One of them is spectral normalisation, whose divisor is constant in eval mode.
    """
    if not any(parametrize.is_parametrized(layer) for layer in generator.modules()):
        return generator
    plain = copy.deepcopy(generator).eval()
    for layer in [layer for layer in plain.modules() if parametrize.is_parametrized(layer)]:
        computed = {name: getattr(layer, name).detach() for name in cast(nn.ModuleDict, layer.parametrizations)}
        # Not remove_parametrizations: it changes the layer's class, which the copy shares with the original.
        layer.__class__ = parametrize.type_before_parametrizations(layer)
        del layer.parametrizations
        for name, value in computed.items():
            layer.register_parameter(name, nn.Parameter(value))
    return plain


def serialize(
    model: onnx.ModelProto,
    metadata: Mapping[str, str] | None = None,
    optional_inputs: Mapping[str, Array] | None = None,
) -> bytes:
    """Return the bytes of a model after ONNX's own checks.

    Args:
        model: changed in place.
        metadata: becomes its ``metadata_props``.
        optional_inputs: defaults by the name of an input, see ``PixelGenerator.optional_inputs``.

    Raises:
        ExportRefused: it is invalid, fixes the number of images, or needs operators that are not standard ONNX.
    """
    helper.set_model_props(model, dict(sorted((metadata or {}).items())))
    for name, default in (optional_inputs or {}).items():
        _make_optional(model.graph, name, default)
    try:
        onnx.checker.check_model(model, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise ExportRefused(f"The exported network is not valid ONNX: {error}") from error
    fixed = [value.name for value in model.graph.input if not value.type.tensor_type.shape.dim[0].dim_param]
    if fixed:
        raise ExportRefused(
            f"The exported network fixes the number of images in {', '.join(fixed)}; it must be dynamic."
        )
    if domains := {node.domain for node in model.graph.node} - {""}:
        raise ExportRefused(
            f"The exported network needs operators of {', '.join(domains)}; only those of standard ONNX are allowed."
        )
    return bytes(model.SerializeToString(deterministic=True))


def _make_optional(graph: onnx.GraphProto, name: str, default: Array) -> None:
    """Give an input a default: an initializer of the same name, which callers can override (ONNX IR 4).

    The default has one row, so the rows are expanded to N first. The input's first dimension gets a name of its own:
    ONNX Runtime shares buffers between tensors whose dimensions have the same name.
    """
    value = next((value for value in graph.input if value.name == name), None)
    if value is None or any(tensor.name == name for tensor in graph.initializer):
        return
    value.type.tensor_type.shape.dim[0].dim_param = f"N_{name}"
    graph.initializer.append(numpy_helper.from_array(default, name))
    expanded, size = f"{name}_expanded", f"{name}_size"
    for node in graph.node:
        for place, used in enumerate(node.input):
            if used == name:
                node.input[place] = expanded
    nodes = [
        helper.make_node("Shape", ["z"], [f"{name}_n"], name=f"{name}_n", start=0, end=1),
        helper.make_node("Expand", [name, size], [expanded], name=expanded),
    ]
    if default.ndim > 1:
        row = f"{name}_row"
        graph.initializer.append(numpy_helper.from_array(np.array(default.shape[1:], np.int64), row))
        nodes.insert(1, helper.make_node("Concat", [f"{name}_n", row], [size], name=size, axis=0))
    else:
        nodes[0].output[0] = size
    for node in reversed(nodes):
        graph.node.insert(0, node)


def fix_order_of_sums(graph: Graph) -> None:
    """Replace means over [N, C] and over the channels or the pixels of [N, C, H, W] by sums in a fixed order.

    The order in which ONNX Runtime's ReduceMean adds depends on the memory address of an image and on the batch size,
    so a seed would not always give the same image. Matrix products and pooling do not have this dependence.
    """
    for node in graph.find("ReduceMean"):
        over = _mean_over(graph, node)
        if over is None:
            continue
        x, channels = node.input[0], graph.shape(node.input[0])[1]
        with graph.replacing(node) as op:
            if over == "pixels":
                op("GlobalAveragePool", x)
            else:
                shape = (channels, 1) if over == "features" else (1, channels, 1, 1)
                weight = op.constant(f"mean_of_{channels}_{over}", np.full(shape, 1 / channels, np.float32))
                op("MatMul" if over == "features" else "Conv", x, weight)


def _mean_over(graph: Graph, node: onnx.NodeProto) -> str | None:
    """Return ``features`` for a mean over [N, C], ``channels`` or ``pixels`` for one over [N, C, H, W], else None."""
    axes = graph.constants.get(node.input[1]) if len(node.input) == 2 else None
    if axes is None or not attribute(node, "keepdims", 1):
        return None
    rank = len(graph.shape(node.input[0]))
    what = {(2, (1,)): "features", (4, (1,)): "channels", (4, (2, 3)): "pixels"}
    return what.get((rank, tuple(sorted(int(axis) % max(rank, 1) for axis in axes))))


def strip_metadata(model: onnx.ModelProto) -> None:
    """Remove torch's own metadata, which has stack traces with paths of this machine."""
    graph = model.graph
    for part in (graph, *graph.node, *graph.input, *graph.output, *graph.initializer, *graph.value_info):
        del part.metadata_props[:]
        part.doc_string = ""
    del model.metadata_props[:]
    model.doc_string = ""


@contextlib.contextmanager
def quiet_export() -> Iterator[None]:
    """Suppress the progress messages of an export, which torch prints for its developers."""
    level = logging.getLogger("torch.onnx").level
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        logging.getLogger("torch.onnx").setLevel(logging.ERROR)
        try:
            yield
        finally:
            logging.getLogger("torch.onnx").setLevel(level)
