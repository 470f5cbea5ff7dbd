"""The files that ``gan-serve export-web`` writes, and what it refuses. Nothing is fetched."""

from __future__ import annotations

import gzip
import hashlib
import json
import re
from pathlib import Path
from typing import Any

import pytest

from gan_serve.errors import CannotWrite, InvalidOption, UnknownModel
from gan_serve.service import static_site, web_runtime
from gan_serve.service.static_site import export_web
from gan_serve.service.web_runtime import GIF, MODULE, WASM

FILES = {
    MODULE: b"const a = 1, b = import.meta.url;export{a as Tensor,b as env};\n",
    WASM: b"\0asm",
    GIF: b"var c=1;export{c as GIFEncoder,c as default};\n",
}


@pytest.fixture
def runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with files of the names of onnxruntime-web, taken for right: what is written around them is tested."""
    folder = tmp_path / "runtime" / "dist"
    folder.mkdir(parents=True)
    for name, content in FILES.items():
        (folder / name).write_bytes(content)
    digests = {name: hashlib.sha256(content).hexdigest() for name, content in FILES.items()}
    monkeypatch.setattr(web_runtime, "DIGESTS", digests)
    return folder.parent


def test_a_site_has_the_page_the_engine_the_checkpoints_and_their_licences(runtime: Path, tmp_path: Path) -> None:
    site = export_web(["fashion-dcgan", "mnist-cgan"], tmp_path / "site", runtime=runtime)
    page = (site / "index.html").read_text("utf-8")
    assert 'src="web/' not in page
    assert not re.findall(r'(?:src|href)="(?:https?:)?//', page)
    assert "default-src 'none'" in page
    assert "data:image/webp;base64," in page
    data = json.loads(re.search(r'id="embedded">(.*?)</script>', page)[1])  # type: ignore[index]
    assert [model["name"] for model in data["models"]] == ["fashion-dcgan", "mnist-cgan"]
    assert "licence cc-by-sa-3.0" in page
    assert (site / "models/mnist-cgan/README.md").is_file()
    assert (site / "engine" / "LICENSE-onnxruntime-web.txt").is_file()
    readme = (site / "README.md").read_text("utf-8")
    assert readme.startswith("---\n")
    assert "sdk: static\n" in readme
    assert "license: other\n" in readme
    worker = (site / "service-worker.js").read_text("utf-8")
    listed = json.loads(re.search(r"const FILES = (.*);", worker)[1])  # type: ignore[index]
    assert all((site / name).exists() for name in listed)
    assert "engine/worker.js" in listed
    assert "models/mnist-cgan/generator.int8.onnx" in listed


def test_a_single_file_is_whole_and_has_the_cards(runtime: Path, tmp_path: Path) -> None:
    site = export_web(["mnist-cgan"], tmp_path / "page", single_file=True, runtime=runtime)
    page = (site / "index.html").read_text("utf-8")
    assert 'data-file="models/mnist-cgan/generator.onnx"' in page
    assert "worker-src blob:" in page
    assert "library_name: gan-serve" in page
    assert "license: cc-by-sa-3.0\n" in (site / "README.md").read_text("utf-8")
    worker = static_site._plain_worker(FILES)
    assert "globalThis.gifenc = { GIFEncoder: c, default: c }" in worker
    assert "globalThis.ort = { Tensor: a, env: b }" in worker
    assert "import.meta" not in worker


def test_what_cannot_be_exported_is_refused_in_words(runtime: Path, tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "file").touch()
    refused: list[tuple[type[Exception], dict[str, Any]]] = [
        (CannotWrite, {"models": ["mnist-cgan"], "out": tmp_path / "there"}),
        (InvalidOption, {"models": [], "out": tmp_path / "none"}),
        (InvalidOption, {"models": ["mnist-cgan", "mnist-cgan"], "out": tmp_path / "twice"}),
        (UnknownModel, {"models": ["mnist-cgam"], "out": tmp_path / "unknown"}),
    ]
    for error, arguments in refused:
        with pytest.raises(error):
            export_web(**arguments, runtime=runtime)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["runtime", "there"]


def test_the_page_and_its_script_are_small(runtime: Path, tmp_path: Path) -> None:
    """A visitor waits for these two before the first picture moves: its animation is in the page."""
    site = export_web(["avatars-cgan"], tmp_path / "site", runtime=runtime)
    assert sum(len(gzip.compress((site / name).read_bytes())) for name in ("index.html", "page.js")) < 60_000


def test_a_runtime_that_is_missing_or_another_one_is_refused(
    runtime: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(InvalidOption, match=f"does not have {re.escape(MODULE)}"):
        export_web(["mnist-cgan"], tmp_path / "site", runtime=tmp_path)
    (runtime / "dist" / WASM).write_bytes(b"\0asm another")
    with pytest.raises(InvalidOption, match="is not that of onnxruntime-web"):
        export_web(["mnist-cgan"], tmp_path / "site", runtime=runtime)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InvalidOption, match="npm, which fetches onnxruntime-web and gifenc, is not installed"):
        export_web(["mnist-cgan"], tmp_path / "site")
