"""The files around the code: workflows, issue forms, citation, the release check."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

ROOT = Path(__file__).parents[1]


def _files(pattern: str) -> list[str]:
    return [path.relative_to(ROOT).as_posix() for path in sorted(ROOT.glob(pattern))]


SCHEMAS = {
    "CITATION.cff": "citation-file-format",
    ".github/ISSUE_TEMPLATE/config.yml": "github-issue-config",
    **dict.fromkeys(_files(".github/ISSUE_TEMPLATE/[!c]*.yml"), "github-issue-forms"),
    **dict.fromkeys(_files(".github/workflows/*"), "github-workflows"),
}


@pytest.mark.parametrize("file", SCHEMAS)
def test_a_file_fits_its_schema(file):
    program = pytest.importorskip("check_jsonschema", reason="check-jsonschema is in the extra dev")
    outcome = CliRunner().invoke(program.main, ["--builtin-schema", f"vendor.{SCHEMAS[file]}", str(ROOT / file)])
    assert outcome.exit_code == 0, outcome.output


def release_check():
    spec = importlib.util.spec_from_file_location("release_check", ROOT / ".ci" / "release_check.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def tree(tmp_path):
    (tmp_path / "gan_serve").mkdir()
    for name in ("pyproject.toml", "gan_serve/_version.py"):
        shutil.copy(ROOT / name, tmp_path / name)
    (tmp_path / "gan_serve" / "_version.py").write_text('__version__ = "1.2.0"\n')
    (tmp_path / "CHANGELOG.md").write_text("## [1.2.0] - 2026-12-01\n")
    (tmp_path / "pyproject.toml").write_text(
        "[project.urls]\n" + "".join(f'{name} = "https://x/"\n' for name in ("Homepage", "Repository", "Changelog"))
    )
    return tmp_path


def test_a_tree_that_is_ready(tree):
    assert release_check().problems("v1.2.0", tree) == []


@pytest.mark.parametrize(
    ("file", "text", "told"),
    [
        ("gan_serve/_version.py", '__version__ = "1.1.0"\n', "the version '1.1.0'"),
        ("CHANGELOG.md", "## [Unreleased]\n", "no section '## [1.2.0]"),
        ("pyproject.toml", "[project]\n", "no [project.urls] Homepage"),
    ],
)
def test_what_is_missing_is_named(tree, file, text, told):
    (tree / file).write_text(text)
    assert any(told in problem for problem in release_check().problems("v1.2.0", tree))


@pytest.mark.parametrize("name", ["training", "exports"])
def test_the_folders_of_the_checkout_are_not_imported_by_their_short_names(name):
    """That would make a second copy of each class."""
    outcome = subprocess.run(
        [sys.executable, "-c", f"import {name}"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert outcome.returncode == 1
    assert f"import gan_serve.{name}" in outcome.stderr
