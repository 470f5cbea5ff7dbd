"""The notebooks of docs/learn, and docs/tour.ipynb: they are what their programs write, and run from top to bottom."""

from __future__ import annotations

import importlib.util
import json
import os
import sys
from pathlib import Path

import pytest

from gan_serve.training.learn import PAGES

DOCS = Path(__file__).parents[1] / "docs"
EVERY_DAY = "gradients"  # test_learn.py checks the numbers of the others every day


@pytest.fixture(scope="module")
def program():
    spec = importlib.util.spec_from_file_location("docs_learn", DOCS / "learn.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_page_has_a_notebook(program):
    assert list(program.LESSONS) == list(PAGES)
    assert sorted(path.stem for path in (DOCS / "learn").glob("*.ipynb")) == sorted(PAGES)


@pytest.mark.parametrize("name", PAGES)
def test_the_notebook_is_the_one_that_the_program_writes(program, name):
    stored = json.loads((DOCS / "learn" / f"{name}.ipynb").read_text())
    assert (stored["nbformat"], stored["nbformat_minor"]) == (4, 5)
    made = program.cells(name)
    assert [cell["source"] for cell in stored["cells"]] == [cell["source"] for cell in made]
    assert len({cell["id"] for cell in stored["cells"]}) == len(made)
    outputs = [output for cell in stored["cells"] for output in cell.get("outputs", ())]
    assert any("image/png" in output.get("data", {}) for output in outputs)


def marks_of(name: str) -> list[pytest.MarkDecorator]:
    marks = [pytest.mark.slow] if name != EVERY_DAY else []
    return [*marks, pytest.mark.long(60)] if name == "mode-collapse" else marks


@pytest.mark.parametrize("name", [pytest.param(name, marks=marks_of(name)) for name in PAGES])
def test_it_runs_from_top_to_bottom(program, name):
    cells = program.cells(name)
    program.run(cells)  # the cell of checks asserts what theory demands
    shown = [output for cell in cells for output in cell.get("outputs", ())]
    assert [cell["execution_count"] for cell in cells if cell["cell_type"] == "code"] == [1, 2, 3, 4, 5]
    assert len(shown) >= 4


def test_a_wrong_number_stops_the_notebook(program):
    cells = program.cells("gradients")
    cells[6]["source"] = ["assert page.numbers['saturating, D(G(z)) = 0.5'] > 1\n"]
    with pytest.raises(AssertionError):
        program.run(cells)


@pytest.fixture
def tour(monkeypatch):
    monkeypatch.syspath_prepend(DOCS)
    spec = importlib.util.spec_from_file_location("docs_tour", DOCS / "tour.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    sys.modules.pop("learn", None)


def test_the_tour_is_the_one_that_the_program_writes(tour):
    stored = json.loads((DOCS / "tour.ipynb").read_text())["cells"]
    assert [cell["source"] for cell in stored] == [cell["source"] for cell in tour.cells()]
    kinds = {kind for cell in stored for output in cell.get("outputs", ()) for kind in output.get("data", {})}
    assert {"image/png", "image/gif"} <= kinds


@pytest.mark.slow
@pytest.mark.long(96)
@pytest.mark.usefixtures("fashion_mnist")
def test_the_tour_runs_from_top_to_bottom(tour):
    folder = os.getcwd()
    cells = tour.cells()
    try:
        tour.run(cells)  # it asserts that images are verified, and served with the same pixels
    finally:
        os.chdir(folder)
    assert all(cell["execution_count"] for cell in cells if cell["cell_type"] == "code")
