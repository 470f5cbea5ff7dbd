"""A page of ``gan-serve learn``: numbers, and a figure of them."""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from gan_serve.atomic_files import write_atomically

if TYPE_CHECKING:
    from matplotlib.axes import Axes


PANELS_IN_A_ROW = 5


class Page(NamedTuple):
    """The result of an experiment.

    title: one line. text: what to see, and where it comes from. numbers: by what they are. panels: functions that draw
    one panel each, from left to right.
    """

    title: str
    text: str
    numbers: Mapping[str, float]
    panels: tuple[Callable[[Axes], None], ...]

    def save_figure(self, path: Path) -> None:
        """Write the figure as PNG.

        Raises:
            CannotWrite: the disk refuses.
        """
        write_atomically(path, self._repr_png_())

    def __repr__(self) -> str:
        return f"{self.title}: {self.text}"

    def _repr_png_(self) -> bytes:
        """Return the figure as PNG; Jupyter shows a page so."""
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        count = len(self.panels)
        rows = math.ceil(count / PANELS_IN_A_ROW)
        columns = math.ceil(count / rows)
        size = (5.5 * columns, 4.2) if rows == 1 else (3.4 * columns, 3.6 * rows)
        figure = Figure(figsize=size, layout="constrained")
        FigureCanvasAgg(figure)
        places = figure.subplots(rows, columns, squeeze=False).flat
        for panel, axes in zip(self.panels, places, strict=False):
            panel(axes)
        for axes in places[count:]:
            axes.remove()
        figure.suptitle(self.title)
        out = io.BytesIO()
        figure.savefig(out, format="png", dpi=100)
        return out.getvalue()
