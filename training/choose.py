"""Choose the settings of a run by its images and the machine, and give the reasons.

What the user sets is never changed. The rules come from the runs in docs/training.md and docs/zoo.toml.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Mapping
from typing import Any, NamedTuple

import torch

from gan_serve.errors import DataError, InvalidOption
from gan_serve.training.config import TrainConfig, check_names, make_config, setting_names
from gan_serve.training.data.load import ImageSet, load_images
from gan_serve.training.data.summary import passes
from gan_serve.training.loop import pick_device, resolve_settings
from gan_serve.training.machine_load import OtherPrograms, free_threads
from gan_serve.training.measure_speed import images_per_second
from gan_serve.training.recipes import RECOMMENDED, recipes
from gan_serve.training.ticks import duration

SMALL = "dcgan-28"  # the recipe for images up to SMALL_SIDE pixels
SMALL_SIDE = 32
LARGEST = {"cpu": 64, "cuda": 128}  # pixels; larger images take too long, unless the user chooses them
ENOUGH_KIMG = 150  # below it, narrower networks that see more images get further
FEWEST_KIMG = 100  # without --minutes, --epochs and --kimg
MOST_PASSES = 250
LONGEST = 12 * 3600.0  # seconds of a run whose length is not given
PASSES_TO_AUGMENT = 20  # with fewer passes augmentation slows a run down ("Few images" in docs/training.md)
MANY_IMAGES = 20_000  # a discriminator does not memorise so many
OF_IMAGES = ("data", "labels", "holdout", "resolution", "channels", "device")  # settings to read the images with
OF_TICKS = {"kimg_per_tick", "ticks_per_evaluation"}
SHORT_KIMG = 200  # below it, a smaller batch gives a run more steps
FEW_KIMG = 50  # below it, hardly any run has shown recognisable images
TRAINING_SHARE = 0.93  # of the given minutes; the rest is for grids and snapshots
EVALUATION_IMAGES = 250  # real images that a run could show in the time that it takes to measure the quality


class Length(NamedTuple):
    """The length of a run as the user gives it; ``kimg`` is a setting of its own."""

    minutes: float | None = None
    epochs: float | None = None


NO_LENGTH = Length()


class Plan(NamedTuple):
    """A run that can start.

    config: its settings. data: the images, if they were read. reasons: a line for each choice.
    length: the measured rate and what it was used for, for ``run.json``; None if nothing was measured.
    """

    config: TrainConfig
    data: ImageSet | None = None
    reasons: tuple[str, ...] = ()
    length: dict[str, Any] | None = None


def plan_run(recipe: str | None, requested: Mapping[str, Any], length: Length = NO_LENGTH, *, world: int = 1) -> Plan:
    """Return the config of a new run.

    With a recipe, settings are those of the recipe and of ``requested``. Without one, the recipe and what ``requested``
    leaves open are chosen by the images and by the speed of this machine, measured for a few seconds.

    Args:
        recipe: the name of a recipe, or None. requested: the settings that the user chose, ``data`` among them.
        length: minutes or epochs, which become kimg here. world: number of processes; several of them measure nothing.

    Raises:
        InvalidOption: no such recipe or setting, a length in two ways or below 0. DataError: see ``load_images``.
    """
    _check_length(requested, length, world)
    if recipe is not None and length == NO_LENGTH:
        return Plan(make_config(recipe, requested))
    if recipe is None and (world > 1 or "init_from" in requested or "family" in requested):
        recipe = RECOMMENDED  # the user's networks and those of a checkpoint have their own size
        if length == NO_LENGTH:
            return Plan(make_config(recipe, requested))
    # Mistakes must fail before the images are read.
    if recipe is not None:
        checked = make_config(recipe, requested)
    else:  # the recipe is chosen by the images, and the other settings are checked with it
        check_names(requested, setting_names())
        checked = make_config(RECOMMENDED, {key: requested[key] for key in OF_IMAGES if key in requested})
    device = pick_device(checked.device)
    others = OtherPrograms()
    data, reasons = _read(checked, device, find_resolution=recipe is None and "resolution" not in requested)
    chosen: dict[str, Any] = {}
    if recipe is None:
        recipe = SMALL if data.img_resolution <= SMALL_SIDE else RECOMMENDED
        reasons.insert(0, f"recipe {recipe}: {recipes()[recipe].title}")
        chosen = {"resolution": data.img_resolution}
        if recipe == SMALL:
            chosen |= {"minibatch": "std"} | ({} if data.labels is None else {"conditional": True})
        threads, notes = _threads(requested, others.processors(), device)
        chosen |= threads
        reasons += notes
        measured, why = _by_speed(recipe, chosen, requested, length, data, device)
    else:
        measured, why = _measured_length(recipe, requested, length, data, device)
    return measured._replace(data=data, reasons=(*reasons, *why))


def _check_length(requested: Mapping[str, Any], length: Length, world: int) -> None:
    given = {"--kimg": requested.get("kimg"), "--minutes": length.minutes, "--epochs": length.epochs}
    named = [name for name, value in given.items() if value is not None]
    if len(named) > 1:
        raise InvalidOption(f"{' and '.join(named)} both set the length of the run.", "Give one of them.")
    for name in named:
        if name != "--kimg" and not 0 < float(given[name] or 0) < float("inf"):
            raise InvalidOption(f"{name} is {given[name]}, but must be above 0.", f"For example: {name} 20")
    if world > 1 and (length.minutes or length.epochs):
        raise InvalidOption("With several processes the length must be given in kimg.", "Give --kimg.")


def _read(config: TrainConfig, device: torch.device, *, find_resolution: bool) -> tuple[ImageSet, list[str]]:
    """Read the images of a config, at its resolution or at the one that fits them; return the reasons for it."""
    read = functools.partial(
        load_images, config.data, channels=config.channels, labels=config.labels, holdout=config.holdout
    )
    if not find_resolution:
        return read(resolution=config.resolution), []
    largest = LARGEST[device.type]
    data = read(largest=largest)
    side = data.img_resolution // 4 * 4
    if side < 8:
        raise DataError(f"The images of {data.name} are {data.img_resolution} pixels wide.", "At least 8 are needed.")
    if side != data.img_resolution:
        data = read(resolution=side)
    why = "their own size"
    if max(map(min, data.extremes or [data.size or (side, side)])) > side:
        kind = "a CPU" if device.type == "cpu" else "one GPU"
        limit = f"{largest} is the largest that {kind} trains in hours" if side == largest else "a multiple of 4"
        why = f"the images are {data.sizes} and are made smaller: {limit}; --set resolution=... trains another size"
    return data, [f"resolution {side}: {why}"]


def _by_speed(
    recipe: str,
    chosen: Mapping[str, Any],
    requested: Mapping[str, Any],
    length: Length,
    data: ImageSet,
    device: torch.device,
) -> tuple[Plan, list[str]]:
    """Choose width, batch, length and augmentation: the widest networks with which the run shows enough images."""
    base = make_config(recipe, {**chosen, **requested})
    widths = [base.width] if "width" in requested else _widths(base.width, device)
    tried: list[tuple[float, float]] = []
    for width in widths:
        settings = {**chosen, "width": width, **requested}
        # A narrower network is never slower; it may be measured so if other programs run meanwhile.
        rate = max([_rate(make_config(recipe, settings), data, device), *(wider for _, wider in tried)])
        kimg, evaluations = _kimg(base, requested, length, data, rate)
        tried.append((width, rate))
        if length.minutes is not None and kimg >= ENOUGH_KIMG:
            break
        if length.minutes is None and kimg * 1000 / rate <= LONGEST:
            break
    if "kimg" not in requested and length == NO_LENGTH:
        kimg = min(kimg, LONGEST * rate / 1000)
    settings = {**chosen, "width": width}
    reasons = [_why_width(tried, "width" in requested)]
    if recipe == RECOMMENDED and width < base.width and not requested.keys() & {"d_lr", "d_lr_end"}:
        settings |= {"d_lr": base.g_lr, "d_lr_end": base.g_lr_end}
        reasons.append(f"d_lr {base.g_lr:g}: so narrow a discriminator falls behind at the recipe's {base.d_lr:g}")
    if kimg < SHORT_KIMG and "batch_size" not in requested and base.batch_size > 32:
        settings["batch_size"] = 32
        rate = _rate(make_config(recipe, {**settings, **requested}), data, device)
        if length.minutes is not None:
            kimg, evaluations = _kimg(base, requested, length, data, rate)
        reasons.append(f"batch 32: more steps in a short run; {_speed(rate)}")
    settings["kimg"] = kimg = _rounded(kimg)
    if kimg < evaluations * base.kimg_per_tick * base.ticks_per_evaluation and not requested.keys() & OF_TICKS:
        settings |= {"kimg_per_tick": _rounded(kimg / evaluations), "ticks_per_evaluation": 1}
    settings |= _augmentation(data, 1000 * kimg, requested, reasons)
    config = make_config(recipe, {**settings, **requested})
    return Plan(config, length=_record(length, rate, kimg)), [*reasons, *_why_length(config, length, data, rate)]


def _threads(requested: Mapping[str, Any], busy: float, device: torch.device) -> tuple[dict[str, Any], list[str]]:
    """Return fewer threads as a setting, and the reason, if other programs keep ``busy`` processors busy."""
    most = torch.get_num_threads()
    threads = free_threads(most, busy, os.cpu_count() or most)
    if device.type != "cpu" or "threads" in requested or threads == most:
        return {}, []
    why = (
        f"threads {threads} of {most}: other programs keep {busy:.1f} processors busy, and each step waits for its "
        f"slowest thread; --set threads={most} uses all"
    )
    return {"threads": threads}, [why]


def _widths(recommended: float, device: torch.device) -> list[float]:
    return [max(1.0, recommended)] if device.type == "cuda" else [recommended, recommended / 2]


def _why_width(tried: list[tuple[float, float]], is_given: bool) -> str:
    width, rate = tried[-1]
    if is_given:
        return f"width {width:g} of the networks' channels: as you set it, {_speed(rate)} measured here"
    others = "".join(f"; {wider:g} trains only {_speed(slower)}" for wider, slower in tried[:-1] if slower < rate)
    return f"width {width:g} of the networks' channels: {_speed(rate)} measured here{others}"


def _speed(rate: float) -> str:
    return f"{rate:.{0 if rate >= 10 else 1}f} images/s"


def _augmentation(data: ImageSet, shown: float, requested: Mapping[str, Any], reasons: list[str]) -> dict[str, Any]:
    """Return the settings of augmentation, which counters overfitting, and add the reason to ``reasons``."""
    if "augment" in requested or len(data) >= MANY_IMAGES or shown < PASSES_TO_AUGMENT * len(data):
        if "augment" not in requested:
            reasons.append(f"no augmentation: {passes(shown, data)} over {len(data):,} images")
        return {}
    names = "color,translation,cutout" if data.img_channels == 3 else "translation,cutout"
    reasons.append(
        f"augment {names}: in {passes(shown, data)} over {len(data):,} images the discriminator would overfit to them"
    )
    return {"augment": names}


def _measured_length(
    recipe: str, requested: Mapping[str, Any], length: Length, data: ImageSet, device: torch.device
) -> tuple[Plan, list[str]]:
    """Return the plan for a recipe, with the length in kimg."""
    config = make_config(recipe, requested)
    rate = _rate(config, data, device)
    kimg = _rounded(_kimg(config, requested, length, data, rate)[0])
    config = make_config(recipe, {**requested, "kimg": kimg})
    return Plan(config, length=_record(length, rate, kimg)), _why_length(config, length, data, rate)


def _rate(config: TrainConfig, data: ImageSet, device: torch.device) -> float:
    resolved = resolve_settings(config, data, device)
    if resolved.conditional and data.labels is None:
        resolved = resolved.model_copy(update={"conditional": False})  # the run itself refuses this, with the reason
    return images_per_second(resolved, data, device)


def _kimg(
    base: TrainConfig, requested: Mapping[str, Any], length: Length, data: ImageSet, rate: float
) -> tuple[float, int]:
    """Return the length of a run in kimg, and how often the quality is measured; ``rate``: real images a second."""
    if length.minutes is not None:
        seconds = 60 * length.minutes * TRAINING_SHARE
        if not base.ticks_per_evaluation:
            return seconds * rate / 1000, 0
        shown = seconds * rate
        times = next((n for n in (4, 2) if n * EVALUATION_IMAGES < shown / 5), 1)
        return max(shown - times * EVALUATION_IMAGES, shown / 2) / 1000, times
    if length.epochs is not None:
        return length.epochs * len(data) / 1000, 4
    if "kimg" in requested:
        return base.kimg, 4
    return max(FEWEST_KIMG, min(base.kimg, MOST_PASSES * len(data) / 1000)), 4


def _record(length: Length, rate: float, kimg: float) -> dict[str, Any]:
    given = {key: value for key, value in length._asdict().items() if value is not None}
    return given | {"images_per_s_measured": round(rate, 1), "kimg": kimg}


def _why_length(config: TrainConfig, length: Length, data: ImageSet, rate: float) -> list[str]:
    shown = config.kimg * 1000
    parts = [f"length {config.kimg:g} kimg: {shown:,.0f} real images shown, {passes(shown, data)}"]
    if length.minutes is not None:
        parts.append(f"as many as {duration(60 * length.minutes)} allow here")
    else:
        parts.append(f"about {duration(shown / rate / TRAINING_SHARE)} here")
    steps = shown / config.batch_size / (1 if config.critic_reuses_batch else config.n_critic)
    if config.n_critic > 1:
        parts.append(f"with n_critic {config.n_critic}, one generator step per {config.n_critic} batches")
    reasons = [f"{', '.join(parts)}, {steps:,.0f} steps"]
    if length.minutes is not None and config.kimg < FEW_KIMG:
        reasons.append(
            f"this is little: images seldom become recognisable before {FEW_KIMG} kimg. More minutes, a less busy "
            "machine or a smaller resolution help"
        )
    return reasons


def _rounded(kimg: float) -> float:
    """Return ``kimg`` with three significant digits."""
    return float(f"{max(kimg, 0.1):.3g}")
