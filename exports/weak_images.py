"""Recognise the images of a failed training: grey, or all alike."""

from __future__ import annotations

from collections.abc import Mapping

GREY = 0.12  # share of the training images' mean gradient: below it, there is nothing to see
COLLAPSED = 0.25  # share of their diversity: that of a generator with a few images


def weakness(generated: Mapping[str, float], real: Mapping[str, float]) -> str | None:
    """Return one sentence if a generator's images are grey or all alike, else None.

    Args:
        generated, real: metrics of ``pixel_metrics`` of generated and of training images.
    """
    for stem, least, what in (
        ("mean_gradient", GREY, "The generator samples blank images: neighbouring pixels differ by"),
        ("diversity", COLLAPSED, "The generator samples nearly one image: two of its images differ by"),
    ):
        found, wanted = _value(generated, stem), _value(real, stem)
        if found is not None and wanted and found < least * wanted:
            return (
                f"{what} {found:.1f} grey levels, those of the training images by {wanted:.1f}. Train longer, or "
                "export with --snapshot best; the log of the run (doctor) names settings that may help."
            )
    return None


def _value(metrics: Mapping[str, float], stem: str) -> float | None:
    """Return the first metric of this stem that counts images, such as ``diversity_1000_seeds``."""
    return next(
        (value for name, value in metrics.items() if name.startswith(f"{stem}_") and name[len(stem) + 1].isdigit()),
        None,
    )
