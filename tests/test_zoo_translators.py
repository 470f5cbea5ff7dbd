"""The translators of the repository: found by name, they prove themselves, and are as good as told."""

from __future__ import annotations

import json

import numpy as np
import pytest

import gan_serve
from gan_serve import Generator, InvalidCheckpoint, Translator
from gan_serve.checkpoint.bundled import BUNDLED, manifest
from gan_serve.checkpoint.config import TRANSLATE, precisions
from gan_serve.checkpoint.files import verify_checkpoint
from gan_serve.images.pixels import to_pil
from gan_serve.verify import verify_image

NAMES = gan_serve.list_models("translate")
LARGEST = 15_000_000  # bytes of all of them in git


@pytest.mark.parametrize("name", NAMES)
def test_files_have_their_digests_and_networks_their_golden_sample(name: str) -> None:
    config = verify_checkpoint(BUNDLED / name)
    source = config.golden_sample.input_pixels()
    for precision in precisions(config):
        translator = Translator.from_pretrained(name, device="cpu", precision=precision)
        [output] = translator.translate(source, output="numpy")
        assert output.shape == (config.img_resolution, config.img_resolution, config.img_channels)
    parity = json.loads((BUNDLED / name / "parity.json").read_text())
    assert parity["max_difference"] <= 1
    assert parity["batch_invariant"]


def test_they_are_small() -> None:
    assert NAMES
    assert sum(path.stat().st_size for name in NAMES for path in (BUNDLED / name).iterdir()) < LARGEST


def test_names_are_those_of_the_manifest_and_of_no_generator(cli, tmp_path) -> None:
    assert set(NAMES) == {name for name, entry in manifest().items() if entry.task == TRANSLATE}
    assert not set(NAMES) & set(gan_serve.list_models())
    listed = {line.split()[0] for line in cli("models").out.splitlines()}
    assert listed == {*NAMES, *gan_serve.list_models()}
    source = Translator.from_pretrained(NAMES[0]).config.golden_sample.input_pixels()
    to_pil(source).save(tmp_path / "in.png")
    [image] = gan_serve.translate(NAMES[0], tmp_path / "in.png")
    image.save(tmp_path / "out.png")
    assert verify_image(tmp_path / "out.png", inputs=[tmp_path / "in.png"]).max_difference == 0
    with pytest.raises(InvalidCheckpoint, match="translates images"):
        Generator.from_pretrained(NAMES[0])


def test_super_resolution_is_closer_to_the_targets_than_bicubic() -> None:
    metrics = json.loads((BUNDLED / "avatars-sr4" / "metrics.json").read_text())
    assert metrics["psnr_1000_test"] > metrics["psnr_1000_test_bicubic"] + 1.5
    name = "perceptual-cnn-avatars_1000_test"
    assert metrics[name] < 0.8 * metrics[f"{name}_bicubic"]


def test_a_large_picture_is_enlarged_without_seams() -> None:
    translator = Translator.from_pretrained("avatars-sr4", device="cpu")
    picture = np.random.RandomState(0).randint(0, 256, (200, 30, 3)).astype(np.uint8)
    [tiled] = translator.translate(picture, output="numpy")
    whole = translator._session._run({"x": picture[None]})[0]
    assert tiled.shape == (800, 120, 3)
    assert np.abs(tiled.astype(int) - whole).max() <= 1
