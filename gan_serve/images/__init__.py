"""Encode images, write receipts into them, and verify them."""
