"""docs/site: the pages are written with links that fit, and the check of the built site finds what is wrong."""

from __future__ import annotations

import importlib.util
import json
import re
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).parents[1]
SITE = ROOT / "docs" / "site"
PYTHON = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
RECIPE = re.compile(r"^```toml\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def load(name: str) -> ModuleType:
    sys.path.insert(0, str(SITE))
    try:
        spec = importlib.util.spec_from_file_location(f"site_{name}", SITE / f"{name}.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(str(SITE))
    return module


@pytest.fixture(scope="module")
def docs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The pages as `make docs` gives them to Zensical."""
    build = load("build")
    build.OUT = tmp_path_factory.mktemp("site") / "docs"
    build.CONFIG = build.OUT.parent / "zensical.toml"
    build.write_site(demo=False)
    return build.OUT


def test_every_page_of_the_navigation_is_there_and_in_llms_txt(docs):
    build = load("build")
    listed = (docs / "llms.txt").read_text()
    pages = [page for _, page in build.in_order(build.navigation(docs.parent / "zensical.toml")) if page]
    assert len(pages) > 25
    for page in pages:
        assert (docs / page).is_file(), page
        assert page == "index.md" or f"]({page.removesuffix('.md')}/)" in listed
    assert "def absolute(" in (docs / "llms-full.txt").read_text()


def test_links_of_the_pages_lead_to_files_of_the_site(docs):
    build = load("build")
    wrong = []
    for page in docs.rglob("*.md"):
        for piece in build.PARTS.split(page.read_text())[::2]:
            for _, link, _ in build.LINK.findall(piece):
                target = link.partition("#")[0]
                if not build.ELSEWHERE.match(link) and not (page.parent / target).is_file():
                    wrong.append((page.relative_to(docs).as_posix(), link))
    assert wrong == []


def test_the_pages_speak_of_the_demo_only_where_it_is(docs):
    assert "demo/" not in (docs / "index.md").read_text()
    assert "demo/index.html" in (SITE / "pages" / "index.md").read_text()


def test_the_reference_has_every_endpoint_field_and_command(docs, cli):
    http = (docs / "reference" / "http.md").read_text()
    for path in ("POST /sample", "POST /condition", "POST /interpolate", "POST /mix", "GET /models", "GET /readyz"):
        assert f"## `{path}`" in http
    assert "| `truncation` | number, 0.0 to 1.0 | `1.0` |" in http
    commands = (docs / "reference" / "command-line.md").read_text()
    for line in cli("--help").out.split("Commands:\n")[1].splitlines():
        if name := re.match(r"  (\w[\w-]*)  ", line):
            assert f"## `gan-serve {name[1]}`" in commands


def test_a_notebook_is_a_page_with_its_pictures(docs):
    page = (docs / "learn" / "value.md").read_text()
    assert "```python\nfrom gan_serve.training.learn import learn" in page
    pictures = re.findall(r"!\[[^\]]+\]\((value/[^)]+)\)", page)
    assert pictures
    with Image.open(docs / "learn" / pictures[0]) as picture:
        assert picture.width > 100
    assert (docs / "learn" / "value.ipynb").is_file()


def test_the_examples_of_extending_work(monkeypatch, tmp_path):
    """The page's code as it stands: a loss, a metric and a format are known by their names."""
    import torch

    from gan_serve import Generator
    from gan_serve.sampling import formats
    from gan_serve.training import losses
    from gan_serve.training.config import make_config
    from gan_serve.training.evaluation import compute_metrics, metric_names
    from gan_serve.training.recipes import Recipe

    monkeypatch.setattr(compute_metrics, "METRICS", compute_metrics.METRICS)
    monkeypatch.setattr(losses, "LOSSES", losses.LOSSES)
    before = [dict(losses.LOSSES), dict(formats.FORMATS)]
    text = (SITE / "pages" / "extend.md").read_text()
    names: dict[str, object] = {}
    try:
        for code in PYTHON.findall(text):
            exec(compile(code, "extend.md", "exec"), names)
        assert losses.LOSSES["absolute"].generator(torch.zeros(3)).item() == 1
        assert compute_metrics.METRICS[-1].__name__ == "brightness"
        samples = Generator.from_pretrained("fashion-dcgan").sample(seeds=[0])
        assert formats.encode(samples, "ppm").startswith(b"P6")
    finally:
        for table, old in zip((losses.LOSSES, formats.FORMATS), before, strict=True):
            for name in set(table) - set(old):
                del table[name]
    import tomllib

    [recipe] = [Recipe(name="lsgan-28", **tomllib.loads(code)) for code in RECIPE.findall(text)]
    config = make_config("dcgan-28", {**recipe.config, "data": "x"})
    assert (config.loss, config.kimg) == ("lsgan", 500)
    assert metric_names.MetricName("mean_gradient", 10, source="generated")


# The check of the built site


@pytest.fixture
def site(tmp_path: Path) -> Path:
    (tmp_path / "a").mkdir()
    (tmp_path / "index.html").write_text('<h1 id="top">x</h1><a href="a/">a</a><img src="p.png" alt="A picture">')
    (tmp_path / "a" / "index.html").write_text('<a href="../#top">up</a><a href="https://example.org/">out</a>')
    Image.fromarray(np.zeros((4, 4), np.uint8)).save(tmp_path / "p.png")
    return tmp_path


def test_a_site_that_is_right_has_no_problems(site):
    assert load("check").problems(site) == []


@pytest.mark.parametrize(
    ("html", "told"),
    [
        ('<a href="b/">b</a>', "index.html: b/ leads to no file"),
        ('<a href="a/#none">b</a>', "index.html: a/#none leads to no heading"),
        ('<img src="p.png">', "has no alt"),
        ('<img src="index.html" alt="x">', "cannot be read"),
        ('<img src="https://example.org/p.png" alt="x">', "is on another host"),
    ],
)
def test_what_is_wrong_is_named(site, html, told):
    (site / "index.html").write_text(html)
    assert any(told in problem for problem in load("check").problems(site))


def test_what_builds_the_site_is_pinned_and_not_installed_with_the_package():
    lines = [line for line in (SITE / "requirements.txt").read_text().splitlines() if not line.startswith("#")]
    assert all(re.fullmatch(r"[\w-]+==[\d.]+", line) for line in lines)
    project = (ROOT / "pyproject.toml").read_text()
    assert not [line for line in lines if line.partition("==")[0] + ">=" in project]
    assert json.loads((ROOT / "docs" / "learn" / "value.ipynb").read_text())["nbformat"] == 4
