"""A small feature extractor as a torch module, through which gradients pass, and the distance of its features."""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

import onnx
import torch
from onnx import helper, numpy_helper
from torch import Tensor
from torch.nn import functional as F

from gan_serve.errors import InvalidCheckpoint, InvalidOption
from gan_serve.training.evaluation.extractor_registry import MODEL_FILE, SmallExtractor, extractors, folder_of

NO_FEATURES = "none"  # in place of a name: pixels alone
TINY = 1e-8  # keeps the norm of a pixel without features from being zero


class Convolution(NamedTuple):
    """A convolution with its weight [out, in, 3, 3] and bias [out]; a ReLU follows it."""

    weight: Tensor
    bias: Tensor
    stride: int


class PerceptualFeatures:
    """The layers of a small extractor, whose distance follows what people see more closely than that of pixels.

    The distance of two images is the sum over layers of the mean over pixels of the squared difference of their
    features, each pixel's features scaled to norm 1: LPIPS (Zhang et al. 2018, arXiv:1801.03924, equation 1) with equal
    weights.

    Args:
        name: a name of ``extractors()``, or the folder of an extractor.

    Raises:
        InvalidOption, InvalidCheckpoint: there is no such extractor, or it has other layers.
    """

    def __init__(self, name: str) -> None:
        directory = folder_of(name)
        if not directory.is_dir():
            raise InvalidOption.unknown("extractor of features", name, [*extractors(), NO_FEATURES])
        self.info = SmallExtractor(directory).info  # its digest is checked there
        graph = onnx.load(directory / MODEL_FILE).graph
        values = {each.name: torch.from_numpy(numpy_helper.to_array(each).copy()) for each in graph.initializer}
        self.layers = []
        for node, following in pairwise(graph.node):
            if node.op_type != "Conv":
                continue
            stride = next((each for each in node.attribute if each.name == "strides"), None)
            if following.op_type != "Relu" or len(node.input) != 3:
                raise InvalidCheckpoint(f"The layers of {name} are not convolutions with ReLU.", "Use another one.")
            steps = helper.get_attribute_value(stride)[0] if stride else 1
            self.layers.append(Convolution(values[node.input[1]], values[node.input[2]], steps))

    def __call__(self, images: Tensor) -> Tensor:
        """Return the scaled features of images float32 [N, C, H, W] in [-1, 1], all layers together: [N, D].

        The sum of the squared differences of two of them is the distance of their images.
        """
        side, channels = self.info.img_resolution, self.info.img_channels
        if images.shape[1] != channels:
            images = images.expand(-1, channels, -1, -1) if channels == 3 else images.mean(1, keepdim=True)
        if images.shape[2:] != (side, side):
            images = F.interpolate(images, (side, side), mode="bilinear", align_corners=False, antialias=False)
        x, parts = images, []
        for layer in self.layers:
            x = F.relu(F.conv2d(x, layer.weight, layer.bias, stride=layer.stride, padding=1))
            if layer.stride > 1:  # one layer of each size
                scaled = x * torch.rsqrt(x.square().sum(1, keepdim=True) + TINY)
                parts.append(scaled.flatten(1) / (x.shape[2] * x.shape[3]) ** 0.5)
        return torch.cat(parts, dim=1)
