"""Plain FastAPI: an endpoint in Starlette's threads, one ONNX Runtime session in each worker, no batching.

CHECKPOINT=DIR NETWORK=generator.onnx uvicorn fastapi_app:app --workers 2 --no-access-log
"""

from __future__ import annotations

from fastapi import FastAPI, Response
from network import draw, open_session
from pydantic import BaseModel

from gan_serve.images.png import encode_png

app = FastAPI()
session = open_session()


class Request(BaseModel):
    seed: int


@app.post("/sample")
def sample(request: Request) -> Response:
    [pixels] = draw(session, [request.seed])
    return Response(encode_png(pixels), media_type="image/png")
