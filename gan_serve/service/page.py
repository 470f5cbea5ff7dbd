"""The explorer page at ``/``, Swagger UI at ``/docs``, and their parts under ``/web``: nothing from other hosts."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path
from typing import Any

from fastapi import APIRouter, FastAPI, Request
from starlette.responses import Response
from starlette.staticfiles import StaticFiles

FOLDER = Path(__file__).parent / "web"
PAGE = "index.html"
DOCS = "docs.html"
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; "
    "manifest-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


class PageFiles(StaticFiles):
    """Static files with the page's Content-Security-Policy."""

    def file_response(self, full_path: str | os.PathLike[str], *args: Any, **options: Any) -> Response:
        """Return a file, or 304."""
        response = super().file_response(full_path, *args, **options)
        response.headers["Content-Security-Policy"] = POLICY
        response.headers["Cache-Control"] = "no-cache"
        return response


def add_page(app: FastAPI) -> None:
    """Add the page and its parts to ``app``."""
    files = PageFiles(directory=FOLDER)
    router = APIRouter(include_in_schema=False)

    @router.get("/")
    async def page(request: Request) -> Response:
        return await files.get_response(PAGE, request.scope)

    if swagger := _swagger():

        @router.get("/docs")
        async def docs(request: Request) -> Response:
            return await files.get_response(DOCS, request.scope)

        app.mount("/web/swagger", PageFiles(directory=swagger))
    app.include_router(router)
    app.mount("/web", files)


def _swagger() -> Path | None:
    """Return the folder of Swagger UI that BentoML installs, without importing BentoML; None where it has moved."""
    found = importlib.util.find_spec("bentoml")
    for location in (found.submodule_search_locations or ()) if found else ():
        folder = Path(location, "_internal", "server", "static_content")
        if (folder / "swagger-ui-bundle.js").is_file():
            return folder
    return None
