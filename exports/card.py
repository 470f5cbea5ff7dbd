"""Write the model card, README.md of a checkpoint: its images, its training, its measurements and its limits."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from huggingface_hub import EvalResult, ModelCardData

from gan_serve.checkpoint.config import PRECISION_FILES, Precision
from gan_serve.exports.parity import Parity, spread
from gan_serve.exports.reference import Reference
from gan_serve.exports.report import metrics_block, of_the_generator
from gan_serve.exports.round_weights import weights_in_words
from gan_serve.exports.to_onnx import PixelGenerator
from gan_serve.training.config import TrainConfig, command_line
from gan_serve.training.data.image_set import OWN_IMAGES
from gan_serve.training.load_run import Trained
from gan_serve.training.recipes import recipes
from gan_serve.training.run_info import DataInfo
from gan_serve.training.schedules import ema_half_life
from gan_serve.training.ticks import duration

SHARP_ENOUGH = 0.9  # share of the training images' sharpness; below it the card says that truncation is of no use

_DATASET = re.compile(r"[\w.-]+(/[\w.-]+)?", re.ASCII)  # a name that the Hub accepts

USE = """\
## Use
```python
import gan_serve
images = gan_serve.generate("{name}", n=4, seed=7{label_argument})
```
```
gan-serve generate {name} --seeds 0-15{label_option} --out grid.png
```
{labels}{truncation}

`generator.onnx` runs in any ONNX Runtime. Inputs: {inputs}. Output: `img` uint8 [N, {size}, {size}, {channels}].
The image of seed s comes from `numpy.random.RandomState(s).standard_normal({z_dim})`.
"""

TEMPLATE = (
    """\
---
{metadata}
---
# {name}

{title}. {size}x{size} {colour} images, trained on {data} ({n:,} images).

![Samples](samples.png)

{shown_samples}

"""
    + USE
    + """\
For fine-tuning (`gan-serve train --init-from`), `generator.safetensors` has {weights}.

| `precision` | file | size | compared with fp32 |
|---|---|---|---|
{precisions}

{missing}

## Training
- Recipe `{recipe}`: {source}.
- Command: `{command}`
{init_from}- {kimg} thousand images shown{planned} ({passes:.1f} passes), {duration} on {machines}.
- {average}
- Data: {data}, {credit}; digest of the pixels `{digest}`.
{held_out}{terms}
## Figures
{figures}

### ONNX compared with torch
ONNX in fp32 and torch were compared over {seeds} seeds {times_labels}x {truncations} truncations x {batches} batch
sizes: no pixel differs by more than {difference} grey level(s) of 255, and an image does not depend on its batch.

## Limits
Its images resemble those of {data} and nothing else. Some seeds give a mixture of two things. It is not meant to
recognise images or to replace real ones.
{short_run}{note}"""
)


@dataclass(frozen=True)
class Publication:
    """The terms and remarks that a checkpoint is published with.

    Attributes:
        license: SPDX name; None: that of the data where it is known, otherwise ``other``.
        credit: the authors of the training images and their terms, for the card; None: those that the data states.
        note: a remark for users, such as that a longer training would help.
    """

    license: str | None = None
    credit: str | None = None
    note: str = ""

    def completed(self, data: DataInfo) -> Publication:
        """Return a copy in which the fields that are None have the values of the training images."""
        license = self.license or data.license
        return replace(self, license=license, credit=data.credit if self.credit is None else self.credit)


@dataclass(frozen=True)
class Measurements:
    """The measurements of an export that its card shows.

    Attributes:
        parity: see ``Parity``.
        metrics: of ``metrics.json``.
        sizes: bytes of the file of each precision.
        image_shape: (H, W, C).
        gradient: sharpness of the images, see ``mean_gradient``.
        truncated_gradient: the same at ``truncation``.
    """

    parity: Parity
    metrics: Mapping[str, float]
    sizes: Mapping[Precision, int]
    gradient: float
    truncated_gradient: float
    truncation: float
    image_shape: tuple[int, ...] = ()


def model_card(name: str, trained: Trained, publication: Publication, measured: Measurements) -> str:
    """Return the card of a checkpoint.

    Args:
        name: of the checkpoint.
        trained: the generator and the record of its run.
        publication: a completed one.
        measured: the measurements of the exported files.
    """
    config, data, parity = trained.config, trained.info.data, measured.parity
    recipe, init_from = recipes()[config.recipe], trained.info.init_from
    precisions = (precision_row(precision, size, parity) for precision, size in measured.sizes.items())
    return TEMPLATE.format(
        metadata=_metadata(name, publication.license or "", trained, measured.metrics),
        precisions="\n".join(precisions),
        missing=missing_precisions(parity.refused),
        weights=weights_in_words(parity.mantissa_bits),
        **usage(PixelGenerator(trained.generator), trained.class_names),
        truncation=truncation(trained.generator.truncation_space == "w", measured, data.metrics),
        times_labels=f"x {parity.labels} labels " if parity.labels else "",
        name=name,
        recipe=config.recipe,
        title=recipe.title,
        source=recipe.source,
        size=config.resolution,
        colour="gray" if data.img_channels == 1 else "RGB",
        channels=data.img_channels,
        z_dim=config.z_dim,
        data=data.name,
        n=data.n,
        credit=publication.credit,
        digest=data.digest,
        held_out=_held_out(config.holdout),
        terms=_terms(publication),
        short_run=_short_run(config, trained.shown),
        command=command_line(_as_long_as(config, trained.shown)),
        init_from=f"- Started from the weights of `{init_from.name}` (`{init_from.digest}`).\n" if init_from else "",
        kimg=_thousands(trained.shown),
        planned=f" of {config.kimg:,g} planned" if trained.shown < 1000 * config.kimg else "",
        passes=trained.shown / data.n,
        duration=duration(trained.seconds),
        machines=", then ".join(trained.info.machines),
        average=average_of(ema_half_life(config, trained.shown), "generator"),
        figures=metrics_block(measured.metrics),
        seeds=parity.seeds,
        truncations=len(parity.truncations),
        batches=len(parity.batch_sizes),
        difference=parity.max_difference,
        note=f"\n{' '.join(publication.note.split())}\n" if publication.note else "",
    )


def average_of(half_life: float, network: str) -> str:
    """Return a sentence about the average of a network's weights, of a half-life in kimg; 0: there is none."""
    if not half_life:
        return f"The weights are those of the {network} after the last step; no average was kept."
    return (
        f"The weights are an exponential moving average of the {network}'s, half-life {half_life:.3g} thousand images."
    )


def _held_out(share: float | None) -> str:
    return f"- {share:.0%} of the images were held out from training, to measure it.\n" if share else ""


def _terms(publication: Publication) -> str:
    """Return the line on the licence of a checkpoint of the user's own images, of which only the user knows it."""
    if publication.credit != OWN_IMAGES:
        return ""
    if publication.license != "other":
        return f"- Licence of this checkpoint: `{publication.license}`.\n"
    return (
        "- Licence: not stated. Before you publish this checkpoint, say whose images these are and on which terms: "
        "`gan-serve export RUN --out NAME --license LICENSE --credit TEXT` (an SPDX name, such as `cc0-1.0`).\n"
    )


def _thousands(images: int) -> str:
    """Return a number of images in thousands: ``2,411``, and ``1.5`` for few."""
    return f"{images / 1000:,.0f}" if images >= 100_000 else f"{images / 1000:.3g}"


def _short_run(config: TrainConfig, shown: int) -> str:
    """Return what a longer run would bring, where this one was shorter than its recipe."""
    full = float(recipes()[config.recipe].config.get("kimg", 0))
    if shown >= 1000 * full / 2:
        return ""
    return (
        f"\nIts run was short: {_thousands(shown)} of the {full:,.0f} thousand images of its recipe. A longer "
        f"one (`--kimg {full:g}`, or more `--minutes`) usually makes images sharper and more varied.\n"
    )


def _as_long_as(config: TrainConfig, shown: int) -> TrainConfig:
    """Return the config with ``kimg`` at which the run was exported, which may be before its end."""
    kimg = shown // 1000  # the exported step is the first one beyond it
    is_early = shown < 1000 * config.kimg
    return config.model_copy(update={"kimg": float(kimg)}) if is_early and kimg else config


def _metadata(name: str, license: str, trained: Trained, metrics: Mapping[str, float]) -> str:
    """Return the metadata of a card, which the Hub reads: licence, library, tags, and the metrics as results."""
    conditional, data = bool(trained.class_names), trained.info.data
    task = "unconditional-image-generation"
    metrics = of_the_generator(metrics)
    card = ModelCardData(
        license=license,
        license_name=_license_name(data.name) if license == "other" else None,
        datasets=[data.name] if _DATASET.fullmatch(data.name) else None,
        library_name="gan-serve",
        pipeline_tag=None if conditional else task,  # the Hub has no tag for class-conditional images
        tags=["gan", trained.config.recipe, "onnx", "image-generation"],
        metrics=sorted(metrics),
        model_name=name,
        eval_results=[
            EvalResult(
                task_type="image-generation" if conditional else task,
                dataset_type=data.name,
                dataset_name=data.name,
                metric_type=metric,
                metric_value=value,
            )
            for metric, value in sorted(metrics.items())
        ],
    )
    return card.to_yaml()


def _license_name(data: str) -> str:
    """Return the name that the Hub requires for a license that is "other": the terms of the training data.

    >>> _license_name("lego-brick-images (12 kinds)")
    'lego-brick-images-12-kinds-terms'
    """
    return "-".join([*re.findall(r"[a-z0-9]+", data.lower()), "terms"])


def precision_row(precision: Precision, size: int, parity: Parity) -> str:
    """Return the row of a precision in the card's table of files, with its size in bytes."""
    beside = "the reference"
    fidelity = {"int8": parity.int8, "fp16": parity.fp16}.get(precision)
    if fidelity is not None:
        low = "" if fidelity.psnr_p1 is None else f"1 % below {fidelity.psnr_p1}, "
        beside = (
            f"PSNR {fidelity.psnr_mean} dB in the mean over {fidelity.images:,} seeds ({low}lowest {fidelity.psnr_min})"
        )
        if fidelity.weight_bits:
            beside += f"; weights of {fidelity.weight_bits} bits"
        if fidelity.weight_bits == 8:
            beside += ", which need a CPU with VNNI"
        if fidelity.layers_in_fp32:
            beside += f"; computed in fp32: {', '.join(fidelity.layers_in_fp32)}"
    return f"| `{precision}` | `{PRECISION_FILES[precision]}` | {size / 1e6:.2f} MB | {beside} |"


def missing_precisions(refused: Mapping[Precision, str]) -> str:
    """Return the remarks on precisions, with the reason for each that has no file."""
    use = '`int8` is for CPUs, `fp16` for GPUs; `precision="auto"` takes the fastest one.'
    return " ".join([use, *(f"There is no {precision} file: {reason}." for precision, reason in refused.items())])


def truncation(in_w: bool, measured: Measurements, real: Mapping[str, float]) -> str:
    """Return the paragraph on truncation, with the sharpness that is left of the training images' where it is known.

    Args:
        in_w: truncation moves w. measured: with the sharpness of the images. real: the metrics of the training images.
    """
    effect = (
        "0 gives the image of the mean style w for every seed (psi: w' = mean + psi (w - mean))"
        if in_w
        else "0 gives the image of the latent 0 for every seed, since it multiplies the latents"
    )
    sharpest = next((value for name, value in real.items() if name.startswith("mean_gradient")), 0.0)
    if not sharpest:
        return f"Truncation, from 0 to 1, gives up variety for images nearer to the mean: 1 changes nothing, {effect}."
    share, plain = measured.truncated_gradient / sharpest, measured.gradient / sharpest
    sharpness = (
        f"at {measured.truncation:g} the images have {share:.2f} of the sharpness of the training images "
        f"({plain:.2f} at 1)"
    )
    if share < SHARP_ENOUGH:
        return f"Truncation, from 0 to 1, is of no use for this model: {sharpness}. 1 changes nothing, {effect}."
    return (
        f"Truncation, from 0 to 1, gives up variety for images nearer to the mean: 1 changes nothing, {effect}; "
        f"{sharpness}."
    )


def usage(network: Reference, class_names: Sequence[str]) -> dict[str, str]:
    """Return the parts of the card on labels and on the network's inputs."""
    inputs = [f"`z` float32 [N, {network.z_dim}]"]
    if class_names:
        inputs.append(f"`c` int64 [N] (classes from 0 to {len(class_names) - 1})")
    optional = network.optional_inputs()
    if network.truncation_space == "w":
        inputs.append("`psi` float32 [N] (truncation, 1 for none)")
    if optional:
        inputs.append(
            f"and, with defaults, `z_mix` float32 [N, {network.z_dim}] and `crossover` int64 [N] (style mixing: "
            "the layers from `crossover` on take their style from `z_mix`) and `w_offset` float32 "
            f"[N, {optional['w_offset'].shape[1]}] (added to w)"
        )
    parts = {"inputs": ", ".join(inputs)}
    if not class_names:
        return parts | {
            "shown_samples": "Seeds 0 to 63, none left out, truncation 1.",
            "labels": "",
            "label_argument": "",
            "label_option": "",
        }
    last = class_names[-1]
    rows = [class_names[number] for number in spread(len(class_names))]
    return parts | {
        "shown_samples": f"A row for each of {_listed(rows)}: seeds 0 to 7, none left out, truncation 1.",
        "labels": f"Labels, by name or by index from 0 on: {_listed(class_names)}. Without one, seed s takes class "
        f"s mod {len(class_names)}.\n\n",
        "label_argument": f", label={json.dumps(last, ensure_ascii=False)}",
        "label_option": f" --label {shlex.quote(last)}",
    }


def _listed(names: Sequence[str]) -> str:
    """Return names separated by commas, in a form that Markdown shows unchanged."""
    return ", ".join(f"`{' '.join(name.split())}`" for name in names)
