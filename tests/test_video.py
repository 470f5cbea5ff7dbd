"""Walks as films, MP4 and WebM."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import httpx
import numpy as np
import pytest

from gan_serve import Generator
from gan_serve.images.video import encode_video

av = pytest.importorskip("av")


def frames_of(content: bytes) -> tuple[str, float, np.ndarray]:
    """Return the codec, the frames per second and the frames of a film, uint8 [N, H, W, 3]."""
    with av.open(io.BytesIO(content)) as film:
        stream = film.streams.video[0]
        frames = np.stack([frame.to_ndarray(format="rgb24") for frame in film.decode(video=0)])
        return stream.codec_context.name, float(stream.average_rate), frames


@pytest.mark.parametrize(("format", "codec"), [("mp4", "h264"), ("webm", "vp9")])
def test_a_film_has_the_frames_of_the_walk(format: str, codec: str, cli, tmp_path: Path, generator: Generator) -> None:
    out = tmp_path / f"walk.{format}"
    words = ["interpolate", "fashion-dcgan", "--seeds", "0,5", "--steps", 4, "--scale", 4, "--fps", 12.5, "--out", out]
    assert cli(*words).code == 0
    name, rate, frames = frames_of(out.read_bytes())
    assert (name, rate, frames.shape) == (codec, 12.5, (5, 112, 112, 3))
    expected = generator.interpolate([0, 5], steps=4, output="numpy")
    assert np.abs(frames[:, ::4, ::4, :1].astype(int) - expected).mean() < 2
    first = out.read_bytes()
    out.unlink()
    assert cli(*words).code == 0
    assert out.read_bytes() == first


@pytest.mark.parametrize("format", ["mp4", "webm"])
def test_colours_and_odd_sizes_are_kept(format: str) -> None:
    picture = np.zeros((3, 33, 31, 3), np.uint8)
    picture[:, :16] = (200, 0, 0)
    picture[:, 16:] = (0, 90, 220)
    _, _, frames = frames_of(encode_video(picture, format, fps=5, scale=3))
    assert frames.shape == (3, 100, 94, 3)
    assert np.abs(frames[0, 20, 20].astype(int) - (200, 0, 0)).max() <= 3
    assert np.abs(frames[2, 80, 60].astype(int) - (0, 90, 220)).max() <= 3


def test_without_pyav_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch, cli, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    outcome = cli("interpolate", "fashion-dcgan", "--seeds", "0,5", "--out", tmp_path / "walk.mp4")
    assert (outcome.code, "gan-serve[video]" in outcome.err) == (1, True)
    assert not list(tmp_path.iterdir())


def test_the_server_sends_films(server: httpx.Client) -> None:
    body = {"model": "fashion-dcgan", "seeds": "0,5", "steps": 3, "format": "mp4", "scale": 2}
    response = server.post("/interpolate", json=body)
    assert (response.status_code, response.headers["content-type"]) == (200, "video/mp4")
    assert "x-gan-serve-receipt" in response.headers
    assert frames_of(response.content)[2].shape == (4, 56, 56, 3)
