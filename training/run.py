"""What a run records of its data and its machine (``run.json``), for the model card and for resuming."""

from __future__ import annotations

from pathlib import Path

from gan_serve.training.data import ImageSet
from gan_serve.training.evaluation.pixels import SAMPLE, pixel_metrics
from pydantic import BaseModel, ValidationError

from gan_serve.errors import RunError


class DataInfo(BaseModel):
    """The training images: how many, of what size, their digest, and figures to hold a generator against."""

    name: str
    digest: str
    n: int
    img_resolution: int
    img_channels: int
    class_names: tuple[str, ...]
    license: str
    credit: str
    metrics: dict[str, float]


class RunInfo(BaseModel):
    """Data, hardware and versions of a run."""

    data: DataInfo
    hardware: str
    torch_version: str
    gan_serve_version: str

    @classmethod
    def of(cls, data: ImageSet, *, hardware: str, torch_version: str, gan_serve_version: str) -> RunInfo:
        """Describe a run over ``data``."""
        described = DataInfo(
            name=data.name,
            digest=data.digest,
            n=len(data),
            img_resolution=data.img_resolution,
            img_channels=data.img_channels,
            class_names=data.class_names,
            license=data.license,
            credit=data.credit,
            metrics=pixel_metrics(data.images[:SAMPLE], "train"),
        )
        return cls(data=described, hardware=hardware, torch_version=torch_version, gan_serve_version=gan_serve_version)


def read_run_info(run_dir: Path) -> RunInfo:
    """Read ``run.json``.

    Raises:
        RunError: the folder holds no run, or the file is damaged.
    """
    path = run_dir / "run.json"
    try:
        return RunInfo.model_validate_json(path.read_text())
    except FileNotFoundError as error:
        raise RunError(f"{run_dir} holds no training run.", "Give the folder that --run-dir named.") from error
    except (ValidationError, UnicodeDecodeError) as error:
        raise RunError(f"{path} is damaged: {error}", "Start a new run.") from error
