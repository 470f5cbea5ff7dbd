"""Diagnose a training run from the records of its log: report known failures and settings that may help.

A sign is reported once when it begins and once when it has passed. Findings depend on the records alone, so a resumed
run that replays its log (``Diagnosis.read``) reports the same as an uninterrupted one.

Ticks differ in length, so records are judged in periods of at least ``PERIOD_KIMG`` or, on a slow machine,
``PERIOD_SECONDS``. The warm-up is not judged: at first the discriminator learns faster in every run, and the average
still contains the initial weights. A rule must hold for ``PATIENCE`` periods, or for two that show ``PATIENCE_KIMG``.
Grey images, and a grid of one image, are reported at once.
"""

from __future__ import annotations

import math
import shlex
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from gan_serve.errors import InvalidOption
from gan_serve.training.changed_settings import may_change
from gan_serve.training.config import check_config, parse_settings

WARM_UP_KIMG, WARM_UP_SECONDS = 4.0, 300.0  # a run is not judged before one of these
PERIOD_KIMG, PERIOD_SECONDS = 0.5, 45.0  # shorter ticks are not judged, such as the first one of a run
# Periods in a row for which a rule must hold, or fail; two are enough if they show PATIENCE_KIMG.
PATIENCE, PATIENCE_KIMG = 3, 20.0
WINDOW = 8  # periods over which swings are counted
GREY = 0.12  # share of the training images' contrast: below it, images are uniform
ONE_IMAGE = 0.03  # share of their diversity: below it, all images are the same

SURE = 0.97  # accuracy above which a discriminator is almost never wrong
VANISHED = 0.1  # share of the largest gradient norm of the generator so far
COLLAPSED = 0.5  # share of the data's diversity: that of a generator with only two images
COLLAPSED_GROWING = 0.25  # the same while a growing network is below its full size, when images are blurred
STILL_RISING = 1.03  # growth of the diversity in PATIENCE periods by which a generator is still learning
SWING = 0.5  # share of the mean that a change must have to count as a swing
MIN_SWING = 0.2  # smallest swing of a loss, with logits of order one; smaller changes are noise, however small the mean
SWINGS = 4  # two full periods in a window

# Advice multiplies the present value of these.
SCALED = ("g_lr", "d_lr", "batch_size", "cycle_weight", "pixel_weight", "gan_weight")

Record = Mapping[str, Any]


class Finding(NamedTuple):
    """A failure that was found, or that has passed.

    sign: its name, as in ``SIGNS``. what: the evidence, with numbers. options: what may help, the most promising first;
    each is a setting for ``--set``, or several that belong together, joined by spaces. at_once: it is certain without
    further ticks. new_run: options that a resumed run may not change; ``Diagnosis.examine`` separates them.
    command: the one that resumes the run.
    """

    sign: str
    what: str
    options: tuple[str, ...] = ()
    at_once: bool = False
    new_run: tuple[str, ...] = ()
    command: str = ""

    def __str__(self) -> str:
        """Return the finding as sentences, with the options as they are typed."""
        help = ""
        if self.options:
            help += f" May help in this run, one at a time (stop it, then {self.command}): {_as_typed(self.options)}."
        if self.new_run:
            help += f" May help in a new run, one at a time: {_as_typed(self.new_run)}."
        return f"{self.sign}: {self.what}.{help}"


def _as_typed(options: Sequence[str]) -> str:
    """Return options such as ``"r1=1"`` as words of the command."""
    return "; ".join(" ".join(f"--set {setting}" for setting in option.split()) for option in options)


Rule = Callable[[Any, Record], Finding | None]  # takes a diagnosis and the record of a tick


class Diagnosis:
    """The diagnosis of one run, tick by tick.

    Args:
        data_diversity: diversity of the training images (``evaluation.pixel_metrics.diversity``), within classes for a
            conditional run; 0 if unknown. data_contrast: their ``pixel_metrics.contrast``; 0 if unknown.
        wasserstein: the loss is the Wasserstein loss, which has no accuracies.
        settings: the config of the run. An option that the run already has, or that its config does not accept, is not
            recommended.
        class_names: names for the message about missing classes.
        levels: the last level of a growing network; below it, a lower diversity is expected.
        run_dir: the folder of the run, for the command that resumes it.
    """

    signs: ClassVar[Mapping[str, Rule]]  # the failures that are looked for; subclasses have their own

    def __init__(
        self,
        data_diversity: float,
        *,
        wasserstein: bool,
        settings: Mapping[str, Any],
        data_contrast: float = 0.0,
        class_names: Sequence[str] = (),
        levels: float = 0.0,
        run_dir: Path | None = None,
    ) -> None:
        self.data_diversity, self.data_contrast = data_diversity, data_contrast
        self.wasserstein = wasserstein
        self.class_names = tuple(class_names)
        self.levels = levels
        self.settings = settings
        self._command = shlex.join(["gan-serve", "train", "--run-dir", str(run_dir or "RUN"), "--resume"])
        self._records: deque[Record] = deque(maxlen=WINDOW)
        self._judged: tuple[float, float] = (0.0, 0.0)  # kimg and seconds of the last record that was judged
        self._largest_g_grad = 0.0
        self._present = dict.fromkeys(self.signs, False)
        # Since when the records contradict the reported state: periods in a row, and the kimg before them.
        self._against: dict[str, tuple[int, float]] = dict.fromkeys(self.signs, (0, 0.0))

    def examine(self, record: Record) -> list[Finding]:
        """Return the signs that begin or pass with a tick's record; usually none.

        record: keys as in ``log.jsonl``; a rule whose keys are missing is skipped. ``classes_missing``, a list of class
        indices, may come from a classifier.
        """
        kimg, seconds = (number_in(record, name) or 0.0 for name in ("kimg", "seconds"))
        before, then = self._judged
        if kimg <= WARM_UP_KIMG and seconds <= WARM_UP_SECONDS:
            return []
        if kimg - before < PERIOD_KIMG and seconds - then < PERIOD_SECONDS:
            return []
        self._judged = (kimg, seconds)
        self._records.append(record)
        self._largest_g_grad = max(self._largest_g_grad, number_in(record, "g_grad_norm") or 0.0)
        findings = []
        for sign, rule in self.signs.items():
            seen = rule(self, record)
            present = self._present[sign]
            periods, since = self._against[sign]
            self._against[sign] = (periods + 1, since if periods else before) if bool(seen) != present else (0, kimg)
            periods, since = self._against[sign]
            is_sure = periods >= PATIENCE or (periods >= 2 and kimg - since >= PATIENCE_KIMG)
            if is_sure or (periods and seen is not None and seen.at_once):
                self._present[sign], self._against[sign] = not present, (0, kimg)
                findings.append(self._with_advice(seen) if seen else Finding(sign, "has passed"))
        return findings

    def read(self, records: Iterable[Record]) -> None:
        """Replay a run's earlier records without reporting."""
        for record in records:
            self.examine(record)

    @staticmethod
    def check(settings: Mapping[str, Any]) -> None:
        """Raise ``InvalidOption`` if no run can have these settings."""
        check_config(settings)

    @staticmethod
    def may_change(setting: str) -> bool:
        """Return True if a resumed run may change the setting."""
        return may_change(setting)

    def _with_advice(self, finding: Finding) -> Finding:
        """Return the finding with the options that the config accepts, separated by whether they need a new run."""
        useful = [option for option in finding.options if self._is_useful(option)]
        now = [option for option in useful if all(map(self.may_change, parse_settings(option.split())))]
        new = [option for option in useful if option not in now]
        return finding._replace(options=tuple(now), new_run=tuple(new), command=self._command)

    def _scaled(self, key: str, factor: float) -> tuple[str, ...]:
        """Return the option that multiplies a setting and, with a schedule, its end value; () if it is unknown."""
        now = self.settings.get(key)
        if not isinstance(now, int | float) or not now:
            return ()
        value = now * factor
        option = f"{key}={round(value) if isinstance(now, int) else float(f'{value:.2g}'):g}"
        end = self.settings.get(f"{key}_end")
        return (f"{option} {key}_end={float(f'{end * factor:.2g}'):g}" if end else option,)

    def _is_useful(self, option: str) -> bool:
        """Return True if the run has another or a smaller value of these settings, and its config accepts them."""
        settings = parse_settings(option.split())
        if not any(self._is_new(key, value) for key, value in settings.items()):
            return False
        try:
            self.check({**self.settings, **settings})
        except InvalidOption:
            return False
        return True

    def _is_new(self, key: str, value: object) -> bool:
        now = self.settings.get(key)
        if key in SCALED or now is None:
            return True
        if isinstance(now, tuple):  # augmentations
            return not now
        if isinstance(now, bool) or not isinstance(now, int | float) or not isinstance(value, int | float):
            return bool(now != value)
        return now > 0 if value == 0 else now < value

    def _discriminator_overpowering(self, record: Record) -> Finding | None:
        real, fake = number_in(record, "d_real_acc"), number_in(record, "d_fake_acc")
        # A relativistic loss has only the accuracy over pairs.
        least = number_in(record, "d_acc") if real is None or fake is None else min(real, fake)
        if self.wasserstein or least is None or least < SURE:
            return None
        fooled, gradient = number_in(record, "g_acc"), number_in(record, "g_grad_norm")
        helpless = fooled is not None and fooled <= 1 - SURE
        vanished = gradient is not None and gradient <= VANISHED * self._largest_g_grad
        if not (helpless or vanished):
            return None
        if real is None or fake is None:
            what = f"the discriminator tells real from generated in {least:.1%} of all pairs"
        else:
            what = f"the discriminator recognises {real:.1%} of the real and {fake:.1%} of the generated images"
        if helpless:
            what += f"; {fooled:.1%} of the images of the generator's step pass as real"
        if vanished:
            what += (
                f"; the norm of the generator's gradient has dropped from {self._largest_g_grad:.2g} to {gradient:.2g}"
            )
        options = (*self._scaled("d_lr", 0.5), "instance_noise=0.1", "label_smoothing=0.1", "label_flip=0.05")
        more = ("dropout=0.3", "r1=1", "augment=color,translation,cutout", "spectral_norm=true", "loss=hinge")
        return Finding("discriminator-overpowering", what, options + more)

    def _generator_overpowering(self, record: Record) -> Finding | None:
        fooled, fake = number_in(record, "g_acc"), number_in(record, "d_fake_acc")
        if self.wasserstein or fooled is None or fake is None or fooled < SURE or fake > 1 - SURE:
            return None
        what = f"the discriminator takes {fooled:.1%} of the generated images for real, so the generator hardly learns"
        return Finding("generator-overpowering", what, ("n_critic=2", *self._scaled("g_lr", 0.5), "dropout=0"))

    def _mode_collapse(self, record: Record) -> Finding | None:
        found = [text for text in (self._low_diversity(record), self._missing_classes(record)) if text]
        if not found:
            return None
        options: tuple[str, ...] = ("minibatch=std", "minibatch=discrimination", "mode_seeking=1", "feature_matching=1")
        options += (*self._scaled("batch_size", 2), *self._scaled("g_lr", 0.5))
        if not self.wasserstein:
            options += ("loss=wasserstein gp_weight=10",)
        return Finding("mode-collapse", "; ".join(found), options, at_once=self._is_one_image(record))

    def _is_one_image(self, record: Record) -> bool:
        diversity = number_in(record, "diversity")
        return diversity is not None and diversity < ONE_IMAGE * self.data_diversity

    def _grey_average(self, record: Record) -> Finding | None:
        contrast = number_in(record, "contrast")
        if contrast is None or contrast >= GREY * self.data_contrast:
            return None
        what = (
            f"the images of the averaged generator are almost one colour: their pixels vary by {contrast:.1f} grey "
            f"levels, those of the training images by {self.data_contrast:.1f}"
        )
        average = () if self.settings.get("ema_rampup") else ("ema_rampup=0.05",)
        options = (*average, *self._scaled("d_lr", 0.5), *self._scaled("g_lr", 0.5))
        return Finding("grey-average", what, options, at_once=True)

    def _low_diversity(self, record: Record) -> str:
        diversity, level = number_in(record, "diversity"), number_in(record, "level")
        if diversity is None or not self.data_diversity:
            return ""
        bound = COLLAPSED_GROWING if level is not None and level < self.levels else COLLAPSED
        # The diversity of a generator that is still learning exceeds its earlier values; after a collapse it only
        # varies.
        earlier = [number_in(each, "diversity") or 0.0 for each in list(self._records)[:-PATIENCE]]
        rising = diversity > STILL_RISING * max(earlier) if earlier else True
        if diversity >= bound * self.data_diversity or (rising and diversity >= ONE_IMAGE * self.data_diversity):
            return ""
        share = diversity / self.data_diversity
        return (
            f"the images of the grid differ from each other by {diversity:.1f} grey levels a pixel, those of the "
            f"training set by {self.data_diversity:.1f} ({share:.0%})"
        )

    def _missing_classes(self, record: Record) -> str:
        missing = record.get("classes_missing")
        if not isinstance(missing, list | tuple) or not missing:
            return ""
        names = [self.class_names[c] if c < len(self.class_names) else str(c) for c in sorted(missing)]
        return f"no image of {', '.join(names)} is sampled"

    def _oscillation(self, record: Record) -> Finding | None:
        # The g_loss of a critic has no fixed zero; the distance that the critic estimates has one.
        names = ("c_wass_loss", "diversity") if self.wasserstein else ("d_loss", "g_loss", "diversity")
        found = []
        for name in names:
            values = [value for each in self._records if (value := number_in(each, name)) is not None]
            scale = sum(map(abs, values)) / max(len(values), 1)
            least = max(SWING * scale, MIN_SWING if name in ("d_loss", "g_loss") else 0.0)
            swings = count_swings(values, least) if len(values) == WINDOW and least else 0
            if swings >= SWINGS:
                found.append(f"{name} swung {swings} times between {min(values):.3g} and {max(values):.3g}")
        if not found:
            return None
        what = f"over {WINDOW} periods {', and '.join(found)}"
        options = (
            *self._scaled("g_lr", 0.5),
            *self._scaled("d_lr", 0.5),
            "ema_kimg=20",
            *self._scaled("batch_size", 2),
        )
        more = ("n_critic=5",) if self.wasserstein else ("r1=1", "label_smoothing=0.1")
        return Finding("oscillation", what, options + more)

    def _critic_not_converged(self, record: Record) -> Finding | None:
        """Compare the critic's loss with 0, which it cannot exceed near its optimum.

        The loss is -distance + penalty. A linear critic of slope 1 in the right direction has no gradient penalty and
        no negative distance, so the optimum is at most 0. A loss that still falls fast, as at the beginning of every
        run, is not reported.
        """
        estimate, loss = number_in(record, "c_wass_loss"), number_in(record, "c_loss")
        if not self.wasserstein or estimate is None:
            return None
        penalty = loss - estimate if loss is not None and "c_gp" in record and "d_r1" not in record else 0.0
        before = number_in(self._records[-2], "c_loss") if len(self._records) > 1 else None
        falls = loss is not None and before is not None and before - loss > 0.05 * abs(before)
        if estimate + penalty <= 0 or falls:
            return None
        if estimate > 0:
            what = (
                f"the critic scores generated images above real ones (c_wass_loss {estimate:.3g}, a distance below 0)"
            )
        else:
            what = f"the critic's gradient penalty ({penalty:.3g}) exceeds the distance it estimates ({-estimate:.3g})"
        what += "; near its optimum neither can happen, so it lags behind the generator"
        return Finding(
            "critic-not-converged",
            what,
            ("n_critic=5", *self._scaled("g_lr", 0.5), *self._scaled("d_lr", 2), "gp_weight=10"),
        )


SIGNS: dict[str, Rule] = {
    "discriminator-overpowering": Diagnosis._discriminator_overpowering,
    "generator-overpowering": Diagnosis._generator_overpowering,
    "mode-collapse": Diagnosis._mode_collapse,
    "grey-average": Diagnosis._grey_average,
    "oscillation": Diagnosis._oscillation,
    "critic-not-converged": Diagnosis._critic_not_converged,
}
Diagnosis.signs = SIGNS


def count_swings(values: Sequence[float], least: float) -> int:
    """Count the rises and falls of at least ``least`` in a sequence; smaller changes are ignored.

    >>> count_swings([0, 3, 2, 3, 0, 4], least=2), count_swings([0, 1, 2, 3, 4], least=2)
    (3, 1)
    """
    swings, direction = 0, 0
    low = high = values[0] if values else 0.0
    for value in values:
        low, high = min(low, value), max(high, value)
        if direction <= 0 and value - low >= least:
            swings, direction, high = swings + 1, 1, value
        elif direction >= 0 and high - value >= least:
            swings, direction, low = swings + 1, -1, value
    return swings


def find_non_finite(networks: Mapping[str, nn.Module], record: Record) -> str:
    """Return the names of numbers that are not finite: values of the record, and the first tensor of each network.

    Args:
        networks: the networks by their names for the message. Gradients are checked if they still exist.
        record: the record of the tick.

    Returns:
        Text such as ``"g_loss; the generator's weight layers.conv1.weight"``; empty if all numbers are finite. A
        network that is not named is intact, so the values diverged in the other one.
    """
    places = [name for name, value in record.items() if isinstance(value, float) and not math.isfinite(value)]
    for title, network in networks.items():
        for kind, tensors in (
            ("weight", network.named_parameters()),
            ("gradient of", ((name, weight.grad) for name, weight in network.named_parameters())),
            ("buffer", network.named_buffers()),
        ):
            first = next((name for name, tensor in tensors if tensor is not None and not _is_finite(tensor)), None)
            if first is not None:
                places.append(f"the {title}'s {kind} {first}")
                break
    return "; ".join(places)


def _is_finite(tensor: Tensor) -> bool:
    return bool(torch.isfinite(tensor.detach()).all())


def number_in(record: Record, name: str) -> float | None:
    """Return a number of a record; None if it is missing or not finite."""
    value = record.get(name)
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None
