"""The translators of the repository (``zoo/translators``): they prove themselves, and are as good as told."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from gan_serve import Translator
from gan_serve.checkpoint.config import precisions
from gan_serve.checkpoint.files import verify_checkpoint

FOLDER = Path(__file__).parents[1] / "zoo" / "translators"
NAMES = sorted(path.parent.name for path in FOLDER.glob("*/config.json"))
LARGEST = 15_000_000  # bytes of all of them in git


@pytest.mark.parametrize("name", NAMES)
def test_files_have_their_digests_and_networks_their_golden_sample(name: str) -> None:
    config = verify_checkpoint(FOLDER / name)
    source = config.golden_sample.input_pixels()
    for precision in precisions(config):
        translator = Translator(FOLDER / name, device="cpu", precision=precision)
        [output] = translator.translate(source, output="numpy")
        assert output.shape == (config.img_resolution, config.img_resolution, config.img_channels)
    parity = json.loads((FOLDER / name / "parity.json").read_text())
    assert parity["max_difference"] <= 1
    assert parity["batch_invariant"]


def test_they_are_small() -> None:
    assert NAMES
    assert sum(path.stat().st_size for path in FOLDER.rglob("*") if path.is_file()) < LARGEST


def test_super_resolution_is_closer_to_the_targets_than_bicubic() -> None:
    metrics = json.loads((FOLDER / "avatars-sr4" / "metrics.json").read_text())
    assert metrics["psnr_1000_test"] > metrics["psnr_1000_test_bicubic"] + 1
    name = "perceptual-cnn-avatars_1000_test"
    assert metrics[name] < 0.8 * metrics[f"{name}_bicubic"]


def test_a_large_picture_is_enlarged_without_seams() -> None:
    translator = Translator(FOLDER / "avatars-sr4", device="cpu")
    picture = np.random.RandomState(0).randint(0, 256, (200, 30, 3)).astype(np.uint8)
    [tiled] = translator.translate(picture, output="numpy")
    whole = translator._session._run({"x": picture[None]})[0]
    assert tiled.shape == (800, 120, 3)
    assert np.abs(tiled.astype(int) - whole).max() <= 1
