"""Start a run from the weights of a checkpoint, to continue training with other images (``--init-from``)."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor, nn

from gan_serve.checkpoint.bundled import BUNDLED, how_to_clone
from gan_serve.checkpoint.config import WEIGHTS_FILE, CheckpointConfig
from gan_serve.checkpoint.files import read_config, read_verified
from gan_serve.errors import InvalidCheckpoint, InvalidOption
from gan_serve.training.config import TrainConfig, as_typed, generator_arguments
from gan_serve.training.networks import find_family
from gan_serve.training.networks.options import arguments_of
from gan_serve.training.recipes import recipes
from gan_serve.training.snapshots import all_finite

SETTINGS = {"img_resolution": "resolution", "img_channels": "channels"}  # arguments whose settings have another name
LABELS_JOIN_LATENTS = ("mlp", "dcgan", "dcgan28")  # families whose first layer can be extended by columns for labels
EVERYWHERE = ("z_dim", "resolution", "channels", "width", "conditional")  # settings of all families


@dataclass(frozen=True)
class InitialWeights:
    """The averaged generator of a checkpoint.

    name: of the checkpoint. digest: ``sha256:...`` of its weights file. class_names: its classes, in their order.
    """

    name: str
    digest: str
    class_names: tuple[str, ...]
    weights: dict[str, Tensor]

    def load_into(self, *generators: nn.Module) -> None:
        """Load these weights into each generator.

        Raises:
            InvalidCheckpoint: they do not belong to the network that the checkpoint describes.
        """
        if not all_finite(self.weights):
            raise InvalidCheckpoint(f"The weights of {self.name} are not all finite.", "Use another checkpoint.")
        for generator in generators:
            try:
                generator.load_state_dict(self._with_columns_for_labels(generator))
            except RuntimeError as error:
                raise InvalidCheckpoint(
                    f"The weights of {self.name} do not belong to the network that its config describes.",
                    "Export the checkpoint again.",
                ) from error

    def _with_columns_for_labels(self, generator: nn.Module) -> dict[str, Tensor]:
        """Return these weights, with zeros for the labels in the first layer if only ``generator`` is conditional.

        So the run starts with the images of the checkpoint under every label.
        """
        z_dim, c_dim = int(generator.z_dim), int(generator.c_dim)  # type: ignore[arg-type]
        if self.class_names or not c_dim:
            return self.weights
        wider = {
            name: value.shape[1]
            for name, value in generator.state_dict().items()
            if value.ndim == 2 and value.shape[1] == z_dim + c_dim
        }
        return {
            name: nn.functional.pad(value, (0, wider[name] - value.shape[1]))
            if name in wider and value.ndim == 2 and value.shape[1] == z_dim
            else value
            for name, value in self.weights.items()
        }


def read_initial_weights(config: TrainConfig, *, img_channels: int, class_names: tuple[str, ...]) -> InitialWeights:
    """Read the weights that ``config.init_from`` names, checked against their digest.

    Args:
        config: the config of the run, with ``init_from``. img_channels: channels of the images. class_names: classes of
            the run; empty unless it is conditional.

    Raises:
        InvalidOption: the run has another network; the error names the settings that would make it fit.
        UnknownModel, HubError, InvalidCheckpoint, DigestMismatch, FormatTooNew: there is no such checkpoint, or it
        cannot be used.
    """
    # Imported here, because runs that start from random weights need neither.
    from safetensors import SafetensorError
    from safetensors.torch import load

    from gan_serve.hub.resolve import resolve

    model = config.init_from or ""
    directory = resolve(model, files=lambda _: [WEIGHTS_FILE])
    checkpoint = read_config(directory)
    _check_has_weights(directory, checkpoint)
    _check_fits(checkpoint, config, img_channels, len(class_names))
    content = read_verified(directory, checkpoint, WEIGHTS_FILE)
    try:
        weights = load(content)
    except SafetensorError as error:
        raise InvalidCheckpoint(
            f"{directory / WEIGHTS_FILE} does not contain weights: {error}.", "Export it again."
        ) from error
    digest = f"sha256:{checkpoint.files[WEIGHTS_FILE].sha256}"
    return InitialWeights(checkpoint.name, digest, checkpoint.class_names, weights)


def compare_classes(before: tuple[str, ...], now: tuple[str, ...]) -> str:
    """Return a message about classes whose names differ from those of the checkpoint; empty if there are none.

    >>> compare_classes(("cat", "dog"), ("cat", "horse")).split(": ")[1]
    "class 1 was 'dog' and is 'horse' now. Each class starts from the one with the same index."
    """
    # An unconditional checkpoint has no classes to compare.
    pairs = enumerate(zip(before, now, strict=True) if before else ())
    changes = [f"class {place} was {old!r} and is {new!r} now" for place, (old, new) in pairs if old != new]
    more = f"; and {len(changes) - 3} more" if len(changes) > 3 else ""
    told = f"Classes have other names than in the checkpoint: {'; '.join(changes[:3])}{more}."
    return f"{told} Each class starts from the one with the same index." if changes else ""


def _check_has_weights(directory: Path, checkpoint: CheckpointConfig) -> None:
    if os.path.lexists(directory / WEIGHTS_FILE):
        return
    name, bundled = checkpoint.name, directory.parent == BUNDLED
    raise InvalidCheckpoint(
        f"{name} has no {WEIGHTS_FILE} {'in the package' if bundled else f'in {directory}'}, which has the weights "
        "that a run starts from.",
        f"{how_to_clone(name)}."
        if bundled
        else "Give the directory of a checkpoint that has the file; copies of checkpoints in the package do not.",
    )


def _check_fits(checkpoint: CheckpointConfig, config: TrainConfig, img_channels: int, c_dim: int) -> None:
    family = checkpoint.architecture.family
    defaults = arguments_of(find_family(family).generator)
    unknown = checkpoint.architecture.arguments.keys() - defaults.keys()
    if unknown:
        raise InvalidCheckpoint(
            f"The network of {checkpoint.name} has {', '.join(sorted(unknown))}, which this gan-serve does not know.",
            f"Install gan-serve {checkpoint.gan_serve_version}, which wrote it.",
        )
    # Checkpoints leave out arguments with the network's default, and older ones those that did not exist.
    theirs = defaults | checkpoint.architecture.arguments
    ours = defaults | generator_arguments(
        config.model_copy(update={"family": family}), img_channels=img_channels, c_dim=c_dim
    )
    pairs = [(SETTINGS.get(name, name), theirs[name], ours[name]) for name in defaults if name != "c_dim"]
    joined = config.family in LABELS_JOIN_LATENTS and config.network_options.get("g_conditioning") != "batchnorm"
    learns_labels = not checkpoint.c_dim and joined
    if not learns_labels:
        pairs.append(("conditional", checkpoint.c_dim > 0, c_dim > 0))
    if family != config.family:
        pairs = [pair for pair in pairs if pair[0] in EVERYWHERE]  # the others follow from another recipe
    pairs = [pair for pair in pairs if pair[1] != pair[2]]
    problems = [f"its {setting} is {as_typed(their)}, the run's {as_typed(our)}" for setting, their, our in pairs]
    hints = [f"add {' '.join(f'--set {setting}={as_typed(their)}' for setting, their, _ in pairs)}"] if pairs else []
    if family != config.family:
        problems.insert(0, f"its family of networks is {family}, the run's {config.family}")
        # Lessons are to be run as they are, and so are not proposed.
        names = sorted(
            recipe.name
            for recipe in recipes().values()
            if recipe.config["family"] == family and not recipe.name.startswith("lesson-")
        )
        hints.insert(0, f"use the recipe {' or '.join(names)}")
    if checkpoint.c_dim and c_dim and checkpoint.c_dim != c_dim:
        problems.append(f"it has {checkpoint.c_dim} classes, the images {c_dim}")
        hints.append(f"give images of {checkpoint.c_dim} classes")
    if problems:
        hint = ", ".join(hints)
        raise InvalidOption(
            f"{checkpoint.name} does not fit the run: {'; '.join(problems)}.", f"{hint[0].upper()}{hint[1:]}."
        )
