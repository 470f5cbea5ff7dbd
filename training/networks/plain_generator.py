"""The base class of the generators of the families mlp, dcgan28 and dcgan."""

from __future__ import annotations

from torch import Tensor, nn

from gan_serve.training.networks.layers import latents_as, one_hot, with_labels
from gan_serve.training.networks.options import PlainGeneratorOptions


class PlainGenerator(nn.Module):
    """A sequence of layers from a latent and its label to an image; a subclass sets ``layers``.

    Args:
        z_dim: numbers in a latent. c_dim: number of classes; 0: unconditional.
        options: ``latents``, see ``latents_as``.
        conditional_norm: labels are the condition of every BatchNorm, and do not join the latent.

    Attributes:
        layers: maps [N, z_dim + joined], and conditions [N, condition_dim] if there are any, to images.
        joined: length of the labels beside the latent. condition_dim: length of the condition of every BatchNorm.
    """

    truncation_space = "z"
    layers: nn.Module

    def __init__(
        self, z_dim: int, c_dim: int, options: PlainGeneratorOptions, *, conditional_norm: bool = False
    ) -> None:
        super().__init__()
        self.latents = options.latents
        self.z_dim, self.c_dim = z_dim, c_dim
        self.joined, self.condition_dim = (0, c_dim) if conditional_norm else (c_dim, 0)

    def forward(self, z: Tensor, c: Tensor | None = None) -> Tensor:
        """Return images float32 [N, C, R, R] in [-1, 1] for z float32 [N, z_dim] and, if conditional, c int64 [N]."""
        x = with_labels(latents_as(self.latents, z), c, self.joined)
        images: Tensor = self.layers(x, one_hot(c, self.c_dim)) if self.condition_dim else self.layers(x)
        return images
