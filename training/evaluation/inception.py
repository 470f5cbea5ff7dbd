"""The features of FID proper: those of the Inception network of 2015-12-05, fetched once, for users with a network.

Heusel et al. 2017 (arXiv:1706.08500) defined FID by the 2048 features of one file of weights; other Inceptions give
other figures. NVIDIA translated that file to TorchScript for StyleGAN2-ADA, clean-fid and k-diffusion use it too: it
needs torch and nothing else, and resizes to 299 pixels inside as TensorFlow 1 did. It was trained on photographs, and
an image costs it about half a second on one core: for small images of other things, our own extractors are meant.
"""

from __future__ import annotations

import hashlib
import io
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pooch  # type: ignore[import-untyped]
import torch

from gan_serve.errors import DataError, InvalidOption
from gan_serve.images.pixels import UInt8Array
from gan_serve.training.data.named import TIMEOUT, data_home
from gan_serve.training.evaluation.features import Features, Floats

BATCH = 50


@dataclass(frozen=True)
class PinnedNetwork:
    """A TorchScript file: its name, where it can be fetched, and the sha256 that it must have."""

    file: str
    url: str
    sha256: str


INCEPTION = PinnedNetwork(
    file="inception-2015-12-05.pt",  # 96 MB
    url="https://nvlabs-fi-cdn.nvidia.com/stylegan2-ada-pytorch/pretrained/metrics/inception-2015-12-05.pt",
    sha256="f58cb9b6ec323ed63459aa4fb441fe750cfe39fafad6da5cb504a16f19e958f4",
)


class Inception:
    """The extractor called ``inception``: 2048 features and 1008 logits an image.

    Args:
        pinned: the file of the network. It is looked for in ``home``, and downloaded into it where it is not there.
        home: a folder; None is ``features_home()``.
        device: None is CUDA where torch finds it, else the CPU.
        batch_size: images at a time; the features do not depend on it (within 1e-4).

    Attributes:
        name: ``inception``, as in ``fid10k_inception_test``.
        digest: ``sha256:`` and the digest of the network's file.
        class_names: empty: the logits are for ImageNet's classes, which no data set here has.

    Raises:
        DataError: the file is not there and cannot be fetched, is not the published one, or torch cannot read it.

    >>> extractor = Inception()  # doctest: +SKIP
    >>> extractor(np.zeros((4, 28, 28, 1), np.uint8)).features.shape  # doctest: +SKIP
    (4, 2048)
    """

    name = "inception"
    class_names: tuple[str, ...] = ()
    attributes = False

    def __init__(
        self,
        pinned: PinnedNetwork = INCEPTION,
        home: str | Path | None = None,
        device: torch.device | None = None,
        batch_size: int = BATCH,
    ) -> None:
        if batch_size < 1:
            raise InvalidOption(f"The batch size is {batch_size}.", "Take 1 or more.")
        self.digest = f"sha256:{pinned.sha256}"
        self._batch_size = batch_size
        self._device = device or torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self._network = _load(pinned, features_home() if home is None else Path(home)).to(self._device)
        self._head: Floats = self._network.output.weight.detach().float().cpu().numpy()

    def __call__(self, images: UInt8Array) -> Features:
        """Features float32 [N, 2048] and logits float32 [N, 1008] of images uint8 [N, H, W, C] of any size.

        Gray images are repeated to three channels. The logits have no bias, as those of the Inception Score never had
        (Salimans et al. 2016, arXiv:1606.03498, in its authors' code, and StyleGAN2-ADA's ``no_output_bias``); their
        softmax gives its probabilities. They are computed from the features: asking the network would run it twice.

        Raises:
            InvalidOption: no uint8 [N, H, W, C] with C of 1 or 3.
        """
        if images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] not in (1, 3):
            raise InvalidOption(
                f"Inception cannot take {images.dtype} {list(images.shape)}.", "Give uint8 [N, H, W, C], C of 1 or 3."
            )
        features = np.empty((len(images), self._head.shape[1]), np.float32)
        # TF32, which torch allows cuDNN, keeps 10 bits of each factor: StyleGAN2-ADA measures without it too.
        with torch.no_grad(), torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
            for start in range(0, len(images), self._batch_size):
                stop = start + self._batch_size
                batch = torch.from_numpy(np.ascontiguousarray(images[start:stop])).to(self._device)
                pixels = batch.permute(0, 3, 1, 2).expand(-1, 3, -1, -1).contiguous()
                features[start:stop] = self._network(pixels, return_features=True).float().cpu().numpy()
        return Features(features, features @ self._head.T)


def features_home() -> Path:
    """The folder of downloaded networks, beside those of the data sets: ``data_home()/features``."""
    return data_home() / "features"


def _load(pinned: PinnedNetwork, home: Path) -> torch.jit.ScriptModule:
    """The network in eval mode on the CPU; it is read from the very bytes whose digest was compared."""
    content = _published(pinned, home)
    try:
        with warnings.catch_warnings():
            # TorchScript is deprecated, but it is what is published.
            warnings.filterwarnings("ignore", r"`torch\.jit\.load` is", DeprecationWarning)
            network = torch.jit.load(io.BytesIO(content), map_location="cpu")  # type: ignore[no-untyped-call]
    except (RuntimeError, AttributeError) as error:  # AttributeError: a torch.jit without load
        raise DataError(
            f"torch {torch.__version__} cannot read {home / pinned.file}, though it is the published file: "
            f"{str(error).partition(chr(10))[0]}",
            "It is TorchScript, which a later torch may not read: install torch 2.13, or take the small extractors.",
        ) from error
    return network.eval()  # type: ignore[no-any-return]


def _published(pinned: PinnedNetwork, home: Path) -> bytes:
    """The content of the pinned file, found in ``home`` or downloaded into it."""
    path = home / pinned.file
    if not path.is_file():
        _download(pinned, home)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"Cannot read {path}: {error.strerror or error}.", "Check its permissions.") from error
    if hashlib.sha256(content).hexdigest() != pinned.sha256:
        raise DataError(
            f"{path} is not the published file: its sha256 is another.",
            f"Remove it, so that it is downloaded again from {pinned.url}.",
        )
    return content


def _download(pinned: PinnedNetwork, home: Path) -> None:
    """Fetch into a file beside, compare its digest, and only then give it its name."""
    try:
        pooch.retrieve(
            pinned.url,
            known_hash=f"sha256:{pinned.sha256}",
            fname=pinned.file,
            path=home,
            downloader=pooch.HTTPDownloader(timeout=TIMEOUT, chunk_size=2**16),
        )
    except ValueError:  # pooch's own, for another digest
        reason = f"what {pinned.url} sends is not the published file"
    except OSError as error:  # also all of requests' errors
        reason = f"{pinned.url}: {str(error) if len(str(error)) < 160 else type(error).__name__}"
    else:
        return
    raise DataError(
        f"The Inception network is not on this machine and could not be downloaded ({reason}).",
        f"Put {pinned.file} (sha256 {pinned.sha256}) into {home}, "
        "or take the small extractors, which come with gan-serve and need no network.",
    )
