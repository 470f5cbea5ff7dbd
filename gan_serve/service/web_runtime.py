"""The packages of pages without a server, onnxruntime-web and gifenc: from npm or a folder, always the same bytes."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path

from gan_serve.errors import InvalidOption

MODULE = "ort.wasm.bundle.min.mjs"
WASM = "ort-wasm-simd-threaded.wasm"
GIF = "gifenc.esm.js"
PACKAGES = {"onnxruntime-web": ("1.30.0", (MODULE, WASM)), "gifenc": ("1.0.3", (GIF,))}  # npm's: version, files
DIGESTS = {  # sha256; the page computes with these files, so that they are held to more than a version
    MODULE: "11e64bd8ffe11bd1a2a2f0d6275fdfbbba7262f0b76b99b53d228a8a22ef3d90",
    WASM: "3398c10d07d229bd91b364548e130e0e51a8e5704b88c7c083ebbeb78842dee2",
    GIF: "217761244379253ba5815510d3048a4fb1f4c4dbe9fb51a5cfbfe26f34eec093",
}
NPM_SECONDS = 600
_MIT = """\
{project}

MIT License

Copyright (c) {holder}

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
LICENCES = {  # by package
    "onnxruntime-web": _MIT.format(
        project="ONNX Runtime Web, https://github.com/microsoft/onnxruntime", holder="Microsoft Corporation"
    ),
    "gifenc": _MIT.format(project="gifenc, https://github.com/mattdesl/gifenc", holder="2017 Matt DesLauriers"),
}


def web_runtime(folder: Path | None = None) -> dict[str, bytes]:
    """Return the files of ``PACKAGES`` by name.

    Args:
        folder: node_modules, one of the packages in it, or a folder with the files; None to get them with ``npm pack``.

    Raises:
        InvalidOption: a file is missing or of another version, or npm is missing or fails.
    """
    if folder is not None:
        return _read(folder)
    npm = shutil.which("npm")
    if npm is None:
        raise InvalidOption(
            "npm, which fetches onnxruntime-web and gifenc, is not installed.", f"Install Node.js, or {_OFFLINE}"
        )
    with tempfile.TemporaryDirectory() as temporary:
        for package in PACKAGES:
            _pack(npm, package, Path(temporary))
        return _read(Path(temporary))


_OFFLINE = f"give --runtime FOLDER with {', '.join(DIGESTS)}; docs/web.md tells how to get them."


def _pack(npm: str, package: str, folder: Path) -> None:
    """Write the files of a package, which npm verifies and keeps in its cache, into ``folder``."""
    version, names = PACKAGES[package]
    try:
        command = [npm, "pack", "--silent", f"{package}@{version}"]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=NPM_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise InvalidOption(
            f"npm pack {package}@{version} failed: {error}.", f"Without a network, {_OFFLINE}"
        ) from error
    if done.returncode:
        reason = (done.stderr.strip() or "it gave no reason").splitlines()[0][:200]
        raise InvalidOption(f"npm pack {package}@{version} failed: {reason}", f"Without a network, {_OFFLINE}")
    [archive] = folder.glob(f"{package}-*.tgz")
    with tarfile.open(archive) as files:
        for name in names:
            content = files.extractfile(f"package/dist/{name}")
            (folder / name).write_bytes(content.read() if content else b"")


def _read(folder: Path) -> dict[str, bytes]:
    files = {}
    for package, (version, names) in PACKAGES.items():
        places = (folder, folder / "dist", folder / package / "dist", folder.parent / package / "dist")
        for name in names:
            path = next((place / name for place in places if (place / name).is_file()), None)
            if path is None:
                raise InvalidOption(
                    f"{folder} does not have {name}.", f"It is in the folder dist of {package} {version}."
                )
            files[name] = path.read_bytes()
            if hashlib.sha256(files[name]).hexdigest() != DIGESTS[name]:
                raise InvalidOption(
                    f"{path} is not that of {package} {version}.", f"npm pack {package}@{version} fetches it."
                )
    return files
