"""The model of Triton's Python backend: seeds in, PNGs out, in the batches that Triton makes.

Triton starts it twice; the file is copied into its repository of models. CHECKPOINT and NETWORK are as for FastAPI.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import triton_python_backend_utils as triton
from network import draw, open_session

from gan_serve.images.png import encode_png


class TritonPythonModel:
    def initialize(self, _args: dict[str, str]) -> None:
        self.session = open_session()

    def execute(self, requests: list[Any]) -> list[Any]:
        seeds = [triton.get_input_tensor_by_name(request, "seed").as_numpy() for request in requests]
        images = iter(draw(self.session, np.concatenate(seeds).ravel().tolist()))
        pngs = (np.array([[encode_png(next(images))] for _ in each], object) for each in seeds)
        return [triton.InferenceResponse([triton.Tensor("png", each)]) for each in pngs]
