"""Training of translators: each recipe trains, resumes to the same weights and exports; losses against closed forms."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from gan_serve import Translator
from gan_serve.errors import InvalidOption, RunError
from gan_serve.exports.export_translator import evaluate_trained, export_translator
from gan_serve.training.evaluation.feature_maps import FeatureMaps
from gan_serve.training.losses import LOSSES
from gan_serve.training.monitoring.curves import write_curves
from gan_serve.training.run_folders import last_run
from gan_serve.training.snapshots import load_snapshot, snapshots
from gan_serve.training.translation.diagnosis import TranslationDiagnosis
from gan_serve.training.translation.discriminators import ImageDiscriminator, PatchDiscriminator
from gan_serve.training.translation.load import load_trained_translator
from gan_serve.training.translation.losses import PIXEL_LOSSES, perceptual_distance
from gan_serve.training.translation.measure import ssim, translate_images
from gan_serve.training.translation.networks import ResNetTranslator, SRResNet, UNet
from gan_serve.training.translation.pool import ImagePool
from gan_serve.training.translation.settings import make_translation_config
from gan_serve.training.translation.step import TranslationTraining
from gan_serve.training.translation.train import resumed_config, train_translator

COMMON = {
    "resolution": 16, "kimg": 0.064, "kimg_per_tick": 0.032, "batch_size": 8, "ngf": 4, "ndf": 4, "threads": 1,
    "device": "cpu", "ticks_per_evaluation": 1, "bf16": False,
}  # fmt: skip
RECIPES: dict[str, dict[str, Any]] = {
    "srgan": {"blocks": 1, "scale": 2, "pixel_kimg": 0.032, "d_layers": 2},
    "pix2pix": {"pairs": "edges"},
    "cyclegan": {"blocks": 1, "domain_a": "a", "domain_b": "b", "pool": 10, "kimg_per_tick": 0.016},
}


@pytest.fixture(scope="module")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """40 pictures of 16x16 pixels, discs (a) and squares (b) of two colours, as an npz with labels."""
    random, (rows, columns) = np.random.RandomState(0), np.mgrid[:16, :16]
    images = np.empty((40, 16, 16, 3), np.uint8)
    for number, image in enumerate(images):
        image[:] = random.randint(0, 256, 3)
        far = np.abs(rows - 8) + np.abs(columns - 8) if number % 2 else np.hypot(rows - 8, columns - 8)
        image[far < random.randint(4, 8)] = random.randint(0, 256, 3)
    path = tmp_path_factory.mktemp("shapes") / "shapes.npz"
    np.savez(path, images=images, labels=np.arange(40) % 2, class_names=np.array(["a", "b"]))
    return path


def config(recipe: str, data: Path, **changes: Any) -> Any:
    return make_translation_config(recipe, {"data": str(data)} | COMMON | RECIPES[recipe] | changes)


@pytest.fixture(scope="module", params=RECIPES)
def trained(request: pytest.FixtureRequest, shapes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that was not interrupted."""
    run_dir = tmp_path_factory.mktemp(request.param) / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("gan_serve.training.translation.recorder.write_curves", write_curves)
        train_translator(config(request.param, shapes), run_dir, quiet=True)
    return run_dir


def of_one(every_day: str) -> list[Any]:
    """Return the recipes as parameters, one of which runs every day."""
    return [pytest.param(name, marks=() if name == every_day else pytest.mark.slow) for name in RECIPES]


def equal(one: Any, other: Any) -> bool:
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(equal(one[key], other[key]) for key in one)
    return all(map(equal, one, other)) if isinstance(one, list) else bool(one == other)


@pytest.mark.parametrize("trained", of_one("cyclegan"), indirect=True)  # with pools and two of each network
def test_an_interrupted_run_resumes_to_the_same_state(trained: Path, shapes: Path, tmp_path: Path) -> None:
    recipe = json.loads((trained / "config.json").read_text())["recipe"]
    run_dir = tmp_path / "run"
    train_translator(config(recipe, shapes), run_dir, quiet=True)
    for path in snapshots(run_dir)[1:]:
        path.unlink()
    assert load_snapshot(snapshots(run_dir)[-1])["shown"] < load_snapshot(snapshots(trained)[-1])["shown"]
    train_translator(resumed_config(run_dir, {}), run_dir, resume=True, quiet=True)
    ours, whole = (load_snapshot(snapshots(each)[-1]) for each in (run_dir, trained))
    del ours["seconds"], whole["seconds"]
    assert equal(ours, whole)
    with pytest.raises(RunError, match="another ngf"):
        resumed_config(run_dir, {"ngf": 8})
    with pytest.raises(RunError, match="already has a run"):
        train_translator(config(recipe, shapes), run_dir, quiet=True)


def test_a_run_has_a_log_grids_and_curves(trained: Path) -> None:
    records = [json.loads(line) for line in (trained / "log.jsonl").read_text().splitlines()]
    assert records[-1]["kimg"] == 0.064
    assert math.isfinite(records[-1]["g_loss"])
    assert math.isfinite(records[-1]["d_loss"])
    assert (trained / "curves.png").is_file()
    assert len(list((trained / "grids").glob("*.png"))) == len(records)
    if "g_pixel" in records[-1]:
        assert records[-1]["quality"] == records[-1]["perceptual"]
        assert 5 < records[-1]["psnr"] < 60


@pytest.mark.parametrize("trained", of_one("srgan"), indirect=True)  # of any size, and larger than its input
def test_an_exported_run_translates_as_torch_does(trained: Path, tmp_path: Path) -> None:
    out = export_translator(trained, tmp_path / "model", precisions=["fp32"])
    translator, run = Translator.from_pretrained(out), load_trained_translator(trained)
    inputs = np.random.RandomState(0).randint(0, 256, (5, *translator.config.golden_sample.input_pixels().shape))
    inputs = inputs.astype(np.uint8)
    outputs = translator.translate(inputs, output="numpy")
    assert np.abs(outputs.astype(int) - translate_images(run.network, inputs)).max() <= 1
    assert np.array_equal(translator.translate(inputs[3], output="numpy")[0], outputs[3])
    card, metrics = (out / "README.md").read_text(), json.loads((out / "metrics.json").read_text())
    assert "gan-serve translate model" in card
    assert run.config.recipe in card
    assert metrics == evaluate_trained(run)[0]
    assert json.loads((out / "parity.json").read_text())["batch_invariant"]
    if run.config.scale == 2:
        assert translator.any_size
        assert translator.translate(inputs[0, :5, :7])[0].size == (14, 10)


@pytest.mark.parametrize("trained", ["cyclegan"], indirect=True)
def test_the_way_back_of_a_cyclegan_is_exported(trained: Path, tmp_path: Path) -> None:
    run = load_trained_translator(trained)
    out = export_translator(trained, tmp_path / "back", precisions=["fp32"], back=True)
    inputs = np.random.RandomState(0).randint(0, 256, (3, 16, 16, 3)).astype(np.uint8)
    outputs = Translator.from_pretrained(out).translate(inputs, output="numpy")
    assert np.abs(outputs.astype(int) - translate_images(run.back, inputs)).max() <= 1
    assert np.abs(outputs.astype(int) - translate_images(run.network, inputs)).max() > 1
    metrics = json.loads((out / "metrics.json").read_text())
    assert metrics == evaluate_trained(run.way_back())[0]
    assert metrics != evaluate_trained(run)[0]
    card = " ".join((out / "README.md").read_text().split())
    assert "inputs are a, targets b. This is the way back" in card
    assert "direction" not in card


@pytest.mark.parametrize("trained", ["pix2pix"], indirect=True)
def test_a_run_with_pairs_has_no_way_back(trained: Path, tmp_path: Path) -> None:
    with pytest.raises(RunError, match="no way back"):
        export_translator(trained, tmp_path / "back", back=True)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("recipe", "changes", "message"),
    [
        ("srgan", {"scale": 3}, "scale"),
        ("srgan", {"family": "unet"}, "gives images of the size of its input"),
        ("srgan", {"resolution": 20, "scale": 8}, "cannot be downscaled by 8"),
        ("pix2pix", {"pairs": "unpaired"}, "cycle_weight"),
        ("pix2pix", {"pool": 5}, "without pairs"),
        ("cyclegan", {"pixel_weight": 1}, "need pairs"),
        ("cyclegan", {"domain_b": None}, "go together"),
        ("pix2pix", {"accumulate": 2}, "not trained with accumulate"),
        ("pix2pix", {"g_beta2_end": 0.9}, "not trained with g_beta2_end"),
        ("pix2pix", {"loss": "relativistic"}, "relativistic"),
        ("pix2pix", {"loss": "wasserstein"}, "needs a gradient penalty or clipped weights"),
        ("pix2pix", {"nfg": 3}, "no setting 'nfg'"),
        ("pix2pix", {"gan_weight": 0, "pixel_weight": 0}, "weight 0"),
    ],
)
def test_settings_that_do_not_fit_are_refused(recipe: str, changes: dict[str, Any], message: str, shapes: Path) -> None:
    with pytest.raises(InvalidOption, match=message):
        config(recipe, shapes, **changes)


def test_pixel_losses_against_closed_forms() -> None:
    x, y = torch.zeros(2, 3, 4, 4), torch.full((2, 3, 4, 4), 0.5)
    assert PIXEL_LOSSES["l1"](x, y).item() == 0.5
    assert PIXEL_LOSSES["l2"](x, y).item() == 0.25
    # A discriminator that says 0 everywhere: least squares, a half each of ½ (0 - 1)² and 0; patches count alike.
    logits = torch.zeros(2 * 9)
    assert LOSSES["lsgan"].generator(logits).item() == 0.5
    assert LOSSES["non-saturating"].generator(logits).item() == pytest.approx(math.log(2))


def test_the_perceptual_distance_against_closed_forms() -> None:
    e1, e2 = torch.zeros(1, 2, 3, 3), torch.zeros(1, 2, 3, 3)
    e1[:, 0], e2[:, 1] = 5.0, 0.3
    assert perceptual_distance([e1], [7 * e1]).item() == pytest.approx(0, abs=1e-6)  # only directions count
    assert perceptual_distance([e1], [e2]).item() == pytest.approx(2, abs=1e-5)  # |(1, 0) - (0, 1)|²
    assert perceptual_distance([e1, e1], [e2, e1]).item() == pytest.approx(1, abs=1e-5)  # the mean over layers
    zero = torch.zeros_like(e1, requires_grad=True)
    perceptual_distance([zero], [e1]).sum().backward()
    assert torch.isfinite(zero.grad).all()


def test_feature_maps_are_those_of_the_extractor() -> None:
    from gan_serve.training.evaluation.extractor_registry import find_extractor

    images = np.random.RandomState(0).randint(0, 256, (3, 28, 28, 1)).astype(np.uint8)
    maps = FeatureMaps("cnn-fashion")(torch.tensor(images).permute(0, 3, 1, 2).float() / 127.5 - 1)
    features = find_extractor("cnn-fashion")(images).features
    assert np.abs(maps[-1].mean(dim=(2, 3)).numpy() - features).max() < 1e-4
    assert len(FeatureMaps("cnn-fashion")(torch.zeros(1, 3, 40, 24))) == len(maps)  # colour, another size


@pytest.mark.parametrize("name", ["inception", "cnn-fasion"])
def test_feature_maps_of_other_networks_are_refused(name) -> None:
    with pytest.raises(InvalidOption, match=f"There is no extractor of features '{name}'"):
        FeatureMaps(name)


def test_ssim_against_torchmetrics() -> None:
    from torchmetrics.functional.image import structural_similarity_index_measure as reference

    random = np.random.RandomState(0)
    images = random.randint(0, 256, (4, 32, 40, 1)).astype(np.uint8)
    noisy = np.clip(images + random.randint(-40, 40, images.shape), 0, 255).astype(np.uint8)
    ours = ssim(noisy, images)
    arrays = (torch.tensor(each).permute(0, 3, 1, 2).double() for each in (noisy, images))
    theirs = reference(*arrays, gaussian_kernel=True, sigma=1.5, data_range=255.0, reduction="none")
    assert np.abs(ours - theirs.numpy()).max() < 0.02  # it pads, and then leaves out the border
    assert ssim(images, images).tolist() == [1.0] * 4


def test_a_pool_returns_earlier_images_half_of_the_time() -> None:
    pool = ImagePool(4)
    first = torch.arange(4.0).view(4, 1, 1, 1)
    assert torch.equal(pool.swap(first, torch.zeros(4, 2)), first)  # it fills
    new = torch.full((2, 1, 1, 1), 9.0)
    seen = pool.swap(new, torch.tensor([[0.2, 0.30], [0.9, 0.0]]))
    assert seen.flatten().tolist() == [1.0, 9.0]  # place 0.3 of four is the second
    assert pool.images is not None
    assert pool.images.flatten().tolist() == [0.0, 9.0, 2.0, 3.0]
    assert torch.equal(ImagePool(0).swap(new, torch.zeros(2, 2)), new)


def test_networks_give_images_of_the_right_size() -> None:
    x = torch.zeros(2, 1, 16, 16)
    shape = {"in_channels": 1, "img_channels": 3, "in_resolution": 16, "ngf": 4}
    assert UNet(**shape)(x).shape == (2, 3, 16, 16)
    assert UNet(**shape, upsample="nearest")(x).shape == (2, 3, 16, 16)
    assert UNet(**shape, full_size_channels=2)(x).shape == (2, 3, 16, 16)
    assert ResNetTranslator(**shape, blocks=1)(x).shape == (2, 3, 16, 16)
    for scale in (1, 2, 4, 8):
        assert SRResNet(**shape, scale=scale, blocks=1)(x).shape == (2, 3, 16 * scale, 16 * scale)
    assert PatchDiscriminator(channels=3, ndf=4, layers=2)(torch.zeros(2, 3, 64, 64)).shape == (2 * 14 * 14,)
    assert ImageDiscriminator(channels=3, ndf=4)(torch.zeros(2, 3, 64, 64)).shape == (2,)
    with pytest.raises(InvalidOption, match="multiple of 4"):
        UNet(**(shape | {"in_resolution": 6}))


def test_the_last_layer_of_a_u_net_sees_the_input_where_it_is_at_the_full_size() -> None:
    torch.manual_seed(0)
    network = UNet(in_channels=1, img_channels=3, in_resolution=16, ngf=4, full_size_channels=2).eval()
    x = torch.rand(1, 1, 16, 16)
    before = network(x)
    for parameter in network.down.parameters():  # nothing of the input passes the halved sizes
        torch.nn.init.zeros_(parameter)
    assert not torch.equal(before, network(x))
    assert not torch.equal(network(x), network(x.flip(3)))


def test_an_output_depends_on_no_pixel_beyond_the_reach() -> None:
    torch.manual_seed(0)
    network = SRResNet(in_channels=1, img_channels=1, in_resolution=16, scale=4, ngf=3, blocks=2).eval()
    x = torch.rand(1, 1, 1, 101, requires_grad=True)
    for column in range(4 * 50, 4 * 51):
        x.grad = None
        network(x)[0, 0, 0, column].backward()
        assert x.grad is not None
        seen = x.grad[0, 0, 0].nonzero().flatten()
        assert 50 - network.reach <= int(seen.min())
        assert int(seen.max()) <= 50 + network.reach


def test_the_first_phase_has_the_pixel_loss_alone(shapes: Path) -> None:
    run = config("srgan", shapes).model_copy(update={"features": "cnn-fashion"})
    training = TranslationTraining.start(run, torch.device("cpu"), in_channels=3, img_channels=3)
    assert not training.adversarial
    training.shown = 32
    assert training.adversarial


@pytest.mark.parametrize(
    ("record", "sign"),
    [
        ({"moved": 0.02}, "identity-mapping"),
        ({"diversity": 3.0, "g_cycle": 0.01}, "cycle-collapse"),
        ({"checkerboard": 9.0}, "checkerboard"),
    ],
)
def test_the_doctor_names_what_is_wrong(record: dict[str, float], sign: str) -> None:
    settings = make_translation_config("cyclegan", {"data": "photos"}).model_dump()
    doctor = TranslationDiagnosis(50.0, wasserstein=False, settings=settings)
    fine = {"moved": 0.9, "diversity": 45.0, "checkerboard": 1.0}
    times = [{"kimg": 100.0 * tick, "seconds": 1000.0 * tick} for tick in range(1, 12)]
    found = [finding for time in times[:6] for finding in doctor.examine(fine | record | time)]
    assert [finding.sign for finding in found] == [sign]
    passed = [finding for time in times[6:] for finding in doctor.examine(fine | time)]
    assert [str(finding) for finding in passed] == [f"{sign}: has passed."]


def test_the_command_trains_resumes_and_shows_recipes(
    shapes: Path, tmp_path: Path, cli: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = [word for key, value in (COMMON | RECIPES["srgan"]).items() if key != "kimg" for word in
                ("--set", f"{key}={str(value).lower()}")]  # fmt: skip
    run_dir = tmp_path / "run"
    words = ["train", "--recipe", "srgan", "--data", shapes, "--run-dir", run_dir, "--quiet", *settings]
    assert cli(*words, "--kimg", 0.032).code == 0
    assert cli("train", "--run-dir", run_dir, "--resume", "--kimg", 0.064, "--quiet").code == 0
    assert load_snapshot(snapshots(run_dir)[-1])["shown"] == 64
    refused = cli(*words, "--minutes", 1)
    assert refused.code == 1
    assert "--minutes is not for translators" in refused.err
    refused = cli("train", "--run-dir", run_dir, "--resume", "--set", "ngf=8", "--quiet")
    assert refused.code == 1
    assert "another ngf" in refused.err
    monkeypatch.chdir(tmp_path)
    assert cli(*words[:5], *settings, "--quiet", "--kimg", 0.032).code == 0  # in runs/
    again = cli("train", "--resume", "--kimg", 0.064)
    assert again.code == 0, again.err
    assert f"Resuming the last run: {last_run()}" in again.out
    shown = cli("recipes", "pix2pix", "--set", "ngf=4")
    assert "ngf = 4" in shown.out
    assert "down.0.0" in shown.out
    assert "cyclegan: CycleGAN" in cli("recipes").out
