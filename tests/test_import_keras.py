"""Keras generators: .keras and .h5, Sequential and functional, beside Keras 3 with its torch backend."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hub_server import DEPRECATED, WRITER
from keras_generators import conditional, import_keras, lesson
from servers import running
from torch import nn

from gan_serve import Generator
from gan_serve.checkpoint.files import verify_checkpoint
from gan_serve.errors import ImportRefused
from gan_serve.exports.imports.import_generator import import_generator
from gan_serve.exports.imports.keras_file import KerasLayer, read_keras
from gan_serve.exports.imports.keras_layers import build_layer
from gan_serve.exports.imports.keras_model import KerasGenerator, build_keras_generator
from gan_serve.exports.imports.options import ImportOptions
from gan_serve.sampling.latents import latents_from_seeds

pytestmark = [
    pytest.mark.usefixtures("fewer_images"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:keras"),  # of Keras, while it saves with NumPy 2
]


@pytest.fixture(scope="module")
def keras() -> Any:
    return import_keras()


@pytest.fixture(scope="module")
def saved(keras: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("keras")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name, model in (("lesson", lesson(keras)), ("conditional", conditional(keras))):
            for suffix in ("keras", "h5"):
                model.save(folder / f"{name}.{suffix}")
    return folder


def read(path: Path, **options: Any) -> KerasGenerator:
    return build_keras_generator(read_keras(path.read_bytes(), path.name), path.name, ImportOptions(**options))


def predicted(model: Any, *inputs: np.ndarray) -> np.ndarray:
    with torch.no_grad():
        return model([torch.from_numpy(each) for each in inputs] if len(inputs) > 1 else inputs[0]).numpy(force=True)


@pytest.mark.parametrize("suffix", ["keras", "h5"])
def test_a_sequential_model_computes_what_keras_does(keras, saved, suffix):
    z = latents_from_seeds(range(5), 10)
    expected = predicted(lesson(keras), z)
    found = read(saved / f"lesson.{suffix}")
    with torch.no_grad():
        images = found.module(torch.from_numpy(z)).permute(0, 2, 3, 1).numpy()
    assert (found.z_dim, found.class_names) == (10, ())
    assert images.shape == (5, 12, 12, 3)
    assert np.abs(images - expected).max() < 1e-4
    assert images.std() > 0.1


@pytest.mark.parametrize("suffix", ["keras", "h5"])
def test_a_functional_model_with_labels_computes_what_keras_does(keras, saved, suffix):
    z, c = latents_from_seeds(range(6), 6), np.arange(6) % 3
    expected = predicted(conditional(keras), z, c[:, None])
    found = read(saved / f"conditional.{suffix}", class_names=("a", "b", "c"))
    assert found.class_names == ("a", "b", "c")
    with torch.no_grad():
        images = found.module(torch.from_numpy(z), torch.from_numpy(c)).permute(0, 2, 3, 1).numpy()
    assert np.abs((images + 1) / 2 - expected).max() < 1e-4


@pytest.fixture(scope="module")
def imported(saved: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("out") / "lesson"
    return import_generator(saved / "lesson.keras", out, license="apache-2.0", precisions=["fp32"]).directory


def test_the_checkpoint_computes_what_keras_does(imported, keras):
    config = verify_checkpoint(imported)
    assert (config.img_resolution, config.img_channels, config.architecture.family) == (12, 3, "keras-model")
    images = Generator.from_pretrained(imported).generate(seeds="0-4", output="numpy")
    assert np.abs(images - (predicted(lesson(keras), latents_from_seeds(range(5), 10)) + 1) * 127.5).max() <= 1
    assert "Keras model `lesson.keras`" in (imported / "README.md").read_text()


@pytest.mark.slow  # every day in test_import_torch.py
@pytest.mark.filterwarnings(DEPRECATED)
def test_it_is_served_pushed_and_pulled(imported, hub, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", WRITER)
    Generator.from_pretrained(imported).push_to_hub("somebody/lesson")
    pulled = Generator.from_pretrained("somebody/lesson").generate(seed=3, output="numpy")
    assert (pulled == Generator.from_pretrained(imported).generate(seed=3, output="numpy")).all()
    with running([str(imported)], tmp_path) as client:
        response = client.post("/sample", json={"model": "lesson", "seed": 3})
        assert response.status_code == 200, response.text


@pytest.mark.parametrize(("kernel", "stride"), [(5, 2), (4, 2), (3, 2), (5, 1), (2, 2), (4, 1), (2, 3), (7, 3)])
def test_transposed_convolutions_are_the_gradient_of_convolutions(kernel, stride):
    """As TensorFlow and JAX define them, "same" padding with an odd number of rows among it."""
    random = np.random.RandomState(0)
    weight = random.standard_normal((kernel, kernel, 3, 4)).astype(np.float32)  # [H, W, out, in]
    config = {"strides": [stride, stride], "padding": "same", "use_bias": False, "data_format": "channels_last"}
    layer = KerasLayer("Conv2DTranspose", "it", config, ("z",), [weight])
    module, shape = build_layer(layer, [(6, 6, 4)])
    side = 6 * stride
    assert shape == (side, side, 3)
    total = max(kernel - stride, 0)
    pad = (total // 2, total - total // 2)

    def convolution(images: torch.Tensor) -> torch.Tensor:
        padded = nn.functional.pad(images, (*pad, *pad))
        return nn.functional.conv2d(padded, torch.from_numpy(weight).permute(3, 2, 0, 1), stride=stride)

    x = torch.randn(2, 4, 6, 6)
    expected = torch.autograd.functional.vjp(convolution, torch.zeros(2, 3, side, side), x)[1]
    with torch.no_grad():
        assert (module(x) - expected).abs().max() < 1e-4


@pytest.mark.parametrize("stride", [1, 2])
def test_a_5x5_transposed_convolution_is_cropped_as_tensorflow_does(stride):
    """TensorFlow 2.21 (keras 3.15) gives these rows and columns of the kernel for a single pixel of 1."""
    kernel = np.arange(25, dtype=np.float32).reshape(5, 5, 1, 1)
    config = {"strides": [stride, stride], "padding": "same", "use_bias": False}
    module, shape = build_layer(KerasLayer("Conv2DTranspose", "it", config, ("z",), [kernel]), [(1, 1, 1)])
    kept = {1: slice(2, 3), 2: slice(1, 3)}[stride]
    with torch.no_grad():
        assert np.array_equal(module(torch.ones(1, 1, 1, 1))[0, 0], kernel[kept, kept, 0, 0])
    assert shape == (stride, stride, 1)


@pytest.mark.parametrize("kind", ["lambda", "own", "lstm", "activation", "range"])
def test_what_is_not_read_is_named(keras, tmp_path, kind):
    layers = keras.layers

    @keras.saving.register_keras_serializable("Mine", f"Own{kind}")
    class Own(layers.Layer):
        def call(self, x: Any) -> Any:
            return x

    odd = {
        "lambda": (layers.Lambda(lambda x: x), "Lambda layer, which is Python code"),
        "own": (Own(), "a layer of the user's own"),
        "lstm": (layers.GaussianNoise(0.1), "is a GaussianNoise, which is not read. Layers that are read: Dense"),
        "activation": (layers.Activation("gelu"), "no activation 'gelu'"),
        "range": (layers.Activation("linear"), r"whose range is not limited. .*--range"),
    }
    layer, message = odd[kind]
    model = keras.Sequential([keras.Input((4,)), layers.Dense(16), layers.Reshape((4, 4, 1)), layer])
    model.save(tmp_path / "it.keras")
    with pytest.raises(ImportRefused, match=message):
        import_generator(tmp_path / "it.keras", tmp_path / "out", license="mit")
    assert not (tmp_path / "out").exists()
