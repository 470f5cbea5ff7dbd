"""The search for one picture: gradient descent from several starts, then least squares from the best of them.

The squared residuals of a latent sum to its loss: the mean squared difference of pixels in [-1, 1], the distance of
features, and a small multiple of the latent's own mean square, which keeps it where the network was trained.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.func import jvp, vmap

Network = Callable[[Tensor, Tensor | None], Tensor]
"""Images float32 [N, C, H, W] in [-1, 1] of latents float32 [N, D] and labels int64 [N], or None."""

BETAS = (0.9, 0.99)  # of Adam
TANGENTS = 32  # columns of a Jacobian that are computed at once
DAMPING = 1e-2  # at the beginning, relative to the mean curvature
TRIES = 4  # of larger and larger damping, in one iteration
FOUND = 40.0  # decibels at which no other start is tried
STALLED = 1e-3  # relative gain of an iteration with which a descent ends


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
    prior_weight: float = 1e-3

    @property
    def total(self) -> int:
        """The number of times that a search reports."""
        return self.steps + self.refined * self.iterations


class Found(NamedTuple):
    """The latent float32 [D] with the smallest loss, which start it came from, and the latents on the way: [T, D]."""

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
            difference = self.features(images) - self.features(self.target)
            parts.append(math.sqrt(self.search.feature_weight) * difference)
        if self.search.prior_weight:
            parts.append(math.sqrt(self.search.prior_weight / latents.shape[1]) * latents)
        return torch.cat(parts, dim=1)

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
    losses = torch.zeros(len(starts))
    for latents, losses in _adam(objective, starts, labels):
        ways.append(latents)
        report(1)
    finished: list[tuple[float, Found]] = []
    for start in losses.argsort()[: search.refined].tolist():
        label = None if labels is None else labels[start : start + 1]
        way = [latents[start] for latents in ways]
        loss = float(losses[start])
        left = search.iterations
        for latent, loss in _least_squares(objective, way[-1], label):
            way.append(latent)
            left -= 1
            report(1)
        report(left)
        finished.append((loss, Found(way[-1], start, torch.stack(way))))
        if objective.psnr(way[-1], label) >= FOUND:
            break
    report(search.iterations * (min(search.refined, len(starts)) - len(finished)))
    report(search.iterations * (search.refined - min(search.refined, len(starts))))
    return min(finished, key=lambda each: each[0])[1]


def _adam(objective: Objective, starts: Tensor, labels: Tensor | None) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield the latents [S, D] and their losses [S] after each step of Adam. The starts do not affect each other."""
    search = objective.search
    latents = starts.clone().requires_grad_(True)
    optimizer = torch.optim.Adam([latents], betas=BETAS)
    for step in range(search.steps):
        optimizer.param_groups[0]["lr"] = search.learning_rate * min(1.0, 2 * (1 - step / search.steps))
        losses = objective.residuals(latents, labels).square().sum(1)
        optimizer.zero_grad()
        losses.sum().backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        yield latents.detach().clone(), losses.detach()


@torch.no_grad()
def _least_squares(objective: Objective, latent: Tensor, label: Tensor | None) -> Iterator[tuple[Tensor, float]]:
    """Yield a latent [D] and its loss after each iteration of Levenberg and Marquardt (Marquardt 1963).

    A step solves (J^T J + damping I) x = -J^T r for the Jacobian J of the residuals r. Its columns are directional
    derivatives, which take a latent's D forward passes.
    """

    def residuals(point: Tensor) -> Tensor:
        return objective.residuals(point[None], label)[0]

    unit = torch.eye(len(latent))
    damping = DAMPING
    current = residuals(latent)
    for _ in range(objective.search.iterations):
        jacobian = vmap(lambda tangent: jvp(residuals, (latent,), (tangent,))[1], chunk_size=TANGENTS)(unit)  # [D, R]
        curvature, slope = jacobian @ jacobian.T, jacobian @ current
        loss = current.square().sum()
        scale = curvature.diagonal().mean()
        for _ in range(TRIES):
            moved = latent - torch.linalg.solve(curvature + damping * scale * unit, slope)
            residual = residuals(moved)
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
