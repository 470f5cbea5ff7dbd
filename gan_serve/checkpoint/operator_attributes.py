"""The attributes of ONNX operators that determine the cost of a node, by opset.

ONNX Runtime ignores an attribute that an operator does not have in the opset of a file. It must not be read either.
"""

from __future__ import annotations

_WINDOW = "auto_pad kernel_shape pads strides"
_REDUCTION = "axes<18 keepdims noop_with_empty_axes>=18"
_VALUES = "value_float>=12 value_floats>=12 value_int>=12 value_ints>=12 value_string>=12 value_strings>=12"
# With the opset that added them (>=) or made them inputs (<).
ATTRIBUTES = {
    "ArgMax": "axis keepdims",
    "ArgMin": "axis keepdims",
    "AveragePool": f"{_WINDOW} ceil_mode>=10 dilations>=19",
    "Cast": "to",
    "Concat": "axis",
    "Constant": f"value {_VALUES}",
    "ConstantOfShape": "value",
    "Conv": "auto_pad dilations group pads strides",
    "ConvTranspose": "auto_pad dilations group output_padding output_shape pads strides",
    "DepthToSpace": "blocksize",
    "Flatten": "axis",
    "Gather": "axis",
    "Gemm": "transA transB",
    "LRN": "size",
    "LpPool": f"{_WINDOW} ceil_mode>=18 dilations>=18",
    "MaxPool": f"{_WINDOW} ceil_mode>=10 dilations>=10",
    "Mod": "fmod",
    "Pad": "pads<11",
    "ReduceL1": _REDUCTION,
    "ReduceL2": _REDUCTION,
    "ReduceLogSum": _REDUCTION,
    "ReduceLogSumExp": _REDUCTION,
    "ReduceMax": _REDUCTION,
    "ReduceMean": _REDUCTION,
    "ReduceMin": _REDUCTION,
    "ReduceProd": _REDUCTION,
    "ReduceSum": "axes<13 keepdims noop_with_empty_axes>=13",
    "ReduceSumSquare": _REDUCTION,
    "Reshape": "allowzero>=14",
    "Resize": "axes>=18 keep_aspect_ratio_policy>=18",
    "Shape": "end>=15 start>=15",
    "Slice": "axes<10 ends<10 starts<10",
    "SpaceToDepth": "blocksize",
    "Split": "axis split<13",
    "Squeeze": "axes<13",
    "Transpose": "perm",
    "Unsqueeze": "axes<13",
}


def attributes_in(operator: str, opset: int) -> set[str]:
    """Return the names of the attributes of an operator that are read in an opset.

    >>> sorted(attributes_in("Split", 12)), sorted(attributes_in("Split", 13))
    (['axis', 'split'], ['axis'])
    """
    names = set()
    for entry in ATTRIBUTES.get(operator, "").split():
        name, _, since = entry.partition(">=")
        name, _, until = name.partition("<")
        if int(since or 0) <= opset and (not until or opset < int(until)):
            names.add(name)
    return names
