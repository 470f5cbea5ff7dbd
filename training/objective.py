"""The losses of both networks on one batch: adversarial loss, penalties, augmentation and instance noise.

``Objective`` computes the losses; ``step.Training`` schedules the computation and updates the weights.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from gan_serve.training import losses, regularizers
from gan_serve.training.augment import augment, flip
from gan_serve.training.config import TrainConfig
from gan_serve.training.data.batch_loader import Batch
from gan_serve.training.legacy import UNFLIPPED_MATCHING
from gan_serve.training.networks.discriminator import Discriminator
from gan_serve.training.networks.progressive import Growing, fade_real
from gan_serve.training.random_numbers import StepRandom
from gan_serve.training.schedules import scheduled


class Computed(NamedTuple):
    """A loss to differentiate, and scalars for the log by name."""

    loss: Tensor
    scalars: dict[str, Tensor]


@dataclass(frozen=True)
class Objective:
    """The losses that a config defines.

    In all methods real and generated images are float32 [N, C, H, W] in [-1, 1], labels ``c`` int64 [N] or None, and
    ``shown`` is the number of real images that the run has shown.
    """

    config: TrainConfig
    device: torch.device
    generator: nn.Module
    discriminator: Discriminator

    def generate(self, z: Tensor, c: Tensor | None) -> Tensor:
        """Return images float32 [N, C, H, W] of latents float32 [N, z_dim]."""
        with self._autocast():
            images: Tensor = self.generator(z, c)
        return images.float()

    def real_images(self, images: Tensor, random: StepRandom, *, flips: bool) -> Tensor:
        """Return real images, half of them mirrored if ``flips``, with only the detail that a growing generator has."""
        images = flip(images, random) if flips else images
        generator = self.generator
        return fade_real(images, generator.level, generator.levels) if isinstance(generator, Growing) else images

    def has_gradient_penalty(self, shown: int) -> bool:
        """Return True if this step of the discriminator has a penalty on its gradients."""
        config = self.config
        return bool(config.gp_weight or ((config.r1 or config.r2) and self._is_lazy_turn(shown)))

    def discriminator_loss(
        self, real: Tensor, fake: Tensor, c: Tensor | None, random: StepRandom, shown: int
    ) -> Computed:
        """Return the discriminator's loss with its penalties; ``real`` must come from ``real_images``."""
        config, loss = self.config, losses.LOSSES[self.config.loss]
        real, fake = self._perturbed(real, random, shown), self._perturbed(fake, random, shown)
        real_logits, fake_logits = self._logits_of_both(real, fake, c)
        targets = losses.soft_targets(
            random.uniform(len(real), 4),
            smoothing=config.label_smoothing,
            noise=config.label_noise,
            flip=config.label_flip,
            real_range=config.real_target,
            fake_range=config.fake_target,
        )
        adversarial = loss.discriminator(self._clipped(real_logits), self._clipped(fake_logits), targets)
        total = adversarial

        # Penalties are in float32, because differences and second derivatives are small numbers.
        def critic(images: Tensor) -> Tensor:
            logits: Tensor = self.discriminator(images, c)
            return logits

        names = ("c_wass_loss", "c_gp") if config.loss == "wasserstein" else ("d_loss", "d_gp")
        scalars = {names[0]: adversarial}
        if config.loss in ("non-saturating", "saturating"):
            scalars["value"] = losses.value(real_logits.detach(), fake_logits.detach())
        if config.gp_weight:
            penalty = regularizers.gradient_penalty(critic, real, fake, random.uniform(len(real)))
            total = total + config.gp_weight * penalty
            scalars[names[1]] = penalty
        for name, images in (("r1", real), ("r2", fake)):
            gamma = scheduled(config, name, shown)
            if gamma and self._is_lazy_turn(shown):
                penalty = self._zero_centred_penalty(critic, images, random)
                total = total + gamma * config.r1_every * penalty
                scalars[f"d_{name}"] = penalty
        if config.drift:
            penalty = regularizers.drift_penalty(real_logits)
            total = total + config.drift * penalty
            scalars["d_drift"] = penalty
        if config.loss == "wasserstein":
            scalars["c_loss"] = total
        return Computed(total, scalars | _accuracies(loss, real_logits, fake_logits))

    def generator_loss(
        self, fake: Tensor, c: Tensor | None, compared: Batch, random: StepRandom, shown: int
    ) -> Computed:
        """Return the generator's loss on ``fake``, whose labels are ``c``.

        Args:
            compared: real images, for relativistic losses and feature matching.
        """
        config, loss = self.config, losses.LOSSES[self.config.loss]
        fake = self._perturbed(fake, random, shown)
        if config.feature_matching or loss.relativistic:
            flips = config.flip and UNFLIPPED_MATCHING not in config.legacy
            real = self._perturbed(self.real_images(compared.images, random, flips=flips), random, shown)
        if config.feature_matching:
            with self._autocast():
                with torch.no_grad():
                    real_features = self.discriminator.features(real, compared.c).float()
                fake_features = self.discriminator.features(fake, c).float()
            fake_logits = self.discriminator.logits_of_features(fake_features, c)
        else:
            fake_logits = self._logits(fake, c)
        if loss.relativistic:
            with torch.no_grad():
                real_logits = self._logits(real, compared.c)
            adversarial = loss.generator(fake_logits, real_logits)
            fooled = fake_logits > real_logits
        else:
            adversarial = loss.generator(self._clipped(fake_logits))
            fooled = fake_logits > (loss.boundary or 0.0)
        total = adversarial
        scalars = {"g_loss": adversarial}
        if config.feature_matching:
            scalars["g_feature_matching"] = regularizers.feature_matching(real_features, fake_features)
            total = total + config.feature_matching * scalars["g_feature_matching"]
        if config.mode_seeking:
            z_1, z_2 = random.normal(len(fake), config.z_dim), random.normal(len(fake), config.z_dim)
            images_1, images_2 = self.generate(z_1, c), self.generate(z_2, c)
            scalars["g_mode_seeking"] = regularizers.mode_seeking(images_1, images_2, z_1, z_2)
            total = total + config.mode_seeking * scalars["g_mode_seeking"]
        if loss.boundary is not None or loss.relativistic:
            scalars["g_acc"] = fooled.float().mean()
        return Computed(total, scalars)

    def _zero_centred_penalty(self, critic: regularizers.Critic, images: Tensor, random: StepRandom) -> Tensor:
        if self.config.penalty_method == "finite-differences":
            return regularizers.finite_difference_penalty(critic, images, random.normal(*images.shape))
        return regularizers.zero_centred_penalty(critic, images)

    def _is_lazy_turn(self, shown: int) -> bool:
        return (shown // self.config.batch_size) % self.config.r1_every == 0

    def _logits(self, images: Tensor, c: Tensor | None) -> Tensor:
        with self._autocast():
            logits: Tensor = self.discriminator(images, c)
        return logits.float()

    def _clipped(self, logits: Tensor) -> Tensor:
        eps = self.config.bce_eps
        return losses.clip_probabilities(logits, eps) if eps else logits

    def _logits_of_both(self, real: Tensor, fake: Tensor, c: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return the logits of both, from one forward pass unless the discriminator mixes the images of a batch."""
        if self.discriminator.mixes_batch:
            return self._logits(real, c), self._logits(fake, c)
        both = self._logits(torch.cat([real, fake]), None if c is None else torch.cat([c, c]))
        return both[: len(real)], both[len(real) :]

    def _perturbed(self, images: Tensor, random: StepRandom, shown: int) -> Tensor:
        """Return images as the discriminator sees them: augmented and with instance noise (Sønderby et al. 2017)."""
        config = self.config
        images = augment(images, config.augment, random, scheduled(config, "augment_p", shown))
        deviation = config.instance_noise
        if deviation and config.instance_noise_kimg:
            deviation *= max(0.0, 1 - shown / (1000 * config.instance_noise_kimg))
        if deviation:
            images = images + deviation * random.normal(*images.shape)
        return images

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=bool(self.config.bf16))


def _accuracies(loss: losses.Loss, real_logits: Tensor, fake_logits: Tensor) -> dict[str, Tensor]:
    """Return the shares of real and generated images that the discriminator classifies correctly.

    For a relativistic loss: the share of pairs in which the real image has the higher logit.
    """
    if loss.relativistic:
        return {"d_acc": (real_logits > fake_logits).float().mean()}
    if loss.boundary is None:
        return {}
    real = (real_logits > loss.boundary).float().mean()
    fake = (fake_logits < loss.boundary).float().mean()
    return {"d_real_acc": real, "d_fake_acc": fake, "d_acc": (real + fake) / 2}
