"""The base class of discriminators (critics): labels, optional minibatch statistics, and one logit."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from gan_serve.errors import InvalidOption
from gan_serve.training.networks.layers import MinibatchDiscrimination, MinibatchStd, label_planes

CONDITIONING = ("planes", "projection")


def plane_channels(c_dim: int, conditioning: str) -> int:
    """Return the number of channels that labels add to the input of the body."""
    return c_dim if conditioning == "planes" else 0


def plain_embedding(c_dim: int, n_features: int) -> nn.Embedding:
    """Return an embedding of the labels whose products with the features start with unit variance.

    With torch's N(0, 1), the products over thousands of features would be noise far above the effect of the images.
    """
    embed = nn.Embedding(c_dim, n_features)
    nn.init.normal_(embed.weight, std=n_features**-0.5)
    return embed


class Discriminator(nn.Module):
    """A body that turns images into features, and a linear layer that turns features into one logit.

    Args:
        body: maps [N, C + plane_channels, R, R] to [N, n_features].
        n_features: length of the features.
        c_dim: number of classes; 0 for an unconditional network.
        conditioning: ``planes``: the one-hot label joins the image as constant planes (as the conditional WGAN-GP of
            the lessons); ``projection``: <embed(c), features> is added to the logit (Miyato and Koyama 2018, eq. 3).
        minibatch: ``std`` or ``discrimination`` append to the features how the images of a batch compare, see
            ``layers``; or ``none``. Families with convolutions place ``std`` before the last one themselves.
        bias: whether the logit has a bias.

    Raises:
        InvalidOption: an unknown conditioning.
    """

    def __init__(
        self,
        body: nn.Module,
        n_features: int,
        *,
        c_dim: int = 0,
        conditioning: str = "projection",
        minibatch: str = "none",
        bias: bool = True,
    ) -> None:
        super().__init__()
        if conditioning not in CONDITIONING:
            raise InvalidOption.unknown("conditioning", conditioning, CONDITIONING)
        self.c_dim = c_dim
        self.body = body
        self.planes = bool(plane_channels(c_dim, conditioning))
        self.minibatch: nn.Module = nn.Identity()
        if minibatch == "std":
            self.minibatch, n_features = MinibatchStd(), n_features + 1
        elif minibatch == "discrimination":
            layer = MinibatchDiscrimination(n_features)
            self.minibatch, n_features = layer, n_features + layer.kernels
        self.logit = nn.Linear(n_features, 1, bias=bias)
        self.embed = plain_embedding(c_dim, n_features) if c_dim and not self.planes else None

    @property
    def mixes_batch(self) -> bool:
        """Return True if the logit of an image depends on the other images of its batch."""
        return any(
            isinstance(layer, nn.modules.batchnorm._BatchNorm | MinibatchStd | MinibatchDiscrimination)
            for layer in self.modules()
        )

    def features(self, images: Tensor, c: Tensor | None = None) -> Tensor:
        """Return the input of the last layer, [N, F], for images float [N, C, R, R] and labels int64 [N]."""
        if self.planes:
            images = label_planes(images, c, self.c_dim)
        features: Tensor = self.minibatch(self.body(images))
        return features

    def forward(self, images: Tensor, c: Tensor | None = None) -> Tensor:
        """Return logits [N], above 0 for real, of images float [N, C, R, R] in [-1, 1] with labels int64 [N]."""
        return self.logits_of_features(self.features(images, c), c)

    def logits_of_features(self, features: Tensor, c: Tensor | None = None) -> Tensor:
        """Return the logits [N] of features [N, F]."""
        logits: Tensor = self.logit(features).squeeze(1)
        if self.embed is not None:
            if c is None:
                raise ValueError(f"This network is conditional: give labels int64 [N] from 0 to {self.c_dim - 1}.")
            logits = logits + torch.sum(self.embed(c) * features, dim=1)
        return logits
