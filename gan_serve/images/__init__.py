"""Arrays of pixels, grids, PNG, animations, and comparing images."""
