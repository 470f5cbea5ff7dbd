"""Publish a checkpoint on the Hugging Face Hub.

By hand, with the measurements in benchmarks/hub.md:

- The commit is made by ``create_commit``: ``upload_folder`` reads the directory again after it was verified and sends a
  file that has changed since, and leaves a ``config.json`` that lists files which the wheel does not have.
- The session gets a timeout: the client waits for a silent server without end.
- The card is validated before the repository is created: ``ModelCard.validate`` asks the default host, not ours.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gan_serve.checkpoint.config import CONFIG_FILE, PRECISION_FILES, AnyConfig, TranslatorConfig, precisions
from gan_serve.checkpoint.files import MAX_CONFIG_BYTES, config_json, read_config_file, verified_files
from gan_serve.checkpoint.json_files import parse_json
from gan_serve.errors import DeviceUnavailable, HubError, InvalidCheckpoint, InvalidOption
from gan_serve.hub import LIBRARY
from gan_serve.hub.error_messages import translate_errors
from gan_serve.hub.repository import MAIN, TIMEOUT, HubRepository, endpoint
from gan_serve.regular_files import read_regular
from gan_serve.sampling.session import Session
from gan_serve.sampling.translator_session import TranslatorSession

if TYPE_CHECKING:
    from huggingface_hub import HfApi

logger = logging.getLogger(__name__)

CARD = "README.md"
READ_TIMEOUT = 30.0  # seconds without a byte from the Hub during a push; the client itself has no timeout
OTHER_FILES = {".gitattributes", CARD, "LICENSE", "LICENSE.md", "LICENSE.txt"}  # files of a repository without a model


def push(
    directory: str | Path,
    repo: str,
    *,
    private: bool = False,
    token: str | None = None,
    revision: str | None = None,
    message: str | None = None,
) -> str:
    """Publish a checkpoint on the Hub in one commit, after its files and golden samples are verified.

    Files of an earlier checkpoint in the repository that this one does not have are deleted in the same commit; other
    files stay. A checkpoint without ``generator.safetensors``, such as those of the wheel, is published without it, and
    the published ``config.json`` does not list it.

    Args:
        directory: the checkpoint.
        repo: ``org/name``; created if it does not exist.
        private: create it as a private repository; an error if it exists and is public.
        token: a token with write access; HF_TOKEN or that of ``hf auth login`` if None.
        revision: a branch, created if it does not exist; the main branch if None.
        message: the commit message.

    Returns:
        The address of the commit.

    Raises:
        InvalidCheckpoint, DigestMismatch, GoldenSampleMismatch: the verification failed; nothing is sent.
        InvalidOption: not a repository name, or a repository with another kind of model, or one that should be private.
        AccessDenied, HubUnreachable, HubError: the Hub refuses the push or cannot be reached.
    """
    target = HubRepository.parse(repo, revision, token)
    if target is None or target.repo != repo:
        raise InvalidOption(f"{repo!r} is not the name of a repository on the Hub.", "Write org/name.")
    if target.is_pinned:
        raise InvalidOption("A push to a commit is not possible.", "Give a branch, or leave the revision out.")
    directory = Path(directory)
    config, as_stored = read_config_file(directory)
    content = dict(verified_files(directory, config))  # read once: what is verified is what is sent
    _check_golden_samples(content, config)
    content[CONFIG_FILE] = _config_for(content, config, as_stored)

    from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi

    target.check_token()
    api = HfApi(endpoint=endpoint(), token=target.token, **LIBRARY)
    with translate_errors(repo, target.revision), _timeout():
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


def _config_for(content: dict[str, bytes], config: AnyConfig, as_stored: bytes) -> bytes:
    """Return ``config.json`` (``as_stored``), without the files that it lists and ``content`` does not have."""
    missing = config.files.keys() - content
    if not missing:
        return as_stored
    logger.warning("%s is published without %s, which the directory does not have.", config.name, ", ".join(missing))
    files = {name: file for name, file in config.files.items() if name in content}
    return config_json(config.model_copy(update={"files": files}))


def _repository(api: HfApi, target: HubRepository, *, private: bool, card: bytes | None) -> tuple[set[str], str]:
    """Return the files and the commit of the branch; it and the repository are created if they do not exist."""
    from huggingface_hub.errors import RepositoryNotFoundError

    repo = target.repo
    try:
        before = api.model_info(repo, timeout=TIMEOUT)
    except RepositoryNotFoundError:
        if card is not None:
            _validate_card(api, card)  # create_commit does so too late: an empty repository would remain
        api.create_repo(repo, private=private or None)
        before = api.model_info(repo, timeout=TIMEOUT)
    if private and not before.private:
        if _names(before) - {".gitattributes"}:
            raise InvalidOption(
                f"{repo} exists on the Hub and is public.", "Make it private in its settings, then push again."
            )
        api.update_repo_settings(repo, private=True)  # an earlier push failed and left it empty
    if target.revision != MAIN:
        api.create_branch(repo, branch=target.revision, exist_ok=True)
        before = api.model_info(repo, revision=target.revision, timeout=TIMEOUT)
    if not before.sha:
        raise HubError(f"The response of the Hub has no commit of {target}.", "Check HF_ENDPOINT.")
    return _names(before), before.sha


def _check_golden_samples(content: dict[str, bytes], config: AnyConfig) -> None:
    """Raise an error if a network does not compute the golden sample of its precision."""
    for precision in precisions(config):
        with contextlib.suppress(DeviceUnavailable):  # a precision for another device
            model = content[PRECISION_FILES[precision]]
            if isinstance(config, TranslatorConfig):
                TranslatorSession(model, config, precision=precision)
            else:
                Session(model, config, precision=precision)


def _validate_card(api: HfApi, card: bytes) -> None:
    """Raise ``InvalidCheckpoint`` for a model card whose metadata the Hub refuses.

    ``ModelCard.validate`` does the same, but sends the card to the default host, whatever ``endpoint`` is.
    """
    from huggingface_hub import get_session, hf_raise_for_status
    from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined]

    response = get_session().post(
        f"{api.endpoint}/api/validate-yaml",
        json={"content": card.decode(errors="replace"), "repoType": "model"},
        headers=build_hf_headers(token=api.token, **LIBRARY),
    )
    if response.status_code == 400:
        raise InvalidCheckpoint(
            f"Invalid metadata in {CARD}: {' '.join(response.text.split())[:200]}",
            "Correct it and export the checkpoint again.",
        )
    hf_raise_for_status(response)


@contextlib.contextmanager
def _timeout() -> Iterator[None]:
    """Set a timeout for the session of the client if it has none."""
    from huggingface_hub import get_session

    session = get_session()
    before = session.timeout
    if before.read is None:
        session.timeout = READ_TIMEOUT
    try:
        yield
    finally:
        session.timeout = before


def _names(info: Any) -> set[str]:
    return {sibling.rfilename for sibling in info.siblings or ()}


def _files_of(target: HubRepository, there: set[str]) -> set[str]:
    """Return the files of the checkpoint in a repository, of any format version."""
    try:
        if CONFIG_FILE not in there:
            if there - OTHER_FILES:
                raise KeyError(CONFIG_FILE)
            return set()
        config = parse_json(read_regular(target.file(CONFIG_FILE), MAX_CONFIG_BYTES))
        return {*config["files"]} if config["format_version"] else set()
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InvalidOption(
            f"{target.repo} on the Hub contains another kind of model.", "Choose another name; nothing was sent."
        ) from error
