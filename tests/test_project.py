"""Projection: pictures in, latents out."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import gan_serve
from gan_serve import Generator
from gan_serve.checkpoint.bundled import BUNDLED
from gan_serve.errors import InvalidImage, InvalidOption, UnknownLabel
from gan_serve.training import project, weights_from_onnx
from gan_serve.training.evaluation.feature_maps import FeatureMaps
from gan_serve.training.projection.known import read_known
from gan_serve.training.projection.perceptual import PerceptualFeatures
from gan_serve.training.projection.search import Objective, Search, search_latent
from gan_serve.training.translation.losses import perceptual_distance
from gan_serve.verify import verify_image

FAST = "mnist-mlp"  # of the bundled models the one with the fewest operations
SEED = 50_000  # far from the seeds of the starts
SHORT = Search(steps=6, refined=1, iterations=8)


def picture(model: str, **options: object) -> np.ndarray:
    return gan_serve.generate(model, seed=SEED, output="numpy", device="cpu", **options)[0]


def test_a_generated_image_comes_back() -> None:
    steps: list[tuple[int, int]] = []
    found = project(FAST, picture(FAST), starts=4, progress=lambda done, total: steps.append((done, total)))
    assert found.psnr[0] > 30
    assert np.array_equal(found.samples.pixels, gan_serve.generate(FAST, latents=found.latents, output="numpy"))
    assert found.labels is None
    assert found.w is None
    assert found.ways[0].shape[1:] == (28, 28, 1)
    assert np.array_equal(found.ways[0][-1], found.samples.pixels[0])
    assert steps[-1] == (Search().total, Search().total)
    assert np.linalg.norm(found.latents) < 15  # that of a latent of a seed is about 10


def test_a_model_with_a_w_space_is_searched_there(tmp_path: Path) -> None:
    styled = Generator.from_pretrained("fashion-stylegan", device="cpu")
    search = Search(steps=25, refined=1, iterations=8)
    found = project("fashion-stylegan", picture("fashion-stylegan"), starts=4, search=search, features="none")
    assert found.latents.shape == (1, styled.z_dim + styled.w_dim)
    assert found.w is not None
    assert found.w.shape == (1, styled.w_dim)
    assert found.psnr[0] > 25
    (tmp_path / "a.png").write_bytes(found.samples.png(0))
    assert verify_image(tmp_path / "a.png", "fashion-stylegan").max_difference == 0


def test_the_weights_may_come_from_the_onnx_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights_from_onnx, "LATENTS", 400)  # for statistics, which do not change images
    ignore = shutil.ignore_patterns("*.safetensors")
    wheel = shutil.copytree(BUNDLED / FAST, tmp_path / FAST, ignore=ignore)
    found = project(wheel, picture(FAST), starts=2, search=SHORT, features="none")
    assert found.psnr[0] > 20


def test_labels_are_given_or_tried() -> None:
    image = picture("mnist-cgan", label=4)
    tried = project("mnist-cgan", image, search=SHORT)
    assert tried.labels == ["4"]
    quick = Search(steps=1, refined=1, iterations=1)
    told = project("mnist-cgan", [image, image], label=[4, "7"], starts=1, search=quick)
    assert told.labels == ["4", "7"]
    with pytest.raises(UnknownLabel):
        project("mnist-cgan", image, label="cat")
    with pytest.raises(UnknownLabel):
        project(FAST, image, label=1)


def test_the_same_seed_gives_the_same_latents() -> None:
    images = [picture(FAST), picture(FAST)]
    quick = Search(steps=2, refined=1, iterations=1)
    first = project(FAST, images, starts=2, search=quick)
    assert np.array_equal(first.latents[0], first.latents[1])
    assert np.array_equal(first.latents, project(FAST, images, starts=2, search=quick).latents)


def test_pictures_are_fitted_and_that_is_told() -> None:
    colour = np.zeros((40, 60, 3), np.uint8)
    colour[:, 10:50] = 200
    quick = Search(steps=1, refined=1, iterations=1)
    found = project(FAST, colour, starts=1, search=quick, features="cnn-general")
    assert (found.targets == 200).all()
    assert found.notes[:2] == (
        "pictures of 60x40 are cut to their middle square and resized to 28x28",
        "colour becomes gray",
    )
    assert found.notes[-1] == "features: cnn-general"
    with pytest.raises(InvalidImage, match="60x40"):
        project(FAST, colour, fit="exact")
    with pytest.raises(InvalidOption, match="starts"):
        project(FAST, colour, starts=0)
    with pytest.raises(InvalidOption):
        project(FAST, colour, features="cnn-missing")


def test_the_search_finds_the_minimum_of_a_network_without_hidden_layers() -> None:
    """A linear network has one minimum, which least squares find in one iteration."""
    torch.manual_seed(0)
    weight, true = torch.randn(5, 48) / 10, torch.randn(5)

    def network(z: torch.Tensor, labels: torch.Tensor | None) -> torch.Tensor:
        return (z @ weight).reshape(-1, 3, 4, 4)

    search = Search(steps=3, refined=2, iterations=5, prior_weight=0)
    reports: list[int] = []
    objective = Objective(network, network(true[None], None), None, search)
    found = search_latent(objective, torch.randn(2, 5), None, reports.append)
    torch.testing.assert_close(found.latent, true, rtol=1e-2, atol=1e-2)
    assert sum(reports) == search.total
    assert torch.equal(found.way[-1], found.latent)


def test_the_refined_start_is_the_nearest_after_the_last_step() -> None:
    """A step of 0.15 takes the first start to the target, and the second one beyond it."""
    search = Search(steps=1, learning_rate=0.15, refined=1, iterations=0, prior_weight=0)
    objective = Objective(lambda z, _: z[:, :, None, None], torch.zeros(1, 1, 1, 1), None, search)
    found = search_latent(objective, torch.tensor([[0.15], [0.05]]), None, lambda steps: None)
    assert found.start == 0
    assert found.latent.item() == pytest.approx(0, abs=1e-3)


def test_the_distance_of_features_is_zero_for_the_same_image_and_grows_with_noise() -> None:
    features = PerceptualFeatures("cnn-general")
    images = torch.rand(1, 1, 28, 28) * 2 - 1
    distances = [
        float((features(images + scale * torch.randn_like(images)) - features(images)).square().sum())
        for scale in (0.0, 0.1, 0.5)
    ]
    assert distances[0] == 0
    assert distances[0] < distances[1] < distances[2]


def test_features_follow_the_layers_of_the_extractor() -> None:
    """Their distance is the sum of the LPIPS distances of its strided layers."""
    one, other = torch.rand(2, 1, 28, 28) * 2 - 1
    maps = FeatureMaps("cnn-fashion")
    layers = [x for x, stride in zip(maps(torch.stack([one, other])), maps.strides, strict=True) if stride > 1]
    expected = sum(float(perceptual_distance([x[:1]], [x[1:]])) for x in layers)
    features = PerceptualFeatures("cnn-fashion")(torch.stack([one, other]))
    assert float((features[0] - features[1]).square().sum()) == pytest.approx(expected, rel=1e-4)


def test_the_command_writes_latents_and_a_sheet(cli, tmp_path: Path) -> None:
    Image.fromarray(picture(FAST)[..., 0]).save(tmp_path / "a.png")
    Image.new("RGB", (40, 50), "white").save(tmp_path / "b.jpg")
    out, sheet = tmp_path / "found.npz", tmp_path / "way.png"
    words = ["--starts", 2, "--steps", 3, "--out", out, "--sheet", sheet]
    outcome = cli("project", FAST, tmp_path / "a.png", tmp_path / "b.jpg", *words)
    assert outcome.code == 0
    assert f"{tmp_path / 'a.png'}: PSNR " in outcome.out
    assert "Pictures of 40x50 are cut to their middle square and resized to 28x28." in outcome.err
    with np.load(out, allow_pickle=False) as arrays:
        assert set(arrays) == {"latents", "psnr", "model", "digest", "own_psnr", "real_psnr"}
        assert arrays["latents"].shape == (2, 100)
        psnr = arrays["psnr"]
    with Image.open(sheet) as image:
        assert image.height == 2 * (2 * 30 + 2)
    made = tmp_path / "made.npz"
    assert cli("generate", FAST, "--latents", out, "--out", made).code == 0
    target = picture(FAST).astype(float)
    error = np.square(np.load(made)["images"][0] - target).mean()
    assert 10 * np.log10(255**2 / error) == pytest.approx(psnr[0], abs=0.1)
    walk = tmp_path / "walk.png"
    assert cli("interpolate", FAST, "--latents", out, "--steps", 3, "--out", walk).code == 0
    assert cli("verify", walk).code == 0
    broken = cli("project", FAST, sheet.with_suffix(".txt"), "--out", out)
    assert (broken.code, broken.err.startswith("Error: ")) == (1, True)


def test_the_measured_psnr_belongs_to_bundled_checkpoints() -> None:
    for name, known in read_known().items():
        assert known.digest == Generator.from_pretrained(name, device="cpu").digest
        assert known.generated > 30
