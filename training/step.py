"""One step of the game: the discriminator's turns, then the generator's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from gan_serve.errors import InvalidOption, RunError
from gan_serve.training import losses, regularizers
from gan_serve.training.augment import augment, flip
from gan_serve.training.config import TrainConfig, discriminator_arguments, generator_arguments
from gan_serve.training.data.loader import Batch
from gan_serve.training.distributed import Processes, average_gradients, synchronise_batch_norm
from gan_serve.training.ema import GeneratorEMA
from gan_serve.training.networks import build_discriminator, build_generator, initialise, normalise_spectrally
from gan_serve.training.networks.discriminator import Discriminator
from gan_serve.training.networks.layers import MinibatchDiscrimination, quicken_dropout
from gan_serve.training.networks.progressive import (
    Growing,
    ProgressiveDiscriminator,
    fade_real,
    growth_level,
)
from gan_serve.training.random_numbers import Draws
from gan_serve.training.tick_means import TickMeans


@dataclass
class Training:
    """The state of a run between two steps."""

    config: TrainConfig
    device: torch.device
    generator: nn.Module
    discriminator: Discriminator
    g_optimizer: torch.optim.Optimizer
    d_optimizer: torch.optim.Optimizer
    ema: GeneratorEMA
    c_dim: int = 0
    processes: Processes = field(default_factory=Processes)
    shown: int = 0
    seconds: float = 0.0
    means: TickMeans = field(default_factory=TickMeans)
    _step_began: int = 0  # images shown before the step that is under way

    @classmethod
    def start(
        cls, config: TrainConfig, device: torch.device, *, c_dim: int = 0, processes: Processes | None = None
    ) -> Training:
        """Networks with fresh weights, drawn from the config's seed.

        Args:
            config: with ``channels`` set. c_dim: number of classes; 0 unless ``config.conditional``.
            processes: those that share the run; this one alone if None.

        Raises:
            InvalidOption: the networks cannot be built so, or cannot take the penalty that was asked for.
        """
        torch.manual_seed(config.seed)
        processes = processes or Processes()
        shape = {"img_channels": config.channels or 1, "c_dim": c_dim}
        generator = build_generator(config.family, **generator_arguments(config, **shape))
        discriminator = build_discriminator(config.family, **discriminator_arguments(config, **shape))
        _check_penalties(config, discriminator)
        for network in (generator, discriminator):
            if config.init_std:
                initialise(network, config.init_std)
            if processes.world > 1:
                synchronise_batch_norm(network)
        if config.spectral_norm:
            normalise_spectrally(discriminator)
        if device.type == "cpu":
            quicken_dropout(discriminator)
        for network in (generator, discriminator):
            network.to(device, memory_format=torch.channels_last).train()  # type: ignore[call-overload]
        ema = GeneratorEMA(generator, config.ema_kimg)
        if config.compile:
            generator.compile()
            discriminator.compile()
        return cls(
            config=config,
            device=device,
            generator=generator,
            discriminator=discriminator,
            g_optimizer=_optimizer(config, generator, config.g_lr, (config.g_beta1, config.g_beta2)),
            d_optimizer=_optimizer(config, discriminator, config.d_lr, (config.d_beta1, config.d_beta2)),
            ema=ema,
            c_dim=c_dim,
            processes=processes,
        )

    @property
    def images_a_step(self) -> int:
        """Real images that a step shows: a new batch for each turn of the discriminator."""
        return self.config.batch_size * self.config.n_critic

    @property
    def levels(self) -> int:
        """The last level of a growing network; 0 for others."""
        return self.generator.levels if isinstance(self.generator, Growing) else 0

    @property
    def final_level(self) -> float | None:
        """The level at the end of the run; None for networks that do not grow."""
        return self._level_after(self.config.kimg * 1000)

    @property
    def level(self) -> float | None:
        """How far a growing network has grown by now; None for others."""
        return self._level_after(self.shown)

    def _level_after(self, shown: float) -> float | None:
        config, generator = self.config, self.generator
        if not isinstance(generator, Growing) or config.stage_kimg is None or config.fade_kimg is None:
            return None
        return growth_level(shown, generator.levels, config.stage_kimg, config.fade_kimg)

    def step(self, batches: Sequence[Batch]) -> None:
        """Move the discriminator once for each batch, then the generator once, and the average after it."""
        self._step_began = self.shown
        draws = Draws(self.config.seed, self.shown, self.device, self.processes.rank, self.processes.world)
        self._grow()
        self._decay()
        fakes: list[Tensor] = []
        for turn, batch in enumerate(batches, start=1):
            # The last turn's images serve the generator's step too, unless memory is to be saved.
            keep = turn == len(batches) and self.config.accumulate == 1
            fakes = self.discriminator_step(batch, draws, keep_graph=keep)
            self.shown += self.config.batch_size
        self.generator_step(batches[-1], fakes, draws)
        self.ema.update(self.generator, self.images_a_step)

    def _decay(self) -> None:
        """Set the learning rates by what was shown; those of a snapshot may be of a shorter run."""
        config = self.config
        share = learning_rate_share(self.shown, config.kimg, config.decay_kimg)
        for optimizer, rate in ((self.g_optimizer, config.g_lr), (self.d_optimizer, config.d_lr)):
            for group in optimizer.param_groups:
                group["lr"] = share * rate

    def discriminator_step(self, batch: Batch, draws: Draws, *, keep_graph: bool = False) -> list[Tensor]:
        """Move the discriminator once. Returns the images it saw, with their graph where it is to be kept."""
        config = self.config
        self.d_optimizer.zero_grad()
        fakes = []
        latents = draws.normal(len(batch.images), config.z_dim).chunk(config.accumulate)
        for (real, c), z in zip(self._parts(batch), latents, strict=True):
            real = self._faded(flip(real, draws) if config.flip else real)
            with torch.set_grad_enabled(keep_graph):
                fake = self._generate(z, c)
            loss = self._discriminator_loss(real, fake.detach(), c, draws)
            (loss / config.accumulate).backward()  # type: ignore[no-untyped-call]
            fakes.append(fake)
        average_gradients(self.discriminator.parameters())
        self._note(d_grad_norm=_gradient_norm(self.discriminator))
        self.d_optimizer.step()
        if config.clip:
            regularizers.clip_weights(self.discriminator.parameters(), config.clip)
        return fakes

    def generator_step(self, batch: Batch, fakes: Sequence[Tensor], draws: Draws) -> None:
        """Move the generator once, by the discriminator as it is now; ``fakes`` without a graph are drawn anew."""
        config = self.config
        self.g_optimizer.zero_grad()
        self.discriminator.requires_grad_(False)
        latents = draws.normal(len(batch.images), config.z_dim).chunk(config.accumulate)
        for (real, c), drawn, z in zip(self._parts(batch), fakes, latents, strict=True):
            fake = drawn if drawn.requires_grad else self._generate(z, c)
            loss = self._generator_loss(fake, real, c, draws)
            (loss / config.accumulate).backward()  # type: ignore[no-untyped-call]
        self.discriminator.requires_grad_(True)
        average_gradients(self.generator.parameters())
        self._note(g_grad_norm=_gradient_norm(self.generator))
        self.g_optimizer.step()

    def _discriminator_loss(self, real: Tensor, fake: Tensor, c: Tensor | None, draws: Draws) -> Tensor:
        config, loss = self.config, losses.LOSSES[self.config.loss]
        real_seen, fake_seen = self._seen(real, draws), self._seen(fake, draws)
        real_logits, fake_logits = self._judge_both(real_seen, fake_seen, c)
        targets = losses.soft_targets(
            draws.uniform(len(real), 4),
            smoothing=config.label_smoothing,
            noise=config.label_noise,
            flip=config.label_flip,
        )
        adversarial = loss.discriminator(real_logits, fake_logits, targets)
        total = adversarial

        # Penalties, in fp32: their second derivatives are small numbers.
        def critic(images: Tensor) -> Tensor:
            logits: Tensor = self.discriminator(images, c)
            return logits

        names = ("c_wass_loss", "c_gp") if config.loss == "wasserstein" else ("d_loss", "d_gp")
        noted = {names[0]: adversarial}
        if config.gp_weight:
            penalty = regularizers.gradient_penalty(critic, real_seen, fake_seen, draws.uniform(len(real)))
            total = total + config.gp_weight * penalty
            noted[names[1]] = penalty
        if config.r1 and (self.shown // config.batch_size) % config.r1_every == 0:
            penalty = regularizers.r1_penalty(critic, real_seen)
            total = total + config.r1 * config.r1_every * penalty
            noted["d_r1"] = penalty
        if config.loss == "wasserstein":
            noted["c_loss"] = total
        self._note(**noted, **_accuracies(loss, real_logits, fake_logits))
        return total

    def _generator_loss(self, fake: Tensor, real: Tensor, c: Tensor | None, draws: Draws) -> Tensor:
        config, loss = self.config, losses.LOSSES[self.config.loss]
        fake_seen = self._seen(fake, draws)
        if config.feature_matching:
            with self._precision():
                with torch.no_grad():
                    real_features = self.discriminator.features(self._seen(self._faded(real), draws), c).float()
                fake_features = self.discriminator.features(fake_seen, c).float()
            judged = self.discriminator.judge(fake_features, c)
            extra = regularizers.feature_matching(real_features, fake_features)
            self._note(g_feature_matching=extra)
            total = loss.generator(judged) + config.feature_matching * extra
        else:
            judged = self._judge(fake_seen, c)
            total = loss.generator(judged)
        self._note(g_loss=loss.generator(judged.detach()))
        if config.mode_seeking:
            z_1, z_2 = draws.normal(len(fake), config.z_dim), draws.normal(len(fake), config.z_dim)
            extra = regularizers.mode_seeking(self._generate(z_1, c), self._generate(z_2, c), z_1, z_2)
            self._note(g_mode_seeking=extra)
            total = total + config.mode_seeking * extra
        if loss.boundary is not None:
            self._note(g_acc=(judged > loss.boundary).float().mean())
        return total

    def _generate(self, z: Tensor, c: Tensor | None) -> Tensor:
        with self._precision():
            images: Tensor = self.generator(z, c)
        return images.float()

    def _judge(self, images: Tensor, c: Tensor | None) -> Tensor:
        with self._precision():
            logits: Tensor = self.discriminator(images, c)
        return logits.float()

    def _judge_both(self, real: Tensor, fake: Tensor, c: Tensor | None) -> tuple[Tensor, Tensor]:
        """Logits of both, in one pass unless the discriminator would compare the one with the other."""
        if self.discriminator.mixes_batch:
            return self._judge(real, c), self._judge(fake, c)
        both = self._judge(torch.cat([real, fake]), None if c is None else torch.cat([c, c]))
        return both[: len(real)], both[len(real) :]

    def _seen(self, images: Tensor, draws: Draws) -> Tensor:
        """Images as the discriminator sees them: augmented, under instance noise (Sønderby et al. 2017)."""
        config = self.config
        images = augment(images, config.augment, draws)
        deviation = config.instance_noise
        if deviation and config.instance_noise_kimg:
            deviation *= max(0.0, 1 - self.shown / (1000 * config.instance_noise_kimg))
        if deviation:
            images = images + deviation * draws.normal(*images.shape)
        return images

    def _faded(self, real: Tensor) -> Tensor:
        """Real images, no sharper than a growing generator can draw by now."""
        generator = self.generator
        return fade_real(real, generator.level, generator.levels) if isinstance(generator, Growing) else real

    def _grow(self) -> None:
        level = self.level
        for network in (self.generator, self.discriminator, self.ema.generator):
            if level is not None and isinstance(network, Growing | ProgressiveDiscriminator):
                network.set_level(level)

    def _parts(self, batch: Batch) -> list[Batch]:
        """A batch in the parts that are computed one after the other."""
        parts = self.config.accumulate
        labels = [None] * parts if batch.c is None else batch.c.chunk(parts)
        return [Batch(images, c) for images, c in zip(batch.images.chunk(parts), labels, strict=True)]

    def _precision(self) -> torch.autocast:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=bool(self.config.bf16))

    def _note(self, **scalars: Tensor) -> None:
        self.means.add(self._step_began, **scalars)

    def record(self, images_per_s: float) -> dict[str, Any]:
        """One line of the log: where the run stands, and the tick's means."""
        record: dict[str, Any] = {
            "kimg": self.shown / 1000,
            "seconds": round(self.seconds, 1),
            "images_per_s": round(images_per_s, 1),
            "memory_mb": round(_memory(self.device) / 2**20),
        }
        if self.level is not None:
            record["level"] = self.level
        if self.config.decay_kimg:
            record["g_lr"] = self.g_optimizer.param_groups[0]["lr"]
        return record | {name: round(value, 6) for name, value in self.means.pop().items()}

    def state(self) -> dict[str, Any]:
        """Everything that the next step depends on, as tensors and plain values."""
        return {
            "shown": self.shown,
            "seconds": self.seconds,
            "generator": self.generator.state_dict(),
            "discriminator": self.discriminator.state_dict(),
            "g_optimizer": self.g_optimizer.state_dict(),
            "d_optimizer": self.d_optimizer.state_dict(),
            "ema": self.ema.generator.state_dict(),
        }

    def load(self, state: dict[str, Any]) -> None:
        """Put back what ``state`` returned.

        Raises:
            RunError: the state is of other networks.
        """
        try:
            self.generator.load_state_dict(state["generator"])
            self.discriminator.load_state_dict(state["discriminator"])
            self.g_optimizer.load_state_dict(state["g_optimizer"])
            self.d_optimizer.load_state_dict(state["d_optimizer"])
            self.ema.generator.load_state_dict(state["ema"])
            self.shown, self.seconds = state["shown"], state["seconds"]
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise RunError(
                f"The snapshot does not fit the run's config: {error}", "Resume with the same config."
            ) from error


def learning_rate_share(shown: int, kimg: float, decay_kimg: float) -> float:
    """What is left of the learning rates after ``shown`` images: 1, then a line down to 0 over the last ``decay_kimg``.

    As in Zhu et al. 2017 (CycleGAN, arXiv:1703.10593), section 4.

    >>> [learning_rate_share(1000 * at, kimg=300, decay_kimg=100) for at in (0, 200, 250, 300)]
    [1.0, 1.0, 0.5, 0.0]
    """
    return min(1.0, max(0.0, (kimg - shown / 1000) / decay_kimg)) if decay_kimg else 1.0


def _optimizer(config: TrainConfig, network: nn.Module, lr: float, betas: tuple[float, float]) -> torch.optim.Optimizer:
    if config.optimizer == "rmsprop":
        return torch.optim.RMSprop(network.parameters(), lr, alpha=betas[1])
    return torch.optim.Adam(network.parameters(), lr, betas, fused=True)


def _check_penalties(config: TrainConfig, discriminator: Discriminator) -> None:
    """A penalty on each image's gradient has no meaning where a layer mixes the images (Gulrajani et al. 2017, 4).

    The deviation of a minibatch is let through, as progressive growing and StyleGAN use it beside their penalties.
    """
    mixing = {
        "BatchNorm": (nn.modules.batchnorm._BatchNorm, "d_norm=layer (or instance, none)"),
        "minibatch discrimination": (MinibatchDiscrimination, "minibatch=std (or none)"),
    }
    for name, (kind, instead) in mixing.items():
        if (config.gp_weight or config.r1) and any(isinstance(layer, kind) for layer in discriminator.modules()):
            penalty = "gp_weight" if config.gp_weight else "r1"
            raise InvalidOption(
                f"{penalty} needs the gradient of each image alone, but {name} in the discriminator mixes them.",
                f"Add --set {instead}.",
            )


def _accuracies(loss: losses.Loss, real_logits: Tensor, fake_logits: Tensor) -> dict[str, Tensor]:
    """Shares of real and generated images that the discriminator takes for what they are."""
    if loss.boundary is None:
        return {}
    real = (real_logits > loss.boundary).float().mean()
    fake = (fake_logits < loss.boundary).float().mean()
    return {"d_real_acc": real, "d_fake_acc": fake, "d_acc": (real + fake) / 2}


def _gradient_norm(network: nn.Module) -> Tensor:
    """L2 norm of all gradients of a network, as one vector."""
    gradients = [parameter.grad for parameter in network.parameters() if parameter.grad is not None]
    return nn.utils.get_total_norm(gradients)


def _memory(device: torch.device) -> int:
    """Bytes that the run took at most on the GPU; on the CPU, what this process takes now."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    try:
        import psutil
    except ImportError:  # of use on a training machine, but nothing that training needs
        return 0
    return int(psutil.Process().memory_info().rss)
