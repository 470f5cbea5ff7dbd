"""Measure the forms of a transposed convolution of stride 2; ``_form`` in exports/rewrite.py uses the result.

A layer is timed within its network, with the chosen forms of the other layers. By itself, it would need layout changes
that its neighbours share.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

import numpy as np
import onnx
import torch
from timing import median_ratio, taking_turns

from gan_serve.exports import rewrite as optimize
from gan_serve.exports.to_onnx import serialize, torch_export
from gan_serve.sampling.session import open_session
from gan_serve.training.networks import build_generator

BATCH = 8
FORMS = ("plain", "phases", "cropped")
NETWORKS = {
    "dcgan, 64x64x3, width 1": ("dcgan", {"z_dim": 100, "img_resolution": 64, "img_channels": 3}),
    "dcgan, 64x64x3, width 0.25": ("dcgan", {"z_dim": 100, "img_resolution": 64, "img_channels": 3, "width": 0.25}),
    "dcgan28, 28x28x1": ("dcgan28", {"z_dim": 100, "img_resolution": 28, "img_channels": 1}),
}

Layer = tuple[int, int]  # channels of the output, width and height of the input


def forms_table(rounds: int) -> list[str]:
    rows = [row for name, (family, arguments) in NETWORKS.items() for row in _rows(name, family, arguments, rounds)]
    return [
        "",
        "## Forms of a transposed convolution",
        "",
        f"fp32, batch {BATCH}, random weights: speed of the whole network relative to this layer in the form `plain`, "
        "with the chosen forms of the other layers. The chosen form is bold.",
        "",
        "| network | kernel | input | channels | " + " | ".join(FORMS) + " |",
        "|---|---|---|---|" + "---|" * len(FORMS),
        *rows,
    ]


def _rows(name: str, family: str, arguments: dict[str, object], rounds: int) -> list[str]:
    torch.manual_seed(0)
    exported = torch_export(build_generator(family, **arguments).eval())
    latents = {"z": np.random.RandomState(0).standard_normal((BATCH, arguments["z_dim"])).astype(np.float32)}
    chosen: dict[Layer, tuple[str, int, int]] = {}  # form, kernel size, channels of the input

    def record(layer: optimize._Transposed, size: int, form: str) -> str:
        chosen[layer.channels, size] = form, layer.size, len(layer.weight)
        return form

    _session(exported, record)
    rows = []
    for place, (choice, kernel, channels_in) in chosen.items():
        forms = [form for form in FORMS if form != "cropped" or kernel == 4]  # its windows are those of 4x4 kernels
        sessions = [
            _session(exported, lambda layer, size, own, f=form, p=place: f if (layer.channels, size) == p else own)
            for form in forms
        ]
        seconds = taking_turns(
            *(lambda s=session: s.run(["img"], latents) for session in sessions), repeats=4, rounds=rounds
        )
        cells = {form: f"{median_ratio(own, seconds[0]):.2f}" for form, own in zip(forms, seconds, strict=True)}
        cells[choice] = f"**{cells[choice]}**"
        channels, size = place
        row = [name, f"{kernel}x{kernel}", f"{size}x{size}", f"{channels_in} to {channels}"]
        rows.append("| " + " | ".join([*row, *(cells.get(form, "") for form in FORMS)]) + " |")
    return rows


def _session(exported: onnx.ModelProto, choose: Callable[[optimize._Transposed, int, str], str]):
    model = onnx.ModelProto()
    model.CopyFrom(exported)
    with _choosing(choose):
        optimize.optimize(model)
    return open_session(serialize(model), "cpu")[0]


@contextlib.contextmanager
def _choosing(choose: Callable[[optimize._Transposed, int, str], str]) -> Iterator[None]:
    """Let ``choose`` select the form of each layer, given the default one."""
    original = optimize._form
    optimize._form = lambda layer, size, kernels: choose(  # type: ignore[assignment]
        layer, size, original(layer, size, kernels)
    )
    try:
        yield
    finally:
        optimize._form = original
