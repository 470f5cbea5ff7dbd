"""Find what goes wrong when translators are trained: identity, collapsed cycles, checkerboards."""

from __future__ import annotations

from typing import ClassVar

from gan_serve.training.diagnosis import SIGNS, Diagnosis, Finding, Record, Rule, number_in

UNCHANGED = 0.1  # share of the difference between inputs and targets that an output must leave the input by
CHECKERED = 4.0  # times the power of the targets at the chessboard's frequency
SAME = 0.5  # share of the targets' diversity that outputs must have


class TranslationDiagnosis(Diagnosis):
    """The diagnosis of a translator's run.

    Records have ``moved``: the mean difference between outputs and inputs, as a share of that between targets and
    inputs (without pairs: between the two sets' images in random order); ``checkerboard``, relative to the targets; and
    ``diversity`` of the outputs.
    """

    def identity(self, record: Record) -> Finding | None:
        """Find outputs that are copies of their inputs."""
        moved = number_in(record, "moved")
        if moved is None or moved >= UNCHANGED:
            return None
        what = f"the outputs differ from their inputs by {moved:.1%} of what the targets do"
        return Finding("identity-mapping", what, ("identity_weight=0", "a lower cycle_weight", "gan_weight=2"))

    def collapse(self, record: Record) -> Finding | None:
        """Find outputs that look alike, while the cycle may still be right: a message that is hidden in them."""
        diversity = number_in(record, "diversity")
        if diversity is None or not self.data_diversity or diversity >= SAME * self.data_diversity:
            return None
        share = diversity / self.data_diversity
        what = f"the outputs differ from each other by {share:.0%} of what the targets do"
        if (cycle := number_in(record, "g_cycle")) is not None:
            what += f", though there and back has an error of {cycle:.3g}"
        return Finding("cycle-collapse", what, ("identity_weight=0.5", "cycle_weight=10", "a lower d_lr"))

    def checkerboards(self, record: Record) -> Finding | None:
        """Find the pattern that transposed convolutions and pixel shuffles leave."""
        power = number_in(record, "checkerboard")
        if power is None or power < CHECKERED:
            return None
        what = f"the outputs have {power:.1f} times the targets' power at the frequency of a chessboard"
        return Finding("checkerboard", what, ("upsample=nearest", "a higher pixel_weight", "a lower gan_weight"))

    signs: ClassVar[dict[str, Rule]] = {
        "discriminator-overpowering": SIGNS["discriminator-overpowering"],
        "identity-mapping": identity,
        "cycle-collapse": collapse,
        "checkerboard": checkerboards,
    }
