"""The search for one picture: gradient descent from several starts, then least squares from the best of them.

The squared residuals of a latent sum to its loss: the mean squared difference of pixels in [-1, 1], the distance of
features, and a small multiple of the latent's own mean square, which keeps it from growing beyond the latents of seeds.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor

Network = Callable[[Tensor, Tensor | None], Tensor]
"""Images float32 [N, C, H, W] in [-1, 1] of latents float32 [N, D] and labels int64 [N], or None."""

BETAS = (0.9, 0.99)  # of Adam
BATCH = 32  # latents that go through the network at once
DIFFERENCE = 1e-2  # between latents, relative to their root mean square, for the columns of a Jacobian
DAMPING = 1e-2  # at the beginning, relative to the mean curvature
TRIES = 4  # of larger and larger damping, in one iteration
FOUND = 40.0  # decibels at which no other start is tried
STALLED = 5e-3  # relative gain of an iteration with which a descent ends


@dataclass(frozen=True)
class Search:
    """The settings of a search.

    steps: of Adam, for all starts. learning_rate: of Adam; constant for the first half, then falling to zero.
    refined: starts, of those with the smallest loss, that are refined by least squares. iterations: of that, for each.
    feature_weight: of the distance of features. prior_weight: of the mean square of the latent; 0 in w.
    """

    steps: int = 40
    learning_rate: float = 0.15
    refined: int = 2
    iterations: int = 10
    feature_weight: float = 0.02
    prior_weight: float = 2e-3

    @property
    def total(self) -> int:
        """The number of times that a search reports."""
        return self.steps + self.refined * self.iterations


class Found(NamedTuple):
    """The latent float32 [D] with the smallest loss, the number of its start, and the latents on the way [T, D]."""

    latent: Tensor
    start: int
    way: Tensor


@dataclass(frozen=True)
class Objective:
    """The loss of latents for one picture.

    target: the picture, float32 [1, C, H, W] in [-1, 1]. features: a function as ``PerceptualFeatures``, or None.
    """

    network: Network
    target: Tensor
    features: Callable[[Tensor], Tensor] | None
    search: Search

    def residuals(self, latents: Tensor, labels: Tensor | None) -> Tensor:
        """Return the residuals [N, R] of latents [N, D]; their squares sum to the loss."""
        images = self.network(latents, labels)
        parts = [(images - self.target).flatten(1) / math.sqrt(self.target.numel())]
        if self.features is not None:
            difference = self.features(images) - self._target_features
            parts.append(math.sqrt(self.search.feature_weight) * difference)
        if self.search.prior_weight:
            parts.append(math.sqrt(self.search.prior_weight / latents.shape[1]) * latents)
        return torch.cat(parts, dim=1)

    @cached_property
    def _target_features(self) -> Tensor:
        assert self.features is not None
        return self.features(self.target)

    @torch.no_grad()
    def psnr(self, latent: Tensor, label: Tensor | None) -> float:
        """Return the PSNR of the image of one latent in decibels, before pixels are rounded."""
        image = self.network(latent[None], label).clamp(-1, 1)
        return 10 * math.log10(4 / max((image - self.target).square().mean().item(), 1e-9))


def search_latent(
    objective: Objective, starts: Tensor, labels: Tensor | None, report: Callable[[int], object]
) -> Found:
    """Return the best latent for a picture.

    Args:
        objective: the loss.
        starts: float32 [S, D].
        labels: int64 [S], the class of each start, or None.
        report: called with the number of steps done since the last call; they add up to ``Search.total``.
    """
    search = objective.search
    ways: list[Tensor] = [starts]
    for latents in _adam(objective, starts, labels):
        ways.append(latents)
        report(1)
    with torch.no_grad():
        losses = objective.residuals(ways[-1], labels).square().sum(1)
    finished: list[tuple[float, Found]] = []
    for start in losses.argsort()[: search.refined].tolist():
        label = None if labels is None else labels[start : start + 1]
        way = [latents[start] for latents in ways]
        refined = [float(losses[start])]
        for latent, loss in _least_squares(objective, way[-1], label):
            way.append(latent)
            refined.append(loss)
            report(1)
        report(search.iterations + 1 - len(refined))
        finished.append((refined[-1], Found(way[-1], start, torch.stack(way))))
        if objective.psnr(way[-1], label) >= FOUND:
            break
    report(search.iterations * (search.refined - len(finished)))
    return min(finished, key=lambda each: each[0])[1]


def _adam(objective: Objective, starts: Tensor, labels: Tensor | None) -> Iterator[Tensor]:
    """Yield the latents [S, D] after each step of Adam. The starts do not affect each other."""
    search = objective.search
    latents = starts.clone().requires_grad_(True)
    optimizer = torch.optim.Adam([latents], betas=BETAS)
    for step in range(search.steps):
        optimizer.param_groups[0]["lr"] = search.learning_rate * min(1.0, 2 * (1 - step / search.steps))
        losses = objective.residuals(latents, labels).square().sum(1)
        optimizer.zero_grad()
        losses.sum().backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        yield latents.detach().clone()


@torch.no_grad()
def _least_squares(objective: Objective, latent: Tensor, label: Tensor | None) -> Iterator[tuple[Tensor, float]]:
    """Yield a latent [D] and its loss after each iteration of Levenberg and Marquardt (Marquardt 1963).

    A step solves (J^T J + damping I) x = -J^T r for the Jacobian J of the residuals r. Its columns are differences
    between D + 1 forward passes, which take a third of the time of derivatives and reach the same PSNR.
    """
    unit = torch.eye(len(latent))
    damping = DAMPING
    current = _residuals(objective, latent[None], label)[0]
    for _ in range(objective.search.iterations):
        step = DIFFERENCE * float(latent.square().mean().sqrt().clamp(min=0.1))
        jacobian = (_residuals(objective, latent + step * unit, label) - current) / step  # [D, R], transposed
        curvature, slope = jacobian @ jacobian.T, jacobian @ current
        loss = current.square().sum()
        scale = curvature.diagonal().mean()
        for _ in range(TRIES):
            moved = latent - torch.linalg.solve(curvature + damping * scale * unit, slope)
            residual = _residuals(objective, moved[None], label)[0]
            if residual.square().sum() < loss:
                break
            damping *= 10
        else:
            return
        damping = max(damping / 10, 1e-7)
        latent, current = moved, residual
        yield latent, float(current.square().sum())
        if current.square().sum() > (1 - STALLED) * loss:
            return


def _residuals(objective: Objective, latents: Tensor, label: Tensor | None) -> Tensor:
    """Return the residuals [N, R] of many latents [N, D] of one class."""
    parts = torch.split(latents, BATCH)
    return torch.cat([objective.residuals(each, None if label is None else label.expand(len(each))) for each in parts])
