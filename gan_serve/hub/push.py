"""From a directory to the Hugging Face Hub."""

from __future__ import annotations

import contextlib
import json
import logging
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gan_serve.checkpoint.config import CONFIG_FILE, PRECISION_FILES, CheckpointConfig, precisions
from gan_serve.checkpoint.files import config_json, read_verified, required_files, verify_checkpoint
from gan_serve.errors import DeviceUnavailable, HubError, InvalidCheckpoint, InvalidOption
from gan_serve.hub.error_messages import translate_errors
from gan_serve.hub.repository import MAIN, TIMEOUT, HubRepository, endpoint
from gan_serve.sampling.session import Session

if TYPE_CHECKING:
    from huggingface_hub import HfApi

logger = logging.getLogger(__name__)

CARD = "README.md"
SILENCE = 30.0  # seconds without a byte from the Hub while something is written; the client itself would wait for ever
NO_MODEL = {".gitattributes", CARD, "LICENSE", "LICENSE.md", "LICENSE.txt"}  # what a repository may have before a model


def push(
    directory: str | Path,
    repo: str,
    *,
    private: bool = False,
    token: str | None = None,
    revision: str | None = None,
    message: str | None = None,
) -> str:
    """Publish a checkpoint on the Hub: all files in one commit, once each is verified and the golden sample drawn.

    Files of the checkpoint that the repository held before, and that this one does not have, are deleted in the same
    commit; what else lies there stays. A checkpoint without its weights for fine-tuning, as those of the wheel are, is
    published without them, and its ``config.json`` does not list them: what the Hub has is whole.

    Args:
        directory: a checkpoint.
        repo: ``org/name``; made if there is none.
        private: make it private; refused where it is there and public.
        token: one that may write; HF_TOKEN or that of ``hf auth login`` if None.
        revision: a branch, made if there is none; the main branch if None.
        message: the commit's.

    Returns:
        The commit's address.

    Raises:
        InvalidCheckpoint, DigestMismatch, GoldenSampleMismatch: the checkpoint does not prove itself; nothing is sent.
        InvalidOption: no name of a repository, one of another kind of model, or a public one that is to be private.
        AccessDenied, HubUnreachable, HubError: the Hub does not take it.
    """
    target = HubRepository.parse(repo, revision, token)
    if target is None or target.repo != repo:
        raise InvalidOption(f"{repo!r} is no name of a repository on the Hub.", "Write org/name.")
    if target.is_pinned:
        raise InvalidOption("A commit cannot be written to.", "Give a branch, or leave the revision out.")
    directory = Path(directory)
    config = _proven(directory)
    content = {name: read_verified(directory, config, name) for name in required_files(directory, config)}
    content[CONFIG_FILE] = _config_for(content, directory, config)

    from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi

    target.check_token()
    api = HfApi(endpoint=endpoint(), token=target.token)
    with translate_errors(repo, target.revision), _no_endless_wait():
        there, parent = _repository(api, target, private=private, card=content.get(CARD))
        replaced = _files_of(replace(target, revision=parent), there)
        operations: list[Any] = [CommitOperationAdd(name, data) for name, data in sorted(content.items())]
        operations += [CommitOperationDelete(name) for name in sorted((replaced & there) - set(content))]
        commit = api.create_commit(
            repo,
            operations,
            commit_message=message or f"{config.name}, by gan-serve {config.gan_serve_version}",
            revision=target.revision,
            parent_commit=parent,
        )
    return str(commit.commit_url)


def _config_for(content: dict[str, bytes], directory: Path, config: CheckpointConfig) -> bytes:
    """``config.json`` as it is; without what it lists and is not sent, where there is such a file."""
    missing = config.files.keys() - content
    if not missing:
        return (directory / CONFIG_FILE).read_bytes()
    logger.warning("%s is published without %s: it is not here.", config.name, ", ".join(missing))
    files = {name: file for name, file in config.files.items() if name in content}
    return config_json(config.model_copy(update={"files": files}))


def _repository(api: HfApi, target: HubRepository, *, private: bool, card: bytes | None) -> tuple[set[str], str]:
    """The files and the commit of the branch that is written to; it and the repository are made if there is none."""
    from huggingface_hub.errors import RepositoryNotFoundError

    repo = target.repo
    try:
        before = api.model_info(repo, timeout=TIMEOUT)
    except RepositoryNotFoundError:
        if card is not None:
            _check_card(card)  # or a repository would be made, and stay empty
        api.create_repo(repo, private=private or None)
        before = api.model_info(repo, timeout=TIMEOUT)
    if private and not before.private:
        if _names(before) - {".gitattributes"}:
            raise InvalidOption(
                f"{repo} is on the Hub already, and public.", "Make it private in its settings, then push again."
            )
        api.update_repo_settings(repo, private=True)  # a push that made it went no further
    if target.revision != MAIN:
        api.create_branch(repo, branch=target.revision, exist_ok=True)
        before = api.model_info(repo, revision=target.revision, timeout=TIMEOUT)
    if not before.sha:
        raise HubError(f"The Hub does not tell which commit {target} is at.", "Check HF_ENDPOINT.")
    return _names(before), before.sha


def _proven(directory: Path) -> CheckpointConfig:
    """A checkpoint's config, once every file is verified and every network has drawn its golden sample."""
    config = verify_checkpoint(directory)
    for precision in precisions(config):
        with contextlib.suppress(DeviceUnavailable):  # one that only runs elsewhere
            Session(read_verified(directory, config, PRECISION_FILES[precision]), config, precision=precision)
    return config


def _check_card(card: bytes) -> None:
    """Refuse a model card that the Hub would refuse."""
    from huggingface_hub import ModelCard
    from yaml import YAMLError  # type: ignore[import-untyped]

    try:
        ModelCard(card.decode()).validate()
    except (ValueError, YAMLError) as error:
        raise InvalidCheckpoint(
            f"Invalid metadata in {CARD}: {' '.join(str(error).split())[:200]}",
            "Mend it and export the checkpoint again.",
        ) from error


@contextlib.contextmanager
def _no_endless_wait() -> Iterator[None]:
    """Give the client's session a timeout where it has none."""
    from huggingface_hub import get_session

    session = get_session()
    before = session.timeout
    if before.read is None:
        session.timeout = SILENCE
    try:
        yield
    finally:
        session.timeout = before


def _names(info: Any) -> set[str]:
    return {sibling.rfilename for sibling in info.siblings or ()}


def _files_of(target: HubRepository, there: set[str]) -> set[str]:
    """The files of the checkpoint that a repository holds, of whatever format version."""
    try:
        if CONFIG_FILE not in there:
            if there - NO_MODEL:
                raise KeyError(CONFIG_FILE)
            return set()
        config = json.loads(target.file(CONFIG_FILE).read_bytes())
        return {*config["files"]} if config["format_version"] else set()
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise InvalidOption(
            f"{target.repo} on the Hub holds another kind of model.", "Choose another name; nothing was sent."
        ) from error
