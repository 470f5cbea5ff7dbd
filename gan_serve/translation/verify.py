"""Verify a translated image: translate its inputs again and compare."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from gan_serve.errors import ReceiptError
from gan_serve.images.compare import describe_mismatch
from gan_serve.images.pixels import UInt8Array
from gan_serve.translation.inputs import read_pictures
from gan_serve.translation.result import TranslationReceipt
from gan_serve.translation.translator import Translator


class VerifiedTranslation(NamedTuple):
    """The receipt of an image that matches it, and the largest difference in grey levels; 0 if bit-equal."""

    receipt: TranslationReceipt
    max_difference: int


def verify_translation(
    path: str | Path,
    pixels: UInt8Array,
    receipt: TranslationReceipt,
    model: str | Path,
    inputs: Sequence[Any],
) -> VerifiedTranslation:
    """Check that a translated image was not altered, and that its model makes it again from the same inputs.

    Args:
        path: of the image, for messages. pixels: of it, uint8 [H, W, C]. receipt: that it carries.
        model: the checkpoint. inputs: the pictures that were translated, in their order, see ``read_picture``.

    Raises:
        ReceiptError: the image or its receipt were altered, an input is missing or is another picture, another
            checkpoint made it, or it differs by more than rounding. InvalidImage: an input cannot be read.
    """
    if not receipt.matches(pixels):
        raise ReceiptError(f"{path} was altered: the digest in its receipt does not fit its pixels and receipt.")
    digests = [receipt.input] if receipt.inputs is None else receipt.inputs
    if len(inputs) != len(digests):
        raise ReceiptError(
            f"{path} was made from {len(digests)} picture(s), and {len(inputs)} were given.",
            "Give each with --input, in their order.",
        )
    pictures = read_pictures(list(inputs))
    for place, (picture, digest) in enumerate(zip(pictures, digests, strict=True)):
        if picture.digest != digest:
            raise ReceiptError(
                f"Input {place} is not the picture that {path} was made from (pixels {picture.digest[:19]}..., "
                f"not {str(digest)[:19]}...).",
                "Give the original file; a smaller or recompressed one has other pixels.",
            )
    translator = Translator.from_pretrained(model, precision=receipt.precision)
    if (translator.name, translator.digest) != (receipt.model, receipt.digest):
        raise ReceiptError(
            f"{path} was made by another checkpoint named {receipt.model} ({receipt.digest[:19]}..., "
            f"not {translator.digest[:19]}...).",
            "Give the directory of that checkpoint (--model).",
        )
    request = translator.request(pictures, fit=receipt.fit)
    again = request.samples(translator.run(request))
    expected = again.outputs[0] if receipt.inputs is None else again.sheet()
    if error := describe_mismatch(pixels[None], expected[None], receipt.precision):
        raise ReceiptError(f"{path} is not the image that its receipt describes: {error}.")
    return VerifiedTranslation(receipt, int(np.abs(expected.astype(np.int16) - pixels).max()))
