"""Start a run from the weights of a checkpoint, to continue training with other images (``--init-from``)."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from gan_serve.checkpoint.config import CheckpointConfig
from gan_serve.checkpoint.files import read_config
from gan_serve.errors import InvalidOption
from gan_serve.hub.resolve import resolve
from gan_serve.training.config import TrainConfig, as_typed, generator_arguments
from gan_serve.training.load_checkpoint import load_generator, weight_files
from gan_serve.training.networks import find_family
from gan_serve.training.networks.options import arguments_of
from gan_serve.training.recipes import recipes

SETTINGS = {"img_resolution": "resolution", "img_channels": "channels"}  # arguments whose settings have another name
LABELS_JOIN_LATENTS = ("mlp", "dcgan", "dcgan28")  # families whose first layer can be extended by columns for labels
EVERYWHERE = ("z_dim", "resolution", "channels", "width", "conditional")  # settings of all families


@dataclass(frozen=True)
class InitialWeights:
    """The averaged generator of a checkpoint.

    name: of the checkpoint. digest: ``sha256:...`` of the file that they were read from. class_names: its classes, in
    their order.
    """

    name: str
    digest: str
    class_names: tuple[str, ...]
    weights: dict[str, Tensor]

    def load_into(self, *generators: nn.Module) -> None:
        """Load these weights into each generator."""
        for generator in generators:
            generator.load_state_dict(self._with_columns_for_labels(generator))

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
    """Read the weights that ``config.init_from`` names, checked against their digest; see ``load_generator``.

    Args:
        config: the config of the run, with ``init_from``. img_channels: channels of the images. class_names: classes of
            the run; empty unless it is conditional.

    Raises:
        InvalidOption: the run has another network; the error names the settings that would make it fit.
        UnknownModel, HubError, InvalidCheckpoint, DigestMismatch, FormatTooNew: there is no such checkpoint, or it
        cannot be used.
    """
    directory = resolve(config.init_from or "", files=weight_files)
    checkpoint = read_config(directory)
    _check_fits(checkpoint, config, img_channels, len(class_names))
    loaded = load_generator(directory)
    return InitialWeights(checkpoint.name, loaded.digest, checkpoint.class_names, loaded.generator.state_dict())


def compare_classes(before: tuple[str, ...], now: tuple[str, ...]) -> str:
    """Return a message about classes whose names differ from those of the checkpoint; empty if there are none.

    >>> compare_classes(("cat", "dog"), ("cat", "horse")).split(": ")[1]
    "class 1 was 'dog' and is 'horse' now. Each class starts from the one with the same index."
    """
    # An unconditional checkpoint has no classes to compare.
    pairs = enumerate(zip(before, now, strict=True) if before else ())
    changes = [f"class {place} was {old!r} and is {new!r} now" for place, (old, new) in pairs if old != new]
    more = f"; and {len(changes) - 3} more" if len(changes) > 3 else ""
    renamed = f"Classes have other names than in the checkpoint: {'; '.join(changes[:3])}{more}."
    return f"{renamed} Each class starts from the one with the same index." if changes else ""


def _check_fits(checkpoint: CheckpointConfig, config: TrainConfig, img_channels: int, c_dim: int) -> None:
    family = checkpoint.architecture.family
    defaults = arguments_of(find_family(family).generator)
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
