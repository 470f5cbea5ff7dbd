"""The handler of TorchServe: the generator in eager torch, requests in batches, PNG by Pillow.

The archive contains the weights and the config of the checkpoint.
"""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file
from ts.torch_handler.base_handler import BaseHandler

from gan_serve.training.networks import build_generator


class Images(BaseHandler):
    def initialize(self, context: Any) -> None:
        directory = Path(context.system_properties["model_dir"])
        architecture = json.loads((directory / "config.json").read_text())["architecture"]
        torch.set_num_threads(1)  # two workers, two cores
        self.context = context
        self.z_dim = architecture["arguments"]["z_dim"]
        self.model = build_generator(architecture["family"], **architecture["arguments"]).eval()
        self.model.load_state_dict(load_file(directory / "generator.safetensors"))
        self.initialized = True

    def preprocess(self, data: list[dict[str, Any]]) -> torch.Tensor:
        seeds = [request["body"]["seed"] for request in data]
        latents = [np.random.RandomState(seed).standard_normal(self.z_dim) for seed in seeds]
        return torch.from_numpy(np.array(latents, np.float32))

    def inference(self, data: torch.Tensor, *_args: Any, **_kwargs: Any) -> torch.Tensor:
        with torch.inference_mode():
            images = self.model(data).permute(0, 2, 3, 1)
            return ((images + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)

    def postprocess(self, data: torch.Tensor) -> list[bytes]:
        return [png(pixels) for pixels in data.numpy()]


def png(pixels: np.ndarray) -> bytes:
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG", compress_level=1)
    return out.getvalue()
