"""Commands on a terminal: one line when the server is ready, the page in the browser, and the progress bar."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from servers import free_port

from gan_serve.terminal import bar_pace
from gan_serve.training.monitoring.progress_bar import ProgressBar
from gan_serve.training.tick_means import TickMeans

NAME = "fashion-dcgan"
GAN_SERVE = [sys.executable, "-m", "gan_serve"]


class Terminal:
    """A command whose output is a terminal."""

    def __init__(self, *words: str, **environment: str) -> None:
        self._ours, theirs = pty.openpty()
        variables = os.environ | {"TERM": "xterm"} | environment
        self.process = subprocess.Popen([*GAN_SERVE, *words], stdout=theirs, stderr=theirs, env=variables)
        os.close(theirs)

    def read(self) -> str:
        """Return all that the command writes until it ends."""
        parts = []
        while True:
            try:
                parts.append(os.read(self._ours, 4096))
            except OSError:  # the other side is closed
                break
            if not parts[-1]:
                break
        os.close(self._ours)
        self.process.wait(timeout=60)
        return b"".join(parts).decode()


def test_serve_prints_one_line_when_it_is_ready_and_opens_the_page(tmp_path: Path) -> None:
    opened, port = tmp_path / "opened", free_port()
    browser = tmp_path / "browser"
    browser.write_text(
        f'#!/bin/sh\nprintf %s "$1" > {opened}.part\nmv {opened}.part {opened}\nexec sleep 30 > /dev/null 2>&1\n'
    )
    browser.chmod(0o755)
    options = ["--port", str(port), "--model", NAME, "--workers", "1", "--open"]
    terminal = Terminal("serve", *options, BROWSER=str(browser))
    try:
        deadline = time.monotonic() + 120
        while not opened.exists() and time.monotonic() < deadline:
            time.sleep(0.1)
        assert opened.read_text() == f"http://127.0.0.1:{port}/"
    finally:
        terminal.process.send_signal(signal.SIGINT)  # the browser still runs: the server ends nevertheless
    [line] = [line for line in terminal.read().splitlines() if line.strip("^C")]
    assert line.startswith("Ready in ")
    assert line.endswith(f" s: {NAME} at http://127.0.0.1:{port}/ (1 worker on cpu; Ctrl+C ends it)")


@pytest.mark.parametrize(("seeds", "shows"), [("0-199", True), ("0-9", False)])
def test_many_images_have_a_progress_bar(tmp_path: Path, seeds: str, shows: bool) -> None:
    printed = Terminal("generate", NAME, "--seeds", seeds, "--out", str(tmp_path / "images.npz")).read()
    assert ("Sampling" in printed) == shows
    assert ("200/200" in printed) == shows
    assert "Again: gan-serve generate" in printed


def test_a_log_file_gets_a_progress_bar_seldom(capsys: pytest.CaptureFixture[str]) -> None:
    bar, means = ProgressBar(1.0, 0, 10, quiet=False), TickMeans()
    for shown in range(0, 1000, 10):
        time.sleep(0.005)  # a terminal would be shown five states in this time
        bar.step(shown, means)
    bar.close()
    assert capsys.readouterr().err.count(" kimg [") == 2  # at the start and at the end
    assert bar_pace() == {"mininterval": 30.0, "maxinterval": 30.0}  # the latter is that of tqdm's own thread
