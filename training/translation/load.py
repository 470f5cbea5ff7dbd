"""Load the averaged translators of a run from one of its snapshots."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any, NamedTuple

from gan_serve.errors import RunError
from gan_serve.training.load_run import find_snapshot
from gan_serve.training.networks.fitting import check_shapes, shapes_of
from gan_serve.training.run_info import RunInfo, read_run_info
from gan_serve.training.snapshots import all_finite, fitting_snapshot, load_snapshot
from gan_serve.training.translation.networks import Translator
from gan_serve.training.translation.settings import TranslationConfig, read_translation_config, translator_arguments
from gan_serve.training.translation.step import build_translator


class TrainedTranslator(NamedTuple):
    """The averaged translator of a run in eval mode, with that of the way back if there is one, and the record.

    arguments: those of the translator's class. shown: inputs shown. seconds: duration of the training. run_config: that
    of the run, where ``config`` is that of its way back.
    """

    network: Translator
    back: Translator | None
    config: TranslationConfig
    info: RunInfo
    arguments: dict[str, Any]
    shown: int
    seconds: float
    run_config: TranslationConfig | None = None

    @property
    def diverged(self) -> bool:
        """Return True if a weight is not finite."""
        return not all_finite(self.network.state_dict())

    def way_back(self) -> TrainedTranslator:
        """Return the translator from targets to inputs, as that of a run in the other direction.

        Raises:
            RunError: the run has no way back.
        """
        if self.back is None:
            raise no_way_back()
        config = self.config.model_copy(
            update={
                "direction": "BtoA" if self.config.direction == "AtoB" else "AtoB",
                "in_channels": self.config.channels,
                "channels": self.config.in_channels,
            }
        )
        sides = {"in_channels": self.back.in_channels, "img_channels": self.back.img_channels}
        arguments = translator_arguments(config, **sides)
        return self._replace(
            network=self.back, back=self.network, config=config, arguments=arguments, run_config=self.config
        )


def no_way_back() -> RunError:
    """Return the error for a run that trained one network only."""
    return RunError("The run has no way back.", "Only runs without pairs (recipe cyclegan) have one.")


def load_trained_translator(run_dir: Path, snapshot: str | Path | None = None) -> TrainedTranslator:
    """Build the averaged translators of a run; see ``gan_serve.training.load_run.load_trained``.

    Raises:
        RunError: there is no run, or no snapshot that fits its config.
    """
    info, config = read_run_info(run_dir), read_translation_config(run_dir)
    state = load_snapshot(find_snapshot(run_dir, snapshot))
    channels = config.in_channels or 1, config.channels or 1  # a run records those of its data
    builders = {"there": functools.partial(build_translator, config, *channels)}
    if config.cyclic:
        builders["back"] = functools.partial(build_translator, config, *channels[::-1])
    networks = {}
    with fitting_snapshot("Give the run that it belongs to."):
        for name, build in builders.items():
            check_shapes(shapes_of(build), state["averages"][name])
            networks[name] = build()
            networks[name].load_state_dict(state["averages"][name])
    for network in networks.values():
        network.eval()
    arguments = translator_arguments(config, in_channels=channels[0], img_channels=channels[1])
    there, back = networks["there"], networks.get("back")
    return TrainedTranslator(there, back, config, info, arguments, state["shown"], state["seconds"])
