"""What a run is: one flat, checked config, from a recipe and ``--set key=value``, written beside the results."""

from __future__ import annotations

import json
import shlex
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from torch import nn

from gan_serve.errors import InvalidOption, nearest
from gan_serve.training.legacy import MINIBATCH_ON_FEATURES, LegacyRule, with_legacy_values
from gan_serve.training.losses import LOSSES
from gan_serve.training.networks import arguments_of, find_family
from gan_serve.training.recipes import recipes


def _names(value: object) -> object:
    """``"color,cutout"`` as typed, or a list."""
    return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value


def _auto(value: object) -> object:
    """``"auto"`` as typed or in a recipe: None, to be found from the data."""
    return None if value == "auto" else value


Share = Annotated[float, Field(ge=0, lt=1)]
Probability = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]
Weight = Annotated[float, Field(ge=0)]
Count = Annotated[int, Field(ge=1)]
LossName = Literal["non-saturating", "saturating", "lsgan", "hinge", "wasserstein", "relativistic"]
Augmentation = Literal["color", "translation", "cutout"]


class TrainConfig(BaseModel):
    """Everything that decides what a run computes. Field names are the keys of ``--set``."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, coerce_numbers_to_str=True)

    recipe: str  # name of the recipe it began with

    # Images
    data: str  # source of the images, as typed
    labels: str | None = None  # where labels come from, beside the source's own: file.csv:column, file.npz:attribute
    holdout: Share = 0.0  # share of the images that is left out, to evaluate by; for sources without a test split
    resolution: Annotated[int, Field(ge=8, le=1024, multiple_of=4)]  # width and height of the images
    channels: Literal[1, 3] | None = None  # gray or RGB; None: as the data
    flip: bool = False  # mirror half of the real images left to right
    augment: Annotated[tuple[Augmentation, ...], BeforeValidator(_names)] = ()  # of all that D sees, joined by commas
    augment_p: Probability = 1.0  # probability of each augmentation for an image
    augment_p_end: Probability | None = None

    # Networks
    family: str  # generator and discriminator, training/networks
    z_dim: Count = 100  # numbers in a latent
    width: Positive = 1.0  # multiplies all channel counts of both networks
    init_from: str | None = None  # checkpoint whose weights the generator starts with: name, directory or org/name
    conditional: Annotated[bool | None, BeforeValidator(_auto)] = False  # networks are told the label; auto: if any
    conditioning: Literal["planes", "projection"] = "projection"  # how the discriminator is told
    g_conditioning: Literal["concat", "batchnorm"] | None = None  # how a dcgan, dcgan28 or resnet generator is told
    block: Literal["sngan", "biggan", "r3gan"] | None = None  # of a resnet
    block_size: Annotated[int, Field(ge=4)] | None = None  # largest size at which a resnet has residual blocks
    skip_z: bool | None = None  # a resnet generator: each layer is given a part of the latent
    g_spectral_norm: bool | None = None  # divide each weight of a resnet generator by its largest singular value
    upsampling: Literal["transposed", "nearest"] | None = None  # of a dcgan or resnet generator
    activation: Literal["relu", "leaky"] | None = None  # of a dcgan generator
    style_mixing: Annotated[float, Field(ge=0, le=1)] | None = None  # stylegan: share of images with two latents
    mapping_layers: Count | None = None  # stylegan: dense layers from z to w
    d_norm: Literal["batch", "layer", "instance", "none"] | None = None  # normalisation in the discriminator
    minibatch: Literal["none", "std", "discrimination"] | None = None  # how D compares the images of a batch
    dropout: Share | None = None  # of the discriminator's activations
    spectral_norm: bool = False  # divide each of the discriminator's weights by its largest singular value
    init_std: Weight = 0.0  # first weights are drawn from N(0, init_std²); 0: as torch does
    stage_kimg: Positive | None = None  # progressive: how long a size is trained before the next fades in
    fade_kimg: Positive | None = None  # progressive: how long the next takes to fade in

    # Length
    kimg: Positive  # thousands of real images shown in all
    batch_size: Annotated[int, Field(ge=2)] = 128  # real images in a step of the discriminator, over all processes
    accumulate: Count = 1  # parts that a batch is cut into, one after the other, to save memory

    # The game
    loss: LossName = "non-saturating"  # training/losses.py
    n_critic: Count = 1  # steps of the discriminator for one of the generator
    gp_weight: Weight = 0.0  # gradient penalty between real and generated images
    r1: Weight = 0.0  # γ of ½ E|∇D|² on real images; the halved BCE and LSGAN losses let it weigh twice the papers'
    r1_end: Weight | None = None
    r2: Weight = 0.0  # the same on generated images
    r2_end: Weight | None = None
    r1_every: Count = 1  # steps of D from one R1 or R2 penalty to the next, which then weighs as much more
    penalty_method: Literal["exact", "finite-differences"] = "exact"  # how R1 and R2 find the gradient
    clip: Weight = 0.0  # bound of the discriminator's weights; 0: none
    label_smoothing: Share = 0.0  # one-sided: real images aim at 1 - label_smoothing
    label_noise: Share = 0.0  # targets move towards each other by up to this
    label_flip: Share = 0.0  # share of images whose target is the wrong one
    instance_noise: Weight = 0.0  # deviation of the noise on all images that D sees
    instance_noise_kimg: Weight = 0.0  # ... which fades out over this; 0: it stays
    drift: Weight = 0.0  # weight of E[D(x)²] on real images, which keeps a critic's scores near 0
    feature_matching: Weight = 0.0  # weight of the distance between mean features of real and generated images
    mode_seeking: Weight = 0.0  # weight of the penalty on latents that give like images

    # Optimisers
    optimizer: Literal["adam", "rmsprop"] = "adam"
    # <setting>_end: its value at the end of the run; a cosine leads there (schedules.py). None: it stays as it is.
    g_lr: Positive = 2e-4  # learning rate of the generator
    g_lr_end: Weight | None = None
    d_lr: Positive = 2e-4  # and of the discriminator
    d_lr_end: Weight | None = None
    g_beta1: Share = 0.5  # Adam's first decay; 0.5 as in the DCGAN paper
    g_beta2: Share = 0.999  # Adam's second decay, and RMSprop's only one
    g_beta2_end: Share | None = None  # Adam's
    d_beta1: Share = 0.5
    d_beta2: Share = 0.999
    d_beta2_end: Share | None = None  # Adam's
    decay_kimg: Weight = 0.0  # the learning rates fall to 0 over this, at the end of the run; 0: they stay
    decay_share: Share = 0.0  # the same as a share of the run, in place of decay_kimg
    ema_kimg: Weight = 10.0  # half-life of the generator's average; 0: no average
    ema_kimg_end: Weight | None = None
    ema_rampup: Share = 0.05  # the half-life is at most this share of the images shown; 0: no bound

    # What is written
    kimg_per_tick: Positive = 20.0  # between two log lines, grids and snapshots
    features: str | None = None  # extractor of features that quality is measured in; None: no network, swd
    ticks_per_evaluation: Annotated[int, Field(ge=0)] = 5  # between two measurements of quality; 0: none
    keep_snapshots: Count = 2  # how many of the last are kept

    # How it is computed
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0  # of weights, latents, data order, dropout
    device: Literal["auto", "cpu", "cuda"] = "auto"  # auto: CUDA where torch finds it
    threads: Annotated[int, Field(ge=1, le=256)] | None = None  # CPU threads; None: torch's choice, then recorded
    bf16: bool | None = None  # convolutions in bfloat16; None: where the processor has units for it, then recorded
    compile: bool = False  # torch.compile both networks; not under a penalty that is differentiated twice
    legacy: Annotated[
        tuple[LegacyRule, ...], BeforeValidator(_names)
    ] = ()  # older behaviour that a run keeps which was begun with it (legacy.py)


# Settings that some families of networks lack.
OF_SOME_FAMILIES = (
    "g_conditioning", "block", "block_size", "skip_z", "g_spectral_norm",
    "upsampling", "activation", "style_mixing", "mapping_layers", "d_norm", "minibatch", "dropout",
)  # fmt: skip
OF_THE_MACHINE = ("device", "threads")  # what another machine may choose otherwise
# Settings that change nothing unless one of others is set.
NEEDED = {
    "r1_every": ("r1", "r2"),
    "r1_end": ("r1",),
    "r2_end": ("r2",),
    "penalty_method": ("r1", "r2"),
    "instance_noise_kimg": ("instance_noise",),
    "augment_p": ("augment",),
    "augment_p_end": ("augment",),
}
OPTIONS = ("labels", "init_from", "kimg")  # settings that the command line has options of their own for


def make_config(recipe: str, settings: Mapping[str, Any]) -> TrainConfig:
    """Build a config from a recipe's values and the user's.

    Raises:
        InvalidOption: no such recipe, an unknown key (the nearest is named), a value out of range.

    >>> make_config("dcgan-28", {"data": "fashion-mnist", "kimg": 5}).kimg
    5.0
    """
    available = recipes()
    if recipe not in available:
        raise InvalidOption.unknown("recipe", recipe, available)
    return check_config(dict(available[recipe].config) | dict(settings) | {"recipe": recipe})


def check_config(values: Mapping[str, Any]) -> TrainConfig:
    """Validate a config's values; see ``make_config`` for the errors."""
    unknown = [key for key in values if key not in TrainConfig.model_fields]
    if unknown:
        hint = nearest(unknown[0], TrainConfig.model_fields) or f"Settings are: {', '.join(TrainConfig.model_fields)}."
        raise InvalidOption(f"There is no setting {unknown[0]!r}.", hint)
    try:
        config = TrainConfig.model_validate({key: None if value == "null" else value for key, value in values.items()})
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        raise InvalidOption(
            f"The settings do not fit: {problems}.", "See training/config.py for every setting."
        ) from error
    _check_together(config)
    return config


def generator_arguments(config: TrainConfig, *, img_channels: int, c_dim: int) -> dict[str, Any]:
    """What ``build_generator`` takes for a config; a checkpoint records it."""
    return _network_arguments(find_family(config.family).generator, config, img_channels, c_dim)


def discriminator_arguments(config: TrainConfig, *, img_channels: int, c_dim: int) -> dict[str, Any]:
    """What ``build_discriminator`` takes for a config."""
    arguments = _network_arguments(find_family(config.family).discriminator, config, img_channels, c_dim)
    return arguments | ({"minibatch": "std-features"} if MINIBATCH_ON_FEATURES in config.legacy else {})


def _network_arguments(network: type[nn.Module], config: TrainConfig, img_channels: int, c_dim: int) -> dict[str, Any]:
    """The settings that are arguments of a network; those left at None are the network's own choice."""
    values = config.model_dump() | {
        "img_resolution": config.resolution, "img_channels": img_channels, "c_dim": c_dim
    }  # fmt: skip
    return {name: values[name] for name in arguments_of(network) if values.get(name) is not None}


def _check_together(config: TrainConfig) -> None:
    """Refuse settings that a family of networks lacks, that need another one, or that spoil each other."""
    family = find_family(config.family)
    known = (*arguments_of(family.generator), *arguments_of(family.discriminator))
    for option in OF_SOME_FAMILIES:
        if getattr(config, option) is not None and option not in known:
            raise InvalidOption(
                f"Networks of the family {config.family} have no {option}.",
                f"They have: {', '.join(dict.fromkeys(name for name in known if name in TrainConfig.model_fields))}.",
            )
    grows = hasattr(family.generator, "set_level")
    if grows and (config.stage_kimg is None or config.fade_kimg is None):
        raise InvalidOption(f"Networks of the family {config.family} grow.", "Set stage_kimg and fade_kimg.")
    if not grows and (config.stage_kimg is not None or config.fade_kimg is not None):
        raise InvalidOption(
            f"Networks of the family {config.family} do not grow.", "stage_kimg and fade_kimg are for progressive."
        )
    for option, needed in NEEDED.items():
        if getattr(config, option) != TrainConfig.model_fields[option].default and not any(
            getattr(config, name) for name in needed
        ):
            raise InvalidOption(f"{option} has no effect without {' or '.join(needed)}.", f"Add --set {needed[0]}=...")
    if config.decay_kimg and config.decay_share:
        raise InvalidOption(
            "decay_kimg and decay_share both say when the learning rates fall.",
            "Set one of them; --set decay_kimg=0 or --set decay_share=0 takes back what the recipe sets.",
        )
    if config.decay_kimg > config.kimg:
        raise InvalidOption(
            f"The learning rates cannot fall over the last {config.decay_kimg:g} kimg of a run of {config.kimg:g}.",
            "Lower decay_kimg, or raise kimg.",
        )
    exact = config.penalty_method == "exact" and (config.r1 or config.r2)
    if config.compile and (config.gp_weight or exact):
        raise InvalidOption(
            "torch.compile cannot differentiate twice, as a gradient penalty needs.",
            "Leave compile at false" + (", or add --set penalty_method=finite-differences." if exact else "."),
        )
    if config.penalty_method == "finite-differences" and config.dropout:
        raise InvalidOption(
            "Dropout changes the logits more than the small step of a finite difference does.", "Add --set dropout=0."
        )
    if config.optimizer != "adam" and (config.g_beta2_end is not None or config.d_beta2_end is not None):
        raise InvalidOption("g_beta2_end and d_beta2_end are for Adam.", "Leave them out, or take optimizer=adam.")
    if config.init_std and config.family in ("progressive", "stylegan"):
        raise InvalidOption(
            f"Networks of the family {config.family} scale their weights themselves.", "Leave init_std at 0."
        )
    if config.family == "resnet":
        _check_resnet(config)
    softened = [name for name in ("label_smoothing", "label_noise", "label_flip") if getattr(config, name)]
    if softened and not LOSSES[config.loss].has_targets:
        raise InvalidOption(
            f"The loss {config.loss} has no targets that {softened[0]} could change.",
            f"Add --set {softened[0]}=0, or take the loss non-saturating, saturating or lsgan.",
        )
    if config.batch_size % config.accumulate:
        raise InvalidOption(
            f"A batch of {config.batch_size} cannot be cut into {config.accumulate} equal parts.",
            "accumulate must divide batch_size.",
        )


def _check_resnet(config: TrainConfig) -> None:
    """Refuse what spoils the first weights of a residual network."""
    if config.init_std:
        raise InvalidOption("The first weights of a resnet are those of its block's paper.", "Leave init_std at 0.")
    if config.block == "r3gan" and config.spectral_norm:
        raise InvalidOption(
            "The last layer of each of R3GAN's blocks starts at 0, which has no largest singular value to divide by.",
            "Leave spectral_norm at false; r1 and r2 take its place.",
        )


def parse_settings(pairs: Iterable[str]) -> dict[str, Any]:
    """Read ``key=value`` pairs as typed after ``--set``: a number or true/false as in TOML, anything else is text.

    Raises:
        InvalidOption: a pair without ``=``.
    """
    settings: dict[str, Any] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or not key:
            raise InvalidOption(f"--set takes key=value, not {pair!r}.", "For example: --set batch_size=64")
        try:
            read = tomllib.loads(f"value = {value}")["value"]
            settings[key.strip()] = read if isinstance(read, bool | int | float | str | list) else value.strip()
        except tomllib.TOMLDecodeError:
            settings[key.strip()] = value.strip()
    return settings


def command_line(config: TrainConfig, run_dir: str = "RUN") -> str:
    """The command that starts this run again: the recipe, and what was set beside it.

    >>> command_line(make_config("dcgan-28", {"data": "fashion-mnist", "kimg": 5}))
    'gan-serve train --recipe dcgan-28 --data fashion-mnist --run-dir RUN --kimg 5'
    """
    plain = make_config(config.recipe, {"data": config.data})
    parts = ["gan-serve", "train", "--recipe", config.recipe, "--data", config.data, "--run-dir", run_dir]
    for key, value in config.model_dump().items():
        if value != getattr(plain, key) and key not in OF_THE_MACHINE:
            text = as_typed(value)
            option = f"--{key.replace('_', '-')}"
            parts += [option, text] if key in OPTIONS else ["--set", f"{key}={text}"]
    return shlex.join(parts)


def as_typed(value: object) -> str:
    """Return a setting's value as ``--set`` reads it; None is ``null``."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return ",".join(value)
    return repr(value).removesuffix(".0") if isinstance(value, float) else str(value)


def read_config(path: Path) -> TrainConfig:
    """Read a run's ``config.json``; what one of an earlier version lacks, it gets as that version did it.

    Raises:
        InvalidOption: it is not a config.
    """
    try:
        return TrainConfig.model_validate(with_legacy_values(json.loads(path.read_text())))
    except (ValueError, TypeError, OSError) as error:  # pydantic's and json's errors are ValueErrors
        raise InvalidOption(f"{path} is not the config of a run.", "Start a new run directory.") from error
