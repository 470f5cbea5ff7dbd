"""Seeds, latents, requests, results and the ONNX Runtime session that samples them."""
