"""A PNG that claims much: its size is compared with its receipt before anything is sampled."""

from __future__ import annotations

import io
import json
import os
import re
import struct
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from compressed_zeros import compressed_zeros
from measured import measure
from PIL import Image
from tiny_checkpoint import write_checkpoint

from gan_serve import Generator, ReceiptError
from gan_serve.images.png import encode_png
from gan_serve.sampling.receipt import RECEIPT_KEY, Receipt
from gan_serve.sampling.walks import Walk
from gan_serve.translation.result import TranslationReceipt
from gan_serve.verify import verify_image

MODEL = "fashion-dcgan"


def forged(path: Path, side: int = 1, **claims: Any) -> Path:
    """A white PNG whose receipt is consistent with its pixels and claims what is given."""
    pixels = np.full((side, side, 1), 255, np.uint8)
    digest = Generator.from_pretrained(MODEL).digest
    receipt = Receipt(model=MODEL, digest=digest, precision="fp32", truncation=1.0, version="1", **claims).seal(pixels)
    path.write_bytes(encode_png(pixels, {RECEIPT_KEY: receipt.as_json()}))
    return path


def forged_translation(path: Path) -> Path:
    """A sheet of 67 million white pixels in 300 KB, with a receipt of a translation."""
    pixels = np.full((8192, 8192, 3), 255, np.uint8)
    claims = {"model": "avatars-sr4", "digest": f"sha256:{'0' * 64}", "precision": "fp32", "version": "1"}
    receipt = TranslationReceipt(input=f"sha256:{'0' * 64}", fit="crop", **claims).seal(pixels)
    path.write_bytes(encode_png(pixels, {RECEIPT_KEY: receipt.as_json()}))
    return path


CLAIMS: dict[str, dict[str, Any]] = {
    "a walk of 100,000 frames": {
        "walk": Walk(seeds=[0, 1], steps=99_999, method="slerp", loop=False), "columns": 100_000,
    },
    "a walk of 9 million frames": {
        "walk": Walk(seeds=[0, 1], steps=9_000_000, method="slerp", loop=False), "columns": 1,
    },
    "a walk of negative steps": {"walk": Walk(seeds=[0, 1], steps=-5, method="slerp", loop=False), "columns": 1},
    "a frame outside the walk": {"walk": Walk(seeds=[0, 1], steps=5, method="slerp", loop=False, frame=10**6)},
    "an endless part": {
        "walk": Walk(seeds=[0, 1], steps=2**61, method="slerp", loop=True, start=0, stop=2**60), "columns": 7,
    },
    "a walk of 2^70 frames": {"walk": Walk(seeds=[0, 1], steps=2**70, method="lerp", loop=True), "columns": 10**9},
    "a frame behind 2^70 others": {"walk": Walk(seeds=[0], steps=2**70, method="lerp", loop=False, frame=2**69)},
    "a walk without keys": {"walk": Walk(seeds=[], steps=5, method="slerp", loop=False, frame=-1)},
    "ten thousand seeds": {"seeds": list(range(10_000)), "columns": 100},
    "no seeds": {"seeds": [], "columns": 1},
    "one seed": {"seed": 7},
    "columns beyond any number": {"seeds": [1, 2], "columns": 10**30},
    "empty latents": {"latents": ""},
    "no base64": {"latents": "!" * 600, "columns": 1},
}  # fmt: skip


@pytest.mark.parametrize("claim", CLAIMS)
def test_what_its_pixels_cannot_justify_is_not_sampled(tmp_path, monkeypatch, claim):
    path = forged(tmp_path / "forged.png", **CLAIMS[claim])
    monkeypatch.setattr(Generator, "sample", lambda *_, **__: pytest.fail("it was sampled"))
    with pytest.raises(ReceiptError, match="size of the image"):
        verify_image(path)


def test_a_walk_of_100_000_frames_takes_little(tmp_path):
    path = forged(tmp_path / "forged.png", **CLAIMS["a walk of 100,000 frames"])
    assert path.stat().st_size < 1000
    measured = measure("verify", path)
    assert measured.error == "ReceiptError"
    assert measured.megabytes < 100


def test_a_large_image_is_not_decoded_where_its_receipt_describes_a_small_one(tmp_path):
    path = forged(tmp_path / "large.png", side=12_000, seed=1)
    assert path.stat().st_size < 2**20
    measured = measure("verify", path)
    assert (measured.error, "size of the image" in measured.message) == ("ReceiptError", True)
    assert measured.megabytes < 100


def test_a_large_translation_is_not_decoded_before_its_inputs_are_known(tmp_path):
    measured = measure("verify", forged_translation(tmp_path / "large.png"))
    assert (measured.error, "was made from 1 picture" in measured.message) == ("ReceiptError", True)
    assert measured.megabytes < 100


def test_a_model_of_3_million_letters_is_not_printed(tmp_path):
    text = json.dumps({"seed": 1, "model": "x" * 3_000_000, "digest": f"sha256:{'0' * 64}", "precision": "fp32",
                       "truncation": 1.0, "version": "1"})  # fmt: skip
    (tmp_path / "image.png").write_bytes(encode_png(np.full((28, 28, 1), 255, np.uint8), {RECEIPT_KEY: text}))
    with pytest.raises(ReceiptError, match="The receipt of the image is invalid"):
        verify_image(tmp_path / "image.png")


@pytest.mark.parametrize("format", ["EPS", "PPM", "BMP", "GIF", "TIFF", "PCX", "TGA", "JPEG"])
def test_another_format_named_png_is_no_png(tmp_path, format):
    file = io.BytesIO()
    Image.new("RGB", (8, 8)).save(file, format)
    path = tmp_path / "image.png"
    path.write_bytes(file.getvalue())
    with pytest.raises(ReceiptError, match="is not a PNG"):
        verify_image(path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes")
def test_a_pipe_and_a_device_are_no_images(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    for path in (tmp_path / "pipe.png", Path("/dev/zero"), tmp_path):
        with pytest.raises(ReceiptError, match="not a regular file"):
            verify_image(path)


def test_an_image_of_a_checkpoint_of_strangers_is_verified_as_before(tmp_path):
    checkpoint = write_checkpoint(tmp_path / "tiny")
    Generator.from_pretrained(checkpoint).generate(seed=3)[0].save(tmp_path / "image.png")
    assert verify_image(tmp_path / "image.png", checkpoint).max_difference == 0


def png_chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


CHUNKS: dict[str, tuple[Callable[[], bytes], str]] = {  # before the pixels of a good image; the error
    "a compressed text of 200 MB": (lambda: png_chunk(b"zTXt", b"x\0\0" + compressed_zeros(200_000_000)), "too large"),
    "a compressed receipt of 200 MB": (
        lambda: png_chunk(b"iTXt", b"gan_serve\0\1\0\0\0" + compressed_zeros(200_000_000)),
        "too large",
    ),
    "a colour profile of 200 MB": (lambda: png_chunk(b"iCCP", b"x\0\0" + compressed_zeros(200_000_000)), "too large"),
    "a receipt of 15 million lists": (
        lambda: png_chunk(b"tEXt", b"gan_serve\0[" + b"[]," * 15_000_000 + b"[]]"),
        "receipt",
    ),
    "a receipt that is nested 100,000 deep": (lambda: png_chunk(b"tEXt", b"gan_serve\0" + b"[" * 100_000), "receipt"),
    "a number of 5,000 digits": (lambda: png_chunk(b"tEXt", b'gan_serve\0{"seed": ' + b"9" * 5000 + b"}"), "receipt"),
    "20,000 texts": (lambda: b"".join(png_chunk(b"tEXt", b"k%d\0v" % i) for i in range(20_000)), "receipt"),
    "an animation of 2 billion frames": (
        lambda: (
            png_chunk(b"acTL", struct.pack(">II", 2**31 - 1, 0))
            + png_chunk(b"fcTL", struct.pack(">IIIIIHHBB", 0, 28, 28, 0, 0, 1, 1, 0, 0))
        ),
        "receipt|not a PNG",
    ),
}


def with_chunks(path: Path, chunks: bytes) -> Path:
    """A gray PNG of 28 x 28 pixels with further chunks."""
    png = encode_png(np.full((28, 28, 1), 255, np.uint8))
    path.write_bytes(png[:33] + chunks + png[33:])
    return path


@pytest.mark.parametrize("name", CHUNKS)
def test_texts_of_a_png_are_one_clear_error(tmp_path, name):
    make, says = CHUNKS[name]
    with pytest.raises(ReceiptError, match=says):
        verify_image(with_chunks(tmp_path / "image.png", make()))


@pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc")
@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=() if name == "a compressed receipt of 200 MB" else pytest.mark.slow) for name in CHUNKS],
)
def test_texts_of_a_png_take_little_memory(tmp_path, name):
    make, says = CHUNKS[name]
    measured = measure("verify", with_chunks(tmp_path / "image.png", make()))
    assert measured.error == "ReceiptError"
    assert re.search(says, measured.message)
    assert measured.megabytes < 250
