"""Export a generator as a checkpoint: that of a training run, or any torch module."""

from __future__ import annotations

import copy
from collections.abc import Collection, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from gan_serve.checkpoint.class_names import clean_class_name
from gan_serve.checkpoint.config import Architecture, Precision
from gan_serve.errors import ExportRefused, InvalidOption
from gan_serve.exports.card import Publication, model_card
from gan_serve.exports.card_of_weights import Origin, card_of_weights
from gan_serve.exports.certify import certify
from gan_serve.exports.latent_space import measure_latent_space
from gan_serve.exports.reference import Reference
from gan_serve.exports.round_weights import check_mantissa_bits
from gan_serve.exports.to_onnx import PixelGenerator
from gan_serve.exports.write_checkpoint import Description, check_export, file_metadata, run_metadata, write_checkpoint
from gan_serve.sampling.latents import latents_from_seeds
from gan_serve.training.load_run import load_trained
from gan_serve.training.networks.layers import latents_as
from gan_serve.training.snapshots import all_finite

OUTSIDE = 0.01  # of [-1, 1], by which the images of a module may exceed it


def export_run(
    run_dir: str | Path,
    out: str | Path,
    *,
    name: str | None = None,
    publication: Publication | None = None,
    snapshot: str | Path | None = None,
    precisions: Collection[Precision] | None = None,
    mantissa_bits: int | None = None,
) -> Path:
    """Write the averaged generator of a run as a checkpoint, and return its directory.

    Args:
        run_dir: the folder of a training run.
        out: a new directory; it is written completely or not at all.
        name: the checkpoint's name; that of ``out`` if None.
        publication: the licence, the credit and the note of the card; see ``Publication``.
        snapshot: a snapshot of the run, or ``best`` for the one with the best quality in the log; the last one if None.
        precisions: the files to write, ``fp32`` among them; all that are close enough to fp32 if None.
        mantissa_bits: round the weights of the file in fp32 to this many bits of mantissa, 7 to 23, so that it
            compresses better (to about 60 % of its size with 10 bits, instead of 93 %); the images are still compared
            with those of the trained network. Not rounded if None.

    Raises:
        RunError: there is no run, or no snapshot that fits its config. ExportRefused: ONNX differs from torch.
        CannotWrite: ``out`` exists, or writing fails. InvalidOption: an invalid name, licence, precision or number of
            bits.
    """
    run_dir, out = Path(run_dir), Path(out)
    publication = publication or Publication()
    check_mantissa_bits(mantissa_bits)
    name, precisions = check_export(out, name, publication.license, precisions)
    trained = load_trained(run_dir, snapshot)
    if trained.diverged:
        raise ExportRefused("The generator has weights that are not finite; the training diverged.", "Train again.")
    config, data = trained.config, trained.info.data
    publication = publication.completed(data)
    license = publication.license or ""
    described = Description(
        name=name,
        license=license,
        architecture=Architecture(family=config.family, arguments=trained.arguments),
        card=partial(model_card, name, trained, publication),
        class_names=trained.class_names,
        training_data=trained.training_data,
        real_metrics=data.metrics,
        weights=trained.generator.state_dict(),
        latent_space=partial(measure_latent_space, trained.generator),
    )
    certified = certify(trained.generator, run_metadata(run_dir, name, license), precisions, mantissa_bits)
    write_checkpoint(out, PixelGenerator(trained.generator), certified, described)
    return out


def export_module(
    module: nn.Module,
    out: str | Path,
    *,
    z_dim: int,
    license: str,
    class_names: Sequence[str] = (),
    name: str | None = None,
    credit: str = "",
    note: str = "",
    precisions: Collection[Precision] | None = None,
) -> Path:
    """Write a torch module as a checkpoint, with the promises of ``gan-serve export``, and return its directory.

    The ONNX file is compared with the module over 256 seeds, three truncations and six batch sizes, and no pixel may
    differ by more than one grey level; int8 and fp16 are written where they are close enough to fp32.

    Args:
        module: a generator. It is called with z float32 [N, z_dim] and, with ``class_names``, c int64 [N], and returns
            images float32 [N, C, R, R] in [-1, 1]; C is 1 for gray or 3 for RGB. It is copied and used in eval mode.
        out: a new directory; it is written completely or not at all.
        z_dim: numbers in a latent. A seed's latent is N(0, 1); a module for others must convert it.
        license: SPDX name of the licence of the weights.
        class_names: the classes of a conditional generator, in the order of their indices.
        name: the checkpoint's name; that of ``out`` if None.
        credit: whose weights they are, and their terms; for the card.
        note: a remark for the card.
        precisions: the files to write, ``fp32`` among them; all that are close enough to fp32 if None.

    Raises:
        ExportRefused: its images have another shape, dtype or range, its weights are not finite, torch cannot export it
            to standard ONNX, or the file differs from it.
        InvalidOption: an invalid name, licence, class name or precision. CannotWrite: ``out`` exists, or writing fails.
        InvalidCheckpoint: it takes more memory or work than a checkpoint may.

    >>> from torch import nn
    >>> net = nn.Sequential(nn.Unflatten(1, (8, 1, 1)), nn.ConvTranspose2d(8, 1, 8), nn.Tanh())
    >>> export_module(net, "my-net", z_dim=8, license="mit")  # doctest: +SKIP
    PosixPath('my-net')
    """
    origin = Origin(type(module).__name__, kind="torch module", license=license, credit=credit, note=note)
    network = described_module(module, z_dim=z_dim, class_names=class_names)
    return export_generator(network, out, origin=origin, class_names=class_names, name=name, precisions=precisions)


def export_generator(
    generator: nn.Module,
    out: str | Path,
    *,
    origin: Origin,
    class_names: Sequence[str] = (),
    name: str | None = None,
    architecture: Architecture | None = None,
    precisions: Collection[Precision] | None = None,
) -> Path:
    """Write a generator that no run of ours trained as a checkpoint, and return its directory.

    Args:
        generator: in eval mode, on the CPU; see ``PixelGenerator``.
        origin: where the weights come from, and their licence.
        architecture: its family and arguments, if it is a network of ``gan_serve.training.networks``: its weights are
            then written for fine-tuning.
        out, class_names, name, precisions: as for ``export_module``; the errors as well.
    """
    out = Path(out)
    name, precisions = check_export(out, name, origin.license, precisions)
    if not all_finite(generator.state_dict()):
        raise ExportRefused("The generator has weights that are not finite.", "Use the weights of an earlier epoch.")
    network = PixelGenerator(generator).eval()
    check_images(network)
    described = describe(name, network, class_names, origin)
    if architecture:
        described = replace(
            described,
            architecture=architecture,
            weights=generator.state_dict(),
            latent_space=partial(measure_latent_space, generator),
        )
    try:
        certified = certify(generator, file_metadata(name, origin.license), precisions)
    except torch.onnx.OnnxExporterError as error:
        reason = next(iter(str(error.__cause__ or error).splitlines()), type(error).__name__)
        raise ExportRefused(
            f"torch cannot export the module to ONNX: {reason}",
            "Its computation must not depend on values of the latents, and its sizes not on N.",
        ) from error
    write_checkpoint(out, network, certified, described)
    return out


def describe(name: str, network: Reference, class_names: Sequence[str], origin: Origin) -> Description:
    """Return the description of a generator that is none of a family of ours; see ``card_of_weights``."""
    return Description(
        name=name,
        license=origin.license,
        architecture=Architecture(family=origin.kind.lower().replace(" ", "-"), arguments={}),
        card=partial(card_of_weights, name, network, class_names, origin),
        class_names=tuple(class_names),
    )


class DescribedModule(nn.Module):
    """A module with the attributes that ``PixelGenerator`` reads: called with z, and with c if it has classes.

    ``latents``: the distribution that the module was trained with, see ``latents_as``.
    """

    truncation_space = "z"

    def __init__(self, module: nn.Module, z_dim: int, c_dim: int, latents: str = "normal") -> None:
        super().__init__()
        self.module, self.z_dim, self.c_dim, self.latents = module, z_dim, c_dim, latents

    def forward(self, z: Tensor, c: Tensor | None = None) -> Tensor:
        """Return the images of the module."""
        z = latents_as(self.latents, z)
        images: Tensor = self.module(z, c) if self.c_dim else self.module(z)
        return images


def described_module(module: nn.Module, *, z_dim: int, class_names: Sequence[str]) -> DescribedModule:
    """Return a copy of a module in eval mode on the CPU, described for an export; see ``export_module``."""
    if isinstance(z_dim, bool) or not isinstance(z_dim, int) or not 1 <= z_dim <= 65536:
        raise InvalidOption(f"z_dim must be a whole number from 1 to 65,536, not {z_dim!r}.", "Give the latent's size.")
    check_class_names(class_names)
    return DescribedModule(copy.deepcopy(module).cpu(), z_dim, len(class_names)).eval()


def check_class_names(class_names: Sequence[str]) -> None:
    """Raise ``InvalidOption`` for class names that are equal or that no checkpoint can have."""
    for class_name in class_names:
        try:
            clean = clean_class_name(class_name)
        except (ValueError, TypeError) as error:
            raise InvalidOption(
                f"{class_name!r} cannot be the name of a class: {error}.", "Give other names."
            ) from error
        if clean != class_name:
            raise InvalidOption(f"{class_name!r} cannot be a class name.", f"Write {clean!r}.")
    if len(set(class_names)) != len(class_names):
        raise InvalidOption("Two classes have the same name.", "Give each class a name of its own.")


@torch.no_grad()
def check_images(network: PixelGenerator) -> None:
    """Raise ``ExportRefused`` for a generator whose images are not float32 [N, C, R, R] in [-1, 1]."""
    wanted = "It must return float32 [N, C, R, R] in [-1, 1], with C 1 or 3"
    inputs: dict[str, Any] = network.example(16)
    inputs["z"] = torch.from_numpy(latents_from_seeds(range(16), network.z_dim))
    try:
        images = network.generator(**inputs)
    except Exception as error:  # the module is the user's
        call = ", ".join(f"{name} {str(value.dtype)[6:]} {list(value.shape)}" for name, value in inputs.items())
        raise ExportRefused(
            f"The module cannot be called with {call}: {type(error).__name__}: {' '.join(str(error).split())[:200]}",
            "Wrap it in a module that takes latents [N, z_dim], and labels [N] if there are class names.",
        ) from error
    if not isinstance(images, Tensor):
        raise ExportRefused(f"The module returns a {type(images).__name__}, no images.", f"{wanted}.")
    shape = list(images.shape)
    if images.dtype != torch.float32 or len(shape) != 4 or shape[0] != 16 or shape[1] not in (1, 3):
        raise ExportRefused(f"The module returns {str(images.dtype)[6:]} {shape} for 16 latents.", f"{wanted}.")
    if shape[2] != shape[3]:
        raise ExportRefused(f"The images are not square: {shape[2]}x{shape[3]}.", "Checkpoints hold square images.")
    low, high = float(images.min()), float(images.max())
    if not (low >= -1 - OUTSIDE and high <= 1 + OUTSIDE):
        raise ExportRefused(f"The images have values from {low:.2f} to {high:.2f}.", f"{wanted}: end with a tanh.")
