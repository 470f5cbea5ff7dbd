"""Import a generator that was trained elsewhere as a certified checkpoint."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from functools import partial
from pathlib import Path
from typing import NamedTuple

from gan_serve.checkpoint.config import Architecture, Precision
from gan_serve.errors import ImportRefused, InvalidOption
from gan_serve.exports.card_of_weights import Origin
from gan_serve.exports.certify import certify_model
from gan_serve.exports.export import DescribedModule, check_class_names, describe, export_generator
from gan_serve.exports.imports.dcgan_weights import to_dcgan
from gan_serve.exports.imports.keras_file import is_keras, read_keras
from gan_serve.exports.imports.keras_model import build_keras_generator
from gan_serve.exports.imports.onnx_file import read_onnx
from gan_serve.exports.imports.options import ImportOptions
from gan_serve.exports.imports.sources import FORMATS, Source, read_source
from gan_serve.exports.imports.state_dicts import StateDict, read_safetensors, read_torch_file
from gan_serve.exports.write_checkpoint import check_export, file_metadata, write_checkpoint

FINE_TUNING = "`generator.safetensors` has the same weights, for fine-tuning (`gan-serve train --init-from`)."


class Imported(NamedTuple):
    """The directory of an imported checkpoint, and what its card says of the source."""

    directory: Path
    origin: Origin


class Target(NamedTuple):
    """The directory, name and precisions of the checkpoint to write."""

    out: Path
    name: str
    precisions: Collection[Precision]


def import_generator(
    source: str | Path,
    out: str | Path,
    *,
    license: str,
    name: str | None = None,
    credit: str = "",
    note: str = "",
    options: ImportOptions | None = None,
    precisions: Collection[Precision] | None = None,
) -> Imported:
    """Import a generator that was trained elsewhere as a certified checkpoint.

    Args:
        source: a file, a folder, or ``org/name`` on the Hugging Face Hub: an ONNX file, a state dict of PyTorch in a
            file of ``torch.save`` or in safetensors, or a Keras model. Its content decides, not its name. Nothing is
            unpickled or run as code.
        out: a new directory; it is written completely or not at all.
        license: SPDX name of the licence of the weights.
        name: the checkpoint's name; that of ``out`` if None.
        credit: whose weights they are, and their terms; for the card.
        note: a remark for the card.
        options: what the file does not say, see ``ImportOptions``.
        precisions: the files to write, ``fp32`` among them; all that are close enough to fp32 if None.

    Raises:
        ImportRefused: the file is damaged or not recognised; the error names the part and the nearest route.
        ExportRefused: the checkpoint would not compute what the source does. InvalidCheckpoint: it takes more memory or
        work than a checkpoint may, or other operators. HubError: the repository cannot be read.
        InvalidOption: an invalid name, licence or option. CannotWrite: ``out`` exists, or writing fails.
    """
    out, options = Path(out), options or ImportOptions()
    target = Target(out, *check_export(out, name, license, precisions))
    check_class_names(options.class_names)
    read = read_source(str(source), options.file)
    digest = hashlib.sha256(read.content).hexdigest()
    origin = partial(Origin, source=read.place, license=license, sha256=digest, credit=credit, note=note)
    if _is_safetensors(read.content):
        return _import_state_dict(read_safetensors(read.content, read.name), read, target, origin, options)
    if is_keras(read.content):
        return _import_keras(read, target, origin, options)
    if read.content[:2] == b"PK" or read.content[:1] == b"\x80":
        return _import_state_dict(read_torch_file(read.content, read.name), read, target, origin, options)
    if read.content[:1] == b"\x08" or read.name.lower().endswith(".onnx"):
        return _import_onnx(read, target, origin, options)
    raise ImportRefused(f"{read.name} is no file of a generator that gan-serve knows.", f"Give {FORMATS}.")


def _import_onnx(read: Source, target: Target, origin: partial[Origin], options: ImportOptions) -> Imported:
    """Import an ONNX file; see ``import_generator`` for the errors."""
    plain, original, taken = read_onnx(read.content, read.name, options)
    described = origin(kind="ONNX file", taken=taken)
    metadata = file_metadata(target.name, described.license) | {"source_sha256": described.sha256}
    certified = certify_model(plain, original, metadata, target.precisions)
    description = describe(target.name, original, original.signature.class_names, described)
    write_checkpoint(target.out, original, certified, description)
    return Imported(target.out, described)


def _import_keras(read: Source, target: Target, origin: partial[Origin], options: ImportOptions) -> Imported:
    """Import a Keras model; see ``import_generator`` for the errors."""
    found = build_keras_generator(read_keras(read.content, read.name), read.name, options)
    described = origin(kind="Keras model", taken=found.taken)
    generator = DescribedModule(found.module, found.z_dim, len(found.class_names), options.latents).eval()
    export_generator(
        generator,
        target.out,
        origin=described,
        class_names=found.class_names,
        name=target.name,
        precisions=target.precisions,
    )
    return Imported(target.out, described)


def _is_safetensors(content: bytes) -> bool:
    """Return True for the length of a header in JSON, and its beginning."""
    return content[8:9] == b"{" and int.from_bytes(content[:8], "little") < max(len(content), 10)


def _import_state_dict(
    found: Mapping[str, StateDict], read: Source, target: Target, origin: partial[Origin], options: ImportOptions
) -> Imported:
    """Import the state dict that fits the family ``dcgan``; see ``import_generator`` for the errors."""
    weights = found[_choose_key(found, read.name, options.key)]
    if options.class_names:
        raise InvalidOption(
            f"{read.name} is read as a DCGAN without classes.", "Export a conditional generator to ONNX, and import it."
        )
    generator, arguments = to_dcgan(weights, read.name, activation=options.activation, latents=options.latents)
    activation = "ReLU" if options.activation == "relu" else "LeakyReLU (0.2)"
    taken = (
        f"Assumed, since a state dict does not say: BatchNorm and {activation} behind each layer but the last, tanh at "
        "the end, 4x4 transposed convolutions of stride 2, as in PyTorch's DCGAN example.",
        f"Latents: {options.latents}{' from -1 to 1' if options.latents == 'uniform' else ', N(0, 1)'}.",
    )
    described = origin(kind="PyTorch state dict", taken=taken, fine_tuning=FINE_TUNING)
    export_generator(
        generator,
        target.out,
        origin=described,
        name=target.name,
        architecture=Architecture(family="dcgan", arguments=arguments),
        precisions=target.precisions,
    )
    return Imported(target.out, described)


def _choose_key(found: Mapping[str, StateDict], name: str, key: str | None) -> str:
    """Return the key of the state dict that is meant: the only one, or the only one that fits a generator."""
    if key is not None:
        if key not in found:
            raise InvalidOption.unknown(f"state dict in {name}", key, found)
        return key
    fitting = [each for each, weights in found.items() if _fits(weights, name)] if len(found) > 1 else [*found]
    if len(fitting) != 1:
        raise InvalidOption(f"{name} has several state dicts: {', '.join(found)}.", "Choose one with --key.")
    return fitting[0]


def _fits(weights: StateDict, name: str) -> bool:
    try:
        to_dcgan(weights, name)
    except ImportRefused:
        return False
    return True
