"""A generator as one self-contained ONNX file: z float32 [N, z_dim] in, img uint8 [N, H, W, C] out, N dynamic."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator
from typing import cast

import onnx
import torch
from torch import Tensor, nn

from gan_serve.errors import ExportRefused
from gan_serve.training.networks import to_pixels

OPSET = 20


class PixelGenerator(nn.Module):
    """A generator with the conversion of its images from [-1, 1] to pixels: what the ONNX file computes."""

    def __init__(self, generator: nn.Module) -> None:
        super().__init__()
        self.generator = generator

    def forward(self, z: Tensor) -> Tensor:
        """z float32 [N, z_dim] -> uint8 [N, H, W, C], rounded to the nearest grey level."""
        return to_pixels(self.generator(z))


def to_onnx(generator: nn.Module, z_dim: int) -> bytes:
    """Export a generator in eval mode, on the CPU. The same weights give the same bytes.

    Raises:
        ExportRefused: the file does not pass ONNX's own checks, or holds anything but standard operators.
    """
    example = torch.zeros(2, z_dim)
    with _quiet():
        program = torch.onnx.export(
            PixelGenerator(generator).eval(),
            (example,),
            dynamo=True,
            external_data=False,
            input_names=["z"],
            output_names=["img"],
            dynamic_shapes={"z": {0: torch.export.Dim("N")}},
            opset_version=OPSET,
            verbose=False,
        )
    model = cast("torch.onnx.ONNXProgram", program).model_proto
    _strip_metadata(model)
    try:
        onnx.checker.check_model(model, full_check=True)
    except onnx.checker.ValidationError as error:
        raise ExportRefused(f"The exported network is not valid ONNX: {error}") from error
    if domains := {node.domain for node in model.graph.node} - {""}:
        raise ExportRefused(f"The exported network needs operators of {', '.join(domains)}; any ONNX Runtime must do.")
    return bytes(model.SerializeToString(deterministic=True))


def _strip_metadata(model: onnx.ModelProto) -> None:
    """Drop what torch notes of its own: stack traces with paths of this machine among it."""
    graph = model.graph
    for part in (graph, *graph.node, *graph.input, *graph.output, *graph.initializer, *graph.value_info):
        del part.metadata_props[:]
        part.doc_string = ""
    del model.metadata_props[:]
    model.doc_string = ""


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep torch's progress of an export, written for its developers, from the user's terminal."""
    level = logging.getLogger("torch.onnx").level
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        logging.getLogger("torch.onnx").setLevel(logging.ERROR)
        try:
            yield
        finally:
            logging.getLogger("torch.onnx").setLevel(level)
