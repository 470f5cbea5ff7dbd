"""The examples in docstrings run, each in the module that is installed."""

from __future__ import annotations

import doctest
import importlib
from pathlib import Path

import pytest

import gan_serve
import gan_serve.exports
import gan_serve.training

OPTIONS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


def modules_with_examples() -> list[str]:
    """Names of the modules whose text holds an example, found without importing them."""
    names = set()
    for package in (gan_serve, gan_serve.training, gan_serve.exports):
        top = Path(package.__path__[0])
        for file in top.rglob("*.py"):
            if ">>> " in file.read_text():
                parts = file.relative_to(top).with_suffix("").parts
                names.add(".".join((package.__name__, *parts)).removesuffix(".__init__"))
    return sorted(names)


@pytest.mark.parametrize("name", modules_with_examples())
def test_examples(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    module = importlib.import_module(name)
    assert any(test.examples for test in doctest.DocTestFinder().find(module))
    assert doctest.testmod(module, optionflags=OPTIONS).failed == 0
