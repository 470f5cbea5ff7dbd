"""A pool of earlier outputs for the discriminator (Shrivastava et al. 2017; Zhu et al. 2017, section 4)."""

from __future__ import annotations

import torch
from torch import Tensor


class ImagePool:
    """At most ``size`` images; ``swap`` returns half of the images from the pool once it is full.

    The images are part of the state of a run, so that a resumed one is equal.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self.images: Tensor | None = None  # float32 [n, C, H, W]

    def swap(self, images: Tensor, uniform: Tensor) -> Tensor:
        """Return images for the discriminator.

        Args:
            images: float32 [N, C, H, W], new outputs. uniform: float32 [N, 2], from 0 to 1.

        Returns:
            float32 [N, C, H, W]: each new image, or with probability ½ one of the pool, whose place the new one takes.
            While the pool is not full, new images are added to it and returned.
        """
        if not self.size:
            return images
        seen = []
        for image, (choice, place) in zip(images.detach(), uniform.tolist(), strict=True):
            held = 0 if self.images is None else len(self.images)
            if held < self.size:
                self.images = image[None].clone() if self.images is None else torch.cat([self.images, image[None]])
                seen.append(image)
            elif choice < 0.5:
                index = min(int(place * held), held - 1)
                seen.append(self.images[index].clone())  # type: ignore[index]
                self.images[index] = image  # type: ignore[index]
            else:
                seen.append(image)
        return torch.stack(seen)
