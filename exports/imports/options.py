"""Facts about a generator that the user states because its file does not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

PIXEL_RANGES = {"tanh": "-1 to 1", "unit": "0 to 1", "bytes": "0 to 255"}


@dataclass(frozen=True)
class ImportOptions:
    """Facts stated about a generator; None: it is recognised, or the file has no such thing.

    Attributes:
        file: the file of a folder or repository that has several.
        key: the state dict of a PyTorch file that has several, such as ``netG``.
        class_names: the classes of a conditional generator.
        latents: the distribution that it was trained with; ``uniform`` is from -1 to 1.
        activation: of a DCGAN's state dict; ``leaky`` has a slope of 0.2.
        z_input, c_input: the names of the inputs for latents and labels.
        labels: the form of the labels.
        layout: the order of the axes of the images.
        pixel_range: the range of the images: ``tanh`` from -1 to 1, ``unit`` from 0 to 1, ``bytes`` from 0 to 255.
    """

    file: str | None = None
    key: str | None = None
    class_names: tuple[str, ...] = ()
    latents: Literal["normal", "uniform"] = "normal"
    activation: Literal["relu", "leaky"] = "relu"
    z_input: str | None = None
    c_input: str | None = None
    labels: Literal["index", "onehot"] | None = None
    layout: Literal["nchw", "nhwc"] | None = None
    pixel_range: Literal["tanh", "unit", "bytes"] | None = None

    def about_latents(self, name: str) -> str:
        """Return the sentence of a card on the input for latents."""
        kind = "uniform from -1 to 1" if self.latents == "uniform" else "normal, N(0, 1)"
        return f"Latents: input {name}, {kind}."

    def about_labels(self, name: str, classes: int, *, onehot: bool) -> str:
        """Return the sentence of a card on the input for labels."""
        form = "one-hot" if onehot else "an index"
        named = "" if self.class_names else "; the file does not name the classes"
        return f"Labels: input {name}, {form}, of {classes} classes{named}."
