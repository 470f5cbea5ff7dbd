"""Summarise a recipe for ``gan-serve recipes NAME``: source, settings, and the layers of both networks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch

from gan_serve.training.build import build_networks
from gan_serve.training.config import as_typed, make_config
from gan_serve.training.data.summary import COLOURS
from gan_serve.training.distributed import Processes
from gan_serve.training.networks.summary import NetworkSummary, summarise
from gan_serve.training.recipes import Recipe, recipes

DATA = "IMAGES"  # in the place of the images, which are not read


class RecipeSummary(NamedTuple):
    """A recipe, and the networks that it builds.

    settings: those that the recipe and the caller set. channels, classes: of the networks that are shown; a run takes
    them from its images where the recipe leaves them open.
    """

    recipe: Recipe
    settings: dict[str, Any]
    channels: int
    classes: int
    generator: NetworkSummary
    discriminator: NetworkSummary

    def as_json(self) -> dict[str, Any]:
        """Return the summary as plain values, as ``--json`` prints them."""
        recipe = self.recipe
        return {
            "name": recipe.name,
            "title": recipe.title,
            "source": recipe.source,
            "needs": recipe.needs,
            "settings": self.settings,
            "channels": self.channels,
            "classes": self.classes,
            "generator": self.generator.as_json(),
            "discriminator": self.discriminator.as_json(),
        }

    def as_text(self) -> str:
        """Return the summary as lines for a terminal."""
        lines = [self.recipe.as_text(), ""]
        lines += [f"    {name} = {as_typed(value)}" for name, value in self.settings.items()]
        labels = f", {self.classes} classes" if self.classes else ""
        heading = f"{COLOURS[self.channels]}{labels}"
        for name, network in (("generator", self.generator), ("discriminator", self.discriminator)):
            lines += ["", f"{name}, {heading}: {network.parameters:,} parameters", *network.as_lines()]
        return "\n".join(lines)


def summarise_recipe(name: str, settings: Mapping[str, Any] | None = None, *, classes: int = 10) -> RecipeSummary:
    """Build the networks of a recipe and describe them.

    Args:
        name: of the recipe. settings: that change it, as in ``make_config``.
        classes: of the images, where the run is conditional.

    Raises:
        InvalidOption: no such recipe, or a setting that does not fit.
    """
    changed = dict(settings or {})
    config = make_config(name, {"data": DATA} | changed)
    channels, c_dim = config.channels or 1, classes if config.conditional else 0
    config = config.model_copy(update={"channels": channels})
    generator, discriminator = build_networks(config, torch.device("cpu"), c_dim=c_dim, processes=Processes())
    c = torch.zeros(1, dtype=torch.int64) if c_dim else None
    image = torch.zeros(1, channels, config.resolution, config.resolution)
    recipe = recipes()[name]
    return RecipeSummary(
        recipe=recipe,
        settings=dict(recipe.config) | changed,
        channels=channels,
        classes=c_dim,
        generator=summarise(generator, torch.zeros(1, config.z_dim), c),
        discriminator=summarise(discriminator, image, c),
    )
