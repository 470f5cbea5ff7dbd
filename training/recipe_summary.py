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
from gan_serve.training.recipes import TRANSLATE, Recipe, recipes
from gan_serve.training.translation.settings import make_translation_config
from gan_serve.training.translation.step import build_critic, build_translator

DATA = "IMAGES"  # in the place of the images, which are not read


class RecipeSummary(NamedTuple):
    """A recipe, and the networks that it builds.

    settings: those that the recipe and the caller set. images: what the networks that are shown were built for, as JSON
    has it; a run takes it from its images where the recipe leaves it open. title: the same in words.
    """

    recipe: Recipe
    settings: dict[str, Any]
    images: dict[str, Any]
    title: str
    networks: dict[str, NetworkSummary]

    def as_json(self) -> dict[str, Any]:
        """Return the summary as plain values, as ``--json`` prints them."""
        networks = {name: network.as_json() for name, network in self.networks.items()}
        return self.recipe.as_json() | {"settings": self.settings} | self.images | networks

    def as_text(self) -> str:
        """Return the summary as lines for a terminal."""
        lines = [self.recipe.as_text(), ""]
        lines += [f"    {name} = {as_typed(value)}" for name, value in self.settings.items()]
        for name, network in self.networks.items():
            lines += ["", f"{name}, {self.title}: {network.parameters:,} parameters", *network.as_lines()]
        return "\n".join(lines)


def summarise_recipe(name: str, settings: Mapping[str, Any] | None = None, *, classes: int = 10) -> RecipeSummary:
    """Build the networks of a recipe, of generators or of translators, and describe them.

    Args:
        name: of the recipe. settings: that change it, as in ``make_config``.
        classes: of the images, where the run is conditional.

    Raises:
        InvalidOption: no such recipe, or a setting that does not fit.
    """
    changed = dict(settings or {})
    if name in recipes(TRANSLATE):
        return _of_translator(recipes(TRANSLATE)[name], changed)
    config = make_config(name, {"data": DATA, **changed})
    channels, c_dim = config.channels or 1, classes if config.conditional else 0
    config = config.model_copy(update={"channels": channels})
    generator, discriminator = build_networks(config, torch.device("cpu"), c_dim=c_dim, processes=Processes())
    c = torch.zeros(1, dtype=torch.int64) if c_dim else None
    image = torch.zeros(1, channels, config.resolution, config.resolution)
    recipe = recipes()[name]
    return RecipeSummary(
        recipe,
        settings={**recipe.config, **changed},
        images={"channels": channels, "classes": c_dim},
        title=COLOURS[channels] + (f", {c_dim} classes" if c_dim else ""),
        networks={
            "generator": summarise(generator, torch.zeros(1, config.z_dim), c),
            "discriminator": summarise(discriminator, image, c),
        },
    )


def _of_translator(recipe: Recipe, changed: Mapping[str, Any]) -> RecipeSummary:
    config = make_translation_config(recipe.name, {"data": DATA, **changed})
    channels = config.in_channels or 3, config.channels or 3
    image = torch.zeros(1, channels[0], config.in_resolution, config.in_resolution)
    seen = torch.zeros(1, channels[1] + (channels[0] if config.sees_input else 0), config.resolution, config.resolution)
    return RecipeSummary(
        recipe,
        settings={**recipe.config, **changed},
        images={"task": recipe.task},
        title="RGB",
        networks={
            "translator": summarise(build_translator(config, *channels), image),
            "discriminator": summarise(build_critic(config, *channels), seen),
        },
    )
