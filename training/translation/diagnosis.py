"""Diagnose the run of a translator: outputs that copy their inputs, collapsed cycles, checkerboards."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from gan_serve.training.diagnosis import SIGNS, Diagnosis, Finding, Record, Rule, number_in
from gan_serve.training.translation.settings import make_translation_config

UNCHANGED = 0.1  # share of the difference between inputs and targets that an output must leave the input by
CHECKERED = 4.0  # times the power of the targets at the chessboard's frequency
SAME = 0.5  # share of the targets' diversity that outputs must have


class TranslationDiagnosis(Diagnosis):
    """The diagnosis of a translator's run.

    Records have ``moved``: the mean difference between outputs and inputs, as a share of that between targets and
    inputs (without pairs: between the two sets' images in random order); ``checkerboard``, relative to the targets; and
    ``diversity`` of the outputs.
    """

    @staticmethod
    def check(settings: Mapping[str, Any]) -> None:
        """Raise ``InvalidOption`` if no run of a translator can have these settings."""
        make_translation_config(settings["recipe"], settings)

    @staticmethod
    def may_change(setting: str) -> bool:
        """Return False: a run of a translator that is resumed keeps its settings."""
        return False

    def identity(self, record: Record) -> Finding | None:
        """Find outputs that are copies of their inputs."""
        moved = number_in(record, "moved")
        if moved is None or moved >= UNCHANGED:
            return None
        what = f"the outputs differ from their inputs by {moved:.1%} of the difference of the targets"
        options = ("identity_weight=0", *self._scaled("cycle_weight", 0.5), *self._scaled("gan_weight", 2))
        return Finding("identity-mapping", what, options)

    def collapse(self, record: Record) -> Finding | None:
        """Find outputs that look alike, while the cycle may still be right: a message that is hidden in them."""
        diversity = number_in(record, "diversity")
        if diversity is None or not self.data_diversity or diversity >= SAME * self.data_diversity:
            return None
        share = diversity / self.data_diversity
        what = f"the outputs differ from each other by {share:.0%} of the difference between targets"
        if (cycle := number_in(record, "g_cycle")) is not None:
            what += f"; translated back, they differ from the inputs by {cycle:.3g} (g_cycle)"
        options = ("identity_weight=0.5", *self._scaled("cycle_weight", 2), *self._scaled("d_lr", 0.5))
        return Finding("cycle-collapse", what, options)

    def checkerboards(self, record: Record) -> Finding | None:
        """Find the pattern that transposed convolutions and pixel shuffles leave."""
        power = number_in(record, "checkerboard")
        if power is None or power < CHECKERED:
            return None
        what = f"the outputs have {power:.1f} times the power of the targets in the pattern of a checkerboard"
        options = ("upsample=nearest", *self._scaled("pixel_weight", 2), *self._scaled("gan_weight", 0.5))
        return Finding("checkerboard", what, options)

    signs: ClassVar[dict[str, Rule]] = {
        "discriminator-overpowering": SIGNS["discriminator-overpowering"],
        "identity-mapping": identity,
        "cycle-collapse": collapse,
        "checkerboard": checkerboards,
    }
