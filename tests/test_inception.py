"""Inception features: fetched once from a real server on loopback, checked, and computed by a real TorchScript network.

The published network has 96 MB: a small one of the same interface takes its place, except where a machine has it.
"""

import functools
import hashlib
import io
import warnings
from dataclasses import replace
from http.server import SimpleHTTPRequestHandler

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from loopback import serving
from torch import Tensor, nn

from gan_serve.errors import DataError, InvalidOption
from gan_serve.training.evaluation.inception import INCEPTION, Inception, PinnedNetwork, features_home

rng = np.random.default_rng(0)
DOWN = "http://127.0.0.1:9/inception-2015-12-05.pt"  # the discard port: nothing listens


class Small(nn.Module):
    """A network with the interface of the published one, with 8 features for 2048 and 5 classes for 1008."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(3, 8, 5, stride=2, bias=False), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(1)
        )
        self.output = nn.Linear(8, 5)

    def forward(
        self, img: Tensor, return_features: bool = False, use_fp16: bool = False, no_output_bias: bool = False
    ) -> Tensor:
        x = F.interpolate(img.to(torch.float32), size=[31, 31], mode="bilinear", align_corners=False)
        features = self.layers((x - 127.5) / 127.5).flatten(1)
        if return_features:
            return features
        bias = None if no_output_bias else self.output.bias
        return F.linear(features, self.output.weight, bias).softmax(dim=1)


@pytest.fixture(scope="module")
def network():
    """In eval mode, with statistics that training would have left."""
    torch.manual_seed(0)
    module = Small()
    module.train()(torch.from_numpy(rng.integers(0, 256, (16, 3, 40, 40), np.uint8)))
    return module.eval()


@pytest.fixture(scope="module")
def content(network):
    """The network as a TorchScript file; saved in train mode, for a loader that forgets eval() to show."""
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"`torch\.jit\.(script|save)` is", DeprecationWarning)
        script = torch.jit.script(network)
        torch.jit.save(script.train(), buffer)
    network.eval()
    return buffer.getvalue()


@pytest.fixture
def publish(tmp_path):
    """Serve a file, and count how often it was asked for."""
    folder = tmp_path / "published"
    folder.mkdir()
    asked = []

    class Counting(SimpleHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            super().do_GET()

        def log_message(self, *_):
            pass

    with serving(functools.partial(Counting, directory=folder)) as address:

        def publish(content, sha256=None):
            (folder / INCEPTION.file).write_bytes(content)
            sha256 = sha256 or hashlib.sha256(content).hexdigest()
            return PinnedNetwork(INCEPTION.file, f"{address}/{INCEPTION.file}", sha256), asked

        yield publish


@pytest.fixture
def placed(tmp_path, content):
    """The small network where a user would put it by hand, with no network to fetch it from: (pinned, home)."""
    (tmp_path / INCEPTION.file).write_bytes(content)
    return PinnedNetwork(INCEPTION.file, DOWN, hashlib.sha256(content).hexdigest()), tmp_path


def test_it_is_fetched_once_and_works_offline_from_then_on(tmp_path, publish, content):
    pinned, asked = publish(content)
    home = tmp_path / "cache" / "features"
    images = rng.integers(0, 256, (3, 16, 16, 3), np.uint8)
    first = Inception(pinned, home)
    assert asked == [f"/{INCEPTION.file}"]
    assert [path.name for path in home.iterdir()] == [INCEPTION.file]
    assert (first.name, first.class_names) == ("inception", ())
    assert first.digest == f"sha256:{hashlib.sha256(content).hexdigest()}"
    again = Inception(replace(pinned, url=DOWN), home)
    np.testing.assert_array_equal(first(images).features, again(images).features)
    assert len(asked) == 1


def test_another_file_than_the_published_one_is_refused_and_not_kept(tmp_path, publish, content):
    pinned, _ = publish(content, sha256="0" * 64)
    home = tmp_path / "features"
    with pytest.raises(DataError, match="is not the published one") as error:
        Inception(pinned, home)
    assert list(home.iterdir()) == []
    assert str(home) in error.value.hint


def test_a_file_that_changed_on_disk_is_refused_at_the_next_load(placed):
    pinned, home = placed
    Inception(pinned, home)
    damaged = bytearray((home / INCEPTION.file).read_bytes())
    damaged[len(damaged) // 2] ^= 1
    (home / INCEPTION.file).write_bytes(damaged)
    with pytest.raises(DataError, match=r"inception-2015-12-05\.pt is not the published file") as error:
        Inception(pinned, home)
    assert "Remove it" in error.value.hint
    assert (home / INCEPTION.file).read_bytes() == damaged, "what a user put there is the user's"


def test_without_a_network_the_error_says_which_file_to_put_where(tmp_path):
    with pytest.raises(DataError, match=r"not on this machine .*ConnectionError") as error:
        Inception(replace(INCEPTION, url=DOWN), tmp_path / "features")
    for needed in (INCEPTION.file, INCEPTION.sha256, str(tmp_path / "features"), "small extractors"):
        assert needed in error.value.hint


def test_the_file_is_looked_for_beside_the_data_sets(monkeypatch, tmp_path, content):
    monkeypatch.setenv("GAN_SERVE_DATA", str(tmp_path))
    (tmp_path / "features").mkdir()
    (tmp_path / "features" / INCEPTION.file).write_bytes(content)
    pinned = PinnedNetwork(INCEPTION.file, DOWN, hashlib.sha256(content).hexdigest())
    assert Inception(pinned)(np.zeros((1, 8, 8, 1), np.uint8)).features.shape == (1, 8)


def test_a_published_file_that_torch_cannot_read_is_an_error_of_ours(tmp_path, publish):
    pinned, _ = publish(b"PK\3\4 some later format")
    with pytest.raises(DataError, match=f"torch {torch.__version__.partition('+')[0]}.* cannot read"):
        Inception(pinned, tmp_path / "features")


def test_features_and_logits_are_those_of_the_network(placed, network):
    images = rng.integers(0, 256, (7, 20, 24, 3), np.uint8)
    found = Inception(*placed)(images)
    pixels = torch.from_numpy(images).permute(0, 3, 1, 2)
    with torch.no_grad():
        features, probabilities = network(pixels, return_features=True), network(pixels, no_output_bias=True)
    assert (found.features.dtype, found.logits.dtype) == (np.float32, np.float32)
    np.testing.assert_allclose(found.features, features, atol=1e-5)
    np.testing.assert_allclose(torch.from_numpy(found.logits).softmax(1), probabilities, atol=1e-6)
    assert features.std() > 0.01


@pytest.mark.parametrize("batch_size", [1, 3, 100])
def test_features_do_not_depend_on_the_batch_size(placed, batch_size):
    images = rng.integers(0, 256, (53, 12, 12, 3), np.uint8)
    usual, other = Inception(*placed)(images), Inception(*placed, batch_size=batch_size)(images)
    np.testing.assert_allclose(usual.features, other.features, atol=1e-4)
    np.testing.assert_allclose(usual.logits, other.logits, atol=1e-4)


def test_gray_images_are_repeated_to_three_channels(placed):
    gray = rng.integers(0, 256, (4, 28, 28, 1), np.uint8)
    extractor = Inception(*placed)
    np.testing.assert_array_equal(extractor(gray).features, extractor(gray.repeat(3, axis=3)).features)


def test_views_and_no_images_at_all(placed):
    extractor = Inception(*placed)
    images = rng.integers(0, 256, (6, 16, 16, 3), np.uint8)
    np.testing.assert_array_equal(extractor(images[::-2]).features, extractor(images[::-2].copy()).features)
    nothing = extractor(images[:0])
    assert (nothing.features.shape, nothing.logits.shape) == ((0, 8), (0, 5))


@pytest.mark.parametrize(
    "images", [np.zeros((2, 8, 8, 2), np.uint8), np.zeros((2, 8, 8), np.uint8), np.zeros((2, 8, 8, 3), np.float32)]
)
def test_what_is_no_images_is_refused(placed, images):
    with pytest.raises(InvalidOption, match="does not accept") as error:
        Inception(*placed)(images)
    assert "uint8 [N, H, W, C]" in error.value.hint


def test_a_batch_holds_an_image(placed):
    with pytest.raises(InvalidOption, match="batch size is 0"):
        Inception(*placed, batch_size=0)


def test_settings_of_torch_are_left_as_they_were(placed):
    before = torch.backends.cudnn.allow_tf32, torch.backends.cudnn.benchmark, torch.is_grad_enabled()
    Inception(*placed)(np.zeros((1, 8, 8, 3), np.uint8))
    assert (torch.backends.cudnn.allow_tf32, torch.backends.cudnn.benchmark, torch.is_grad_enabled()) == before


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_cuda_agrees_with_the_cpu(placed):
    images = rng.integers(0, 256, (20, 32, 32, 3), np.uint8)
    cpu, cuda = (Inception(*placed, device=torch.device(device))(images) for device in ("cpu", "cuda"))
    np.testing.assert_allclose(cuda.features, cpu.features, atol=1e-4)


def test_the_published_network():
    path = features_home() / INCEPTION.file
    if not path.is_file():
        pytest.skip(f"{path} is not there: it is 96 MB from {INCEPTION.url}")
    images = rng.integers(0, 256, (3, 32, 32, 3), np.uint8)
    extractor = Inception(device=torch.device("cpu"))
    found = extractor(images)
    assert (found.features.shape, found.logits.shape) == ((3, 2048), (3, 1008))
    np.testing.assert_allclose(
        Inception(device=torch.device("cpu"), batch_size=1)(images).features, found.features, atol=1e-4
    )
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore", DeprecationWarning)
        network = torch.jit.load(path).eval()
        probabilities = network(torch.from_numpy(images).permute(0, 3, 1, 2), no_output_bias=True)
    np.testing.assert_allclose(torch.from_numpy(found.logits).softmax(1), probabilities, atol=1e-5)
