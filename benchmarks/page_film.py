"""Record the explorer page as the moving picture of the README and of the site.

    python benchmarks/page_film.py [--model avatars-cgan] [--label toon-head]

Writes docs/page.webp: the first seconds of the page, then a drag over the pad and a pull of a slider.
"""

from __future__ import annotations

import argparse
import io
import socket
import subprocess
import sys
from pathlib import Path

from page import CHROMIUM, wait_until_ready
from PIL import Image
from playwright.sync_api import Page, sync_playwright

OUT = Path(__file__).parents[1] / "docs" / "page.webp"
VIEW = {"width": 1100, "height": 760}
WIDTH = 760  # of the picture
FRAMES, FPS = 60, 10
LIMIT = 1_500_000  # bytes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="avatars-cgan", help="the model that the page opens on")
    parser.add_argument("--label", default="toon-head", help="the label of the link that is opened")
    options = parser.parse_args()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [str(Path(sys.executable).with_name("gan-serve")), "serve", "--port", str(port), "--model", options.model]
    server = subprocess.Popen([*command, "--workers", "1"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_until_ready(f"http://127.0.0.1:{port}/")
        with sync_playwright() as driver:
            browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
            page = browser.new_context(viewport=VIEW, color_scheme="light").new_page()
            page.goto(f"http://127.0.0.1:{port}/#label={options.label}")
            page.locator("#picture.painted").wait_for(timeout=60_000)
            page.locator("#mosaic.painted").wait_for(timeout=60_000)
            frames = record(page)
            browser.close()
    finally:
        server.terminate()
        server.wait(20)
    for quality in (80, 65, 50, 35):
        out = io.BytesIO()
        frames[0].save(
            out,
            "webp",
            save_all=True,
            append_images=frames[1:],
            duration=1000 // FPS,
            loop=0,
            quality=quality,
            method=4,
        )
        if out.tell() < LIMIT:
            break
    OUT.write_bytes(out.getvalue())
    print(f"{OUT}: {len(frames)} frames, {out.tell() / 1e6:.2f} MB, quality {quality}")


def record(page: Page) -> list[Image.Image]:
    """Photograph the page while its picture moves by itself, and then while a pointer drags over the pad."""
    pad = page.locator("#pad").bounding_box()
    frames = []
    for number in range(FRAMES):
        if pad and number >= FRAMES // 2:
            share = (number - FRAMES // 2) / (FRAMES // 2)
            page.mouse.move(
                pad["x"] + pad["width"] * (0.1 + 0.8 * share), pad["y"] + pad["height"] * (0.8 - 0.6 * share)
            )
        with Image.open(io.BytesIO(page.screenshot())) as shot:
            height = round(shot.height * WIDTH / shot.width)
            frames.append(shot.convert("RGB").resize((WIDTH, height), Image.Resampling.LANCZOS))
    return frames


if __name__ == "__main__":
    main()
