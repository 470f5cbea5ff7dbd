"""Measure the explorer page in Chromium against its budgets, and photograph it.

    python benchmarks/page.py [--pictures FOLDER]

Writes benchmarks/page.md. The server has one worker and the models of the package. "Slow line": 150 ms of latency and
200 KB a second each way, by the DevTools protocol.
"""

from __future__ import annotations

import argparse
import shutil
import socket
import statistics
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, sync_playwright

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
OUT = Path(__file__).with_suffix(".md")
WIDTHS = ((390, 844), (820, 1180), (1280, 900), (1920, 1080))
FILM = (0.0, 0.3, 0.6, 1.0, 1.5, 2.0, 2.5, 3.0)  # seconds after the page was asked for
SLOW = {"offline": False, "latency": 150, "downloadThroughput": 200_000, "uploadThroughput": 200_000}
ROLLS = 200

# Set a slider as a person would, and wait until the pictures are others: milliseconds, in the page's own clock.
REACT = """([id, value, selector]) => new Promise((resolve) => {
  const canvases = [...document.querySelectorAll(selector)];
  const look = (c) => c.getContext("2d").getImageData(0, 0, c.width, c.height).data.join();
  const before = canvases.map(look);
  const input = document.getElementById(id);
  const started = performance.now();
  input.value = value;
  input.dispatchEvent(new Event("input", {bubbles: true}));
  const tick = () => {
    const waits = canvases.some((c, i) => look(c) === before[i]) && performance.now() - started < 5000;
    if (waits) requestAnimationFrame(tick);
    else resolve(performance.now() - started);
  };
  requestAnimationFrame(tick);
})"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", type=Path, help="a folder for pictures of the page and the film strip")
    arguments = parser.parse_args()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [str(Path(sys.executable).with_name("gan-serve")), "serve", "--port", str(port), "--workers", "1"]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    address = f"http://127.0.0.1:{port}/"
    try:
        wait_until_ready(address)
        with sync_playwright() as driver:
            browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
            rows = [*start(browser, address), *reactions(browser, address), *memory(browser, address)]
            if arguments.pictures:
                photograph(browser, address, arguments.pictures)
            version = browser.version
            browser.close()
    finally:
        server.terminate()
        server.wait(20)
    table = "".join(f"| {name} | {budget} | {value} |\n" for name, budget, value in rows)
    load = Path("/proc/loadavg").read_text().split()[0] if Path("/proc/loadavg").exists() else "unknown"
    text = (
        "# The explorer page\n\nWritten by `python benchmarks/page.py`: Chromium "
        f"{version}, one worker, on a machine whose load average was {load} at the end.\n\n"
        f"| | budget | measured |\n|---|---|---|\n{table}"
    )
    OUT.write_text(text)
    print(text)


def wait_until_ready(address: str) -> None:
    for _ in range(240):
        try:
            with urllib.request.urlopen(f"{address}readyz"):
                return
        except OSError:
            time.sleep(0.5)
    raise SystemExit("the server did not start")


def opened(browser: Browser, address: str, *, slow: bool = False) -> tuple[Any, Any, list[tuple[float, int]]]:
    """Return a new page, its DevTools session, and a list that gets (seconds, bytes) of each response."""
    page = browser.new_context(viewport={"width": 1280, "height": 900}).new_page()
    session = page.context.new_cdp_session(page)
    session.send("Network.enable")
    if slow:
        session.send("Network.emulateNetworkConditions", SLOW)
    done: list[tuple[float, int]] = []
    began = time.perf_counter()
    session.on("Network.loadingFinished", lambda e: done.append((time.perf_counter() - began, e["encodedDataLength"])))
    page.goto(address, wait_until="commit")
    return page, session, done


def start(browser: Browser, address: str) -> list[tuple[str, str, str]]:
    """Measure from the request of the page to its first moving frame: three visits, the median."""
    rows = []
    for name, slow, budget in (("locally", False, "400 ms"), ("on the slow line", True, "2.5 s")):
        times, counts, sizes = [], [], []
        for _ in range(3):
            page, _, done = opened(browser, address, slow=slow)
            page.locator("#picture.painted").wait_for(timeout=60_000)
            moving: list[float] = []
            while not moving:
                moving = page.evaluate("performance.getEntriesByName('moving').map((mark) => mark.startTime)")
            before = [size for seconds, size in done if seconds * 1000 <= moving[0]]
            times.append(moving[0])
            counts.append(len(before))
            sizes.append(sum(before))
            page.context.close()
        rows.append((f"first moving frame {name}", budget, f"{statistics.median(times):.0f} ms"))
        if slow:
            rows.append(("requests before it", "4", f"{statistics.median(counts):.0f}"))
            rows.append(("bytes before it, compressed", "60 KB", f"{statistics.median(sizes) / 1000:.1f} KB"))
    return rows


def reactions(browser: Browser, address: str) -> list[tuple[str, str, str]]:
    """Measure from an input to the pixels: the 95th percentile."""
    page, _, _ = opened(browser, address)
    page.locator("#sheet[data-seeds]").wait_for(timeout=60_000)
    page.locator("#play").click()
    time.sleep(2)
    rows = []
    for name, budget, slider, selector in (
        ("input to pixel, one picture", "50 ms", "direction-1", "#picture"),
        ("input to pixel, 32 pictures", "120 ms", "truncation", "#sheet canvas"),
    ):
        times = []
        for step in range(40):
            value = 0.4 + 0.015 * step if slider == "truncation" else -3 + 0.15 * step
            times.append(page.evaluate(REACT, [slider, str(value), selector]))
            time.sleep(0.4)  # the pictures at the sides follow when the slider rests
        times.sort()
        median, p95 = statistics.median(times), times[round(0.95 * (len(times) - 1))]
        rows.append((name, budget, f"{p95:.0f} ms at the 95th percentile, median {median:.0f} ms"))
    page.context.close()
    return rows


def memory(browser: Browser, address: str) -> list[tuple[str, str, str]]:
    page, session, _ = opened(browser, address)
    page.locator("#sheet[data-seeds]").wait_for(timeout=60_000)
    before = renderers()
    for _ in range(ROLLS):
        page.locator("#reroll").click()
        time.sleep(0.05)
    time.sleep(3)
    session.send("HeapProfiler.collectGarbage")
    heap = session.send("Runtime.getHeapUsage")["usedSize"]
    used = max(renderers().values())
    page.context.close()
    return [
        (
            f"renderer after {ROLLS} re-rolls",
            "200 MB",
            f"{used / 1e6:.0f} MB resident ({max(before.values()) / 1e6:.0f} MB before), heap {heap / 1e6:.0f} MB",
        )
    ]


def renderers() -> dict[str, int]:
    """Return the resident bytes of the renderers that this process started, shared libraries of Chromium left out."""
    found = {}
    for status in Path("/proc").glob("[0-9]*/status"):
        try:
            if b"--type=renderer" not in status.with_name("cmdline").read_bytes():
                continue
            lines = dict(line.split(":", 1) for line in status.read_text().splitlines())
            found[status.parent.name] = int(lines["RssAnon"].split()[0]) * 1024
        except (OSError, KeyError):
            continue
    return found


def photograph(browser: Browser, address: str, folder: Path) -> None:
    """Write pictures of the page at four widths, light and dark, and a film strip of its first three seconds."""
    folder.mkdir(parents=True, exist_ok=True)
    for scheme in ("light", "dark"):
        for width, height in WIDTHS:
            context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme)
            page = context.new_page()
            page.goto(address)
            page.locator("#sheet[data-seeds]").wait_for(timeout=60_000)
            page.locator("#mosaic.painted").wait_for(timeout=60_000)
            time.sleep(3)
            page.screenshot(path=folder / f"{width}-{scheme}.png", full_page=True)
            context.close()
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    page = context.new_page()
    began = time.perf_counter()
    page.goto(address, wait_until="commit")
    for seconds in FILM:
        time.sleep(max(0.0, began + seconds - time.perf_counter()))
        page.screenshot(path=folder / f"film-{seconds:.1f}.png")
    context.close()


if __name__ == "__main__":
    main()
