"""Generators of Keras with random weights, as lessons write them; Keras runs on torch."""

from __future__ import annotations

import os
import warnings
from typing import Any

import numpy as np
import pytest


def import_keras() -> Any:
    """Keras 3 with its torch backend; the test is skipped without it."""
    os.environ["KERAS_BACKEND"] = "torch"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip("keras")


def randomised(model: Any, seed: int = 0) -> Any:
    """The model with weights and statistics that a new one does not have."""
    random = np.random.RandomState(seed)
    for variable in model.weights:
        values = random.standard_normal(variable.shape) * 0.4
        if "variance" in variable.path:
            values = np.abs(values) + 0.5
        if "gamma" in variable.path:
            values += 1
        variable.assign(values)
    return model


def lesson(keras: Any) -> Any:
    """A Sequential generator of the kinds of layers that lessons use: 12x12 RGB."""
    layers = keras.layers
    return randomised(
        keras.Sequential(
            [
                keras.Input((10,)),
                layers.Dense(3 * 3 * 16, use_bias=False),
                layers.BatchNormalization(),
                layers.LeakyReLU(),
                layers.Reshape((3, 3, 16)),
                layers.Conv2DTranspose(8, 5, padding="same", use_bias=False),
                layers.BatchNormalization(),
                layers.PReLU(shared_axes=[1, 2]),
                layers.Conv2DTranspose(8, 4, strides=2, padding="same"),
                layers.PReLU(),
                layers.Dropout(0.3),
                layers.UpSampling2D(),
                layers.Conv2D(6, 3, padding="same", activation="relu"),
                layers.BatchNormalization(scale=False, epsilon=0.01),
                layers.ReLU(),
                layers.Flatten(),
                layers.Reshape((12, 12, 6)),
                layers.Conv2D(3, 4, padding="same"),
                layers.Activation("tanh"),
            ]
        )
    )


def conditional(keras: Any) -> Any:
    """A functional generator with an embedded label, whose images are from 0 to 1: 4x4 gray."""
    layers = keras.layers
    noise, label = keras.Input((6,), name="noise"), keras.Input((1,), name="kind")
    embedded = layers.Flatten()(layers.Embedding(3, 6)(label))
    joined = layers.Concatenate()([layers.Multiply()([noise, embedded]), noise])
    x = layers.Reshape((2, 2, 4))(layers.Dense(16, activation="leaky_relu")(joined))
    images = layers.Conv2DTranspose(1, 2, strides=2, padding="same", activation="sigmoid")(x)
    return randomised(keras.Model([noise, label], images))
