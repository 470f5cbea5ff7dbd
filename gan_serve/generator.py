"""The generator: seeds and labels in, images out."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal, Self, TypedDict, Unpack, overload

import numpy as np
import numpy.typing as npt

from gan_serve.checkpoint import (
    CheckpointConfig,
    network_file,
    read_config,
    read_verified,
    verify_checkpoint,
)
from gan_serve.errors import InvalidOption, UnknownLabel, nearest
from gan_serve.files import directory_atomically
from gan_serve.hub import resolve
from gan_serve.images import UInt8Array
from gan_serve.latents import (
    FloatArray,
    Seeds,
    check_latents,
    check_truncation,
    check_walk,
    choose_seeds,
    latents_from_seeds,
    parse_seeds,
    shorten,
    walk,
)
from gan_serve.receipt import GeneratedImage, Walk
from gan_serve.runtime import Session
from gan_serve.samples import Samples

Label = str | int
Output = Literal["pil", "numpy"]


class SampleOptions(TypedDict, total=False):
    """What ``Generator.sample`` takes beside ``n``."""

    seed: int | None
    seeds: Seeds | None
    latents: npt.ArrayLike | None
    label: Label | Sequence[Label] | None
    truncation: float


class WalkOptions(TypedDict, total=False):
    """What ``Generator.sample_walk`` takes beside ``seeds``."""

    steps: int
    method: str
    loop: bool
    label: Label | None
    truncation: float


class Generator:
    """A checkpoint that is loaded, verified and ready to draw.

    >>> g = Generator.from_pretrained("fashion-dcgan")
    >>> g.generate(seeds="0-3", output="numpy").shape
    (4, 28, 28, 1)
    """

    def __init__(
        self, directory: str | Path, *, device: str = "auto", precision: str = "fp32", threads: int = 1
    ) -> None:
        self.directory = directory = Path(directory)
        self.config: CheckpointConfig = read_config(directory)
        self.precision = precision
        network = network_file(self.config, precision)
        self.digest = f"sha256:{self.config.files[network].sha256}"
        self._session = Session(
            read_verified(directory, self.config, network), self.config, device=device, threads=threads
        )

    @classmethod
    def from_pretrained(
        cls, model: str | Path, *, device: str = "auto", precision: str = "fp32", threads: int = 1
    ) -> Self:
        """Load a checkpoint: its digest is checked, then it draws its golden sample.

        Args:
            model: a name of ``list_models()``, or a directory that holds a checkpoint.
            device: ``cpu``, ``cuda`` (CUDA or an error), or ``auto`` (CUDA where there is a driver and it works).
            precision: ``fp32``, or another that the checkpoint has a file for.
            threads: CPU threads of the session.

        Raises:
            UnknownModel, InvalidCheckpoint, DigestMismatch, GoldenSampleMismatch, FormatTooNew, DeviceUnavailable,
            InvalidOption: see ``gan_serve.errors``.
        """
        return cls(resolve(model), device=device, precision=precision, threads=threads)

    @property
    def name(self) -> str:
        """The checkpoint's name."""
        return self.config.name

    @property
    def device(self) -> str:
        """Where it runs: ``cpu`` or ``cuda``."""
        return self._session.device

    @property
    def z_dim(self) -> int:
        """Numbers in a latent."""
        return self.config.z_dim

    @property
    def c_dim(self) -> int:
        """Number of classes; 0 where the model is not conditional."""
        return self.config.c_dim

    @property
    def class_names(self) -> tuple[str, ...]:
        """The classes by index; empty where the model is not conditional."""
        return self.config.class_names

    @property
    def labels(self) -> tuple[str, ...]:
        """What ``label`` may be: the class names."""
        return self.config.class_names

    @property
    def img_resolution(self) -> int:
        """Width and height of an image in pixels."""
        return self.config.img_resolution

    @property
    def img_channels(self) -> int:
        """1 for gray, 3 for RGB."""
        return self.config.img_channels

    def __repr__(self) -> str:
        return (
            f"Generator.from_pretrained({str(self.directory)!r}, device={self.device!r}, precision={self.precision!r})"
        )

    @overload
    def generate(
        self, n: int | None = None, *, output: Literal["pil"] = "pil", **options: Unpack[SampleOptions]
    ) -> list[GeneratedImage]: ...

    @overload
    def generate(
        self, n: int | None = None, *, output: Literal["numpy"], **options: Unpack[SampleOptions]
    ) -> UInt8Array: ...

    def generate(
        self, n: int | None = None, *, output: Output = "pil", **options: Unpack[SampleOptions]
    ) -> list[GeneratedImage] | UInt8Array:
        """Draw images.

        Args:
            n: how many images.
            output: ``pil`` for a list of Pillow images with their receipts, ``numpy`` for uint8 [N, H, W, C].
            options: ``seed``, ``seeds``, ``latents``, ``label`` and ``truncation``, as ``sample`` explains them.

        >>> [image] = Generator.from_pretrained("fashion-dcgan").generate(seed=7)
        >>> image.info["gan_serve"]["seed"]
        7
        """
        check_output(output)
        return in_form(output, self.sample(n, **options))

    def sample(
        self,
        n: int | None = None,
        *,
        seed: int | None = None,
        seeds: Seeds | None = None,
        latents: npt.ArrayLike | None = None,
        label: Label | Sequence[Label] | None = None,
        truncation: float = 1.0,
    ) -> Samples:
        """Draw images and keep what made them.

        The image of a seed does not depend on what else is drawn with it.

        Args:
            n: how many images; 1 if neither n nor seeds are given.
            seed: the first of n seeds, which follow each other; drawn at random if None.
            seeds: a list of ints, an int, or text such as ``"0-3,10"``; from 0 to 2**32-1.
            latents: float32 [N, z_dim] in place of seeds.
            label: a class name or index for all images, or one for each; without one, a seed takes seed mod c_dim.
            truncation: from 0 to 1; 1 leaves the latents as they are, smaller draws them towards their mean, in w where
                the network has that space (StyleGAN's psi), else in z.

        Raises:
            InvalidSeeds, InvalidLatents, InvalidTruncation, UnknownLabel, InvalidOption: what was wrong, and what would
            be right.
        """
        truncation = check_truncation(truncation)
        if latents is not None:
            if not (n is None and seed is None and seeds is None):
                raise InvalidOption("Both latents and seeds were given.", "Give one of them.")
            chosen, given = None, check_latents(latents, self.z_dim)
            z, keys = given, list(range(len(given)))
        else:
            chosen, given = choose_seeds(n, seed, seeds), None
            z, keys = latents_from_seeds(chosen, self.z_dim), chosen
        classes = self._classes(label, keys)
        return self._draw(z, classes, truncation, seeds=chosen, latents=given)

    @overload
    def interpolate(
        self, seeds: Seeds, *, output: Literal["pil"] = "pil", **options: Unpack[WalkOptions]
    ) -> list[GeneratedImage]: ...

    @overload
    def interpolate(self, seeds: Seeds, *, output: Literal["numpy"], **options: Unpack[WalkOptions]) -> UInt8Array: ...

    def interpolate(
        self, seeds: Seeds, *, output: Output = "pil", **options: Unpack[WalkOptions]
    ) -> list[GeneratedImage] | UInt8Array:
        """Draw the frames of a walk through key seeds.

        Args:
            seeds: two or more key seeds.
            output: ``pil`` for a list of Pillow images with their receipts, ``numpy`` for uint8 [N, H, W, C].
            options: ``steps``, ``method``, ``loop``, ``label`` and ``truncation``, as ``sample_walk`` explains them.

        >>> len(Generator.from_pretrained("fashion-dcgan").interpolate([0, 5, 9], steps=4, loop=True))
        12
        """
        check_output(output)
        return in_form(output, self.sample_walk(seeds, **options))

    def sample_walk(
        self,
        seeds: Seeds,
        *,
        steps: int = 16,
        method: str = "slerp",
        loop: bool = False,
        label: Label | None = None,
        truncation: float = 1.0,
    ) -> Samples:
        """Draw the frames of a walk and keep what made them.

        Args:
            seeds: two or more key seeds; the walk passes exactly through their images.
            steps: frames from one key to the next; (k-1)·steps+1 in all, k·steps when looped.
            method: ``slerp`` (keeps the norm) or ``lerp``.
            loop: return to the first key.
            label: one class for the whole walk; that of the first seed if None.
            truncation: as for ``sample``.

        Raises:
            InvalidSeeds, InvalidTruncation, UnknownLabel, InvalidOption.
        """
        truncation = check_truncation(truncation)
        keys = parse_seeds(seeds)
        check_walk(len(keys), steps, method, loop)
        if label is not None and not isinstance(label, str | int | np.integer):
            raise UnknownLabel("A walk has one label.", "Give one class name or index.")
        classes = self._classes(label, keys[:1])
        z = walk(latents_from_seeds(keys, self.z_dim), steps, method, loop)
        path = Walk(seeds=keys, steps=int(steps), method="slerp" if method == "slerp" else "lerp", loop=bool(loop))
        return self._draw(z, None if classes is None else classes * len(z), truncation, path=path)

    def save_pretrained(self, directory: str | Path) -> Path:
        """Copy the checkpoint to a new directory, each file verified, byte for byte.

        Raises:
            CannotWrite: the directory exists or the disk refuses. DigestMismatch: a file is not what it should be.
        """
        config = verify_checkpoint(self.directory)
        with directory_atomically(directory) as target:
            for name in ("config.json", *config.files):
                shutil.copyfile(self.directory / name, target / name)
        return Path(directory)

    def _draw(
        self,
        z: FloatArray,
        classes: list[int] | None,
        truncation: float,
        *,
        seeds: list[int] | None = None,
        latents: FloatArray | None = None,
        path: Walk | None = None,
    ) -> Samples:
        pixels = self._session.run(z, None if classes is None else np.array(classes, np.int64), truncation)
        return Samples(
            pixels=pixels,
            model=self.name,
            digest=self.digest,
            precision=self.precision,
            truncation=truncation,
            seeds=seeds,
            latents=latents,
            walk=path,
            labels=None if classes is None else [self.class_names[number] for number in classes],
        )

    def _classes(self, label: Label | Iterable[Label] | None, keys: list[int]) -> list[int] | None:
        """The class of each image, or None where the model has none."""
        if label is None:
            return [key % self.c_dim for key in keys] if self.c_dim else None
        one_each = _listed(label)
        if one_each is None or not self.c_dim:
            return [self._class(label)] * len(keys)
        classes = [self._class(each) for each in one_each]
        if len(classes) != len(keys):
            raise UnknownLabel(
                f"There are {len(classes)} labels for {len(keys)} images.", "Give one label, or one for each image."
            )
        return classes

    def _class(self, label: object) -> int:
        if not self.c_dim:
            raise UnknownLabel(f"{self.name} has no labels; it is not conditional.", "Leave the label out.")
        if isinstance(label, str) and label in self.class_names:
            return self.class_names.index(label)
        if isinstance(label, int | np.integer) and not isinstance(label, bool) and 0 <= label < self.c_dim:
            return int(label)
        raise UnknownLabel(
            f"{self.name} has no label {shorten(label)}; it has: "
            f"{', '.join(self.class_names)} (or 0 to {self.c_dim - 1}).",
            nearest(label, self.class_names) if isinstance(label, str) else "",
        )


def _listed(label: Any) -> list[Any] | None:
    """The labels where there are several, None where it is one; an array of no dimensions is one."""
    try:
        return None if isinstance(label, str | bytes) else list(label)
    except TypeError:
        return None


def check_output(output: str) -> None:
    """Raise ``InvalidOption`` where ``output`` is neither ``pil`` nor ``numpy``."""
    if output not in ("pil", "numpy"):
        raise InvalidOption.unknown("output", output, ("pil", "numpy"))


def in_form(output: Output, samples: Samples) -> list[GeneratedImage] | UInt8Array:
    """Samples as Pillow images with receipts, or as uint8 [N, H, W, C]."""
    return samples.images() if output == "pil" else samples.pixels
