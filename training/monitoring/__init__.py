"""Log lines, grids, curves and quality of a run."""
