"""A real Chromium for the tests of the explorer page, watched: what it asks for, and what it complains of."""

from __future__ import annotations

import contextlib
import copy
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

# Installed by a distribution; Playwright's own download is never used.
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
SIZES = {"desktop": {"width": 1280, "height": 800}, "phone": {"width": 390, "height": 844}}

CLASSES = ("Bag", "Ankle boot/shoe")  # a name that file names, shells and addresses must quote
PAGE = ".cell[data-seed]"  # the images of the grid
TIMEOUT = 30_000  # milliseconds; machines that run tests can be slow

# Run before the page's own scripts: what moved without anybody's doing, and what the policy forbade.
_WATCH = """
window.watched = {shift: 0, moved: [], violations: []};
new PerformanceObserver((list) => {
  for (const entry of list.getEntries()) {
    if (entry.hadRecentInput) continue;
    window.watched.shift += entry.value;
    const moved = entry.sources.map(({node}) => node?.id || node?.className || node?.nodeName);
    window.watched.moved.push(...moved);
  }
}).observe({type: "layout-shift", buffered: true});
document.addEventListener("securitypolicyviolation", (event) => {
  window.watched.violations.push(event.violatedDirective);
});
"""


@contextlib.contextmanager
def chromium() -> Iterator[Any]:
    """A browser, or a skip that says what is missing."""
    if CHROMIUM is None:
        pytest.skip("Chromium is not installed (Debian: apt-get install chromium)")
    playwright = pytest.importorskip(
        "playwright.sync_api", reason="Playwright is not installed: pip install playwright"
    )
    playwright.expect.set_options(timeout=TIMEOUT)
    with playwright.sync_playwright() as driver:
        # CI runs as root. Without V8's optimiser for WebAssembly, which takes longer than what tests compute with it.
        arguments = ["--no-sandbox", "--js-flags=--liftoff-only"]
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=arguments)
        try:
            yield browser
        finally:
            browser.close()


class Visit:
    """One person's window: a page, and what was seen of it from outside."""

    def __init__(self, browser: Any, address: str, size: str = "desktop", **options: Any) -> None:
        self.address = address
        self.context = browser.new_context(
            viewport=SIZES[size], is_mobile=size == "phone", has_touch=size == "phone", **options
        )
        if address.startswith("http"):  # Chromium grants none to files
            self.context.grant_permissions(["clipboard-read", "clipboard-write"], origin=address)
        self.context.add_init_script(_WATCH)
        self._begin()

    def _begin(self) -> None:
        self.requests: list[Any] = []
        self.complaints: list[str] = []
        self.page = self.new_page()

    def again(self) -> Visit:
        """Return the next visit of the same person, whose browser has kept the files of the page."""
        visit = copy.copy(self)
        visit._begin()
        return visit

    def new_page(self) -> Any:
        """Another tab of the same person."""
        page = self.context.new_page()
        page.set_default_timeout(TIMEOUT)
        page.on("request", lambda request: self.requests.append(request))
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("console", lambda message: self.complaints.append(message.text) if message.type == "error" else None)
        return page

    def open(self, state: str = "") -> Any:
        """Load the page with this state in its address."""
        self.page.goto(f"{self.address}/{'#' if state else ''}{state}")
        return self.page

    def asked(self, path: str) -> list[Any]:
        """The bodies of the requests to a path."""
        return [request.post_data_json for request in self.requests if request.url == f"{self.address}/{path}"]

    def check(self, *, refused: bool = False, rearranged: bool = False) -> None:
        """Nothing went wrong that a person does not see.

        Args:
            refused: the test had the server refuse something.
            rearranged: the test chose a model with other parts. They move at once, which does not count within half a
                second of the choice; where other tests keep the processors busy, the browser takes longer.
        """
        # Chromium itself writes a line for each answer of 400 or more, and for each request that found no server.
        mine = [text for text in self.complaints if not (refused and text.startswith("Failed to load resource"))]
        assert not mine, mine
        elsewhere = {
            request.url for request in self.requests if not request.url.startswith((self.address, "data:", "blob:"))
        }
        assert not elsewhere, elsewhere
        watched = self.page.evaluate("window.watched")
        assert not watched["violations"], watched
        assert rearranged or watched["shift"] < 0.1, watched  # "good" in Web Vitals
        wider = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
        assert self.page.evaluate(wider) <= 0


def expect(locator: Any) -> Any:
    from playwright.sync_api import expect as expect_of_playwright

    return expect_of_playwright(locator)


def drop(page: Any, path: Path, selector: str = "#model") -> None:
    """Drop a file from outside the browser on an element, as a file manager does."""
    page.locator(selector).scroll_into_view_if_needed()
    box = page.locator(selector).bounding_box()
    session = page.context.new_cdp_session(page)
    data = {"items": [], "files": [str(path)], "dragOperationsMask": 1}
    for kind in ("dragEnter", "dragOver", "drop"):
        point = {"x": box["x"] + box["width"] / 2, "y": box["y"] + box["height"] / 2}
        session.send("Input.dispatchDragEvent", {"type": kind, **point, "data": data})


def saved(visit: Visit, button: Any, folder: Path) -> Path:
    """Return the file that a click on a button downloads."""
    with visit.page.expect_download(timeout=4 * TIMEOUT) as download:
        button.click()
    path = folder / download.value.suggested_filename
    download.value.save_as(path)
    return path


def pixels_of(canvas: Any) -> np.ndarray[Any, Any]:
    """The pixels of a canvas, uint8 [H, W, 3]."""
    shape = canvas.evaluate("c => [c.height, c.width, 4]")
    data = canvas.evaluate("c => [...c.getContext('2d').getImageData(0, 0, c.width, c.height).data]")
    return np.array(data, np.uint8).reshape(shape)[..., :3]


def paused(visit: Visit, state: str = "") -> Any:
    """Open the page, wait until everything is there, and stop the walk."""
    page = visit.open(state)
    expect(page.locator("#sheet[data-seeds]")).to_be_visible()
    if page.locator("#play").get_attribute("aria-label") == "Pause":
        page.get_by_role("button", name="Pause").click()
    return page
