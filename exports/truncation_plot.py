"""Plot distance, precision and recall over truncation."""

from __future__ import annotations

import io
from collections.abc import Mapping

from gan_serve.exports.report import DISTANCES, PLOTTED, truncation_tables


def truncation_plot(metrics: Mapping[str, float]) -> bytes:
    """Return a PNG of the metrics over truncation: distance on the left axis, precision and recall on the right.

    Raises:
        ValueError: ``metrics`` has no value that was measured over truncation.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    tables = truncation_tables(metrics)
    if not tables:
        raise ValueError("no metric was measured over truncation")
    figure = Figure(figsize=(5, 3.2 * len(tables)), layout="constrained")
    FigureCanvasAgg(figure)
    for row, (protocol, rows) in enumerate(tables.items(), start=1):
        left = figure.add_subplot(len(tables), 1, row)
        right = left.twinx()
        lines = []
        for stem, colour in PLOTTED.items():
            points = [(truncation, values[stem]) for truncation, values in rows.items() if stem in values]
            axes, style = (left, "-") if stem in DISTANCES else (right, "--")
            if points:
                lines += axes.plot(*zip(*points, strict=True), style, marker="o", label=stem, color=colour)
        left.set_xlabel("truncation")
        left.set_ylabel(f"distance, {protocol}")
        left.set_ylim(bottom=0)
        right.set_ylabel("precision, recall")
        right.set_ylim(0, 1.05)
        left.legend(handles=lines, loc="lower center", bbox_to_anchor=(0.5, 1), ncols=len(PLOTTED), frameon=False)
    out = io.BytesIO()
    # Without matplotlib's version, so that equal metrics give equal bytes.
    figure.savefig(out, format="png", dpi=100, metadata={"Software": None})
    return out.getvalue()
