"""Settings that change over a run, as pure functions of the config and the real images shown."""

from __future__ import annotations

import math

from gan_serve.training.settings import OptimizerSettings


def cosine(start: float, end: float, progress: float) -> float:
    """Return the value between ``start`` and ``end`` on half a cosine (Loshchilov and Hutter 2017, eq. 5).

    end + (start - end) (1 + cos(π progress)) / 2: flat at both ends. ``progress`` is clamped to 0 to 1.

    >>> [round(cosine(2.0, 0.2, progress), 3) for progress in (0, 0.25, 0.5, 1, 7)]
    [2.0, 1.736, 1.1, 0.2, 0.2]
    """
    if start == end:
        return start
    return end + (start - end) * (1 + math.cos(math.pi * min(1.0, max(0.0, progress)))) / 2


def scheduled(config: OptimizerSettings, name: str, shown: int) -> float:
    """Return the value of a setting after ``shown`` images.

    If ``<name>_end`` is set, the value follows a cosine over the whole run from ``name`` to it, as R3GAN schedules its
    learning rates, penalties, second moments, average and augmentation (Huang et al. 2024, arXiv:2501.05441).
    """
    start: float = getattr(config, name)
    end: float | None = getattr(config, f"{name}_end")
    return start if end is None else cosine(start, end, shown / (1000 * config.kimg))


def learning_rate(config: OptimizerSettings, name: str, shown: int) -> float:
    """Return ``g_lr`` or ``d_lr`` after ``shown`` images: its cosine times the linear decay at the end."""
    decay_kimg = config.decay_kimg or config.decay_share * config.kimg
    return learning_rate_share(shown, config.kimg, decay_kimg) * scheduled(config, name, shown)


def learning_rate_share(shown: int, kimg: float, decay_kimg: float) -> float:
    """Return the factor of the learning rates after ``shown`` images: 1, then linear to 0 over the last ``decay_kimg``.

    As in Zhu et al. 2017 (CycleGAN, arXiv:1703.10593), section 4.

    >>> [learning_rate_share(1000 * at, kimg=300, decay_kimg=100) for at in (0, 200, 250, 300)]
    [1.0, 1.0, 0.5, 0.0]
    """
    return min(1.0, max(0.0, (kimg - shown / 1000) / decay_kimg)) if decay_kimg else 1.0


def ema_half_life(config: OptimizerSettings, shown: int) -> float:
    """Return the half-life of the generator's average after ``shown`` images, in kimg.

    It is at most the share ``ema_rampup`` of the images shown, so that the average forgets the random initial weights
    (Karras et al. 2020, StyleGAN2: ``ema_rampup`` 0.05).

    >>> from gan_serve.training.config import make_config
    >>> config = make_config("dcgan-28", {"data": "fashion-mnist", "ema_kimg": 10, "ema_rampup": 0.05})
    >>> [ema_half_life(config, shown) for shown in (1_000, 100_000, 1_000_000)]
    [0.05, 5.0, 10.0]
    """
    half_life = scheduled(config, "ema_kimg", shown)
    return min(half_life, config.ema_rampup * shown / 1000) if config.ema_rampup else half_life
