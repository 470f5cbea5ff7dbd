"""What is installed: the packages that are listed are those that exist, and the wheel holds what users need."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

import gan_serve

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PACKAGES = PROJECT["tool"]["setuptools"]["packages"]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(out), str(ROOT)]
    subprocess.run(command, check=True, capture_output=True)
    return next(out.glob("*.whl"))


def test_every_package_folder_is_listed():
    tops = {
        "gan_serve": ROOT / "gan_serve",
        "gan_serve.training": ROOT / "training",
        "gan_serve.exports": ROOT / "exports",
    }
    found = {
        ".".join((name, *init.parent.relative_to(top).parts))
        for name, top in tops.items()
        for init in top.rglob("__init__.py")
    }
    assert found == set(PACKAGES)
    folders_without_init = [
        folder
        for top in tops.values()
        for folder in {path.parent for path in top.rglob("*.py")}
        if not (folder / "__init__.py").exists()
    ]
    assert not folders_without_init


def test_the_wheel_holds_every_module_recipe_and_checkpoint(wheel):
    with zipfile.ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if ".dist-info/" not in name}
    expected = set()
    for prefix, top in (
        ("gan_serve", "gan_serve"),
        ("gan_serve/training", "training"),
        ("gan_serve/exports", "exports"),
    ):
        for path in (ROOT / top).rglob("*"):
            if path.is_file() and "__pycache__" not in path.parts:
                expected.add(f"{prefix}/{path.relative_to(ROOT / top).as_posix()}")
    assert held == expected
    assert "gan_serve/py.typed" in held
    assert "gan_serve/checkpoints/fashion-dcgan/generator.onnx" in held


def test_the_wheel_stays_small(wheel):
    assert wheel.stat().st_size < 40e6


def test_the_version_is_stated_once(wheel):
    assert wheel.name.startswith(f"gan_serve-{gan_serve.__version__}-")


def test_the_licence_is_in_the_wheel(wheel):
    with zipfile.ZipFile(wheel) as archive:
        assert any(name.endswith("LICENSE") for name in archive.namelist())


def test_arrows_point_one_way():
    """exports -> training -> gan_serve, never back; the runtime reaches for torch nowhere."""
    forbidden = {
        "gan_serve": ("torch", "gan_serve.training", "gan_serve.exports", "training", "exports"),
        "training": ("gan_serve.exports", "exports"),
    }
    for top, modules in forbidden.items():
        for path in (ROOT / top).rglob("*.py"):
            for line in path.read_text().splitlines():
                words = line.split()
                if words[:1] in (["import"], ["from"]):
                    imported = words[1]
                    assert not any(imported == m or imported.startswith(f"{m}.") for m in modules), f"{path}: {line}"


def test_drawing_writes_nothing_at_home_and_tells_nobody(tmp_path):
    """ONNX Runtime's telemetry would begin with files in the cache of the user."""
    script = 'import gan_serve; gan_serve.generate("fashion-dcgan", seed=0)'
    home = {"HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path), "TMPDIR": str(tmp_path)}
    environment = {name: value for name, value in os.environ.items() if name != "ORT_DISABLE_TELEMETRY"} | home
    subprocess.run([sys.executable, "-c", script], check=True, env=environment)
    assert not list(tmp_path.rglob("*"))
