"""Run a call in a process of its own and measure its error, its seconds and its memory."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import NamedTuple

RUN = """
import json, os, pathlib, sys
import numpy, onnxruntime, PIL.Image
from gan_serve import Generator
from gan_serve.errors import GanServeError
from gan_serve.verify import verify_image
calls = {"load": Generator.from_pretrained, "verify": verify_image}
match sys.argv[1]:
    case "images" | "labels":
        from gan_serve.training.data.load import load_images
        import pyarrow.parquet
        calls["images"] = load_images
        calls["labels"] = lambda path: load_images(path, labels=f"{path}/labels.json:label")
    case "latents":
        from gan_serve.checkpoint.bundled import BUNDLED
        from gan_serve.checkpoint.files import read_config
        from gan_serve.cli.latents_file import read_latents
        calls["latents"] = lambda path: read_latents(pathlib.Path(path), read_config(BUNDLED / "fashion-cgan"))
    case "translator":
        from gan_serve import Translator
        calls["translator"] = Translator.from_pretrained
    case "picture":
        from gan_serve.translation.inputs import read_picture
        calls["picture"] = read_picture
    case "import":
        import h5py, torch._dynamo
        from gan_serve.exports.imports.import_generator import import_generator
        calls["import"] = lambda source: import_generator(source, source + ".out", license="mit", precisions=["fp32"])
    case "translation":
        from gan_serve.training.translation.examples import read_examples
        from gan_serve.training.translation.load import load_trained_translator
        def translation(path):
            read_examples(pathlib.Path(path), load_trained_translator(pathlib.Path(path)).config)
        calls["translation"] = translation
    case "run" | "log" | "extractor" | "weights":
        import numpy as np
        from gan_serve.training.evaluation.extractor_registry import SmallExtractor
        from gan_serve.training.load_checkpoint import load_generator
        from gan_serve.training.load_run import load_trained
        from gan_serve.training.monitoring.run_log import read_log
        def features(path):
            SmallExtractor(pathlib.Path(path))(np.zeros((3, 8, 8, 1), np.uint8))
        calls["run"] = lambda path: load_trained(pathlib.Path(path))
        calls["log"] = lambda path: read_log(pathlib.Path(path))
        calls["extractor"] = features
        calls["weights"] = lambda path: load_generator(pathlib.Path(path))
def peak():  # not getrusage: its maximum begins with that of the process that started this one
    lines = pathlib.Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024
def seconds():  # of the processor, also in processes that it started: the machine may be busy
    return sum(os.times()[:4])
before, started, kind, message = peak(), seconds(), "", ""
try:
    calls[sys.argv[1]](*sys.argv[2:])
except GanServeError as error:
    kind, message = type(error).__name__, str(error)
print(json.dumps([kind, message, seconds() - started, peak() - before]))
"""


class Measured(NamedTuple):
    """The error of a call (empty if there is none), the processor's seconds and the megabytes that it took."""

    error: str
    message: str
    seconds: float
    megabytes: float


def measure(call: str, *arguments: object) -> Measured:
    """Return what a call of ``RUN`` does, such as ``load`` of a checkpoint or ``images`` of a data set."""
    command = [sys.executable, "-c", RUN, call, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr
    return Measured(*json.loads(done.stdout))
