"""Give a generator in an ONNX file our inputs and our output: z, c -> pixels uint8 [N, H, W, C]."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import onnx
import onnx_ir
from onnx import TensorProto, compose, helper, numpy_helper, version_converter
from onnx_ir.passes.common import LiftConstantsToInitializersPass
from onnxscript.rewriter import rewrite
from onnxscript.rewriter.rules.common import (
    fuse_batchnorm_into_conv_rule,
    fuse_batchnorm_into_conv_transpose_rule,
    fuse_batchnorm_into_gemm_rule,
    matmul_add_to_gemm_rule,
)

from gan_serve.errors import ImportRefused
from gan_serve.exports.graph import Array, Graph
from gan_serve.exports.imports.onnx_signature import Signature
from gan_serve.exports.rewrite import fold_constants
from gan_serve.exports.to_onnx import IR_VERSION, OPSET, fix_order_of_sums, strip_metadata

PREFIX = "generator."
# The forms that torch exports, which our rewrites and the int8 kernels know.
RULES = [
    matmul_add_to_gemm_rule,
    fuse_batchnorm_into_conv_rule,
    fuse_batchnorm_into_conv_transpose_rule,
    fuse_batchnorm_into_gemm_rule,
]
LOWEST_OPSET = 13  # in which the nodes of this module have their present form
SCALES = {"tanh": (1.0, 127.5), "unit": (0.0, 255.0)}  # pixel = (image + shift) * scale


def without_default_inputs(model: onnx.ModelProto) -> None:
    """Remove the inputs that are initializers, as old files list their weights: they become constants."""
    constants = {tensor.name for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in constants]
    del model.graph.input[:]
    model.graph.input.extend(inputs)


def wrapped(model: onnx.ModelProto, signature: Signature, pixel_range: str, latents: str, name: str) -> onnx.ModelProto:
    """Return the network with our inputs and output, prepared for ``certify_model``.

    Args:
        model: the file, without default inputs. signature: see ``recognise``.
        pixel_range: ``tanh``, ``unit`` or ``bytes``. latents: ``normal`` or ``uniform``.
        name: of the file, for errors.

    Raises:
        ImportRefused: it has an opset that cannot be converted, or shapes that do not fit together.
    """
    model = _lifted(_current_opset(model, name))
    try:
        model = compose.add_prefix(model, PREFIX)
        if signature.batch:
            _free_batch(model, signature.batch)
        _add_inputs(model, signature, latents)
        _add_pixels(model, signature, pixel_range)
        fold_constants(model)
        model = rewrite(model, pattern_rewrite_rules=RULES)
        strip_metadata(model)
        graph = Graph(model)
        fix_order_of_sums(graph)
        graph.write(model)
    except (onnx.shape_inference.InferenceError, onnx.checker.ValidationError, ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ImportRefused(
            f"The network of {name} cannot be rewritten: {reason}.", f"Export it again with opset {OPSET}."
        ) from error
    return model


def _current_opset(model: onnx.ModelProto, name: str) -> onnx.ModelProto:
    version = next((each.version for each in model.opset_import if each.domain in ("", "ai.onnx")), 1)
    if version < OPSET:
        try:
            model = version_converter.convert_version(model, OPSET)
        except Exception as error:  # of many kinds; a file from 13 on can stay as it is
            if version < LOWEST_OPSET:
                raise ImportRefused(
                    f"{name} has opset {version}, and cannot be converted to {OPSET}.",
                    f"Export it with opset_version={OPSET}.",
                ) from error
    # The lowest version of the format that has the opset, for old runtimes.
    opsets = [each for each in model.opset_import if each.domain in ("", "ai.onnx")]
    model.ir_version = max(IR_VERSION, helper.find_min_ir_version_for(opsets))
    del model.opset_import[:]
    model.opset_import.extend(opsets[:1])
    return model


def _lifted(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return the model with its constants as initializers, where the passes look for them."""
    lifted = LiftConstantsToInitializersPass(lift_all_constants=True)(onnx_ir.from_proto(model)).model
    return onnx_ir.to_proto(lifted)


def _free_batch(model: onnx.ModelProto, batch: int) -> None:
    """Make the number of images free: shapes of a Reshape that begin with ``batch`` take any number instead."""
    del model.graph.value_info[:]
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    for node in model.graph.node:
        shape = constants.get(node.input[1]) if node.op_type == "Reshape" else None
        if shape is None or shape.size == 0 or shape[0] != batch:
            continue
        free = np.array([0 if -1 in shape else -1, *shape[1:]], np.int64)
        node.input[1] = f"{node.output[0]}.shape"
        model.graph.initializer.append(numpy_helper.from_array(free, node.input[1]))


def _constant(model: onnx.ModelProto, name: str, value: Array) -> str:
    model.graph.initializer.append(numpy_helper.from_array(value, name))
    return name


def _add_inputs(model: onnx.ModelProto, signature: Signature, latents: str) -> None:
    """Compute the inputs of the file from ``z`` and ``c``."""
    nodes, z = [], "z"
    if latents == "uniform":
        scale = _constant(model, "z_scale", np.array(1 / math.sqrt(2), np.float32))
        nodes += [
            helper.make_node("Mul", [z, scale], ["z_scaled"]),
            helper.make_node("Erf", ["z_scaled"], ["z_uniform"]),
        ]
        z = "z_uniform"
    if len(signature.z.sides) == 4:
        shape = _constant(model, "z_shape", np.array([-1, signature.z_dim, 1, 1], np.int64))
        nodes.append(helper.make_node("Reshape", [z, shape], ["z_map"]))
        z = "z_map"
    # A cast to the same type is removed by the runtime.
    nodes.append(helper.make_node("Cast", [z], [PREFIX + signature.z.name], to=signature.z.kind))
    inputs = [helper.make_tensor_value_info("z", TensorProto.FLOAT, ["N", signature.z_dim])]
    if signature.c is not None:
        nodes += _labels(model, signature)
        inputs.append(helper.make_tensor_value_info("c", TensorProto.INT64, ["N"]))
    for node in reversed(nodes):
        model.graph.node.insert(0, node)
    del model.graph.input[:]
    model.graph.input.extend(inputs)


def _labels(model: onnx.ModelProto, signature: Signature) -> list[onnx.NodeProto]:
    assert signature.c is not None
    target, column = PREFIX + signature.c.name, _constant(model, "c_column", np.array([-1, 1], np.int64))
    nodes, c = [], "c"
    if len(signature.c.sides) == 2:
        nodes, c = [helper.make_node("Reshape", [c, column], ["c_rows"])], "c_rows"
    if signature.labels == "onehot":
        classes = _constant(model, "classes", np.arange(len(signature.class_names), dtype=np.int64)[None])
        nodes.append(helper.make_node("Equal", [c, classes], ["c_is"]))
        c = "c_is"
    return [*nodes, helper.make_node("Cast", [c], [target], to=signature.c.kind)]


def _add_pixels(model: onnx.ModelProto, signature: Signature, pixel_range: str) -> None:
    """Convert the images of the file to pixels."""
    nodes: list[onnx.NodeProto] = []
    x = PREFIX + signature.output

    def then(op_type: str, *inputs: str, **attributes: Any) -> None:
        nonlocal x
        nodes.append(helper.make_node(op_type, [x, *inputs], [f"pixels_{len(nodes)}"], **attributes))
        x = nodes[-1].output[0]

    if signature.output_kind != TensorProto.UINT8:
        if signature.output_kind != TensorProto.FLOAT:
            then("Cast", to=TensorProto.FLOAT)
        shift, scale = SCALES.get(pixel_range, (0.0, 1.0))
        if shift:
            then("Add", _constant(model, "pixel_shift", np.array(shift, np.float32)))
        if scale != 1:
            then("Mul", _constant(model, "pixel_scale", np.array(scale, np.float32)))
        then("Round")
        low, high = (_constant(model, f"pixel_{value}", np.array(value, np.float32)) for value in (0, 255))
        then("Clip", low, high)
        then("Cast", to=TensorProto.UINT8)
    then("Transpose", perm=(0, 2, 3, 1)) if signature.layout == "nchw" else then("Identity")
    nodes[-1].output[0] = "img"
    model.graph.node.extend(nodes)
    del model.graph.output[:]
    model.graph.output.append(helper.make_tensor_value_info("img", TensorProto.UINT8, ["N", *signature.image_shape]))
