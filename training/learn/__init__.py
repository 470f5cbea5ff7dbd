"""The theory of GANs in small experiments of seconds: ``gan-serve learn NAME``. Each page is one function.

To add one, write a function that returns a ``Page`` and name it in ``PAGES``.
"""

from __future__ import annotations

from collections.abc import Callable

from gan_serve.errors import InvalidOption
from gan_serve.training.learn.densities import best_discriminator, distances, value_of_the_game
from gan_serve.training.learn.lipschitz import lipschitz
from gan_serve.training.learn.page import Page
from gan_serve.training.learn.ring import mode_collapse
from gan_serve.training.learn.slopes import generator_gradients

PAGES: dict[str, Callable[[], Page]] = {
    "value": value_of_the_game,
    "best-discriminator": best_discriminator,
    "distances": distances,
    "gradients": generator_gradients,
    "mode-collapse": mode_collapse,
    "lipschitz": lipschitz,
}


def learn(name: str) -> Page:
    """Run the experiment of a page.

    Raises:
        InvalidOption: there is no such page; the nearest is named.
    """
    if name not in PAGES:
        raise InvalidOption.unknown("page", name, PAGES)
    return PAGES[name]()
