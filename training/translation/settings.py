"""The settings of a run that trains a translator. Field names are the keys of ``--set``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from gan_serve.checkpoint.json_files import read_json_file
from gan_serve.errors import InvalidOption
from gan_serve.training.config import OF_THE_MACHINE, check_names, command_of
from gan_serve.training.losses import LOSSES
from gan_serve.training.networks.options import arguments_of, validate
from gan_serve.training.recipes import TRANSLATE, recipes
from gan_serve.training.settings import Count, LossName, RunSettings, Share, Weight, known
from gan_serve.training.translation.networks import ResNetTranslator, SRResNet, Translator, UNet

TRANSLATORS: dict[str, type[Translator]] = {"srresnet": SRResNet, "unet": UNet, "resnet": ResNetTranslator}
PairKind = Literal["auto", "folders", "side", "downscale", "edges", "unpaired"]
NORMS = Literal["batch", "instance", "layer", "none"]


def _not_relativistic(name: str) -> str:
    if LOSSES[name].relativistic:
        raise ValueError("a relativistic loss is not for translators")
    return name


class PairSettings(BaseModel):
    """The images, and how inputs and targets come from them."""

    data: str  # source of the images
    pairs: PairKind = "auto"  # docs/translate.md
    direction: Literal["AtoB", "BtoA"] = "AtoB"  # which of both domains is the input
    domain_a: str | None = None  # unpaired: the label of the inputs, in data with labels
    domain_b: str | None = None  # unpaired: the label of the targets
    holdout: Share = 0.0  # share of the images held out for the evaluation, for sources without a test split
    resolution: Annotated[int, Field(ge=8, le=1024, multiple_of=4)]  # width and height of the targets
    channels: Literal[1, 3] | None = None  # of the targets, gray or RGB; None: that of the data
    in_channels: Literal[1, 3] | None = None  # of the inputs
    flip: bool = False  # mirror half of the images left to right, input and target together


class TranslatorSettings(BaseModel):
    """Translator and discriminator."""

    family: Annotated[str, AfterValidator(lambda name: known(name, TRANSLATORS))]  # srresnet, unet or resnet
    scale: Literal[1, 2, 4, 8] = 1  # srresnet: targets are so many times as large as inputs
    ngf: Count = 64  # channels of the translator
    blocks: Annotated[int, Field(ge=1, le=64)] | None = None  # residual blocks, of srresnet and resnet
    out_kernel: Annotated[int, Field(ge=1, le=15)] | None = None  # srresnet: width of the last kernel
    skip: bool = False  # srresnet: add the enlarged input
    dropout: Share | None = None  # unet
    full_size_channels: Annotated[int, Field(ge=0)] | None = None  # unet: of one more layer, which sees the input too
    norm: NORMS | None = None  # of the translator, unet and resnet
    upsample: Literal["transposed", "nearest"] | None = None  # unet and resnet
    critic: Literal["patch", "image"] = "patch"  # discriminator of patches, or of whole images
    ndf: Count = 64  # channels of the discriminator
    # Strided layers of the discriminator; None: for patches the largest patch that fits, up to 70 pixels, else 4.
    d_layers: Annotated[int, Field(ge=1, le=6)] | None = None
    d_norm: NORMS = "batch"
    sees_input: bool = False  # the discriminator sees the input beside the image, for pairs


class TranslationLosses(BaseModel):
    """Weights of the parts of the loss; a part of weight 0 is not computed."""

    loss: Annotated[LossName, AfterValidator(_not_relativistic)] = "non-saturating"  # adversarial, training/losses.py
    gan_weight: Weight = 1.0
    pixel_loss: Literal["l1", "l2"] = "l1"
    pixel_weight: Weight = 0.0  # of the difference from the target, for pairs
    content_weight: Weight = 0.0  # of the perceptual distance from the target, for pairs
    cycle_weight: Weight = 0.0  # of the difference after there and back, unpaired
    identity_weight: Weight = 0.0  # of the change of images of the target domain; a multiple of cycle_weight
    pool: Annotated[int, Field(ge=0, le=1000)] = 0  # earlier outputs that D may see in place of new ones
    pixel_kimg: Weight = 0.0  # duration of the first phase, which has the pixel loss alone


class TranslationConfig(RunSettings, TranslationLosses, TranslatorSettings, PairSettings):
    """Everything that determines what a run of a translator computes."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, coerce_numbers_to_str=True)

    task: Literal["translate"] = "translate"
    recipe: str

    @property
    def cyclic(self) -> bool:
        """True if a second translator goes back, so that images need no pairs."""
        return bool(self.cycle_weight)

    @property
    def in_resolution(self) -> int:
        """Width and height of the inputs."""
        return self.resolution // self.scale


# Arguments that not all families of translators have.
OF_SOME_FAMILIES = ("blocks", "out_kernel", "skip", "dropout", "full_size_channels", "norm", "upsample")
# Settings of generators alone, and the values that translators have for them.
NOT_USED = {
    "accumulate": 1, "optimizer": "adam", "compile": False, "legacy": (), "g_beta2_end": None, "d_beta2_end": None,
}  # fmt: skip


def make_translation_config(recipe: str, settings: Mapping[str, Any]) -> TranslationConfig:
    """Build a config from a recipe's values and the user's.

    Raises:
        InvalidOption: no such recipe, an unknown key (the nearest is named), a value out of range, or settings that
            contradict each other.
    """
    available = recipes(TRANSLATE)
    if recipe not in available:
        raise InvalidOption.unknown("recipe for translators", recipe, available)
    plain = available[recipe].config
    config = check_translation_config(dict(plain) | dict(settings) | {"recipe": recipe})
    arguments = arguments_of(TRANSLATORS[config.family])
    for name in OF_SOME_FAMILIES:
        if name not in arguments and settings.get(name) not in (None, plain.get(name), False):
            raise InvalidOption(f"Translators of the family {config.family} have no {name}.", f"Leave {name} out.")
    for name, value in NOT_USED.items():  # not in the check of a resumed run, which an earlier version may have begun
        if getattr(config, name) != value:
            raise InvalidOption(f"Translators are not trained with {name}.", f"Leave {name} out.")
    if config.loss == "wasserstein":
        raise InvalidOption(
            "The loss wasserstein needs a gradient penalty or clipped weights, which translators are trained without.",
            "Take loss=lsgan, hinge or non-saturating.",
        )
    return config


def check_translation_config(values: Mapping[str, Any]) -> TranslationConfig:
    """Validate a config's values; see ``make_translation_config`` for the errors."""
    check_names(values, list(TranslationConfig.model_fields))
    config = validate(TranslationConfig, {key: None if value == "null" else value for key, value in values.items()})
    _check_together(config)
    return config


def _check_together(config: TranslationConfig) -> None:
    if config.scale > 1 and config.family != "srresnet":
        raise InvalidOption(f"A {config.family} gives images of the size of its input.", "Add --set family=srresnet.")
    if config.resolution % config.scale:
        raise InvalidOption(
            f"{config.resolution} pixels cannot be downscaled by {config.scale}.",
            "resolution must be a multiple of scale.",
        )
    if config.scale > 1 and config.pairs not in ("auto", "downscale"):
        raise InvalidOption("Inputs that are smaller than their targets are made by downscaling.", "pairs=downscale")
    if config.pairs not in (("auto", "unpaired") if config.cyclic else get_args(PairKind)[:-1]):
        raise InvalidOption(
            "cycle_weight is for images without pairs, and needed for them.",
            "Take the recipe cyclegan with pairs=unpaired, or another recipe with pairs.",
        )
    if config.cyclic and (config.sees_input or config.pixel_weight or config.content_weight):
        raise InvalidOption("sees_input, pixel_weight and content_weight need pairs.", "Leave them out for cyclegan.")
    if not config.cyclic and (config.identity_weight or config.pool):
        raise InvalidOption("identity_weight and pool are for images without pairs.", "Take the recipe cyclegan.")
    if (config.domain_a is None) != (config.domain_b is None):
        raise InvalidOption("domain_a and domain_b go together.", "Name the labels of inputs and targets.")
    if not config.cyclic and not (config.pixel_weight or config.content_weight or config.gan_weight):
        raise InvalidOption("All parts of the loss have the weight 0.", "Set pixel_weight.")
    if config.pixel_kimg and not config.pixel_weight:
        raise InvalidOption("The first phase has the pixel loss alone, whose weight is 0.", "Set pixel_weight.")


def translator_arguments(config: TranslationConfig, *, in_channels: int, img_channels: int) -> dict[str, Any]:
    """Return the arguments of the translator's class for a config; a checkpoint records them."""
    values = config.model_dump() | {"in_channels": in_channels, "img_channels": img_channels}
    values["in_resolution"] = config.in_resolution
    return {name: values[name] for name in arguments_of(TRANSLATORS[config.family]) if values.get(name) is not None}


def translation_command(config: TranslationConfig) -> str:
    """Return the command that repeats this run; see ``command_line``."""
    plain = make_translation_config(config.recipe, {"data": config.data})
    return command_of(config.model_dump() | dict.fromkeys(OF_THE_MACHINE), plain.model_dump(), "RUN")


def is_translation_run(run_dir: Path) -> bool:
    """Return True if the folder has a run whose config names the task ``translate``."""
    try:
        content = read_json_file(run_dir / "config.json")
        return isinstance(content, dict) and content.get("task") == TRANSLATE
    except (OSError, ValueError):
        return False


def read_translation_config(run_dir: Path) -> TranslationConfig:
    """Read the ``config.json`` of a run.

    Raises:
        InvalidOption: it is not the config of a translator's run.
    """
    path = run_dir / "config.json"
    try:
        return validate(TranslationConfig, read_json_file(path))
    except (ValueError, TypeError, OSError, InvalidOption) as error:
        raise InvalidOption(f"{path} is not the config of a translator's run.", "Start a new run directory.") from error
