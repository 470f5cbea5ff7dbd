"""The latent of a picture, for a checkpoint of others: what all of its classes take is bounded."""

from __future__ import annotations

import pytest

from gan_serve import generate
from gan_serve.errors import InvalidOption


def test_a_checkpoint_of_many_classes_needs_a_label(monkeypatch):
    """65,536 classes, of which eight images each would be sampled."""
    pytest.importorskip("torch")
    from gan_serve.training.projection import project

    [image] = generate("mnist-cgan", seed=7, label="3")
    monkeypatch.setattr(project, "MOST_BYTES", 9 * 784)
    with pytest.raises(InvalidOption, match=r"Each of 10 classes would be tried\. Give the label"):
        project.project("mnist-cgan", image, features="none")
