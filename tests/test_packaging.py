"""The installed package: the packages that are listed are those that exist, and the wheel holds what users need."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import numpy as np
import pytest
import yaml
from zoo_lists import CHECKPOINTS, IN_WHEEL, NOT_IN_WHEEL, PACKED, ROOT, ZOO, packed_files

import gan_serve
from gan_serve.checkpoint.bundled import manifest
from gan_serve.checkpoint.config import WEIGHTS_FILE
from gan_serve.checkpoint.files import read_any_config

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PACKAGES = PROJECT["tool"]["setuptools"]["packages"]

PACKAGE_DATA = PROJECT["tool"]["setuptools"]["package-data"]
EXTRACTORS = {"cnn-fashion", "cnn-mnist", "cnn-general"}  # those of bricks, faces and avatars stay in the repository


def build(kind: str, out: Path) -> Path:
    """The one file that is built, in new folders: setuptools packs what an earlier build left in its own."""
    config = out / "extra.cfg"
    config.write_text(f"[build]\nbuild_base = {out / 'build'}\n[egg_info]\negg_base = {out}\n")
    command = [sys.executable, "-m", "build", f"--{kind}", "--no-isolation", "--outdir", str(out / "dist"), str(ROOT)]
    subprocess.run(command, check=True, capture_output=True, env=os.environ | {"DIST_EXTRA_CONFIG": str(config)})
    [built] = (out / "dist").iterdir()
    return built


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build("wheel", tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="session")
def unpacked(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel as pip lays it out."""
    folder = tmp_path_factory.mktemp("unpacked")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    return folder


def run_installed(unpacked: Path, *words: object) -> subprocess.CompletedProcess[str]:
    """Python with what the wheel holds in place of the checkout."""
    environment = os.environ | {"PYTHONPATH": str(unpacked)}
    command = [sys.executable, *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=unpacked, env=environment)


def names_in(folder: str, files: set[str]) -> set[str]:
    """The names of the folders in ``folder`` that have files."""
    inside = [file.removeprefix(f"{folder}/").split("/") for file in files if file.startswith(f"{folder}/")]
    return {parts[0] for parts in inside if len(parts) > 1}


@pytest.mark.parametrize(
    ("listed", "expected"),
    [
        (" ".join(PACKAGE_DATA["gan_serve"]), IN_WHEEL),
        ((ROOT / "bentofile.yaml").read_text(), IN_WHEEL),
    ],
    ids=["pyproject.toml", "bentofile.yaml"],
)
def test_each_list_of_checkpoints_is_that_of_the_manifest(listed, expected):
    assert set(re.findall(r"checkpoints/([\w-]+)/\*", listed)) == expected


def test_the_manifest_lists_every_checkpoint_and_the_zoo_says_how_each_is_made():
    there = {path.parent.name for path in CHECKPOINTS.glob("*/config.json")}
    assert there <= set(manifest())
    assert set(ZOO) == set(manifest())
    assert not [name for name, entry in manifest().items() if entry.in_wheel == bool(entry.left_out_because)]


@pytest.mark.parametrize("name", sorted(path.parent.name for path in CHECKPOINTS.glob("*/config.json")))
def test_the_licence_of_the_manifest_is_that_of_the_checkpoint(name):
    licence = read_any_config(CHECKPOINTS / name).license
    assert re.sub("[ `-]", "", manifest()[name].licence.lower()).startswith(re.sub("[ -]", "", licence))


def test_the_bento_has_the_dependencies_of_the_package():
    packages = yaml.safe_load((ROOT / "bentofile.yaml").read_text())["python"]["packages"]
    assert packages == PROJECT["project"]["dependencies"]


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


def test_the_wheel_holds_every_module_and_recipe_and_what_it_should_of_the_zoo(wheel):
    with zipfile.ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert names_in("gan_serve/checkpoints", held) == PACKED
    assert names_in("gan_serve/training/evaluation/extractors", held) == EXTRACTORS
    expected = set()
    for prefix, top in (
        ("gan_serve", "gan_serve"),
        ("gan_serve/training", "training"),
        ("gan_serve/exports", "exports"),
    ):
        for path in (ROOT / top).rglob("*"):
            if path.is_file() and "__pycache__" not in path.parts:
                expected.add(f"{prefix}/{path.relative_to(ROOT / top).as_posix()}")
    checkpoints = {path.as_posix() for path in packed_files()} | {"gan_serve/checkpoints/manifest.toml"}
    in_repository_only = {
        name
        for name in expected
        if (name.startswith("gan_serve/checkpoints/") and name not in checkpoints)
        or names_in("gan_serve/training/evaluation/extractors", {name}) - EXTRACTORS
    }
    assert held == expected - in_repository_only
    assert not [name for name in held if name.endswith(".safetensors")]
    assert "gan_serve/py.typed" in held
    assert "gan_serve/checkpoints/fashion-dcgan/generator.onnx" in held


def test_the_wheel_stays_small(wheel):
    assert wheel.stat().st_size < 40e6


@pytest.mark.slow
def test_the_source_distribution_has_the_same_checkpoints(tmp_path):
    with tarfile.open(build("sdist", tmp_path)) as archive:
        held = {name.partition("/")[2] for name in archive.getnames()}
    found = {name for name in held if len(name.split("/")) > 3}  # files, not folders
    assert names_in("gan_serve/checkpoints", found) == PACKED
    assert names_in("training/evaluation/extractors", found) == EXTRACTORS
    assert not [name for name in held if name.endswith(".safetensors")]


def test_a_checkpoint_of_the_wheel_is_that_of_the_repository_but_for_its_weights(unpacked):
    for name in PACKED:
        ours, theirs = (top / "gan_serve" / "checkpoints" / name for top in (ROOT, unpacked))
        assert {path.name for path in ours.iterdir()} - {WEIGHTS_FILE} == {path.name for path in theirs.iterdir()}
        assert (theirs / "config.json").read_bytes() == (ours / "config.json").read_bytes()


def test_the_wheel_tells_how_to_get_what_it_leaves_out(unpacked):
    script = """
import json, gan_serve
from gan_serve.checkpoint.bundled import left_out
told = {}
for name in left_out():
    try:
        gan_serve.generate(name)
    except gan_serve.UnknownModel as error:
        told[name] = [error.message, error.hint]
print(json.dumps([gan_serve.__file__, gan_serve.list_models(), told]))
"""
    outcome = run_installed(unpacked, "-c", script)
    assert outcome.returncode == 0, outcome.stderr
    file, names, told = json.loads(outcome.stdout)
    assert file.startswith(str(unpacked))
    assert set(names) == PACKED
    assert set(told) == NOT_IN_WHEEL
    for name, (message, hint) in told.items():
        assert message.startswith(f"{name} is a checkpoint of the project, but it is not in the package: ")
        assert hint == (
            f"Clone the project's repository and give its directory gan_serve/checkpoints/{name}, "
            "or train it as docs/zoo.md describes."
        )


@pytest.mark.slow
def test_a_run_starts_from_a_checkpoint_of_the_wheel(unpacked, tmp_path):
    """Its weights are read from the ONNX file. The run ends before its first step, after the first grid."""
    pixels = np.random.default_rng(0).integers(0, 256, (64, 28, 28), np.uint8)
    np.savez(tmp_path / "images.npz", images=pixels)
    words = ["train", "--recipe", "dcgan-28", "--data", tmp_path / "images.npz", "--run-dir", tmp_path / "run"]
    words += ["--init-from", "fashion-dcgan", "--kimg", "0.008", "--set", "batch_size=8", "--quiet"]
    outcome = run_installed(unpacked, "-m", "gan_serve.cli", *words)
    assert outcome.returncode == 0, outcome.stderr
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert record["init_from"]["name"] == "fashion-dcgan"


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
