"""Load, copy and publish a checkpoint: the part that generators and translators have in common."""

from __future__ import annotations

import abc
from pathlib import Path
from typing import Generic, Self, TypeVar

from gan_serve.checkpoint.config import PRECISION_FILES, CheckpointConfig, Precision, TranslatorConfig
from gan_serve.checkpoint.files import copy_checkpoint, read_verified
from gan_serve.hub.file_sets import every_file, network_files
from gan_serve.hub.push import push
from gan_serve.hub.repository import HubRepository
from gan_serve.hub.resolve import locate
from gan_serve.keywords import suggest_keywords
from gan_serve.sampling.device import AUTO, choose_precision
from gan_serve.sampling.session import NetworkSession

ConfigT = TypeVar("ConfigT", CheckpointConfig, TranslatorConfig)
SessionT = TypeVar("SessionT", bound=NetworkSession)


class Pretrained(abc.ABC, Generic[ConfigT, SessionT]):
    """A checkpoint in ``directory`` whose network is open in ``_session``."""

    directory: Path
    config: ConfigT
    _session: SessionT
    _repository: HubRepository | None = None  # of a checkpoint from the Hub: its other files can be fetched

    @classmethod
    @suggest_keywords
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
        """Load a checkpoint: check the digest of its network, then compute its golden sample and compare.

        Args:
            model: a name of ``list_models()``, a directory that contains a checkpoint, or a repository on the Hugging
                Face Hub, ``org/name`` or ``org/name@revision``. Of a repository, only the config and the
                network are downloaded, to the Hub's cache.
            revision: a branch, tag or commit of a repository; its main branch if None.
            token: for a private or gated repository; if None, HF_TOKEN or the token of ``hf auth login``.
            device: ``cpu``, ``cuda`` (an error if CUDA does not work), or ``auto`` (CUDA if it works, else the CPU).
            precision: ``fp32``, ``int8`` (fast on CPUs) or ``fp16`` (for GPUs) if the checkpoint has a file for it, or
                ``auto``: the fastest one that it has for the device. Pixels differ slightly between precisions.
            threads: CPU threads of the session, 1 to 256.

        Raises:
            UnknownModel: no checkpoint in the package, no directory and no repository has this name.
            InvalidOption: an argument is out of range, or the checkpoint does not have the precision.
            InvalidCheckpoint, DigestMismatch, GoldenSampleMismatch, FormatTooNew: the checkpoint cannot be used.
            DeviceUnavailable: ``device="cuda"``, and ONNX Runtime cannot use CUDA.
            HubError: the download failed; ``gan_serve.errors`` lists its kinds.

        >>> from gan_serve import Generator
        >>> Generator.from_pretrained("fashion-cgan", device="cpu", precision="int8").class_names[:2]
        ('T-shirt/top', 'Trouser')
        """
        directory, repository = locate(model, revision=revision, token=token, files=network_files(precision, device))
        loaded = cls(directory, device=device, precision=precision, threads=threads)
        loaded._repository = repository
        return loaded

    @abc.abstractmethod
    def __init__(
        self, directory: str | Path, *, device: str = "auto", precision: str = "fp32", threads: int = 1
    ) -> None: ...

    @abc.abstractmethod
    def _new_session(self, model: bytes, precision: Precision, device: str, threads: int) -> SessionT:
        """Return a session of the network in the bytes of an ONNX file."""

    def _open(self, directory: Path, config: ConfigT, *, device: str, precision: str, threads: int) -> None:
        """Verify the network for a device and a precision, and open it."""
        self.directory, self.config = directory, config
        self._session = self._session_for(precision, device, threads)
        if precision == AUTO and self._session.precision != choose_precision(config, AUTO, self.device):
            self._session = self._session_for(AUTO, self.device, threads)  # a driver was found, but CUDA did not work

    def _session_for(self, precision: str, device: str, threads: int) -> SessionT:
        chosen = choose_precision(self.config, precision, device)
        model = read_verified(self.directory, self.config, PRECISION_FILES[chosen])
        return self._new_session(model, chosen, device, threads)

    @suggest_keywords
    def save_pretrained(self, directory: str | Path) -> Path:
        """Copy the checkpoint to a new directory, byte for byte, each file verified; return the directory.

        The files of a checkpoint from the Hub that sampling did not need are downloaded first.

        Raises:
            CannotWrite: the directory exists and is not empty, or writing fails.
            InvalidCheckpoint, DigestMismatch: a file is missing or damaged.
            HubError: a file of a checkpoint from the Hub cannot be downloaded.

        >>> from gan_serve import Generator
        >>> Generator.from_pretrained("fashion-dcgan").save_pretrained("copy").name  # doctest: +SKIP
        'copy'
        """
        return copy_checkpoint(self._complete_directory(), directory)

    @suggest_keywords
    def push_to_hub(
        self,
        repo: str,
        *,
        private: bool = False,
        token: str | None = None,
        revision: str | None = None,
        message: str | None = None,
    ) -> str:
        """Publish the checkpoint on the Hugging Face Hub in one commit; return the address of the commit.

        Args:
            repo: ``org/name``; created if it does not exist.
            private: create it as a private repository; an error if it exists and is public.
            token: a token with write access; HF_TOKEN or that of ``hf auth login`` if None.
            revision: a branch, created if it does not exist; the main branch if None.
            message: the commit message.

        Raises:
            InvalidCheckpoint, DigestMismatch, GoldenSampleMismatch: a file is damaged, or a network does not compute
                the golden sample; nothing is sent.
            InvalidOption: not a repository name, or the repository contains another kind of model, or is public.
            AccessDenied, HubUnreachable, HubError: the Hub refuses the push or cannot be reached.

        >>> from gan_serve import Generator
        >>> Generator.from_pretrained("my-checkpoint").push_to_hub("org/name")  # doctest: +SKIP
        """
        directory = self._complete_directory()
        return push(directory, repo, private=private, token=token, revision=revision, message=message)

    def _complete_directory(self) -> Path:
        return self._repository.fetch(every_file) if self._repository else self.directory

    @property
    def device(self) -> str:
        """The device that it runs on: ``cpu`` or ``cuda``."""
        return self._session.device

    def __repr__(self) -> str:
        options = f"device={self.device!r}, precision={self._session.precision!r}"
        return f"{type(self).__name__}.from_pretrained({str(self.directory)!r}, {options})"
