"""The model card, README.md of a checkpoint: what it draws, how it was trained, how far it can be trusted."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence

from gan_serve.checkpoint import TruncationSpace
from gan_serve.exports.parity import Parity, spread
from gan_serve.training.config import TrainConfig, command_line
from gan_serve.training.recipes import recipes
from gan_serve.training.run import RunInfo

TEMPLATE = """\
---
license: {license}
library_name: gan-serve
{pipeline}tags:
- gan
- {recipe}
- onnx
---
# {name}

{title}. {size}x{size} {colour} images, trained on {data} ({n:,} images).

![Samples](samples.png)

{shown_samples}

## Use
```python
import gan_serve
images = gan_serve.generate("{name}", n=4, seed=7{label_argument})
```
```
gan-serve generate {name} --seeds 0-15{label_option} --truncation 0.7 --out grid.png
```
{labels}Truncation, from 0 to 1, gives up variety for typical images: 1 changes nothing, {truncation}.

`generator.onnx` needs nothing but an ONNX Runtime. In: {inputs}. Out: `img` uint8 [N, {size}, {size}, {channels}].
The image of seed s comes from `numpy.random.RandomState(s).standard_normal({z_dim})`.
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

ONNX against torch over {seeds} seeds {times_labels}x {truncations} truncations x {batches} batch sizes: the largest
difference of any pixel is {difference} grey level(s) of 255; the pixels of an image do not depend on its batch.

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
    class_names: tuple[str, ...],
    truncation_space: TruncationSpace,
    shown: int,
    seconds: float,
) -> str:
    """Write the card of a checkpoint from what was recorded of its run and measured of its files."""
    recipe = recipes()[config.recipe]
    return TEMPLATE.format(
        **_usage(class_names, truncation_space, config.z_dim),
        times_labels=f"x {parity.labels} labels " if parity.labels else "",
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


def _usage(class_names: tuple[str, ...], truncation_space: TruncationSpace, z_dim: int) -> dict[str, str]:
    """What the card says of labels and truncation."""
    inputs = [f"`z` float32 [N, {z_dim}]"]
    if class_names:
        inputs.append(f"`c` int64 [N] (classes from 0 to {len(class_names) - 1})")
    if truncation_space == "w":
        inputs.append("`psi` float32 [N] (truncation, 1 for none)")
    usage = {
        "inputs": ", ".join(inputs),
        "truncation": {
            "z": "0 draws the image of the latent 0 for every seed, since it multiplies the latents",
            "w": "0 draws the mean of all styles w for every seed (psi: w' = mean + psi (w - mean))",
        }[truncation_space],
    }
    if not class_names:
        return usage | {
            "pipeline": "pipeline_tag: unconditional-image-generation\n",
            "shown_samples": "Seeds 0 to 63, none left out, truncation 1.",
            "labels": "",
            "label_argument": "",
            "label_option": "",
        }
    last = class_names[-1]
    rows = [class_names[number] for number in spread(len(class_names))]
    return usage | {
        "pipeline": "",  # unconditional would be wrong, and the Hub has no tag for class-conditional images
        "shown_samples": f"A row for each of {_listed(rows)}: seeds 0 to 7, none left out, truncation 1.",
        "labels": f"Labels, by name or by index from 0 on: {_listed(class_names)}. Without one, seed s takes class "
        f"s mod {len(class_names)}.\n\n",
        "label_argument": f", label={json.dumps(last, ensure_ascii=False)}",
        "label_option": f" --label {shlex.quote(last)}",
    }


def _listed(names: Sequence[str]) -> str:
    """Names as Markdown shows them as they are."""
    return ", ".join(f"`{' '.join(name.split())}`" for name in names)
