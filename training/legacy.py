"""Behaviour of earlier versions: a run that one of them began goes on as it began.

``config.json`` of such a run lacks the newer settings. ``with_legacy_values`` adds them with the values that stand for
the older behaviour. Behaviour that is no setting any more is a name in ``config.legacy``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from gan_serve.training.networks.discriminator import Discriminator, plain_embedding

LegacyRule = Literal["minibatch-on-features", "plain-embedding", "unflipped-matching"]

# Minibatch statistics of the families mlp, dcgan28 and dcgan joined the features behind the last convolution.
MINIBATCH_ON_FEATURES: LegacyRule = "minibatch-on-features"
# The embedding of projection discriminators that scale their weights was a plain one.
PLAIN_EMBEDDING: LegacyRule = "plain-embedding"
# Feature matching compared with real images that were not flipped.
UNFLIPPED_MATCHING: LegacyRule = "unflipped-matching"

LEGACY_VALUES: Mapping[str, Any] = {"ema_rampup": 0.0}


def with_legacy_values(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of a recorded config, and for those it lacks the value that stands for what it did."""
    if "legacy" in values:
        return dict(values)
    scaled = values.get("family") in ("progressive", "stylegan")
    rules = {
        MINIBATCH_ON_FEATURES: not scaled and values.get("minibatch") == "std",
        PLAIN_EMBEDDING: scaled and values.get("conditional") and values.get("conditioning") == "projection",
        UNFLIPPED_MATCHING: values.get("flip") and values.get("feature_matching"),
    }
    return {**LEGACY_VALUES, **values, "legacy": [rule for rule, holds in rules.items() if holds]}


def use_plain_embedding(discriminator: Discriminator) -> None:
    """Give a projection discriminator the embedding that older runs have, where it has another."""
    if discriminator.embed is not None:
        discriminator.embed = plain_embedding(discriminator.c_dim, discriminator.embed.embedding_dim)
