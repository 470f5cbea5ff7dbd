"""``POST /project``: the latent of a picture, found by ``gan-serve project`` in a process of its own.

The service never imports torch, and a process can be stopped at any time. It computes with one thread.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import importlib.util
import logging
import os
import sys
import tempfile
from pathlib import Path
from typing import Annotated

import numpy as np
from fastapi import FastAPI, Request
from pydantic import BaseModel, Field
from starlette.responses import Response

from gan_serve.errors import (
    InvalidImage,
    RequestTimeout,
    ServerError,
    ServiceError,
    TooManyImages,
    TooManyRequests,
)
from gan_serve.service import openapi
from gan_serve.service.middleware import LOG_FIELDS
from gan_serve.service.models import Models
from gan_serve.service.schemas import Label, ModelName, RequestBody
from gan_serve.service.settings import Settings
from gan_serve.translation.inputs import FITS, check_fit, picture_size, read_picture

logger = logging.getLogger(__name__)

PICTURE, FOUND = "picture", "found.npz"


class ProjectRequest(RequestBody):
    """A picture whose latent is to be found."""

    model: ModelName = Field(default=None, description="the name of a model that generates images")
    image: str = Field(description="a file in base64: PNG, JPEG, WebP, GIF or BMP")
    label: Label | None = Field(default=None, description="a class name or index; all classes are tried if it is null")
    fit: str = Field(default="crop", description="crop or exact", json_schema_extra={"enum": list(FITS)})


class Projected(BaseModel):
    """The latent whose image is nearest to a picture, of those that the search found."""

    model: str
    digest: str = Field(description="The sha256 of the model's generator.onnx.")
    latents: Annotated[list[list[float]], Field(min_length=1, max_length=1)] = Field(
        description="One row, as POST /sample takes it: z_dim numbers, or z_dim + w_dim."
    )
    label: str | None = Field(description="The class of the image; null for a model without classes.")
    psnr: float = Field(description="Decibels between the picture and the image.")
    own_psnr: float | None = Field(
        default=None, description="The median that was measured for images of the model itself, where it was measured."
    )
    real_psnr: float | None = Field(default=None, description="The same for real images that training did not see.")


class Projecting:
    """Projects one picture at a time.

    Raises:
        ServiceError: torch is not installed.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._is_busy = False
        if importlib.util.find_spec("torch") is None:
            raise ServiceError(
                f"GAN_SERVE_PROJECT is {settings.project:g}, but torch is not installed.",
                'Install it: pip install "gan-serve[train]"; or set GAN_SERVE_PROJECT=0.',
            )

    async def project(self, body: ProjectRequest, request: Request, models: Models) -> Projected:
        """Return the latent of the picture of a request.

        Raises:
            UnknownModel, CheckpointError: the model cannot be used. InvalidOption: it is a translator, or there is no
            such fit. UnknownLabel: it lacks the label. InvalidImage: the picture cannot be read. TooManyImages: it is
            larger than allowed. TooManyRequests: another picture is being projected. RequestTimeout: the search took
            longer than allowed.
        """
        generator = await models.get(body.model)
        served = models.find(body.model)
        request.scope[LOG_FIELDS] = {"model": served.name, "images": 1}
        check_fit(body.fit)
        options = [f"--fit={body.fit}"]
        if body.label is not None:
            classes = generator.sample_request(seeds=[0], label=body.label).classes
            assert classes is not None  # a label of a model without classes is an error
            options.append(f"--label={generator.class_names[classes[0]]}")
        picture = self._read(body.image)
        await asyncio.to_thread(read_picture, picture)  # the search would fail without saying why
        if self._is_busy:
            raise TooManyRequests("Another picture is being projected.", "Try again when it is done.")
        self._is_busy = True
        try:
            with tempfile.TemporaryDirectory(prefix="gan-serve-project-") as folder:
                Path(folder, PICTURE).write_bytes(picture)
                await self._run(served.directory, folder, options)
                return _read_found(served.name, Path(folder, FOUND))
        finally:
            self._is_busy = False

    def _read(self, text: str) -> bytes:
        try:
            content = base64.b64decode(text.partition("base64,")[2] or text, validate=True)  # also of a data URL
        except (binascii.Error, ValueError):
            raise InvalidImage("The image is not base64.", "Encode the bytes of the file in base64.") from None
        width, height = picture_size(content)
        if width * height > self._settings.max_pixels:
            raise TooManyImages(
                f"The picture has {width * height:,} pixels; this server decodes up to {self._settings.max_pixels:,}.",
                "Send a smaller one.",
            )
        return content

    async def _run(self, model: Path, folder: str, options: list[str]) -> None:
        command = [
            sys.executable,
            "-m",
            "gan_serve.cli",
            "project",
            str(model.absolute()),
            PICTURE,
            "--out",
            FOUND,
            *options,
        ]
        process = await asyncio.create_subprocess_exec(
            *command,
            cwd=folder,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            async with asyncio.timeout(self._settings.project):
                _, complaint = await process.communicate()
        except TimeoutError:
            seconds = f"{self._settings.project:g} s"
            raise RequestTimeout(f"The search took longer than {seconds}.", "Name the label: it is faster.") from None
        finally:  # also if the server's own time limit or a shutdown cancels it
            if process.returncode is None:
                process.kill()
                await process.wait()
        if process.returncode:
            logger.error("project failed: %s", complaint.decode(errors="replace").strip()[-2000:])
            raise ServerError("The picture could not be projected.", "See the server's log.")


def _read_found(model: str, path: Path) -> Projected:
    with np.load(path, allow_pickle=False) as found:
        one = {name: found[name].tolist() for name in ("own_psnr", "real_psnr") if name in found}
        return Projected(
            model=model,
            digest=str(found["digest"]),
            latents=found["latents"].tolist(),
            label=str(found["labels"][0]) if "labels" in found else None,
            psnr=float(found["psnr"][0]),
            **one,
        )


def add_projection(app: FastAPI, models: Models, settings: Settings) -> None:
    """Add the endpoint, where the settings allow it."""
    if not settings.project:
        return
    projecting = Projecting(settings)

    @app.post("/project", response_model=Projected, responses=openapi.ALL_ERRORS)
    async def project(body: ProjectRequest, request: Request) -> Response:
        """Find the latent whose image is nearest to a picture. It takes seconds, and one picture at a time."""
        found = await projecting.project(body, request, models)
        return Response(found.model_dump_json(), media_type="application/json")
