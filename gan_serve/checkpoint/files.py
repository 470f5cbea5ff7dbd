"""Read, verify, write and copy the files of a checkpoint."""

from __future__ import annotations

import hashlib
import os
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from gan_serve._version import __version__
from gan_serve.atomic_files import directory_atomically
from gan_serve.checkpoint.config import (
    CONFIG_FILE,
    FORMAT_VERSION,
    TRANSLATE,
    VERSION,
    WEIGHTS_FILE,
    AnyConfig,
    CheckpointConfig,
    FileDigest,
    TranslatorConfig,
)
from gan_serve.checkpoint.json_files import parse_json
from gan_serve.errors import DigestMismatch, FormatTooNew, InvalidCheckpoint, shorten
from gan_serve.regular_files import read_regular

RUN_FILE = "run.json"  # training writes it beside a config of its own
MAX_CONFIG_BYTES = 2**26  # golden samples of 4096x4096 in three precisions fit
MAX_REPORT_BYTES = 2**24
MAX_FILE_BYTES = 2**32


def read_config(directory: Path) -> CheckpointConfig:
    """Return the config of a generator's checkpoint.

    Raises:
        InvalidCheckpoint: it is missing, does not fit the schema, or is that of a translator. FormatTooNew: a later
            gan-serve wrote it.
    """
    config = read_any_config(directory)
    if isinstance(config, TranslatorConfig):
        raise InvalidCheckpoint(
            f"{config.name} translates images and does not generate them.",
            f"Use gan_serve.translate({config.name!r}, images), or gan-serve translate.",
        )
    return config


def read_translator_config(directory: Path) -> TranslatorConfig:
    """Return the config of a translator's checkpoint; see ``read_config`` for the errors."""
    config = read_any_config(directory)
    if isinstance(config, CheckpointConfig):
        raise InvalidCheckpoint(
            f"{config.name} generates images and does not translate them.",
            f"Use gan_serve.generate({config.name!r}), or gan-serve generate.",
        )
    return config


def read_any_config(directory: Path) -> AnyConfig:
    """Return the config of a checkpoint of any task; see ``read_config_file`` for the errors."""
    return read_config_file(directory)[0]


def read_config_file(directory: Path) -> tuple[AnyConfig, bytes]:
    """Return the config of a checkpoint of any task and the bytes of the file that it was read from.

    Raises:
        InvalidCheckpoint: it is missing or does not fit the schema. FormatTooNew: a later gan-serve wrote it.
    """
    path = directory / CONFIG_FILE
    try:
        content = read_regular(path, MAX_CONFIG_BYTES)
        raw = parse_json(content)
        version = raw["format_version"]
    except FileNotFoundError as error:
        raise InvalidCheckpoint(
            f"{directory} is not a gan-serve checkpoint: it has no {CONFIG_FILE}.", "gan-serve export writes one."
        ) from error
    except OSError as error:
        raise InvalidCheckpoint(
            f"{path} is not the config of a gan-serve checkpoint: {error.strerror or error}.",
            "Download the checkpoint again.",
        ) from error
    except (ValueError, KeyError, TypeError) as error:
        if (directory / RUN_FILE).exists():
            raise InvalidCheckpoint(
                f"{directory} is the folder of a training run, not a checkpoint.",
                f"Export it first: gan-serve export {shlex.quote(str(directory))} --out NAME, then use NAME.",
            ) from error
        raise InvalidCheckpoint(
            f"{path} is not the config of a gan-serve checkpoint.", "Download the checkpoint again."
        ) from error
    if isinstance(version, int) and version > FORMAT_VERSION:
        writer = str(raw.get("gan_serve_version") or "")
        raise FormatTooNew(
            f"{path} has format version {shorten(version)}; this gan-serve {__version__} reads up to {FORMAT_VERSION}.",
            f"Install gan-serve {writer} or later." if VERSION.fullmatch(writer) else "Install a later gan-serve.",
        )
    try:
        kind = TranslatorConfig if raw.get("task") == TRANSLATE else CheckpointConfig
        return kind.model_validate_json(content), content
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(part if VERSION.fullmatch(part) else shorten(part) for part in map(str, first["loc"]))
        raise InvalidCheckpoint(
            f"{path} does not fit the schema: {where}: {first['msg']}.",
            "Download or export the checkpoint again.",
        ) from error


def write_config(directory: Path, config: AnyConfig) -> None:
    """Write ``config.json``. It contains the digests of the other files, so it is written last."""
    (directory / CONFIG_FILE).write_bytes(config_json(config))


def config_json(config: AnyConfig) -> bytes:
    """Return the content of ``config.json``."""
    return f"{config.model_dump_json(indent=2)}\n".encode()


def digest_files(directory: Path) -> dict[str, FileDigest]:
    """Return the digests of all files of a checkpoint except ``config.json``."""
    files = sorted(path for path in directory.iterdir() if path.is_file() and path.name != CONFIG_FILE)
    return {
        path.name: FileDigest(sha256=hashlib.sha256(data := path.read_bytes()).hexdigest(), size=len(data))
        for path in files
    }


def read_verified(directory: Path, config: AnyConfig, name: str) -> bytes:
    """Return the content of a file of a checkpoint, checked against its digest.

    Raises:
        InvalidCheckpoint: the file is missing or not listed. DigestMismatch: its digest is another one.
    """
    if name not in config.files:
        raise InvalidCheckpoint(f"{directory / CONFIG_FILE} does not list {name}.", "Export the checkpoint again.")
    expected = config.files[name]
    try:
        content = read_regular(directory / name, min(MAX_FILE_BYTES, max(2 * expected.size, 2**20)))
    except OSError as error:
        raise InvalidCheckpoint(
            f"{directory / name} cannot be read: {error.strerror}.", "Download the checkpoint again."
        ) from error
    found = hashlib.sha256(content).hexdigest()
    if found != expected.sha256:
        cut = f" It has {len(content)} bytes of {expected.size}." if len(content) != expected.size else ""
        raise DigestMismatch(
            f"{directory / name} is not the file that its config describes "
            f"(sha256 {found[:12]}..., not {expected.sha256[:12]}...).{cut}",
            "Download or export the checkpoint again.",
        )
    return content


def read_json(directory: Path, config: AnyConfig, name: str) -> Any:
    """Return the content of a JSON file, such as ``metrics.json``, verified; see ``read_verified`` for the errors."""
    if name in config.files and config.files[name].size > MAX_REPORT_BYTES:
        raise InvalidCheckpoint(
            f"{directory / name} has more than {MAX_REPORT_BYTES:,} bytes.", "Export the checkpoint again."
        )
    content = read_verified(directory, config, name)
    try:
        return parse_json(content)
    except ValueError as error:
        raise InvalidCheckpoint(
            f"{directory / name} is not JSON that can be shown: {str(error)[:100]}.", "Export the checkpoint again."
        ) from error


def required_files(directory: Path, config: AnyConfig) -> list[str]:
    """Return the files that the directory of a checkpoint must have: all that its config lists.

    ``generator.safetensors`` may be missing: sampling does not need it, and the wheel does not have it.
    """
    # A broken link counts as present, so that it is reported as damaged.
    return [name for name in config.files if name != WEIGHTS_FILE or os.path.lexists(directory / name)]


def verified_files(directory: Path, config: AnyConfig) -> Iterator[tuple[str, bytes]]:
    """Yield the name and the content of each of ``required_files``, verified; see ``read_verified`` for the errors."""
    for name in required_files(directory, config):
        yield name, read_verified(directory, config, name)


def verify_checkpoint(directory: Path) -> AnyConfig:
    """Check every file of ``required_files`` against its digest; see ``read_verified`` for the errors."""
    config = read_any_config(directory)
    for _ in verified_files(directory, config):
        pass
    return config


def copy_checkpoint(source: Path, directory: str | Path) -> Path:
    """Copy a checkpoint to a new directory, each file of ``required_files`` verified, byte for byte.

    The bytes that were verified are written: a file that is replaced meanwhile is not read again.

    Raises:
        CannotWrite: the directory exists, or writing fails. Others: see ``read_verified``.
    """
    config, content = read_config_file(source)
    with directory_atomically(directory) as target:
        for name, data in verified_files(source, config):
            (target / name).write_bytes(data)
        (target / CONFIG_FILE).write_bytes(content)
    return Path(directory)
