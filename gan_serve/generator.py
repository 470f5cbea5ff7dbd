"""The generator: seeds and labels in, images out."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self, Unpack, overload

import numpy as np

from gan_serve.checkpoint.config import PRECISION_FILES, copy_checkpoint, read_config, read_verified
from gan_serve.errors import InvalidOption
from gan_serve.hub.push import push
from gan_serve.hub.resolve import HubModel, every_file, locate, network
from gan_serve.images.encoding import UInt8Array
from gan_serve.images.receipt import GeneratedImage
from gan_serve.sampling.latents import Seeds
from gan_serve.sampling.request import ConditionOptions, Plan, Planner, SampleOptions, WalkOptions, join_inputs
from gan_serve.sampling.result import Samples
from gan_serve.sampling.session import AUTO, Session, choose_precision

Output = Literal["pil", "numpy"]


class Generator(Planner):
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
        self.config = read_config(directory)
        self._session = self._open(precision, device, threads)
        if precision == AUTO and self._session.precision != choose_precision(self.config, AUTO, self.device):
            self._session = self._open(AUTO, self.device, threads)  # there is a driver, and yet no CUDA
        super().__init__(self.config, self._session.precision)

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
    def device(self) -> str:
        """Where it runs: ``cpu`` or ``cuda``."""
        return self._session.device

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
            options: ``seed``, ``seeds``, ``latents``, ``label`` and ``truncation``, as ``plan`` explains them.

        >>> [image] = Generator.from_pretrained("fashion-dcgan").generate(seed=7)
        >>> image.info["gan_serve"]["seed"]
        7
        """
        check_output(output)
        return in_form(output, self.sample(n, **options))

    def sample(self, n: int | None = None, **options: Unpack[SampleOptions]) -> Samples:
        """Draw images and keep what made them; the arguments and errors are those of ``plan``.

        The image of a seed does not depend on what else is drawn with it.
        """
        return self._draw(self.plan(n, **options))

    @overload
    def condition(
        self, n: int | None = None, *, output: Literal["pil"] = "pil", **options: Unpack[ConditionOptions]
    ) -> dict[str, list[GeneratedImage]]: ...

    @overload
    def condition(
        self, n: int | None = None, *, output: Literal["numpy"], **options: Unpack[ConditionOptions]
    ) -> dict[str, UInt8Array]: ...

    def condition(
        self, n: int | None = None, *, output: Output = "pil", **options: Unpack[ConditionOptions]
    ) -> dict[str, list[GeneratedImage]] | dict[str, UInt8Array]:
        """Draw the same latents under each label.

        Args:
            n: how many latents.
            output: ``pil`` for lists of Pillow images with their receipts, ``numpy`` for uint8 [N, H, W, C].
            options: ``seed``, ``seeds``, ``latents``, ``labels`` and ``truncation``, as ``plan_condition`` explains
                them.

        Returns:
            The images of each label, in the order of the labels.
        """
        check_output(output)
        return by_label(output, self.sample_condition(n, **options))

    def sample_condition(self, n: int | None = None, **options: Unpack[ConditionOptions]) -> Samples:
        """Draw the same latents under each label and keep what made them, all of the first label first.

        Their PNG is a sheet with a row for each label and a column for each latent. The arguments and errors are those
        of ``plan_condition``.
        """
        return self._draw(self.plan_condition(n, **options))

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
            options: ``steps``, ``method``, ``loop``, ``label``, ``truncation``, ``start`` and ``stop``, as
                ``plan_walk`` explains them.

        >>> len(Generator.from_pretrained("fashion-dcgan").interpolate([0, 5, 9], steps=4, loop=True))
        12
        """
        check_output(output)
        return in_form(output, self.sample_walk(seeds, **options))

    def sample_walk(self, seeds: Seeds, **options: Unpack[WalkOptions]) -> Samples:
        """Draw the frames of a walk and keep what made them; the arguments and errors are those of ``plan_walk``."""
        return self._draw(self.plan_walk(seeds, **options))

    def draw(self, *plans: Plan) -> UInt8Array:
        """The images of plans, uint8 [N, H, W, C], one plan after the other, drawn in one batch.

        The plans are of this checkpoint and precision. ``Plan.finish`` makes samples of the pixels.
        """
        return self._session.run_inputs(join_inputs(plans))

    def save_pretrained(self, directory: str | Path) -> Path:
        """Copy the checkpoint to a new directory, each file verified, byte for byte.

        The weights for fine-tuning, which a wheel leaves out, are copied where they are there.

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

    def _draw(self, plan: Plan) -> Samples:
        return plan.finish(self.draw(plan))


def check_output(output: str) -> None:
    """Raise ``InvalidOption`` where ``output`` is neither ``pil`` nor ``numpy``."""
    if output not in ("pil", "numpy"):
        raise InvalidOption.unknown("output", output, ("pil", "numpy"))


def in_form(output: Output, samples: Samples) -> list[GeneratedImage] | UInt8Array:
    """Samples as Pillow images with receipts, or as uint8 [N, H, W, C]."""
    return samples.images() if output == "pil" else samples.pixels


def by_label(output: Output, samples: Samples) -> dict[str, list[GeneratedImage]] | dict[str, UInt8Array]:
    """The samples of ``sample_condition`` as images by their label, in the form of ``in_form``."""
    names = list(dict.fromkeys(samples.labels or []))
    if output == "pil":
        images, per_label = samples.images(), len(samples) // len(names)
        return {name: images[row * per_label : (row + 1) * per_label] for row, name in enumerate(names)}
    return dict(zip(names, np.split(samples.pixels, len(names)), strict=True))
