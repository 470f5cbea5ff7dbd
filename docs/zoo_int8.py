"""Quantise a checkpoint of the zoo again, from its fp32 file, when the quantisation or its bounds have changed."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import onnx

from gan_serve.checkpoint.config import PARITY_FILE, PRECISION_FILES, CheckpointConfig, GoldenSample
from gan_serve.checkpoint.files import read_config, read_verified, verify_checkpoint
from gan_serve.errors import InvalidOption
from gan_serve.exports.card import precision_row
from gan_serve.exports.certify import GATE_SEEDS, all_inputs, certify_model, sample
from gan_serve.exports.graph import Array
from gan_serve.exports.parity import Parity
from gan_serve.exports.quantize import Fidelity, measure
from gan_serve.exports.report import CARD_FILE
from gan_serve.exports.write_evaluation import put_files
from gan_serve.images.pixels import UInt8Array
from gan_serve.sampling.session import open_session, run_in_batches


class _Fp32:
    """The fp32 file of a checkpoint: a ``Reference``."""

    origin = "the fp32 file"

    def __init__(self, content: bytes, config: CheckpointConfig) -> None:
        self.truncation_space = config.truncation_space
        self.z_dim = config.z_dim
        self.c_dim = config.c_dim
        self._session, _ = open_session(content, "cpu")

    def optional_inputs(self) -> dict[str, Array]:
        """Return no inputs: checkpoints with a w space have some, and are refused."""
        return {}

    def images(self, inputs: Mapping[str, Any]) -> UInt8Array:
        """Return the images of the inputs, uint8 [N, H, W, C]."""
        return run_in_batches(self._session, inputs)


def quantise_again(directory: Path) -> Fidelity:
    """Replace the int8 file of a checkpoint, and what config, card and parity.json state about it.

    A file that is close enough to fp32 on the seeds of today's comparison stays; then only the statements change.

    Raises:
        InvalidOption: the checkpoint has no int8 file or has a w space, or the new file is not close enough to fp32;
            nothing is changed.
    """
    config = cast(CheckpointConfig, read_config(directory))
    verify_checkpoint(directory)
    if config.truncation_space != "z" or "int8" not in config.golden_sample.reduced:
        raise InvalidOption(f"{config.name} has a w space or no int8 file.", "Export its run again.")
    parity = Parity.model_validate_json(read_verified(directory, config, PARITY_FILE))
    fp32 = read_verified(directory, config, PRECISION_FILES["fp32"])
    network = _Fp32(fp32, config)
    int8 = read_verified(directory, config, PRECISION_FILES["int8"])
    inputs = all_inputs(network, GATE_SEEDS)
    fidelity = measure(int8, inputs, network.images(inputs))
    if fidelity.is_near and parity.int8:
        fidelity = parity.int8.model_copy(update=fidelity.model_dump(exclude={"weight_bits", "layers_in_fp32"}))
    else:
        int8, fidelity = _quantised(fp32, network, config.name)

    parity = parity.model_copy(update={"int8": fidelity})
    card = read_verified(directory, config, CARD_FILE).decode()
    row = precision_row("int8", len(int8), parity)
    card = re.sub(r"^\| `int8` \|.*$", lambda _: row, card, count=1, flags=re.MULTILINE)
    golden, label = config.golden_sample, config.golden_sample.label
    reduced = {precision: golden.pixels(precision) for precision in golden.reduced}
    reduced["int8"] = sample(int8, network, [golden.seed], None if label is None else [label])[0]
    golden = GoldenSample.of(golden.pixels(), golden.seed, label, reduced)
    files = {
        PRECISION_FILES["int8"]: int8,
        PARITY_FILE: f"{parity.model_dump_json(indent=2)}\n".encode(),
        CARD_FILE: card.encode(),
    }
    put_files(directory, config.model_copy(update={"golden_sample": golden}), files)
    return fidelity


def _quantised(fp32: bytes, network: _Fp32, name: str) -> tuple[bytes, Fidelity]:
    plain = onnx.load_from_string(fp32)
    metadata = {entry.key: entry.value for entry in plain.metadata_props if entry.key != "mantissa_bits"}  # of fp32
    certified = certify_model(plain, network, metadata, ("fp32", "int8"))
    if certified.parity.int8 is None:
        raise InvalidOption(f"{name}: {certified.parity.refused['int8']}.", "The old file stays.")
    return certified.files["int8"], certified.parity.int8
