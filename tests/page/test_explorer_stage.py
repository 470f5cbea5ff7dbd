"""The large picture of the explorer page: what it shows while a person drags, and two precisions side by side."""

from __future__ import annotations

import re

import numpy as np
from browser import Visit, expect, paused, pixels_of

NAME = "fashion-dcgan"

# Move the slider of a direction with every frame for three seconds: how often the picture is painted meanwhile.
DRAG = """() => new Promise((resolve) => {
  const put = CanvasRenderingContext2D.prototype.putImageData;
  let count = 0;
  CanvasRenderingContext2D.prototype.putImageData = function (...values) {
    put.apply(this, values);
    count += this.canvas.id === "picture";
  };
  const input = document.getElementById("direction-1");
  const started = performance.now();
  const tick = () => {
    const done = (performance.now() - started) / 3000;
    if (done >= 1) return resolve(count);
    input.value = 8 * done - 4;
    input.dispatchEvent(new Event("input", {bubbles: true}));
    requestAnimationFrame(tick);
  };
  tick();
})"""


def test_a_drag_shows_pictures_also_on_a_slow_line(desktop: Visit) -> None:
    page = paused(desktop, f"model={NAME}&seeds=0-15")
    expect(page.locator("#mosaic.painted")).to_be_visible()
    session = desktop.context.new_cdp_session(page)
    session.send("Network.enable")
    slow = {"offline": False, "latency": 400, "downloadThroughput": -1, "uploadThroughput": -1}
    session.send("Network.emulateNetworkConditions", slow)
    assert page.evaluate(DRAG) >= 2
    desktop.check()


def test_a_wipe_compares_two_precisions(desktop: Visit) -> None:
    page = paused(desktop, f"model={NAME}&seeds=0-15")
    page.get_by_role("button", name="Compare int8").click()
    expect(page.locator("#wiped")).to_have_text(re.compile(r"fp32 .* ms, 9,176 KB · int8 .* KB · PSNR \d\d\.\d dB"))
    page.get_by_label("Wipe between precisions").fill("20")
    assert page.locator("#other").evaluate("c => c.style.clipPath") == "inset(0px 0px 0px 20%)"
    before = pixels_of(page.locator("#other"))
    page.get_by_label("Position in the walk").fill("15")
    for _ in range(600):
        if not np.array_equal(pixels_of(page.locator("#other")), before):
            break
        page.wait_for_timeout(100)
    assert not np.array_equal(pixels_of(page.locator("#other")), before)
    page.get_by_role("button", name="Play").click()
    expect(page.locator("#wiped")).to_be_hidden()
    desktop.check()
