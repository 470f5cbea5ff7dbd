"""Generators as others write them, with random weights: PyTorch's DCGAN example, and ONNX and Keras files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx.parser
import torch
from torch import nn

from gan_serve.exports.to_onnx import quiet_export

NZ, NGF = 100, 8


class NetG(nn.Module):
    """The generator of github.com/pytorch/examples/tree/main/dcgan, with 8 instead of 64 channels."""

    def __init__(self, nc: int = 3, ngf: int = NGF, bias: bool = False) -> None:
        super().__init__()
        self.main = nn.Sequential(
            nn.ConvTranspose2d(NZ, ngf * 8, 4, 1, 0, bias=bias),
            nn.BatchNorm2d(ngf * 8),
            nn.ReLU(True),
            nn.ConvTranspose2d(ngf * 8, ngf * 4, 4, 2, 1, bias=bias),
            nn.BatchNorm2d(ngf * 4),
            nn.ReLU(True),
            nn.ConvTranspose2d(ngf * 4, ngf * 2, 4, 2, 1, bias=bias),
            nn.BatchNorm2d(ngf * 2),
            nn.ReLU(True),
            nn.ConvTranspose2d(ngf * 2, ngf, 4, 2, 1, bias=bias),
            nn.BatchNorm2d(ngf),
            nn.ReLU(True),
            nn.ConvTranspose2d(ngf, nc, 4, 2, 1, bias=bias),
            nn.Tanh(),
        )

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return self.main(input)


class NetD(nn.Module):
    """The beginning of a discriminator."""

    def __init__(self) -> None:
        super().__init__()
        self.main = nn.Sequential(
            nn.Conv2d(3, 8, 4, 2, 1, bias=False),
            nn.LeakyReLU(0.2, inplace=True),
            nn.Conv2d(8, 1, 4, 2, 1, bias=False),
        )


def net_g(seed: int = 0, **arguments: object) -> NetG:
    """A generator with other statistics and weights than a new one, in eval mode."""
    torch.manual_seed(seed)
    network = NetG(**arguments)
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm2d):
            for tensor in (layer.weight.data, layer.bias.data, layer.running_mean):
                tensor.normal_(0.2, 0.5)
            layer.running_var.uniform_(0.5, 1.5)
        elif isinstance(layer, nn.ConvTranspose2d):
            layer.weight.data.mul_(2)
    return network.eval()


def export_onnx(network: nn.Module, path: Path, *inputs: torch.Tensor, free: bool = True) -> Path:
    """``torch.onnx.export`` as its documentation has it; without ``free``, the file computes one batch size only."""
    with quiet_export():
        n = torch.export.Dim("batch")
        shapes = tuple({0: n} for _ in inputs) if free else None
        torch.onnx.export(network, inputs, str(path), dynamo=True, external_data=False, dynamic_shapes=shapes)
    return path


def write_onnx(path: Path, text: str, constants: dict[str, np.ndarray]) -> Path:
    """A file in ONNX's textual syntax, with its constants."""
    model = onnx.parser.parse_model(text)
    model.graph.initializer.extend(onnx.numpy_helper.from_array(value, name) for name, value in constants.items())
    onnx.checker.check_model(model)
    onnx.save(model, path)
    return path


def dense_nhwc(path: Path, opset: int = 11) -> Path:
    """latent float [N, 5] and a one-hot class_id float [N, 3] -> images float [N, 6, 6, 3] in [0, 1]."""
    random = np.random.RandomState(0)
    text = f"""<ir_version: 6, opset_import: ["" : {opset}]>
    net (float[batch, 5] latent, float[batch, 3] class_id) => (float[batch, 6, 6, 3] images) {{
        joined = Concat<axis = 1>(latent, class_id)
        hidden = MatMul(joined, weight)
        moved = Add(hidden, bias)
        map = Reshape(moved, shape)
        images = Sigmoid(map)
    }}"""
    constants = {
        "weight": random.standard_normal((8, 108)).astype(np.float32),
        "bias": random.standard_normal(108).astype(np.float32),
        "shape": np.array([-1, 6, 6, 3], np.int64),
    }
    return write_onnx(path, text, constants)


def embedded_bytes(path: Path) -> Path:
    """noise float [1, 4] and label int32 [1, 1] -> picture uint8 [1, 1, 8, 8], for one image at a time."""
    random = np.random.RandomState(1)
    text = """<ir_version: 8, opset_import: ["" : 17]>
    net (float[1, 4] noise, int32[1, 1] label) => (uint8[1, 1, 8, 8] picture) {
        rows = Gather<axis = 0>(table, label)
        one = Reshape(rows, flat)
        z = Concat<axis = 1>(noise, one)
        hidden = Gemm(z, weight)
        map = Reshape(hidden, shape)
        low = Clip(map, zero, most)
        picture = Cast<to = 2>(low)
    }"""
    constants = {
        "table": random.standard_normal((7, 2)).astype(np.float32),
        "flat": np.array([1, 2], np.int64),
        "weight": (random.standard_normal((6, 64)) * 80).astype(np.float32),
        "shape": np.array([1, 1, 8, 8], np.int64),
        "zero": np.array(0, np.float32),
        "most": np.array(255, np.float32),
    }
    return write_onnx(path, text, constants)
