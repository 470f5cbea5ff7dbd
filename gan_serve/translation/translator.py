"""The translator: images in, images out."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal, overload

import numpy as np
import numpy.typing as npt

from gan_serve.checkpoint.config import Precision, TranslatorConfig
from gan_serve.checkpoint.files import read_translator_config
from gan_serve.errors import TooManyImages
from gan_serve.images.pixels import UInt8Array
from gan_serve.keywords import suggest_keywords
from gan_serve.pretrained import Pretrained
from gan_serve.sampling.receipt import GeneratedImage
from gan_serve.sampling.result import Output, check_output
from gan_serve.sampling.translator_session import TranslatorSession
from gan_serve.translation.inputs import Picture, fit_picture, read_pictures
from gan_serve.translation.result import TranslationRequest, Translations

MAX_IMAGES = 10_000  # in one call
MAX_OUTPUT = 2**28  # bytes of all images of one call


class Translator(Pretrained[TranslatorConfig, TranslatorSession]):
    """A checkpoint of the task ``translate`` that is loaded, verified and ready to translate images."""

    def __init__(
        self, directory: str | Path, *, device: str = "auto", precision: str = "fp32", threads: int = 1
    ) -> None:
        config = read_translator_config(Path(directory))
        self._open(Path(directory), config, device=device, precision=precision, threads=threads)

    def _new_session(self, model: bytes, precision: Precision, device: str, threads: int) -> TranslatorSession:
        return TranslatorSession(model, self.config, precision=precision, device=device, threads=threads)

    @property
    def name(self) -> str:
        """The name of the checkpoint."""
        return self.config.name

    @property
    def digest(self) -> str:
        """``sha256:...`` of the network's file."""
        return self.config.digest_of(self._session.precision)

    @property
    def precision(self) -> Precision:
        """The precision that it runs in."""
        return self._session.precision

    @property
    def scale(self) -> int:
        """The factor between the width and height of an input and those of its output."""
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

    @overload
    def translate(self, images: Any, *, fit: str = "crop", output: Literal["pil"] = "pil") -> list[GeneratedImage]: ...

    @overload
    def translate(self, images: Any, *, fit: str = "crop", output: Literal["numpy"]) -> UInt8Array: ...

    @suggest_keywords
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
            TypeError: unknown keyword; the message names the nearest one.

        >>> translator = Translator.from_pretrained("org/name")  # doctest: +SKIP
        >>> translator.translate("photo.jpg")[0].save("large.png")  # doctest: +SKIP
        """
        check_output(output)
        return self.translations(images, fit=fit).to_output(output)

    def translations(self, images: Any, *, fit: str = "crop") -> Translations:
        """Return the images of ``translate`` as ``Translations``, which keep inputs and can be encoded as files."""
        request = self.request(read_pictures(images), fit=fit)
        return request.samples(self.run(request))

    def request(self, pictures: Iterable[Picture], *, fit: str = "crop") -> TranslationRequest:
        """Return a request for the translation of pictures, which are fitted; see ``translate`` for the errors.

        An iterator is read picture by picture, so that of large pictures only the fitted ones are held.
        """
        inputs: list[UInt8Array] = []
        digests: list[str] = []
        size = 0
        for picture in pictures:
            inputs.append(fit_picture(picture, self.config, fit))
            digests.append(picture.digest)
            height, width, _ = inputs[-1].shape
            size += height * width * self.scale**2 * self.img_channels
            if len(inputs) > MAX_IMAGES or size > MAX_OUTPUT:
                raise TooManyImages(
                    f"One call translates at most {MAX_IMAGES:,} images to outputs of {MAX_OUTPUT / 1e6:,.0f} MB.",
                    "Translate fewer or smaller images at a time.",
                )
        return TranslationRequest(tuple(inputs), tuple(digests), fit, self.name, self.digest, self.precision)

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
