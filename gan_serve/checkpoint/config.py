"""The schema of a checkpoint's config.json. A checkpoint is a directory, or a repository on the Hub, with these files:

config.json             this module's schema
generator.onnx          z float32 [N, z_dim] (c int64 [N], psi float32 [N]) -> img uint8 [N, H, W, C];
                        of a translator: x uint8 [N, H, W, C] -> img uint8 [N, H', W', C']
generator.safetensors   the averaged weights, for fine-tuning; may be missing, as it is in the wheel
metrics.json            quality metrics; each name states its protocol
parity.json             the difference between ONNX and torch
latent_space.json       directions and the truncation floor, see latent_space.py; may be missing
README.md, samples.png  the model card
"""

from __future__ import annotations

import base64
import io
import re
import struct
import unicodedata
from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Any, Literal, Self

from PIL import Image
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator, model_validator

from gan_serve.checkpoint.class_names import is_printable
from gan_serve.errors import shorten
from gan_serve.images.pixels import BROKEN, UInt8Array, from_pil
from gan_serve.images.png import encode_png

FORMAT_VERSION = 1
CONFIG_FILE = "config.json"
METRICS_FILE = "metrics.json"
PARITY_FILE = "parity.json"
REPORT_FILES = (METRICS_FILE, PARITY_FILE)
SAMPLES_FILE = "samples.png"
LATENT_SPACE_FILE = "latent_space.json"
MAX_DIRECTIONS = 16
WEIGHTS_FILE = "generator.safetensors"

# Names that Windows reserves for devices, with any extension.
DEVICE_NAMES = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)
# A name is part of file names and shell lines; one that begins with a dash would be an option, with a dot hidden.
MODEL_NAME = r"^[A-Za-z0-9_][A-Za-z0-9._-]{0,99}$"
VERSION = re.compile(r"[\w.+-]{1,40}", re.ASCII)


def _printable(text: str) -> str:
    if not is_printable(text):
        raise ValueError("it holds characters that cannot be shown")
    return text


Text = Annotated[str, Field(max_length=200), AfterValidator(_printable)]  # text written by others, which terminals show
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Digest = Annotated[str, Field(pattern=r"^sha256:[0-9a-f]{64}$")]
Dimension = Annotated[int, Field(ge=1, le=65536)]
Precision = Literal["fp32", "int8", "fp16"]
PRECISION_FILES: dict[Precision, str] = {
    "fp32": "generator.onnx",
    "int8": "generator.int8.onnx",
    "fp16": "generator.fp16.onnx",
}
TruncationSpace = Literal["z", "w"]  # the space of truncation; in w, the network truncates by its input psi


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Architecture(_Strict):
    """The network of the weights: its family and the arguments of its constructor."""

    family: Text
    arguments: dict[str, Any]


class FileDigest(_Strict):
    """The digest and size of a file."""

    sha256: Sha256
    size: Annotated[int, Field(ge=0)]


class GoldenImage(_Strict):
    """The image that a network must compute before it is used, as PNG in base64.

    ``png`` is for fp32, ``reduced`` for the other precisions that the checkpoint has.
    """

    png: str
    reduced: dict[Precision, str] = {}

    def pngs(self) -> dict[Precision, str]:
        """Return the PNG of each precision, in base64."""
        return {"fp32": self.png, **self.reduced}

    def pixels(self, precision: Precision = "fp32") -> UInt8Array:
        """Return the image, uint8 [H, W, C]."""
        return _from_png(self.pngs()[precision])

    def size(self, precision: Precision = "fp32") -> tuple[int, int]:
        """Return width and height from the header of the PNG, to be checked before it is decoded."""
        return _png_size(self.pngs()[precision])

    def check(self, size: tuple[int, int], channels: int, files: Mapping[str, FileDigest]) -> None:
        """Raise ``ValueError`` unless every precision with a file has an image of this width, height and channels."""
        for precision in self.pngs():
            if self.size(precision) != size:
                raise ValueError(f"the size of the golden sample is not {size[0]}x{size[1]}")
            try:
                shape = self.pixels(precision).shape
            except BROKEN as error:
                raise ValueError(f"the golden sample cannot be decoded: {error}") from error
            if shape[2] != channels:
                raise ValueError(f"the golden sample has {shape[2]} channels, not {channels}")
        for precision, file in PRECISION_FILES.items():
            if (file in files) != (precision in self.pngs()):
                raise ValueError(f"the files and the golden sample do not both have {precision}")


class GoldenSample(GoldenImage):
    """The golden image of a generator, with its seed and label."""

    seed: Annotated[int, Field(ge=0, lt=2**32)]
    label: Annotated[int, Field(ge=0)] | None = None

    @classmethod
    def of(
        cls,
        pixels: UInt8Array,
        seed: int,
        label: int | None = None,
        reduced: Mapping[Precision, UInt8Array] = MappingProxyType({}),
    ) -> Self:
        """Return the golden sample with ``pixels``, uint8 [H, W, C], and those of the other precisions."""
        others = {precision: _as_png(image) for precision, image in reduced.items()}
        return cls(seed=seed, label=label, png=_as_png(pixels), reduced=others)


class GoldenTranslation(GoldenImage):
    """The golden image of a translator, with the input that it is made from, as PNG in base64."""

    input: str

    @classmethod
    def of_input(
        cls, source: UInt8Array, pixels: UInt8Array, reduced: Mapping[Precision, UInt8Array] = MappingProxyType({})
    ) -> Self:
        """Return the golden image of ``source``; both are uint8 [H, W, C]."""
        others = {precision: _as_png(image) for precision, image in reduced.items()}
        return cls(input=_as_png(source), png=_as_png(pixels), reduced=others)

    def input_pixels(self) -> UInt8Array:
        """Return the input, uint8 [H, W, C]."""
        return _from_png(self.input)


class TrainingData(_Strict):
    """The images that a checkpoint was trained on. An evaluation uses it to find images that were held out."""

    name: Text
    digest: Digest  # of the pixels
    holdout: Annotated[float, Field(ge=0, lt=1)] = 0.0  # share that was held out
    labels: Text | None = None  # the source of the labels, if not that of the images


def _from_png(encoded: str) -> UInt8Array:
    with Image.open(io.BytesIO(base64.b64decode(encoded, validate=True)), formats=["PNG"]) as image:
        if image.size != _png_size(encoded):  # a chunk before the header can look like one
            raise ValueError(f"it has {image.width}x{image.height} pixels")
        return from_pil(image)


def _png_size(encoded: str) -> tuple[int, int]:
    header = base64.b64decode(encoded, validate=True)[:24]
    if header[:8] != b"\x89PNG\r\n\x1a\n" or len(header) < 24:
        raise ValueError("the golden sample is not a PNG")
    width, height = struct.unpack(">II", header[16:24])
    return int(width), int(height)


def _as_png(pixels: UInt8Array) -> str:
    return base64.b64encode(encode_png(pixels)).decode()


class BaseConfig(_Strict):
    """The part of ``config.json`` that checkpoints of every task have."""

    format_version: Annotated[int, Field(ge=1, le=FORMAT_VERSION)]
    name: Annotated[str, Field(pattern=MODEL_NAME)]
    architecture: Architecture
    img_resolution: Annotated[int, Field(ge=1, le=4096)]
    img_channels: Annotated[int, Field(ge=1, le=3)]
    license: Text
    training_data: TrainingData | None = None
    files: dict[str, FileDigest]
    gan_serve_version: Text

    @field_validator("files")
    @classmethod
    def _files_stay_inside(cls, files: dict[str, FileDigest]) -> dict[str, FileDigest]:
        for name in files:
            plain = name.isprintable() and not set(name) & set('/\\:*?"<>|')  # also valid on Windows
            hidden = name.startswith(".") or name.rstrip(". ") != name  # Windows removes such an ending
            if not plain or not name or hidden or DEVICE_NAMES.fullmatch(name) or name.casefold() == CONFIG_FILE:
                raise ValueError(f"file names must be plain, not {shorten(name)}")
        # Some file systems take names that differ in case or composition for one: a copy would lose a file.
        if len({unicodedata.normalize("NFC", name).casefold() for name in files}) != len(files):
            raise ValueError("file names must differ by more than case")
        return files

    def digest_of(self, precision: Precision) -> str:
        """Return ``sha256:...`` of the network's file in this precision."""
        return f"sha256:{self.files[PRECISION_FILES[precision]].sha256}"


class CheckpointConfig(BaseConfig):
    """``config.json`` of a generator."""

    z_dim: Dimension
    c_dim: Annotated[int, Field(ge=0, le=65536)] = 0
    class_names: tuple[Text, ...] = ()
    truncation_space: TruncationSpace = "z"
    golden_sample: GoldenSample

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
        golden.check((side, side), self.img_channels, self.files)
        return self


class TranslatorConfig(BaseConfig):
    """``config.json`` of a translator.

    Attributes:
        in_resolution: width and height of the inputs that it was trained on; ``img_resolution``, those of its outputs,
            are ``scale`` times as large.
        any_size: inputs may have any width and height, and a pixel of the output depends on those of the input that are
            at most ``reach`` away.
    """

    task: Literal["translate"]
    in_resolution: Annotated[int, Field(ge=1, le=4096)]
    in_channels: Annotated[int, Field(ge=1, le=3)]
    scale: Annotated[int, Field(ge=1, le=8)] = 1
    any_size: bool = False
    reach: Annotated[int, Field(ge=0, le=1024)] = 0
    golden_sample: GoldenTranslation

    @model_validator(mode="after")
    def _golden_sample_fits(self) -> Self:
        golden, side = self.golden_sample, self.in_resolution
        if self.img_resolution != self.scale * side:
            raise ValueError(f"img_resolution is {self.img_resolution}, and not {self.scale} times {side}")
        if _png_size(golden.input) != (side, side):
            raise ValueError(f"the input of the golden sample is not {side}x{side}")
        try:
            shape = golden.input_pixels().shape
        except BROKEN as error:
            raise ValueError(f"the input of the golden sample cannot be decoded: {error}") from error
        if shape[2] != self.in_channels:
            raise ValueError(f"the input of the golden sample has {shape[2]} channels, not {self.in_channels}")
        golden.check((self.img_resolution, self.img_resolution), self.img_channels, self.files)
        return self


AnyConfig = CheckpointConfig | TranslatorConfig
TRANSLATE: Literal["translate"] = "translate"  # the task of translators; a config without a task is that of a generator


def describe(config: AnyConfig) -> str:
    """Return a description of a checkpoint's images, such as ``28x28 gray, 10 classes``."""
    colour = "gray" if config.img_channels == 1 else "RGB"
    if isinstance(config, TranslatorConfig):
        before = "gray" if config.in_channels == 1 else "RGB"
        if config.any_size:
            return f"translates {before} of any size to {colour} of {config.scale} times the width and height"
        sizes = [f"{side}x{side}" for side in (config.in_resolution, config.img_resolution)]
        return f"translates {sizes[0]} {before} to {sizes[1]} {colour}"
    classes = f", {config.c_dim} classes" if config.c_dim else ""
    return f"{config.img_resolution}x{config.img_resolution} {colour}{classes}"


def precisions(config: AnyConfig) -> list[Precision]:
    """Return the precisions that a checkpoint has a file for."""
    return [precision for precision, file in PRECISION_FILES.items() if file in config.files]
