"""The layers of a small extractor as a torch module, through which gradients pass."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gan_serve.errors import InvalidCheckpoint
from gan_serve.training.evaluation.extractor_registry import MODEL_FILE, find_small_extractor, folder_of
from gan_serve.training.evaluation.pixel_metrics import LUMA

SMALL = 1e-8  # added to squared lengths, whose root has no gradient at 0


class FeatureMaps(nn.Module):
    """The maps of a small feature extractor after each of its convolutions, for images of any size.

    Args:
        name: a name of ``extractors()``, or the folder of an extractor.
        others: further names that the caller takes, for the error.

    Attributes:
        info: the description of the extractor. strides: of the convolutions.

    Raises:
        InvalidOption: there is no such extractor. InvalidCheckpoint: it is damaged, or has other layers than
            convolutions with ReLU.
    """

    def __init__(self, name: str | Path, others: Sequence[str] = ()) -> None:
        import onnx  # training itself does not need the package
        from onnx import helper, numpy_helper

        super().__init__()
        self.info = find_small_extractor(name, others).info
        self.name = self.info.name
        graph = onnx.load(folder_of(name) / MODEL_FILE).graph
        constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
        self.strides: list[int] = []
        for node, following in pairwise(graph.node):
            if node.op_type != "Conv":
                continue
            if following.op_type != "Relu" or len(node.input) != 3:
                raise InvalidCheckpoint(f"The layers of {name} are not convolutions with ReLU.", "Use another one.")
            for kind, key in zip(("weight", "bias"), node.input[1:], strict=True):
                self.register_buffer(f"{kind}_{len(self.strides)}", torch.tensor(constants[key]), persistent=False)
            strides = [helper.get_attribute_value(each) for each in node.attribute if each.name == "strides"]
            self.strides.append(strides[0][0] if strides else 1)
        if not self.strides:
            raise InvalidCheckpoint(f"The extractor {name} has no convolutions.", "Use one of this package.")

    def forward(self, images: Tensor) -> list[Tensor]:
        """Return the maps float32 [N, F, h, w] of images float32 [N, C, H, W] in [-1, 1], gray or RGB."""
        channels = self.info.img_channels
        if channels != images.shape[1]:
            luma = images.new_tensor(LUMA).view(1, 3, 1, 1)
            gray = (images * luma).sum(dim=1, keepdim=True) if images.shape[1] == 3 else images
            images = gray.expand(-1, channels, -1, -1)
        maps, x = [], images
        for number, stride in enumerate(self.strides):
            weight, bias = self.get_buffer(f"weight_{number}"), self.get_buffer(f"bias_{number}")
            x = F.relu(F.conv2d(x, weight, bias, stride, weight.shape[2] // 2))
            maps.append(x)
        return maps


def unit_features(maps: Tensor) -> Tensor:
    """Return maps [N, F, h, w] with the features of each pixel scaled to length 1."""
    return maps * torch.rsqrt(maps.square().sum(dim=1, keepdim=True) + SMALL)
