"""Copy a checkpoint or publish it on the Hub: methods of ``Generator`` and ``Translator``."""

from __future__ import annotations

from pathlib import Path

from gan_serve.checkpoint.files import copy_checkpoint
from gan_serve.hub.file_sets import every_file
from gan_serve.hub.push import push
from gan_serve.hub.repository import HubRepository
from gan_serve.keywords import suggest_keywords


class Publishing:
    """A checkpoint in ``directory``, all of it or what was fetched of a repository."""

    directory: Path
    _repository: HubRepository | None = None  # of a checkpoint from the Hub: its other files can be fetched

    @suggest_keywords
    def save_pretrained(self, directory: str | Path) -> Path:
        """Copy the checkpoint to a new directory, byte for byte, each file verified; return the directory.

        The files of a checkpoint from the Hub that sampling did not need are downloaded first.

        Raises:
            CannotWrite: the directory exists and is not empty, or writing fails.
            InvalidCheckpoint, DigestMismatch: a file is missing or damaged.
            HubError: a file of a checkpoint from the Hub cannot be downloaded.
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
        """
        directory = self._complete_directory()
        return push(directory, repo, private=private, token=token, revision=revision, message=message)

    def _complete_directory(self) -> Path:
        return self._repository.fetch(every_file) if self._repository else self.directory
