"""Measure the explorer page in Chromium against its budgets, and photograph it.

    python benchmarks/page.py [--pictures]

Writes benchmarks/page.md and its table to docs/page.md; with --pictures also docs/page/. The server has one worker and
the models of ``gan_serve.list_models()``. "Slow line": 150 ms of latency and 200 KB a second each way, by the DevTools
protocol.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import io
import json
import os
import re
import shutil
import socket
import statistics
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

import psutil
from PIL import Image, ImageDraw
from playwright.sync_api import Browser, sync_playwright

from gan_serve import list_models

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
OUT = Path(__file__).with_suffix(".md")
DOCUMENT = Path(__file__).parents[1] / "docs" / "page.md"
PICTURES = DOCUMENT.with_suffix("")
MEASURED = re.compile(r"(?<=<!-- measured -->\n).*?(?=<!-- end of measured -->)", re.DOTALL)
SIZES = ((360, 740), (768, 1024), (1280, 900), (1920, 1080))  # of the window
FILM = (0.1, 0.2, 0.4, 0.7, 1.0, 1.5, 2.0, 3.0)  # seconds after the page was asked for
SLOW = {"offline": False, "latency": 150, "downloadThroughput": 200_000, "uploadThroughput": 200_000}
ROLLS = 200
STEPS = 30  # of a slider

# Note when each canvas is painted. Reading the canvases in every frame would take longer than what is measured.
WATCH = """
const put = CanvasRenderingContext2D.prototype.putImageData;
window.painted = new Set();
CanvasRenderingContext2D.prototype.putImageData = function (...values) {
  put.apply(this, values);
  window.painted.add(this.canvas);
};
"""
# Note when the large picture first shows a frame of the walk other than the first, which the document has inside.
MOVING = """
const put = CanvasRenderingContext2D.prototype.putImageData;
CanvasRenderingContext2D.prototype.putImageData = function (...values) {
  put.apply(this, values);
  queueMicrotask(() => {
    if (this.canvas.id === "picture" && document.getElementById("position").value !== "0") {
      window.moving ??= performance.now();
    }
  });
};
"""
# Set a slider, and wait for the frame after all pictures were painted: milliseconds, in the page's own clock; and
# whether the pixels of any picture are what they were before.
REACT = """([id, value, selector]) => new Promise((resolve) => {
  const canvases = [...document.querySelectorAll(selector)];
  const look = (canvas) => canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data.join();
  const before = canvases.map(look);
  const input = document.getElementById(id);
  requestAnimationFrame(() => setTimeout(() => {
    window.painted.clear();
    const started = performance.now();
    input.value = value;
    input.dispatchEvent(new Event("input", {bubbles: true}));
    const tick = () => {
      const waits = canvases.some((canvas) => !window.painted.has(canvas)) && performance.now() - started < 5000;
      if (waits) return requestAnimationFrame(tick);
      const milliseconds = performance.now() - started;
      resolve([milliseconds, canvases.some((canvas, index) => look(canvas) === before[index])]);
    };
    requestAnimationFrame(tick);
  }));
})"""
# Move a slider with every frame for two seconds: pictures a second.
DRAG = """([id, from, to, selector]) => new Promise((resolve) => {
  const input = document.getElementById(id);
  const last = [...document.querySelectorAll(selector)].at(-1);
  const started = performance.now();
  let count = 0;
  const tick = () => {
    if (window.painted.delete(last)) count += 1;
    const done = (performance.now() - started) / 2000;
    if (done >= 1) return resolve(count / 2);
    input.value = String(from + (to - from) * done);
    input.dispatchEvent(new Event("input", {bubbles: true}));
    requestAnimationFrame(tick);
  };
  tick();
})"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", action="store_true", help="also pictures of the page, and a film strip")
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
                photograph(browser, address, PICTURES)
            version = browser.version
            browser.close()
    finally:
        server.terminate()
        server.wait(20)
    table = "| | budget | measured |\n|---|---|---|\n" + "".join(
        f"| {name} | {budget} | {value} |\n" for name, budget, value in rows
    )
    load = Path("/proc/loadavg").read_text().split()[0] if Path("/proc/loadavg").exists() else "unknown"
    text = (
        f"# The explorer page\n\nWritten by `python benchmarks/page.py`: Chromium {version} without a GPU, one worker, "
        f"the page of {list_models()[0]}, {os.cpu_count()} cores, a load average of {load} at the end.\n\n{table}"
    )
    OUT.write_text(text)
    DOCUMENT.write_text(MEASURED.sub(lambda _: f"\n{table}\n", DOCUMENT.read_text()))
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
    """Return a new page, its DevTools session, and a list that gets (seconds, bytes) of each response.

    Seconds are those of the browser's clock since the request of the page.
    """
    page = browser.new_context(viewport={"width": 1280, "height": 900}).new_page()
    page.add_init_script(MOVING)
    session = page.context.new_cdp_session(page)
    session.send("Network.enable")
    if slow:
        session.send("Network.emulateNetworkConditions", SLOW)
    done: list[tuple[float, int]] = []
    sent: list[float] = []
    session.on("Network.requestWillBeSent", lambda event: sent.append(event["timestamp"]))
    session.on(
        "Network.loadingFinished",
        lambda event: done.append((event["timestamp"] - sent[0], event["encodedDataLength"])),
    )
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
            moving = None
            while moving is None:
                moving = page.evaluate("window.moving ?? null")
            page.wait_for_timeout(500)  # events of these responses may come late
            before = [size for seconds, size in done if seconds * 1000 <= moving]
            times.append(moving)
            counts.append(len(before))
            sizes.append(sum(before))
            page.context.close()
        rows.append((f"first moving frame {name}", budget, f"{statistics.median(times):.0f} ms"))
        if slow:
            rows.append(("requests before it", "4", f"{statistics.median(counts):.0f}"))
            rows.append(("bytes before it, compressed", "60 KB", f"{statistics.median(sizes) / 1000:.1f} KB"))
    return rows


def reactions(browser: Browser, address: str) -> list[tuple[str, str, str]]:
    """Measure from an input to the pixels with the page at rest, and the pictures a second of a drag."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    context.add_init_script(WATCH)
    page = context.new_page()
    page.goto(address, wait_until="commit")
    page.locator("#sheet[data-seeds]").wait_for(timeout=60_000)
    page.locator("#play").click()
    time.sleep(2)
    rows, drags = [], []
    for name, budget, slider, (low, high), selector in (
        ("one picture", "50 ms", "direction-1", (-3.0, 3.0), "#picture"),
        ("32 pictures", "120 ms", "truncation", (0.4, 1.0), "#sheet canvas"),
    ):
        times = []
        for step in range(STEPS):
            value = low + (high - low) * step / STEPS
            milliseconds, is_same = page.evaluate(REACT, [slider, str(value), selector])
            if is_same and step:  # the first may be the value that the slider had
                raise SystemExit(f"{slider} {value} did not change {name}")
            times.append(milliseconds)
            time.sleep(0.7)  # the other pictures follow when the slider rests
        times.sort()
        median, p95 = statistics.median(times), times[round(0.95 * (len(times) - 1))]
        rows.append((f"input to pixel, {name}", budget, f"{p95:.0f} ms at the 95th percentile, median {median:.0f} ms"))
        rate = page.evaluate(DRAG, [slider, low, high, selector])
        drags.append((f"while a slider is dragged, {name}", "", f"{rate:.0f} times a second"))
        time.sleep(2)
    context.close()
    return rows + drags


def memory(browser: Browser, address: str) -> list[tuple[str, str, str]]:
    """Measure the renderer of the page after many re-rolls.

    The page is in a tab that Playwright does not control: of those that it controls, DevTools keeps all responses in
    the renderer, hundreds of megabytes after these re-rolls.
    """
    tab = Tab(browser, address)
    while not tab.evaluate("document.getElementById('sheet')?.dataset.seeds"):
        time.sleep(0.1)
    before = max(renderers().values())
    for _ in range(ROLLS):
        tab.evaluate("document.getElementById('reroll').click()")
        time.sleep(0.1)
    time.sleep(3)
    used = max(renderers().values())
    tab.send("HeapProfiler.collectGarbage")
    heap = tab.send("Runtime.getHeapUsage")["usedSize"]
    tab.close()
    measured = f"{used / 1e6:.0f} MB resident ({before / 1e6:.0f} MB before), heap {heap / 1e6:.0f} MB"
    return [(f"renderer after {ROLLS} re-rolls", "200 MB", measured)]


class Tab:
    """A tab outside the contexts of Playwright, over the DevTools protocol; only what is called here is turned on."""

    def __init__(self, browser: Browser, address: str) -> None:
        self._browser = browser.new_browser_cdp_session()
        self._waiting = browser.new_page()  # a page of Playwright's, to wait for events with
        self._replies: dict[int, dict[str, Any]] = {}
        self._count = 0
        options = {"url": address, "width": 1280, "height": 900}
        self._target = {"targetId": self._browser.send("Target.createTarget", options)["targetId"]}
        self._session = self._browser.send("Target.attachToTarget", {**self._target, "flatten": False})["sessionId"]
        self._browser.on("Target.receivedMessageFromTarget", self._receive)

    def _receive(self, event: dict[str, Any]) -> None:
        message = json.loads(event["message"])
        self._replies[message.get("id", 0)] = message.get("result", {})  # events have no id, errors no result

    def send(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Call a method of the protocol and return its result."""
        self._count += 1
        message = json.dumps({"id": self._count, "method": method, "params": parameters})
        self._browser.send("Target.sendMessageToTarget", {"sessionId": self._session, "message": message})
        while self._count not in self._replies:
            self._waiting.wait_for_timeout(2)
        return self._replies.pop(self._count)

    def evaluate(self, expression: str) -> Any:
        """Return the value of an expression in the page."""
        return self.send("Runtime.evaluate", expression=expression, returnByValue=True).get("result", {}).get("value")

    def close(self) -> None:
        """Close the tab."""
        self._browser.send("Target.closeTarget", self._target)
        self._waiting.close()


def renderers() -> dict[int, int]:
    """Return the resident bytes of the renderers that this process started, without those of files (libraries)."""
    found = {}
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error, OSError):
            if "--type=renderer" in " ".join(process.cmdline()):
                status = Path(f"/proc/{process.pid}/status").read_text()
                lines = dict(line.split(":", 1) for line in status.splitlines())
                found[process.pid] = int(lines["RssAnon"].split()[0]) * 1024
    return found


def photograph(browser: Browser, address: str, folder: Path) -> None:
    """Write pictures of the page at four widths, and a film strip of its first three seconds."""
    folder.mkdir(parents=True, exist_ok=True)
    for scheme, sizes in (("light", SIZES), ("dark", SIZES[2:3])):
        for width, height in sizes:
            context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme)
            page = context.new_page()
            page.goto(address)
            page.locator("#sheet[data-seeds]").wait_for(timeout=60_000)
            page.locator("#mosaic.painted").wait_for(timeout=60_000)
            time.sleep(2)
            picture = Image.open(io.BytesIO(page.screenshot()))
            picture.save(folder / f"{width}-{scheme}.webp", quality=80, method=6)
            context.close()
    strip(film(browser, address)).save(folder / "film.webp", quality=80, method=6)


def film(browser: Browser, address: str) -> list[Image.Image]:
    """Return what a window shows at each of the seconds ``FILM`` after the page was requested."""
    page = browser.new_context(viewport={"width": 1280, "height": 900}, color_scheme="light").new_page()
    session = page.context.new_cdp_session(page)
    shown: list[tuple[float, str]] = []

    def keep(event: dict[str, Any]) -> None:
        shown.append((event["metadata"]["timestamp"], event["data"]))
        session.send("Page.screencastFrameAck", {"sessionId": event["sessionId"]})

    session.on("Page.screencastFrame", keep)
    page.goto(f"{address}livez")  # the renderer of the address, so that the frames have one source
    session.send("Page.startScreencast", {"format": "jpeg", "quality": 90, "maxWidth": 640, "maxHeight": 450})
    began = time.time()
    page.goto(address, wait_until="commit")
    page.wait_for_timeout(1000 * FILM[-1] + 500)
    session.remove_listener("Page.screencastFrame", keep)
    session.send("Page.stopScreencast")
    page.context.close()
    blank = Image.new("RGB", (640, 450), "white")
    pictures = []
    for seconds in FILM:
        before = [data for moment, data in shown if began <= moment <= began + seconds]
        pictures.append(Image.open(io.BytesIO(base64.b64decode(before[-1]))) if before else blank)
    return pictures


def strip(pictures: list[Image.Image]) -> Image.Image:
    """Return pictures of a film in rows of four, each below its second."""
    width, height, title = 400, 281, 24
    sheet = Image.new("RGB", (4 * width, len(pictures) // 4 * (height + title)), "white")
    pen = ImageDraw.Draw(sheet)
    for index, (seconds, picture) in enumerate(zip(FILM, pictures, strict=True)):
        left, top = index % 4 * width, index // 4 * (height + title)
        pen.text((left + 6, top + 4), f"{seconds:.1f} s", "black", font_size=16)
        sheet.paste(picture.convert("RGB").resize((width - 8, height - 6)), (left + 4, top + title))
    return sheet


if __name__ == "__main__":
    main()
