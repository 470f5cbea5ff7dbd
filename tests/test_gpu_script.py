"""``make gpu``: what it trains, writes and takes up again; training needs torch, numpy, pillow and pydantic alone."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import textwrap
from importlib.metadata import packages_distributions
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from gan_serve.training.config import read_config
from gan_serve.training.data.load import load_images
from gan_serve.training.monitoring.run_log import read_log
from gan_serve.training.snapshots import load_snapshot, snapshots

REPOSITORY = Path(__file__).parents[1]
SETTINGS = ("resolution=8", "width=0.125", "batch_size=16", "conditional=true")


@pytest.fixture
def gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    spec = importlib.util.spec_from_file_location("gpu_script", REPOSITORY / "zoo" / "gpu.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "gpu_script", module)  # dataclasses look their module up
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "WORK", tmp_path / "work")
    (tmp_path / "work").mkdir()
    return module


def plan_of(gpu: ModuleType, tmp_path: Path, digits: Path, **changes: Any) -> Any:
    plan = {"budget": 5.0, "data": str(digits), "checkpoint": "digits", "settings": SETTINGS, "calls": 2}
    return gpu.Plan(**plan | {"out": tmp_path / "out", "resume_from": None} | changes)


@pytest.mark.slow
def test_a_run_is_planned_by_its_speed_written_in_parts_and_taken_up_again(gpu, tmp_path, digits, monkeypatch):
    plan = plan_of(gpu, tmp_path, digits)
    gpu.train_on(plan, 3.0)
    run_dir = gpu.WORK / "digits"
    config = read_config(run_dir / "config.json")
    speed = read_log(gpu.WORK / "trial")[-1]["images_per_s"]
    assert 0 < config.kimg <= max(2 * 3.0 * speed / 1000, 0.1)
    assert read_log(run_dir)[-1]["kimg"] >= config.kimg

    written = gpu._write_results(plan.out, run_dir, {"seconds": 3})
    assert written[0] == "results.md"
    assert set(written) == {"results.md", "grid.png", "ema.pt", "run.zip.part0"} == set(os.listdir(plan.out))
    assert f'"kimg": {read_log(run_dir)[-1]["kimg"]}' in (plan.out / "results.md").read_text()
    with Image.open(plan.out / "grid.png") as grid:
        assert grid.width == 82
    ema = load_snapshot(snapshots(run_dir)[-1])["ema"]
    kept = torch.load(plan.out / "ema.pt", weights_only=True)
    assert all(torch.equal(kept[name], ema[name]) for name in ema)

    monkeypatch.setattr(gpu, "WORK", tmp_path / "elsewhere")
    gpu._unpack(plan.out, gpu.WORK / "digits")
    shown = read_log(gpu.WORK / "digits")[-1]["kimg"]
    gpu.train_on(plan, 3.0)
    assert not (gpu.WORK / "trial").exists()
    assert read_config(gpu.WORK / "digits" / "config.json").kimg == 2 * config.kimg  # the run was at its end
    assert read_log(gpu.WORK / "digits")[-1]["kimg"] > shown


def test_large_weights_are_halved_and_large_runs_cut_or_left(gpu, tmp_path, monkeypatch):
    (tmp_path / "run" / "snapshots").mkdir(parents=True)
    noise = np.random.default_rng(0).standard_normal(50_000).astype(np.float32)
    state = {"ema": {"weight": torch.from_numpy(noise)}, "other": torch.from_numpy(noise[::-1].copy())}
    torch.save(state, tmp_path / "run" / "snapshots" / "kimg1.pt")
    monkeypatch.setattr(gpu, "LARGEST", 150_000)
    written = gpu._write_results(tmp_path / "out", tmp_path / "run", {})
    assert written == ["results.md", "ema-fp16.pt", "run.zip.part0", "run.zip.part1", "run.zip.part2"]
    assert max(path.stat().st_size for path in (tmp_path / "out").iterdir()) <= 150_000
    gpu._unpack(tmp_path / "out", tmp_path / "again")
    assert torch.equal(torch.load(tmp_path / "again" / "snapshots" / "kimg1.pt")["other"], state["other"])
    monkeypatch.setattr(gpu, "MAX_FILES", 4)
    assert gpu._write_results(tmp_path / "out", tmp_path / "run", {}) == ["results.md", "ema-fp16.pt"]
    assert "which are too many" in (tmp_path / "out" / "results.md").read_text()
    assert sorted(os.listdir(tmp_path / "out")) == ["ema-fp16.pt", "results.md"]  # old parts are gone


def test_a_checkpoint_of_the_zoo_is_trained_at_full_width_without_other_files(gpu):
    recipe, settings = gpu._recipe("mnist-cgan")
    assert recipe == "dcgan-28"
    assert settings == {"conditional": True, "conditioning": "projection", "minibatch": "std"}
    assert gpu._recipe("not in the zoo")[1] == {"resolution": 64, "conditional": True}


def test_a_part_of_a_data_set_keeps_pixels_and_classes(gpu, tmp_path, digits):
    gpu.pack(str(digits), tmp_path / "part.zip", 0.1)
    assert (tmp_path / "part.zip").stat().st_size <= 100_000
    part, whole = load_images(tmp_path / "part.zip"), load_images(digits)
    assert 100 < len(part) < len(whole)
    assert part.class_names == whole.class_names
    known = {image.tobytes(): label for image, label in zip(whole.images, whole.labels, strict=True)}
    assert all(known[image.tobytes()] == label for image, label in zip(part.images, part.labels, strict=True))


OPTIONAL = (
    "bentoml click psutil filelock matplotlib tqdm safetensors yaml pooch onnx onnxscript onnxruntime httpx fastapi "
    "huggingface_hub uvicorn starlette prometheus_client tenacity isal pyarrow sklearn tensorboard"
)


def test_training_needs_torch_numpy_pillow_and_pydantic_alone(tmp_path, digits):
    """In a process that finds none of the other packages; where there is no click, there is no command line either."""
    (tmp_path / "sitecustomize.py").write_text(
        textwrap.dedent(
            f"""
            from importlib.machinery import PathFinder
            missing, find = set({OPTIONAL!r}.split()), PathFinder.find_spec
            PathFinder.find_spec = classmethod(
                lambda cls, name, *rest: None if name.partition(".")[0] in missing else find(name, *rest)
            )
            """
        )
    )
    script = f"""
import importlib.util
assert importlib.util.find_spec("click") is None
from gan_serve.training.config import make_config
from gan_serve.training.loop import train
settings = {{"data": {str(digits)!r}, "resolution": 8, "width": 0.125, "batch_size": 16, "kimg": 0.1}}
settings |= {{"z_dim": 8, "kimg_per_tick": 0.05, "ticks_per_evaluation": 1}}
print(train(make_config("dcgan-28", settings), {str(tmp_path / "run")!r}))
"""
    paths = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-c", script], env=os.environ | {"PYTHONPATH": paths}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert Path(done.stdout.strip().splitlines()[-1]).is_file()
    assert len(read_log(tmp_path / "run")) == 2
    assert "swd" in "".join(read_log(tmp_path / "run")[-1])
    assert (tmp_path / "run" / "progress.gif").is_file()
    assert not (tmp_path / "run" / "curves.png").exists()  # that needs matplotlib


@pytest.mark.slow
def test_exporting_loads_no_plots():
    script = "import sys; from gan_serve.exports import card, certify, export; print('matplotlib' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stdout.strip() == "False", done.stderr


def test_a_file_of_exports_shadows_no_package():
    """Run as a script, its folder comes first on Python's path."""
    names = {path.stem for path in (REPOSITORY / "exports").glob("*.py")}
    assert not names & (sys.stdlib_module_names | packages_distributions().keys())
    script = REPOSITORY / "exports" / "graph.py"  # imports onnx
    done = subprocess.run([sys.executable, script, "--help"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
