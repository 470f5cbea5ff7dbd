"""The config of a run: a recipe and ``--set key=value``, flat and checked, written beside the results."""

from __future__ import annotations

import shlex
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ConfigDict
from torch import nn

from gan_serve.checkpoint.json_files import read_json_file
from gan_serve.errors import InvalidOption, nearest
from gan_serve.training.legacy import MINIBATCH_ON_FEATURES, with_legacy_values
from gan_serve.training.losses import LOSSES
from gan_serve.training.networks import FAMILIES, find_family
from gan_serve.training.networks.options import arguments_of, validate
from gan_serve.training.recipes import recipes
from gan_serve.training.settings import DataSettings, LossSettings, NetworkSettings, RunSettings


class TrainConfig(RunSettings, LossSettings, NetworkSettings, DataSettings):
    """Everything that determines what a run computes, as flat keys, with the options of its family of networks.

    The base classes are in reverse order, so that the fields have the order of ``settings.py``.
    """

    model_config = ConfigDict(extra="allow", frozen=True, allow_inf_nan=False, coerce_numbers_to_str=True)

    recipe: str  # name of the recipe that it is based on

    @property
    def network_options(self) -> dict[str, Any]:
        """Options of the family of networks that are set; see ``networks.options``."""
        return dict(self.__pydantic_extra__ or {})


OF_THE_MACHINE = ("device", "threads")  # settings that may differ on another machine
# Settings that have no effect unless another one is set.
NEEDED = {
    "r1_every": ("r1", "r2"),
    "r1_end": ("r1",),
    "r2_end": ("r2",),
    "penalty_method": ("r1", "r2"),
    "instance_noise_kimg": ("instance_noise",),
    "augment_p": ("augment",),
    "augment_p_end": ("augment",),
}
SOFTENED = ("label_smoothing", "label_noise", "label_flip", "real_target", "fake_target")  # need a loss with targets
OPTIONS = ("labels", "init_from", "kimg")  # settings that have command-line options of their own


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
    values = dict(available[recipe].config)
    if settings.get("family", values["family"]) != values["family"]:  # another family has its own options
        options = find_family(settings["family"]).options.model_fields
        values = {key: value for key, value in values.items() if key in TrainConfig.model_fields or key in options}
    for chosen, other in (("decay_kimg", "decay_share"), ("decay_share", "decay_kimg")):
        if chosen in settings:
            # Two ways to set when the learning rates fall: the user's one replaces the recipe's.
            values.pop(other, None)
    return check_config(values | dict(settings) | {"recipe": recipe})


def check_config(values: Mapping[str, Any]) -> TrainConfig:
    """Validate a config's values; see ``make_config`` for the errors."""
    config = _validated({key: None if value == "null" else value for key, value in values.items()})
    _check_together(config)
    return config


def setting_names() -> list[str]:
    """Return the names of all settings; those that only some families of networks have come last."""
    options = (key for family in FAMILIES.values() for key in family.options.model_fields)
    return list(dict.fromkeys([*TrainConfig.model_fields, *options]))


def check_names(values: Iterable[str], settings: Sequence[str]) -> None:
    """Raise ``InvalidOption`` if a name of ``values`` is none of ``settings``; the nearest is named."""
    if unknown := next((key for key in values if key not in settings), None):
        hint = nearest(unknown, settings) or f"Settings are: {', '.join(settings)}."
        raise InvalidOption(f"There is no setting {unknown!r}.", hint)


def _validated(values: Mapping[str, Any]) -> TrainConfig:
    """Check each value by itself. Network options that are None are left out: the networks have defaults."""
    check_names(values, setting_names())
    options = {key: value for key, value in values.items() if key not in TrainConfig.model_fields}
    chosen = {key: value for key, value in options.items() if value is not None}
    rest = {key: value for key, value in values.items() if key not in options}
    if "family" in values:
        family = find_family(values["family"])
        for key in chosen.keys() - family.options.model_fields:
            raise InvalidOption(
                f"Networks of the family {values['family']} have no {key}.",
                f"They have: {', '.join(family.options.model_fields)}.",
            )
        chosen = validate(family.options, chosen).model_dump(exclude_unset=True)
    return validate(TrainConfig, rest | chosen)


def generator_arguments(config: TrainConfig, *, img_channels: int, c_dim: int) -> dict[str, Any]:
    """Return the arguments of ``build_generator`` for a config; a checkpoint records them."""
    return _network_arguments(find_family(config.family).generator, config, img_channels, c_dim)


def discriminator_arguments(config: TrainConfig, *, img_channels: int, c_dim: int) -> dict[str, Any]:
    """Return the arguments of ``build_discriminator`` for a config."""
    arguments = _network_arguments(find_family(config.family).discriminator, config, img_channels, c_dim)
    if config.d_width is not None:
        arguments["width"] = config.d_width
    return arguments | ({"minibatch": "none"} if MINIBATCH_ON_FEATURES in config.legacy else {})


def _network_arguments(network: type[nn.Module], config: TrainConfig, img_channels: int, c_dim: int) -> dict[str, Any]:
    """Return the settings that are arguments of a network, without those that are None, for which it has defaults."""
    values = config.model_dump() | {
        "img_resolution": config.resolution, "img_channels": img_channels, "c_dim": c_dim
    }  # fmt: skip
    return {name: values[name] for name in arguments_of(network) if values.get(name) is not None}


def _check_together(config: TrainConfig) -> None:
    """Raise ``InvalidOption`` for settings that need another one or contradict each other."""
    family = find_family(config.family)
    grows = hasattr(family.generator, "set_level")
    if grows and (config.stage_kimg is None or config.fade_kimg is None):
        raise InvalidOption(
            f"Networks of the family {config.family} grow and need a schedule.", "Set stage_kimg and fade_kimg."
        )
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
            "decay_kimg and decay_share both set when the learning rates fall.",
            "Set one of them; --set decay_kimg=0 or --set decay_share=0 removes the one of the recipe.",
        )
    if config.decay_kimg > config.kimg:
        raise InvalidOption(
            f"The learning rates cannot fall over the last {config.decay_kimg:g} kimg of a run of {config.kimg:g}.",
            "Lower decay_kimg, or raise kimg.",
        )
    exact = config.penalty_method == "exact" and (config.r1 or config.r2)
    if config.compile and (config.gp_weight or exact):
        raise InvalidOption(
            "A gradient penalty differentiates twice, which torch.compile does not support.",
            "Leave compile at false" + (", or add --set penalty_method=finite-differences." if exact else "."),
        )
    if config.penalty_method == "finite-differences" and config.network_options.get("dropout"):
        raise InvalidOption(
            "Dropout changes the logits more than the step of a finite difference does.", "Add --set dropout=0."
        )
    if config.optimizer != "adam" and (config.g_beta2_end is not None or config.d_beta2_end is not None):
        raise InvalidOption("g_beta2_end and d_beta2_end are for Adam.", "Leave them out, or take optimizer=adam.")
    if config.init_std and config.init != "torch":
        raise InvalidOption("init and init_std both say how weights start.", "Leave init_std at 0, or init=torch.")
    if (config.init_std or config.init != "torch") and config.family in ("progressive", "stylegan"):
        raise InvalidOption(
            f"Networks of the family {config.family} scale their weights themselves.",
            "Leave init_std at 0 and init at torch.",
        )
    if config.simultaneous and config.n_critic > 1:
        raise InvalidOption(
            "Both networks move at once, so that the discriminator cannot take several steps.", "Add --set n_critic=1."
        )
    if config.critic_reuses_batch and config.n_critic == 1:
        raise InvalidOption("critic_reuses_batch has no effect without n_critic.", "Add --set n_critic=...")
    if config.family == "resnet":
        _check_resnet(config)
    softened = [name for name in SOFTENED if getattr(config, name)]
    if softened and not LOSSES[config.loss].has_targets:
        nothing = as_typed(TrainConfig.model_fields[softened[0]].default)
        raise InvalidOption(
            f"The loss {config.loss} has no targets that {softened[0]} could change.",
            f"Add --set {softened[0]}={nothing}, or take the loss non-saturating, saturating or lsgan.",
        )
    if config.bce_eps and config.loss not in ("non-saturating", "saturating"):
        raise InvalidOption(
            f"The loss {config.loss} has no probabilities that bce_eps could clip.",
            "Add --set bce_eps=0, or take the loss non-saturating or saturating.",
        )
    if config.real_target and (config.label_smoothing or config.label_noise):
        raise InvalidOption("real_target takes the place of label_smoothing and label_noise.", "Set one of them.")
    if config.fake_target and config.label_noise:
        raise InvalidOption("fake_target takes the place of label_noise.", "Set one of them.")
    if config.batch_size % config.accumulate:
        raise InvalidOption(
            f"A batch of {config.batch_size} cannot be split into {config.accumulate} equal parts.",
            "accumulate must divide batch_size.",
        )


def _check_resnet(config: TrainConfig) -> None:
    """Refuse what spoils the first weights of a residual network."""
    if config.init_std or config.init != "torch":
        raise InvalidOption(
            "The first weights of a resnet are those of its block's paper.", "Leave init_std at 0 and init at torch."
        )
    if config.network_options.get("block") == "r3gan" and config.spectral_norm:
        raise InvalidOption(
            "The last layer of each of R3GAN's blocks starts at 0, which spectral normalisation cannot divide by its "
            "largest singular value.",
            "Leave spectral_norm at false; R3GAN uses r1 and r2 instead.",
        )


def parse_settings(pairs: Iterable[str]) -> dict[str, Any]:
    """Parse ``key=value`` pairs of ``--set``: numbers and true/false as in TOML, anything else as text.

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


def command_line(config: TrainConfig, run_dir: str | None = "RUN", *, same_machine: bool = False) -> str:
    """Return the command that repeats this run: the recipe, and the settings that differ from it.

    Without a ``run_dir``, the run of the command gets a folder of its own. With ``same_machine``, the command has the
    device and the threads too.

    >>> command_line(make_config("dcgan-28", {"data": "fashion-mnist", "kimg": 5}))
    'gan-serve train --recipe dcgan-28 --data fashion-mnist --run-dir RUN --kimg 5'
    """
    plain = make_config(config.recipe, {"data": config.data}).model_dump()
    settings = config.model_dump()
    return command_of(settings if same_machine else settings | dict.fromkeys(OF_THE_MACHINE), plain, run_dir)


def command_of(settings: Mapping[str, Any], plain: Mapping[str, Any], run_dir: str | None) -> str:
    """Return the command of a run with ``settings``; see ``command_line``. ``plain``: the settings of its recipe."""
    parts = ["gan-serve", "train", "--recipe", settings["recipe"], "--data", settings["data"]]
    parts += ["--run-dir", run_dir] if run_dir is not None else []
    for key in dict.fromkeys([*settings, *plain]):
        value = settings.get(key)
        if value != plain.get(key) and not (value is None and key in OF_THE_MACHINE):
            text = as_typed(value)
            option = f"--{key.replace('_', '-')}"
            parts += [option, text] if key in OPTIONS else ["--set", f"{key}={text}"]
    return shlex.join(parts)


def as_typed(value: object) -> str:
    """Return the value of a setting in the form that ``--set`` reads; None is ``null``."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple) and all(isinstance(part, str) for part in value):
        return ",".join(value)
    if isinstance(value, tuple | list):
        return f"[{', '.join(as_typed(part) for part in value)}]"
    return repr(value).removesuffix(".0") if isinstance(value, float) else str(value)


class UnknownFamily(InvalidOption):
    """A run's networks are of a family that is not known here."""


def _check_family_is_known(path: Path, values: Mapping[str, Any]) -> None:
    try:
        find_family(values["family"])
    except InvalidOption as error:
        raise UnknownFamily(
            f"{path} is of a run with networks of the family {values['family']!r}, which is not known here.",
            "Give --family-file with the file that it was trained with.",
        ) from error


def read_config(path: Path) -> TrainConfig:
    """Read the ``config.json`` of a run. Settings that an earlier version did not have get the values of its behaviour.

    Raises:
        InvalidOption: it is not a config.
    """
    try:
        values = with_legacy_values(read_json_file(path))
        _check_family_is_known(path, values)
        return _validated(values)
    except UnknownFamily:
        raise
    except (ValueError, TypeError, AttributeError, OSError, InvalidOption) as error:  # json's errors are ValueErrors
        raise InvalidOption(f"{path} is not the config of a training run.", "Start a new run directory.") from error
