"""BentoML's own batching: one service whose API is batchable, our ONNX file in one ONNX Runtime session a worker.

A batchable API receives and returns lists, so its response is JSON with base64. A PNG body would need a second service
in front of it, and that connection fails under load.

    CHECKPOINT=DIR NETWORK=generator.onnx bentoml serve bento_batchable:Images
"""

from __future__ import annotations

import base64

import bentoml
from network import draw, open_session

from gan_serve.images.png import encode_png


@bentoml.service(
    name="images",
    workers=2,
    traffic={"timeout": 60},
    logging={"access": {"enabled": False}},
    metrics={"enabled": False},
)
class Images:
    def __init__(self) -> None:
        self.session = open_session()

    @bentoml.api(batchable=True, max_batch_size=32, max_latency_ms=10_000, route="/sample")
    def sample(self, seeds: list[int]) -> list[str]:
        return [base64.b64encode(encode_png(pixels)).decode() for pixels in draw(self.session, seeds)]
