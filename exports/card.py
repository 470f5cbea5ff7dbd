"""The model card, README.md of a checkpoint: what it draws, how it was trained, how far it can be trusted."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Collection, Mapping, Sequence

from huggingface_hub import EvalResult, ModelCardData

from gan_serve.checkpoint.config import PRECISION_FILES, Precision, TruncationSpace
from gan_serve.exports.parity import Parity, spread
from gan_serve.exports.report import figures_block, of_the_generator
from gan_serve.training.config import TrainConfig, command_line
from gan_serve.training.recipes import recipes
from gan_serve.training.run_info import RunInfo

_DATASET = re.compile(r"[\w.-]+(/[\w.-]+)?", re.ASCII)  # a name that the Hub accepts

TEMPLATE = """\
---
{metadata}
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
gan-serve generate {name} --seeds 0-15{label_option} --out grid.png
```
{labels}Truncation, from 0 to 1, gives up variety for images nearer to the mean: 1 changes nothing, {truncation}.

`generator.onnx` needs nothing but an ONNX Runtime. In: {inputs}. Out: `img` uint8 [N, {size}, {size}, {channels}].
The image of seed s comes from `numpy.random.RandomState(s).standard_normal({z_dim})`.
`generator.safetensors` holds the same weights for fine-tuning (`gan-serve train --init-from`).

| `precision` | file | size | nearness |
|---|---|---|---|
{precisions}

{missing}

## Training
- Recipe `{recipe}`: {source}.
- Command: `{command}`
{init_from}- {kimg:,.0f} thousand images shown ({passes:.1f} passes), {hours:.1f} hours on {machines}.
- The weights are an exponential moving average of the generator's, half-life {ema:g} thousand images.
- Data: {data}, {credit}; digest of the pixels `{digest}`.

## Figures
{figures}

### ONNX beside torch
ONNX in fp32 against torch over {seeds} seeds {times_labels}x {truncations} truncations x {batches} batch sizes: the
largest difference of any pixel is {difference} grey level(s) of 255; the pixels of an image do not depend on its batch.

## Limits
It draws what {data} looks like and nothing else. Some seeds give shapes between two kinds of things. It was not made to
judge, recognise or stand in for real images.
{note}"""


def model_card(
    name: str,
    license: str,
    config: TrainConfig,
    info: RunInfo,
    parity: Parity,
    metrics: Mapping[str, float],
    *,
    class_names: tuple[str, ...],
    truncation_space: TruncationSpace,
    shown: int,
    seconds: float,
    sizes: Mapping[Precision, int],
    pictures: Collection[str] = (),
    note: str = "",
) -> str:
    """Write the card of a checkpoint from what was recorded of its run and measured of its files.

    Args:
        name, license, config, info, parity, metrics, class_names, truncation_space: of the checkpoint and its run.
        shown: images that the discriminator saw. seconds: that it took.
        sizes: bytes of the file of each precision.
        pictures: the names of the checkpoint's pictures beside samples.png; see ``figures_block``.
        note: what its users should know beside.
    """
    recipe = recipes()[config.recipe]
    return TEMPLATE.format(
        metadata=_metadata(name, license, config, info, metrics, conditional=bool(class_names)),
        precisions="\n".join(_precision_row(precision, size, parity) for precision, size in sizes.items()),
        missing=_missing(parity.refused),
        **_usage(class_names, truncation_space, config.z_dim),
        times_labels=f"x {parity.labels} labels " if parity.labels else "",
        name=name,
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
        command=command_line(_as_long_as(config, shown)),
        init_from=f"- Started from the weights of `{info.init_from.name}` (`{info.init_from.digest}`).\n"
        if info.init_from
        else "",
        kimg=shown / 1000,
        passes=shown / info.data.n,
        hours=seconds / 3600,
        machines=", then ".join(info.machines),
        ema=config.ema_kimg,
        figures=figures_block(metrics, pictures),
        seeds=parity.seeds,
        truncations=len(parity.truncations),
        batches=len(parity.batch_sizes),
        difference=parity.max_difference,
        note=f"\n{' '.join(note.split())}\n" if note else "",
    )


def _as_long_as(config: TrainConfig, shown: int) -> TrainConfig:
    """The config of a run that ends where this one was exported, which may be before all its kimg were shown."""
    kimg = shown // 1000  # the step that passes it is the one that was exported
    return config.model_copy(update={"kimg": float(kimg)}) if 0 < kimg < config.kimg else config


def _metadata(
    name: str, license: str, config: TrainConfig, info: RunInfo, metrics: Mapping[str, float], *, conditional: bool
) -> str:
    """What the Hub reads of a card: licence, library, tags, and the figures as results."""
    task = "unconditional-image-generation"
    metrics = of_the_generator(metrics)
    data = ModelCardData(
        license=license,
        license_name=_license_name(info.data.name) if license == "other" else None,
        datasets=[info.data.name] if _DATASET.fullmatch(info.data.name) else None,
        library_name="gan-serve",
        pipeline_tag=None if conditional else task,  # the Hub has no tag for class-conditional images
        tags=["gan", config.recipe, "onnx", "image-generation"],
        metrics=sorted(metrics),
        model_name=name,
        eval_results=[
            EvalResult(
                task_type="image-generation" if conditional else task,
                dataset_type=info.data.name,
                dataset_name=info.data.name,
                metric_type=metric,
                metric_value=value,
            )
            for metric, value in sorted(metrics.items())
        ],
    )
    return data.to_yaml()


def _license_name(data: str) -> str:
    """Return the name that the Hub requires for a license that is "other": the terms of the training data.

    >>> _license_name("lego-brick-images (12 kinds)")
    'lego-brick-images-12-kinds-terms'
    """
    return "-".join([*re.findall(r"[a-z0-9]+", data.lower()), "terms"])


def _precision_row(precision: Precision, size: int, parity: Parity) -> str:
    near = "the reference"
    fidelity = {"int8": parity.int8, "fp16": parity.fp16}.get(precision)
    if fidelity is not None:
        near = f"PSNR {fidelity.psnr_mean} dB against fp32 over {fidelity.images} seeds (worst {fidelity.psnr_min})"
        if fidelity.weight_bits:
            near += f"; weights of {fidelity.weight_bits} bits"
        if fidelity.weight_bits == 8:
            near += ", which need a CPU with VNNI"
        if fidelity.layers_in_fp32:
            near += f"; in fp32 stays {', '.join(fidelity.layers_in_fp32)}"
    return f"| `{precision}` | `{PRECISION_FILES[precision]}` | {size / 1e6:.2f} MB | {near} |"


def _missing(refused: Mapping[Precision, str]) -> str:
    """What the card says of the precisions that there are no files for."""
    told = '`int8` is for CPUs, `fp16` for GPUs; `precision="auto"` takes the fastest one.'
    return " ".join([told, *(f"There is no {precision} file: {reason}." for precision, reason in refused.items())])


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
            "shown_samples": "Seeds 0 to 63, none left out, truncation 1.",
            "labels": "",
            "label_argument": "",
            "label_option": "",
        }
    last = class_names[-1]
    rows = [class_names[number] for number in spread(len(class_names))]
    return usage | {
        "shown_samples": f"A row for each of {_listed(rows)}: seeds 0 to 7, none left out, truncation 1.",
        "labels": f"Labels, by name or by index from 0 on: {_listed(class_names)}. Without one, seed s takes class "
        f"s mod {len(class_names)}.\n\n",
        "label_argument": f", label={json.dumps(last, ensure_ascii=False)}",
        "label_option": f" --label {shlex.quote(last)}",
    }


def _listed(names: Sequence[str]) -> str:
    """Names as Markdown shows them as they are."""
    return ", ".join(f"`{' '.join(name.split())}`" for name in names)
