"""The model card, README.md of a checkpoint: what it draws, how it was trained, how far it can be trusted."""

from __future__ import annotations

from gan_serve.exports.parity import Parity
from gan_serve.training.config import TrainConfig, command_line, recipes
from gan_serve.training.run import RunInfo

TEMPLATE = """\
---
license: {license}
library_name: gan-serve
pipeline_tag: unconditional-image-generation
tags:
- gan
- {recipe}
- onnx
---
# {name}

{title}. {size}x{size} {colour} images, trained on {data} ({n:,} images).

![64 seeds](samples.png)

Seeds 0 to 63, none left out, truncation 1.

## Use
```python
import gan_serve
images = gan_serve.generate("{name}", n=4, seed=7)
```
`generator.onnx` needs nothing but an ONNX Runtime: `z` float32 [N, {z_dim}] in, `img` uint8 [N, {size}, {size}, \
{channels}] out. The image of seed s comes from `numpy.random.RandomState(s).standard_normal({z_dim})`.
`generator.safetensors` holds the same weights for fine-tuning.

## Training
- Recipe `{recipe}`: {source}.
- Command: `{command}`
- {kimg:,.0f} thousand images shown ({passes:.1f} passes), {hours:.1f} hours on {machines}.
- The weights are an exponential moving average of the generator's, half-life {ema:g} thousand images.
- Data: {data}, {credit}; digest of the pixels `{digest}`.

## Figures
| metric | value |
|---|---|
{metrics}

`mean_gradient` is sharpness and `pairwise_l1` diversity, in grey levels; compare `seeds` with `train`, the real images.
They do not say whether an image makes sense.

ONNX against torch over {seeds} seeds x {truncations} truncations x {batches} batch sizes: the largest difference of any
pixel is {difference} grey level(s) of 255; the pixels of an image do not depend on its batch.

## Limits
It draws what {data} looks like and nothing else. Some seeds give shapes between two kinds of things. It was not made to
judge, recognise or stand in for real images.
"""


def model_card(
    name: str,
    license: str,
    config: TrainConfig,
    info: RunInfo,
    parity: Parity,
    metrics: dict[str, float],
    *,
    shown: int,
    seconds: float,
) -> str:
    """Write the card of a checkpoint from what was recorded of its run and measured of its files."""
    recipe = recipes()[config.recipe]
    return TEMPLATE.format(
        name=name,
        license=license,
        recipe=config.recipe,
        title=recipe.title,
        source=recipe.source,
        size=config.resolution,
        colour="gray" if info.data.img_channels == 1 else "RGB",
        channels=info.data.img_channels,
        z_dim=config.z_dim,
        data=info.data.name,
        n=info.data.n,
        credit=info.data.credit,
        digest=info.data.digest,
        command=command_line(config),
        kimg=shown / 1000,
        passes=shown / info.data.n,
        hours=seconds / 3600,
        machines=", then ".join(info.machines),
        ema=config.ema_kimg,
        metrics="\n".join(f"| `{metric}` | {value} |" for metric, value in metrics.items()),
        seeds=parity.seeds,
        truncations=len(parity.truncations),
        batches=len(parity.batch_sizes),
        difference=parity.max_difference,
    )
