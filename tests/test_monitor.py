"""The files that show the progress of a run: log, grids, curves, animation."""

from __future__ import annotations

import json
import math
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from gan_serve.errors import CannotWrite
from gan_serve.images.captions import LINE
from gan_serve.images.grid import cut_grid
from gan_serve.images.png import encode_png
from gan_serve.sampling.latents import latents_from_seeds
from gan_serve.training.config import TrainConfig, make_config
from gan_serve.training.monitoring.curves import panels, write_curves
from gan_serve.training.monitoring.grids import (
    GIF_FRAMES,
    GIF_WIDTH,
    MAX_ROWS,
    grid_inputs,
    write_filmstrip,
    write_grid,
    write_progress,
)
from gan_serve.training.monitoring.monitor import Monitor, Throttled
from gan_serve.training.monitoring.run_log import read_log, rewind_log
from gan_serve.training.sample_images import sample_images
from gan_serve.training.tick_means import TickMeans

WITH_CURVES = True
RECORD = {"kimg": 1.0, "d_loss": 0.6, "g_loss": 0.9, "d_real_acc": 0.6, "d_fake_acc": 0.7, "g_acc": 0.3}
CRITIC = {"kimg": 1.0, "c_loss": -2.0, "c_wass_loss": -2.5, "c_gp": 0.05, "g_loss": 4.0}


class Painter(nn.Module):
    """Grey images of the brightness that the first latent and the label ask for; darker in training mode."""

    def __init__(self, c_dim: int = 0) -> None:
        super().__init__()
        self.c_dim = c_dim
        self.size = nn.Parameter(torch.ones(()))
        self.batches: list[int] = []

    def forward(self, z: Tensor, c: Tensor | None = None) -> Tensor:
        self.batches.append(len(z))
        level = torch.tanh(z[:, 0]) / 4
        if self.c_dim:
            assert c is not None
            level = level + c / self.c_dim - 0.5
        return (self.size * level - self.training * 0.7).view(-1, 1, 1, 1).expand(-1, 1, 8, 8)


@pytest.fixture
def config() -> TrainConfig:
    return make_config("dcgan-28", {"data": "x", "resolution": 8, "z_dim": 4, "kimg": 10, "batch_size": 32})


@pytest.fixture
def monitor(tmp_path: Path, config: TrainConfig) -> Monitor:
    return with_pictures(Monitor(tmp_path, config, 0, quiet=True))


def with_pictures(monitor: Monitor) -> Monitor:
    for write in (write_progress, write_filmstrip, write_curves):
        monitor.add_picture(partial(write, monitor.run_dir))
    return monitor


def sample(painter: Painter) -> np.ndarray:
    return sample_images(painter, *grid_inputs(4, painter.c_dim))


def test_an_unconditional_grid_is_the_seeds_0_to_63():
    z, c = grid_inputs(4)
    assert c is None
    assert np.array_equal(z.numpy(), latents_from_seeds(range(64), 4))


def test_a_conditional_grid_has_a_row_a_class_with_the_same_latents_in_each():
    images = sample(Painter(c_dim=3)).astype(int)
    assert images.shape == (24, 8, 8, 1)
    rows = images.reshape(3, 8, -1)[:, :, 0]
    assert np.abs(np.diff(rows, axis=0) - 127.5 / 3).max() <= 1  # each class is lighter by a third of the range
    z, c = grid_inputs(4, 3)
    assert c is not None
    assert c.tolist() == [0] * 8 + [1] * 8 + [2] * 8
    assert torch.equal(z[:8], z[16:])


def test_a_grid_has_at_most_16_classes():
    assert len(sample(Painter(c_dim=100))) == 8 * MAX_ROWS


def test_images_are_drawn_in_eval_mode_64_at_a_time_and_the_mode_is_put_back():
    painter = Painter()
    images = sample_images(painter.train(), torch.zeros(150, 4))
    assert images.shape == (150, 8, 8, 1)
    assert images.dtype == np.uint8
    assert set(images.ravel().tolist()) == {128}
    assert painter.training
    assert painter.batches == [64, 64, 22]
    sample_images(painter.eval(), torch.zeros(1, 4))
    assert not painter.training


def test_drawing_leaves_the_random_state_alone():
    before = torch.get_rng_state()
    sample(Painter())
    assert torch.equal(before, torch.get_rng_state())


def test_a_tick_is_a_line_of_the_log_and_a_grid(monitor, tmp_path):
    images = sample(Painter())
    monitor.tick(RECORD, images)
    monitor.tick(RECORD | {"kimg": 2.0, "doctor": ["mode-collapse: ..."]}, images)
    assert read_log(tmp_path)[1]["doctor"] == ["mode-collapse: ..."]
    with Image.open(tmp_path / "grids" / "kimg000002.000.png") as sheet:
        assert sheet.size == (82, 82)
        assert sheet.getpixel((2, 2)) == images[0, 0, 0, 0]


def test_curves_and_animation_are_there_when_the_run_ends(monitor, tmp_path):
    for kimg in range(5):
        monitor.tick(RECORD | {"kimg": float(kimg)}, sample(Painter()) // (5 - kimg))
    assert not (tmp_path / "curves.png").exists()  # the run has just begun
    monitor.close()
    with Image.open(tmp_path / "curves.png") as curves:
        assert curves.width > 500
    with Image.open(tmp_path / "progress.gif") as animation:
        assert (animation.n_frames, animation.info["loop"], animation.size) == (5, 0, (164, 164 + LINE))
        animation.seek(4)
        with Image.open(tmp_path / "grids" / "kimg000004.000.png") as last:  # twice as large below its caption
            assert np.array_equal(np.asarray(animation.convert("L"))[LINE::2, ::2], np.asarray(last))
    with Image.open(tmp_path / "filmstrip.png") as strip:
        assert strip.height == 2 * (5 * 10 + 2)
    assert not list(tmp_path.rglob("*.part"))


def test_a_monitor_without_ticks_writes_nothing_and_a_resumed_one_refreshes(monitor, config, tmp_path):
    monitor.close()
    assert not list(tmp_path.glob("*.*"))
    (tmp_path / "log.jsonl").write_text(json.dumps(RECORD) + "\n")
    with_pictures(Monitor(tmp_path, config, 1000, quiet=True)).close()
    assert (tmp_path / "curves.png").exists()


def test_a_long_run_has_an_animation_of_60_frames_with_the_first_and_the_last(tmp_path):
    for number in range(200):
        sheet = np.full((30, 1200, 3), number, np.uint8)
        (tmp_path / "grids").mkdir(exist_ok=True)
        (tmp_path / "grids" / f"kimg{number:010.3f}.png").write_bytes(encode_png(sheet))
    write_progress(tmp_path)
    with Image.open(tmp_path / "progress.gif") as animation:
        assert animation.n_frames == GIF_FRAMES
        assert animation.width == GIF_WIDTH
        assert animation.convert("RGB").getpixel((5, LINE + 5)) == (0, 0, 0)
        animation.seek(GIF_FRAMES - 1)
        assert animation.convert("RGB").getpixel((5, LINE + 5)) == (199, 199, 199)


@pytest.mark.parametrize("by_class", [False, True])
def test_the_filmstrip_has_a_row_for_each_of_twelve_grids(tmp_path, by_class):
    for kimg in range(30):
        images = np.full((64, 28, 28, 1), 0, np.uint8)
        images[:] = (np.arange(64) * 3 + kimg).reshape(-1, 1, 1, 1)
        write_grid(tmp_path, kimg, images)
    write_filmstrip(tmp_path, by_class=by_class, epoch_kimg=10)
    with Image.open(tmp_path / "filmstrip.png") as strip:
        sheet = np.asarray(strip)[:, -2 * (8 * 30 + 2) :, None]
    rows = cut_grid(sheet[::2, ::2], 12 * 8, 8).reshape(12, 8, 28, 28)
    first = np.arange(8) * (24 if by_class else 3)  # the class of a row, or the seeds of the first row
    np.testing.assert_array_equal(rows[0, :, 5, 5], first)
    np.testing.assert_array_equal(rows[-1, :, 5, 5], first + 29)


def test_the_animation_of_a_conditional_run_names_its_classes(tmp_path):
    write_grid(tmp_path, 12, np.zeros((16, 28, 28, 1), np.uint8))
    write_progress(tmp_path, class_names=("Ankle boot", "Bag"), epoch_kimg=60)
    with Image.open(tmp_path / "progress.gif") as animation:
        frame = np.asarray(animation.convert("L"))
    assert frame.shape[1] > 2 * (8 * 30 + 2) + 40
    names, caption = frame[LINE:, :40], frame[:LINE]
    assert (names[: len(names) // 2] < 128).sum() > (names[len(names) // 2 :] < 128).sum() > 20  # the longer name first
    assert (caption < 128).sum() > 20


def test_epochs_are_beside_kimg_in_the_bar_and_on_the_axes(config, tmp_path, capsys):
    means = TickMeans()
    means.add(0, d_loss=torch.tensor(0.5), g_loss=torch.tensor(1.0))
    monitor = Monitor(tmp_path, config, 0, epoch_kimg=0.64, quiet=False)
    monitor.step(320, means)
    monitor.close()
    assert "epoch=0.50, d_loss=0.500" in capsys.readouterr().err
    sizes = []
    for extra in ({}, {"epoch": 2.0}):
        (tmp_path / "log.jsonl").write_text(json.dumps(RECORD | extra) + "\n")
        write_curves(tmp_path)
        sizes.append((np.asarray(Image.open(tmp_path / "curves.png").convert("L"))[:30] < 128).sum())
    assert sizes[1] > sizes[0]  # the upper axis has numbers and a name


def test_findings_are_said_on_the_terminal_unless_it_is_quiet(config, tmp_path, capsys):
    record = RECORD | {"doctor": ["oscillation: g_loss swung."]}
    for quiet in (True, False):
        monitor = Monitor(tmp_path, config, 0, quiet=quiet)
        monitor.tick(record, sample(Painter()))
        monitor.close()
        captured = capsys.readouterr()
        assert ("1.0 kimg: oscillation: g_loss swung." in captured.out + captured.err) is not quiet


def test_the_bar_shows_the_losses_of_either_game(config, tmp_path, capsys):
    for name in ("d_loss", "c_loss"):
        means = TickMeans()
        means.add(0, **{name: torch.tensor(0.5), "g_loss": torch.tensor(1.0)})
        monitor = Monitor(tmp_path, config, 0, quiet=False)
        monitor.step(320, means)
        monitor.close()
        assert f"{name}=0.500, g_loss=1.000" in capsys.readouterr().err


def test_what_is_costly_takes_a_fiftieth_of_the_time():
    now, calls = [0.0], []

    def draw() -> None:
        calls.append(now[0])
        now[0] += 2.0

    picture = Throttled(draw, clock=lambda: now[0])
    while now[0] < 1000:
        now[0] += 1.0
        picture.update()
    assert 8 <= len(calls) <= 10
    assert calls[0] == 10
    picture.finish()
    picture.finish()
    assert calls[-1] >= 1000 > calls[-2]


@pytest.mark.parametrize(
    ("loss", "record", "labels", "level"),
    [
        ("non-saturating", RECORD, ["loss", "accuracy"], math.log(2)),
        ("non-saturating", RECORD | {"value": -1.3}, ["loss", "value V(D, G)", "accuracy"], math.log(2)),
        ("saturating", RECORD | {"diversity": 1.0}, ["loss", "accuracy", "diversity, grey levels"], math.log(2)),
        ("hinge", RECORD, ["loss", "accuracy"], None),
        ("wasserstein", CRITIC | {"g_grad_norm": 1.0}, ["loss", "penalty", "gradient norm"], None),
        ("lsgan", RECORD | {"swd1k_train": 9.0}, ["loss", "accuracy", "quality, lower is better"], None),
    ],
)
def test_curves_show_what_a_run_has_and_ln_2_only_for_cross_entropies(loss, record, labels, level, tmp_path):
    shown = panels([record], loss=loss, data_diversity=50.0)
    assert [panel.label for panel in shown] == labels
    assert shown[0].level == level
    (tmp_path / "log.jsonl").write_text("".join(json.dumps(record | {"kimg": kimg}) + "\n" for kimg in (1, 2)))
    write_curves(tmp_path, loss=loss, data_diversity=50.0)
    with Image.open(tmp_path / "curves.png") as curves:
        assert curves.height == 350 * math.ceil(len(labels) / 2)


def test_the_figure_of_single_levels_is_not_drawn_beside_their_mean():
    (panel,) = panels([{"kimg": 1.0, "swd1k_train": 1.0, "swd1k_train_8px": 2.0}], loss="hinge", data_diversity=0)
    assert panel.names == ("swd1k_train",)


def test_rewinding_drops_what_was_logged_and_drawn_after_the_snapshot(monitor, tmp_path):
    for kimg in (1.0, 2.0, 3.0):
        monitor.tick(RECORD | {"kimg": kimg}, sample(Painter()))
    rewind_log(tmp_path, 2.0)
    assert [record["kimg"] for record in read_log(tmp_path)] == [1.0, 2.0]
    assert [path.name for path in sorted((tmp_path / "grids").iterdir())] == [
        "kimg000001.000.png",
        "kimg000002.000.png",
    ]


def test_a_run_dir_that_cannot_be_written_is_one_clear_error(config, tmp_path):
    (tmp_path / "grids").write_text("in the way")
    monitor = Monitor(tmp_path, config, 0, quiet=True)
    with pytest.raises(CannotWrite):
        monitor.tick(RECORD, sample(Painter()))


def test_tensorboard_gets_scalars_and_grids_where_it_is_installed(config, tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    def show(shown: int, kimgs: tuple[float, ...], loss: float) -> None:
        monitor = Monitor(tmp_path, config, shown, quiet=True)
        for kimg in kimgs:
            monitor.tick(RECORD | {"kimg": kimg, "d_loss": loss}, sample(Painter()))
        monitor.close()

    show(0, (1.0, 2.0, 3.0), 0.25)
    show(2000, (3.0, 4.0), 0.75)  # resumed from 2 kimg
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert [(e.step, e.value) for e in events.Scalars("d_loss")] == [
        (1000, 0.25),
        (2000, 0.25),
        (3000, 0.75),
        (4000, 0.75),
    ]
    assert (events.Images("grid")[0].width, len(events.Images("grid"))) == (82, 4)


def test_without_tensorboard_nothing_is_missed(monitor, tmp_path):
    try:
        import tensorboard  # noqa: F401
    except ImportError:
        monitor.tick(RECORD, sample(Painter()))
        monitor.close()
        assert not (tmp_path / "tensorboard").exists()
