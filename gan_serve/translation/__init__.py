"""Translate images: read and fit inputs, run translators in batches and tiles, results with receipts."""
