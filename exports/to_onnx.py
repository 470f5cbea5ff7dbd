"""A generator as one self-contained ONNX file: latents, labels and psi in, pixels out, any number of images.

z    float32 [N, z_dim]
c    int64 [N], the class of each image, where the generator is conditional
psi  float32 [N], truncation towards the mean w, where the generator has a space w
img  uint8 [N, H, W, C]
"""

from __future__ import annotations

import contextlib
import copy
import io
import logging
import warnings
from collections.abc import Iterator, Mapping
from typing import cast

import numpy as np
import onnx
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from gan_serve.checkpoint.config import TruncationSpace
from gan_serve.errors import ExportRefused
from gan_serve.exports.graph import Graph, attribute
from gan_serve.exports.rewrite import optimize
from gan_serve.training.networks import to_pixels

OPSET = 20


class PixelGenerator(nn.Module):
    """A generator with the conversion of its images from [-1, 1] to pixels: what the ONNX file computes.

    Args:
        generator: has the attributes ``z_dim``, ``c_dim`` and ``truncation_space``; see ``training/networks``.
    """

    def __init__(self, generator: nn.Module) -> None:
        super().__init__()
        self.generator = generator
        self.z_dim = cast(int, generator.z_dim)
        self.c_dim = cast(int, generator.c_dim)
        self.truncation_space = cast(TruncationSpace, generator.truncation_space)

    def forward(self, z: Tensor, c: Tensor | None = None, psi: Tensor | None = None) -> Tensor:
        """z float32 [N, z_dim] (c int64 [N], psi float32 [N]) -> uint8 [N, H, W, C], to the nearest grey level."""
        images = self.generator(z, c, psi) if self.truncation_space == "w" else self.generator(z, c)
        return to_pixels(images)

    def example(self, n: int = 2) -> dict[str, Tensor]:
        """The inputs that this generator has, by name, for n images; more than one, or the export would fix N."""
        inputs = {"z": torch.zeros(n, self.z_dim)}
        if self.c_dim:
            inputs["c"] = torch.zeros(n, dtype=torch.int64)
        if self.truncation_space == "w":
            inputs["psi"] = torch.ones(n)
        return inputs


def to_onnx(generator: nn.Module, metadata: Mapping[str, str] | None = None, *, fused: bool = True) -> bytes:
    """Export a generator in eval mode, on the CPU. The same weights and metadata give the same bytes.

    Args:
        generator: see ``PixelGenerator``.
        metadata: what the file says of itself, its ``metadata_props``.
        fused: in the form that is fastest on CPUs, see ``optimize``; else operator by operator as torch has them.

    Raises:
        ExportRefused: see ``finished``.
    """
    model = torch_export(generator)
    if fused:
        optimize(model)
    return finished(model, metadata)


def torch_export(generator: nn.Module) -> onnx.ModelProto:
    """The model as torch exports it, without torch's notes, and with sums of a fixed order."""
    network = PixelGenerator(without_parametrizations(generator)).eval()
    example = network.example()
    n = torch.export.Dim("N")
    with quiet_export():
        program = torch.onnx.export(
            network,
            kwargs=example,
            dynamo=True,
            external_data=False,
            input_names=list(example),
            output_names=["img"],
            dynamic_shapes={name: {0: n} for name in example},
            opset_version=OPSET,
            verbose=False,
        )
    model = cast("torch.onnx.ONNXProgram", program).model_proto
    strip_metadata(model)
    graph = Graph(model)
    _fix_order_of_sums(graph)
    graph.write(model)
    return model


def without_parametrizations(generator: nn.Module) -> nn.Module:
    """Return a generator in eval mode whose weights are what its parametrizations make of them.

    Spectral normalisation is one: in eval mode its divisor is constant.
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


def finished(model: onnx.ModelProto, metadata: Mapping[str, str] | None = None) -> bytes:
    """The bytes of a model that passes ONNX's own checks, with ``metadata`` as its ``metadata_props``.

    Raises:
        ExportRefused: it is not valid, fixes the number of images, or holds anything but standard operators.
    """
    onnx.helper.set_model_props(model, dict(sorted((metadata or {}).items())))
    try:
        onnx.checker.check_model(model, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise ExportRefused(f"The exported network is not valid ONNX: {error}") from error
    fixed = [value.name for value in model.graph.input if not value.type.tensor_type.shape.dim[0].dim_param]
    if fixed:
        raise ExportRefused(f"The exported network fixes the number of images by {', '.join(fixed)}; it must be free.")
    if domains := {node.domain for node in model.graph.node} - {""}:
        raise ExportRefused(f"The exported network needs operators of {', '.join(domains)}; any ONNX Runtime must do.")
    return bytes(model.SerializeToString(deterministic=True))


def _fix_order_of_sums(graph: Graph) -> None:
    """Replace means over [N, C] and over the channels or the pixels of [N, C, H, W] by sums of a fixed order.

    ONNX Runtime's ReduceMean adds in an order that depends on where in memory an image lies and on whether it is alone,
    so that a seed would not always be the same image. Products and pooling have no such dependence.
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
    """``features`` where a node is a mean over [N, C], ``channels`` or ``pixels`` of [N, C, H, W], None elsewhere."""
    axes = graph.constants.get(node.input[1]) if len(node.input) == 2 else None
    if axes is None or not attribute(node, "keepdims", 1):
        return None
    rank = len(graph.shape(node.input[0]))
    what = {(2, (1,)): "features", (4, (1,)): "channels", (4, (2, 3)): "pixels"}
    return what.get((rank, tuple(sorted(int(axis) % max(rank, 1) for axis in axes))))


def strip_metadata(model: onnx.ModelProto) -> None:
    """Drop what torch notes of its own: stack traces with paths of this machine among it."""
    graph = model.graph
    for part in (graph, *graph.node, *graph.input, *graph.output, *graph.initializer, *graph.value_info):
        del part.metadata_props[:]
        part.doc_string = ""
    del model.metadata_props[:]
    model.doc_string = ""


@contextlib.contextmanager
def quiet_export() -> Iterator[None]:
    """Keep torch's progress of an export, written for its developers, from the user's terminal."""
    level = logging.getLogger("torch.onnx").level
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        logging.getLogger("torch.onnx").setLevel(logging.ERROR)
        try:
            yield
        finally:
            logging.getLogger("torch.onnx").setLevel(level)
