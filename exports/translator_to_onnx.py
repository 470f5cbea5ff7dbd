"""Export a translator as one self-contained ONNX file, compared with torch, in every precision that is close to fp32.

x          uint8 [N, H, W, in_channels]; H and W are open for a translator of any size
img        uint8 [N, scale·H, scale·W, img_channels]
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

import numpy as np
import onnx
import onnxruntime
import torch
from pydantic import BaseModel
from torch import Tensor, nn

from gan_serve.checkpoint.config import Precision
from gan_serve.exports.certify import low_precisions
from gan_serve.exports.graph import copy_of
from gan_serve.exports.parity import BATCH_SIZES, BOUND, check_parity, is_batch_invariant
from gan_serve.exports.quantize import Fidelity, LowPrecision, to_fp16, to_int8
from gan_serve.exports.rewrite import optimize
from gan_serve.exports.round_weights import explained_refusal, round_weights
from gan_serve.exports.to_onnx import export_graph, serialize
from gan_serve.images.pixels import UInt8Array
from gan_serve.sampling.session import open_session, run_in_batches
from gan_serve.training.networks import to_pixels
from gan_serve.training.translation.networks import Translator

NOISE = 16  # inputs of random pixels that are compared beside real ones
OTHER_SIZES = ((1, 1), (5, 9), (33, 24))  # of inputs that are compared beside those of training, for any size


class TranslationParity(BaseModel):
    """``parity.json``: the largest difference of any pixel from torch, in grey levels, and how it was measured.

    ``inputs`` counts the images compared, some of random pixels; ``sizes`` their widths and heights. ``int8`` and
    ``fp16`` compare these files with fp32; ``refused`` has the reason for each file that was not written.
    ``mantissa_bits``: what the weights of the fp32 file are rounded to, see ``round_weights``; None: they are not.
    """

    max_difference: int
    differing_pixels: float
    bound: int
    batch_invariant: bool
    inputs: int
    sizes: tuple[tuple[int, int], ...]
    batch_sizes: tuple[int, ...]
    torch_version: str
    onnxruntime_version: str
    int8: Fidelity | None = None
    fp16: Fidelity | None = None
    refused: dict[Precision, str] = {}
    mantissa_bits: int | None = None


class CertifiedTranslator(NamedTuple):
    """The files of a translator by precision, and the difference of their images from those of torch."""

    files: dict[Precision, bytes]
    parity: TranslationParity


class PixelTranslator(nn.Module):
    """A translator from pixels to pixels: the computation of the ONNX file."""

    def __init__(self, network: Translator) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        """Return images uint8 [N, H', W', img_channels] of x uint8 [N, H, W, in_channels]."""
        return to_pixels(self.network(x.permute(0, 3, 1, 2).float() / 127.5 - 1))


def certify_translator(
    network: Translator,
    examples: UInt8Array,
    metadata: Mapping[str, str],
    precisions: Collection[Precision],
    mantissa_bits: int | None = None,
) -> CertifiedTranslator:
    """Export a translator in fp32, and in those of ``precisions`` whose images are close enough to those of fp32.

    Args:
        network: in eval mode, on the CPU.
        examples: inputs uint8 [N, H, W, C]; int8 is calibrated on the first half and compared on the second.
        metadata: the ``metadata_props`` of the files. precisions: see ``check_precisions``.
        mantissa_bits: what the weights of the file in fp32 are rounded to, see ``round_weights``.

    Raises:
        ExportRefused: ONNX differs from torch by more than one grey level, an image depends on its batch, or the
            network needs more than standard ONNX.
    """
    pixels = PixelTranslator(network).eval()
    plain = _torch_export(pixels)
    fused = copy_of(plain)
    optimize(fused)
    rounding = round_weights(fused, mantissa_bits)
    model = serialize(fused, {**metadata, **rounding})
    with explained_refusal(mantissa_bits):
        parity = _measure_parity(model, pixels, examples)

    half = max(1, len(examples) // 2)
    calibration, compared = {"x": examples[:half]}, {"x": examples[half:] if len(examples) > 1 else examples}
    session, _ = open_session(model, "cpu")
    reference = run_in_batches(session, compared)

    def int8() -> LowPrecision | None:
        fused = copy_of(plain)
        optimize(fused, "int8")
        return to_int8(fused, calibration, compared, reference)

    def fp16() -> LowPrecision | None:
        return to_fp16(plain, compared, reference)

    few = {"x": compared["x"][:16]}
    converted, refused = low_precisions({"int8": int8, "fp16": fp16}, precisions, few)
    files: dict[Precision, bytes] = {"fp32": model}
    for precision, each in converted.items():
        files[precision] = serialize(onnx.load_from_string(each.model), {**metadata, "precision": precision})
    fidelity: dict[str, Any] = {precision: each.fidelity for precision, each in converted.items()}
    return CertifiedTranslator(
        files, parity.model_copy(update=fidelity | {"refused": refused, "mantissa_bits": mantissa_bits})
    )


def _torch_export(pixels: PixelTranslator) -> onnx.ModelProto:
    network = pixels.network
    side = network.in_resolution
    dynamic: dict[int, Any] = {0: torch.export.Dim("N")}
    if network.any_size:
        dynamic |= {1: torch.export.Dim("H"), 2: torch.export.Dim("W")}
    example = torch.zeros(2, side, side, network.in_channels, dtype=torch.uint8)
    return export_graph(pixels, {"x": example}, {"x": dynamic})


def _measure_parity(model: bytes, pixels: PixelTranslator, examples: UInt8Array) -> TranslationParity:
    session, _ = open_session(model, "cpu")
    random = np.random.RandomState(0)
    sets = [np.concatenate([examples, random.randint(0, 256, (NOISE, *examples.shape[1:])).astype(np.uint8)])]
    if pixels.network.any_size:
        channels = examples.shape[3]
        sets += [random.randint(0, 256, (NOISE, *size, channels)).astype(np.uint8) for size in OTHER_SIZES]
    largest, differing, invariant = 0, [], True
    for inputs in sets:
        with torch.no_grad():
            parts = torch.split(torch.from_numpy(inputs), 32)
            expected = np.concatenate([pixels(part).numpy() for part in parts])
        found = run_in_batches(session, {"x": inputs})
        difference = np.abs(found.astype(np.int16) - expected)
        largest = max(largest, int(difference.max()))
        differing.append(float((difference > 0).mean()))
        invariant = invariant and is_batch_invariant(session, {"x": inputs[:32]}, found[:32])
    check_parity(largest, invariant, "torch")
    return TranslationParity(
        max_difference=largest,
        differing_pixels=max(differing),
        bound=BOUND,
        batch_invariant=invariant,
        inputs=sum(map(len, sets)),
        sizes=tuple((inputs.shape[2], inputs.shape[1]) for inputs in sets),
        batch_sizes=BATCH_SIZES,
        torch_version=torch.__version__,
        onnxruntime_version=onnxruntime.__version__,
    )
