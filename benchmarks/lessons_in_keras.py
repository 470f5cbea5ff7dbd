"""Compare the lessons in Keras with our networks: parameters, and outputs with the same weights.

    pip install keras
    KERAS_BACKEND=torch python benchmarks/lessons_in_keras.py

Keras is no dependency of this project. The layers are written from the lessons' layer lists (docs/lessons.md). Keras
pads a 5x5 convolution of stride 2 by 1 above and 2 below, ours by 2 and 1: the mirror image. So kernels and images of
``lesson-mnist-dcgan`` are turned by 180 degrees on the way.
"""

from __future__ import annotations

from collections.abc import Iterator

import keras
import numpy as np
import torch
from keras import layers
from torch import nn

from gan_serve.training.build import build_networks
from gan_serve.training.config import make_config
from gan_serve.training.distributed import Processes

N = 4  # images that are compared


def mnist_generator() -> keras.Model:
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


def mnist_discriminator() -> keras.Model:
    stack = [keras.Input((28, 28, 1))]
    for channels in (64, 128):
        stack += [layers.Conv2D(channels, 5, strides=2, padding="same"), layers.LeakyReLU(0.2), layers.Dropout(0.3)]
    return keras.Sequential([*stack, layers.Flatten(), layers.Dense(1)])


def generator(inputs: int, channels: tuple[int, ...], image: int, *, last_bias: bool, upsampling: bool) -> keras.Model:
    """Four blocks and an image of 64x64; with ``upsampling``, all but the first upsample and convolve."""

    def grow(out: int, *, bias: bool, activation: str | None = None) -> list[keras.Layer]:
        if upsampling:
            return [layers.UpSampling2D(2), layers.Conv2D(out, 4, padding="same", activation=activation)]
        return [layers.Conv2DTranspose(out, 4, strides=2, padding="same", use_bias=bias, activation=activation)]

    stack = [keras.Input((inputs,)), layers.Reshape((1, 1, inputs))]
    stack.append(layers.Conv2DTranspose(channels[0], 4, padding="valid", use_bias=False))
    for out in (*channels[1:], None):
        stack += [layers.BatchNormalization(momentum=0.9), layers.LeakyReLU(0.2)]
        stack += grow(out, bias=False) if out else grow(image, bias=last_bias, activation="tanh")
    return keras.Sequential(stack)


def critic(inputs: int, channels: tuple[int, ...], *, norm: bool) -> keras.Model:
    """Four convolutions and one to a number; biases where there is no BatchNorm in the network."""
    stack = [keras.Input((64, 64, inputs))]
    for i, out in enumerate(channels):
        stack.append(layers.Conv2D(out, 4, strides=2, padding="same", use_bias=not norm))
        stack += [layers.BatchNormalization(momentum=0.9)] if norm and i else []
        stack.append(layers.LeakyReLU(0.2))
    return keras.Sequential([*stack, layers.Conv2D(1, 4, padding="valid", use_bias=not norm), layers.Flatten()])


WIDE, EVEN = (512, 256, 128, 64), (128, 128, 128, 64)
LESSONS = {
    "lesson-mnist-dcgan": (mnist_generator, mnist_discriminator),
    "lesson-bricks-dcgan": (
        lambda: generator(100, WIDE, 1, last_bias=False, upsampling=False),
        lambda: critic(1, WIDE[::-1], norm=True),
    ),
    "lesson-bricks-upsample": (
        lambda: generator(100, WIDE, 1, last_bias=True, upsampling=True),
        lambda: critic(1, WIDE[::-1], norm=True),
    ),
    "lesson-faces-wgan-gp": (
        lambda: generator(128, WIDE, 3, last_bias=True, upsampling=False),
        lambda: critic(3, WIDE[::-1], norm=False),
    ),
    "lesson-faces-cgan": (
        lambda: generator(34, EVEN, 3, last_bias=True, upsampling=False),
        lambda: critic(5, EVEN[::-1], norm=False),
    ),
}


def weights_in_torch(model: keras.Model, *, turned: bool) -> Iterator[tuple[str, torch.Tensor]]:
    """Kind and value of each weight in the order of the layers, BatchNorm's averages among them."""
    for layer in model.layers:
        if isinstance(layer, layers.BatchNormalization):
            for part in (layer.gamma, layer.beta, layer.moving_mean, layer.moving_variance):
                yield "norm", torch.tensor(keras.ops.convert_to_numpy(part))
        elif layer.weights:
            for weight in layer.weights:
                value = torch.tensor(keras.ops.convert_to_numpy(weight))
                if value.ndim == 4:  # [h, w, in, out], or [h, w, out, in] of a transposed one: torch's order reversed
                    value = value.permute(3, 2, 0, 1)
                    value = value.flip(2, 3) if turned else value
                yield type(layer).__name__, value


def copy_weights(ours: nn.Module, model: keras.Model, *, turned: bool) -> None:
    own = [value for name, value in ours.state_dict().items() if "num_batches" not in name]
    theirs = list(weights_in_torch(model, turned=turned))
    assert len(own) == len(theirs)
    for target, (kind, value) in zip(own, theirs, strict=True):
        if kind == "Dense" and value.shape[0] == 100:  # z -> 7x7 maps
            value = value.view(100, 7, 7, 256).flip(1, 2).permute(3, 1, 2, 0).reshape(-1, 100)
        elif kind == "Dense" and value.ndim == 2:  # 7x7 maps -> logit
            value = value.view(7, 7, 128).flip(0, 1).permute(2, 0, 1).reshape(1, -1)
        elif kind == "norm" and len(value) == 7 * 7 * 256:
            value = value.view(7, 7, 256).flip(0, 1).permute(2, 0, 1).flatten()
        elif value.ndim == 4 and target.ndim == 2:
            value = value.flatten(1).T if target.shape[1] == value.shape[0] else value.flatten(1)
        target.copy_(value)


def randomise(model: keras.Model) -> None:
    """Give every weight a value of its own, those that start at 0 or 1 too."""
    rng = np.random.default_rng(0)
    for weight in model.weights:
        if weight.dtype == "float32":
            noise = 0.1 * rng.standard_normal(weight.shape) / max(1, np.prod(weight.shape[:-1])) ** 0.25
            weight.assign(
                np.abs(np.asarray(keras.ops.convert_to_numpy(weight)) + noise)
                if "variance" in weight.path
                else keras.ops.convert_to_numpy(weight) + noise
            )


def main() -> None:
    print("| recipe | network | parameters, Keras | ours | largest difference of an output |\n|---|---|---|---|---|")
    for recipe, builders in LESSONS.items():
        turned = recipe == "lesson-mnist-dcgan"
        c_dim = 2 if recipe == "lesson-faces-cgan" else 0
        config = make_config(recipe, {"data": "x"})
        pair = build_networks(config, torch.device("cpu"), c_dim=c_dim, processes=Processes())
        rng = np.random.default_rng(1)
        for kind, ours, build in zip(("generator", "discriminator"), pair, builders, strict=True):
            model = build()
            randomise(model)
            x = rng.standard_normal((N, *model.input_shape[1:])).astype(np.float32)
            expected = keras.ops.convert_to_numpy(model(x, training=False))
            body = ours.layers if kind == "generator" else nn.Sequential(ours.body, ours.logit)
            with torch.no_grad():
                copy_weights(ours, model, turned=turned)
                inputs = torch.tensor(x)
                if kind == "generator":
                    found = body.eval()(inputs).permute(0, 2, 3, 1)
                    found = found.flip(1, 2) if turned else found
                else:
                    inputs = inputs.flip(1, 2) if turned else inputs
                    found = body.eval()(inputs.permute(0, 3, 1, 2))
            count = sum(int(np.prod(weight.shape)) for weight in model.trainable_weights)
            own = sum(weight.numel() for weight in ours.parameters())
            difference = np.abs(expected - found.numpy()).max()
            print(f"| `{recipe}` | {kind} | {count:,} | {own:,} | {difference:.1e} of {np.abs(expected).max():.2g} |")


if __name__ == "__main__":
    main()
