import base64
import io
import json
import os
import queue
import shutil
import struct
import subprocess
import sys
from http.server import BaseHTTPRequestHandler

import numpy as np
import pytest
from loopback import serving
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from gan_serve.images.grid import grid
from gan_serve.images.pixels import from_pil, to_pil
from gan_serve.images.png import encode_png

rng = np.random.default_rng(0)
NOISE = rng.integers(0, 256, (64, 64, 3), np.uint8)
SHAPES = [(1, 1, 1), (1, 1, 3), (1, 9, 3), (9, 1, 1), (28, 28, 1), (5, 700, 3), (530, 33, 3)]
BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


@pytest.mark.parametrize("shape", SHAPES)
def test_every_pixel_comes_back(shape):
    pixels = rng.integers(0, 256, shape, np.uint8)
    for given in (pixels, pixels // 255 * 255, np.zeros_like(pixels), pixels[::-1, ::-1]):
        np.testing.assert_array_equal(_decode(encode_png(given)), given)


def test_pixels_that_lie_apart_in_memory_come_back():
    apart = NOISE[::2, 1::3, ::2].transpose(1, 0, 2)[..., :1]
    np.testing.assert_array_equal(_decode(encode_png(apart)), apart)


def test_all_but_the_compressed_pixels_is_as_pillow_writes_it():
    text = {"gan_serve": '{"label": "größer"}', "Author": "", "naïve": "b\n\N{SNOWMAN}"}
    info = PngInfo()
    for key, value in text.items():
        info.add_itxt(key, value)
    out = io.BytesIO()
    to_pil(NOISE).save(out, "PNG", pnginfo=info)
    ours, pillows = _chunks(encode_png(NOISE, text)), _chunks(out.getvalue())
    assert [chunk for chunk in ours if chunk[0] != b"IDAT"] == [chunk for chunk in pillows if chunk[0] != b"IDAT"]


def test_files_are_about_as_large_as_pillows(generator):
    images = generator.sample(64, seed=1).pixels
    for several in (images, [grid(images)]):  # small ones together, since one of 400 bytes may differ by a tenth
        ours = pillows = 0
        for pixels in several:
            out = io.BytesIO()
            to_pil(pixels).save(out, "PNG", compress_level=1)
            ours, pillows = ours + len(encode_png(pixels)), pillows + len(out.getvalue())
        assert ours < 1.1 * pillows


def test_without_isal_the_standard_library_compresses():
    code = (
        "import sys; sys.modules['isal'] = None\n"
        "import numpy as np; from gan_serve.images.png import encode_png, zlib\n"
        "assert zlib.__name__ == 'zlib'\n"
        "sys.stdout.buffer.write(encode_png(np.arange(192, dtype=np.uint8).reshape(8, 8, 3), {'key': 'value'}))"
    )
    content = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True).stdout
    np.testing.assert_array_equal(_decode(content).ravel(), np.arange(192))
    assert _chunks(content)[1][0] == b"iTXt"


@pytest.mark.skipif(BROWSER is None, reason="no Chromium or Chrome on this machine")
def test_a_browser_draws_the_same_pixels(generator, tmp_path):
    drawn = generator.sample(4, seed=1)
    files = [(drawn.png(0), drawn.pixels[0]), (drawn.grid_png(), grid(drawn.pixels))]
    files += [(encode_png(pixels), pixels) for pixels in (rng.integers(0, 256, shape, np.uint8) for shape in SHAPES)]
    cases = [{"png": _base64(png), "rgba": _base64(_rgba(pixels))} for png, pixels in files]
    assert _told_by_browser(PAGE % json.dumps(cases), tmp_path / "profile") == " ".join(["equal"] * len(cases))


def _told_by_browser(page, profile):
    """Return what the script of a page sends back when a browser opens it."""
    told = queue.SimpleQueue()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.answer(page.encode())

        def do_POST(self):
            told.put(self.rfile.read(int(self.headers["Content-Length"])).decode())
            self.answer(b"")

        def answer(self, content):
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_):
            pass

    with serving(Handler) as address:
        options = ["--headless", "--disable-gpu", "--force-color-profile=srgb", f"--user-data-dir={profile}"]
        if os.name == "posix" and os.geteuid() == 0:
            options.append("--no-sandbox")  # Chromium has none for root
        browser = subprocess.Popen(
            [BROWSER, *options, address],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            return told.get(timeout=60)
        finally:
            browser.terminate()
            browser.wait()


# Draw each PNG on a canvas and tells whether its pixels are those that were given beside it.
PAGE = """<!doctype html><meta charset="utf-8"><script>
(async () => {
  const found = []
  for (const {png, rgba} of %s) {
    const image = new Image()
    image.src = 'data:image/png;base64,' + png
    await image.decode()
    const canvas = document.createElement('canvas')
    const [width, height] = [canvas.width, canvas.height] = [image.naturalWidth, image.naturalHeight]
    const context = canvas.getContext('2d', {willReadFrequently: true})
    context.drawImage(image, 0, 0)
    const drawn = context.getImageData(0, 0, width, height).data
    const expected = Uint8Array.from(atob(rgba), letter => letter.charCodeAt(0))
    found.push(drawn.length === expected.length && drawn.every((v, i) => v === expected[i]) ? 'equal' : 'different')
  }
  return found.join(' ')
})().catch(String).then(body => fetch('/', {method: 'POST', body}))
</script>"""


def _decode(content):
    with Image.open(io.BytesIO(content)) as image:
        return from_pil(image)


def _chunks(content):
    """Every chunk of a PNG as (kind, content, checksum)."""
    chunks, at = [], 8
    while at < len(content):
        size, kind = struct.unpack_from(">I4s", content, at)
        chunks.append((kind, content[at + 8 : at + 8 + size], content[at + 8 + size : at + 12 + size]))
        at += 12 + size
    return chunks


def _rgba(pixels):
    height, width, _ = pixels.shape
    colours = np.broadcast_to(pixels, (height, width, 3))
    return np.concatenate([colours, np.full((height, width, 1), 255, np.uint8)], -1).tobytes()


def _base64(content):
    return base64.b64encode(content).decode()


ENCODE = """
import hashlib
import sys
import numpy as np
from gan_serve.images.png import encode_png, gzip_pixels
random, digest = np.random.default_rng(0), hashlib.sha256()
for _ in range(int(sys.argv[1])):
    side = int(random.integers(6, 60))
    pixels = random.integers(0, random.integers(2, 6), (side, side, 1)).astype(np.uint8).repeat(2, axis=1)
    digest.update(encode_png(pixels))
    digest.update(gzip_pixels(pixels.tobytes()))
print(digest.hexdigest())
"""


@pytest.mark.parametrize(
    ("filling", "images"),
    [("25", 500), *(pytest.param(value, 1500, marks=pytest.mark.slow) for value in ("25", "37", "103", "139", "199"))],
)
def test_the_bytes_do_not_depend_on_what_the_memory_held_before(filling, images):
    """glibc fills memory with this value before it is used; with level 1 of isal, each gave other bytes."""
    digests = {
        subprocess.run(
            [sys.executable, "-c", ENCODE, str(images)],
            env=os.environ | {"MALLOC_PERTURB_": value},
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        for value in ("0", filling)  # 0: as it is
    }
    assert len(digests) == 1
