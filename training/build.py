"""Build the networks and the optimisers of a run from its config."""

from __future__ import annotations

import torch
from torch import nn

from gan_serve.errors import InvalidOption
from gan_serve.training.config import TrainConfig, discriminator_arguments, generator_arguments
from gan_serve.training.distributed import Processes, synchronise_batch_norm
from gan_serve.training.legacy import (
    MINIBATCH_ON_FEATURES,
    PLAIN_EMBEDDING,
    use_minibatch_on_features,
    use_plain_embedding,
)
from gan_serve.training.networks import (
    build_discriminator,
    build_generator,
    initialise,
    initialise_glorot,
)
from gan_serve.training.networks.discriminator import Discriminator
from gan_serve.training.networks.layers import MinibatchDiscrimination, normalise_spectrally, use_byte_dropout


def build_networks(
    config: TrainConfig, device: torch.device, *, c_dim: int, processes: Processes
) -> tuple[nn.Module, Discriminator]:
    """Build generator and discriminator on ``device``, in training mode, with weights from torch's random state.

    Args:
        config: with ``channels`` set. c_dim: number of classes; 0 for an unconditional run.
        processes: the processes that share the run; several of them share the statistics of BatchNorm.

    Raises:
        InvalidOption: the networks cannot be built so, or do not allow the chosen penalty.
    """
    shape = {"img_channels": config.channels or 1, "c_dim": c_dim}
    generator = build_generator(config.family, **generator_arguments(config, **shape))
    discriminator = build_discriminator(config.family, **discriminator_arguments(config, **shape))
    if MINIBATCH_ON_FEATURES in config.legacy:
        use_minibatch_on_features(discriminator)
    if PLAIN_EMBEDDING in config.legacy:
        use_plain_embedding(discriminator)
    _check_penalties(config, discriminator)
    for network in (generator, discriminator):
        if config.init_std:
            initialise(network, config.init_std)
        if config.init == "glorot":
            initialise_glorot(network)
        if processes.world > 1:
            synchronise_batch_norm(network)
    if config.spectral_norm:
        normalise_spectrally(discriminator)
    if device.type == "cpu":
        use_byte_dropout(discriminator)
    for network in (generator, discriminator):
        network.to(device, memory_format=torch.channels_last).train()  # type: ignore[call-overload]
    return generator, discriminator


def build_optimizers(
    config: TrainConfig, generator: nn.Module, discriminator: nn.Module
) -> tuple[torch.optim.Optimizer, torch.optim.Optimizer]:
    """Build the optimisers of the generator and the discriminator."""
    return (
        _optimizer(config, generator, config.g_lr, (config.g_beta1, config.g_beta2)),
        _optimizer(config, discriminator, config.d_lr, (config.d_beta1, config.d_beta2)),
    )


def _optimizer(config: TrainConfig, network: nn.Module, lr: float, betas: tuple[float, float]) -> torch.optim.Optimizer:
    if config.optimizer == "rmsprop":
        return torch.optim.RMSprop(network.parameters(), lr, alpha=betas[1])
    return torch.optim.Adam(network.parameters(), lr, betas, fused=True)


def _check_penalties(config: TrainConfig, discriminator: Discriminator) -> None:
    """Refuse a penalty on the gradient of each image if a layer mixes images (Gulrajani et al. 2017, section 4).

    The minibatch standard deviation is allowed, as progressive growing and StyleGAN combine it with their penalties.
    """
    mixing = {
        "BatchNorm": (nn.modules.batchnorm._BatchNorm, "d_norm=layer (or instance, none)"),
        "minibatch discrimination": (MinibatchDiscrimination, "minibatch=std (or none)"),
    }
    penalty = next((name for name in ("gp_weight", "r1", "r2") if getattr(config, name)), None)
    for name, (kind, instead) in mixing.items():
        if penalty and any(isinstance(layer, kind) for layer in discriminator.modules()):
            raise InvalidOption(
                f"{penalty} needs the gradient of each image alone, but {name} in the discriminator mixes them.",
                f"Add --set {instead}.",
            )
