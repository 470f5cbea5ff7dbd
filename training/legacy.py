"""Keep the behaviour of earlier versions for the runs that they began.

The ``config.json`` of such a run lacks newer settings. ``with_legacy_values`` adds them with values that give the older
behaviour. Behaviour without a setting has a name in ``config.legacy``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from torch import nn

from gan_serve.training.networks.discriminator import Discriminator, plain_embedding
from gan_serve.training.networks.layers import MinibatchStd

LegacyRule = Literal["minibatch-on-features", "plain-embedding", "unflipped-matching"]

# In the families mlp, dcgan28 and dcgan, minibatch statistics were added to the features after the last convolution.
MINIBATCH_ON_FEATURES: LegacyRule = "minibatch-on-features"
# Projection discriminators with equalised layers had an embedding without weight scaling.
PLAIN_EMBEDDING: LegacyRule = "plain-embedding"
# Feature matching used real images without flips.
UNFLIPPED_MATCHING: LegacyRule = "unflipped-matching"

LEGACY_VALUES: Mapping[str, Any] = {"ema_rampup": 0.0, "holdout": 0.0}


def with_legacy_values(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of a recorded config; missing ones get the value that gives the earlier behaviour."""
    if "legacy" in values:
        return dict(values)
    scaled = values.get("family") in ("progressive", "stylegan")
    rules = {
        MINIBATCH_ON_FEATURES: not scaled and values.get("minibatch") == "std",
        PLAIN_EMBEDDING: scaled and values.get("conditional") and values.get("conditioning") == "projection",
        UNFLIPPED_MATCHING: values.get("flip") and values.get("feature_matching"),
    }
    return {**LEGACY_VALUES, **values, "legacy": [rule for rule, holds in rules.items() if holds]}


def use_minibatch_on_features(discriminator: Discriminator) -> None:
    """Append minibatch statistics to the features of a discriminator that has none."""
    logit = discriminator.logit
    n_features = logit.in_features + 1
    discriminator.minibatch = MinibatchStd()
    discriminator.logit = nn.Linear(n_features, 1, bias=logit.bias is not None)
    if discriminator.embed is not None:
        discriminator.embed = plain_embedding(discriminator.c_dim, n_features)


def use_plain_embedding(discriminator: Discriminator) -> None:
    """Replace the embedding of a projection discriminator by the one of older runs, if it is another one."""
    if discriminator.embed is not None:
        discriminator.embed = plain_embedding(discriminator.c_dim, discriminator.embed.embedding_dim)
