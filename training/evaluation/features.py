"""What turns images into the features that metrics compare: small networks of our own, or Inception.

An extractor of our own is a folder with three files: ``extractor.onnx`` (``img`` uint8 [N, H, W, C] in; ``features``
float32 [N, 128] and ``logits`` float32 [N, K] out), ``extractor.json`` (``ExtractorInfo``: what it was trained on, and
how well it classifies) and ``README.md``. ``python -m gan_serve.exports.feature_extractor`` makes one.
"""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, ValidationError

from gan_serve.errors import InvalidCheckpoint, InvalidOption
from gan_serve.images.pixels import UInt8Array
from gan_serve.sampling.session import open_session
from gan_serve.training.data.image_set import ImageSet, fit
from gan_serve.training.data.named import NAMED_SOURCES

EXTRACTORS = Path(__file__).parent / "extractors"
MODEL_FILE = "extractor.onnx"
INFO_FILE = "extractor.json"
INCEPTION = "inception"
PIECE = 64  # images at a time

Floats = npt.NDArray[np.float32]

logger = logging.getLogger(__name__)


class Features(NamedTuple):
    """What an extractor sees in N images: features float32 [N, D], logits float32 [N, K]."""

    features: Floats
    logits: Floats

    def first(self, count: int) -> Features:
        """Of the first ``count`` images."""
        return Features(self.features[:count], self.logits[:count])


class Extractor(Protocol):
    """Turns images uint8 [N, H, W, C] into features; ``name`` and ``digest`` say which one it is."""

    @property
    def name(self) -> str:
        """As metrics name it."""
        ...

    @property
    def digest(self) -> str:
        """``sha256:...`` of its weights."""
        ...

    @property
    def class_names(self) -> tuple[str, ...]:
        """What the logits are for; empty where they are no classes that data sets have."""
        ...

    @property
    def attributes(self) -> bool:
        """Whether the logits are for attributes, which do not exclude each other."""
        ...

    def __call__(self, images: UInt8Array) -> Features:
        """Images uint8 [N, H, W, C] -> features float32 [N, D], logits float32 [N, K]."""
        ...


class ExtractorInfo(BaseModel):
    """``extractor.json``."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    img_resolution: int
    img_channels: int
    class_names: tuple[str, ...]
    attributes: bool  # whether the logits are for attributes, of which an image may have several
    accuracy: float  # share of held-out images that is right; of attributes, the mean of their balanced accuracies
    accuracy_by_class: dict[str, float]  # share of each class that is found; of attributes, the balanced accuracy
    held_out: str  # the images that accuracy was measured on
    data: str
    data_digest: str
    credit: str
    license: str
    command: str
    sha256: str  # of extractor.onnx


class SmallExtractor:
    """An extractor of our own. Images of another size or colour are brought to what it was trained on.

    Raises:
        InvalidCheckpoint: the folder holds no extractor, or another network than its digest says.
    """

    def __init__(self, directory: Path) -> None:
        try:
            self.info = ExtractorInfo.model_validate_json((directory / INFO_FILE).read_text())
            model = (directory / MODEL_FILE).read_bytes()
        except (OSError, UnicodeDecodeError, ValidationError) as error:
            raise InvalidCheckpoint(
                f"{directory} holds no extractor of features.",
                f"It needs {MODEL_FILE} and {INFO_FILE}; python -m gan_serve.exports.feature_extractor writes them.",
            ) from error
        if hashlib.sha256(model).hexdigest() != self.info.sha256:
            raise InvalidCheckpoint(f"{directory / MODEL_FILE} is not the network that {INFO_FILE} describes.")
        self.name = self.info.name
        self.digest = f"sha256:{self.info.sha256}"
        self.class_names = self.info.class_names
        self.attributes = self.info.attributes
        self._session, _ = open_session(model, "cpu", threads=min(os.cpu_count() or 1, 8))

    def __call__(self, images: UInt8Array) -> Features:
        """Images uint8 [N, H, W, C] -> features float32 [N, 128], logits float32 [N, K]."""
        fitted = fit(ImageSet("images", images), self.info.img_resolution, self.info.img_channels).images
        pieces = [
            self._session.run(["features", "logits"], {"img": np.ascontiguousarray(fitted[start : start + PIECE])})
            for start in range(0, len(fitted), PIECE)
        ]
        features, logits = (np.concatenate(parts) for parts in zip(*pieces, strict=True))
        return Features(features, logits)


def logits_of_classes(extractor: Extractor, class_names: Sequence[str], logits: Floats) -> Floats | None:
    """The logits [N, K] of an extractor as those of ``class_names`` [N, len(class_names)], in their order.

    An extractor of attributes knows two classes where they are called ``ATTRIBUTE`` and ``not ATTRIBUTE``, or by the
    attribute's first words where no other begins so: ``not blond`` and ``blond`` are of ``Blond_Hair``.

    Returns:
        None where it does not know these classes.
    """
    known = list(extractor.class_names)
    if class_names and set(class_names) == set(known):
        return logits[:, [known.index(name) for name in class_names]]
    if not extractor.attributes or len(class_names) != 2:
        return None
    asked = next((name for name in class_names if f"not {name}" in class_names), None)
    names = [name.replace("_", " ").lower() + " " for name in known]
    columns = [column for column, name in enumerate(names) if name.startswith(f"{asked} ")]
    if len(columns) != 1:
        return None
    has = logits[:, columns[0]]
    return np.stack([has if name == asked else np.zeros_like(has) for name in class_names], axis=1)


def find_extractor(name: str | Path) -> Extractor:
    """The extractor of that name (``extractors()``, or ``inception``), or the one in that folder.

    Raises:
        InvalidOption: there is none, or one of a user's own has the name of another, see ``check_own_name``.
        InvalidCheckpoint: its files are damaged. DataError: Inception cannot be fetched.
    """
    if name == INCEPTION:
        from gan_serve.training.evaluation.inception import Inception

        return Inception()
    directory = EXTRACTORS / str(name) if str(name) in extractors() else Path(name)
    if not directory.is_dir():
        raise InvalidOption.unknown("extractor of features", str(name), [*extractors(), INCEPTION])
    extractor = SmallExtractor(directory)
    if directory.resolve().parent != EXTRACTORS.resolve():
        check_own_name(extractor.name)
    return extractor


def check_own_name(name: str) -> None:
    """Raise InvalidOption where an extractor of a user's own is called as another: figures are named by extractors."""
    taken = [*extractors(), INCEPTION]
    if name in taken:
        raise InvalidOption(
            f"An extractor of your own cannot be called {name}: figures by that name are of another one.",
            f"Train it with --out of another name, or change name in its {INFO_FILE}. Taken are {', '.join(taken)}.",
        )


def extractors() -> list[str]:
    """The names of our own extractors that are installed.

    >>> "cnn-fashion" in extractors()
    True
    """
    return sorted(path.parent.name for path in EXTRACTORS.glob(f"*/{INFO_FILE}"))


def extractor_for(train: ImageSet) -> str | None:
    """The name of our own extractor that was trained on these images, perhaps of another size; None where none was.

    They are where every pixel is the same, and where both were found by the same name of ``NAMED_SOURCES``. Other data
    that have the name and the classes of the extractor's are taken for them too, with a warning: their size may be
    another, or the share that is held out.
    """
    infos = [ExtractorInfo.model_validate_json((EXTRACTORS / name / INFO_FILE).read_text()) for name in extractors()]
    digest = train.digest
    for info in infos:
        if digest == info.data_digest or (train.name == info.data and _is_named_source(train)):
            return info.name
    for info in infos:
        alike = train.name == info.data and (info.attributes or train.class_names == info.class_names)
        if alike and info.data not in NAMED_SOURCES:
            logger.warning("Features of %s, chosen by the name of the data alone: %s.", info.name, train.name)
            return info.name
    return None


def _is_named_source(data: ImageSet) -> bool:
    """Whether it was loaded by its name; a file of that name has not the credit."""
    source = NAMED_SOURCES.get(data.name)
    return source is not None and data.credit == source.credit


def extract(
    extractor: Extractor, images: UInt8Array, progress: Callable[[int], object] = lambda images: None, piece: int = 512
) -> Features:
    """The features of many images, ``piece`` at a time; ``progress`` is told how many more are done."""
    pieces = []
    for start in range(0, len(images), piece):
        pieces.append(extractor(images[start : start + piece]))
        progress(len(pieces[-1].features))
    features, logits = (np.concatenate(parts) for parts in zip(*pieces, strict=True))
    return Features(features, logits)
