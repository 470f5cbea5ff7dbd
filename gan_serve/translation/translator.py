"""The translator: images in, images out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, Self, overload

import numpy as np
import numpy.typing as npt

from gan_serve.checkpoint.config import PRECISION_FILES, Precision
from gan_serve.checkpoint.files import read_translator_config, read_verified
from gan_serve.errors import TooManyImages
from gan_serve.hub.file_sets import network_files
from gan_serve.hub.publishing import Publishing
from gan_serve.hub.resolve import locate
from gan_serve.images.pixels import UInt8Array
from gan_serve.sampling.device import AUTO, choose_precision
from gan_serve.sampling.receipt import GeneratedImage
from gan_serve.sampling.result import Output, check_output
from gan_serve.sampling.translator_session import TranslatorSession
from gan_serve.translation.inputs import Picture, fit_picture, read_pictures
from gan_serve.translation.result import TranslationRequest, Translations

MAX_IMAGES = 10_000  # in one call
MAX_OUTPUT = 2**28  # bytes of all images of one call


class Translator(Publishing):
    """A checkpoint of the task ``translate`` that is loaded, verified and ready to translate images."""

    def __init__(
        self, directory: str | Path, *, device: str = "auto", precision: str = "fp32", threads: int = 1
    ) -> None:
        self.directory = directory = Path(directory)
        self.config = read_translator_config(directory)
        self._session = self._open(precision, device, threads)
        if precision == AUTO and self._session.precision != choose_precision(self.config, AUTO, self.device):
            self._session = self._open(AUTO, self.device, threads)  # a driver was found, but CUDA did not work

    @classmethod
    def from_pretrained(
        cls,
        model: str | Path,
        *,
        revision: str | None = None,
        token: str | None = None,
        device: str = "auto",
        precision: str = "fp32",
        threads: int = 1,
    ) -> Self:
        """Load a checkpoint: check the digest of its network, then compute its golden sample and compare.

        Arguments and errors are those of ``Generator.from_pretrained``; a generator's checkpoint raises
        ``InvalidCheckpoint``.
        """
        directory, repository = locate(model, revision=revision, token=token, files=network_files(precision, device))
        translator = cls(directory, device=device, precision=precision, threads=threads)
        translator._repository = repository
        return translator

    def _open(self, precision: str, device: str, threads: int) -> TranslatorSession:
        chosen = choose_precision(self.config, precision, device)
        model = read_verified(self.directory, self.config, PRECISION_FILES[chosen])
        return TranslatorSession(model, self.config, precision=chosen, device=device, threads=threads)

    @property
    def name(self) -> str:
        """The name of the checkpoint."""
        return self.config.name

    @property
    def digest(self) -> str:
        """``sha256:...`` of the network's file."""
        return f"sha256:{self.config.files[PRECISION_FILES[self._session.precision]].sha256}"

    @property
    def precision(self) -> Precision:
        """The precision that it runs in."""
        return self._session.precision

    @property
    def device(self) -> str:
        """The device that it runs on: ``cpu`` or ``cuda``."""
        return self._session.device

    @property
    def scale(self) -> int:
        """Outputs are so many times as wide and as high as inputs."""
        return self.config.scale

    @property
    def any_size(self) -> bool:
        """True if images of any size are translated as they are; otherwise they are fitted to ``in_resolution``."""
        return self.config.any_size

    @property
    def in_resolution(self) -> int:
        """Width and height of the inputs that it was trained on."""
        return self.config.in_resolution

    @property
    def img_resolution(self) -> int:
        """Width and height of the outputs for inputs of ``in_resolution``."""
        return self.config.img_resolution

    @property
    def in_channels(self) -> int:
        """Channels of the inputs: 1 for gray, 3 for RGB."""
        return self.config.in_channels

    @property
    def img_channels(self) -> int:
        """Channels of the outputs: 1 for gray, 3 for RGB."""
        return self.config.img_channels

    def __repr__(self) -> str:
        return (
            f"Translator.from_pretrained({str(self.directory)!r}, device={self.device!r}, precision={self.precision!r})"
        )

    @overload
    def translate(self, images: Any, *, fit: str = "crop", output: Literal["pil"] = "pil") -> list[GeneratedImage]: ...

    @overload
    def translate(self, images: Any, *, fit: str = "crop", output: Literal["numpy"]) -> UInt8Array: ...

    def translate(self, images: Any, *, fit: str = "crop", output: Output = "pil") -> list[GeneratedImage] | UInt8Array:
        """Translate images. The output of an image does not depend on the other images of the call.

        Args:
            images: one or several of: a path, the bytes of a file (PNG, JPEG, WebP, GIF, BMP), a Pillow image, an array
                uint8 [H, W] or [H, W, C]; or an array uint8 [N, H, W, C].
            fit: ``crop`` cuts the largest square from the middle and resizes it with Lanczos, ``exact`` refuses images
                of another size than ``in_resolution``. Without effect if ``any_size``.
            output: ``pil`` or ``numpy``.

        Returns:
            For ``pil``, a list of Pillow images (mode L or RGB), each with its receipt in ``info["gan_serve"]``; for
            ``numpy``, uint8 [N, H, W, C].

        Raises:
            InvalidImage: an image is damaged, animated, too large, or does not have the size that ``exact`` requires.
            InvalidOption: unknown fit or output, or ``numpy`` for outputs of several sizes.
            TooManyImages: more than 10,000 images, or outputs of more than 256 MB.
        """
        check_output(output)
        return self.translations(images, fit=fit).to_output(output)

    def translations(self, images: Any, *, fit: str = "crop") -> Translations:
        """Return what ``translate`` returns as ``Translations``, which keep inputs and can be encoded as files."""
        request = self.request(read_pictures(images), fit=fit)
        return request.samples(self.run(request))

    def request(self, pictures: Sequence[Picture], *, fit: str = "crop") -> TranslationRequest:
        """Return pictures that ``read_pictures`` returned as a request, fitted; see ``translate`` for the errors."""
        inputs = tuple(fit_picture(picture, self.config, fit) for picture in pictures)
        size = sum(image.shape[0] * image.shape[1] for image in inputs) * self.scale**2 * self.img_channels
        if len(inputs) > MAX_IMAGES or size > MAX_OUTPUT:
            raise TooManyImages(
                f"{len(inputs)} images have outputs of {size / 1e6:,.0f} MB; one call gives at most {MAX_IMAGES:,} and "
                f"{MAX_OUTPUT / 1e6:,.0f} MB.",
                "Translate fewer or smaller images at a time.",
            )
        digests = tuple(picture.digest for picture in pictures)
        return TranslationRequest(inputs, digests, fit, self.name, self.digest, self.precision)

    def run(self, *requests: TranslationRequest) -> npt.NDArray[np.object_]:
        """Return the outputs of requests to this translator, an array of N arrays uint8 [H, W, C].

        Inputs of one size go through the network together, and large ones in tiles.
        """
        inputs = [image for request in requests for image in request.inputs]
        places: dict[tuple[int, ...], list[int]] = {}
        for place, image in enumerate(inputs):
            places.setdefault(image.shape, []).append(place)
        outputs = np.empty(len(inputs), object)
        for rows in places.values():
            for row, image in zip(rows, self._session.run(np.stack([inputs[row] for row in rows])), strict=True):
                outputs[row] = image
        return outputs

    def work(self, request: TranslationRequest) -> float:
        """Return the operations that a request takes, as ``gan_serve.checkpoint.network_cost`` counts them."""
        return sum(self._session.work(*image.shape[:2]) for image in request.inputs)
