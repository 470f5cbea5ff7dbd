"""The calls of a client that send pictures, with asyncio. ``sync_pictures.py`` is generated from this file."""

from __future__ import annotations

from typing import Any, Literal, overload

from gan_serve.client import exchanges, requests
from gan_serve.client.async_sender import AsyncSender
from gan_serve.client.responses import FoundLatents
from gan_serve.images.pixels import UInt8Array
from gan_serve.keywords import suggest_keywords
from gan_serve.progress import Progress
from gan_serve.sampling.labels import Labels
from gan_serve.sampling.receipt import GeneratedImage
from gan_serve.sampling.result import Output


class AsyncPictures(AsyncSender):
    """Methods of ``AsyncClient`` that send pictures: translation, and the search for their latents."""

    @overload
    async def translate(
        self, model: str | None = ..., images: Any = ..., *, fit: str = ..., output: Literal["pil"] = ...
    ) -> list[GeneratedImage]: ...

    @overload
    async def translate(
        self, model: str | None = ..., images: Any = ..., *, fit: str = ..., output: Literal["numpy"]
    ) -> UInt8Array: ...

    @suggest_keywords
    async def translate(
        self, model: str | None = None, images: Any = None, *, fit: str = "crop", output: Output = "pil"
    ) -> list[GeneratedImage] | UInt8Array:
        """Translate images. More images than the server accepts in one request are sent in several.

        Args:
            model: the name of a translator; may be left out if the server has one model only.
            images: one or several of: a path, the bytes of a file, a Pillow image, an array uint8 [H, W] or [H, W, C].
                Files are sent as they are, all others as PNG.
            fit: ``crop`` or ``exact``, see ``Translator.translate``.
            output: ``pil`` or ``numpy``.

        Returns:
            For ``pil``, a list of Pillow images, each with its receipt in ``info["gan_serve"]``; for ``numpy``, uint8
            [N, H, W, C].

        Raises:
            InvalidImage, InvalidOption, TooManyImages: the images or the options do not fit.
            UnknownModel, ServerError: see the class.
        """
        request = requests.translate_pictures(model, images, fit=fit)
        return await self._run(exchanges.fetch_images(self._limits, request, output))

    @suggest_keywords
    async def project(
        self,
        model: str | None = None,
        images: Any = None,
        *,
        label: Labels | None = None,
        fit: str = "crop",
        progress: Progress = False,
    ) -> FoundLatents:
        """Find the latents whose images are nearest to pictures, as ``gan_serve.training.project`` does.

        A server allows it with GAN_SERVE_PROJECT. It searches for seconds, for one picture after the other: give the
        client a ``timeout`` that is longer than a search.

        Args:
            model: the name of a generator; may be left out if the server has one model only.
            images: one or several of: a path, the bytes of a file, a Pillow image, an array uint8 [H, W] or [H, W, C].
                Files are sent as they are, all others as PNG.
            label: a class name or index for all pictures, or a list of one for each. If None, all classes are tried.
            fit: ``crop`` cuts the largest square from the middle and resizes it; ``exact`` refuses other sizes.
            progress: True for a bar, or a function that is called with the pictures done and all pictures.

        Returns:
            ``FoundLatents``, whose ``latents`` and ``labels`` are arguments of ``generate`` and ``interpolate``.

        Raises:
            InvalidImage, InvalidOption, UnknownLabel, TooManyImages: the pictures or the options do not fit.
            TooManyRequests: another picture was projected during all retries. RequestTimeout: the search took longer
            than the server allows. ServerError: the server does not project pictures. UnknownModel: see the class.

        >>> found = await client.project("fashion-cgan", "coat.png")  # doctest: +SKIP
        >>> [image] = await client.generate("fashion-cgan", latents=found.latents, label=found.labels)  # doctest: +SKIP
        """
        calls = requests.project_pictures(model, images, label=label, fit=fit)
        return await self._run(exchanges.fetch_latents(calls, progress))
