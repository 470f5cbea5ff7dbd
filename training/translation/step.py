"""One step of training a translator: updates of the discriminators, then one of the translators."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gan_serve.training import losses
from gan_serve.training.ema import GeneratorEMA
from gan_serve.training.evaluation.feature_maps import FeatureMaps
from gan_serve.training.random_numbers import StepRandom
from gan_serve.training.regularizers import gradient_norm
from gan_serve.training.schedules import ema_half_life, learning_rate
from gan_serve.training.snapshots import fitting_snapshot
from gan_serve.training.tick_means import TickMeans
from gan_serve.training.translation.batch_loader import PairBatch, PairLoader
from gan_serve.training.translation.discriminators import ImageDiscriminator, PatchDiscriminator, patch_layers
from gan_serve.training.translation.losses import PIXEL_LOSSES, perceptual_distance
from gan_serve.training.translation.networks import Translator
from gan_serve.training.translation.pool import ImagePool
from gan_serve.training.translation.settings import TRANSLATORS, TranslationConfig, translator_arguments

WEIGHT_STD = 0.02  # of the first weights, as in Pix2Pix and CycleGAN


@dataclass
class TranslationTraining:
    """The state of a run between two steps.

    ``there`` translates inputs into targets, and is what is exported; ``back``, of CycleGAN, targets into inputs.
    Each has a discriminator of its outputs, an average and a pool under the same name.
    """

    config: TranslationConfig
    device: torch.device
    translators: dict[str, Translator]
    critics: dict[str, nn.Module]
    g_optimizer: torch.optim.Optimizer
    d_optimizer: torch.optim.Optimizer
    averages: dict[str, GeneratorEMA]
    pools: dict[str, ImagePool]
    features: FeatureMaps | None = None
    shown: int = 0
    seconds: float = 0.0
    tick_means: TickMeans = field(default_factory=TickMeans)

    @classmethod
    def start(
        cls, config: TranslationConfig, device: torch.device, *, in_channels: int, img_channels: int
    ) -> TranslationTraining:
        """Build networks with random weights from the config's seed.

        Raises:
            InvalidOption: the networks cannot be built so, or there is no such feature extractor.
        """
        torch.manual_seed(config.seed)
        sides = {"there": (in_channels, img_channels)} | (
            {"back": (img_channels, in_channels)} if config.cyclic else {}
        )
        translators = {name: build_translator(config, *channels) for name, channels in sides.items()}
        critics = {name: build_critic(config, *channels) for name, channels in sides.items()}
        for network in (*translators.values(), *critics.values()):
            if config.family != "srresnet":  # whose paper leaves the framework's first weights
                _initialise(network)
            network.to(device, memory_format=torch.channels_last).train()  # type: ignore[call-overload]
        return cls(
            config,
            device,
            translators,
            critics,
            g_optimizer=_adam(translators.values(), config.g_lr, (config.g_beta1, config.g_beta2)),
            d_optimizer=_adam(critics.values(), config.d_lr, (config.d_beta1, config.d_beta2)),
            averages={name: GeneratorEMA(network) for name, network in translators.items()},
            pools={name: ImagePool(config.pool) for name in sides},
            features=FeatureMaps(str(config.features)).to(device) if config.content_weight else None,
        )

    @property
    def averaged(self) -> nn.Module:
        """The averaged translator that is sampled, measured and exported."""
        return self.averages["there"].generator

    @property
    def images_a_step(self) -> int:
        """The inputs that a step shows."""
        return self.config.batch_size

    @property
    def networks(self) -> Mapping[str, nn.Module]:
        """All networks by a name for messages."""
        titles = {"there": "", "back": " back"}
        return {f"translator{titles[name]}": network for name, network in self.translators.items()} | {
            f"discriminator{titles[name]}": network for name, network in self.critics.items()
        }

    @property
    def adversarial(self) -> bool:
        """True if the next step has an adversarial loss: not in the first phase, of the pixel loss alone."""
        return bool(self.config.gan_weight) and self.shown >= self.config.pixel_kimg * 1000

    def advance(self, loader: PairLoader) -> None:
        """Take the next batch and do a step."""
        self.step(loader.batch(self.shown, self.config.batch_size))

    def step(self, batch: PairBatch) -> None:
        """Update the discriminators, then the translators, then the averages."""
        config = self.config
        random = StepRandom(config.seed, self.shown, self.device)
        if config.flip:
            batch = _flipped(batch, random, paired=not config.cyclic)
        for name, optimizer in (("g_lr", self.g_optimizer), ("d_lr", self.d_optimizer)):
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(config, name, self.shown)
        with self._autocast():
            outputs = {"there": self.translators["there"](batch.x)}
            if config.cyclic:
                outputs["back"] = self.translators["back"](batch.y)
        outputs = {name: images.float() for name, images in outputs.items()}
        if self.adversarial:
            self._update_critics(batch, outputs, random)
        self._update_translators(batch, outputs)
        self.shown += config.batch_size
        for name, network in self.translators.items():
            self.averages[name].update(network, config.batch_size, ema_half_life(config, self.shown))

    def _update_critics(self, batch: PairBatch, outputs: Mapping[str, Tensor], random: StepRandom) -> None:
        loss = losses.LOSSES[self.config.loss]
        self.d_optimizer.zero_grad()
        for name, output in outputs.items():
            real, shown = (batch.y, batch.x) if name == "there" else (batch.x, batch.y)
            fake = self.pools[name].swap(output.detach(), random.uniform(len(output), 2))
            real_logits, fake_logits = self._logits(name, real, shown), self._logits(name, fake, shown)
            targets = losses.Targets(torch.ones_like(real_logits), torch.zeros_like(fake_logits))
            total = loss.discriminator(real_logits, fake_logits, targets)
            total.backward()  # type: ignore[no-untyped-call]
            boundary = loss.boundary or 0.0
            right = {"d_real_acc": real_logits > boundary, "d_fake_acc": fake_logits < boundary}
            accuracies = {key: value.float().mean() for key, value in right.items()}
            self.tick_means.add(self.shown, d_loss=total, **accuracies)
        self.d_optimizer.step()

    def _update_translators(self, batch: PairBatch, outputs: Mapping[str, Tensor]) -> None:
        self.g_optimizer.zero_grad()
        with _frozen(self.critics.values()):
            parts = self._of_cycles(batch, outputs) if self.config.cyclic else self._of_pairs(batch, outputs["there"])
            if self.adversarial:
                loss = losses.LOSSES[self.config.loss]
                logits = {
                    name: self._logits(name, output, batch.x if name == "there" else batch.y)
                    for name, output in outputs.items()
                }
                each = [loss.generator(values) for values in logits.values()]
                parts["g_gan"] = (torch.stack(each).sum(), self.config.gan_weight)
                fooled = torch.cat([values > (loss.boundary or 0.0) for values in logits.values()]).float().mean()
                self.tick_means.add(self.shown, g_acc=fooled)
            total = torch.stack([weight * part for part, weight in parts.values()]).sum()
            total.backward()  # type: ignore[no-untyped-call]
        self.tick_means.add(self.shown, g_loss=total, **{name: part for name, (part, _) in parts.items()})
        self.tick_means.add(self.shown, g_grad_norm=gradient_norm(*self.translators.values()))
        self.g_optimizer.step()

    def _of_pairs(self, batch: PairBatch, output: Tensor) -> dict[str, tuple[Tensor, float]]:
        """Return the parts of the loss that compare an output with its target, each with its weight."""
        config = self.config
        first_phase = self.shown < config.pixel_kimg * 1000
        parts = {}
        if config.pixel_weight:
            parts["g_pixel"] = (PIXEL_LOSSES[config.pixel_loss](output, batch.y), config.pixel_weight)
        if config.content_weight and not first_phase and self.features:
            with torch.no_grad():
                expected = self.features(batch.y)
            distance = perceptual_distance(self.features(output), expected).mean()
            parts["g_content"] = (distance, config.content_weight)
        return parts

    def _of_cycles(self, batch: PairBatch, outputs: Mapping[str, Tensor]) -> dict[str, tuple[Tensor, float]]:
        """Return the cycle loss and the identity loss (Zhu et al. 2017, eq. 2 and section 5.2), with their weights."""
        config, there, back = self.config, self.translators["there"], self.translators["back"]
        with self._autocast():
            cycles = back(outputs["there"]).float(), there(outputs["back"]).float()
        cycle = F.l1_loss(cycles[0], batch.x) + F.l1_loss(cycles[1], batch.y)
        parts = {"g_cycle": (cycle, config.cycle_weight)}
        if config.identity_weight:
            with self._autocast():
                kept = there(batch.y).float(), back(batch.x).float()
            identity = F.l1_loss(kept[0], batch.y) + F.l1_loss(kept[1], batch.x)
            parts["g_identity"] = (identity, config.cycle_weight * config.identity_weight)
        return parts

    def _logits(self, name: str, images: Tensor, shown: Tensor) -> Tensor:
        """Return the logits of the discriminator ``name`` for images, which were made from ``shown``."""
        seen = torch.cat([images, shown], dim=1) if self.config.sees_input else images
        with self._autocast():
            logits: Tensor = self.critics[name](seen)
        return logits.float()

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=bool(self.config.bf16))

    def record(self) -> dict[str, float]:
        """Return the record of a tick: what the schedules have reached, and the means of the scalars."""
        lr: float = self.g_optimizer.param_groups[0]["lr"]
        return {"g_lr": lr} | {name: round(value, 6) for name, value in self.tick_means.pop().items()}

    def state(self) -> dict[str, Any]:
        """Return everything that the next step depends on, as tensors and plain values."""
        return {
            "shown": self.shown,
            "seconds": self.seconds,
            "translators": {name: network.state_dict() for name, network in self.translators.items()},
            "critics": {name: network.state_dict() for name, network in self.critics.items()},
            "g_optimizer": self.g_optimizer.state_dict(),
            "d_optimizer": self.d_optimizer.state_dict(),
            "averages": {name: average.generator.state_dict() for name, average in self.averages.items()},
            "pools": {name: pool.images for name, pool in self.pools.items()},
        }

    def load(self, state: dict[str, Any]) -> None:
        """Restore what ``state`` returned.

        Raises:
            RunError: the state belongs to other networks.
        """
        with fitting_snapshot("Resume with the same config."):
            for name in self.translators:
                self.translators[name].load_state_dict(state["translators"][name])
                self.critics[name].load_state_dict(state["critics"][name])
                self.averages[name].generator.load_state_dict(state["averages"][name])
                self.pools[name].images = state["pools"][name]
            self.g_optimizer.load_state_dict(state["g_optimizer"])
            self.d_optimizer.load_state_dict(state["d_optimizer"])
            self.shown, self.seconds = state["shown"], state["seconds"]


def build_translator(config: TranslationConfig, in_channels: int, img_channels: int) -> Translator:
    """Build the translator of a config, with weights from torch's random state."""
    arguments = translator_arguments(config, in_channels=in_channels, img_channels=img_channels)
    return TRANSLATORS[config.family](**arguments)


def build_critic(config: TranslationConfig, in_channels: int, img_channels: int) -> nn.Module:
    """Build the discriminator of a config's images."""
    channels = img_channels + (in_channels if config.sees_input else 0)
    shape: dict[str, Any] = {"channels": channels, "ndf": config.ndf, "norm": config.d_norm}
    if config.critic == "patch":
        return PatchDiscriminator(**shape, layers=config.d_layers or patch_layers(config.resolution))
    return ImageDiscriminator(**shape, layers=config.d_layers or 4)


def _adam(networks: Iterable[nn.Module], lr: float, betas: tuple[float, float]) -> torch.optim.Adam:
    weights = [weight for network in networks for weight in network.parameters()]
    return torch.optim.Adam(weights, lr, betas, fused=True)


def _initialise(network: nn.Module) -> None:
    """Initialise weights from N(0, 0.02²) and the scales of norms from N(1, 0.02²), as Pix2Pix and CycleGAN do."""
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
            nn.init.normal_(layer.weight, 0.0, WEIGHT_STD)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
        elif isinstance(layer, nn.BatchNorm2d | nn.InstanceNorm2d) and layer.weight is not None:
            nn.init.normal_(layer.weight, 1.0, WEIGHT_STD)


def _flipped(batch: PairBatch, random: StepRandom, *, paired: bool) -> PairBatch:
    """Mirror half of the images; the two of a pair together."""
    mirrored = [random.uniform(len(batch.x), 1, 1, 1) < 0.5 for _ in range(2)]
    x = torch.where(mirrored[0], batch.x.flip(3), batch.x)
    return PairBatch(x, torch.where(mirrored[0 if paired else 1], batch.y.flip(3), batch.y))


@contextlib.contextmanager
def _frozen(networks: Any) -> Iterator[None]:
    """Compute no gradients of the weights of these networks inside the block."""
    for network in networks:
        network.requires_grad_(False)
    try:
        yield
    finally:
        for network in networks:
            network.requires_grad_(True)
