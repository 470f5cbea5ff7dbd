"""The recipes of the Keras lessons beside the lessons' layers in Keras itself: the same parameters, outputs and loss.

Keras 3 runs on torch. The layers are written from the lessons' layer lists (docs/lessons.md). Keras pads a 5x5
convolution of stride 2 by 1 above and 2 below, ours by 2 and 1: the mirror image. So kernels and images of
``lesson-mnist-dcgan`` are turned by 180 degrees on the way.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from keras_generators import import_keras
from torch import nn

from gan_serve.training.build import build_networks
from gan_serve.training.config import make_config
from gan_serve.training.distributed import Processes
from gan_serve.training.losses import Targets, clip_probabilities, discriminator_bce

N = 4  # images that are compared
WIDE, EVEN = (512, 256, 128, 64), (128, 128, 128, 64)


@pytest.fixture(scope="module")
def keras() -> Any:
    return import_keras()


def mnist_generator(keras: Any) -> Any:
    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input((100,)),
            layers.Dense(7 * 7 * 256, use_bias=False),
            *(layers.BatchNormalization(), layers.LeakyReLU(0.2), layers.Reshape((7, 7, 256))),
            layers.Conv2DTranspose(128, 5, padding="same", use_bias=False),
            *(layers.BatchNormalization(), layers.LeakyReLU(0.2)),
            layers.Conv2DTranspose(64, 5, strides=2, padding="same", use_bias=False),
            *(layers.BatchNormalization(), layers.LeakyReLU(0.2)),
            layers.Conv2DTranspose(1, 5, strides=2, padding="same", use_bias=False, activation="tanh"),
        ]
    )


def mnist_discriminator(keras: Any) -> Any:
    layers = keras.layers
    stack = [keras.Input((28, 28, 1))]
    for channels in (64, 128):
        stack += [layers.Conv2D(channels, 5, strides=2, padding="same"), layers.LeakyReLU(0.2), layers.Dropout(0.3)]
    return keras.Sequential([*stack, layers.Flatten(), layers.Dense(1)])


def generator(keras: Any, inputs: int, channels: tuple[int, ...], image: int, *, upsampling: bool = False) -> Any:
    """Four blocks and an image of 64x64, with a bias in the last layer unless it is gray and transposed."""
    layers = keras.layers

    def grow(out: int, *, bias: bool, activation: str | None = None) -> list[Any]:
        if upsampling:
            return [layers.UpSampling2D(2), layers.Conv2D(out, 4, padding="same", activation=activation)]
        return [layers.Conv2DTranspose(out, 4, strides=2, padding="same", use_bias=bias, activation=activation)]

    stack = [keras.Input((inputs,)), layers.Reshape((1, 1, inputs))]
    stack.append(layers.Conv2DTranspose(channels[0], 4, padding="valid", use_bias=False))
    for out in (*channels[1:], None):
        stack += [layers.BatchNormalization(momentum=0.9), layers.LeakyReLU(0.2)]
        stack += grow(out, bias=False) if out else grow(image, bias=image > 1, activation="tanh")
    return keras.Sequential(stack)


def critic(keras: Any, inputs: int, channels: tuple[int, ...], *, norm: bool) -> Any:
    """Four convolutions and one to a number; biases where there is no BatchNorm in the network."""
    layers = keras.layers
    stack = [keras.Input((64, 64, inputs))]
    for i, out in enumerate(channels):
        stack.append(layers.Conv2D(out, 4, strides=2, padding="same", use_bias=not norm))
        stack += [layers.BatchNormalization(momentum=0.9)] if norm and i else []
        stack.append(layers.LeakyReLU(0.2))
    return keras.Sequential([*stack, layers.Conv2D(1, 4, padding="valid", use_bias=not norm), layers.Flatten()])


LESSONS = {
    "lesson-mnist-dcgan": (mnist_generator, mnist_discriminator),
    "lesson-bricks-dcgan": (
        lambda keras: generator(keras, 100, WIDE, 1),
        lambda keras: critic(keras, 1, WIDE[::-1], norm=True),
    ),
    "lesson-bricks-upsample": (
        lambda keras: generator(keras, 100, WIDE, 1, upsampling=True),
        lambda keras: critic(keras, 1, WIDE[::-1], norm=True),
    ),
    "lesson-faces-wgan-gp": (
        lambda keras: generator(keras, 128, WIDE, 3),
        lambda keras: critic(keras, 3, WIDE[::-1], norm=False),
    ),
    "lesson-faces-cgan": (
        lambda keras: generator(keras, 34, EVEN, 3),
        lambda keras: critic(keras, 5, EVEN[::-1], norm=False),
    ),
}


def as_array(variable: Any) -> np.ndarray:
    return variable.value.detach().cpu().numpy()


def weights_in_torch(model: Any, *, turned: bool) -> Iterator[tuple[str, torch.Tensor]]:
    """Kind and value of each weight in the order of the layers, BatchNorm's averages among them."""
    for layer in model.layers:
        kind = type(layer).__name__
        if kind == "BatchNormalization":
            for part in (layer.gamma, layer.beta, layer.moving_mean, layer.moving_variance):
                yield kind, torch.tensor(as_array(part))
        elif layer.weights:
            for weight in layer.weights:
                value = torch.tensor(as_array(weight))
                if value.ndim == 4:  # [h, w, in, out], or [h, w, out, in] of a transposed one: torch's order reversed
                    value = value.permute(3, 2, 0, 1)
                    value = value.flip(2, 3) if turned else value
                yield kind, value


def in_our_order(model: Any, ours: dict[str, torch.Tensor], *, turned: bool) -> dict[str, torch.Tensor]:
    """Return the weights of a model by the names that ours have."""
    names = [name for name in ours if "num_batches" not in name]
    theirs = list(weights_in_torch(model, turned=turned))
    assert len(names) == len(theirs)
    found = {}
    for name, (kind, value) in zip(names, theirs, strict=True):
        if kind == "Dense" and value.shape[0] == 100:  # z -> 7x7 maps
            value = value.view(100, 7, 7, 256).flip(1, 2).permute(3, 1, 2, 0).reshape(-1, 100)
        elif kind == "Dense" and value.ndim == 2:  # 7x7 maps -> logit
            value = value.view(7, 7, 128).flip(0, 1).permute(2, 0, 1).reshape(1, -1)
        elif kind == "BatchNormalization" and len(value) == 7 * 7 * 256:
            value = value.view(7, 7, 256).flip(0, 1).permute(2, 0, 1).flatten()
        elif value.ndim == 4 and ours[name].ndim == 2:  # a convolution on one pixel is a dense layer of ours
            value = value.flatten(1).T if ours[name].shape[1] == value.shape[0] else value.flatten(1)
        found[name] = value
    return found


def randomise(model: Any) -> None:
    """Give every weight a value of its own, those that start at 0 or 1 too."""
    random = np.random.default_rng(0)
    for weight in model.weights:
        if weight.dtype == "float32":
            noise = 0.1 * random.standard_normal(weight.shape) / max(1, np.prod(weight.shape[:-1])) ** 0.25
            moved = as_array(weight) + noise
            weight.assign(np.abs(moved) if "variance" in weight.path else moved)


@pytest.mark.parametrize("recipe", LESSONS)
def test_a_keras_lesson_has_equal_parameters_and_outputs_with_copied_weights(recipe, keras):
    """Both networks in inference mode; the generator in training mode too, with the averages that it then has."""
    turned, c_dim = recipe == "lesson-mnist-dcgan", 2 if recipe == "lesson-faces-cgan" else 0
    pair = build_networks(make_config(recipe, {"data": "x"}), torch.device("cpu"), c_dim=c_dim, processes=Processes())
    random = np.random.default_rng(1)
    for is_generator, ours, build in zip((True, False), pair, LESSONS[recipe], strict=True):
        model = build(keras)
        randomise(model)
        own = sum(weight.numel() for weight in ours.parameters())
        assert own == sum(math.prod(weight.shape) for weight in model.trainable_weights)
        body = ours.layers if is_generator else nn.Sequential(ours.body, ours.logit)
        body.load_state_dict(in_our_order(model, body.state_dict(), turned=turned), strict=False)
        x = random.standard_normal((N, *model.input_shape[1:])).astype(np.float32)
        for training in (False, True) if is_generator else (False,):
            with torch.no_grad():
                expected = model(torch.tensor(x), training=training)
                found = body.train(training)(as_ours(torch.tensor(x), turned))
            assert expected.std() > 0.01
            torch.testing.assert_close(as_ours(expected, turned), found, rtol=1e-4, atol=1e-5)
        for name, value in in_our_order(model, body.state_dict(), turned=turned).items():
            # torch's average of the variance is of the unbiased one, of N values at least
            bound = 2 / N if name.endswith("var") else 1e-5
            torch.testing.assert_close(body.state_dict()[name], value, rtol=bound, atol=1e-5)


def as_ours(x: torch.Tensor, turned: bool) -> torch.Tensor:
    """Return images [N, H, W, C] as [N, C, H, W], upside down if ``turned``; others are unchanged."""
    if x.ndim != 4:
        return x
    return (x.flip(1, 2) if turned else x).permute(0, 3, 1, 2)


@pytest.mark.parametrize("target", [0.0, 0.3, 1.0])  # Keras on torch refuses those outside; test_losses.py has them
def test_the_loss_of_the_brick_lessons_is_that_of_keras(target, keras):
    """Keras clips the probabilities that it is given."""
    eps = make_config("lesson-bricks-dcgan", {"data": "x"}).bce_eps
    logits = torch.tensor([-40.0, -9.0, 0.0, 2.0, 9.0, 40.0])
    targets = torch.full((6,), target)
    expected = keras.losses.BinaryCrossentropy()(targets[:, None], torch.sigmoid(logits)[:, None])
    clipped = clip_probabilities(logits, eps)
    found = discriminator_bce(clipped, clipped, Targets(targets, targets))
    torch.testing.assert_close(found, expected, rtol=1e-2, atol=1e-5)  # 1 - 1e-7 is 1 - 1.19e-7 in float32
