"""The features of the published FID, which are those of the Inception network of 2015-12-05; it is downloaded once.

Heusel et al. 2017 (arXiv:1706.08500) defined FID by the 2048 features of one file of weights; other versions of
Inception give other values. NVIDIA translated that file to TorchScript for StyleGAN2-ADA; clean-fid and k-diffusion use
it too. It needs only torch, and resizes to 299 pixels as TensorFlow 1 did. It was trained on photographs, and an image
takes about half a second on one core; the small extractors suit small images of other things better.
"""

from __future__ import annotations

import hashlib
import io
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from gan_serve.errors import DataError, InvalidOption
from gan_serve.images.pixels import UInt8Array
from gan_serve.training.data.named import data_home, download
from gan_serve.training.evaluation.features import Features, Floats

BATCH = 50


@dataclass(frozen=True)
class PinnedNetwork:
    """A TorchScript file with its URL and its sha256."""

    file: str
    url: str
    sha256: str


INCEPTION = PinnedNetwork(
    file="inception-2015-12-05.pt",  # 96 MB
    url="https://nvlabs-fi-cdn.nvidia.com/stylegan2-ada-pytorch/pretrained/metrics/inception-2015-12-05.pt",
    sha256="f58cb9b6ec323ed63459aa4fb441fe750cfe39fafad6da5cb504a16f19e958f4",
)


class Inception:
    """The extractor ``inception``, with 2048 features and 1008 logits for each image.

    Args:
        pinned: the file of the network, read from ``home``, and downloaded into it if missing.
        home: the folder; ``features_home()`` if None.
        device: if None, CUDA if torch finds it, else the CPU.
        batch_size: images at a time; the features do not depend on it (within 1e-4).

    Attributes:
        name: ``inception``, as in ``fid10k_inception_test``.
        digest: ``sha256:`` and the digest of the network's file.
        class_names: empty, because no data set of this package has the classes of ImageNet.

    Raises:
        DataError: the file cannot be downloaded, is not the published one, or cannot be read by torch.

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
            raise InvalidOption(f"The batch size is {batch_size}.", "Give 1 or more.")
        self.digest = f"sha256:{pinned.sha256}"
        self._batch_size = batch_size
        self._device = device or torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self._network = _load(pinned, features_home() if home is None else Path(home)).to(self._device)
        self._head: Floats = self._network.output.weight.detach().float().cpu().numpy()

    def __call__(self, images: UInt8Array) -> Features:
        """Return features float32 [N, 2048] and logits float32 [N, 1008] of images uint8 [N, H, W, C] of any size.

        Gray images are repeated to three channels. The logits have no bias, as in the original code of the Inception
        Score (Salimans et al. 2016, arXiv:1606.03498) and StyleGAN2-ADA's ``no_output_bias``; their softmax gives its
        probabilities. They are computed from the features, because the network would have to run a second time to
        return them.

        Raises:
            InvalidOption: the images are not uint8 [N, H, W, C] with C of 1 or 3.
        """
        if images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] not in (1, 3):
            raise InvalidOption(
                f"Inception does not accept {images.dtype} {list(images.shape)}.",
                "Give uint8 [N, H, W, C], C of 1 or 3.",
            )
        features = np.empty((len(images), self._head.shape[1]), np.float32)
        # TF32, which torch lets cuDNN use, has 10 bits of precision; StyleGAN2-ADA measures without it too.
        with torch.no_grad(), torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
            for start in range(0, len(images), self._batch_size):
                stop = start + self._batch_size
                batch = torch.from_numpy(np.ascontiguousarray(images[start:stop])).to(self._device)
                pixels = batch.permute(0, 3, 1, 2).expand(-1, 3, -1, -1).contiguous()
                features[start:stop] = self._network(pixels, return_features=True).float().cpu().numpy()
        return Features(features, features @ self._head.T)


def features_home() -> Path:
    """Return the folder for downloaded networks, ``data_home()/features``."""
    return data_home() / "features"


def _load(pinned: PinnedNetwork, home: Path) -> torch.jit.ScriptModule:
    """Return the network in eval mode on the CPU, loaded from the bytes whose digest was checked."""
    content = _published(pinned, home)
    try:
        with warnings.catch_warnings():
            # TorchScript is deprecated, but the network is published in this form.
            warnings.filterwarnings("ignore", r"`torch\.jit\.load` is", DeprecationWarning)
            network = torch.jit.load(io.BytesIO(content), map_location="cpu")  # type: ignore[no-untyped-call]
    except (RuntimeError, AttributeError) as error:  # AttributeError if torch.jit has no load
        raise DataError(
            f"torch {torch.__version__} cannot read {home / pinned.file}, though it is the published file: "
            f"{str(error).partition(chr(10))[0]}",
            "A later torch may not read TorchScript; install torch 2.13, or use the small extractors.",
        ) from error
    return network.eval()  # type: ignore[no-any-return]


def _published(pinned: PinnedNetwork, home: Path) -> bytes:
    """Return the content of the pinned file, downloaded into ``home`` if it is not there."""
    path = home / pinned.file
    if not path.is_file():
        reason = download(pinned.url, pinned.sha256, path)
        if reason:
            raise DataError(
                f"The Inception network is not on this machine and could not be downloaded ({reason}).",
                f"Put {pinned.file} (sha256 {pinned.sha256}) into {home}, "
                "or use the small extractors, which come with gan-serve.",
            )
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"Cannot read {path}: {error.strerror or error}.", "Check its permissions.") from error
    if hashlib.sha256(content).hexdigest() != pinned.sha256:
        raise DataError(
            f"{path} is not the published file; its sha256 differs.",
            f"Remove it; it is then downloaded again from {pinned.url}.",
        )
    return content
