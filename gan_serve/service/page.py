"""The explorer page at ``/`` and its parts under ``/web``: files of this package, and nothing from elsewhere."""

from __future__ import annotations

import hashlib
import mimetypes
from pathlib import Path

from fastapi import APIRouter, Request
from starlette.exceptions import HTTPException
from starlette.responses import Response

from gan_serve.service.responses import not_modified

FOLDER = Path(__file__).parent / "web"
PAGE = "index.html"
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; "
    "manifest-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)

router = APIRouter(include_in_schema=False)


@router.api_route("/", methods=["GET", "HEAD"])
def page(request: Request) -> Response:
    """The explorer page."""
    return _file(request, PAGE)


@router.api_route("/web/{name}", methods=["GET", "HEAD"])
def part(request: Request, name: str) -> Response:
    """A script, style or picture of the page."""
    return _file(request, name)


def _file(request: Request, name: str) -> Response:
    names = {path.name for path in FOLDER.iterdir()}  # what a request names is looked up, never joined to a path
    if name not in names:
        raise HTTPException(404)
    content = (FOLDER / name).read_bytes()
    tag = f'"{hashlib.blake2b(content, digest_size=16).hexdigest()}"'
    headers = {"Content-Security-Policy": POLICY, "ETag": tag, "Cache-Control": "no-cache"}
    if not_modified(request, tag):
        return Response(status_code=304, headers=headers)
    return Response(content, media_type=mimetypes.guess_type(name)[0], headers=headers)
