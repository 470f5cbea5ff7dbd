"""Read, check and copy checkpoints."""
