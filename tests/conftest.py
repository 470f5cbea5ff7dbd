"""Fixtures that several test files share. Real images come from scikit-learn's digits and Debian's Fashion-MNIST."""

from __future__ import annotations

import functools
import gc
import itertools
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import numpy as np
import pytest
from conditional_checkpoint import write_conditional
from hub_server import REPO, Hub, serving_hub
from real_digits import load_digits
from servers import GAN_SERVE, KINDS, running
from tiny_checkpoint import write_checkpoint

from gan_serve import Generator
from gan_serve.checkpoint.bundled import BUNDLED
from gan_serve.cli import main
from gan_serve.training.data.load import NAMED_SOURCES

NAME = "fashion-dcgan"
PLOTTERS = ("gan_serve.training.monitoring.recorder", "gan_serve.training.translation.recorder")
OWN_SERVERS = ("test_service_fuzz", "test_service_schema")  # their fixtures of that name have other settings


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Any:
    """Import the tests without garbage collection, and let later ones pass over what was imported.

    torch and onnxscript leave so many objects that a full collection takes long: with them, the imports took 2.5 s of
    the processor in place of 3.2, and a loop that makes and drops small objects 0.14 s in place of 0.91.
    """
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()
        gc.freeze()


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Let every process begin with its share of the long tests: at the end, some would run while others have none left.

    ``--dist worksteal`` gives each process as many tests as the others, in the order of ``items``.
    """

    def seconds(item: pytest.Item) -> float:
        marks = item.iter_markers("long")
        return max((mark.args[0] for mark in marks), default=0)

    long = sorted(filter(seconds, items), key=seconds, reverse=True)
    if not long:
        return
    others = iter([item for item in items if not seconds(item)])
    shares: list[list[pytest.Item]] = [[] for _ in range(getattr(config, "workerinput", {}).get("workercount", 1))]
    for item in long:
        min(shares, key=lambda share: sum(map(seconds, share))).append(item)
    ordered: list[pytest.Item] = []
    for number, share in enumerate(shares):
        size = (len(items) - len(ordered)) // (len(shares) - number)
        ordered += [*share, *itertools.islice(others, max(size - len(share), 0))]
    items[:] = [*ordered, *others]


@pytest.fixture(scope="session")
def checkpoint() -> Path:
    """The directory of the checkpoint in the package."""
    return BUNDLED / NAME


@pytest.fixture(scope="session")
def generator() -> Generator:
    return Generator.from_pretrained(NAME, device="cpu")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run the tests of the service against ``gan-serve serve`` and against ``bentoml serve``."""
    name = metafunc.module.__name__.rpartition(".")[2]
    if "server" in metafunc.fixturenames and name.startswith("test_service") and name not in OWN_SERVERS:
        metafunc.parametrize("server", KINDS, indirect=True, scope="session")


@pytest.fixture(scope="session")
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """A live server on loopback, ``gan-serve serve`` unless a test asks for more: a model with classes, one without."""
    directory = tmp_path_factory.mktemp("server")
    conditional = directory / "conditional"
    conditional.mkdir()
    kind = getattr(request, "param", GAN_SERVE)
    with running([NAME, str(write_conditional(conditional))], directory, kind) as client:
        yield client


@pytest.fixture(scope="session")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """1,797 real handwritten digits, 8x8 gray, as an npz with labels."""
    images, labels = load_digits()
    path = tmp_path_factory.mktemp("digits") / "digits.npz"
    np.savez(path, images=(images * (255 / 16)).round().astype(np.uint8), labels=labels)
    return path


@pytest.fixture(scope="module", autouse=True)
def no_curves(request: pytest.FixtureRequest) -> Iterator[None]:
    """Leave ``curves.png`` out of the runs of tests that do not look at it: plotting takes longer than the training."""
    with pytest.MonkeyPatch.context() as patch:
        for name in () if getattr(request.module, "WITH_CURVES", False) else PLOTTERS:
            if name in sys.modules:
                patch.setattr(f"{name}.write_curves", lambda *_, **__: None)
        yield


@pytest.fixture(scope="module", autouse=True)
def one_registry() -> None:
    """Build torch's table of ONNX operators once for all exports of this process: it takes half a second at each."""
    if "gan_serve.exports.to_onnx" in sys.modules:
        from torch.onnx._internal.exporter._registration import ONNXRegistry

        if not hasattr(ONNXRegistry.from_torchlib, "cache_info"):
            ONNXRegistry.from_torchlib = staticmethod(functools.cache(ONNXRegistry.from_torchlib))


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Let extractors compute with one thread: others spin while they wait, which took half as much time again."""
    with pytest.MonkeyPatch.context() as patch:
        if registry := sys.modules.get("gan_serve.training.evaluation.extractor_registry"):
            patch.setattr(registry, "THREADS", 1)
        yield


@pytest.fixture(scope="module")
def fewer_images(request: pytest.FixtureRequest) -> Iterator[None]:
    """Compare ONNX with torch, and int8 and fp16 with fp32, on fewer images, in tests of other parts of an export.

    Imports compute the figures of fewer images too.
    """
    from gan_serve.exports import certify, parity, write_checkpoint

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parity, "IMAGES", 64)
        patch.setattr(certify, "GATE_SEEDS", range(64))
        patch.setattr(certify, "FP16_SEEDS", range(32))
        patch.setattr(certify, "BATCH_SEEDS", range(32))
        if request.module.__name__.rpartition(".")[2].startswith("test_import"):
            patch.setattr(write_checkpoint, "SAMPLE", 100)
        yield


@pytest.fixture
def fashion_mnist() -> None:
    """Skip where Debian's package is not installed; .ci/run installs it."""
    if not any(Path(folder).is_dir() for folder in NAMED_SOURCES["fashion-mnist"].folders):
        pytest.skip("Debian's dataset-fashion-mnist is not installed")


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    """A Hub of our own, which this process and those that it starts take for the real one; an empty cache, no token."""
    from huggingface_hub import constants

    home = tmp_path / "hf-home"
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(home / "hub"))
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(home / "token"))
    monkeypatch.setattr(constants, "AGENT_HARNESSES_PATH", str(home / "harnesses.json"), raising=False)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    for name, value in {"HF_HOME": str(home), "HF_HUB_DISABLE_XET": "1"}.items():
        monkeypatch.setenv(name, value)
    for name in ("HF_HUB_CACHE", "HF_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.delenv("HF_TOKEN", raising=False)
    with serving_hub() as server:
        monkeypatch.setenv("HF_ENDPOINT", server.address)
        monkeypatch.setattr(constants, "ENDPOINT", server.address)
        template = server.address + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        yield server
        assert not server.wrong


class Outcome(NamedTuple):
    code: int
    out: str
    err: str


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Outcome]:
    """Run the command line in this process: ``cli("generate", ...)``."""

    def run(*arguments: object) -> Outcome:
        monkeypatch.setattr("sys.argv", ["gan-serve", *map(str, arguments)])
        with pytest.raises(SystemExit) as exit:
            main()
        captured = capsys.readouterr()
        return Outcome(int(exit.value.code or 0), captured.out, captured.err)

    return run


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    """A small checkpoint of its own."""
    return write_checkpoint(tmp_path / "tiny")


@pytest.fixture
def published(hub: Hub, tiny: Path) -> str:
    """The commit of a checkpoint on the Hub, as ``hub_server.REPO``."""
    return hub.publish(REPO, tiny)
