"""The interface of what an exported ONNX file is compared with: a torch network, or the file that it was made from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from gan_serve.checkpoint.config import TruncationSpace
from gan_serve.exports.graph import Array
from gan_serve.images.pixels import UInt8Array


class Reference(Protocol):
    """The original computation of a generator.

    Attributes:
        truncation_space: ``w`` if the network truncates by its input psi.
        origin: the words for it in errors and in ``parity.json``, such as ``torch``.
    """

    truncation_space: TruncationSpace
    origin: str

    @property
    def z_dim(self) -> int:
        """Numbers in a latent."""

    @property
    def c_dim(self) -> int:
        """Number of classes; 0 for an unconditional generator."""

    def optional_inputs(self) -> dict[str, Array]:
        """Return the default of each input that a caller may leave out, for one image: arrays [1, ...] by name."""

    def images(self, inputs: Mapping[str, Any]) -> UInt8Array:
        """Return the images of the inputs of the exported file: arrays [N, ...] by name -> uint8 [N, H, W, C]."""
