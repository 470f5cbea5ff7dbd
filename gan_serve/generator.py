"""The generator: seeds and labels in, images out."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, overload

import numpy as np
import numpy.typing as npt

from gan_serve.checkpoint.config import CheckpointConfig, Precision
from gan_serve.checkpoint.files import read_config
from gan_serve.images.pixels import UInt8Array
from gan_serve.keywords import suggest_keywords
from gan_serve.pretrained import Pretrained
from gan_serve.progress import PART, Meter, Progress
from gan_serve.sampling.directions import DirectionSampler
from gan_serve.sampling.labels import Label, Labels
from gan_serve.sampling.mixing import CROSSOVER
from gan_serve.sampling.receipt import GeneratedImage
from gan_serve.sampling.request import SamplingRequest, join_inputs
from gan_serve.sampling.result import Output, Samples, check_output
from gan_serve.sampling.seeds import Seeds
from gan_serve.sampling.seeds_and_latents import Keys
from gan_serve.sampling.session import Session
from gan_serve.sampling.walks import make_walk


class Generator(DirectionSampler, Pretrained[CheckpointConfig, Session]):
    """A checkpoint that is loaded, verified and ready to sample.

    >>> g = Generator.from_pretrained("fashion-dcgan")
    >>> g.generate(seeds="0-3", output="numpy").shape
    (4, 28, 28, 1)
    """

    def __init__(
        self, directory: str | Path, *, device: str = "auto", precision: str = "fp32", threads: int = 1
    ) -> None:
        config = read_config(Path(directory))
        self._open(Path(directory), config, device=device, precision=precision, threads=threads)
        super().__init__(self.config, self._session.precision, self._session.style_layers, self._session.w_dim)

    def _new_session(self, model: bytes, precision: Precision, device: str, threads: int) -> Session:
        return Session(model, self.config, precision=precision, device=device, threads=threads)

    @overload
    def generate(
        self, n: int | None = ..., *, seed: int | None = ..., seeds: Keys | None = ...,
        latents: npt.ArrayLike | None = ..., offsets: npt.ArrayLike | None = ..., label: Labels | None = ...,
        truncation: float = ..., output: Literal["pil"] = ..., progress: Progress = ...,
    ) -> list[GeneratedImage]: ...  # fmt: skip

    @overload
    def generate(
        self, n: int | None = ..., *, seed: int | None = ..., seeds: Keys | None = ...,
        latents: npt.ArrayLike | None = ..., offsets: npt.ArrayLike | None = ..., label: Labels | None = ...,
        truncation: float = ..., output: Literal["numpy"], progress: Progress = ...,
    ) -> UInt8Array: ...  # fmt: skip

    @suggest_keywords
    def generate(
        self,
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
        """Sample images. The image of a seed does not depend on the other images of the call.

        Args:
            n: the number of images, 1 to 100,000; 1 if neither n nor seeds nor latents are given.
            seed: the first of n consecutive seeds; random if None.
            seeds: the seeds themselves, instead of n and seed: a list of ints, an int, or text such as ``"0-3,10"``. A
                seed is a whole number from 0 to 2**32-1; its latent is ``RandomState(seed).standard_normal(z_dim)``. A
                list may also have latents, each a list or an array of z_dim numbers.
            latents: float32 [N, z_dim] instead of seeds, finite; [N, z_dim + w_dim] for a network with a w space, where
                the numbers behind z are added to w, as ``gan_serve.training.project`` finds them.
            offsets: distances along each of ``directions``, from -20 to 20: a list for all images or for each image.
            label: a class name or index for all images, or a list of one for each image. If None, the class of a seed
                is seed modulo c_dim, and that of latent number i is i modulo c_dim.
            truncation: ψ from 0 to 1. 1 leaves the latents unchanged; smaller values move them towards their mean: less
                variety, more typical images. Applied in w if the network has that space, otherwise in z.
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

        >>> g = Generator.from_pretrained("fashion-cgan")
        >>> [image] = g.generate(seed=7, label="Sneaker", truncation=0.8)
        >>> image.size, image.info["gan_serve"]["seed"]
        ((28, 28), 7)
        >>> g.generate(seeds="0-2,9", label=["Bag", "Coat", 0, 1], output="numpy").shape
        (4, 28, 28, 1)
        """
        check_output(output)
        samples = self.sample(
            n,
            seed=seed,
            seeds=seeds,
            latents=latents,
            offsets=offsets,
            label=label,
            truncation=truncation,
            progress=progress,
        )
        return samples.to_output(output)

    @suggest_keywords
    def sample(
        self,
        n: int | None = None,
        *,
        seed: int | None = None,
        seeds: Keys | None = None,
        latents: npt.ArrayLike | None = None,
        offsets: npt.ArrayLike | None = None,
        label: Labels | None = None,
        truncation: float = 1.0,
        progress: Progress = False,
    ) -> Samples:
        """Return the images of ``generate`` as ``Samples``, which keep seeds and labels and can be encoded as files."""
        request = self.sample_request(
            n, seed=seed, seeds=seeds, latents=latents, offsets=offsets, label=label, truncation=truncation
        )
        return self._run(request, progress)

    @overload
    def condition(
        self, n: int | None = ..., *, seed: int | None = ..., seeds: Keys | None = ...,
        latents: npt.ArrayLike | None = ..., offsets: npt.ArrayLike | None = ..., labels: Labels | None = ...,
        truncation: float = ..., output: Literal["pil"] = ..., progress: Progress = ...,
    ) -> dict[str, list[GeneratedImage]]: ...  # fmt: skip

    @overload
    def condition(
        self, n: int | None = ..., *, seed: int | None = ..., seeds: Keys | None = ...,
        latents: npt.ArrayLike | None = ..., offsets: npt.ArrayLike | None = ..., labels: Labels | None = ...,
        truncation: float = ..., output: Literal["numpy"], progress: Progress = ...,
    ) -> dict[str, UInt8Array]: ...  # fmt: skip

    @suggest_keywords
    def condition(
        self,
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
        """Sample the same latents under each label.

        Args:
            n, seed, seeds, latents, offsets, truncation: choose the latents as for ``generate``.
            labels: class names or indices, each once; all classes if None.
            output: ``pil`` or ``numpy``.
            progress: True for a bar, or a function that is called with the images done and all images.

        Returns:
            The images of each label by class name, in the order of the labels: for ``pil``, lists of N Pillow images,
            each with its receipt in ``info["gan_serve"]``; for ``numpy``, uint8 [N, H, W, C].

        Raises:
            UnknownLabel: the model does not have a label, has no labels at all, or a label is given twice.
            TooManyImages: more than 100,000 images in all.
            InvalidSeeds, InvalidLatents, InvalidTruncation, InvalidOption, TypeError: as for ``generate``.

        >>> sheet = Generator.from_pretrained("fashion-cgan").condition(seeds="0-7", labels=["Bag", "Coat"])
        >>> [(name, len(images)) for name, images in sheet.items()]
        [('Bag', 8), ('Coat', 8)]
        """
        check_output(output)
        return self.sample_condition(
            n,
            seed=seed,
            seeds=seeds,
            latents=latents,
            offsets=offsets,
            labels=labels,
            truncation=truncation,
            progress=progress,
        ).to_output_by_label(output)

    @suggest_keywords
    def sample_condition(
        self,
        n: int | None = None,
        *,
        seed: int | None = None,
        seeds: Keys | None = None,
        latents: npt.ArrayLike | None = None,
        offsets: npt.ArrayLike | None = None,
        labels: Labels | None = None,
        truncation: float = 1.0,
        progress: Progress = False,
    ) -> Samples:
        """Return the images of ``condition`` as ``Samples``: all of the first label, then all of the second, and so on.

        Their PNG has a row for each label and a column for each latent.
        """
        request = self.condition_request(
            n, seed=seed, seeds=seeds, latents=latents, offsets=offsets, labels=labels, truncation=truncation
        )
        return self._run(request, progress)

    @overload
    def interpolate(
        self, seeds: Keys, *, steps: int = ..., method: str = ..., loop: bool = ..., label: Labels | None = ...,
        truncation: float = ..., start: int = ..., stop: int | None = ..., output: Literal["pil"] = ...,
        progress: Progress = ...,
    ) -> list[GeneratedImage]: ...  # fmt: skip

    @overload
    def interpolate(
        self, seeds: Keys, *, steps: int = ..., method: str = ..., loop: bool = ..., label: Labels | None = ...,
        truncation: float = ..., start: int = ..., stop: int | None = ..., output: Literal["numpy"],
        progress: Progress = ...,
    ) -> UInt8Array: ...  # fmt: skip

    @suggest_keywords
    def interpolate(
        self,
        seeds: Keys,
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
            seeds: k keys, 2 or more: a list of seeds and latents, or text such as ``"0,5,9"``. Their images are frames
                of the walk, bit-equal to those of ``generate``.
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
            InvalidOption: steps, method, loop, start, stop or output is out of range, or there are fewer than two seeds
                or more than 100,000 frames in one call.
            InvalidSeeds, InvalidTruncation, UnknownLabel, TypeError: as for ``generate``.

        >>> len(Generator.from_pretrained("fashion-dcgan").interpolate([0, 5, 9], steps=4, loop=True))
        12
        """
        check_output(output)
        return self.sample_walk(
            seeds,
            steps=steps,
            method=method,
            loop=loop,
            label=label,
            truncation=truncation,
            start=start,
            stop=stop,
            progress=progress,
        ).to_output(output)

    @suggest_keywords
    def sample_walk(
        self,
        seeds: Keys,
        *,
        steps: int = 16,
        method: str = "slerp",
        loop: bool = False,
        label: Labels | None = None,
        truncation: float = 1.0,
        start: int = 0,
        stop: int | None = None,
        progress: Progress = False,
    ) -> Samples:
        """Return the frames of ``interpolate`` as ``Samples``, which can be encoded as an animation or a strip."""
        walk = make_walk(seeds, steps=steps, method=method, loop=loop, start=start, stop=stop)
        return self._run(self.walk_request(walk, label=label, truncation=truncation), progress)

    @overload
    def mix(
        self, coarse: Seeds, fine: Seeds, *, crossover: int = ..., label: Label | None = ...,
        truncation: float = ..., output: Literal["pil"] = ..., progress: Progress = ...,
    ) -> list[GeneratedImage]: ...  # fmt: skip

    @overload
    def mix(
        self, coarse: Seeds, fine: Seeds, *, crossover: int = ..., label: Label | None = ...,
        truncation: float = ..., output: Literal["numpy"], progress: Progress = ...,
    ) -> UInt8Array: ...  # fmt: skip

    @suggest_keywords
    def mix(
        self,
        coarse: Seeds,
        fine: Seeds,
        *,
        crossover: int = CROSSOVER,
        label: Label | None = None,
        truncation: float = 1.0,
        output: Output = "pil",
        progress: Progress = False,
    ) -> list[GeneratedImage] | UInt8Array:
        """Mix styles: each coarse seed with each fine seed (Karras et al. 2019, arXiv:1812.04948, section 3.1).

        The first layers, of low resolution, take their style (pose, shape) from the coarse seed, others from the fine.

        Args:
            coarse, fine: seeds, in any form that ``generate`` takes.
            crossover: the first layer that follows the fine seed, from 0 (all do) to ``style_layers`` (none does).
                There are two layers for each resolution from 4x4 on.
            label: a class name or index for all images; if None, the class of a coarse seed is seed modulo c_dim.
            truncation: ψ from 0 to 1, applied in w to both styles.
            output: ``pil`` or ``numpy``.
            progress: True for a bar, or a function that is called with the images done and all images.

        Returns:
            All fine seeds with the first coarse seed, then with the second, and so on: for ``pil``, a list of Pillow
            images, each with its receipt in ``info["gan_serve"]``; for ``numpy``, uint8 [N, H, W, C].

        Raises:
            InvalidOption: the network has no styles or no inputs for mixing, or crossover is out of range.
            TooManyImages: more than 100,000 images.
            InvalidSeeds, InvalidTruncation, UnknownLabel, TypeError: as for ``generate``.
        """
        check_output(output)
        return self.sample_mix(
            coarse, fine, crossover=crossover, label=label, truncation=truncation, progress=progress
        ).to_output(output)

    @suggest_keywords
    def sample_mix(
        self,
        coarse: Seeds,
        fine: Seeds,
        *,
        crossover: int = CROSSOVER,
        label: Label | None = None,
        truncation: float = 1.0,
        progress: Progress = False,
    ) -> Samples:
        """Return the images of ``mix`` as ``Samples``; their PNG has a row for each coarse seed."""
        request = self.mix_request(coarse, fine, crossover=crossover, label=label, truncation=truncation)
        return self._run(request, progress)

    def run(self, *requests: SamplingRequest) -> UInt8Array:
        """Return the pixels of requests to this generator, computed in one batch: uint8 [N, H, W, C].

        An image does not depend on the other images of its batch.
        """
        return self._session.run_inputs(join_inputs(requests))

    def _run(self, request: SamplingRequest, progress: Progress = False) -> Samples:
        if progress is False:
            return request.samples(self.run(request))
        parts = []
        with Meter(progress, len(request)) as meter:
            for part in request.parts(PART):
                parts.append(self.run(part))
                meter.add(len(part))
        return request.samples(np.concatenate(parts))
