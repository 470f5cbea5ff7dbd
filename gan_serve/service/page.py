"""The explorer page at ``/``, Swagger UI at ``/docs``, and their parts under ``/web``. Nothing comes from other hosts.

The page makes three requests before its first picture moves: for the document, with styles, the models and the first
frame inside; for one script; and for the pixels. If a key is required, the document has neither models nor frame.
"""

from __future__ import annotations

import asyncio
import base64
import functools
import gzip
import hashlib
import importlib.util
import io
import json
import os
from pathlib import Path
from typing import Any

from fastapi import APIRouter, FastAPI, Request
from starlette.responses import Response
from starlette.staticfiles import StaticFiles

from gan_serve.images.pixels import UInt8Array, to_pil
from gan_serve.service.bundle import bundle, inlined
from gan_serve.service.models import Models
from gan_serve.service.responses import not_modified
from gan_serve.service.settings import Settings

FOLDER = Path(__file__).parent / "web"
PAGE = "index.html"
DOCS = "docs.html"
SCRIPT = "main.js"
BUNDLE = "page.js"
FIRST_FRAME = '<img id="first-frame" alt="" hidden />'  # of the page, until there is one
FRAME_SEED = 0  # shown first unless the address of the page names another

_REST = (
    "img-src 'self' blob: data:; connect-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)
POLICY = f"default-src 'none'; script-src 'self'; style-src 'self'; {_REST}"


class PageFiles(StaticFiles):
    """Static files with the page's Content-Security-Policy."""

    def file_response(self, full_path: str | os.PathLike[str], *args: Any, **options: Any) -> Response:
        """Return a file, or 304."""
        response = super().file_response(full_path, *args, **options)
        response.headers["Content-Security-Policy"] = POLICY
        response.headers["Cache-Control"] = "no-cache"
        return response


class Explorer:
    """The document of the explorer page, and its script."""

    def __init__(self, models: Models, settings: Settings) -> None:
        self._models = models
        self._is_open = not (settings.api_key.get_secret_value() or settings.api_keys)
        self._limits = {"max_images": settings.max_images, "project": settings.project}
        self._document = inlined(FOLDER, PAGE)
        self._script = bundle(FOLDER, SCRIPT).encode()
        version = hashlib.blake2b(self._script, digest_size=8).hexdigest()
        tag = f'<script type="module" src="web/{SCRIPT}"></script>'
        self._html = self._document.html.replace(tag, f'<script type="module" src="web/{BUNDLE}?{version}"></script>')
        document = self._document
        self._policy = (
            f"default-src 'none'; script-src 'self' {' '.join(document.scripts)}; "
            f"style-src 'self' {' '.join(document.styles)}; {_REST}"
        )
        self._frames: dict[str, str] = {}  # the image tag of the first frame, by digest

    async def page(self, request: Request) -> Response:
        """Return the document for the current state of the models."""
        html = self._html
        if self._is_open:
            known = {"models": [each.model_dump(exclude_none=True) for each in self._models.describe()]}
            data = json.dumps(known | {"limits": self._limits}).replace("<", "\\u003c")
            html = html.replace('id="embedded">null', f'id="embedded">{data}')
            html = html.replace(FIRST_FRAME, await asyncio.to_thread(self._first_frame))
        return self._respond(request, html.encode(), "text/html; charset=utf-8")

    def script(self, request: Request) -> Response:
        """Return all modules as one script."""
        return self._respond(request, self._script, "text/javascript; charset=utf-8")

    def _first_frame(self) -> str:
        """Return the HTML of the first image of the first ready model; a hidden one if it is not loaded."""
        served = self._models.first_loaded()
        if served is None:
            return FIRST_FRAME
        if served.digest not in self._frames:
            still = data_url("webp", small_webp(served.sample(seeds=FRAME_SEED).pixels[0]))
            size = served.img_resolution * max(1, 576 // served.img_resolution)
            self._frames = {
                served.digest: f'<img id="first-frame" alt="" width="{size}" height="{size}" src="{still}" />'
            }
        return self._frames[served.digest]

    def _respond(self, request: Request, content: bytes, media_type: str) -> Response:
        tag = f'"{hashlib.blake2b(content, digest_size=16).hexdigest()}"'
        headers = {
            "ETag": tag,
            "Cache-Control": "no-cache",
            "Content-Security-Policy": self._policy,
            "Vary": "Accept-Encoding",
        }
        if not_modified(request, tag):
            return Response(status_code=304, headers=headers)
        if "gzip" in request.headers.get("accept-encoding", ""):
            content, headers["Content-Encoding"] = _gzip(content), "gzip"
        return Response(content, media_type=media_type, headers=headers)


@functools.lru_cache(4)  # the script, and the document while the models stay as they are
def _gzip(content: bytes) -> bytes:
    return gzip.compress(content, 9, mtime=0)


def small_webp(pixels: UInt8Array) -> bytes:
    """Return uint8 [H, W, C] as a WebP of a quarter of the bytes of its PNG, nearly the same picture."""
    out = io.BytesIO()
    to_pil(pixels).save(out, "WEBP", quality=90, method=6)
    return out.getvalue()


def data_url(kind: str, image: bytes) -> str:
    """Return the address of an image that has it inside."""
    return f"data:image/{kind};base64,{base64.b64encode(image).decode()}"


def add_page(app: FastAPI, models: Models, settings: Settings) -> None:
    """Add the page and its parts to ``app``."""
    files = PageFiles(directory=FOLDER)
    explorer = Explorer(models, settings)
    router = APIRouter(include_in_schema=False)

    @router.get("/")
    async def page(request: Request) -> Response:
        return await explorer.page(request)

    @router.get(f"/web/{BUNDLE}")
    def script(request: Request) -> Response:
        return explorer.script(request)

    if swagger := _swagger():

        @router.get("/docs")
        async def docs(request: Request) -> Response:
            return await files.get_response(DOCS, request.scope)

        app.mount("/web/swagger", PageFiles(directory=swagger))
    app.include_router(router)
    app.mount("/web", files)


def _swagger() -> Path | None:
    """Return the folder of Swagger UI that BentoML installs, without importing BentoML; None if it is not there."""
    found = importlib.util.find_spec("bentoml")
    for location in (found.submodule_search_locations or ()) if found else ():
        folder = Path(location, "_internal", "server", "static_content")
        if (folder / "swagger-ui-bundle.js").is_file():
            return folder
    return None
