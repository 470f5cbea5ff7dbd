"""Seeds, latents, checked requests, results with receipts, and the ONNX Runtime session."""
