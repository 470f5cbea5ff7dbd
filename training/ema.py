"""Exponential moving average of the generator: the weights that are sampled, evaluated and exported."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn


class GeneratorEMA:
    """Keeps an averaged copy of a generator, weights and BatchNorm statistics alike; other buffers are copied.

    ``torch.optim.swa_utils.AveragedModel`` averages all buffers or none, and renames the weights.

    After each step of N images, ema = lerp(current, ema, 0.5 ** (N / half_life)): an image's influence halves every
    ``half_life`` images, whatever the batch size (Karras et al. 2018, appendix C).
    """

    def __init__(self, generator: nn.Module) -> None:
        self.generator = copy.deepcopy(generator).eval().requires_grad_(False)

    @torch.no_grad()
    def update(self, generator: nn.Module, batch_size: int, half_life_kimg: float) -> None:
        """Move the average towards ``generator`` after a step of ``batch_size`` images; a half-life of 0 copies it."""
        beta = 0.5 ** (batch_size / (half_life_kimg * 1000)) if half_life_kimg else 0.0
        averaged: list[Tensor] = list(self.generator.parameters())
        current: list[Tensor] = list(generator.parameters())
        for (name, kept), new in zip(self.generator.named_buffers(), generator.buffers(), strict=True):
            if name.endswith(("running_mean", "running_var")):
                averaged.append(kept)
                current.append(new)
            else:
                kept.copy_(new)
        torch._foreach_lerp_(averaged, current, 1.0 - beta)
