"""Use a GPU for a given time: measure training, try ONNX Runtime on CUDA, train a checkpoint. See ``make gpu``.

    python zoo/gpu.py run --budget 540 --data avatars.zip       on the machine with the GPU; call it again to continue
    python zoo/gpu.py pack --data avatars --out avatars.zip     beforehand: pack a part of a data set that is small
    enough to copy

``run`` installs and downloads nothing. It needs torch, numpy, pillow and pydantic, and uses other packages if they are
installed. The run is in ``build/gpu``. ``--out`` gets at most ``MAX_FILES`` files of ``LARGEST`` bytes: results, grid,
averaged weights, and the run in parts, from which ``--resume-from`` continues if ``build/gpu`` is gone.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import tomllib
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[1]
WORK = REPOSITORY / "build" / "gpu"
MAX_FILES, LARGEST = 8, 16 * 2**20  # limits of what is copied back from the machine
MEGABYTES = 40  # size of a packed data set
PART = "run.zip.part"
STEPS = ("train.md", "onnx.md", "bench.md")  # files with the output of each step
# Recipe and settings of a checkpoint that the zoo does not have yet.
FALLBACK = ("sngan-hinge", {"resolution": 64, "conditional": True})
# Settings of the zoo that do not apply: the run has full width and no files of the zoo.
NOT_HERE = ("width", "features", "init_from")
BENCH_SHARE, ONNX_SHARE, TRIAL_SHARE = 0.25, 0.1, 0.1  # largest shares of the budget
TRIAL_TICK = {"cuda": 4.0, "cpu": 1.0}  # kimg; the last tick of the trial, which has no warm-up, gives the speed
ENDLESS = 1e6  # kimg


@dataclass(frozen=True)
class Plan:
    """The settings of a call of ``run``.

    Attributes:
        budget: seconds, from the start of the process to its end.
        data: a source of images, as for ``gan-serve train``.
        checkpoint: a name of ``docs/zoo.toml``, for its recipe and settings.
        settings: changes, as for ``--set``.
        calls: the planned number of calls of ``run``; schedules end with the last one.
        out: the folder for the results.
        resume_from: a folder with the parts of an earlier run.
    """

    budget: float
    data: str
    checkpoint: str
    settings: tuple[str, ...]
    calls: int
    out: Path
    resume_from: Path | None


def run(plan: Plan) -> None:
    """Use the budget, and write the results."""
    started = time.perf_counter()
    deadline = started + plan.budget - min(30.0, 0.2 * plan.budget)  # the rest is for the snapshot and the results
    WORK.mkdir(parents=True, exist_ok=True)
    run_dir = WORK / plan.checkpoint
    if plan.resume_from is not None and not (run_dir / "config.json").exists():
        _unpack(plan.resume_from, run_dir)
    facts: dict[str, Any] = {"budget_s": plan.budget}
    if not (WORK / "bench.md").exists():
        command = ["benchmarks/training.py", "--brief", "--data", plan.data]
        (WORK / "bench.md").write_text(_output(command, BENCH_SHARE * plan.budget))
        (WORK / "onnx.md").write_text(_output([__file__, "onnx"], ONNX_SHARE * plan.budget))
    _train(plan, deadline)
    facts["seconds"] = round(time.perf_counter() - started, 1)
    written = _write_results(plan.out, run_dir, facts)
    print(f"{facts['seconds']:.0f} s. In {plan.out}: {', '.join(written)}")


def train_on(plan: Plan, seconds: float) -> None:
    """Start or resume the run of a plan, until SIGTERM. A run that has shown all its images is extended.

    The length of a new run is chosen for the calls of the plan, from the speed of a short trial.

    Args:
        plan: see ``Plan``.
        seconds: the time that is left of this call.
    """
    from gan_serve.training.config import make_config, parse_settings, read_config
    from gan_serve.training.distributed import Processes
    from gan_serve.training.loop import pick_device, train
    from gan_serve.training.monitoring.run_log import read_log
    from gan_serve.training.run_info import describe_machine

    began, run_dir = time.perf_counter(), WORK / plan.checkpoint
    device = pick_device("auto")
    print(f"{describe_machine(device, Processes())}", flush=True)
    if (run_dir / "config.json").exists():
        config, records = read_config(run_dir / "config.json"), read_log(run_dir)
        if records and records[-1]["kimg"] >= config.kimg:
            config = config.model_copy(update={"kimg": 2 * config.kimg})
    else:
        recipe, chosen = _recipe(plan.checkpoint)
        common = chosen | {"data": plan.data, "device": device.type, "ticks_per_evaluation": 0}
        common |= parse_settings(plan.settings)
        trial = make_config(recipe, common | {"kimg": ENDLESS, "kimg_per_tick": TRIAL_TICK[device.type]})
        shutil.rmtree(WORK / "trial", ignore_errors=True)
        threading.Thread(target=_stop_training, args=(TRIAL_SHARE * plan.budget,), daemon=True).start()
        train(trial, WORK / "trial", quiet=True)
        speed = read_log(WORK / "trial")[-1]["images_per_s"]
        left = max(1.0, seconds - (time.perf_counter() - began))
        kimg = max(round(speed * left * plan.calls / 1000, 1), 0.1)
        print(f"{recipe}: {speed:.0f} images/s in the trial, {kimg:g} kimg planned", flush=True)
        config = make_config(recipe, common | {"kimg": kimg, "kimg_per_tick": max(kimg / plan.calls / 20, 0.05)})
    train(config, run_dir, resume=True, quiet=True)


def _stop_training(seconds: float) -> None:
    """Ask ``train`` to stop, ``seconds`` after it started to handle SIGTERM."""
    while signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        time.sleep(0.1)
    time.sleep(seconds)
    os.kill(os.getpid(), signal.SIGTERM)


def _recipe(checkpoint: str) -> tuple[str, dict[str, Any]]:
    """Return the recipe and the settings of a checkpoint of the zoo, at full width; others get ``FALLBACK``."""
    zoo = tomllib.loads((REPOSITORY / "docs" / "zoo.toml").read_text())
    if checkpoint not in zoo:
        return FALLBACK[0], dict(FALLBACK[1])
    settings = {name: value for name, value in zoo[checkpoint].get("set", {}).items() if name not in NOT_HERE}
    return zoo[checkpoint]["recipe"], settings


def _train(plan: Plan, deadline: float) -> None:
    """Train in a separate process, and ask it to stop at the deadline, upon which it writes a snapshot."""
    left = max(1.0, deadline - time.perf_counter())
    settings = [word for setting in plan.settings for word in ("--set", setting)]
    command = [__file__, "train", "--seconds", f"{left}", "--budget", f"{plan.budget}", "--data", plan.data]
    command += ["--checkpoint", plan.checkpoint, "--calls", f"{plan.calls}", *settings]
    with open(WORK / "train.md", "w") as output:
        process = subprocess.Popen([sys.executable, *command], env=_environment(), stdout=output, stderr=output)
        for patience, signal_number in ((left, signal.SIGTERM), (20, signal.SIGKILL), (None, None)):
            try:
                process.wait(timeout=patience)
                return
            except subprocess.TimeoutExpired:
                process.send_signal(signal_number)  # type: ignore[arg-type]


def try_onnx() -> None:
    """Export a small generator, compare it on CUDA with torch, and time both; or print what is missing."""
    try:
        import onnxruntime

        from gan_serve.exports.to_onnx import PixelGenerator, to_onnx
    except ImportError as error:
        print(f"skipped: {error.name} is not installed")
        return
    if "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
        print(f"skipped: onnxruntime {onnxruntime.__version__} has no CUDA provider here")
        return
    import numpy as np
    import torch

    from gan_serve.errors import GanServeError
    from gan_serve.sampling.session import open_session, run_in_batches
    from gan_serve.training.networks import build_generator

    torch.manual_seed(0)
    generator = build_generator("dcgan", z_dim=100, img_resolution=64, img_channels=3, width=0.5).eval()
    try:
        session, _ = open_session(to_onnx(generator), "cuda")
    except GanServeError as error:
        print(f"skipped: {error}")
        return
    z = torch.randn(1024, 100)
    network = PixelGenerator(generator)
    with torch.inference_mode():
        expected = network(z[:256]).numpy()
        difference = np.abs(
            run_in_batches(session, {"z": z[:256].numpy()}, batch=256).astype(np.int16) - expected
        ).max()
        on_gpu, latents = PixelGenerator(generator.cuda()), z.cuda()
        seconds = {}
        for name, call in {
            "ONNX Runtime, CUDA": lambda: run_in_batches(session, {"z": z.numpy()}, batch=256),
            "torch, CUDA": lambda: on_gpu(latents).cpu(),
        }.items():
            call()
            began = time.perf_counter()
            for _ in range(5):
                call()
            seconds[name] = (time.perf_counter() - began) / 5
    print(f"largest difference from torch on the CPU: {difference} grey levels (bound 1)")
    for name, each in seconds.items():
        print(f"{name}: {len(z) / each:.0f} images/s, pixels copied to the host")


def pack(data: str, out: Path, megabytes: float) -> None:
    """Write images of a data set as PNG into a zip, a folder for each class, until it has ``megabytes``.

    The images are chosen by a random permutation with seed 0, so that the classes keep their shares.
    """
    import numpy as np

    from gan_serve.images.png import encode_png
    from gan_serve.training.data.load import load_images

    images = load_images(data)
    count = 0
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as archive:
        for index in np.random.RandomState(0).permutation(len(images)):
            content = encode_png(images.images[index])
            if archive.fp.tell() + len(content) > megabytes * 1e6 * 0.98 - 200 * count:  # type: ignore[union-attr]
                break
            folder = "" if images.labels is None else f"{images.class_names[images.labels[index]]}/"
            archive.writestr(f"{images.name}/{folder}{index:06d}.png", content)
            count += 1
    print(f"{out}: {count:,} of {len(images):,} images, {out.stat().st_size / 1e6:.1f} MB")


def _write_results(out: Path, run_dir: Path, facts: dict[str, Any]) -> list[str]:
    """Write the files to copy back, the most useful first; return their names."""
    out.mkdir(parents=True, exist_ok=True)
    for path in out.glob(f"{PART}*"):
        path.unlink()
    files: dict[str, bytes] = {}
    if grids := sorted((run_dir / "grids").glob("kimg*.png")):
        files["grid.png"] = grids[-1].read_bytes()
    snapshots = sorted((run_dir / "snapshots").glob("*.pt"))
    notes = []
    if snapshots:
        files |= _weights(snapshots[-1])
        parts = _parts(run_dir, snapshots[-1])
        if len(files) + len(parts) + 1 <= MAX_FILES:
            files |= parts
        else:
            notes.append(f"The snapshot needs {len(parts)} parts, which are too many; it stays in {run_dir}.")
    files = {"results.md": _results(run_dir, facts, notes).encode()} | files
    for name, content in files.items():
        (out / name).write_bytes(content)
    return list(files)


def _weights(snapshot: Path) -> dict[str, bytes]:
    """Return the file of the averaged weights, in half precision if it would be too large otherwise."""
    import torch

    weights = torch.load(snapshot, map_location="cpu", weights_only=True)["ema"]
    for name, kind in (("ema", None), ("ema-fp16", torch.float16)):
        kept = {key: value.to(kind) if kind and value.is_floating_point() else value for key, value in weights.items()}
        content = io.BytesIO()
        torch.save(kept, content)
        if content.tell() <= LARGEST:
            return {f"{name}.pt": content.getvalue()}
    return {}


def _parts(run_dir: Path, snapshot: Path) -> dict[str, bytes]:
    """Return the files from which a run can resume, as a zip in parts of at most ``LARGEST`` bytes."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in (*(run_dir / name for name in ("config.json", "run.json", "log.jsonl")), snapshot):
            if path.is_file():
                archive.write(path, path.relative_to(run_dir))
    data = content.getvalue()
    return {f"{PART}{n}": data[start : start + LARGEST] for n, start in enumerate(range(0, len(data), LARGEST))}


def _unpack(folder: Path, run_dir: Path) -> None:
    """Restore a run from the parts that an earlier call wrote to ``folder``, if there are any."""
    parts = sorted(folder.glob(f"{PART}*"), key=lambda path: int(path.name.removeprefix(PART)))
    if parts:
        run_dir.mkdir(parents=True, exist_ok=True)
        zipfile.ZipFile(io.BytesIO(b"".join(path.read_bytes() for path in parts))).extractall(run_dir)


def _results(run_dir: Path, facts: dict[str, Any], notes: list[str]) -> str:
    log = run_dir / "log.jsonl"
    records = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
    last = f"```json\n{json.dumps(records[-1], indent=1)}\n```" if records else "No tick was reached."
    lines = [
        f"# {run_dir.name}",
        *(f"- {name}: {value}" for name, value in facts.items()),
        *(f"- {note}" for note in notes),
        "",
        f"## Training: {len(records)} ticks\n{last}",
        *(f"\n## {name}\n{(WORK / name).read_text().strip()}" for name in STEPS if (WORK / name).exists()),
    ]
    return "\n".join(lines) + "\n"


def _output(arguments: Sequence[str], seconds: float) -> str:
    """Run a Python script of this repository for at most ``seconds``, and return its output."""
    with subprocess.Popen(
        [sys.executable, *arguments], env=_environment(), cwd=REPOSITORY, text=True, start_new_session=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    ) as process:  # fmt: skip
        try:
            return process.communicate(timeout=max(1.0, seconds))[0]
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            return f"{process.communicate()[0]}\nstopped after {seconds:.0f} s\n"


def _environment() -> dict[str, str]:
    """Return an environment in which Python finds this checkout without an installation."""
    tree = WORK / "tree" / "gan_serve"
    if not tree.exists():
        tree.mkdir(parents=True)
        for path in (REPOSITORY / "gan_serve").iterdir():
            (tree / path.name).symlink_to(path)
        for name in ("training", "exports"):
            (tree / name).symlink_to(REPOSITORY / name)
    paths = [str(tree.parent), str(REPOSITORY / "benchmarks"), os.environ.get("PYTHONPATH", "")]
    return os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, paths)), "PYTHONUNBUFFERED": "1"}


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    for name, purpose in (("run", "use the budget"), ("train", "(a step of run)")):
        running = commands.add_parser(name, help=purpose)
        running.add_argument("--budget", type=float, default=540, metavar="SECONDS")
        running.add_argument("--data", required=True, help="images, as gan-serve train takes them")
        running.add_argument("--checkpoint", default="avatars-cgan", help="a name of docs/zoo.toml")
        running.add_argument("--set", dest="settings", action="append", default=[], metavar="KEY=VALUE")
        running.add_argument("--calls", type=int, default=1, help="how often this is called in all")
        running.add_argument("--out", type=Path, default=REPOSITORY / "build" / "gpu-results")
        running.add_argument("--resume-from", type=Path, help="a folder with the parts of an earlier run")
        running.add_argument("--seconds", type=float, help=argparse.SUPPRESS)
    packing = commands.add_parser("pack", help="write a part of a data set as PNG")
    packing.add_argument("--data", required=True)
    packing.add_argument("--out", type=Path, required=True)
    packing.add_argument("--megabytes", type=float, default=MEGABYTES)
    commands.add_parser("onnx", help="(a step of run)")
    chosen = vars(parser.parse_args())
    command, seconds = chosen.pop("command"), chosen.pop("seconds", None)
    if command == "pack":
        pack(**chosen)
    elif command == "onnx":
        try_onnx()
    else:
        plan = Plan(**chosen | {"settings": tuple(chosen["settings"])})
        if command == "run":
            run(plan)
        else:
            train_on(plan, seconds)


if __name__ == "__main__":
    main()
