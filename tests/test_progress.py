"""The argument ``progress`` of generators and clients."""

from __future__ import annotations

import numpy as np
import pytest

import gan_serve
from gan_serve import Generator

NAME, CLASSES = "fashion-dcgan", "fashion-cgan"


def test_a_function_is_told_the_images_that_are_done():
    told: list[tuple[int, int]] = []
    images = gan_serve.generate(
        NAME, seeds="0-149", output="numpy", progress=lambda done, total: told.append((done, total))
    )
    assert told == [(64, 150), (128, 150), (150, 150)]
    assert np.array_equal(images, gan_serve.generate(NAME, seeds="0-149", output="numpy"))


def test_all_calls_report(capsys: pytest.CaptureFixture[str]):
    told: list[tuple[int, int]] = []
    generator = Generator.from_pretrained(CLASSES)
    generator.condition(seeds="0-6", progress=lambda *counts: told.append(counts))
    generator.interpolate([0, 1], steps=9, progress=lambda *counts: told.append(counts))
    assert told == [(64, 70), (70, 70), (10, 10)]
    generator.generate(3, progress=True)
    seen = capsys.readouterr()
    assert "Sampling" in seen.err
    assert seen.out == ""


def test_what_the_function_raises_ends_the_call():
    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        gan_serve.generate(NAME, 100, progress=stop)
