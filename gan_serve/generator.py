"""The generator: seeds and labels in, images out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal, Self, TypedDict, Unpack, overload

import numpy as np
import numpy.typing as npt

from gan_serve.checkpoint import (
    PRECISION_FILES,
    CheckpointConfig,
    Precision,
    copy_checkpoint,
    read_config,
    read_verified,
)
from gan_serve.errors import InvalidOption, UnknownLabel, nearest
from gan_serve.hub import HubModel, every_file, locate, network
from gan_serve.hub_push import push
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
from gan_serve.runtime import AUTO, Session, choose_precision
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
        self._repository: HubModel | None = None  # where the rest of the files is, if it came from the Hub
        self.config: CheckpointConfig = read_config(directory)
        self._session = self._open(precision, device, threads)
        if precision == AUTO and self.precision != choose_precision(self.config, AUTO, self.device):
            self._session = self._open(AUTO, self.device, threads)  # there is a driver, and yet no CUDA
        self.digest = f"sha256:{self.config.files[PRECISION_FILES[self.precision]].sha256}"

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
        """Load a checkpoint: its digest is checked, then it draws its golden sample.

        Args:
            model: a name of ``list_models()``, a directory that holds a checkpoint, or a repository on the Hugging Face
                Hub, ``org/name`` or ``org/name@revision``, whose config and network are fetched into the Hub's cache.
            revision: a branch, tag or commit of a repository; its main branch if None.
            token: for a private or gated repository; HF_TOKEN or that of ``hf auth login`` if None.
            device: ``cpu``, ``cuda`` (CUDA or an error), or ``auto`` (CUDA where there is a driver and it works).
            precision: ``fp32``, ``int8`` (fast on CPUs) or ``fp16`` (for GPUs) where the checkpoint has a file for it,
                or ``auto``: the fastest that it has for the device. Each draws slightly other pixels.
            threads: CPU threads of the session.

        Raises:
            UnknownModel, InvalidCheckpoint, DigestMismatch, GoldenSampleMismatch, FormatTooNew, DeviceUnavailable,
            InvalidOption: see ``gan_serve.errors``. HubError: the Hub does not give it.
        """
        directory, repository = locate(model, revision=revision, token=token, files=network(precision, device))
        generator = cls(directory, device=device, precision=precision, threads=threads)
        generator._repository = repository
        return generator

    def _open(self, precision: str, device: str, threads: int) -> Session:
        chosen = choose_precision(self.config, precision, device)
        model = read_verified(self.directory, self.config, PRECISION_FILES[chosen])
        return Session(model, self.config, precision=chosen, device=device, threads=threads)

    @property
    def precision(self) -> Precision:
        """What it draws in: ``fp32``, ``int8`` or ``fp16``."""
        return self._session.precision

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
        return copy_checkpoint(self._whole(), directory)

    def push_to_hub(
        self,
        repo: str,
        *,
        private: bool = False,
        token: str | None = None,
        revision: str | None = None,
        message: str | None = None,
    ) -> str:
        """Publish the checkpoint on the Hugging Face Hub as ``org/name``, in one commit; its address is returned.

        ``gan_serve.hub_push.push`` explains the arguments and the errors.
        """
        return push(self._whole(), repo, private=private, token=token, revision=revision, message=message)

    def _whole(self) -> Path:
        """The checkpoint's directory with every file; what drawing did not need is fetched now."""
        return self._repository.fetch(every_file) if self._repository else self.directory

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
