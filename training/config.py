"""What a run is: one flat, checked config, from a recipe and ``--set key=value``, written beside the results."""

from __future__ import annotations

import shlex
import tomllib
from collections.abc import Iterable, Mapping
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from gan_serve.errors import InvalidOption, nearest

Share = Annotated[float, Field(ge=0, lt=1)]
Positive = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(ge=1)]


class TrainConfig(BaseModel):
    """Everything that decides what a run computes. Field names are the keys of ``--set``."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, coerce_numbers_to_str=True)

    recipe: str  # name of the recipe it began with
    data: str  # source of the images, as typed
    resolution: Annotated[int, Field(ge=8, le=1024)]  # width and height of the images
    channels: Literal[1, 3] | None = None  # gray or RGB; None: as the data
    family: str  # generator and discriminator, training/networks
    z_dim: Count = 100  # numbers in a latent
    kimg: Positive  # thousands of real images shown in all
    batch_size: Annotated[int, Field(ge=2)] = 128  # real images a step
    g_lr: Positive = 2e-4  # Adam's learning rate of the generator
    d_lr: Positive = 2e-4  # and of the discriminator
    beta1: Share = 0.5  # Adam's first decay; 0.5 as in the DCGAN paper
    beta2: Share = 0.999  # Adam's second decay
    label_smoothing: Share = 0.0  # one-sided: real images aim at 1 - label_smoothing
    label_noise: Share = 0.0  # targets move towards each other by up to this
    dropout: Share = 0.3  # of the discriminator's activations
    ema_kimg: Annotated[float, Field(ge=0)] = 10.0  # half-life of the generator's average; 0: no average
    kimg_per_tick: Positive = 20.0  # between two log lines, grids and snapshots
    keep_snapshots: Count = 2  # how many of the last are kept
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0  # of weights, latents, data order, dropout
    device: Literal["auto", "cpu", "cuda"] = "auto"  # auto: CUDA where torch finds it
    threads: Annotated[int, Field(ge=1, le=256)] | None = None  # CPU threads; None: torch's choice, then recorded


class Recipe(NamedTuple):
    """A named starting point: where it comes from, and the config it sets."""

    name: str
    title: str
    source: str
    needs: str
    config: Mapping[str, Any]


def recipes() -> dict[str, Recipe]:
    """Read every recipe in ``training/recipes``, by name."""
    found = {}
    for file in sorted(resources.files("gan_serve.training.recipes").iterdir(), key=lambda entry: entry.name):
        if file.name.endswith(".toml"):
            name = file.name.removesuffix(".toml")
            found[name] = Recipe(name=name, **tomllib.loads(file.read_text()))
    return found


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
    return check_config({"recipe": recipe} | dict(available[recipe].config) | dict(settings))


def check_config(values: Mapping[str, Any]) -> TrainConfig:
    """Validate a config's values; see ``make_config`` for the errors."""
    unknown = [key for key in values if key not in TrainConfig.model_fields]
    if unknown:
        hint = nearest(unknown[0], TrainConfig.model_fields) or f"Settings are: {', '.join(TrainConfig.model_fields)}."
        raise InvalidOption(f"There is no setting {unknown[0]!r}.", hint)
    try:
        return TrainConfig.model_validate(dict(values))
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        raise InvalidOption(
            f"The settings do not fit: {problems}.", "See training/config.py for every setting."
        ) from error


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
            settings[key.strip()] = tomllib.loads(f"value = {value}")["value"]
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
        found_by_the_run = key in ("channels", "device", "threads")
        if value != getattr(plain, key) and not found_by_the_run:
            text = f"{value:g}" if isinstance(value, float) else str(value)
            parts += ["--kimg", text] if key == "kimg" else ["--set", f"{key}={text}"]
    return shlex.join(parts)


def read_config(path: Path) -> TrainConfig:
    """Read a run's ``config.json``.

    Raises:
        InvalidOption: it is not a config.
    """
    try:
        return TrainConfig.model_validate_json(path.read_text())
    except (ValidationError, UnicodeDecodeError, OSError) as error:
        raise InvalidOption(f"{path} is not the config of a run.", "Start a new run directory.") from error
