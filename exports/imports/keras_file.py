"""Read the config and the weights of a Keras model, .keras or .h5, without Keras: nothing of it is run."""

from __future__ import annotations

import io
import lzma
import re
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from gan_serve.checkpoint.json_files import parse_json
from gan_serve.errors import ImportRefused, InvalidOption
from gan_serve.exports.graph import Array

MAX_CONFIG_BYTES = 2**24
MAX_LAYERS = 1000
DAMAGED = (
    zipfile.BadZipFile, zlib.error, lzma.LZMAError, KeyError, ValueError, OSError, RuntimeError, EOFError,
    OverflowError,
)  # fmt: skip
HDF5 = b"\x89HDF\r\n\x1a\n"
KERAS_FILES = {"config.json", "model.weights.h5"}
_Stated = tuple[str, str, dict[str, Any], tuple[str, ...]]  # class, name, config and inputs of a layer
SAVE_AGAIN = 'Save the whole model: model.save("generator.keras").'


@dataclass(frozen=True)
class KerasLayer:
    """A layer: its class, its config, the names of the layers that it takes as inputs, and its weights in order."""

    kind: str
    name: str
    config: Mapping[str, Any]
    inputs: tuple[str, ...]
    weights: list[Array]


def is_keras(content: bytes) -> bool:
    """Return True for the zip of Keras 3 or an HDF5 file."""
    if content[:8] == HDF5:
        return True
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            return set(archive.namelist()) >= KERAS_FILES
    except DAMAGED:
        return False


def read_keras(content: bytes, name: str) -> list[KerasLayer]:
    """Return the layers of a Sequential or functional model in the order of its config.

    Raises:
        ImportRefused: it is damaged, compressed, or has layers of the user's own, a Lambda, or weights in other files.
        InvalidOption: h5py is not installed.
    """
    try:
        import h5py
    except ModuleNotFoundError as error:
        raise InvalidOption(
            "Keras files need h5py, which is not installed.", 'pip install "gan-serve[keras]"'
        ) from error

    if content[:8] == HDF5:
        weights_file, config = content, None
    else:
        config_text, weights_file = _unzip(content, name)
        config = _json(config_text, name)
    try:
        with h5py.File(io.BytesIO(weights_file), "r") as file:
            if config is None:
                text = file.attrs.get("model_config")
                if text is None:
                    raise ImportRefused(f"{name} has weights, but not the layers that they belong to.", SAVE_AGAIN)
                if not isinstance(text, str | bytes):
                    raise ImportRefused(f"The config of {name} is damaged.", SAVE_AGAIN)
                config = _json(text.encode() if isinstance(text, str) else text, name)
            layers = _layers(config, name)
            groups = _legacy_groups(file, name) if "model_weights" in file else _groups(file, layers, name)
            weights: dict[str, list[Array]] = {layer: [] for layer in groups}
            held = 0  # a data set may have many names
            for layer, found in groups.items():
                for each in found:
                    weights[layer].append(_array(each, name))
                    held += each.nbytes
                    if held > len(weights_file):
                        raise ImportRefused(f"{name} unpacks to more than its own size.", SAVE_AGAIN)
    except ImportRefused:
        raise
    except Exception as error:  # HDF5 raises nearly anything for a damaged file
        raise ImportRefused(f"{name} is a damaged Keras model.", f"Download it again. {SAVE_AGAIN}") from error
    return [
        KerasLayer(kind, layer, settings, inputs, weights.get(layer, [])) for kind, layer, settings, inputs in layers
    ]


def _unzip(content: bytes, name: str) -> tuple[bytes, bytes]:
    """Return config.json and model.weights.h5 of a .keras file, which are stored without compression."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            for entry in archive.infolist():
                limit = MAX_CONFIG_BYTES if entry.filename == "config.json" else len(content)
                if entry.filename in KERAS_FILES and entry.file_size > limit:
                    raise ImportRefused(f"{name} unpacks to more than its own size.", SAVE_AGAIN)
            return archive.read("config.json"), archive.read("model.weights.h5")
    except DAMAGED as error:
        raise ImportRefused(f"{name} is a damaged Keras model.", "Download it again.") from error


def _json(text: bytes, name: str) -> dict[str, Any]:
    try:
        config = parse_json(text)
        if not isinstance(config, dict):
            raise ValueError
    except (ValueError, RecursionError) as error:
        raise ImportRefused(f"The config of {name} is damaged.", SAVE_AGAIN) from error
    return config


def _layers(model: dict[str, Any], name: str) -> list[_Stated]:
    """Return class, name, config and inputs of each layer."""
    kind = model.get("class_name")
    if kind not in ("Sequential", "Functional", "Model"):
        raise ImportRefused(
            f"{name} is a model of the class {str(kind)[:60]!r}; only Sequential and functional models are read.",
            "Build the generator with layers of Keras, or export it to ONNX.",
        )
    found: list[_Stated] = []
    try:
        config = model["config"]
        for layer in config["layers"] if isinstance(config, dict) else config:
            _check_class(layer, name)
            settings = layer["config"]
            inputs: tuple[str, ...] = (found[-1][1],) if found else ()
            if kind != "Sequential":
                inputs = tuple(_inbound(layer, name))
            if kind == "Sequential" and not found and layer["class_name"] != "InputLayer":
                # Older files of Sequential models state the shape of the input at the first layer.
                shape = settings.get("batch_input_shape") or config.get("build_input_shape")
                found.append(("InputLayer", "input", {"batch_shape": shape}, ()))
                inputs = ("input",)
            found.append((str(layer["class_name"]), str(settings["name"]), settings, inputs))
    except (KeyError, TypeError, IndexError, AttributeError) as error:
        raise ImportRefused(f"The config of {name} is damaged.", SAVE_AGAIN) from error
    if len(found) > MAX_LAYERS:
        raise ImportRefused(f"{name} has more than {MAX_LAYERS:,} layers.", "Export the model to ONNX.")
    if len({each[1] for each in found}) != len(found):
        raise ImportRefused(f"Two layers of {name} have the same name.", SAVE_AGAIN)
    return found


def _check_class(layer: dict[str, Any], name: str) -> None:
    kind, module = str(layer["class_name"])[:60], str(layer.get("module") or "keras")
    if kind == "Lambda":
        raise ImportRefused(
            f"{name} has a Lambda layer, which is Python code and is not run.",
            "Replace it by layers of Keras, or export the model to ONNX.",
        )
    if not module.startswith("keras") or ">" in str(layer.get("registered_name") or ""):
        raise ImportRefused(
            f"{name} has a layer of the user's own, {kind}.",
            "Replace it by layers of Keras, or export the model to ONNX.",
        )


def _inbound(layer: dict[str, Any], name: str) -> Iterator[str]:
    """Yield the names of the layers whose outputs a layer of a functional model takes."""
    nodes = layer.get("inbound_nodes") or []
    if len(nodes) > 1:
        raise ImportRefused(
            f"The layer {str(layer.get('name'))[:60]} of {name} is used {len(nodes)} times.",
            "Export the model to ONNX.",
        )
    for node in nodes:
        if isinstance(node, dict):  # Keras 3
            yield from _histories(node.get("args"))
        else:
            yield from (str(each[0]) for each in node)


def _histories(value: Any, depth: int = 0) -> Iterator[str]:
    if isinstance(value, dict) and value.get("class_name") == "__keras_tensor__":
        yield str(value["config"]["keras_history"][0])
    elif isinstance(value, list | tuple) and depth < 3:
        for each in value:
            yield from _histories(each, depth + 1)


def _groups(file: Any, layers: list[_Stated], name: str) -> dict[str, list[Any]]:
    """Return the data sets of each layer of a .keras file, in order.

    The groups are named after the classes and counted: ``dense``, ``dense_1``.
    """
    found: dict[str, list[Any]] = {}
    counts: dict[str, int] = {}
    parent = _group(file, "layers", name)
    for kind, layer, _, _ in layers:
        stem = _snake_case(kind)
        number = counts.get(stem, 0)
        counts[stem] = number + 1
        key = f"{stem}_{number}" if number else stem
        variables = _group(_group(parent, key, name), "vars", name)
        if len(variables):
            found[layer] = [_hard_link(variables, str(place), name) for place in range(len(variables))]
    return found


def _legacy_groups(file: Any, name: str) -> dict[str, list[Any]]:
    """Return the data sets of each layer of an .h5 file, in the order that its attributes state."""
    parent = _group(file, "model_weights", name)
    found = {}
    for layer in _texts(parent.attrs, "layer_names"):
        group = _group(parent, layer, name)
        found[layer] = [_at(group, path, name) for path in _texts(group.attrs, "weight_names")]
    return found


def _at(group: Any, path: str, name: str) -> Any:
    *folders, last = path.split("/")
    for folder in folders:
        group = _group(group, folder, name)
    return _hard_link(group, last, name)


def _texts(attributes: Any, key: str) -> list[str]:
    """Return a list of names, which Keras splits over several attributes if it is long."""
    values = list(attributes[key]) if key in attributes else []
    for part in range(len(attributes)):
        values += list(attributes.get(f"{key}{part}", ()))
    return [value.decode() if isinstance(value, bytes) else str(value) for value in values]


def _group(parent: Any, key: str, name: str) -> Any:
    """Return a group inside another; an empty dictionary if there is none."""
    return _hard_link(parent, key, name) if key in parent else {}


def _hard_link(parent: Any, key: str, name: str) -> Any:
    import h5py

    if not isinstance(parent.get(key, getlink=True), h5py.HardLink):
        raise ImportRefused(f"{name} keeps weights in other files (a link).", SAVE_AGAIN)
    return parent[key]


def _array(dataset: Any, name: str) -> Array:
    """Return the numbers of a data set as float32.

    Raises:
        ImportRefused: it is stored in other files, or packed, so that it may be larger than the file.
    """
    if dataset.external or dataset.is_virtual:
        raise ImportRefused(f"{name} keeps weights in other files (external data).", SAVE_AGAIN)
    size = min(dataset.id.get_storage_size(), dataset.file.id.get_filesize())
    if dataset.chunks is not None or dataset.dtype.kind != "f" or dataset.nbytes > size:
        raise ImportRefused(f"{name} has packed weights, or weights that are not numbers.", SAVE_AGAIN)
    values: Array = np.asarray(dataset[()], np.float32)
    return values


def _snake_case(kind: str) -> str:
    """Return the name that Keras makes of a class: ``Conv2DTranspose`` -> ``conv2d_transpose``."""
    kind = re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", re.sub(r"\W+", "", kind))
    return re.sub(r"([a-z])([A-Z])", r"\1_\2", kind).lower()
