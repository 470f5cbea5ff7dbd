"""Settings that a resumed run may change, and the record of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import BaseModel

from gan_serve.errors import RunError
from gan_serve.training.config import TrainConfig, as_typed, read_config
from gan_serve.training.settings import DataSettings, NetworkSettings

AUGMENTATIONS = ("flip", "augment", "augment_p", "augment_p_end")
# Images and labels have their own check by digest, and the checkpoint to start from one by name.
ELSEWHERE = ("data", "labels", "init_from", "conditional", "channels", "legacy")
OF_THE_RUN = ("recipe", "seed", "optimizer")


class Change(BaseModel):
    """A setting that was changed when a run was resumed after ``kimg`` thousand images."""

    kimg: float
    setting: str
    before: Any
    after: Any

    def __str__(self) -> str:
        return f"{self.setting}={as_typed(self.before)} -> {as_typed(self.after)}"


def may_change(setting: str) -> bool:
    """Return True if a resumed run may change the setting: it does not change the networks or the images.

    Learning rates, penalties, augmentation, the average and what is written may change.

    >>> may_change("d_lr"), may_change("r1"), may_change("width"), may_change("dropout")
    (True, True, False, False)
    """
    if setting in AUGMENTATIONS:
        return True
    fixed = {*DataSettings.model_fields, *NetworkSettings.model_fields, *OF_THE_RUN}
    return setting in TrainConfig.model_fields and setting not in fixed


def changes_on_resume(run_dir: Path, config: TrainConfig, kimg: float) -> list[Change]:
    """Return the settings of ``config`` that differ from those of the run in ``run_dir``.

    Args:
        run_dir: the folder of a run; without one, nothing has changed.
        config: with the settings that the data and the machine decide. kimg: thousands of images shown so far.

    Raises:
        RunError: a setting that must not change.
    """
    path = run_dir / "config.json"
    if not path.exists():
        return []
    before, after = (each.model_dump(mode="json") for each in (read_config(path), config))
    changed = [key for key in {**before, **after} if before.get(key) != after.get(key) and key not in ELSEWHERE]
    fixed = [key for key in changed if not may_change(key)]
    if fixed:
        raise RunError(
            f"The run in {run_dir} was started with another {fixed[0]} ({before.get(fixed[0])!r}).",
            "A resumed run may change its length, learning rates, penalties, augmentation and average, and not its "
            "networks: start a new run for that.",
        )
    return [Change(kimg=kimg, setting=key, before=before.get(key), after=after.get(key)) for key in changed]
