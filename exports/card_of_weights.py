"""Write the model card of a generator that was trained elsewhere: whose weights they are, and what was assumed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from huggingface_hub import ModelCardData

from gan_serve.exports.card import USE, Measurements, missing_precisions, precision_row, truncation, usage
from gan_serve.exports.reference import Reference
from gan_serve.exports.report import metrics_block

TEMPLATE = (
    """\
---
{metadata}
---
# {name}

{size}x{size} {colour} images of a generator that was trained elsewhere, as a certified checkpoint of gan-serve.

![Samples](samples.png)

{shown_samples}

## Whose weights
- Source: {source}
- Author: {author}
- Licence of the weights: `{license}`
{taken}
"""
    + USE
    + """\
{weights}
| `precision` | file | size | compared with fp32 |
|---|---|---|---|
{precisions}

{missing}

## Figures
{figures}

### ONNX compared with {origin}
`generator.onnx` and {origin} were compared over {seeds} seeds {times_labels}x {truncations} truncations x {batches}
batch sizes: no pixel differs by more than {difference} grey level(s) of 255, and an image does not depend on its batch.

## Limits
How the generator was trained, and on which images, is known to its author only. The certificate states that the
checkpoint computes what the source does, not that the images are good or that the licence is right.
{note}"""
)


@dataclass(frozen=True)
class Origin:
    """The source of a generator's weights.

    Attributes:
        source: the file, the class, or the repository with its commit.
        license: SPDX name of the licence of the weights.
        kind: the kind of the source, such as ``ONNX file``.
        sha256: of the source file; empty for a module in memory.
        credit: whose weights they are, and their terms. note: a remark for users.
        taken: what was assumed or stated about the generator, a sentence each.
        fine_tuning: a sentence on the weights for fine-tuning; empty if there are none.
    """

    source: str
    kind: str
    license: str
    sha256: str = ""
    credit: str = ""
    note: str = ""
    taken: tuple[str, ...] = ()
    fine_tuning: str = ""


def card_of_weights(
    name: str, network: Reference, class_names: Sequence[str], origin: Origin, measured: Measurements
) -> str:
    """Return the card of a checkpoint whose generator was trained elsewhere.

    Args:
        name: of the checkpoint. network: what the files were certified against.
        class_names: its classes. origin: where the weights come from. measured: the exported files.
    """
    parity, (size, _, channels) = measured.parity, measured.image_shape
    digest = f" (sha256 `{origin.sha256}`)" if origin.sha256 else ""
    taken = "".join(f"- {sentence}\n" for sentence in origin.taken)
    return TEMPLATE.format(
        metadata=_metadata(name, origin.license, bool(class_names)),
        name=name,
        size=size,
        channels=channels,
        colour="gray" if channels == 1 else "RGB",
        source=f"{origin.kind} `{origin.source}`{digest}",
        author=" ".join(origin.credit.split()) or "not stated by the person who imported it",
        license=origin.license,
        taken=taken,
        **usage(network, class_names),
        truncation=truncation(network.truncation_space == "w", measured, {}),
        z_dim=network.z_dim,
        weights=f"{origin.fine_tuning}\n" if origin.fine_tuning else "",
        precisions="\n".join(precision_row(each, size, parity) for each, size in measured.sizes.items()),
        missing=missing_precisions(parity.refused),
        figures=metrics_block(measured.metrics),
        origin=network.origin,
        seeds=parity.seeds,
        times_labels=f"x {parity.labels} labels " if parity.labels else "",
        truncations=len(parity.truncations),
        batches=len(parity.batch_sizes),
        difference=parity.max_difference,
        note=f"\n{' '.join(origin.note.split())}\n" if origin.note else "",
    )


def _metadata(name: str, license: str, conditional: bool) -> str:
    """Return the metadata of a card, which the Hub reads."""
    return ModelCardData(
        license=license,
        license_name=f"{name}-terms".lower() if license == "other" else None,
        library_name="gan-serve",
        pipeline_tag=None if conditional else "unconditional-image-generation",
        tags=["gan", "imported", "onnx", "image-generation"],
        model_name=name,
    ).to_yaml()
