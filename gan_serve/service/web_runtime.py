"""onnxruntime-web, the runtime of pages without a server: from npm or a folder, and always the same bytes."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path

from gan_serve.errors import InvalidOption

PACKAGE = "onnxruntime-web"
VERSION = "1.30.0"
MODULE = "ort.wasm.bundle.min.mjs"
WASM = "ort-wasm-simd-threaded.wasm"
DIGESTS = {  # sha256; the page computes with these files, so that they are held to more than a version
    MODULE: "11e64bd8ffe11bd1a2a2f0d6275fdfbbba7262f0b76b99b53d228a8a22ef3d90",
    WASM: "3398c10d07d229bd91b364548e130e0e51a8e5704b88c7c083ebbeb78842dee2",
}
NPM_SECONDS = 600
LICENCE = """\
ONNX Runtime Web, https://github.com/microsoft/onnxruntime

MIT License

Copyright (c) Microsoft Corporation

Permission is hereby granted, free of charge, to any person obtaining a copy of this software and associated
documentation files (the "Software"), to deal in the Software without restriction, including without limitation the
rights to use, copy, modify, merge, publish, distribute, sublicense, and/or sell copies of the Software, and to permit
persons to whom the Software is furnished to do so, subject to the following conditions:

The above copyright notice and this permission notice shall be included in all copies or substantial portions of the
Software.

THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR IMPLIED, INCLUDING BUT NOT LIMITED TO THE
WARRANTIES OF MERCHANTABILITY, FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE AUTHORS OR
COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR
OTHERWISE, ARISING FROM, OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE SOFTWARE.
"""


def web_runtime(folder: Path | None = None) -> dict[str, bytes]:
    """Return the files of onnxruntime-web by name.

    Args:
        folder: the package, as npm installs it, or a folder with its files; None to get it with ``npm pack``.

    Raises:
        InvalidOption: a file is missing or of another version, or npm is missing or fails.
    """
    if folder is not None:
        return _read(folder)
    npm = shutil.which("npm")
    if npm is None:
        raise InvalidOption(
            f"npm, which fetches {PACKAGE}, is not installed.",
            f"Install Node.js, or give --runtime FOLDER with {MODULE} and {WASM} of {PACKAGE} {VERSION}.",
        )
    with tempfile.TemporaryDirectory() as temporary:
        _pack(npm, Path(temporary))
        return _read(Path(temporary))


def _pack(npm: str, folder: Path) -> None:
    """Write the files of the package, which npm verifies and keeps in its cache, into ``folder``."""
    try:
        command = [npm, "pack", "--silent", f"{PACKAGE}@{VERSION}"]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=NPM_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise InvalidOption(f"npm pack {PACKAGE}@{VERSION} failed: {error}.", _OFFLINE) from error
    if done.returncode:
        reason = (done.stderr.strip() or "it gave no reason").splitlines()[0][:200]
        raise InvalidOption(f"npm pack {PACKAGE}@{VERSION} failed: {reason}", _OFFLINE)
    [archive] = folder.glob("*.tgz")
    with tarfile.open(archive) as files:
        for name in DIGESTS:
            content = files.extractfile(f"package/dist/{name}")
            (folder / name).write_bytes(content.read() if content else b"")


_OFFLINE = f"Without a network, give --runtime FOLDER with {MODULE} and {WASM} of {PACKAGE} {VERSION}."


def _read(folder: Path) -> dict[str, bytes]:
    files = {}
    for name, digest in DIGESTS.items():
        path = next((path for path in (folder / name, folder / "dist" / name) if path.is_file()), None)
        if path is None:
            raise InvalidOption(f"{folder} does not have {name}.", f"It is in the folder dist of {PACKAGE} {VERSION}.")
        files[name] = path.read_bytes()
        if hashlib.sha256(files[name]).hexdigest() != digest:
            raise InvalidOption(
                f"{path} is not that of {PACKAGE} {VERSION}.", f"npm pack {PACKAGE}@{VERSION} fetches it."
            )
    return files
