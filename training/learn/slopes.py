"""The gradients of the generator's two losses while the discriminator gets better."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from gan_serve.training.learn.page import Page
from gan_serve.training.losses import generator_non_saturating, generator_saturating

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def generator_gradients() -> Page:
    """Differentiate both losses by the logit of a generated image."""
    logits = torch.linspace(-12, 4, 161, dtype=torch.float64, requires_grad=True)
    slopes = {}
    for name, loss in (("saturating", generator_saturating), ("non-saturating", generator_non_saturating)):
        (slope,) = torch.autograd.grad(loss(logits) * len(logits), logits)  # the losses are means
        slopes[name] = slope.abs()
    d_of_g = torch.sigmoid(logits.detach())

    def at(name: str, logit: float) -> float:
        return float(slopes[name][(logits.detach() - logit).abs().argmin()])

    def panel(axes: Axes) -> None:
        for name, slope in slopes.items():
            axes.plot(d_of_g, slope, label=name)
        axes.set(xscale="log", yscale="log", xlabel="D(G(z)): to the right, D is sure", ylabel="|slope| by the logit")
        axes.invert_xaxis()
        axes.legend()

    return Page(
        "Gradients of the generator",
        "log(1 - D(G(z))) has the slope D(G(z)) by the logit, which vanishes as D grows sure. -log D(G(z)) has "
        "1 - D(G(z)), which does not (Goodfellow et al. 2014, section 3).",
        {f"{name}, D(G(z)) = {torch.sigmoid(torch.tensor(logit)):.3g}": at(name, logit)
         for logit in (0.0, -4.0, -10.0) for name in slopes},
        (panel,),
    )  # fmt: skip
