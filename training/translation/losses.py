"""The losses of translators beside the adversarial one, and the perceptual distance.

All take images float32 [N, C, H, W] in [-1, 1] and return a scalar. Adversarial losses are those of
``gan_serve.training.losses``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gan_serve.errors import InvalidCheckpoint
from gan_serve.training.evaluation.extractor_registry import MODEL_FILE, find_extractor, folder_of

LUMA = (0.299, 0.587, 0.114)  # ITU-R 601, as Pillow converts RGB to gray
SMALL = 1e-8  # added to squared lengths, whose root has no gradient at 0


def absolute_error(images: Tensor, targets: Tensor) -> Tensor:
    """Return E|x - y|, the L1 loss (Isola et al. 2017, eq. 3; the cycle loss of Zhu et al. 2017, eq. 2)."""
    return F.l1_loss(images, targets)


def squared_error(images: Tensor, targets: Tensor) -> Tensor:
    """Return E(x - y)², the pixel loss of SRResNet (Ledig et al. 2017, eq. 4)."""
    return F.mse_loss(images, targets)


PIXEL_LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"l1": absolute_error, "l2": squared_error}


class FeatureMaps(nn.Module):
    """The maps of a small feature extractor after each of its convolutions, for images of any size.

    Args:
        name: an extractor, see ``find_extractor``; only those with plain convolutions and ReLU, as this package has.

    Raises:
        InvalidOption: there is no such extractor. InvalidCheckpoint: it has another form.
    """

    def __init__(self, name: str | Path) -> None:
        import onnx
        from onnx import numpy_helper

        super().__init__()
        self.name = find_extractor(name).name
        graph = onnx.load(folder_of(name) / MODEL_FILE).graph
        constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
        self.strides: list[int] = []
        for node in graph.node:
            if node.op_type != "Conv":
                continue
            attributes = {each.name: onnx.helper.get_attribute_value(each) for each in node.attribute}
            self.strides.append(attributes["strides"][0])
            number = len(self.strides) - 1
            for kind, key in zip(("weight", "bias"), node.input[1:], strict=True):
                self.register_buffer(f"{kind}_{number}", torch.tensor(constants[key]), persistent=False)
        if not self.strides:
            raise InvalidCheckpoint(f"The extractor {name} has no convolutions.", "Use one of this package.")

    def forward(self, images: Tensor) -> list[Tensor]:
        """Return the maps float32 [N, F, h, w] of images float32 [N, C, H, W] in [-1, 1], gray or RGB."""
        channels = self._kernel(0)[0].shape[1]
        if channels != images.shape[1]:
            luma = images.new_tensor(LUMA).view(1, 3, 1, 1)
            gray = (images * luma).sum(dim=1, keepdim=True) if images.shape[1] == 3 else images
            images = gray.expand(-1, channels, -1, -1)
        maps, x = [], images
        for number, stride in enumerate(self.strides):
            weight, bias = self._kernel(number)
            x = F.relu(F.conv2d(x, weight, bias, stride, weight.shape[2] // 2))
            maps.append(x)
        return maps

    def _kernel(self, number: int) -> tuple[Tensor, Tensor]:
        weight, bias = self.get_buffer(f"weight_{number}"), self.get_buffer(f"bias_{number}")
        return weight, bias


def perceptual_distance(maps: Sequence[Tensor], others: Sequence[Tensor]) -> Tensor:
    """Return the distances float32 [N] of N pairs of images by their feature maps; 0 for equal images.

    Mean over the layers and pixels of |f/|f| - g/|g||², where f and g are the channels of a pixel: the distance of
    Zhang et al. 2018 (LPIPS, arXiv:1801.03924), eq. 1, with all weights 1, in our features.
    """
    layers = [
        (_unit(one) - _unit(other)).square().sum(dim=1).mean(dim=(1, 2))
        for one, other in zip(maps, others, strict=True)
    ]
    return torch.stack(layers).mean(dim=0)


def _unit(features: Tensor) -> Tensor:
    return features * torch.rsqrt(features.square().sum(dim=1, keepdim=True) + SMALL)
