"""A page of a checkpoint's author would run as a page of the site that ``export-web`` writes: none is copied."""

from __future__ import annotations

import json
import re

from test_export_web import runtime as runtime  # a fixture
from tiny_checkpoint import seal, write_checkpoint

from gan_serve.service.static_site import INERT, export_web

EVIL = b"<script>alert(document.domain)</script>"


def test_files_that_a_browser_runs_are_not_copied(runtime, tmp_path):
    directory = write_checkpoint(tmp_path / "tiny")
    for name in ("index.html", "page.js", "picture.svg", "feed.xml", "page.HTM", "a.xhtml", "evil", "a.json.html"):
        (directory / name).write_bytes(EVIL)
    (directory / "README.md").write_bytes(EVIL + b"</pre></details>")
    seal(directory, license="</script><script>evil()</script>")
    site = export_web([directory], tmp_path / "site", runtime=runtime)
    copied = [path.name for path in (site / "models" / "tiny").iterdir()]
    assert all(name.endswith(INERT) for name in copied)
    assert {"config.json", "generator.onnx", "README.md"} <= set(copied)
    listed = json.loads(re.search(r"const FILES = (.*);", (site / "service-worker.js").read_text())[1])
    assert all((site / name).exists() for name in listed)
    single = export_web([directory], tmp_path / "single", runtime=runtime, single_file=True)
    for page in (site / "index.html", single / "index.html"):
        text = page.read_text("utf-8")
        assert "<script>evil" not in text
        assert "<script>alert" not in text
