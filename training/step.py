"""One step of training: updates of the discriminator, then one of the generator."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from gan_serve.training import losses
from gan_serve.training.build import build_networks, build_optimizers
from gan_serve.training.config import TrainConfig
from gan_serve.training.data.batch_loader import Batch, Loader
from gan_serve.training.distributed import Processes, average_gradients
from gan_serve.training.ema import GeneratorEMA
from gan_serve.training.networks.discriminator import Discriminator
from gan_serve.training.networks.progressive import Growing, ProgressiveDiscriminator, growth_level
from gan_serve.training.objective import Objective
from gan_serve.training.precision import without_tf32
from gan_serve.training.random_numbers import StepRandom
from gan_serve.training.regularizers import clip_weights, gradient_norm
from gan_serve.training.schedules import ema_half_life, learning_rate, scheduled
from gan_serve.training.snapshots import fitting_snapshot
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
    tick_means: TickMeans = field(default_factory=TickMeans)
    _step_began: int = 0  # images shown before the current step

    @classmethod
    def start(
        cls, config: TrainConfig, device: torch.device, *, c_dim: int = 0, processes: Processes | None = None
    ) -> Training:
        """Build networks with random weights from the config's seed.

        Args:
            config: with ``channels`` set. c_dim: number of classes; 0 unless ``config.conditional``.
            processes: the processes that share the run; a single one if None.

        Raises:
            InvalidOption: the networks cannot be built so, or do not allow the chosen penalty.
        """
        torch.manual_seed(config.seed)
        processes = processes or Processes()
        generator, discriminator = build_networks(config, device, c_dim=c_dim, processes=processes)
        ema = GeneratorEMA(generator)
        if config.compile:
            generator.compile()
            discriminator.compile()
        g_optimizer, d_optimizer = build_optimizers(config, generator, discriminator)
        return cls(config, device, generator, discriminator, g_optimizer, d_optimizer, ema, c_dim, processes)

    @property
    def objective(self) -> Objective:
        """The losses of both networks."""
        return Objective(self.config, self.device, self.generator, self.discriminator)

    @property
    def images_a_step(self) -> int:
        """Return how many real images a step shows: a batch for each turn of the discriminator, or one for all."""
        return self.config.batch_size * (1 if self.config.critic_reuses_batch else self.config.n_critic)

    @property
    def networks(self) -> dict[str, nn.Module]:
        """Both networks by a name for messages."""
        return {"generator": self.generator, "discriminator": self.discriminator}

    @property
    def needs_fresh_batch(self) -> bool:
        """True if the update of the generator needs real images that the discriminator has not just seen."""
        return losses.LOSSES[self.config.loss].relativistic

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
        """The current level of a growing network; None for others."""
        return self._level_after(self.shown)

    def _level_after(self, shown: float) -> float | None:
        config, generator = self.config, self.generator
        if not isinstance(generator, Growing) or config.stage_kimg is None or config.fade_kimg is None:
            return None
        return growth_level(shown, generator.levels, config.stage_kimg, config.fade_kimg)

    def advance(self, loader: Loader) -> None:
        """Take the next batches and do a step."""
        config, before = self.config, self.shown
        starts = range(before, before + self.images_a_step, config.batch_size)
        batches = [loader.batch(start, config.batch_size) for start in starts]
        if config.critic_reuses_batch:
            batches *= config.n_critic
        self.step(batches, loader.fresh_batch(before, config.batch_size) if self.needs_fresh_batch else None)

    def step(self, batches: Sequence[Batch], fresh: Batch | None = None) -> None:
        """Update the discriminator once for each batch, then the generator, then its average.

        Args:
            batches: real images, one batch for each turn of the discriminator; with ``critic_reuses_batch`` the same
                one each time.
            fresh: another batch of them, for the generator of a relativistic loss; the last of ``batches`` if None.
        """
        self._step_began = self.shown
        random = StepRandom(self.config.seed, self.shown, self.device, self.processes.rank, self.processes.world)
        self._grow()
        self._follow_schedules()
        fakes: list[Tensor] = []
        for turn, batch in enumerate(batches, start=1):
            # The generator reuses the images of the last update, unless ``accumulate`` saves memory.
            keep = turn == len(batches) and self.config.accumulate == 1
            fakes = self.discriminator_gradient(batch, random, keep_graph=keep)
            if not self.config.simultaneous:
                self.move_discriminator()
            self.shown = min(self.shown + self.config.batch_size, self._step_began + self.images_a_step)
        self.generator_step(batches[-1], fakes, random, fresh)
        if self.config.simultaneous:
            self.move_discriminator()
        self.ema.update(self.generator, self.images_a_step, ema_half_life(self.config, self.shown))

    def _follow_schedules(self) -> None:
        """Set learning rates and second decays for the images shown; a snapshot may have those of a shorter run."""
        config = self.config
        for network, optimizer in (("g", self.g_optimizer), ("d", self.d_optimizer)):
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(config, f"{network}_lr", self.shown)
                if config.optimizer == "adam":
                    beta1 = getattr(config, f"{network}_beta1")
                    group["betas"] = (beta1, scheduled(config, f"{network}_beta2", self.shown))

    def discriminator_gradient(self, batch: Batch, random: StepRandom, *, keep_graph: bool = False) -> list[Tensor]:
        """Compute the discriminator's gradient; return its generated images, with their graph if ``keep_graph``."""
        config, objective = self.config, self.objective
        self.d_optimizer.zero_grad()
        fakes = []
        latents = random.normal(len(batch.images), config.z_dim).chunk(config.accumulate)
        penalised = objective.has_gradient_penalty(self.shown)
        for (real, c), z in zip(self._parts(batch), latents, strict=True):
            real = objective.real_images(real, random, flips=config.flip)
            with torch.set_grad_enabled(keep_graph):
                fake = objective.generate(z, c)
            with without_tf32(self.device) if penalised else contextlib.nullcontext():
                loss, scalars = objective.discriminator_loss(real, fake.detach(), c, random, self.shown)
                (loss / config.accumulate).backward()  # type: ignore[no-untyped-call]
            self._note(**scalars)
            fakes.append(fake)
        average_gradients(self.discriminator.parameters())
        self._note(d_grad_norm=gradient_norm(self.discriminator))
        return fakes

    def move_discriminator(self) -> None:
        """Update the weights of the discriminator by its gradient, and clip them if the config says so."""
        self.d_optimizer.step()
        if self.config.clip:
            clip_weights(self.discriminator.parameters(), self.config.clip)

    def generator_step(
        self, batch: Batch, fakes: Sequence[Tensor], random: StepRandom, fresh: Batch | None = None
    ) -> None:
        """Update the generator once.

        Args:
            batch: real images; their labels are those of ``fakes``.
            fakes: images of the discriminator's update; those without a graph are generated again.
            fresh: real images for a relativistic loss; ``batch`` if None.
        """
        config, objective = self.config, self.objective
        self.g_optimizer.zero_grad()
        self.discriminator.requires_grad_(False)
        latents = random.normal(len(batch.images), config.z_dim).chunk(config.accumulate)
        parts = zip(self._parts(batch), self._parts(fresh or batch), fakes, latents, strict=True)
        for (_, c), compared, seen, z in parts:
            fake = seen if seen.requires_grad else objective.generate(z, c)
            loss, scalars = objective.generator_loss(fake, c, compared, random, self.shown)
            (loss / config.accumulate).backward()  # type: ignore[no-untyped-call]
            self._note(**scalars)
        self.discriminator.requires_grad_(True)
        average_gradients(self.generator.parameters())
        self._note(g_grad_norm=gradient_norm(self.generator))
        self.g_optimizer.step()

    def _grow(self) -> None:
        level = self.level
        for network in (self.generator, self.discriminator, self.ema.generator):
            if level is not None and isinstance(network, Growing | ProgressiveDiscriminator):
                network.set_level(level)

    def _parts(self, batch: Batch) -> list[Batch]:
        """Return the parts of a batch that are computed one after the other."""
        parts = self.config.accumulate
        labels = [None] * parts if batch.c is None else batch.c.chunk(parts)
        return [Batch(images, c) for images, c in zip(batch.images.chunk(parts), labels, strict=True)]

    def _note(self, **scalars: Tensor) -> None:
        self.tick_means.add(self._step_began, **scalars)

    def record(self) -> dict[str, float]:
        """Return the record of a tick: what the schedules have reached, and the means of the scalars."""
        record = {}
        if self.level is not None:
            record["level"] = self.level
        if self.config.decay_kimg or self.config.decay_share or self.config.g_lr_end is not None:
            record["g_lr"] = self.g_optimizer.param_groups[0]["lr"]
        return record | {name: round(value, 6) for name, value in self.tick_means.pop().items()}

    def state(self) -> dict[str, Any]:
        """Return everything that the next step depends on, as tensors and plain values."""
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
        """Restore what ``state`` returned.

        Raises:
            RunError: the state belongs to other networks.
        """
        with fitting_snapshot("Resume with the same config."):
            self.generator.load_state_dict(state["generator"])
            self.discriminator.load_state_dict(state["discriminator"])
            self.g_optimizer.load_state_dict(state["g_optimizer"])
            self.d_optimizer.load_state_dict(state["d_optimizer"])
            self.ema.generator.load_state_dict(state["ema"])
            self.shown, self.seconds = state["shown"], state["seconds"]
