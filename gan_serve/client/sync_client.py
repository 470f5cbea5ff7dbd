"""``async_client.py`` without asyncio. Do not edit: tests/generate_sync_client.py writes this file."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path
from typing import Any, Literal, overload

import numpy.typing as npt

from gan_serve.atomic_files import write_atomically
from gan_serve.client import exchanges, requests
from gan_serve.client.responses import Frame
from gan_serve.client.sync_pictures import Pictures
from gan_serve.client.transport import TIMEOUT
from gan_serve.images.pixels import UInt8Array
from gan_serve.keywords import suggest_keywords
from gan_serve.progress import Progress
from gan_serve.sampling.labels import Label, Labels
from gan_serve.sampling.mixing import CROSSOVER
from gan_serve.sampling.receipt import GeneratedImage
from gan_serve.sampling.result import Output
from gan_serve.sampling.seeds import Seeds
from gan_serve.sampling.seeds_and_latents import Keys


class Client(Pictures):
    """A client of a gan-serve server, with the calls of a local ``Generator``.

    Threads may share a client; at most 32 requests of a client are sent at once, and the others wait.

    >>> with Client("http://localhost:3000") as client:  # doctest: +SKIP
    ...     images = client.generate("fashion-dcgan", seeds="0-3")

    Args:
        address: the address of the server, such as ``http://localhost:3000`` or ``https://example.org/gan``.
        api_key: the API key of the server; GAN_SERVE_API_KEY if None.
        timeout: seconds without a byte from the server after which a request fails; no limit if None.
        retries: how often a request is repeated if the server's queue was full (429), the server was not ready (503),
            or the connection broke. All requests are safe to repeat: the client chooses random seeds itself. Before a
            repetition it waits as long as the server asks for, up to 30 s.

    Raises:
        InvalidOption: an argument is out of range.

    Every call raises the errors of ``Generator`` for its arguments, and:
        UnknownModel: the server does not have the model.
        TooManyRequests, ServerNotReady: all retries failed; ``retry_after`` has the seconds of the header Retry-After.
        Unauthorized, RequestTimeout, ServerUnreachable, ServerError: as ``gan_serve.errors`` explains.
    """

    @suggest_keywords
    def __init__(
        self, address: str, *, api_key: str | None = None, timeout: float | None = TIMEOUT, retries: int = 3
    ) -> None:
        super().__init__(address, api_key=api_key, timeout=timeout, retries=retries)

    @overload
    def generate(
        self, model: str | None = ..., n: int | None = ..., *, seed: int | None = ..., seeds: Keys | None = ...,
        latents: npt.ArrayLike | None = ..., offsets: npt.ArrayLike | None = ..., label: Labels | None = ...,
        truncation: float = ..., output: Literal["pil"] = ..., progress: Progress = ...,
    ) -> list[GeneratedImage]: ...  # fmt: skip

    @overload
    def generate(
        self, model: str | None = ..., n: int | None = ..., *, seed: int | None = ..., seeds: Keys | None = ...,
        latents: npt.ArrayLike | None = ..., offsets: npt.ArrayLike | None = ..., label: Labels | None = ...,
        truncation: float = ..., output: Literal["numpy"], progress: Progress = ...,
    ) -> UInt8Array: ...  # fmt: skip

    @suggest_keywords
    def generate(
        self,
        model: str | None = None,
        n: int | None = None,
        *,
        seed: int | None = None,
        seeds: Keys | None = None,
        latents: npt.ArrayLike | None = None,
        offsets: npt.ArrayLike | None = None,
        label: Labels | None = None,
        truncation: float = 1.0,
        output: Output = "pil",
        progress: Progress = False,
    ) -> list[GeneratedImage] | UInt8Array:
        """Sample images. More images than the server accepts in one request take several.

        Args:
            model: a name of ``models()``; may be left out if the server has one model only.
            n: the number of images, 1 to 100,000; 1 if neither n nor seeds nor latents are given.
            seed: the first of n consecutive seeds; random if None.
            seeds: the seeds instead of n and seed: a list of ints, an int, or text such as ``"0-3,10"``. A seed is a
                whole number from 0 to 2**32-1. A list may also have latents, each a list or an array of numbers.
            latents: float32 [N, z_dim] instead of seeds, finite; or [N, z_dim + w_dim], see ``Generator.generate``.
            offsets: distances along each of the model's directions, from -20 to 20: a list of numbers for all images,
                or such a list for each image.
            label: a class name or index for all images, or a list of one for each image. If None, the class of a seed
                is seed modulo c_dim, and that of latent number i is i modulo c_dim.
            truncation: ψ from 0 to 1. 1 leaves the latents unchanged; smaller values move them towards their mean: less
                variety, more typical images.
            output: ``pil`` or ``numpy``.
            progress: True for a bar, or a function that is called with the images done and all images.

        Returns:
            For ``pil``, a list of Pillow images (mode L or RGB), each with its receipt in ``info["gan_serve"]``; for
            ``numpy``, uint8 [N, H, W, C], C of 1 or 3.

        Raises:
            InvalidSeeds, InvalidLatents, InvalidTruncation: a value is malformed or out of range.
            UnknownLabel: the model does not have the label; the message lists those that it has.
            InvalidOption: unknown output, or both latents and seeds.
            TypeError: unknown keyword; the message names the nearest one.
            UnknownModel, ServerError: see the class.

        >>> images = client.generate("fashion-dcgan", seeds="0-3", truncation=0.8)  # doctest: +SKIP
        >>> [image.info["gan_serve"]["seed"] for image in images]  # doctest: +SKIP
        [0, 1, 2, 3]
        """
        request = requests.sample_images(
            model, n, seed=seed, seeds=seeds, latents=latents, offsets=offsets, label=label, truncation=truncation
        )
        return self._run(exchanges.fetch_images(self._limits, request, output, progress))

    @overload
    def condition(
        self, model: str | None = ..., n: int | None = ..., *, seed: int | None = ..., seeds: Keys | None = ...,
        latents: npt.ArrayLike | None = ..., offsets: npt.ArrayLike | None = ..., labels: Labels | None = ...,
        truncation: float = ..., output: Literal["pil"] = ..., progress: Progress = ...,
    ) -> dict[str, list[GeneratedImage]]: ...  # fmt: skip

    @overload
    def condition(
        self, model: str | None = ..., n: int | None = ..., *, seed: int | None = ..., seeds: Keys | None = ...,
        latents: npt.ArrayLike | None = ..., offsets: npt.ArrayLike | None = ..., labels: Labels | None = ...,
        truncation: float = ..., output: Literal["numpy"], progress: Progress = ...,
    ) -> dict[str, UInt8Array]: ...  # fmt: skip

    @suggest_keywords
    def condition(
        self,
        model: str | None = None,
        n: int | None = None,
        *,
        seed: int | None = None,
        seeds: Keys | None = None,
        latents: npt.ArrayLike | None = None,
        offsets: npt.ArrayLike | None = None,
        labels: Labels | None = None,
        truncation: float = 1.0,
        output: Output = "pil",
        progress: Progress = False,
    ) -> dict[str, list[GeneratedImage]] | dict[str, UInt8Array]:
        """Sample the same latents under each label of a conditional model.

        Args:
            model: a name of ``models()``; may be left out if the server has one model only.
            n, seed, seeds, latents, offsets, truncation: choose the latents as for ``generate``.
            labels: class names or indices, each once; all classes if None.
            output: ``pil`` or ``numpy``.
            progress: True for a bar, or a function that is called with the images done and all images.

        Returns:
            The images of each label by class name, in the order of the labels: for ``pil``, lists of N Pillow images,
            each with its receipt in ``info["gan_serve"]``; for ``numpy``, uint8 [N, H, W, C].

        Raises:
            UnknownLabel: the model does not have a label, has no labels at all, or a label is given twice.
            Other errors: as for ``generate``.

        >>> sheet = client.condition("fashion-cgan", seeds="0-7", labels=["Bag", "Coat"])  # doctest: +SKIP
        >>> [(name, len(images)) for name, images in sheet.items()]  # doctest: +SKIP
        [('Bag', 8), ('Coat', 8)]
        """
        request = requests.condition_images(
            model, n, seed=seed, seeds=seeds, latents=latents, offsets=offsets, labels=labels, truncation=truncation
        )
        return self._run(exchanges.fetch_by_label(self._limits, request, output, progress))

    @overload
    def interpolate(
        self, model: str | None = ..., seeds: Keys = ..., *, steps: int = ..., method: str = ..., loop: bool = ...,
        label: Labels | None = ..., truncation: float = ..., start: int = ..., stop: int | None = ...,
        output: Literal["pil"] = ..., progress: Progress = ...,
    ) -> list[GeneratedImage]: ...  # fmt: skip

    @overload
    def interpolate(
        self, model: str | None = ..., seeds: Keys = ..., *, steps: int = ..., method: str = ..., loop: bool = ...,
        label: Labels | None = ..., truncation: float = ..., start: int = ..., stop: int | None = ...,
        output: Literal["numpy"], progress: Progress = ...,
    ) -> UInt8Array: ...  # fmt: skip

    @suggest_keywords
    def interpolate(
        self,
        model: str | None = None,
        seeds: Keys | None = None,
        *,
        steps: int = 16,
        method: str = "slerp",
        loop: bool = False,
        label: Labels | None = None,
        truncation: float = 1.0,
        start: int = 0,
        stop: int | None = None,
        output: Output = "pil",
        progress: Progress = False,
    ) -> list[GeneratedImage] | UInt8Array:
        """Sample the frames of a walk through latents: those of seeds, or given ones.

        Args:
            model: a name of ``models()``; may be left out if the server has one model only.
            seeds: k keys, 2 or more: a list of seeds and latents, or text such as ``"0,5,9"``.
            steps: frames from one key seed to the next, 1 or more.
            method: ``slerp`` (spherical, keeps the norm of the latents) or ``lerp`` (linear).
            loop: return to the first key seed.
            label: a class name or index for all frames, or a list of one for each key: a frame has that of the nearer
                key. If None, the class of the first seed, as in ``generate``; of a latent, the first class.
            truncation: ψ from 0 to 1, as for ``generate``.
            start, stop: return only the frames start to stop-1, which equal those of the whole walk; if stop is None,
                up to its end.
            output: ``pil`` or ``numpy``.
            progress: True for a bar, or a function that is called with the images done and all images.

        Returns:
            (k-1)·steps + 1 frames, or k·steps if looped: for ``pil``, a list of Pillow images, each with its receipt in
            ``info["gan_serve"]``; for ``numpy``, uint8 [N, H, W, C].

        Raises:
            InvalidOption: steps, method, loop, start, stop or output is out of range, or there is only one seed.
            Other errors: as for ``generate``.

        >>> len(client.interpolate("fashion-dcgan", [0, 5], steps=8))  # doctest: +SKIP
        9
        """
        request = requests.walk_frames(
            model, seeds, steps, method=method, loop=loop, label=label, truncation=truncation, start=start, stop=stop
        )
        return self._run(exchanges.fetch_images(self._limits, request, output, progress))

    @suggest_keywords
    def iter_frames(
        self,
        model: str | None = None,
        seeds: Keys | None = None,
        *,
        steps: int = 16,
        method: str = "slerp",
        loop: bool = False,
        label: Labels | None = None,
        truncation: float = 1.0,
        start: int = 0,
        stop: int | None = None,
    ) -> Generator[Frame, None, None]:
        """Return an iterator over the frames of ``interpolate``, one at a time, as the server computes them.

        After a disconnect it continues with the next frame; no frame is returned twice. Arguments are those of
        ``interpolate``, and are checked before the iterator is returned.

        Returns:
            An iterator of ``Frame(number, total, image)``.

        >>> for frame in client.iter_frames("fashion-dcgan", [0, 5, 9], steps=64):  # doctest: +SKIP
        ...     frame.image.save(f"{frame.number:04d}.png")
        """
        request = requests.walk_frames(
            model, seeds, steps, method=method, loop=loop, label=label, truncation=truncation, start=start, stop=stop
        )
        return self._iter(exchanges.FrameStream(request))

    @overload
    def mix(
        self, model: str | None = ..., coarse: Seeds = ..., fine: Seeds = ..., *, crossover: int = ...,
        label: Label | None = ..., truncation: float = ..., output: Literal["pil"] = ..., progress: Progress = ...,
    ) -> list[GeneratedImage]: ...  # fmt: skip

    @overload
    def mix(
        self, model: str | None = ..., coarse: Seeds = ..., fine: Seeds = ..., *, crossover: int = ...,
        label: Label | None = ..., truncation: float = ..., output: Literal["numpy"], progress: Progress = ...,
    ) -> UInt8Array: ...  # fmt: skip

    @suggest_keywords
    def mix(
        self,
        model: str | None = None,
        coarse: Seeds | None = None,
        fine: Seeds | None = None,
        *,
        crossover: int = CROSSOVER,
        label: Label | None = None,
        truncation: float = 1.0,
        output: Output = "pil",
        progress: Progress = False,
    ) -> list[GeneratedImage] | UInt8Array:
        """Mix the styles of each coarse seed with those of each fine seed; ``Generator.mix`` explains the arguments.

        >>> images = client.mix("fashion-stylegan", "0-3", "4-7")  # doctest: +SKIP
        """
        request = requests.mix_images(model, coarse, fine, crossover=crossover, label=label, truncation=truncation)
        return self._run(exchanges.fetch_mix(self._limits, request, output, progress))

    @suggest_keywords
    def download(
        self,
        kind: exchanges.Kind,
        model: str | None = None,
        path: str | Path | None = None,
        *,
        n: int | None = None,
        seed: int | None = None,
        seeds: Keys | None = None,
        latents: npt.ArrayLike | None = None,
        offsets: npt.ArrayLike | None = None,
        label: Labels | None = None,
        labels: Labels | None = None,
        truncation: float | None = None,
        steps: int | None = None,
        method: str | None = None,
        loop: bool | None = None,
        start: int | None = None,
        stop: int | None = None,
        coarse: Seeds | None = None,
        fine: Seeds | None = None,
        crossover: int | None = None,
        format: str | None = None,
        columns: int | None = None,
        fps: float | None = None,
    ) -> bytes:
        """Return a file as the server encodes it: a grid, an animation, an npz, ...

        Args:
            kind: ``sample``, ``condition``, ``interpolate`` or ``mix``.
            model: a name of ``models()``; may be left out if the server has one model only.
            path: also write the file there; its suffix is the default of ``format``.
            n, ..., crossover: as for ``generate`` (``sample``) or the call of that name; None is its default.
            format: png, webp, gif, mp4, webm, npz, zip or json.
            columns: images in a row of a grid. fps: frames per second of an animation.

        Raises:
            InvalidOption: an unknown kind or format. TypeError: an argument that the kind does not take. CannotWrite:
                the file cannot be written. Others: as for that call.

        >>> file = client.download("sample", "fashion-dcgan", "grid.png", seeds="0-3")  # doctest: +SKIP
        """
        arguments = {
            "n": n, "seed": seed, "seeds": seeds, "latents": latents, "offsets": offsets, "label": label,
            "labels": labels, "truncation": truncation, "steps": steps, "method": method, "loop": loop, "start": start,
            "stop": stop, "coarse": coarse, "fine": fine, "crossover": crossover, "format": format,
            "columns": columns, "fps": fps,
        }  # fmt: skip
        given = {name: value for name, value in arguments.items() if value is not None}
        content = self._run(exchanges.fetch_file(kind, model, path, given))
        if path is not None:
            write_atomically(path, content)
        return content

    def models(self) -> list[dict[str, Any]]:
        """Return the models of the server, each with ``name``, ``ready``, ``class_names``, ``digest``, and so on."""
        return self._run(exchanges.fetch_models())

    def model(self, name: str) -> dict[str, Any]:
        """Return all that the server knows about a model, also its ``metrics`` and the digests of its ``files``."""
        return self._run(exchanges.fetch_model(name))
