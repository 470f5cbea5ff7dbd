"""The display of results in a notebook and a terminal."""

from __future__ import annotations

import base64
import io

import numpy as np
from PIL import Image

import gan_serve
from gan_serve.images.grid import grid
from gan_serve.images.pixels import enlarge, from_pil
from gan_serve.images.preview import UPPER_HALF, terminal_preview


def shown(bundle: dict[str, str], kind: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(bundle[f"image/{kind}"])))


def test_a_list_of_images_is_shown_as_an_enlarged_grid(generator):
    images = generator.generate(seeds="0-3")
    assert isinstance(images, list)
    expected = grid(generator.generate(seeds="0-3", output="numpy"))
    picture = from_pil(shown(images._repr_mimebundle_(), "png"))
    factor = picture.shape[0] // expected.shape[0]
    assert factor == 10
    np.testing.assert_array_equal(picture, expected.repeat(factor, 0).repeat(factor, 1))
    assert from_pil(Image.open(io.BytesIO(images[0]._repr_png_()))).shape == (112, 112, 1)
    assert images[0].info["gan_serve"]["seed"] == 0


def test_a_walk_is_shown_as_an_animation(generator):
    frames = generator.interpolate([0, 5], steps=4)
    with shown(frames._repr_mimebundle_(), "gif") as animation:
        assert animation.n_frames == 5
        assert animation.width > 500
    assert "image/png" not in frames._repr_mimebundle_()
    samples = generator.sample_walk([0, 5], steps=4)
    assert samples._repr_mimebundle_()["text/plain"] == "<5 images of fashion-dcgan>"


def test_every_label_is_shown():
    sheet = gan_serve.condition("fashion-cgan", seeds="0-3", labels=["Bag", "Coat"])
    assert shown(sheet["Bag"]._repr_mimebundle_(), "png").width > 500
    picture = from_pil(shown(sheet._repr_mimebundle_(), "png"))
    rows = gan_serve.condition("fashion-cgan", seeds="0-3", labels=["Bag", "Coat"], output="numpy")
    expected = enlarge(grid(np.concatenate(list(rows.values())), 4), 2)
    np.testing.assert_array_equal(picture[:, -expected.shape[1] :], expected)
    assert picture[:, : -expected.shape[1]].min() < 100  # the names of the labels, beside the rows
    assert "image/png" not in type(sheet)()._repr_mimebundle_()


def test_a_preview_fits_a_terminal(generator):
    lines = terminal_preview(generator.generate(seeds="0-63", output="numpy")).splitlines()
    assert len(lines) <= 24
    assert all(line.count(UPPER_HALF) <= 78 for line in lines)
    black = terminal_preview(np.zeros((1, 10, 10, 3), np.uint8))
    assert "\x1b[38;2;0;0;0;48;2;0;0;0m" in black
