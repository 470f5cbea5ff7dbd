"""The settings of a run, in groups. Field names are the keys of ``--set``; ``config.TrainConfig`` combines the groups.

Settings of single families of networks are defined with those networks (``networks.options``).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, Field

from gan_serve.training.augment import AUGMENTATIONS
from gan_serve.training.legacy import LegacyRule
from gan_serve.training.losses import LOSSES


def _names(value: object) -> object:
    """Return a list of names, from text such as ``"color,cutout"`` or a list."""
    return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value


def known(name: str, registry: Mapping[str, object]) -> str:
    """Return ``name``; raise ``ValueError`` if the registry does not have it."""
    if name not in registry:
        raise ValueError(f"there is no {name!r}, only {', '.join(registry)}")
    return name


def _auto(value: object) -> object:
    """Return None for ``"auto"``, which means that the data decide; other values are unchanged."""
    return None if value == "auto" else value


def _ascending(bounds: tuple[float, float]) -> tuple[float, float]:
    if bounds[0] > bounds[1]:
        raise ValueError(f"the lower bound comes first, as in [{bounds[1]:g}, {bounds[0]:g}]")
    return bounds


Share = Annotated[float, Field(ge=0, lt=1)]
Probability = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]
Weight = Annotated[float, Field(ge=0)]
Count = Annotated[int, Field(ge=1)]
TargetRange = Annotated[tuple[float, float], AfterValidator(_ascending)]
LossName = Annotated[str, AfterValidator(lambda name: known(name, LOSSES))]
Augmentation = Annotated[str, AfterValidator(lambda name: known(name, AUGMENTATIONS))]


class DataSettings(BaseModel):
    """The images, and their changes."""

    data: str  # source of the images
    labels: str | None = None  # labels in place of the source's own: file.csv:column or file.npz:attribute
    holdout: Share | None = None  # share held out for the evaluation; None: 0.1 where the data has no test split
    resolution: Annotated[int, Field(ge=8, le=1024, multiple_of=4)]  # width and height of the images
    channels: Literal[1, 3] | None = None  # gray or RGB; None: that of the data
    flip: bool = False  # mirror half of the real images left to right
    augment: Annotated[tuple[Augmentation, ...], BeforeValidator(_names)] = ()  # of all that D sees, joined by commas
    augment_p: Probability = 1.0  # probability of each augmentation, for each image
    augment_p_end: Probability | None = None


class NetworkSettings(BaseModel):
    """Generator and discriminator."""

    family: str  # of generator and discriminator; see training/networks
    z_dim: Count = 100  # length of a latent
    width: Positive = 1.0  # multiplies all channel counts of both networks
    d_width: Positive | None = None  # multiplies those of the discriminator in its place
    init_from: str | None = None  # checkpoint whose weights the generator starts with: name, directory or org/name
    conditional: Annotated[bool | None, BeforeValidator(_auto)] = False  # use labels; auto: if the images have any
    conditioning: Literal["planes", "projection"] = "projection"  # how labels enter the discriminator
    spectral_norm: bool = False  # divide each of the discriminator's weights by its largest singular value
    init: Literal["torch", "glorot"] = "torch"  # initial weights: the defaults of torch, or Glorot uniform, as in Keras
    init_std: Weight = 0.0  # initial weights from N(0, init_std²); 0: those of init
    stage_kimg: Positive | None = None  # progressive: duration of each size before the next fades in
    fade_kimg: Positive | None = None  # progressive: duration of each fade


class LossSettings(BaseModel):
    """Losses and penalties."""

    loss: LossName = "non-saturating"  # training/losses.py
    n_critic: Count = 1  # steps of the discriminator for each step of the generator
    critic_reuses_batch: bool = False  # they all see the same real images, which are counted once
    simultaneous: bool = False  # the generator's gradient is that of the discriminator before its step, not after it
    gp_weight: Weight = 0.0  # gradient penalty between real and generated images
    r1: Weight = 0.0  # γ of ½ E|∇D|² on real images; weighs twice as in the papers with the halved BCE and LSGAN
    r1_end: Weight | None = None
    r2: Weight = 0.0  # the same on generated images
    r2_end: Weight | None = None
    r1_every: Count = 1  # steps of D from one R1 or R2 penalty to the next; the penalty is multiplied by it
    penalty_method: Literal["exact", "finite-differences"] = "exact"  # how R1 and R2 compute the gradient
    clip: Weight = 0.0  # bound of the discriminator's weights; 0: no clipping
    label_smoothing: Share = 0.0  # one-sided: the target of real images is 1 - label_smoothing
    label_noise: Share = 0.0  # largest random shift of targets towards each other
    real_target: TargetRange | None = None  # [low, high] of real images' targets, which may lie outside 0 to 1
    fake_target: TargetRange | None = None  # the same of generated images
    label_flip: Share = 0.0  # share of images with the opposite target
    bce_eps: Annotated[float, Field(ge=0, lt=0.5)] = 0.0  # cross-entropy: probabilities in [bce_eps, 1 - bce_eps]
    instance_noise: Weight = 0.0  # standard deviation of noise on all images that D sees
    instance_noise_kimg: Weight = 0.0  # duration over which instance_noise falls to 0; 0: it is constant
    drift: Weight = 0.0  # weight of E[D(x)²] on real images, which keeps a critic's scores near 0
    feature_matching: Weight = 0.0  # weight of the distance between mean features of real and generated images
    mode_seeking: Weight = 0.0  # weight of the penalty on different latents with similar images


class OptimizerSettings(BaseModel):
    """Length of the run, optimisers, schedules and the average of the generator."""

    kimg: Positive  # thousands of real images shown in total
    batch_size: Annotated[int, Field(ge=2)] = 128  # real images in a step of the discriminator, over all processes
    accumulate: Count = 1  # parts of a batch that are computed one after the other, to save memory
    optimizer: Literal["adam", "rmsprop"] = "adam"
    # <setting>_end: the value at the end of the run, reached along a cosine (schedules.py). None: constant.
    g_lr: Positive = 2e-4  # learning rate of the generator
    g_lr_end: Weight | None = None
    d_lr: Positive = 2e-4  # learning rate of the discriminator
    d_lr_end: Weight | None = None
    g_beta1: Share = 0.5  # Adam's first decay; 0.5 as in the DCGAN paper
    g_beta2: Share = 0.999  # Adam's second decay, and the decay of RMSprop
    g_beta2_end: Share | None = None  # Adam's
    d_beta1: Share = 0.5
    d_beta2: Share = 0.999
    d_beta2_end: Share | None = None  # Adam's
    decay_kimg: Weight = 0.0  # the learning rates fall to 0 over so many kimg at the end of the run; 0: constant
    decay_share: Share = 0.0  # the same as a share of the run, in place of decay_kimg
    ema_kimg: Weight = 10.0  # half-life of the generator's average; 0: no average
    ema_kimg_end: Weight | None = None
    ema_rampup: Share = 0.05  # the half-life is at most this share of the images shown; 0: no limit


class OutputSettings(BaseModel):
    """Log, grids, snapshots and measurements."""

    kimg_per_tick: Positive = 20.0  # largest distance between two log lines, grids and snapshots
    seconds_per_tick: Positive = 60.0  # the same in seconds; the first tick of a run ends after four steps
    features: str | None = None  # feature extractor for the quality; None: sliced Wasserstein distance
    ticks_per_evaluation: Annotated[int, Field(ge=0)] = 5  # quality is measured every so many kimg_per_tick; 0: never
    keep_snapshots: Count = 2  # number of last snapshots to keep


class MachineSettings(BaseModel):
    """Seed and machine."""

    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0  # for weights, latents, data order and dropout
    device: Literal["auto", "cpu", "cuda"] = "auto"  # auto: CUDA if torch finds it
    threads: Annotated[int, Field(ge=1, le=256)] | None = None  # CPU threads; None: torch's default, then recorded
    bf16: bool | None = None  # convolutions in bfloat16; None: if the processor has units for it, then recorded
    compile: bool = False  # torch.compile both networks; not with a penalty that is differentiated twice
    legacy: Annotated[
        tuple[LegacyRule, ...], BeforeValidator(_names)
    ] = ()  # behaviour of earlier versions that the run keeps (legacy.py)


class RunSettings(MachineSettings, OutputSettings, OptimizerSettings):
    """The settings that runs of every task have. Subclasses put their own groups after it, so that these come last."""
