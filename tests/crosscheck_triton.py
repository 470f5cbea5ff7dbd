"""Serve exported checkpoints with the real Triton and compare every pixel. Run by hand (docs/deploy.md), not by pytest.

    python tests/crosscheck_triton.py PYTHON [MODEL ...]

PYTHON is that of an environment with nvidia-pytriton and onnxruntime. pytriton brings Triton's server, whose Python
backend stands in here for its ONNX Runtime backend, which only NVIDIA's containers have. All else in config.pbtxt
(tensors, reshape, batching, instances, parameters) is read and obeyed by Triton itself.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import httpx
import numpy as np
from servers import free_port

from gan_serve import Generator
from gan_serve.checkpoint.triton import export_triton

MODEL = """
import numpy as np, onnxruntime
import triton_python_backend_utils as utils

class TritonPythonModel:
    def initialize(self, args):
        path = f"{args['model_repository']}/{args['model_version']}/model.onnx"
        self.session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])

    def execute(self, requests):
        names = [value.name for value in self.session.get_inputs()]
        fed = {n: [utils.get_input_tensor_by_name(r, n).as_numpy() for r in requests] for n in names}
        images = self.session.run(["img"], {name: np.concatenate(values) for name, values in fed.items()})[0]
        ends = np.cumsum([len(z) for z in fed["z"]])[:-1]
        return [utils.InferenceResponse([utils.Tensor("img", part)]) for part in np.split(images, ends)]
"""


def main() -> None:
    python, *models = sys.argv[1:]
    find = "import sys, pytriton; print(pytriton.__file__, sys.version_info.major, sys.version_info.minor)"
    found = subprocess.run([python, "-c", find], check=True, capture_output=True, text=True).stdout.split()
    triton, stub = Path(found[0]).parent / "tritonserver", f"python_backend_stubs/{found[1]}.{found[2]}"
    libraries = triton.parents[1] / "nvidia_pytriton.libs"
    with tempfile.TemporaryDirectory() as folder:
        repository, backends = Path(folder) / "repository", Path(folder) / "backends"
        shutil.copytree(triton / "backends", backends)
        shutil.copy(triton / stub / "triton_python_backend_stub", backends / "python")
        for model in models or ["fashion-dcgan"]:
            directory = export_triton(model, repository, max_batch_size=8, instances=2)
            config = directory / "config.pbtxt"
            config.write_text(config.read_text().replace('backend: "onnxruntime"', 'backend: "python"'))
            (directory / "1" / "model.py").write_text(MODEL)
        port = free_port()
        server = subprocess.Popen(
            [triton / "bin" / "tritonserver", f"--model-repository={repository}", f"--http-port={port}",
             f"--backend-directory={backends}", "--allow-grpc=false", "--allow-metrics=false",
             "--disable-auto-complete-config"],
            env=os.environ | {"PATH": f"{Path(python).parent}:{os.environ['PATH']}", "LD_LIBRARY_PATH": str(libraries)},
        )  # fmt: skip
        try:
            with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
                wait(client, server)
                for model in models or ["fashion-dcgan"]:
                    compare(client, Generator.from_pretrained(model, device="cpu"))
        finally:
            server.terminate()
            server.wait(30)


def wait(client: httpx.Client, server: subprocess.Popen[bytes]) -> None:
    for _ in range(120):
        assert server.poll() is None, "Triton ended"
        try:
            if client.get("/v2/health/ready").status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.5)
    raise TimeoutError("Triton is not ready")


def compare(client: httpx.Client, generator: Generator) -> None:
    plan = generator.sample_request(8, seed=0, truncation=0.7)
    address = f"/v2/models/{generator.name}"
    sent = []
    for name, values in plan.inputs().items():
        shape = values.shape if values.ndim > 1 else (len(values), 1)
        kind = {"float32": "FP32", "int64": "INT64"}[values.dtype.name]
        sent.append({"name": name, "shape": shape, "datatype": kind, "data": values.ravel().tolist()})
    answer = client.post(f"{address}/infer", json={"inputs": sent}).raise_for_status().json()["outputs"][0]
    drawn = np.array(answer["data"], np.uint8).reshape(answer["shape"])
    np.testing.assert_array_equal(drawn, generator.run(plan))
    config = client.get(f"{address}/config").raise_for_status().json()
    facts = {key: value["string_value"] for key, value in config["parameters"].items()}
    assert facts["gan_serve_digest"] == generator.digest
    assert tuple(json.loads(facts["class_names"])) == generator.class_names
    too_many = [each | {"shape": [9, each["shape"][1]], "data": each["data"][: each["shape"][1]] * 9} for each in sent]
    assert client.post(f"{address}/infer", json={"inputs": too_many}).status_code == 400
    print(f"{generator.name}: {answer['datatype']} {answer['shape']}, equal; {config['max_batch_size']} at a time")


if __name__ == "__main__":
    main()
