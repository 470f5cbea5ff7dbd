"""Train a feature extractor on real images and write it as ONNX: ``python -m gan_serve.exports.feature_extractor``."""

from __future__ import annotations

import hashlib
import io
import shlex
from pathlib import Path
from typing import NamedTuple

import click
import numpy as np
import onnx
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gan_serve.atomic_files import check_new_directory, directory_atomically
from gan_serve.errors import DataError, GanServeError, InvalidOption
from gan_serve.exports.to_onnx import plain_export
from gan_serve.images.pixels import UInt8Array
from gan_serve.sampling.session import open_session
from gan_serve.terminal import bar_pace, echo
from gan_serve.training.data.image_set import Int64Array
from gan_serve.training.data.load import ImageSet, load_images
from gan_serve.training.data.match_labels import read_attributes
from gan_serve.training.data.splits import HOLDOUT
from gan_serve.training.evaluation.classifier import BATCH, Classifier, as_input, train_classifier
from gan_serve.training.evaluation.extractor_registry import INFO_FILE, MODEL_FILE, ExtractorInfo
from gan_serve.training.evaluation.features import Floats
from gan_serve.training.precision import bf16_pays

LARGEST = 998_000  # bytes of weights at most, so that an ONNX file stays below 1 MB
CHUNK = 64  # images at a time
CARD = """\
# {name}

Features of {resolution}x{resolution} {colour} images for the metrics of `gan-serve evaluate --features {name}`: the 128
means over the pixels of the last layer of a small convolutional network that was trained to tell {what} of {data}.

- In `extractor.onnx` ({size:.2f} MB): `img` uint8 [N, {resolution}, {resolution}, {channels}] -> `features` float32
  [N, 128], `logits` float32 [N, {outputs}].
- {what_accuracy} on {held_out}: **{accuracy:.2%}**.{calibrated}
- Trained by `{command}`.
- Data: {credit}; digest of the pixels `{digest}`. Licence: `{license}`.

Metrics in these features cannot be compared with published FID, which uses those of Inception.

| {column} | {measure} |
|---|---|
{rows}
"""
CALIBRATED = (
    " The temperature of its logits was fitted on the same images; it is a single number that does not change which"
    " class is the likeliest, and so not the accuracy."
)


@click.command()
@click.option("--data", required=True, help="Labelled images; any source that gan-serve train reads.")
@click.option(
    "--attributes", help="A file.npz with attrs [N, K] and attr_names; learn these attributes instead of classes."
)
@click.option(
    "--holdout",
    type=float,
    default=0.0,
    help="Share of the images to measure the accuracy on; default: the data's test split.",
)
@click.option("--epochs", type=int, default=12, show_default=True)
@click.option("--flip", is_flag=True, help="Mirror half of the images.")
@click.option("--license", help="SPDX name; default: that of the data if it is known, else `other`.")
@click.option("--credit", help="The authors of the images and their terms, for the card.")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    required=True,
    help="A new directory; its name becomes the name of the extractor.",
)
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
    """Train a feature extractor and write it with its accuracy on held-out images."""
    name = out.absolute().name
    command = _command(
        data=data, attributes=attributes, holdout=holdout or None, epochs=epochs, license=license, credit=credit,
        flip=flip, out=name,
    )  # fmt: skip
    try:
        check_new_directory(out)  # before the training
        examples = read_examples(data, attributes=attributes, holdout=holdout)
        network = train_extractor(examples, epochs=epochs, flip=flip)
        info = describe(network, examples, name=name, command=command, license=license, credit=credit)
        write_extractor(out, network, info)
    except GanServeError as error:
        raise click.ClickException(error.message + (f"\n{error.hint}" if error.hint else "")) from error
    echo(f"{out}: {info.accuracy:.2%} on {info.held_out}, {len(network) / 1e6:.2f} MB")


class Examples(NamedTuple):
    """Images to train on, held-out images to measure the accuracy on, and the targets of each.

    seen, unseen: the two sets, of equal size and channels.
    names: names of the K outputs, which are classes or attributes.
    targets, truth: the targets of seen and of unseen: classes, int64 [N]; or attributes, int64 [N, K] of 0 and 1.
    """

    seen: ImageSet
    unseen: ImageSet
    names: tuple[str, ...]
    targets: Int64Array
    truth: Int64Array


def read_examples(data: str | Path, *, attributes: str | Path | None = None, holdout: float = 0.0) -> Examples:
    """Read the images to train an extractor and to measure its accuracy.

    Args:
        data: see ``load_images``.
        attributes: an npz, see ``read_attributes``; if None, the network learns the classes of ``data``.
        holdout: the share of the images to measure the accuracy on; 0 takes the test split.

    Raises:
        DataError: see ``load_images`` and ``read_attributes``; there are no labels, too few images to train on, no
            held-out images, or these have other classes or all the same attributes.
        InvalidOption: ``holdout`` is out of range, or the data has no test split.
    """
    seen = load_images(data, holdout=holdout)
    unseen = load_images(
        data, split=HOLDOUT if holdout else "test", holdout=holdout,
        resolution=seen.img_resolution, channels=seen.img_channels,
    )  # fmt: skip
    if len(seen) < BATCH:
        raise DataError(f"{len(seen)} images of {seen.name} are too few to train on.", f"Give {BATCH} or more.")
    if not len(unseen):
        raise DataError(f"A holdout of {holdout} of {seen.name} has no image.", "Give a larger one.")
    if unseen.digest == seen.digest:
        raise InvalidOption(
            f"{seen.name} has no test split of its own.",
            "Give a share of the images to measure the accuracy on: --holdout 0.1.",
        )
    if attributes is not None:
        names, targets = read_attributes(Path(attributes), seen.names)
        _, truth = read_attributes(Path(attributes), unseen.names)
        if (truth == truth[0]).all():
            raise DataError(
                f"The {len(unseen)} held-out images do not differ in any attribute.",
                "Hold out a larger share.",
            )
        return Examples(seen, unseen, names, targets, truth)
    if seen.labels is None or unseen.labels is None:
        raise DataError(
            f"{seen.name} has no labels.", "Put the images into one folder for each class, or give --attributes."
        )
    if unseen.class_names != seen.class_names:
        raise DataError(
            f"The test split of {seen.name} has other classes than its training images.",
            "Hold out a share of the training images instead: --holdout 0.1.",
        )
    return Examples(seen, unseen, seen.class_names, seen.labels, unseen.labels)


def train_extractor(examples: Examples, *, epochs: int = 12, flip: bool = False, quiet: bool = False) -> bytes:
    """Train an extractor and return it as the content of an ONNX file, see ``to_onnx``.

    Args:
        examples: the network learns from ``seen``; for classes, one temperature is then fitted on ``unseen``.
        epochs, flip: see ``train_classifier``.
        quiet: show no progress bar.

    Raises:
        InvalidOption: fewer than one epoch. DataError: too many outputs for a file of 1 MB.
    """
    if epochs < 1:
        raise InvalidOption(f"There cannot be {epochs} epochs.", "Give 1 or more.")
    seen, outputs = examples.seen, len(examples.names)
    weights = Classifier(seen.img_resolution, seen.img_channels, outputs).parameters()
    if (size := 4 * sum(weight.numel() for weight in weights)) > LARGEST:
        raise DataError(
            f"A network with {outputs} outputs has {size:,} bytes of weights; at most {LARGEST:,} are allowed.",
            "Give images of fewer classes, or fewer attributes.",
        )
    from tqdm import tqdm

    with tqdm(total=epochs, unit="epoch", disable=quiet, **bar_pace()) as bar:

        def report(epoch: int, loss: float) -> None:
            bar.update()
            bar.set_postfix(loss=f"{loss:.4f}")

        model = train_classifier(
            seen.images, examples.targets, outputs, epochs=epochs, flip=flip, progress=report,
            bf16=bf16_pays(torch.device("cpu")),
        )  # fmt: skip
    if examples.targets.ndim == 1:
        _calibrate(model, examples.unseen.images, examples.truth)
    else:
        _without_priors(model, examples.targets)
    return to_onnx(model, seen.img_resolution, seen.img_channels)


def describe(
    network: bytes,
    examples: Examples,
    *,
    name: str,
    command: str,
    license: str | None = None,
    credit: str | None = None,
) -> ExtractorInfo:
    """Return the description of an extractor, with the accuracy of its ONNX file on ``examples.unseen``.

    Args:
        network: content of the ONNX file.
        examples: the images of its training.
        name: the name of the extractor.
        command: the command that made it.
        license, credit: those of the images; if None, those that the data set states.
    """
    seen, unseen = examples.seen, examples.unseen
    accuracy, by_class = measure(logits_of(network, unseen.images), examples.truth, examples.names)
    return ExtractorInfo(
        name=name,
        img_resolution=seen.img_resolution,
        img_channels=seen.img_channels,
        class_names=examples.names,
        attributes=examples.truth.ndim == 2,
        accuracy=accuracy,
        accuracy_by_class=by_class,
        held_out=f"{len(unseen):,} images of {unseen.name} that were held out",
        data=seen.name,
        data_digest=seen.digest,
        credit=credit or seen.credit,
        license=license or seen.license,
        command=command,
        sha256=hashlib.sha256(network).hexdigest(),
    )


def write_extractor(out: Path, network: bytes, info: ExtractorInfo) -> None:
    """Write an extractor to a new folder: the network, its description and its card.

    Raises:
        CannotWrite: ``out`` exists and is not an empty directory, or writing fails.
    """
    with directory_atomically(out) as directory:
        (directory / MODEL_FILE).write_bytes(network)
        (directory / INFO_FILE).write_text(info.model_dump_json(indent=2) + "\n")
        (directory / "README.md").write_text(card(info, len(network)))


def _command(*, flip: bool, out: str, **options: object) -> str:
    given = " ".join(f"--{key} {shlex.quote(str(value))}" for key, value in options.items() if value is not None)
    return f"python -m gan_serve.exports.feature_extractor {given}{' --flip' if flip else ''} --out {shlex.quote(out)}"


def _without_priors(model: Classifier, targets: Int64Array) -> None:
    """Remove the prior of each attribute from the logits, as if half of the images had it (Menon et al. 2021).

    The network rarely predicts attributes that are rare in its data; but a generator may be asked for them often.
    """
    share = torch.from_numpy(targets.mean(axis=0)).clamp(1e-3, 1 - 1e-3)
    with torch.no_grad():
        model.head.bias.sub_(torch.logit(share).to(model.head.bias.dtype))


def _calibrate(model: Classifier, images: UInt8Array, truth: Int64Array) -> None:
    """Divide the logits by the temperature that makes the confidence match the accuracy (Guo et al. 2017).

    Training with smoothed labels lowers the confidence. The temperature is fitted on the images whose accuracy is
    reported. It does not change which class is the likeliest, and so not the accuracy.
    """
    with torch.no_grad():
        pieces = [torch.tensor(images[start : start + CHUNK]) for start in range(0, len(images), CHUNK)]  # writable
        logits = torch.cat([model(as_input(piece.permute(0, 3, 1, 2)))[1] for piece in pieces])
        found = temperature(logits.numpy(), truth)
        model.head.weight.div_(found)
        model.head.bias.div_(found)


def temperature(logits: Floats, truth: Int64Array) -> float:
    """Return the temperature that gives logits [N, K] the lowest cross-entropy with the classes int64 [N]."""
    candidates = np.geomspace(0.1, 10, 401)
    wanted = torch.tensor(truth)
    losses = [F.cross_entropy(torch.from_numpy(logits / candidate), wanted).item() for candidate in candidates]
    return float(candidates[int(np.argmin(losses))])


def logits_of(network: bytes, images: UInt8Array) -> Floats:
    """Return the logits float32 [N, K] that the content of an ONNX file computes for images uint8 [N, R, R, C]."""
    session, _ = open_session(network, "cpu")
    pieces = (images[start : start + CHUNK] for start in range(0, len(images), CHUNK))
    return np.concatenate([session.run(["logits"], {"img": np.ascontiguousarray(piece)})[0] for piece in pieces])


def measure(logits: Floats, truth: Int64Array, names: tuple[str, ...]) -> tuple[float, dict[str, float]]:
    """Return the overall accuracy of logits, and the accuracy of each class or attribute by name.

    Args:
        logits: float32 [N, K].
        truth: int64 [N], the class of each image; or int64 [N, K] of zeros and ones, its attributes.
        names: of the K classes or attributes.

    Returns:
        For classes, the share of correctly classified images, overall and within each class. For attributes, the mean
        of their balanced accuracies, and the balanced accuracy of each. Classes without images are left out, and so are
        attributes that no image has or that all images have.
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
    """The computation of the ONNX file: from pixels to features and logits, both float32."""

    def __init__(self, model: Classifier) -> None:
        super().__init__()
        self.model = model

    def forward(self, img: Tensor) -> tuple[Tensor, Tensor]:
        features, logits = self.model(as_input(img.permute(0, 3, 1, 2)))
        return features, logits


def to_onnx(model: Classifier, resolution: int, channels: int) -> bytes:
    """Export a classifier in eval mode as the content of an ONNX file.

    Input: ``img`` uint8 [N, resolution, resolution, channels]. Outputs: ``features`` float32 [N, 128], ``logits``
    float32 [N, K]. The same weights give the same bytes.
    """
    example = torch.zeros(2, resolution, resolution, channels, dtype=torch.uint8)
    model = model.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    network = _FromPixels(model).eval()
    proto = plain_export(network, {"img": example}, {"img": {0: torch.export.Dim("N")}}, ["features", "logits"])
    written = io.BytesIO()
    onnx.save_model(proto, written)
    return written.getvalue()


def card(info: ExtractorInfo, size: int) -> str:
    """Return the model card, README.md, of an extractor whose ONNX file has ``size`` bytes."""
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
        calibrated="" if info.attributes else CALIBRATED,
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
