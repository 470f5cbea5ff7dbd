"""A browser and a server for all tests of this folder, and visits to its page."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from browser import CLASSES, Visit, chromium
from conditional_checkpoint import write_conditional
from servers import running
from tiny_checkpoint import write_checkpoint

from gan_serve import Generator

NAME = "mnist-mlp"  # of the bundled models the one that samples fastest


@pytest.fixture(scope="package")
def browser() -> Iterator[Any]:
    """A browser for this folder alone: Playwright keeps an event loop running, which other tests must not meet."""
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="package")
def generator() -> Generator:
    return Generator.from_pretrained(NAME, device="cpu")


@pytest.fixture(scope="package")
def quoted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint with labels of which file names, shells and addresses must quote one."""
    return write_conditional(tmp_path_factory.mktemp("conditional"), CLASSES)


@pytest.fixture(scope="package")
def explorer(quoted: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server with a model that has labels, two that have none, and one that is damaged."""
    folder = tmp_path_factory.mktemp("server")
    damaged = write_checkpoint(folder / "damaged")
    (damaged / "generator.onnx").write_bytes(b"not a network")
    with running([NAME, "fashion-dcgan", str(quoted), str(damaged)], folder) as client:
        yield str(client.base_url).rstrip("/")


@pytest.fixture(params=["desktop", pytest.param("phone", marks=pytest.mark.slow)])
def visit(request: pytest.FixtureRequest, browser: Any, explorer: str) -> Iterator[Visit]:
    """A visit; in `make test-slow` also with the window of a phone."""
    visit = Visit(browser, explorer, request.param)
    yield visit
    visit.context.close()


@pytest.fixture(scope="package")
def person(browser: Any, explorer: str) -> Iterator[Visit]:
    visit = Visit(browser, explorer)
    yield visit
    visit.context.close()


@pytest.fixture
def desktop(person: Visit) -> Iterator[Visit]:
    """A visit of a person who was here before: it takes a third less time than the first visit of another one."""
    visit = person.again()
    yield visit
    visit.page.close()
    visit.context.set_offline(False)
