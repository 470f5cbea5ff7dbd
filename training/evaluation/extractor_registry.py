"""Find feature extractors: the small networks of this package, each in a folder, those of users, and Inception.

The folder of a small extractor has three files: ``extractor.onnx`` (``img`` uint8 [N, H, W, C] in; ``features``
float32 [N, 128] and ``logits`` float32 [N, K] out), ``extractor.json`` (``ExtractorInfo``: its training data and its
accuracy) and ``README.md``. ``python -m gan_serve.exports.feature_extractor`` makes one.
"""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field

from gan_serve.checkpoint.config import MODEL_NAME
from gan_serve.checkpoint.json_files import read_json_file
from gan_serve.checkpoint.network_cost import NetworkBounds
from gan_serve.checkpoint.self_contained import check_self_contained
from gan_serve.errors import InvalidCheckpoint, InvalidOption
from gan_serve.images.pixels import UInt8Array
from gan_serve.regular_files import read_regular
from gan_serve.sampling.session import first_line, open_session
from gan_serve.training.data.image_set import ImageSet, fit
from gan_serve.training.data.named import NAMED_SOURCES
from gan_serve.training.evaluation.features import INCEPTION, Extractor, Features

EXTRACTORS = Path(__file__).parent / "extractors"
MODEL_FILE = "extractor.onnx"
INFO_FILE = "extractor.json"
MAX_MODEL_BYTES = 2**28
FEATURES = 128  # numbers for each image
PIECE = 64  # images at a time
THREADS = min(os.cpu_count() or 1, 8)

logger = logging.getLogger(__name__)


class ExtractorInfo(BaseModel):
    """``extractor.json``."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Annotated[str, Field(pattern=MODEL_NAME)]
    img_resolution: Annotated[int, Field(ge=1, le=1024)]
    img_channels: Annotated[int, Field(ge=1, le=3)]
    class_names: tuple[str, ...]
    attributes: bool  # the logits are those of attributes, of which an image may have several
    accuracy: float  # on held-out images; for attributes, the mean of their balanced accuracies
    accuracy_by_class: dict[str, float]  # accuracy within each class; for attributes, the balanced accuracy
    held_out: str  # the images on which the accuracy was measured
    data: str
    data_digest: str
    credit: str
    license: str
    command: str
    sha256: str  # of extractor.onnx


class SmallExtractor:
    """A small extractor. It converts images to the size and channels of its training images.

    Raises:
        InvalidCheckpoint: the folder has no extractor, or a network with another digest.
    """

    def __init__(self, directory: Path) -> None:
        try:
            self.info = ExtractorInfo.model_validate(read_json_file(directory / INFO_FILE))
            model = read_regular(directory / MODEL_FILE, MAX_MODEL_BYTES)
        except (OSError, ValueError) as error:  # pydantic's and json's errors are ValueErrors
            raise InvalidCheckpoint(
                f"{directory} has no feature extractor.",
                f"It needs {MODEL_FILE} and {INFO_FILE}; python -m gan_serve.exports.feature_extractor writes them.",
            ) from error
        if hashlib.sha256(model).hexdigest() != self.info.sha256:
            raise InvalidCheckpoint(f"{directory / MODEL_FILE} is not the network that {INFO_FILE} describes.")
        self.name = self.info.name
        self.digest = f"sha256:{self.info.sha256}"
        self.class_names = self.info.class_names
        self.attributes = self.info.attributes
        self._outputs = {"features": FEATURES, "logits": len(self.info.class_names)}
        image = {"img": (1, self.info.img_resolution, self.info.img_resolution, self.info.img_channels)}
        check_self_contained(model)
        self._bounds = {name: NetworkBounds(model, image, name) for name in self._outputs}
        self._session, _ = open_session(model, "cpu", threads=THREADS)

    def __call__(self, images: UInt8Array) -> Features:
        """Return features float32 [N, 128] and logits float32 [N, K] of images uint8 [N, H, W, C]."""
        fitted = fit(ImageSet("images", images), self.info.img_resolution, self.info.img_channels).images
        pieces = [self._run(np.ascontiguousarray(fitted[at : at + PIECE])) for at in range(0, len(fitted), PIECE)]
        features, logits = (np.concatenate(parts) for parts in zip(*pieces, strict=True))
        return Features(features, logits)

    def _run(self, images: UInt8Array) -> list[npt.NDArray[np.float32]]:
        for name, width in self._outputs.items():
            self._bounds[name].check({"img": images.shape}, (len(images), width))
        try:
            found: list[npt.NDArray[np.float32]] = self._session.run(list(self._outputs), {"img": images})
        except Exception as error:  # the exceptions of ONNX Runtime have no public base class
            raise InvalidCheckpoint(f"The network of {self.name} cannot be run: {first_line(error)}") from error
        return found


def find_extractor(name: str | Path) -> Extractor:
    """Return the extractor with a name (one of ``extractors()``, or ``inception``), or the one in a folder.

    Raises:
        InvalidOption: there is none, or a user's extractor has a name that is taken, see ``check_own_name``.
        InvalidCheckpoint: its files are damaged. DataError: Inception cannot be downloaded.
    """
    if name == INCEPTION:
        from gan_serve.training.evaluation.inception import Inception  # it imports torch, which takes seconds

        return Inception()
    return find_small_extractor(name, (INCEPTION,))


def find_small_extractor(name: str | Path, others: Sequence[str] = ()) -> SmallExtractor:
    """Return the small extractor with a name, or the one in a folder; see ``find_extractor`` for the errors.

    Args:
        name: one of ``extractors()``, or a folder. others: further names that the caller takes, for the error.
    """
    directory = folder_of(name)
    if not directory.is_dir():
        raise InvalidOption.unknown("extractor of features", str(name), [*extractors(), *others])
    extractor = SmallExtractor(directory)
    if directory.resolve().parent != EXTRACTORS.resolve():
        check_own_name(extractor.name)
    return extractor


def folder_of(name: str | Path) -> Path:
    """Return the folder of a small extractor: that of this package with the name, else the path itself."""
    return EXTRACTORS / str(name) if str(name) in extractors() else Path(name)


def check_own_name(name: str) -> None:
    """Raise ``InvalidOption`` if a user's extractor has a name that is taken; the names of metrics contain it."""
    taken = [*extractors(), INCEPTION]
    if name in taken:
        raise InvalidOption(
            f"An extractor of your own cannot have the name {name}, which another one has in its metrics.",
            f"Train it with another --out, or change name in its {INFO_FILE}. These are taken: {', '.join(taken)}.",
        )


def extractors() -> list[str]:
    """Return the names of the small extractors that are installed.

    >>> "cnn-fashion" in extractors()
    True
    """
    return sorted(path.parent.name for path in EXTRACTORS.glob(f"*/{INFO_FILE}"))


def installed_extractors() -> list[ExtractorInfo]:
    """Return the descriptions of the small extractors that are installed, in the order of ``extractors()``."""
    return [ExtractorInfo.model_validate_json((EXTRACTORS / name / INFO_FILE).read_text()) for name in extractors()]


def extractor_for(train: ImageSet) -> str | None:
    """Return the name of the small extractor that was trained on these images; None if there is none.

    Images are the same if all their pixels are, or if both were loaded by the same name of ``NAMED_SOURCES``. Other
    data with the name and the classes of the extractor's data also count as the same, with a warning: their size or the
    held-out share may differ.
    """
    infos = installed_extractors()
    digest = train.digest
    for info in infos:
        if digest == info.data_digest or (train.name == info.data and _is_named_source(train)):
            return info.name
    for info in infos:
        alike = train.name == info.data and (info.attributes or train.class_names == info.class_names)
        if alike and info.data not in NAMED_SOURCES:
            logger.warning(
                "The features of %s are used, chosen only by the name of the data: %s.", info.name, train.name
            )
            return info.name
    return None


def _is_named_source(data: ImageSet) -> bool:
    """Return True if the data were loaded by their name; a file with that name does not have the credit."""
    source = NAMED_SOURCES.get(data.name)
    return source is not None and data.credit == source.credit
