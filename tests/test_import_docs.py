"""The examples of docs/import.md, one a route, on files of their kind."""

from __future__ import annotations

import re
import shlex
import sys
import types
from pathlib import Path

import pytest
import torch
from foreign_generators import dense_nhwc, net_g
from keras_generators import import_keras, lesson
from torch import nn

from gan_serve import Generator
from gan_serve.exports import parity

pytestmark = pytest.mark.usefixtures("fewer_images")
DOCUMENT = Path(__file__).parents[1] / "docs" / "import.md"
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


class MyGenerator(nn.Module):
    """The generator of the example's ``my_project``."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(100, 8 * 4 * 4), nn.ReLU(), nn.Unflatten(1, (8, 4, 4)), nn.ConvTranspose2d(8, 3, 8, 8), nn.Tanh()
        )

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        return self.layers(z)


@pytest.fixture(autouse=True)
def own_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(parity, "IMAGES", 32)


def commands() -> dict[str, list[str]]:
    """The import commands of the document, by the file that they import."""
    lines = [line for kind, code in BLOCK.findall(DOCUMENT.read_text()) if not kind for line in code.splitlines()]
    found = [shlex.split(line) for line in lines if line.startswith("gan-serve import")]
    return {words[2]: words[1:] for words in found}


def test_every_route_has_an_example():
    assert [Path(name).suffix for name in commands()] == [".pth", ".onnx", ".keras"]


@pytest.mark.filterwarnings("ignore::DeprecationWarning:keras")
@pytest.mark.parametrize(
    "source", [pytest.param(name, marks=() if name.endswith(".onnx") else pytest.mark.slow) for name in commands()]
)
def test_the_commands_run(source, cli):
    if source.endswith(".pth"):
        torch.save(net_g(ngf=2).state_dict(), source)
    elif source.endswith(".onnx"):
        dense_nhwc(Path(source))
    else:
        lesson(import_keras()).save(source)
    words = commands()[source]
    outcome = cli(*words)
    assert outcome.code == 0, outcome.err
    out = words[words.index("--out") + 1]
    assert f"Checkpoint: {out}\nNext: gan-serve generate {out}" in outcome.out
    assert Generator.from_pretrained(out).generate(n=2, seed=0, output="numpy").std() > 0


@pytest.mark.slow  # every day in test_export_module.py
def test_the_example_in_python_runs(monkeypatch):
    project = types.ModuleType("my_project")
    project.MyGenerator = MyGenerator  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "my_project", project)
    torch.save(MyGenerator().state_dict(), "generator.pth")
    [code] = [code for kind, code in BLOCK.findall(DOCUMENT.read_text()) if kind == "python"]
    exec(code, {})
    assert Generator.from_pretrained("mine").generate(n=1, seed=0, output="numpy").shape == (1, 32, 32, 3)
