"""ONNX Runtime sessions: on the requested device or not at all, verified by the golden sample.

A session uses one thread by default: threads that spin on shared cores halve the speed, and several workers are faster
than several threads. The pixels of an image do not depend on its batch; on a GPU they may differ by one grey level.
"""

from __future__ import annotations

import abc
import importlib.util
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from gan_serve.checkpoint.config import AnyConfig, CheckpointConfig, Precision, TruncationSpace
from gan_serve.checkpoint.network_cost import NetworkBounds
from gan_serve.checkpoint.onnx_graph import read_graph
from gan_serve.checkpoint.self_contained import check_self_contained
from gan_serve.errors import DeviceUnavailable, InvalidCheckpoint, InvalidOption
from gan_serve.images.pixels import UInt8Array
from gan_serve.sampling.device import check_device, wants_cuda
from gan_serve.sampling.golden_sample import check_golden_sample
from gan_serve.sampling.latents import FloatArray, latents_from_seeds
from gan_serve.sampling.mixing import MIX_INPUTS, W_OFFSET
from gan_serve.sampling.truncation import truncate

if TYPE_CHECKING:
    import onnxruntime

# ONNX Runtime 1.31 and later sends telemetry to Microsoft unless this is set before the import.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
BATCH_SIZE = {"cpu": 16, "cuda": 256}  # larger batches do not fit a CPU's cache and are up to a fifth slower
MAX_THREADS = 256

Int64Array = npt.NDArray[np.int64]
Signature = dict[str, tuple[str, list[Any]]]  # type and shape without N of inputs or outputs, by name


class NetworkSession(abc.ABC):
    """A network of any task that is loaded and has computed its golden sample."""

    def __init__(
        self,
        model: bytes,
        config: AnyConfig,
        *,
        precision: Precision = "fp32",
        device: str = "auto",
        threads: int = 1,
    ) -> None:
        """Load ``model``, the content of the file for ``precision``.

        Raises:
            InvalidCheckpoint: ONNX Runtime cannot load it, its inputs and outputs are not those of the config, or it
                takes more memory or time than ``network_cost`` allows.
            DeviceUnavailable: ``device="cuda"``, and CUDA cannot be used.
            GoldenSampleMismatch: it does not compute the golden sample of the config.
        """
        self.config = config
        self.precision = precision
        check_device(device)
        check_self_contained(model)
        fastest = BATCH_SIZE["cuda" if wants_cuda(device) else "cpu"]
        largest = self._one_input()
        self._bounds = NetworkBounds(model, largest)  # before ONNX Runtime sees it
        batch = self._bounds.largest_batch(self._image_shape(largest), fastest)
        self._session, self.device = open_session(model, device, threads, keep_memory=not self._sizes_vary())
        self._check_signature()
        self.style_layers = self._read_style_layers(model)
        self.w_dim = self._read_w_dim()
        self._batch = min(batch, BATCH_SIZE[self.device])
        self._check_golden_sample()

    @abc.abstractmethod
    def _one_input(self) -> dict[str, tuple[int, ...]]:
        """Return the shapes of the inputs for one image; the largest ones where sizes differ."""

    def _sizes_vary(self) -> bool:
        """Return True if images of one network have different widths and heights."""
        return False

    @abc.abstractmethod
    def _image_shape(self, inputs: Mapping[str, tuple[int, ...]]) -> tuple[int, int, int]:
        """Return the shape [H, W, C] of an image that is made from inputs of these shapes."""

    @abc.abstractmethod
    def _has_signature(self, inputs: Signature, outputs: Signature) -> bool:
        """Return True if inputs and outputs are those of the config."""

    def _check_signature(self) -> None:
        inputs, outputs = (
            {value.name: (value.type, value.shape[1:]) for value in values}
            for values in (self._session.get_inputs(), self._session.get_outputs())
        )
        if not self._has_signature(inputs, outputs):
            raise InvalidCheckpoint(
                f"The network of {self.config.name} has inputs {inputs} and outputs {outputs}; its config requires "
                "others.",
                "Export the checkpoint again.",
            )

    @abc.abstractmethod
    def _golden_inputs(self) -> dict[str, Any]:
        """Return the inputs of the golden sample."""

    def _batch_for(self, inputs: Mapping[str, Any]) -> int:
        """Return the number of images that go through the network at once."""
        return self._batch

    def _expected(self, inputs: Mapping[str, Any]) -> tuple[int, ...]:
        """Return the shape [N, H, W, C] of the images of inputs."""
        shapes = {name: tuple(values.shape) for name, values in inputs.items()}
        return (len(next(iter(inputs.values()))), *self._image_shape(shapes))

    def _run(self, inputs: Mapping[str, Any], options: onnxruntime.RunOptions | None = None) -> UInt8Array:
        expected, batch = self._expected(inputs), self._batch_for(inputs)
        for count in {min(expected[0], batch), expected[0] % batch} - {0}:
            shapes = {name: (count, *values.shape[1:]) for name, values in inputs.items()}
            self._bounds.check(shapes, (count, *expected[1:]))
        try:
            images = run_in_batches(self._session, inputs, batch=batch, options=options)
        except Exception as error:  # the exceptions of ONNX Runtime have no public base class
            if isinstance(error, MemoryError):
                raise
            raise InvalidCheckpoint(
                f"The network of {self.config.name} cannot be run: {first_line(error)}", "Export the checkpoint again."
            ) from error
        if images.shape != expected or images.dtype != np.uint8:
            raise InvalidCheckpoint(
                f"The network of {self.config.name} gives {images.dtype} {list(images.shape)}; its config requires "
                f"uint8 {list(expected)}.",
                "Export the checkpoint again.",
            )
        return images

    def _read_style_layers(self, model: bytes) -> int | None:
        """Return the number of layers whose styles can be mixed; None if the network cannot mix."""
        return None

    def _read_w_dim(self) -> int:
        """Return the length of an offset in w; 0 if the network has no input for it."""
        return 0

    def _check_golden_sample(self) -> None:
        inputs = self._golden_inputs()
        check_golden_sample(self.config, self.precision, lambda options: self._run(inputs, options))


class Session(NetworkSession):
    """A generator that is loaded and has computed its golden sample."""

    config: CheckpointConfig

    def run(self, latents: FloatArray, labels: Int64Array | None = None, truncation: float = 1.0) -> UInt8Array:
        """Return the images of latents.

        Args:
            latents: float32 [N, z_dim], not truncated.
            labels: int64 [N], from 0 to c_dim-1, where the model is conditional.
            truncation: from 0 to 1, in the space of the checkpoint's ``truncation_space``.

        Returns:
            uint8 [N, H, W, C].
        """
        return self.run_inputs(network_inputs(latents, labels, truncation, self.config.truncation_space))

    def run_inputs(self, inputs: Mapping[str, Any]) -> UInt8Array:
        """Return the images of inputs that ``network_inputs`` made: arrays [N, ...] -> uint8 [N, H, W, C]."""
        return self._run(inputs)

    def _one_input(self) -> dict[str, tuple[int, ...]]:
        config = self.config
        shapes: dict[str, tuple[int, ...]] = {"z": (1, config.z_dim)}
        if config.c_dim:
            shapes["c"] = (1,)
        if config.truncation_space == "w":
            shapes["psi"] = (1,)
        return shapes

    def _has_signature(self, inputs: Signature, outputs: Signature) -> bool:
        config, side = self.config, self.config.img_resolution
        expected_inputs: Signature = {"z": ("tensor(float)", [config.z_dim])}
        if config.c_dim:
            expected_inputs["c"] = ("tensor(int64)", [])
        if config.truncation_space == "w":
            expected_inputs["psi"] = ("tensor(float)", [])
        return inputs == expected_inputs and outputs == {"img": ("tensor(uint8)", [side, side, config.img_channels])}

    def _read_style_layers(self, model: bytes) -> int | None:
        """Return the number of layers whose styles can be mixed: the default of the input crossover; None without it.

        Raises:
            InvalidCheckpoint: the inputs for mixing do not have the types that the config requires.
        """
        optional = {value.name: (value.type, value.shape[1:]) for value in self._session.get_overridable_initializers()}
        found = {name: optional[name] for name in MIX_INPUTS if name in optional}
        if not found:
            return None
        layers = read_graph(model).constants["crossover"].values if "crossover" in found else None
        expected = dict(zip(MIX_INPUTS, (("tensor(float)", [self.config.z_dim]), ("tensor(int64)", [])), strict=True))
        if found != expected or layers is None or layers.size != 1:
            raise InvalidCheckpoint(
                f"The network of {self.config.name} has the optional inputs {found}; mixing requires {expected}.",
                "Export the checkpoint again.",
            )
        return int(layers.item())

    def _read_w_dim(self) -> int:
        """Return the length of an offset in w; 0 if the network has no such input, or one of another type."""
        for value in self._session.get_overridable_initializers():
            if value.name == W_OFFSET and value.type == "tensor(float)" and len(value.shape) == 2:
                return value.shape[1] if isinstance(value.shape[1], int) else 0
        return 0

    def _image_shape(self, inputs: Mapping[str, tuple[int, ...]]) -> tuple[int, int, int]:
        return (self.config.img_resolution, self.config.img_resolution, self.config.img_channels)

    def _golden_inputs(self) -> dict[str, Any]:
        golden = self.config.golden_sample
        labels = None if golden.label is None else np.array([golden.label])
        latents = latents_from_seeds([golden.seed], self.config.z_dim)
        return network_inputs(latents, labels, 1.0, self.config.truncation_space)


def first_line(error: Exception) -> str:
    """Return the first line of an error of ONNX Runtime, without control characters and at most 300 characters."""
    line = next(iter(str(error).splitlines()), type(error).__name__)[:300]
    return line if line.isprintable() else repr(line)[1:-1]


def runtime_version() -> str:
    """Return the version of ONNX Runtime, as receipts state it."""
    import onnxruntime

    return str(onnxruntime.__version__)


def network_inputs(
    latents: FloatArray, labels: Int64Array | None, truncation: float, space: TruncationSpace
) -> dict[str, Any]:
    """Return the inputs of a network: z float32 [N, z_dim], c int64 [N] if conditional, psi float32 [N] in w.

    A network with a w space truncates w itself, by psi; for all others, z is truncated here.
    """
    in_w = space == "w"
    inputs: dict[str, Any] = {"z": latents if in_w else truncate(latents, truncation)}
    if labels is not None:
        inputs["c"] = labels
    if in_w:
        inputs["psi"] = np.full(len(latents), truncation, np.float32)
    return inputs


def run_in_batches(
    session: onnxruntime.InferenceSession,
    inputs: Mapping[str, Any],
    *,
    batch: int = BATCH_SIZE["cpu"],
    options: onnxruntime.RunOptions | None = None,
) -> UInt8Array:
    """Run a session in batches of at most ``batch`` images: arrays [N, ...] by input -> uint8 [N, H, W, C]."""
    pieces = [
        session.run(["img"], {name: values[start : start + batch] for name, values in inputs.items()}, options)[0]
        for start in range(0, len(next(iter(inputs.values()))), batch)
    ]
    return np.concatenate(pieces)


def open_session(
    model: bytes, device: str, threads: int = 1, *, keep_memory: bool = True
) -> tuple[onnxruntime.InferenceSession, str]:
    """Return a session for the content of an ONNX file, and its device; see ``Session`` for the errors.

    ``keep_memory``: memory of the CPU is kept for the next run, which is faster. ONNX Runtime keeps more with each new
    shape of an input, up to a gigabyte for pictures of all sizes.
    """
    import onnxruntime  # a third of a second: only when a model is loaded

    check_self_contained(model)
    check_device(device)
    if isinstance(threads, bool) or not isinstance(threads, int) or not 1 <= threads <= MAX_THREADS:
        raise InvalidOption(
            f"threads must be a whole number from 1 to {MAX_THREADS}, not {threads!r}.", "1 is usually fastest."
        )
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 4  # errors are raised below
    options.enable_cpu_mem_arena = options.enable_mem_pattern = keep_memory

    def open_on(provider: str | tuple[str, dict[str, str]]) -> onnxruntime.InferenceSession:
        try:
            return onnxruntime.InferenceSession(model, options, providers=[provider])
        except Exception as error:  # the exceptions of ONNX Runtime have no public base class
            raise InvalidCheckpoint(
                f"ONNX Runtime cannot load the network: {first_line(error)}", "Fetch the checkpoint again."
            ) from error

    if wants_cuda(device):
        if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
            onnxruntime.set_default_logger_severity(4)
            # The loader does not find the libraries of the extra [cuda] by itself.
            if importlib.util.find_spec("nvidia") is not None:
                onnxruntime.preload_dlls()
            # TF32 has 10 bits of precision, too few for the bound of fp32.
            session = open_on(("CUDAExecutionProvider", {"use_tf32": "0"}))
            onnxruntime.set_default_logger_severity(2)  # ONNX Runtime's default
            # get_available_providers() lists CUDA also where it cannot be used; the session does not.
            if session.get_providers()[0] == "CUDAExecutionProvider":
                return session, "cuda"
        if device == "cuda":
            raise DeviceUnavailable(
                "ONNX Runtime cannot use CUDA here.",
                'It needs an NVIDIA driver and: pip install "gan-serve[cuda]". Or use device="cpu".',
            )
    return open_on("CPUExecutionProvider"), "cpu"
