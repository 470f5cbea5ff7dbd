"""The memory of a worker under the largest requests that its limits allow."""

from __future__ import annotations

import json
import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from answers import NAME
from server_process import serving, until
from servers import KINDS, all_ready, running, workers
from tiny_checkpoint import seal, write_checkpoint

from gan_serve.checkpoint.config import GoldenSample
from gan_serve.sampling.latents import latents_from_seeds

LARGE = {"model": NAME, "seeds": "0-99999", "start": 0, "stop": 1024}


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_requests_whose_receipts_could_be_long_take_little_memory(kind: str, tmp_path: Path) -> None:
    before = set(workers(os.getpid()))
    with running([NAME], tmp_path, kind) as client:
        until(lambda: all_ready(tmp_path / "log.txt", 1))
        [worker] = (process for pid, process in workers(os.getpid()).items() if pid not in before)
        for format in ("json", "zip", "ndjson"):
            response = client.post("/interpolate", json=LARGE | {"format": format})
            assert response.status_code == 200
            assert len(response.content) < 4_000_000
            assert worker.memory_info().rss < 600 * 2**20
        frame = json.loads(client.post("/interpolate", json=LARGE | {"format": "ndjson"}).text.splitlines()[-1])
        assert (frame["frame"], frame["receipt"]["walk"]["seeds"], frame["receipt"]["walk"]["frame"]) == (
            1023,
            [63, 64],
            15,
        )


NOISE = 256  # width and height of images that cannot be compressed


def noise_checkpoint(directory: Path) -> Path:
    """A checkpoint of large images: img = clip(128 + 60 z W), one linear layer of random weights."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    z_dim, size = 4, NOISE * NOISE * 3
    weight = np.random.RandomState(0).standard_normal((z_dim, size)).astype(np.float32) * 60
    constants = {"weight": weight, "grey": np.float32(128), "low": np.float32(0), "high": np.float32(255)}
    constants["shape"] = np.array([-1, NOISE, NOISE, 3], np.int64)
    nodes = [
        helper.make_node("MatMul", ["z", "weight"], ["product"]),
        helper.make_node("Add", ["product", "grey"], ["level"]),
        helper.make_node("Clip", ["level", "low", "high"], ["clipped"]),
        helper.make_node("Reshape", ["clipped", "shape"], ["image"]),
        helper.make_node("Cast", ["image"], ["img"], to=TensorProto.UINT8),
    ]
    graph = helper.make_graph(
        nodes,
        "noise",
        [helper.make_tensor_value_info("z", TensorProto.FLOAT, ["N", z_dim])],
        [helper.make_tensor_value_info("img", TensorProto.UINT8, ["N", NOISE, NOISE, 3])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    write_checkpoint(directory)
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10),
        directory / "generator.onnx",
    )
    image = np.clip(latents_from_seeds([0], z_dim) @ weight + 128, 0, 255).astype(np.uint8).reshape(NOISE, NOISE, 3)
    golden = GoldenSample.of(image, 0).model_dump()
    return seal(directory, name="noise", z_dim=z_dim, img_resolution=NOISE, img_channels=3, golden_sample=golden)


@pytest.mark.slow
def test_the_largest_requests_that_the_limits_allow_take_bounded_memory(tmp_path: Path) -> None:
    checkpoint = noise_checkpoint(tmp_path / "noise")
    counts = {"json": 250, "npz": 330, "png": 330, "zip": 330, "gif": 330, "webp": 330, "ndjson": 1000}
    with serving(tmp_path / "server", GAN_SERVE_MODELS=str(checkpoint), GAN_SERVE_TIMEOUT="120") as server:
        until(server.is_live)
        [worker] = workers(server.process.pid).values()
        most, statuses = 0, set()

        def ask(format: str) -> int:
            body = {"model": "noise", "format": format} | {"seeds": "0,1", "steps": counts[format] - 1}
            with server.client.stream("POST", "/interpolate", json=body, timeout=300) as response:
                for number, _ in enumerate(response.iter_bytes()):
                    if format == "ndjson" and number > 100:
                        break
                return response.status_code

        with ThreadPoolExecutor(8) as pool:
            asked = [pool.submit(ask, format) for _ in range(3) for format in counts]
            while not all(future.done() for future in asked):
                most = max(most, worker.memory_info().rss)
                time.sleep(0.05)
            statuses = {future.result() for future in asked}
        assert 200 in statuses <= {200, 429}
        assert most < 600 * 2**20
