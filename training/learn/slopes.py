"""The gradients of the generator's two losses while the discriminator gets better."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from gan_serve.training.learn.page import Page
from gan_serve.training.losses import generator_non_saturating, generator_saturating

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def generator_gradients() -> Page:
    """Differentiate both losses with respect to the logit of a generated image."""
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
        axes.set(
            xscale="log", yscale="log", xlabel="D(G(z)); D more confident to the right", ylabel="|d loss / d logit|"
        )
        axes.invert_xaxis()
        axes.legend()

    return Page(
        "Gradients of the generator",
        "With respect to the logit, the slope of log(1 - D(G(z))) is -D(G(z)), which vanishes as the discriminator "
        "becomes confident that an image is generated. The slope of -log D(G(z)) is D(G(z)) - 1, which approaches -1 "
        "(Goodfellow et al. 2014, section 3). The numbers are absolute values.",
        {f"{name}, D(G(z)) = {torch.sigmoid(torch.tensor(logit)):.3g}": at(name, logit)
         for logit in (0.0, -4.0, -10.0) for name in slopes},
        (panel,),
    )  # fmt: skip
