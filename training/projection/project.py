"""``project``: pictures in, latents out."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from gan_serve.checkpoint.config import PRECISION_FILES, CheckpointConfig
from gan_serve.checkpoint.files import read_any_config
from gan_serve.errors import InvalidOption
from gan_serve.generator import Generator
from gan_serve.hub.resolve import resolve
from gan_serve.images.compare import psnr
from gan_serve.images.pixels import UInt8Array
from gan_serve.progress import Meter, Progress
from gan_serve.sampling.labels import Labels
from gan_serve.sampling.latents import FloatArray, latents_from_seeds
from gan_serve.sampling.result import Samples
from gan_serve.sampling.session import Int64Array
from gan_serve.training.evaluation.extractor_registry import installed_extractors
from gan_serve.training.evaluation.features import GENERAL
from gan_serve.training.load_checkpoint import load_generator, weight_files
from gan_serve.training.projection.known import known_psnr
from gan_serve.training.projection.perceptual import NO_FEATURES, PerceptualFeatures
from gan_serve.training.projection.search import Network, Objective, Search, search_latent
from gan_serve.translation.inputs import Picture, fit_to, read_pictures

CANDIDATES = 512  # random latents, of which the nearest are the starts
MOST_BYTES = 2**27  # of the images of the candidates


@dataclass(frozen=True, eq=False)
class Projection:
    """The latents whose images are nearest to N pictures.

    Args:
        latents: float32 [N, z_dim], or [N, z_dim + w_dim] where the network has a w space: z, and what to add to its w.
        targets: the pictures as the model takes them, uint8 [N, H, W, C].
        samples: the images of the latents, with their receipts.
        psnr: between both, float64 [N] in decibels.
        ways: the images on the way of each picture, uint8 [T, H, W, C], from the start to the end.
        w: float32 [N, w_dim], the styles where the network has a w space, else None.
        digest: ``sha256:...`` of the checkpoint's ``generator.onnx``.
        notes: what was done to the pictures and chosen for the search, a sentence each.
    """

    latents: FloatArray
    targets: UInt8Array
    samples: Samples
    psnr: npt.NDArray[np.float64]
    ways: tuple[UInt8Array, ...]
    w: FloatArray | None
    digest: str
    notes: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.latents)

    @property
    def labels(self) -> list[str] | None:
        """The class name of each image; None for a model without classes."""
        return self.samples.labels

    def npz(self) -> bytes:
        """Return the content of ``found.npz``, which ``--latents`` of other commands reads.

        Arrays: ``latents``, ``psnr``, ``model``, ``digest``, and where there are any ``labels`` and ``w``; where they
        were measured, the medians of ``psnr`` of images of the model (``own_psnr``) and of real ones (``real_psnr``).
        """
        arrays: dict[str, Any] = {
            "latents": self.latents,
            "psnr": self.psnr,
            "model": np.array(self.samples.model),
            "digest": np.array(self.digest),
        }
        if self.labels is not None:
            arrays["labels"] = np.array(self.labels)
        if self.w is not None:
            arrays["w"] = self.w
        if known := known_psnr(self.digest):
            arrays["own_psnr"] = np.array(known.generated)
            if known.real is not None:
                arrays["real_psnr"] = np.array(known.real)
        file = io.BytesIO()
        np.savez_compressed(file, **arrays)
        return file.getvalue()


def project(
    model: str | Path,
    images: Any,
    *,
    label: Labels | None = None,
    fit: str = "crop",
    features: str | None = None,
    starts: int = 8,
    seed: int = 0,
    search: Search | None = None,
    progress: Progress = False,
) -> Projection:
    """Find the latents of a generator whose images are nearest to given pictures.

    Of 512 random latents the nearest ``starts`` are improved by gradient descent (Adam) and the two best of them by
    least squares. The loss has pixels and features. In a network with a w space w is searched (Karras et al. 2020,
    arXiv:1912.04958, appendix D), in all others z. The images are those of ``gan_serve.generate`` with these latents.

    Args:
        model: a bundled name, a directory or ``org/name``; without its file of weights, as in the wheel, they are read
            from its ONNX file.
        images: one or several of: a path, the bytes of a file (PNG, JPEG, WebP, GIF, BMP), a Pillow image, an array
            uint8 [H, W] or [H, W, C].
        label: a class name or index for all pictures, or a list of one for each. If None, the starts come from all
            classes, and the picture gets the class that is nearest to it.
        fit: ``crop`` cuts the largest square from the middle and resizes it with Lanczos; ``exact`` refuses others.
        features: a name of ``extractors()``, the folder of an extractor, or ``none`` for pixels alone; by default the
            extractor that was trained on the model's images, else ``cnn-general``.
        starts: the number of starts, 1 to 64. More of them find better latents and take longer.
        seed: of the random latents; the same seed gives the same result on one machine.
        search: steps and weights of the search.
        progress: True for a bar, or a function that is called with the steps done and all steps.

    Raises:
        InvalidImage: a picture cannot be read, or does not have the size that ``exact`` requires.
        InvalidOption: starts, fit or features are none of theirs, or the model is a translator.
        UnknownLabel, UnknownModel, CheckpointError, HubError: as for ``gan_serve.generate``.

    >>> import gan_serve
    >>> [image] = gan_serve.generate("mnist-mlp", seed=7)
    >>> found = project("mnist-mlp", image)
    >>> bool(found.psnr[0] > 30)
    True
    """
    search = search or Search()
    if isinstance(starts, bool) or not isinstance(starts, int) or not 1 <= starts <= 64:
        raise InvalidOption(f"starts must be a whole number from 1 to 64, not {starts!r}.", "The default is 8.")
    directory = _resolve(model)
    generator = Generator(directory, device="cpu")
    config = generator.config
    pictures = read_pictures(images)
    targets = np.stack(
        [fit_to(picture, config.img_resolution, config.img_channels, config.name, fit) for picture in pictures]
    )
    chosen = features or _features_for(config)
    extractor = None if chosen == NO_FEATURES else PerceptualFeatures(chosen)
    # The request checks labels, and repeats one for all pictures.
    classes = None if label is None else generator.sample_request(seeds=[0] * len(targets), label=label).classes
    module = _Module.of(load_generator(directory).generator)
    candidates = _Candidates(generator, seed)
    rows, numbers, ways, styles = [], [], [], []
    with Meter(progress, len(targets) * search.total, "Projecting") as meter:
        for place, target in enumerate(targets):
            of_class = None if classes is None else int(classes[place])
            z, c = candidates.nearest(target, starts, of_class)
            labels = None if c is None else torch.from_numpy(c)
            objective = Objective(module.network, _as_tensor(target), extractor, search)
            found = search_latent(objective, module.starts(torch.from_numpy(z), labels), labels, meter.add)
            number = None if c is None else int(c[found.start])
            path = module.rows(found.way, z[found.start], number)
            rows.append(path[-1])
            styles.append(found.latent.numpy())
            numbers.append(number)
            ways.append(generator.sample(latents=path, label=number).pixels)
    latents = np.stack(rows)
    known = [number for number in numbers if number is not None]  # all of them, or none
    samples = generator.sample(latents=latents, label=known or None)
    return Projection(
        latents=latents,
        targets=targets,
        samples=samples,
        psnr=psnr(samples.pixels, targets),
        ways=tuple(ways),
        w=np.stack(styles) if module.in_w else None,
        digest=config.digest_of("fp32"),
        notes=(*_fitted(pictures, config), f"features: {chosen}"),
    )


def _resolve(model: str | Path) -> Path:
    """Return the directory of a generator, with the files that are sampled and searched."""

    def files(config: Any) -> list[str]:
        return [PRECISION_FILES["fp32"], *weight_files(config)]

    directory = resolve(model, files=files)
    config = read_any_config(directory)
    if not isinstance(config, CheckpointConfig):
        raise InvalidOption(f"{config.name} is a translator, which has no latents.", "Give a generator.")
    return directory


def _features_for(config: CheckpointConfig) -> str:
    """Return the extractor that was trained on a model's images, or that of all kinds of images."""
    data = config.training_data.name if config.training_data else None
    return next((info.name for info in installed_extractors() if info.data == data), GENERAL)


def _fitted(pictures: Sequence[Picture], config: CheckpointConfig) -> list[str]:
    """Return a sentence for each kind of change that the pictures went through."""
    side = config.img_resolution
    sizes = {picture.pixels.shape[:2] for picture in pictures} - {(side, side)}
    notes = []
    if sizes:
        shown = ", ".join([f"{width}x{height}" for height, width in sorted(sizes)[:3]] + ["..."] * (len(sizes) > 3))
        notes.append(f"pictures of {shown} are cut to their middle square and resized to {side}x{side}")
    if config.img_channels == 1 and any(picture.pixels.shape[2] == 3 for picture in pictures):
        notes.append("colour becomes gray")
    return notes


def _as_tensor(image: UInt8Array) -> Tensor:
    """Return an image uint8 [H, W, C] as float32 [1, C, H, W] in [-1, 1]."""
    return torch.from_numpy(image.astype(np.float32)).permute(2, 0, 1)[None] / 127.5 - 1


@dataclass(frozen=True)
class _Module:
    """A generator as the search uses it: in w where it has that space, else in z."""

    generator: nn.Module
    in_w: bool

    @classmethod
    def of(cls, generator: nn.Module) -> _Module:
        generator.requires_grad_(False)
        return cls(generator, getattr(generator, "truncation_space", "z") == "w")

    @property
    def network(self) -> Network:
        """The function from latents, or styles, to images."""
        if not self.in_w:
            return self.generator
        layers = cast(int, self.generator.num_layers)
        synthesis = cast(Callable[[Tensor], Tensor], self.generator.synthesis)
        return lambda w, _labels: synthesis(w[:, None].expand(-1, layers, -1))

    @torch.no_grad()
    def starts(self, z: Tensor, labels: Tensor | None) -> Tensor:
        """Return where a search starts: z, or w of it."""
        return self._map(z, labels) if self.in_w else z

    @torch.no_grad()
    def rows(self, way: Tensor, z: FloatArray, label: int | None) -> FloatArray:
        """Return what was searched as latents of ``generate``, float32 [T, z_dim], or [T, z_dim + w_dim]."""
        if not self.in_w:
            return way.numpy()
        w = self._map(torch.from_numpy(z)[None], None if label is None else torch.tensor([label]))
        return np.concatenate([np.repeat(z[None], len(way), axis=0), (way - w).numpy()], axis=1)

    def _map(self, z: Tensor, labels: Tensor | None) -> Tensor:
        mapping = cast(Callable[[Tensor, Tensor | None], Tensor], self.generator.mapping)
        return mapping(z, labels)


class _Candidates:
    """Random latents and their images, which are sampled once for each class."""

    def __init__(self, generator: Generator, seed: int) -> None:
        self._generator = generator
        self._seed = seed
        self._images: dict[int | None, UInt8Array] = {}

    def nearest(self, target: UInt8Array, n: int, label: int | None) -> tuple[FloatArray, Int64Array | None]:
        """Return the ``n`` candidates with the smallest difference of pixels: z [n, z_dim] and labels [n], if any.

        Without a label all classes share the candidates, and the best of each class comes before the second of any.
        """
        c_dim = self._generator.c_dim
        if not c_dim:
            labels: list[int | None] = [None]
        else:
            labels = list(range(c_dim)) if label is None else [label]
        held = len(labels) * target.nbytes
        if len(labels) > 1 and n * held > MOST_BYTES:
            raise InvalidOption(f"Each of {len(labels):,} classes would be tried.", "Give the label of the picture.")
        count = max(min(CANDIDATES // len(labels), MOST_BYTES // held), n)
        z = latents_from_seeds(range(self._seed, self._seed + count), self._generator.z_dim)
        ranked = []
        for number in labels:
            differences = self._sample(z, number).astype(np.float32) - target
            losses = np.square(differences).mean(axis=(1, 2, 3))
            best = np.argsort(losses, kind="stable")[:n]
            ranked += [(rank, float(losses[row]), int(row), number) for rank, row in enumerate(best)]
        # Half of the starts go to the best classes, one each; the others to the best candidates of all.
        by_class = sorted(each for each in ranked if each[0] == 0)[: max(1, n // 2)]
        others = sorted((each for each in ranked if each not in by_class), key=lambda each: each[1])
        chosen = [*by_class, *others][:n]
        rows = np.array([row for _, _, row, _ in chosen])
        c = None if not c_dim else np.array([number for *_, number in chosen], np.int64)
        return z[rows], c

    def _sample(self, z: FloatArray, label: int | None) -> UInt8Array:
        if label not in self._images:
            self._images[label] = self._generator.sample(latents=z, label=label).pixels
        return self._images[label]
