"""The progress bar of a run. Needs tqdm, which is imported when a bar is made."""

from __future__ import annotations

from gan_serve.terminal import bar_pace, escape
from gan_serve.training.tick_means import TickMeans

STEPS_PER_UPDATE = 10  # losses are read from the device only this often


class ProgressBar:
    """A bar over thousands of real images, with the latest losses; without tqdm only lines of text are printed.

    Args:
        kimg: the length of the run. shown: real images shown so far. batch_size: real images in a step.
        epoch_kimg: thousands of images in an epoch; 0 if unknown. quiet: show nothing at all.
    """

    def __init__(self, kimg: float, shown: int, batch_size: int, *, epoch_kimg: float = 0.0, quiet: bool) -> None:
        self._kimg, self._batch_size, self._epoch_kimg, self._quiet = kimg, batch_size, epoch_kimg, quiet
        self._bar = None
        if quiet:
            return
        try:
            from tqdm import tqdm
        except ImportError:
            return
        self._bar = tqdm(
            total=kimg, initial=min(shown / 1000, kimg), unit="kimg", dynamic_ncols=True, **bar_pace(),
            bar_format="{percentage:3.0f}%|{bar}| {n:.1f}/{total:.1f} kimg [{elapsed}<{remaining}{postfix}]",
        )  # fmt: skip

    def step(self, shown: int, means: TickMeans) -> None:
        """Move the bar to ``shown`` images."""
        if self._bar is None:
            return
        self._bar.n = min(shown / 1000, self._kimg)  # adding differences would exceed the total by rounding
        self._bar.update(0)
        if (shown // self._batch_size) % STEPS_PER_UPDATE == 0:
            latest = means.latest()
            names = [name for name in ("d_loss", "c_loss", "g_loss") if name in latest]
            epoch = {"epoch": f"{shown / 1000 / self._epoch_kimg:.2f}"} if self._epoch_kimg else {}
            self._bar.set_postfix(epoch | {name: f"{latest[name]:.3f}" for name in names}, refresh=False)

    def say(self, text: str) -> None:
        """Print a line above the bar, unless the run is quiet."""
        if self._bar is not None:
            self._bar.write(text)
        elif not self._quiet:
            print(escape(text))

    def close(self) -> None:
        """Leave the bar in place."""
        if self._bar is not None:
            self._bar.close()
