"""Summarise a recipe of translators for ``gan-serve recipes NAME``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch

from gan_serve.training.config import as_typed
from gan_serve.training.networks.summary import NetworkSummary, summarise
from gan_serve.training.recipes import TRANSLATE, Recipe, recipes
from gan_serve.training.translation.settings import make_translation_config
from gan_serve.training.translation.step import build_critic, build_translator

DATA = "IMAGES"  # in the place of the images, which are not read


class TranslationSummary(NamedTuple):
    """A recipe, its settings, and the networks that it builds for RGB images."""

    recipe: Recipe
    settings: dict[str, Any]
    networks: dict[str, NetworkSummary]

    def as_json(self) -> dict[str, Any]:
        """Return the summary as plain values, as ``--json`` prints them."""
        networks = {name: network.as_json() for name, network in self.networks.items()}
        values = self.recipe._asdict() | {"settings": self.settings} | networks
        return {name: value for name, value in values.items() if name != "config"}

    def as_text(self) -> str:
        """Return the summary as lines for a terminal."""
        lines = [self.recipe.as_text(), ""]
        lines += [f"    {name} = {as_typed(value)}" for name, value in self.settings.items()]
        for name, network in self.networks.items():
            lines += ["", f"{name}, RGB: {network.parameters:,} parameters", *network.as_lines()]
        return "\n".join(lines)


def summarise_translation_recipe(name: str, settings: Mapping[str, Any] | None = None) -> TranslationSummary:
    """Build the networks of a recipe and describe them.

    Args:
        name: of the recipe. settings: that change it, as in ``make_translation_config``.

    Raises:
        InvalidOption: no such recipe, or a setting that does not fit.
    """
    changed = dict(settings or {})
    config = make_translation_config(name, {"data": DATA} | changed)
    channels = config.in_channels or 3, config.channels or 3
    image = torch.zeros(1, channels[0], config.in_resolution, config.in_resolution)
    seen = torch.zeros(1, channels[1] + (channels[0] if config.sees_input else 0), config.resolution, config.resolution)
    networks = {
        "translator": summarise(build_translator(config, *channels), image),
        "discriminator": summarise(build_critic(config, *channels), seen),
    }
    recipe = recipes(TRANSLATE)[name]
    return TranslationSummary(recipe, dict(recipe.config) | changed, networks)
