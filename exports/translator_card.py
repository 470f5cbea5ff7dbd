"""Write the model card of a translator."""

from __future__ import annotations

from collections.abc import Mapping

from huggingface_hub import ModelCardData

from gan_serve.checkpoint.config import PRECISION_FILES, Precision
from gan_serve.exports.card import Publication, average_of
from gan_serve.exports.report import END, START
from gan_serve.exports.round_weights import weights_in_words
from gan_serve.exports.translator_to_onnx import TranslationParity
from gan_serve.training.recipes import TRANSLATE, recipes
from gan_serve.training.schedules import ema_half_life
from gan_serve.training.translation.load import TrainedTranslator
from gan_serve.training.translation.settings import translation_command

TEMPLATE = """\
---
{metadata}
---
# {name}

{title}. {kind}, trained on {data} ({n:,} images).

![Samples](samples.png)

Rows of inputs, outputs{targets}: the first 16 of the images that it was measured on.

## Use
```python
import gan_serve
[image] = gan_serve.translate("{name}", "photo.png")
```
```
gan-serve translate {name} photo.png --out-dir translated
```
{sizes} Transparency becomes white, gray and colour are converted.

`generator.onnx` runs in any ONNX Runtime: input `x` uint8 [N, H, W, {in_channels}], output `img` uint8 [N, H', W',
{img_channels}]. `generator.safetensors` has {weights}.

| `precision` | file | size | compared with fp32 |
|---|---|---|---|
{precisions}

{missing}

## Training
- Recipe `{recipe}`: {source}.
- Command: `{command}`
- {intake}
- {kimg:,.1f} thousand images shown, {hours:.2f} hours on {machines}.
- {average}
- Data: {data}, {credit}; digest of the pixels `{digest}`.

## Figures
{start}
| metric | value |
|---|---|
{figures}
{end}

PSNR in decibels and SSIM (of the luma) are higher for closer images, the perceptual distance (in features of our
extractor, which is also part of some recipes' loss) is lower; `sharpness` is the mean gradient relative to the
targets'. `nearest` and `bicubic` are the inputs, resized so. The middle of a name is the number of images and their
split; `docs/translate.md` says more.

### ONNX compared with torch
{inputs} inputs: no pixel differs by more than {difference} grey level(s) of 255, and an image does not depend on its
batch.

## Limits
It was trained on {data} alone: other images are translated as if they were such. What an input does not show is made
up.
{note}"""


def translator_card(
    name: str,
    trained: TrainedTranslator,
    publication: Publication,
    metrics: Mapping[str, float],
    parity: TranslationParity,
    sizes: Mapping[Precision, int],
) -> str:
    """Return the card of a checkpoint.

    Args:
        name: of the checkpoint. trained: the translator. publication: a completed one.
        metrics, parity: of the exported files. sizes: bytes of the file of each precision.
    """
    config, data, network = trained.config, trained.info.data, trained.network
    recipe = recipes(TRANSLATE)[config.recipe]
    card = ModelCardData(
        license=publication.license or "",
        license_name="training-data-terms" if publication.license == "other" else None,
        library_name="gan-serve",
        pipeline_tag="image-to-image",
        tags=["gan", config.recipe, "onnx", "image-to-image"],
    )
    intake = " ".join((data.summary or {}).get("pairs", []))
    if trained.run_config:
        intake += " This is the way back (`gan-serve export --back`): from targets to inputs."
    side = config.in_resolution
    fitted = f"Inputs are fitted to {side}x{side}: the largest square in the middle, resized with Lanczos."
    return TEMPLATE.format(
        metadata=card.to_yaml(),
        name=name,
        title=recipe.title,
        kind=f"{side}x{side} to {config.resolution}x{config.resolution} pixels",
        data=data.name,
        n=data.n,
        targets=" and targets" if not config.cyclic else "",
        sizes="Inputs of any size are taken as they are, large ones in tiles." if network.any_size else fitted,
        in_channels=network.in_channels,
        img_channels=network.img_channels,
        weights=weights_in_words(parity.mantissa_bits),
        precisions="\n".join(_row(precision, size, parity) for precision, size in sizes.items()),
        missing=" ".join(f"There is no {precision} file: {reason}." for precision, reason in parity.refused.items()),
        recipe=config.recipe,
        source=recipe.source,
        command=translation_command(trained.run_config or config),
        intake=intake,
        kimg=trained.shown / 1000,
        hours=trained.seconds / 3600,
        machines=", then ".join(trained.info.machines),
        average=average_of(ema_half_life(config, trained.shown), "translator"),
        credit=publication.credit,
        digest=data.digest,
        start=START,
        end=END,
        figures="\n".join(f"| `{key}` | {value:g} |" for key, value in metrics.items()),
        inputs=parity.inputs,
        difference=parity.max_difference,
        note=f"\n{' '.join(publication.note.split())}\n" if publication.note else "",
    )


def _row(precision: Precision, size: int, parity: TranslationParity) -> str:
    fidelity = {"int8": parity.int8, "fp16": parity.fp16}.get(precision)
    beside = "the reference"
    if fidelity is not None:
        beside = f"PSNR {fidelity.psnr_mean} dB in the mean over {fidelity.images} inputs (lowest {fidelity.psnr_min})"
    return f"| `{precision}` | `{PRECISION_FILES[precision]}` | {size / 1e6:.2f} MB | {beside} |"
