"""The training loop: read it from top to bottom."""

from __future__ import annotations

import math
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from gan_serve._version import __version__
from gan_serve.errors import DeviceUnavailable, RunError
from gan_serve.files import cannot_write, remove_leftovers, write_atomically
from gan_serve.training import losses
from gan_serve.training.config import TrainConfig
from gan_serve.training.data import load_images
from gan_serve.training.ema import GeneratorEMA
from gan_serve.training.monitor import Monitor, TickMeans, rewind_log
from gan_serve.training.networks import build_discriminator, build_generator
from gan_serve.training.run import RunInfo, continued, describe_machine, sole_writer
from gan_serve.training.state import (
    DataOrder,
    load_snapshot,
    random_state,
    save_snapshot,
    set_random_state,
    snapshots,
)


def train(config: TrainConfig, run_dir: str | Path, *, resume: bool = False, quiet: bool = False) -> Path:
    """Train a generator and write the run to ``run_dir``.

    The folder gets ``config.json``, ``run.json`` (data, machine), ``log.jsonl``, ``curves.png``, ``grids/`` (the same
    64 seeds each tick, drawn by the averaged generator) and ``snapshots/`` (the full state). SIGINT and SIGTERM write a
    snapshot and leave.

    Args:
        config: see ``make_config``.
        run_dir: a new folder, or with ``resume`` that of a run that was cut off.
        resume: go on from the last snapshot; with none, from the start. On the CPU, with the same number of threads,
            the final weights are the same, bit for bit, as those of a run left alone.
        quiet: no progress bar.

    Returns:
        The last snapshot.

    Raises:
        DataError: the images cannot be used. RunError: ``run_dir`` holds a run and ``resume`` is not set, the run was
        made from other data or has shown more than ``kimg``, another process writes to it, or the training diverged.
        DeviceUnavailable: ``device="cuda"`` without CUDA. CannotWrite: the disk refuses.
    """
    run_dir = Path(run_dir)
    _check_run_dir(run_dir, resume)

    # Load data.
    data = load_images(config.data, resolution=config.resolution, channels=config.channels)
    device = pick_device(config.device)
    threads = config.threads or min(torch.get_num_threads(), 256)  # as the config allows
    torch.set_num_threads(threads)
    config = config.model_copy(update={"channels": data.img_channels, "threads": threads, "device": device.type})

    # Build networks.
    training = Training.start(config, device)

    with sole_writer(run_dir):
        # Take them up where an earlier process left them.
        _check_run_dir(run_dir, resume)  # again: another process may have begun meanwhile
        remove_leftovers(run_dir, run_dir / "grids", run_dir / "snapshots")
        earlier = snapshots(run_dir)
        if earlier:
            training.load(load_snapshot(earlier[-1]))
            _check_kimg(config, training.shown)

        # Describe the run.
        info = RunInfo.of(data, machine=describe_machine(device), gan_serve_version=__version__)
        info = continued(run_dir, info)
        write_atomically(run_dir / "config.json", config.model_dump_json(indent=2) + "\n")
        write_atomically(run_dir / "run.json", info.model_dump_json(indent=2) + "\n")
        rewind_log(run_dir, training.shown / 1000)

        # Train.
        images = torch.tensor(data.images).permute(0, 3, 1, 2).contiguous().to(device)
        monitor = Monitor(run_dir, config, training.shown, quiet=quiet)
        try:
            last_snapshot = _loop(training, images, monitor, run_dir)
        finally:
            monitor.close()
    return last_snapshot or earlier[-1]


def _loop(training: Training, images: Tensor, monitor: Monitor, run_dir: Path) -> Path | None:
    """Step until all kimg are shown or a signal comes; the last snapshot, or None where nothing was left to do."""
    config = training.config
    order = DataOrder(len(images), config.seed)
    tick_size = config.kimg_per_tick * 1000
    tick_started, tick_shown = time.perf_counter(), training.shown
    last_snapshot = None
    with _stop_on_signal() as stop:
        stopping = False
        while training.shown < config.kimg * 1000 and not stopping:
            # One step of each network.
            before = training.shown
            indices = order.batch(training.shown, config.batch_size).to(training.device)
            training.step(images[indices].float() / 127.5 - 1)
            monitor.step(training.shown, training.means)

            # End of a tick: log, grid, snapshot.
            stopping = stop.is_set()
            finished = training.shown >= config.kimg * 1000
            if before // tick_size != training.shown // tick_size or finished or stopping:
                seconds = time.perf_counter() - tick_started
                training.seconds += seconds
                record = training.record(images_per_s=(training.shown - tick_shown) / seconds)
                _check_finite(record, training)
                with cannot_write(run_dir):
                    monitor.tick(training.ema.generator, record)
                    last_snapshot = save_snapshot(run_dir, training.state(), keep=config.keep_snapshots)
                tick_started, tick_shown = time.perf_counter(), training.shown
    return last_snapshot


@dataclass
class Training:
    """The state of a run between two steps."""

    config: TrainConfig
    device: torch.device
    generator: nn.Module
    discriminator: nn.Module
    g_optimizer: torch.optim.Optimizer
    d_optimizer: torch.optim.Optimizer
    ema: GeneratorEMA
    shown: int = 0
    seconds: float = 0.0
    means: TickMeans = field(default_factory=TickMeans)

    @classmethod
    def start(cls, config: TrainConfig, device: torch.device) -> Training:
        """Networks with fresh weights, drawn from the config's seed."""
        torch.manual_seed(config.seed)
        shape = {"img_resolution": config.resolution, "img_channels": config.channels}
        generator = build_generator(config.family, z_dim=config.z_dim, **shape).to(device).train()
        discriminator = build_discriminator(config.family, dropout=config.dropout, **shape).to(device).train()
        betas = (config.beta1, config.beta2)
        return cls(
            config=config,
            device=device,
            generator=generator,
            discriminator=discriminator,
            g_optimizer=torch.optim.Adam(generator.parameters(), config.g_lr, betas, fused=True),
            d_optimizer=torch.optim.Adam(discriminator.parameters(), config.d_lr, betas, fused=True),
            ema=GeneratorEMA(generator, config.ema_kimg),
        )

    def step(self, real: Tensor) -> None:
        """Move the discriminator, then the generator, once. ``real``: float32 [N, C, H, W] in [-1, 1]."""
        n = len(real)
        fake = self.generator(torch.randn(n, self.config.z_dim, device=self.device))

        # Discriminator: it has no BatchNorm, so real and generated images may pass it together.
        real_logits, fake_logits = self.discriminator(torch.cat([real, fake.detach()])).split(n)
        targets = losses.soft_targets(
            n, smoothing=self.config.label_smoothing, noise=self.config.label_noise, like=real_logits
        )
        d_loss = losses.discriminator_bce(real_logits, fake_logits, *targets)
        self.d_optimizer.zero_grad()
        d_loss.backward()  # type: ignore[no-untyped-call]
        self.d_optimizer.step()

        # Generator: the same images, judged by the discriminator as it is now.
        self.discriminator.requires_grad_(False)
        judged = self.discriminator(fake)
        g_loss = losses.generator_non_saturating(judged)
        self.g_optimizer.zero_grad()
        g_loss.backward()  # type: ignore[no-untyped-call]
        self.g_optimizer.step()
        self.discriminator.requires_grad_(True)
        self.ema.update(self.generator, n)

        self.shown += n
        real_acc, fake_acc = (real_logits > 0).float().mean(), (fake_logits < 0).float().mean()
        self.means.add(
            d_loss=d_loss, g_loss=g_loss, d_real_acc=real_acc, d_fake_acc=fake_acc, d_acc=(real_acc + fake_acc) / 2,
            g_acc=(judged > 0).float().mean(),
        )  # fmt: skip

    def record(self, images_per_s: float) -> dict[str, Any]:
        """One line of the log: where the run stands, and the tick's means."""
        means = {name: round(value, 6) for name, value in self.means.pop().items()}
        return {
            "kimg": self.shown / 1000, "seconds": round(self.seconds, 1), "images_per_s": round(images_per_s, 1)
        } | means  # fmt: skip

    def state(self) -> dict[str, Any]:
        """Everything that the next step depends on, as tensors and plain values."""
        return {
            "shown": self.shown,
            "seconds": self.seconds,
            "generator": self.generator.state_dict(),
            "discriminator": self.discriminator.state_dict(),
            "g_optimizer": self.g_optimizer.state_dict(),
            "d_optimizer": self.d_optimizer.state_dict(),
            "ema": self.ema.generator.state_dict(),
            "random": random_state(),
        }

    def load(self, state: dict[str, Any]) -> None:
        """Put back what ``state`` returned.

        Raises:
            RunError: the state is of other networks.
        """
        try:
            self.generator.load_state_dict(state["generator"])
            self.discriminator.load_state_dict(state["discriminator"])
            self.g_optimizer.load_state_dict(state["g_optimizer"])
            self.d_optimizer.load_state_dict(state["d_optimizer"])
            self.ema.generator.load_state_dict(state["ema"])
            set_random_state(state["random"])
            self.shown, self.seconds = state["shown"], state["seconds"]
        except (KeyError, ValueError, RuntimeError) as error:
            raise RunError(
                f"The snapshot does not fit the run's config: {error}", "Resume with the same config."
            ) from error


def pick_device(device: str) -> torch.device:
    """``auto``: CUDA where torch finds it, else the CPU; ``cuda`` and ``cpu`` are taken at their word.

    Raises:
        DeviceUnavailable: CUDA was asked for and torch finds none.
    """
    if device == "cuda" and not torch.cuda.is_available():
        raise DeviceUnavailable(
            "torch finds no CUDA device.", "Install a CUDA build of torch and the driver, or train with device=cpu."
        )
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(device)


def _check_run_dir(run_dir: Path, resume: bool) -> None:
    if run_dir.exists() and not run_dir.is_dir():
        raise RunError(f"{run_dir} is a file.", "Give a folder for the run.")
    if not resume and ((run_dir / "config.json").exists() or snapshots(run_dir)):
        raise RunError(f"{run_dir} already holds a run.", "Add --resume to go on with it, or choose another folder.")


def _check_kimg(config: TrainConfig, shown: int) -> None:
    if shown - config.batch_size >= config.kimg * 1000:
        raise RunError(
            f"The run has shown {shown / 1000:g} kimg already, more than the {config.kimg:g} asked for.",
            "Ask for more, or start a new run.",
        )


def _check_finite(record: dict[str, Any], training: Training) -> None:
    """Stop before a snapshot of a run that has diverged takes the place of a good one."""
    wrong = [name for name, value in record.items() if not math.isfinite(value)]
    weights = (*training.generator.parameters(), *training.discriminator.parameters())
    if not all(bool(torch.isfinite(values).all()) for values in weights):
        wrong.append("a weight")
    if wrong:
        raise RunError(
            f"Training diverged before {record['kimg']:g} kimg: {', '.join(wrong)} is not finite.",
            "No snapshot was written since. Start anew with lower learning rates (--set g_lr=..., --set d_lr=...).",
        )


@contextmanager
def _stop_on_signal() -> Iterator[threading.Event]:
    """An event that SIGINT and SIGTERM set, so that the loop can leave after a step; a second signal ends at once."""
    stop = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return

    def ask(number: int, _frame: object) -> None:
        if stop.is_set():
            os._exit(128 + number)
        stop.set()

    previous = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
