"""A checkpoint: a directory with config.json, generator.onnx and what describes them. Equally a Hub repository.

config.json             this module's schema
generator.onnx          z float32 [N, z_dim] (c int64 [N], psi float32 [N]) -> img uint8 [N, H, W, C]
generator.safetensors   the averaged weights, for fine-tuning; the only file that may be missing: the wheel has none
metrics.json            quality, the protocol in each metric's name
parity.json             how far ONNX is from torch
README.md, samples.png  the model card
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import os
import re
import shutil
import struct
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Literal, Self

from PIL import Image
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from gan_serve._version import __version__
from gan_serve.atomic_files import directory_atomically
from gan_serve.checkpoint.class_names import is_printable
from gan_serve.errors import DigestMismatch, FormatTooNew, InvalidCheckpoint
from gan_serve.images.encoding import UInt8Array, encode_png, from_pil
from gan_serve.sampling.latents import shorten

FORMAT_VERSION = 1
CONFIG_FILE = "config.json"
METRICS_FILE = "metrics.json"
PARITY_FILE = "parity.json"
FIGURES = (METRICS_FILE, PARITY_FILE)
SAMPLES_FILE = "samples.png"
WEIGHTS_FILE = "generator.safetensors"

# Names that Windows keeps for devices, whatever ending they have.
DEVICE_NAMES = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)
VERSION = re.compile(r"[\w.+-]{1,40}", re.ASCII)


def _printable(text: str) -> str:
    if not is_printable(text):
        raise ValueError("it holds characters that cannot be shown")
    return text


Text = Annotated[str, Field(max_length=200), AfterValidator(_printable)]  # what others wrote, and terminals show
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Seed = Annotated[int, Field(ge=0, lt=2**32)]
Dimension = Annotated[int, Field(ge=1, le=65536)]
Precision = Literal["fp32", "int8", "fp16"]
PRECISION_FILES: dict[Precision, str] = {
    "fp32": "generator.onnx",
    "int8": "generator.int8.onnx",
    "fp16": "generator.fp16.onnx",
}
TruncationSpace = Literal["z", "w"]  # where latents are drawn towards their mean; w: by the network's input psi


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Architecture(_Strict):
    """Which network the weights belong to: its family and the arguments that build it."""

    family: str
    arguments: dict[str, Any]


class FileDigest(_Strict):
    """What a file must be."""

    sha256: Sha256
    size: Annotated[int, Field(ge=0)]


class GoldenSample(_Strict):
    """One image that the checkpoint must draw before it is used: PNGs in base64, and what asks for them.

    ``png`` is drawn in fp32, ``reduced`` in the other precisions that there are files for.
    """

    seed: Seed
    label: Annotated[int, Field(ge=0)] | None = None
    png: str
    reduced: dict[Precision, str] = {}

    @classmethod
    def of(
        cls,
        pixels: UInt8Array,
        seed: int,
        label: int | None = None,
        reduced: Mapping[Precision, UInt8Array] = MappingProxyType({}),
    ) -> Self:
        """Keep ``pixels`` uint8 [H, W, C], and what the other precisions drew, as the golden sample."""
        others = {precision: _as_png(drawn) for precision, drawn in reduced.items()}
        return cls(seed=seed, label=label, png=_as_png(pixels), reduced=others)

    def pngs(self) -> dict[Precision, str]:
        """The PNG of each precision, in base64."""
        return {"fp32": self.png, **self.reduced}

    def pixels(self, precision: Precision = "fp32") -> UInt8Array:
        """The image, uint8 [H, W, C]."""
        with Image.open(io.BytesIO(base64.b64decode(self.pngs()[precision], validate=True))) as image:
            return from_pil(image)

    def size(self, precision: Precision = "fp32") -> tuple[int, int]:
        """Width and height, as the PNG's header states them: to be checked before it is decoded."""
        header = base64.b64decode(self.pngs()[precision], validate=True)[:24]
        if header[:8] != b"\x89PNG\r\n\x1a\n" or len(header) < 24:
            raise ValueError("the golden sample is not a PNG")
        width, height = struct.unpack(">II", header[16:24])
        return int(width), int(height)


class TrainingData(_Strict):
    """The images that a checkpoint was trained on, so that an evaluation knows which ones it has not seen."""

    name: Text
    digest: Annotated[str, Field(pattern=r"^sha256:[0-9a-f]{64}$")]  # of the pixels
    holdout: Annotated[float, Field(ge=0, lt=1)] = 0.0  # share that was left out
    labels: Text | None = None  # where labels came from, if not from the images' own source


def _as_png(pixels: UInt8Array) -> str:
    return base64.b64encode(encode_png(pixels)).decode()


class CheckpointConfig(_Strict):
    """``config.json``."""

    format_version: Annotated[int, Field(ge=1, le=FORMAT_VERSION)]
    name: Annotated[Text, Field(min_length=1)]
    architecture: Architecture
    z_dim: Dimension
    c_dim: Annotated[int, Field(ge=0, le=65536)] = 0
    class_names: tuple[Text, ...] = ()
    truncation_space: TruncationSpace = "z"
    img_resolution: Annotated[int, Field(ge=1, le=4096)]
    img_channels: Annotated[int, Field(ge=1, le=3)]
    license: Text
    training_data: TrainingData | None = None
    files: dict[str, FileDigest]
    golden_sample: GoldenSample
    gan_serve_version: Text

    @model_validator(mode="after")
    def _classes_have_names(self) -> Self:
        if len(self.class_names) != self.c_dim:
            raise ValueError(f"c_dim is {self.c_dim} but there are {len(self.class_names)} class names")
        return self

    @model_validator(mode="after")
    def _golden_sample_fits(self) -> Self:
        golden, side = self.golden_sample, self.img_resolution
        if (golden.label is None) != (self.c_dim == 0) or (golden.label or 0) >= max(self.c_dim, 1):
            raise ValueError(f"the golden sample has the label {golden.label}, of {self.c_dim} classes")
        for precision in golden.pngs():
            if golden.size(precision) != (side, side):
                raise ValueError(f"the golden sample is of another size than {side}x{side}")
            try:
                shape = golden.pixels(precision).shape
            except (OSError, SyntaxError, ValueError) as error:
                raise ValueError(f"the golden sample cannot be decoded: {error}") from error
            if shape[2] != self.img_channels:
                raise ValueError(f"the golden sample has {shape[2]} channels, not {self.img_channels}")
        for precision, file in PRECISION_FILES.items():
            if (file in self.files) != (precision in golden.pngs()):
                raise ValueError(f"the files and the golden sample do not both have {precision}")
        return self

    @field_validator("files")
    @classmethod
    def _files_stay_inside(cls, files: dict[str, FileDigest]) -> dict[str, FileDigest]:
        for name in files:
            plain = name.isprintable() and not set(name) & set('/\\:*?"<>|')  # also where this is read on Windows
            hidden = name.startswith(".") or name.rstrip(". ") != name  # Windows drops such an end
            if not plain or not name or hidden or DEVICE_NAMES.fullmatch(name) or name.casefold() == CONFIG_FILE:
                raise ValueError(f"file names must be plain, not {shorten(name)}")
        return files


def read_config(directory: Path) -> CheckpointConfig:
    """Read a checkpoint's ``config.json``.

    Raises:
        InvalidCheckpoint: it is missing or not of the schema. FormatTooNew: a later gan-serve wrote it.
    """
    path = directory / CONFIG_FILE
    try:
        content = path.read_bytes()
        raw = json.loads(content)
        version = raw["format_version"]
    except FileNotFoundError as error:
        raise InvalidCheckpoint(
            f"{directory} is not a gan-serve checkpoint: it has no {CONFIG_FILE}.", "gan-serve export writes one."
        ) from error
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise InvalidCheckpoint(
            f"{path} is not the config of a gan-serve checkpoint.", "Fetch the checkpoint again."
        ) from error
    if isinstance(version, int) and version > FORMAT_VERSION:
        writer = str(raw.get("gan_serve_version") or "")
        raise FormatTooNew(
            f"{path} has format version {shorten(version)}; this gan-serve {__version__} reads up to {FORMAT_VERSION}.",
            f"Install gan-serve {writer} or later." if VERSION.fullmatch(writer) else "Install a later gan-serve.",
        )
    try:
        return CheckpointConfig.model_validate_json(content)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(part if VERSION.fullmatch(part) else shorten(part) for part in map(str, first["loc"]))
        raise InvalidCheckpoint(
            f"{path} does not fit the schema: {where}: {first['msg']}.",
            "Fetch or export the checkpoint again.",
        ) from error


def write_config(directory: Path, config: CheckpointConfig) -> None:
    """Write ``config.json``, the last file of a checkpoint, since it holds the digests of the others."""
    (directory / CONFIG_FILE).write_bytes(config_json(config))


def config_json(config: CheckpointConfig) -> bytes:
    """The content of ``config.json``."""
    return f"{config.model_dump_json(indent=2)}\n".encode()


def digest_files(directory: Path) -> dict[str, FileDigest]:
    """The digests of all files of a checkpoint but ``config.json``."""
    files = sorted(path for path in directory.iterdir() if path.is_file() and path.name != CONFIG_FILE)
    return {
        path.name: FileDigest(sha256=hashlib.sha256(data := path.read_bytes()).hexdigest(), size=len(data))
        for path in files
    }


def read_verified(directory: Path, config: CheckpointConfig, name: str) -> bytes:
    """The content of a checkpoint's file, checked against its digest: what was checked is what is used.

    Raises:
        InvalidCheckpoint: the file is missing or not listed. DigestMismatch: it is another one.
    """
    if name not in config.files:
        raise InvalidCheckpoint(f"{directory / CONFIG_FILE} does not list {name}.", "Export the checkpoint again.")
    try:
        content = (directory / name).read_bytes()
    except OSError as error:
        raise InvalidCheckpoint(
            f"{directory / name} cannot be read: {error.strerror}.", "Fetch the checkpoint again."
        ) from error
    expected, found = config.files[name], hashlib.sha256(content).hexdigest()
    if found != expected.sha256:
        cut = f" It has {len(content)} bytes of {expected.size}." if len(content) != expected.size else ""
        raise DigestMismatch(
            f"{directory / name} is not the file that its config describes "
            f"(sha256 {found[:12]}..., not {expected.sha256[:12]}...).{cut}",
            "Fetch or export the checkpoint again.",
        )
    return content


def describe(config: CheckpointConfig) -> str:
    """The images of a checkpoint in a few words, such as ``28x28 gray, 10 classes``."""
    colour = "gray" if config.img_channels == 1 else "RGB"
    classes = f", {config.c_dim} classes" if config.c_dim else ""
    return f"{config.img_resolution}x{config.img_resolution} {colour}{classes}"


def precisions(config: CheckpointConfig) -> list[Precision]:
    """The precisions that a checkpoint has a file for."""
    return [precision for precision, file in PRECISION_FILES.items() if file in config.files]


def read_json(directory: Path, config: CheckpointConfig, name: str) -> Any:
    """A verified JSON file of a checkpoint, such as ``metrics.json``; see ``read_verified`` for the errors."""
    try:
        return json.loads(read_verified(directory, config, name))
    except (ValueError, RecursionError) as error:
        raise InvalidCheckpoint(f"{directory / name} is not JSON.", "Export the checkpoint again.") from error


def files_to_have(directory: Path, config: CheckpointConfig) -> list[str]:
    """The files that a checkpoint's directory must have: all that its config lists.

    But for ``generator.safetensors`` where it is not there: drawing needs none, and the wheel leaves it out.
    """
    # A link to nowhere is damage; it counts as there.
    return [name for name in config.files if name != WEIGHTS_FILE or os.path.lexists(directory / name)]


def verify_checkpoint(directory: Path) -> CheckpointConfig:
    """Check every file of ``files_to_have`` against its digest; see ``read_verified`` for the errors."""
    config = read_config(directory)
    for name in files_to_have(directory, config):
        read_verified(directory, config, name)
    return config


def copy_checkpoint(source: Path, directory: str | Path) -> Path:
    """Copy a checkpoint to a new directory, each file of ``files_to_have`` verified, byte for byte.

    Raises:
        CannotWrite: the directory exists or the disk refuses. InvalidCheckpoint, DigestMismatch: see ``read_verified``.
    """
    with directory_atomically(directory) as target:
        for name in (CONFIG_FILE, *files_to_have(source, verify_checkpoint(source))):
            shutil.copyfile(source / name, target / name)
    return Path(directory)
