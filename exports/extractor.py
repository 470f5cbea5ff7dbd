"""Train an extractor of features on real images and write it as ONNX: ``python -m gan_serve.exports.extractor``."""

from __future__ import annotations

import hashlib
import io
import shlex
from pathlib import Path
from typing import cast

import click
import numpy as np
import numpy.typing as npt
import onnx
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm import tqdm

from gan_serve.errors import DataError
from gan_serve.exports.onnx import OPSET, quiet_export, strip_metadata
from gan_serve.files import directory_atomically
from gan_serve.images import UInt8Array
from gan_serve.training.data import ImageSet, load_images
from gan_serve.training.evaluation.classifier import Classifier, as_input, train_classifier
from gan_serve.training.evaluation.extractor import INFO_FILE, MODEL_FILE, ExtractorInfo, SmallExtractor, extract
from gan_serve.training.sources.labels import read_attributes
from gan_serve.training.sources.splits import HOLDOUT

LARGEST = 1_000_000  # bytes of an ONNX file
CARD = """\
# {name}

Features of {resolution}x{resolution} {colour} images for the metrics of `gan-serve evaluate --features {name}`: the 128
means over the pixels of the last layer of a small convolutional network that was trained to tell {what} of {data}.

- In `extractor.onnx` ({size:.2f} MB): `img` uint8 [N, {resolution}, {resolution}, {channels}] -> `features` float32
  [N, 128], `logits` float32 [N, {outputs}].
- {what_accuracy} on {held_out}: **{accuracy:.2%}**.{calibrated}
- Trained by `{command}`.
- Data: {credit}; digest of the pixels `{digest}`. Licence: `{license}`.

Figures with these features do not compare with published FID, which has Inception's.

| {column} | {measure} |
|---|---|
{rows}
"""


@click.command()
@click.option("--data", required=True, help="Labelled images, as gan-serve train takes them.")
@click.option("--attributes", help="file.npz with attrs [N, K] and attr_names: learn all of them instead of classes.")
@click.option("--holdout", type=float, default=0.0, help="Share to measure accuracy on; else the data's test split.")
@click.option("--epochs", type=int, default=12, show_default=True)
@click.option("--flip", is_flag=True, help="Mirror half of the images.")
@click.option("--license", help="SPDX name; that of the data where it is known, else `other`.")
@click.option("--credit", help="Whose images they are, and on what terms, for the card.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="A new directory; its name is the name.")
def main(
    data: str,
    attributes: str | None,
    holdout: float,
    epochs: int,
    flip: bool,
    license: str | None,
    credit: str | None,
    out: Path,
) -> None:
    """Train an extractor of features and write it with its accuracy on images that it did not see."""
    seen = load_images(data, holdout=holdout)
    unseen = load_images(data, split=HOLDOUT if holdout else "test", holdout=holdout)
    names, targets, truth = _targets(seen, unseen, attributes)
    bar = tqdm(total=epochs, unit="epoch")

    def told(epoch: int, loss: float) -> None:
        bar.update()
        bar.set_postfix(loss=f"{loss:.4f}")

    model = train_classifier(
        seen.images, targets, len(names), epochs=epochs, flip=flip, progress=told,
        bf16=bool(torch.cpu.get_capabilities().get("amx_bf16", False)),
    )  # fmt: skip
    bar.close()
    if attributes is not None:
        _without_priors(model, targets)
    else:
        _calibrate(model, unseen.images, truth)

    network = _to_onnx(model, seen.img_resolution, seen.img_channels)
    if len(network) > LARGEST:
        raise click.ClickException(f"The network has {len(network):,} bytes; an extractor has at most {LARGEST:,}.")
    typed = {"--data": data, "--attributes": attributes, "--holdout": holdout or None, "--epochs": epochs,
             "--license": license, "--credit": credit}  # fmt: skip
    options = " ".join(f"{key} {shlex.quote(str(value))}" for key, value in typed.items() if value is not None)
    info = ExtractorInfo(
        name=out.name,
        img_resolution=seen.img_resolution,
        img_channels=seen.img_channels,
        class_names=names,
        attributes=attributes is not None,
        accuracy=0.0,
        accuracy_by_class={},
        held_out=f"{len(unseen):,} images of {unseen.name} that it did not see",
        data=seen.name,
        data_digest=seen.digest,
        credit=credit or seen.credit,
        license=license or seen.license,
        command=f"python -m gan_serve.exports.extractor {options}{' --flip' if flip else ''} --out {out.name}",
        sha256=hashlib.sha256(network).hexdigest(),
    )
    with directory_atomically(out) as directory:
        (directory / MODEL_FILE).write_bytes(network)
        (directory / INFO_FILE).write_text(info.model_dump_json(indent=2) + "\n")
        # What is told of it is what the file itself does.
        logits = extract(SmallExtractor(directory), unseen.images).logits
        accuracy, by_class = _accuracy(logits, truth, names)
        info = info.model_copy(update={"accuracy": accuracy, "accuracy_by_class": by_class})
        (directory / INFO_FILE).write_text(info.model_dump_json(indent=2) + "\n")
        (directory / "README.md").write_text(_card(info, len(network)))
    click.echo(f"{out}: {accuracy:.2%} on {info.held_out}, {len(network) / 1e6:.2f} MB")


def _targets(
    seen: ImageSet, unseen: ImageSet, attributes: str | None
) -> tuple[tuple[str, ...], npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Names of the outputs, and what they should be for the images seen in training and for the others."""
    if attributes is None:
        if seen.labels is None or unseen.labels is None:
            raise DataError(f"{seen.name} has no labels.", "Give images in one folder for each class, or --attributes.")
        return seen.class_names, seen.labels, unseen.labels
    names, targets = read_attributes(Path(attributes), seen.names)
    return names, targets, read_attributes(Path(attributes), unseen.names)[1]


def _without_priors(model: Classifier, targets: npt.NDArray[np.int64]) -> None:
    """Let an attribute that few images have be as likely as one that half of them have (Menon et al. 2021).

    Trained on the shares of the data, the network doubts rare attributes; a generator may be asked for them every time.
    """
    share = torch.from_numpy(targets.mean(axis=0)).clamp(1e-3, 1 - 1e-3)
    with torch.no_grad():
        model.head.bias -= torch.logit(share).to(model.head.bias.dtype)


def _calibrate(model: Classifier, images: UInt8Array, truth: npt.NDArray[np.int64]) -> None:
    """Divide the logits by the temperature that makes the network as sure as it is right (Guo et al. 2017).

    It was trained with smoothed labels, and doubts. Which class is the likeliest does not change.
    """
    pieces = torch.from_numpy(images).permute(0, 3, 1, 2).split(512)  # type: ignore[no-untyped-call]
    with torch.no_grad():
        logits = torch.cat([model(as_input(piece))[1] for piece in pieces])
        found = temperature(logits.numpy(), truth)
        model.head.weight /= found
        model.head.bias /= found


def temperature(logits: npt.NDArray[np.float32], truth: npt.NDArray[np.int64]) -> float:
    """What logits [N, K] must be divided by for the lowest cross-entropy with the classes int64 [N]."""
    candidates = np.geomspace(0.1, 10, 401)
    wanted = torch.from_numpy(truth)
    losses = [F.cross_entropy(torch.from_numpy(logits / candidate), wanted).item() for candidate in candidates]
    return float(candidates[int(np.argmin(losses))])


def _accuracy(
    logits: npt.NDArray[np.float32], truth: npt.NDArray[np.int64], names: tuple[str, ...]
) -> tuple[float, dict[str, float]]:
    """Of classes, the share that is right, and by class the share of it that is found; of attributes, the balanced
    accuracy of each, and its mean.
    """
    if truth.ndim == 1:
        right = logits.argmax(1) == truth
        return float(right.mean()), {
            name: round(float(right[truth == k].mean()), 4) for k, name in enumerate(names) if (truth == k).any()
        }
    right, has = (logits > 0) == truth, truth == 1
    balanced = {
        name: round(float((right[has[:, k], k].mean() + right[~has[:, k], k].mean()) / 2), 4)
        for k, name in enumerate(names)
        if 0 < has[:, k].sum() < len(has)
    }
    return float(np.mean(list(balanced.values()))), balanced


class _FromPixels(nn.Module):
    """What the ONNX file computes: pixels in, float32 features and logits out."""

    def __init__(self, model: Classifier) -> None:
        super().__init__()
        self.model = model

    def forward(self, img: Tensor) -> tuple[Tensor, Tensor]:
        features, logits = self.model(as_input(img.permute(0, 3, 1, 2)))
        return features, logits


def _to_onnx(model: Classifier, resolution: int, channels: int) -> bytes:
    example = torch.zeros(2, resolution, resolution, channels, dtype=torch.uint8)
    model = model.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    network = _FromPixels(model).eval()
    with quiet_export():
        program = torch.onnx.export(
            network, (example,), dynamo=True, external_data=False, opset_version=OPSET, verbose=False,
            input_names=["img"], output_names=["features", "logits"], dynamic_shapes=({0: torch.export.Dim("N")},),
        )  # fmt: skip
    proto = cast("torch.onnx.ONNXProgram", program).model_proto
    strip_metadata(proto)
    written = io.BytesIO()
    onnx.save_model(proto, written)
    return written.getvalue()


def _card(info: ExtractorInfo, size: int) -> str:
    rows = "\n".join(f"| {name} | {value:.1%} |" for name, value in info.accuracy_by_class.items())
    return CARD.format(
        name=info.name,
        resolution=info.img_resolution,
        colour="gray" if info.img_channels == 1 else "RGB",
        channels=info.img_channels,
        what=f"the {len(info.class_names)} {'attributes' if info.attributes else 'classes'}",
        outputs=len(info.class_names),
        data=info.data,
        size=size / 1e6,
        held_out=info.held_out,
        what_accuracy="Balanced accuracy, the mean of the attributes," if info.attributes else "Accuracy",
        accuracy=info.accuracy,
        calibrated="" if info.attributes else " Its confidence was calibrated on them (one temperature).",
        command=info.command,
        credit=info.credit,
        digest=info.data_digest,
        license=info.license,
        column="attribute" if info.attributes else "class",
        measure="balanced accuracy" if info.attributes else "share found",
        rows=rows,
    )


if __name__ == "__main__":
    main()
