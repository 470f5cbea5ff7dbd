"""gan-serve."""
