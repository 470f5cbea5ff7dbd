"""LitServe with its batching: two workers, each with one ONNX Runtime session.

CHECKPOINT=DIR NETWORK=generator.onnx python litserve_app.py PORT
"""

from __future__ import annotations

import sys

import litserve
import numpy as np
from network import draw, open_session
from starlette.responses import Response

from gan_serve.images.png import encode_png


class Images(litserve.LitAPI):
    def setup(self, device: str) -> None:
        self.session = open_session()

    def decode_request(self, request: dict[str, int]) -> int:
        return request["seed"]

    def batch(self, inputs: list[int]) -> list[int]:
        return inputs

    def predict(self, x: list[int]) -> np.ndarray:
        return draw(self.session, x)

    def unbatch(self, output: np.ndarray) -> list[np.ndarray]:
        return list(output)

    def encode_response(self, output: np.ndarray) -> Response:
        return Response(encode_png(output), media_type="image/png")


if __name__ == "__main__":
    api = Images(max_batch_size=4, batch_timeout=0.002, api_path="/sample")
    server = litserve.LitServer(api, accelerator="cpu", workers_per_device=2)
    server.run(
        host="127.0.0.1",
        port=int(sys.argv[1]),
        num_api_servers=2,
        log_level="warning",
        access_log=False,
        generate_client_file=False,
    )
