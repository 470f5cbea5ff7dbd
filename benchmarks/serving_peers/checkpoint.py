"""The checkpoint of all servers: a 64x64x3 DCGAN with random weights, in fp32 and int8."""

from __future__ import annotations

import tempfile
from pathlib import Path

import torch
from torch import nn

from gan_serve._version import __version__
from gan_serve.exports.export import export_run
from gan_serve.training.config import generator_arguments, make_config
from gan_serve.training.networks import build_generator
from gan_serve.training.run_info import DataInfo, RunInfo
from gan_serve.training.snapshots import save_snapshot

CONTRAST = 0.5  # standard deviation of pixels before tanh, similar to that of photographs in [-1, 1]


def make_checkpoint(directory: Path) -> Path:
    """Export an untrained DCGAN with the same checks as a training run; an existing directory is kept."""
    if directory.exists():
        return directory
    # The network of the DCGAN paper, whatever the recipe has now, so that figures of other days stay comparable.
    config = make_config("dcgan-64", {"data": "none", "upsampling": "transposed"})
    generator = build_generator(config.family, **generator_arguments(config, img_channels=3, c_dim=0))
    draw_weights(generator, config.z_dim)
    data = DataInfo(
        name="none", digest=f"sha256:{64 * '0'}", n=1, img_resolution=config.resolution, img_channels=3, class_names=(),
        license="other", credit="", metrics={},
    )  # fmt: skip
    directory.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        run = Path(scratch)
        (run / "config.json").write_text(config.model_dump_json())
        (run / "run.json").write_text(RunInfo(data=data, machines=(), gan_serve_version=__version__).model_dump_json())
        save_snapshot(run, {"ema": generator.state_dict(), "shown": 0, "seconds": 0.0}, keep=1)
        return export_run(run, directory)


@torch.no_grad()
def draw_weights(generator: nn.Module, z_dim: int) -> None:
    """Set random weights, the same at each call, with BatchNorm statistics that give images with contrast."""
    torch.manual_seed(0)
    for parameter in generator.parameters():
        if parameter.ndim > 1:
            nn.init.normal_(parameter, std=0.02)  # as the DCGAN paper does
    norms = [module for module in generator.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = 1.0
    *_, last = (module for module in generator.modules() if isinstance(module, nn.ConvTranspose2d))
    seen: list[torch.Tensor] = []
    hook = last.register_forward_hook(lambda _module, _inputs, output: seen.append(output))
    generator.train()(torch.randn(256, z_dim))
    hook.remove()
    last.weight *= CONTRAST / seen[0].std()
    generator.eval()
